//! Progress on stderr: a bar on a terminal, else a calm line from time to time.

use std::io::IsTerminal as _;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use wl_core::report::JobStatus;

use super::jobs::{activity, pair};
use super::{Screen, name};

/// How often a line is written where no bar can be drawn.
const CALM: Duration = Duration::from_secs(5);

/// How far jobs are.
pub struct Progress<'a> {
    screen: &'a Screen,
    bar: Option<ProgressBar>,
    last_line: Instant,
    last_error: Option<String>,
}

impl<'a> Progress<'a> {
    /// Begins with nothing shown.
    pub fn new(screen: &'a Screen) -> Self {
        Self { screen, bar: std::io::stderr().is_terminal().then(spinner), last_line: Instant::now(), last_error: None }
    }

    /// Shows how far these jobs are. What they wait for is said once.
    pub fn show(&mut self, jobs: &[JobStatus]) {
        let error = jobs.iter().find_map(|job| job.error.clone());
        if error != self.last_error {
            if let Some(error) = &error {
                self.say(error);
            }
            self.last_error = error;
        }
        match &self.bar {
            Some(bar) => bar.set_message(name(&line(jobs))),
            None if self.last_line.elapsed() >= CALM => {
                self.last_line = Instant::now();
                self.screen.say(line(jobs));
            }
            None => {}
        }
    }

    /// Leaves nothing behind.
    pub fn finish(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }

    fn say(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| self.screen.warn(text)),
            None => self.screen.warn(text),
        }
    }
}

impl Drop for Progress<'_> {
    fn drop(&mut self) {
        self.finish();
    }
}

fn spinner() -> ProgressBar {
    let bar = ProgressBar::new_spinner();
    if let Ok(style) = ProgressStyle::with_template("{spinner} {wide_msg}") {
        bar.set_style(style);
    }
    bar.enable_steady_tick(Duration::from_millis(120));
    bar
}

fn line(jobs: &[JobStatus]) -> String {
    let one = |job: &JobStatus| match job.current.first() {
        Some(path) => format!("{}: {}: {path}", pair(job), activity(job)),
        None => format!("{}: {}", pair(job), activity(job)),
    };
    jobs.iter().map(one).collect::<Vec<_>>().join(" | ")
}
