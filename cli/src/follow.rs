//! Waiting for jobs, with progress.

use std::time::{Duration, Instant};

use wl_core::report::{JobState, JobStatus};

use crate::failure::{Failure, Outcome};
use crate::link::Link;
use crate::render::Screen;
use crate::render::jobs;
use crate::render::progress::Progress;

/// The shortest and the longest time between two looks at the jobs; in between, a tenth of the time waited so far.
const LOOK: (Duration, Duration) = (Duration::from_millis(4), Duration::from_millis(60));

/// What is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Until {
    /// The end of a one-shot job.
    Ended,
    /// That nothing is left to do, or an ERROR.
    Synced,
}

impl Until {
    fn is_met(self, job: &JobStatus) -> bool {
        let is_over = job.state == JobState::Error || job.state == JobState::Stopped && !job.paused;
        match self {
            // The summary is there a moment before the state it ends in.
            Self::Ended => is_over || job.summary.is_some() && job.state != JobState::OneShot,
            Self::Synced => is_over || job.state == JobState::Synced,
        }
    }
}

/// Waits until all these jobs are where they should be; fails if one vanishes or the daemon ends.
pub async fn follow(screen: &Screen, link: &Link, ids: &[String], until: Until) -> Outcome<Vec<JobStatus>> {
    let (mut progress, begun) = (Progress::new(screen), Instant::now());
    loop {
        let all = link.jobs().await.map_err(|failure| failure.about("waiting for the job ended early"))?;
        let mut followed = Vec::with_capacity(ids.len());
        for id in ids {
            let found = match all.iter().find(|job| job.job_id == *id) {
                Some(job) => Some(job.clone()),
                None => link.ended(id).await?,
            };
            followed.push(found.ok_or_else(stopped)?);
        }
        if followed.iter().all(|job| until.is_met(job)) {
            progress.finish();
            return Ok(followed);
        }
        progress.show(&followed);
        tokio::time::sleep((begun.elapsed() / 10).clamp(LOOK.0, LOOK.1)).await;
    }
}

fn stopped() -> Failure {
    Failure::new("the job was stopped by somebody else before it was done")
        .hint("`wl status` shows what is running; sync again to go on")
}

/// Why a job that is over did not get there, if it did not.
pub fn failure_of(job: &JobStatus) -> Option<Failure> {
    let why = job.error.clone();
    match job.state {
        JobState::Error => Some(Failure::new(why.unwrap_or_else(|| "the sync failed".to_owned()))),
        JobState::Stopped => Some(Failure::new(why.unwrap_or_else(|| "the job was cut off".to_owned()))),
        _ => None,
    }
    .map(|failure| failure.about(jobs::pair(job)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::job;

    #[test]
    fn what_is_waited_for_comes_or_cannot_come_any_more() {
        let with = |state, paused| JobStatus { state, paused, ..job() };
        assert!(Until::Synced.is_met(&job()) && !Until::Ended.is_met(&job()));
        for until in [Until::Synced, Until::Ended] {
            assert!(until.is_met(&with(JobState::Error, false)) && until.is_met(&with(JobState::Stopped, false)));
            assert!(!until.is_met(&with(JobState::OneShot, false)) && !until.is_met(&with(JobState::Stopped, true)));
        }
        assert!(failure_of(&with(JobState::Error, false)).is_some() && failure_of(&job()).is_none());
    }
}
