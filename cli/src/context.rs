//! What every command is given: places, configuration, the screen, and the way to containers and the daemon.

use std::path::PathBuf;

use serde_json::{Map, Value, json};
use wl_core::config::{Config, Places};
use wl_core::lock::Lock;
use wl_core::manifest::Manifest;
use wl_core::report::JobStatus;

use crate::args::{Choice, Global};
use crate::failure::{Failure, Outcome};
use crate::link::Link;
use crate::pairs::{self, Pair};
use crate::render::Screen;

/// Where everything is, and where to print to.
#[derive(Debug)]
pub struct Context {
    /// Where everything is kept.
    pub places: Places,
    /// What the configuration says.
    pub config: Config,
    /// Where to print to.
    pub screen: Screen,
}

impl Context {
    /// Finds every place from the command line, the environment and the configuration.
    pub fn find(global: &Global) -> Outcome<Self> {
        let log = global.log_path.as_ref().map(|path| path.to_string_lossy());
        // As it is: a path need not be a text. An empty variable is as one that is not set.
        let variable = || std::env::var_os("WL_BASE_DIR").filter(|dir| !dir.is_empty()).map(PathBuf::from);
        let base_dir = global.base_dir.clone().or_else(variable);
        let (places, config) = Places::find(base_dir.as_deref(), global.socket_path.as_deref(), log.as_deref(), &env)
            .map_err(|error| Failure::manifest(&error))?;
        Ok(Self { places, config, screen: Screen::new(global.json) })
    }

    /// A container's manifest. One of which there is a copy is refused: nobody could tell whose jobs are whose.
    pub fn manifest(&self, name: &str) -> Outcome<Manifest> {
        let manifest = self.manifest_alone(name)?;
        refuse_twins(&manifest)?;
        Ok(manifest)
    }

    /// A container's manifest, whatever others there are: for what has to do with no job.
    pub fn manifest_alone(&self, name: &str) -> Outcome<Manifest> {
        self.manifest_file(name)?;
        Manifest::open(&self.places.base_dir, name).map_err(|error| Failure::manifest(&error))
    }

    /// The jobs of a container, and its manifest. A job that was started under that name is the container's even if the
    /// manifest is gone, cannot be read, has another uuid now, or there is a copy of it.
    pub async fn jobs_of(&self, name: &str) -> Outcome<(Link, Option<Manifest>, Vec<JobStatus>)> {
        let found = self.manifest(name);
        if let Err(failure) = &found
            && !self.places.state_dir.exists()
        {
            return Err(failure.clone());
        }
        let link = self.link().await?;
        let all = link.jobs().await?;
        let is_elsewhere = |job: &JobStatus| {
            job.container != name && Manifest::path_of(&self.places.base_dir, &job.container).exists()
        };
        let by_id = |job: &JobStatus| found.as_ref().is_ok_and(|manifest| pairs::is_of(manifest, job));
        let jobs: Vec<_> =
            all.into_iter().filter(|job| job.container == name || by_id(job) && !is_elsewhere(job)).collect();
        match found {
            Err(failure) if jobs.is_empty() => Err(failure),
            found => Ok((link, found.ok(), jobs)),
        }
    }

    /// The jobs of a container that there are, or would be again: a daemon that is not running resumes those it remembers,
    /// and is started to say which. Nobody who never had one remembers any.
    pub async fn remembered_jobs_of(&self, manifest: &Manifest) -> Outcome<Vec<JobStatus>> {
        let link = if self.places.state_dir.exists() { Some(self.link().await?) } else { self.running().await? };
        let Some(link) = link else { return Ok(Vec::new()) };
        Ok(pairs::jobs_of(manifest, link.jobs().await?))
    }

    /// The file a container's manifest is kept in, which exists.
    pub fn manifest_file(&self, name: &str) -> Outcome<PathBuf> {
        wl_core::manifest::check_name(name).map_err(|error| Failure::manifest(&error))?;
        let file = Manifest::path_of(&self.places.base_dir, name);
        if file.exists() { Ok(file) } else { Err(self.no_such_container(name)) }
    }

    /// Keeps others from changing manifests: to be held from reading one to writing it, and not while a user is asked.
    pub fn lock(&self) -> Outcome<Lock> {
        Ok(Lock::take(&self.places.base_dir)?)
    }

    /// Every manifest by its container's name, or why it cannot be used.
    pub fn manifests(&self) -> Outcome<Vec<(String, wl_core::Result<Manifest>)>> {
        Ok(Manifest::list(&self.places.base_dir)?)
    }

    /// The daemon, which is started if it is not running.
    pub async fn link(&self) -> Outcome<Link> {
        Link::ensure(&self.places).await
    }

    /// The daemon if it is running.
    pub async fn running(&self) -> Outcome<Option<Link>> {
        Link::running(&self.places).await
    }

    /// The pairs a command is about: the one that was asked for, else every one that has a job, else the usual one.
    pub async fn pairs_of(&self, link: &Link, manifest: &Manifest, choice: &Choice) -> Outcome<Vec<Pair>> {
        let jobs = pairs::jobs_of(manifest, link.jobs().await?);
        if choice.source_storage.is_none() && choice.target_storage.is_none() {
            let has_job = |pair: &Pair| jobs.iter().any(|job| pair.is_of(job));
            let running: Vec<_> =
                pairs::every(manifest).into_iter().filter(has_job).map(|pair| pair.matching(&jobs)).collect();
            if !running.is_empty() {
                return Ok(running);
            }
        }
        Ok(vec![pairs::chosen(manifest, &self.config, choice)?.matching(&jobs)])
    }

    /// The first of them.
    pub async fn pair_of(&self, link: &Link, manifest: &Manifest, choice: &Choice) -> Outcome<Pair> {
        let pairs = self.pairs_of(link, manifest, choice).await?;
        match pairs.into_iter().next() {
            Some(pair) => Ok(pair),
            None => pairs::chosen(manifest, &self.config, choice),
        }
    }

    /// What a job takes from the configuration.
    pub fn job_options(&self) -> Map<String, Value> {
        let options = [
            ("transfers", self.config.transfers.map(|transfers| json!(transfers))),
            ("bandwidth-limit", self.config.bandwidth_limit.map(|limit| json!(limit))),
            ("retry-for", self.config.retry_for.map(|time| json!(time.as_secs_f64()))),
        ];
        options.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?))).collect()
    }

    /// Remembers the target that was chosen for a container.
    pub fn remember_target(&self, manifest: &Manifest, backend_id: &str) -> Outcome<()> {
        if self.config.clone().remember_remote(&manifest.uuid, backend_id)? {
            self.screen.warn(format!("{} was written anew, without its comments", self.config.file.display()));
        }
        Ok(())
    }

    fn no_such_container(&self, name: &str) -> Failure {
        let names = Manifest::list(&self.places.base_dir).unwrap_or_default().into_iter().map(|(name, _)| name);
        let near: Vec<_> = names.filter(|known| is_near(known, name)).map(|known| format!("`{known}`")).collect();
        let hint = match near.as_slice() {
            [] => "`wl container list` shows those there are".to_owned(),
            near => format!("did you mean {}?", near.join(" or ")),
        };
        let place = self.places.containers_dir.display();
        Failure::usage(format!("there is no container `{name}` in {place}")).hint(hint)
    }
}

/// Refuses a manifest whose uuid another one has too.
pub fn refuse_twins(manifest: &Manifest) -> Outcome<()> {
    let twins = manifest.twins().map_err(|error| Failure::manifest(&error))?;
    let Some(twin) = twins.first() else { return Ok(()) };
    let (file, twin, uuid) = (manifest.file.display(), twin.display(), &manifest.uuid);
    let hint = format!(
        "put a new uuid into one of them, in `paths`, with `wl container edit NAME` (such as {}), or delete one",
        uuid::Uuid::new_v4()
    );
    Err(Failure::usage(format!("{file} and {twin} have the same uuid, {uuid}")).hint(hint))
}

/// A variable of this process's environment.
pub fn env(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

fn is_near(known: &str, typed: &str) -> bool {
    let (a, b) = (known.to_lowercase(), typed.to_lowercase());
    a.starts_with(&b) || b.starts_with(&a) || similar::TextDiff::from_chars(&a, &b).ratio() > 0.7
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_names_are_near() {
        assert!(is_near("photos", "photo") && is_near("photos", "phtoos") && is_near("Photos", "photos"));
        assert!(!is_near("photos", "music"));
    }
}
