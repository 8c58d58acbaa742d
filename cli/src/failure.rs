//! How a command ends: the exit codes, and errors that say what to do next.

use std::fmt;

use wl_core::report::{Action, JobState, JobStatus, PlannedAction, Problem, ProblemKind, Summary};

/// How a command ended, as its exit code says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// Done.
    Done = 0,
    /// Failed.
    Failed = 1,
    /// A usage or manifest error.
    Usage = 2,
    /// Done, but conflicts are open.
    Conflicts = 3,
    /// Done, but some files could not be synced.
    Problems = 4,
    /// Verify found differences.
    Differs = 5,
}

impl Exit {
    /// What open conflicts and problems make of something that is done: conflicts win.
    pub fn of_open(conflicts: bool, problems: &[Problem]) -> Self {
        if conflicts {
            Self::Conflicts
        } else if problems.iter().any(|problem| problem.kind != ProblemKind::Skipped) {
            Self::Problems
        } else {
            Self::Done
        }
    }

    /// That of a run that ended.
    pub fn of_summary(summary: &Summary) -> Self {
        match summary.state {
            JobState::Error | JobState::Stopped => Self::Failed,
            _ => Self::of_open(!summary.conflicts.is_empty(), &summary.problems),
        }
    }

    /// That of a job as it stands.
    pub fn of_job(job: &JobStatus) -> Self {
        match job.state {
            JobState::Error => Self::Failed,
            _ => Self::of_open(!job.conflicts.is_empty(), &job.problems),
        }
    }

    /// That of a plan.
    pub fn of_plan(actions: &[PlannedAction]) -> Self {
        Self::of_open(actions.iter().any(|action| action.action == Action::Conflict), &[])
    }

    /// The graver of two: a failure, then conflicts, then problems.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        let rank = |exit| match exit {
            Self::Done => 0,
            Self::Problems => 1,
            Self::Conflicts => 2,
            Self::Differs => 3,
            Self::Failed => 4,
            Self::Usage => 5,
        };
        if rank(other) > rank(self) { other } else { self }
    }
}

impl From<Exit> for std::process::ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// Why a command did not do what it was asked, and what to do next. Never holds a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The exit code.
    pub exit: Exit,
    message: String,
    hint: Option<String>,
}

/// How a command ends.
pub type Outcome<T = Exit> = Result<T, Failure>;

impl Failure {
    /// It failed; exit code 1.
    pub fn new(message: impl Into<String>) -> Self {
        Self { exit: Exit::Failed, message: message.into(), hint: None }
    }

    /// It was asked wrongly, or a manifest is wrong; exit code 2.
    pub fn usage(message: impl Into<String>) -> Self {
        Self { exit: Exit::Usage, ..Self::new(message) }
    }

    /// A manifest, a storage or the configuration is wrong; exit code 2.
    pub fn manifest(error: &wl_core::Error) -> Self {
        Self::usage(error.to_string())
    }

    /// The same, with what to do next.
    #[must_use]
    pub fn hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }

    /// The same, with what it happened to in front.
    #[must_use]
    pub fn about(self, what: impl fmt::Display) -> Self {
        Self { message: format!("{what}: {}", self.message), ..self }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        self.hint.as_ref().map_or(Ok(()), |hint| write!(f, "\n  {hint}"))
    }
}

impl std::error::Error for Failure {}

impl From<wl_core::Error> for Failure {
    fn from(error: wl_core::Error) -> Self {
        Self::new(error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(kind: ProblemKind) -> Problem {
        Problem { path: "a".into(), storage: "s".into(), kind, message: String::new() }
    }

    #[test]
    fn conflicts_win_over_problems_and_skipped_files_count_for_nothing() {
        let (skipped, denied) = (problem(ProblemKind::Skipped), problem(ProblemKind::Denied));
        assert_eq!(Exit::of_open(false, &[]), Exit::Done);
        assert_eq!(Exit::of_open(false, std::slice::from_ref(&skipped)), Exit::Done);
        assert_eq!(Exit::of_open(false, &[skipped, denied.clone()]), Exit::Problems);
        assert_eq!(Exit::of_open(true, &[denied]), Exit::Conflicts);
    }

    #[test]
    fn the_graver_end_wins() {
        assert_eq!(Exit::Problems.and(Exit::Conflicts), Exit::Conflicts);
        assert_eq!(Exit::Failed.and(Exit::Conflicts), Exit::Failed);
        assert_eq!(Exit::Done.and(Exit::Done), Exit::Done);
    }

    #[test]
    fn a_failure_says_what_to_do_next() {
        let failure = Failure::usage("no container `a`").hint("`wl container list` shows them").about("x");
        assert_eq!(failure.to_string(), "x: no container `a`\n  `wl container list` shows them");
        assert_eq!(failure.exit, Exit::Usage);
    }
}
