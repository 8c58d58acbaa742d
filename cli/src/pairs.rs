//! Which two storages of a container a command is about, and how the daemon is told.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};
use wl_core::config::Config;
use wl_core::manifest::{Manifest, Storage};
use wl_core::report::{JobStatus, StorageView};

use crate::args::Choice;
use crate::context::env;
use crate::failure::{Failure, Outcome};

/// Two storages of one container, and the id of the job that keeps them equal.
#[derive(Debug, Clone)]
pub struct Pair {
    /// `owner|container-uuid`, with `|backend-id` where it is one of several.
    pub job_id: String,
    /// The first storage.
    pub source: Storage,
    /// The second storage.
    pub target: Storage,
    /// Whether only the source's changes travel.
    pub unidirectional: bool,
}

/// A storage as it is shown.
pub fn view(storage: &Storage) -> StorageView {
    StorageView {
        backend_id: storage.backend_id().to_owned(),
        storage_type: storage.storage_type().to_owned(),
        location: storage.location(),
    }
}

/// All storages of a container as they are shown.
pub fn views(manifest: &Manifest) -> Vec<StorageView> {
    manifest.storages.iter().map(view).collect()
}

impl Pair {
    /// What the daemon must be told to act on this pair.
    pub fn args(&self, manifest: &Manifest) -> Map<String, Value> {
        let value = json!({
            "container-name": manifest.name,
            "job-id": self.job_id,
            "source": self.source.params(),
            "target": self.target.params(),
            "unidirectional": self.unidirectional,
            "exclude": manifest.exclude,
            "max-delete": manifest.max_delete,
            "keep-deleted": manifest.keep_deleted,
            "env": captured_env([&self.source, &self.target]),
        });
        object(value)
    }

    /// Whether a job keeps these two storages equal, in whichever order.
    pub fn is_of(&self, job: &JobStatus) -> bool {
        self.is_between(&job.source.backend_id, &job.target.backend_id)
    }

    /// Whether these are its two storages, in whichever order.
    pub fn is_between(&self, one: &str, other: &str) -> bool {
        let ours = [self.source.backend_id(), self.target.backend_id()];
        ours == [one, other] || ours == [other, one]
    }

    /// The same pair as the job that runs over it has it, so that the two take turns.
    #[must_use]
    pub fn matching(mut self, jobs: &[JobStatus]) -> Self {
        if let Some(job) = jobs.iter().find(|job| self.is_of(job)) {
            if job.source.backend_id != self.source.backend_id() {
                std::mem::swap(&mut self.source, &mut self.target);
            }
            self.job_id.clone_from(&job.job_id);
            self.unidirectional = job.unidirectional;
        }
        self
    }
}

/// The values of the environment variables that these storages name, for the daemon to hold in memory.
pub fn captured_env<'a>(storages: impl IntoIterator<Item = &'a Storage>) -> BTreeMap<String, String> {
    storages.into_iter().flat_map(|storage| storage.captured_env(&env)).collect()
}

/// The fields of an object.
pub fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(fields) => fields,
        _ => Map::new(),
    }
}

/// The pair that was asked for, or the usual one.
pub fn chosen(manifest: &Manifest, config: &Config, choice: &Choice) -> Outcome<Pair> {
    let source = source(manifest, choice)?;
    let target = if let Some(text) = &choice.target_storage {
        find(manifest, text)?
    } else {
        let remembered = config.default_remote_for_container.get(&manifest.uuid).map(String::as_str);
        manifest.default_target(source, remembered).map_err(|error| Failure::manifest(&error))?
    };
    if source.backend_id() == target.backend_id() {
        let message = format!("source and target are the same storage, {}", source.location());
        return Err(Failure::usage(message).hint(format!("`wl container show {}` lists the others", manifest.name)));
    }
    Ok(pair(manifest.job_id(), source, target))
}

/// The source with each other storage.
pub fn star(manifest: &Manifest, choice: &Choice) -> Outcome<Vec<Pair>> {
    let source = source(manifest, choice)?;
    // Says what is wrong with a container that has no other one.
    manifest.default_target(source, None).map_err(|error| Failure::manifest(&error))?;
    let others = manifest.storages.iter().filter(|storage| storage.backend_id() != source.backend_id());
    Ok(others.map(|target| pair(job_id_to(manifest, target), source, target)).collect())
}

/// Every pair of storages.
pub fn every(manifest: &Manifest) -> Vec<Pair> {
    let mut pairs = Vec::new();
    for (at, source) in manifest.storages.iter().enumerate() {
        for target in &manifest.storages[at + 1..] {
            pairs.push(pair(job_id_to(manifest, target), source, target));
        }
    }
    pairs
}

/// The jobs among these that are the container's.
pub fn jobs_of(manifest: &Manifest, jobs: Vec<JobStatus>) -> Vec<JobStatus> {
    jobs.into_iter().filter(|job| is_of(manifest, job)).collect()
}

/// Whether a job's id is one of the container's.
pub fn is_of(manifest: &Manifest, job: &JobStatus) -> bool {
    job.job_id.strip_prefix(&manifest.job_id()).is_some_and(|rest| rest.is_empty() || rest.starts_with('|'))
}

/// The storage that a backend-id, an unambiguous prefix of one, or a type means.
pub fn find<'a>(manifest: &'a Manifest, text: &str) -> Outcome<&'a Storage> {
    manifest.find_storage(text).map_err(|error| Failure::manifest(&error))
}

fn source<'a>(manifest: &'a Manifest, choice: &Choice) -> Outcome<&'a Storage> {
    match &choice.source_storage {
        Some(text) => find(manifest, text),
        None => manifest.default_source().map_err(|error| Failure::manifest(&error)),
    }
}

fn pair(job_id: String, source: &Storage, target: &Storage) -> Pair {
    Pair { job_id, source: source.clone(), target: target.clone(), unidirectional: false }
}

fn job_id_to(manifest: &Manifest, target: &Storage) -> String {
    format!("{}|{}", manifest.job_id(), target.backend_id())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::{container, job};

    fn ids(pairs: &[Pair]) -> Vec<(&str, &str, &str)> {
        pairs.iter().map(|pair| (&*pair.job_id, pair.source.backend_id(), pair.target.backend_id())).collect()
    }

    #[test]
    fn a_star_has_the_source_in_every_pair_and_an_id_each() {
        let expected =
            [("local|1|bbbbbbbb-2", "aaaaaaaa-1", "bbbbbbbb-2"), ("local|1|cccccccc-3", "aaaaaaaa-1", "cccccccc-3")];
        assert_eq!(ids(&star(&container(), &Choice::default()).unwrap()), expected);
        assert_eq!(every(&container()).len(), 3);
    }

    #[test]
    fn the_remembered_target_is_taken_unless_another_is_named() {
        let mut config = Config::default();
        config.default_remote_for_container.insert("1".into(), "cccccccc-3".into());
        let usual = chosen(&container(), &config, &Choice::default()).unwrap();
        assert_eq!(ids(&[usual]), [("local|1", "aaaaaaaa-1", "cccccccc-3")]);
        let named = Choice { source_storage: Some("c".into()), target_storage: Some("bbbb".into()) };
        assert_eq!(ids(&[chosen(&container(), &config, &named).unwrap()]), [("local|1", "cccccccc-3", "bbbbbbbb-2")]);
        let same = Choice { source_storage: Some("a".into()), target_storage: Some("a".into()) };
        assert!(chosen(&container(), &config, &same).is_err());
    }

    #[test]
    fn a_pair_takes_the_shape_of_the_job_that_runs_over_it() {
        let turned = Choice { source_storage: Some("b".into()), target_storage: Some("a".into()) };
        let pair = chosen(&container(), &Config::default(), &turned).unwrap();
        let matched = pair.matching(&[JobStatus { job_id: "local|1|x".into(), ..job() }]);
        assert_eq!(ids(&[matched]), [("local|1|x", "aaaaaaaa-1", "bbbbbbbb-2")]);
    }

    #[test]
    fn only_the_containers_own_jobs_are_its_jobs() {
        let jobs = ["local|1", "local|1|b", "local|12", "0xa|1"].map(|id| JobStatus { job_id: id.into(), ..job() });
        let ours: Vec<_> = jobs_of(&container(), jobs.into()).into_iter().map(|job| job.job_id).collect();
        assert_eq!(ours, ["local|1", "local|1|b"]);
    }
}
