//! `wl container pause` and `resume`: a job held without being forgotten.

use serde_json::{Value, json};
use wl_core::report::{JobState, JobStatus, Mode};

use crate::args::Name;
use crate::context::Context;
use crate::failure::{Exit, Failure, Outcome};
use crate::pairs;

/// Holds every job of the container.
pub async fn pause(context: &Context, args: &Name) -> Outcome {
    each(context, args, "pause", "paused").await
}

/// Lets every job of the container go on.
pub async fn resume(context: &Context, args: &Name) -> Outcome {
    each(context, args, "resume", "resumed").await
}

async fn each(context: &Context, args: &Name, command: &str, done: &str) -> Outcome {
    let (link, manifest, jobs) = context.jobs_of(&args.name).await?;
    if jobs.is_empty() {
        return Err(Failure::new(format!("container `{}` is not being synced", args.name))
            .hint(format!("`wl container sync {}` starts it", args.name)));
    }
    let (mut ids, mut failures) = (Vec::new(), Vec::new());
    for job in to_do(&jobs, command) {
        let mut request = pairs::object(json!({ "job-id": job.job_id }));
        if command == "resume" {
            let storages = manifest.iter().flat_map(|manifest| &manifest.storages);
            request.insert("env".into(), json!(pairs::captured_env(storages)));
        }
        match link.call::<Value>(command, request).await {
            Ok(_) => ids.push(&job.job_id),
            Err(failure) => failures.push(failure),
        }
    }
    if let Some(failure) = all_of(failures) {
        if !ids.is_empty() {
            context.screen.say(format!(
                "Of container `{}`, {} of {} jobs are {done}.",
                args.name,
                ids.len(),
                jobs.len()
            ));
        }
        return Err(failure);
    }
    context.screen.show(&json!({ (done): ids }), |_| format!("Container `{}` is {done}.", args.name))?;
    Ok(Exit::Done)
}

/// The jobs that are not as they should be yet, and can be; if there is none, all, so that the daemon says why.
fn to_do<'a>(jobs: &'a [JobStatus], command: &str) -> Vec<&'a JobStatus> {
    let has_ended = |job: &JobStatus| job.mode == Mode::OneShot && job.state != JobState::OneShot;
    let wants = |job: &&JobStatus| if command == "resume" { job.paused } else { !job.paused && !has_ended(job) };
    let wanting: Vec<_> = jobs.iter().filter(wants).collect();
    if wanting.is_empty() { jobs.iter().collect() } else { wanting }
}

/// Several failures as one.
fn all_of(failures: Vec<Failure>) -> Option<Failure> {
    let mut failures = failures.into_iter();
    let first = failures.next()?;
    let rest: Vec<_> = failures.map(|failure| failure.to_string()).collect();
    Some(if rest.is_empty() { first } else { Failure::new(format!("{first}\n{}", rest.join("\n"))) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::job;

    #[test]
    fn what_is_so_already_or_has_ended_is_passed_over() {
        let with = |paused, mode, state| JobStatus { paused, mode, state, ..job() };
        let held = with(true, Mode::Continuous, JobState::Stopped);
        let runs = with(false, Mode::Continuous, JobState::Synced);
        let ended = with(false, Mode::OneShot, JobState::Synced);
        let once = with(false, Mode::OneShot, JobState::OneShot);
        let jobs = [held.clone(), runs, ended.clone(), once];
        let [_, runs, _, once] = &jobs;
        assert_eq!(to_do(&jobs, "pause"), [runs, once]);
        assert_eq!(to_do(&jobs, "resume"), [&jobs[0]]);
        assert_eq!(to_do(&[ended.clone(), held.clone()], "pause"), [&ended, &held]);
    }
}
