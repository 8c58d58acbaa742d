//! The server's clock: a file modified just now may change again without its date changing.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use wl_core::entry::{Entry, Kind, Token};
use wl_core::moment::Moment;

use crate::seen::{Seen, What};

/// Dates have whole seconds: a second write within the same one shows in nothing. One more for file systems that keep
/// every other second only.
const TICK: i64 = 2_000;
/// A measurement is good for so long: clocks are set, and drift.
const GOOD_FOR: Duration = Duration::from_mins(10);
/// How much of the time since a measurement may be in doubt: this machine sleeps, and its own clock is set.
const DOUBT: Duration = Duration::from_secs(1);

/// What is known of the server's clock.
#[derive(Default)]
pub struct Clock {
    measured: Mutex<Option<Measured>>,
}

/// Its time, in milliseconds since 1970, at one moment: at least and at most.
#[derive(Debug, Clone, Copy)]
struct Measured {
    at: Moment,
    least: i64,
    most: i64,
}

impl Clock {
    /// Takes note that the server's clock stood there, in milliseconds and so many more at most, at some moment between
    /// then and now.
    pub fn stood(&self, at: i64, and_at_most: i64, since: Instant) {
        let most = at + and_at_most + millis(since.elapsed());
        *self.lock() = Some(Measured { at: Moment::now(), least: at, most });
    }

    /// Whether it should be measured.
    pub fn is_due(&self) -> bool {
        self.lock().is_none_or(|measured| {
            let (least, most) = measured.at.elapsed();
            most > GOOD_FOR || most.abs_diff(least) > DOUBT
        })
    }

    /// Whether it was ever measured.
    pub fn is_known(&self) -> bool {
        self.lock().is_some()
    }

    /// Whole seconds since 1970 there, about.
    pub fn seconds(&self) -> u32 {
        u32::try_from(self.now().0 / 1000).unwrap_or(0)
    }

    /// Whether a file with that date may change without its date changing. A date far ahead is somebody's wish.
    pub fn is_young(&self, mtime: u32) -> bool {
        is_young(mtime, self.now())
    }

    /// The entry of a file or directory; none for anything else.
    pub fn entry(&self, seen: &Seen) -> Option<Entry> {
        let bytes = seen.token_bytes();
        let (kind, size, token) = match seen.what {
            What::File if self.is_young(seen.mtime) => (Kind::File, seen.size, Token::racy(&bytes)),
            What::File => (Kind::File, seen.size, Token::new(&bytes)),
            What::Dir => (Kind::Dir, 0, Token::new(&bytes)),
            What::Special(_) => return None,
        };
        Some(Entry { kind, size, meta: seen.meta(), token })
    }

    /// At least and at most. Where the server's clock could not be measured, it is taken to be set as this machine's.
    fn now(&self) -> (i64, i64) {
        if let Some(Measured { at, least, most }) = *self.lock() {
            let since = at.elapsed();
            return (least + millis(since.0), most + millis(since.1));
        }
        let here = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, millis);
        (here - TICK, here + TICK)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Measured>> {
        self.measured.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn is_young(mtime: u32, (least, most): (i64, i64)) -> bool {
    let date = i64::from(mtime) * 1000;
    date > least - TICK && date < most + TICK
}

fn millis(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_modified_in_this_second_or_the_last_is_young() {
        let now = (1_000_500, 1_000_700);
        for (mtime, young) in [(998, false), (999, true), (1000, true), (1001, true), (1003, false), (2000, false)] {
            assert_eq!(is_young(mtime, now), young, "{mtime}");
        }
    }

    #[test]
    fn it_is_the_servers_clock_that_counts() {
        let clock = Clock::default();
        assert!(clock.is_due() && !clock.is_known());
        clock.stood(5_000_000, 1000, Instant::now());
        assert!(!clock.is_due() && clock.is_young(5000) && !clock.is_young(4000));
        assert!((5000..5003).contains(&clock.seconds()));
    }

    #[test]
    fn while_this_machine_slept_the_server_did_not() {
        let clock = Clock::default();
        let at = Moment::now().slept(Duration::from_mins(1));
        *clock.lock() = Some(Measured { at, least: 5_000_000, most: 5_000_000 });
        assert!(clock.is_due(), "its time is measured again");
        for (mtime, young) in [(4_990, false), (5_000, true), (5_030, true), (5_060, true), (5_070, false)] {
            assert_eq!(clock.is_young(mtime), young, "{mtime}");
        }
    }
}
