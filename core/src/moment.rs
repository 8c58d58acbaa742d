//! How long ago something was, also where the machine slept since.

use std::time::{Duration, Instant, SystemTime};

/// A moment, by two clocks: one stands still while the machine is suspended, the other one is set now and then.
#[derive(Debug, Clone, Copy)]
pub struct Moment {
    steady: Instant,
    wall: SystemTime,
}

impl Moment {
    /// This one.
    pub fn now() -> Self {
        Self { steady: Instant::now(), wall: SystemTime::now() }
    }

    /// How long ago it was, at least and at most: where the two clocks differ, nobody can tell which is right.
    pub fn elapsed(&self) -> (Duration, Duration) {
        let (steady, wall) = (self.steady.elapsed(), self.wall.elapsed().unwrap_or_default());
        (steady.min(wall), steady.max(wall))
    }

    /// Whether it was less than that long ago, for certain.
    pub fn is_within(&self, time: Duration) -> bool {
        self.elapsed().1 < time
    }

    /// The same moment, had the machine slept that long since: nobody can wait for it to do so.
    #[must_use]
    pub fn slept(self, time: Duration) -> Self {
        Self { wall: self.wall - time, ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sleep_of_the_machine_counts() {
        let (minute, now) = (Duration::from_mins(1), Moment::now());
        assert!(now.is_within(minute) && !now.is_within(Duration::ZERO));
        let slept = now.slept(minute);
        let (least, most) = slept.elapsed();
        assert!(least < minute && most >= minute && !slept.is_within(minute));
        let set_back = Moment { wall: now.wall + minute, ..now };
        assert!(set_back.is_within(minute) && set_back.elapsed().0.is_zero());
    }
}
