//! What a job is: the arguments of `start`, checked.

use std::collections::BTreeMap;
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use serde_json::{Map, Value};
use wl_core::config::duration;
use wl_core::filter::Filter;
use wl_core::job::Options;
use wl_core::manifest::{Storage, bytes_a_second};
use wl_core::report::Mode;
use wl_core::schema::write_whole_numbers;

use super::pairs::Defaults;
use crate::protocol::{ErrorClass, WireError};

/// Values of environment variables that a client handed over; only memory holds them.
pub type Environment = BTreeMap<String, SecretString>;

/// Two storages of a container and how to keep them.
#[derive(Clone)]
pub struct Definition {
    job_id: String,
    container: String,
    storages: [Storage; 2],
    mode: Mode,
    unidirectional: bool,
    allow_deletes: bool,
    /// The arguments that only say how, as they came.
    manner: Map<String, Value>,
    environment: Environment,
    lacks: Option<String>,
}

/// The arguments that [`Definition`] keeps as they came.
const MANNER: [&str; 6] = ["exclude", "max-delete", "keep-deleted", "transfers", "bandwidth-limit", "retry-for"];

impl Definition {
    /// Reads the arguments of `start`, or of a command that looks at a pair, which its schema has validated.
    pub fn from_args(args: &Map<String, Value>) -> Result<Self, WireError> {
        let text = |key: &str| args.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
        let flag = |key: &str| args.get(key).and_then(Value::as_bool).unwrap_or_default();
        let storages = [storage(args, "source")?, storage(args, "target")?];
        check_apart(&storages)?;
        check_exclude(args)?;
        let manner = MANNER.iter().filter_map(|key| {
            let mut value = args.get(*key)?.clone();
            write_whole_numbers(&mut value);
            Some(((*key).to_owned(), value))
        });
        Ok(Self {
            job_id: text("job-id"),
            container: text("container-name"),
            storages,
            mode: if flag("continuous") { Mode::Continuous } else { Mode::OneShot },
            unidirectional: flag("unidirectional"),
            allow_deletes: flag("allow-deletes"),
            manner: manner.collect(),
            environment: environment(args),
            lacks: None,
        })
    }

    /// The same with something missing that it cannot run without, in words.
    pub fn lacking(mut self, what: String) -> Self {
        self.lacks = Some(what);
        self
    }

    /// What is missing, if anything is.
    pub fn lacks(&self) -> Option<&str> {
        self.lacks.as_deref()
    }

    /// The arguments to start it again, without a secret and without leave to delete, which was given once.
    pub fn for_disk(&self) -> Map<String, Value> {
        let mut args = self.manner.clone();
        args.insert("container-name".into(), self.container.clone().into());
        args.insert("job-id".into(), self.job_id.clone().into());
        args.insert("source".into(), self.storages[0].for_disk().into());
        args.insert("target".into(), self.storages[1].for_disk().into());
        args.insert("continuous".into(), (self.mode == Mode::Continuous).into());
        args.insert("unidirectional".into(), self.unidirectional.into());
        args
    }

    /// The same with these values of environment variables beside those it has.
    pub fn with_environment(&self, environment: Environment) -> Self {
        let mut all = self.clone();
        all.environment.extend(environment);
        all
    }

    /// The same without leave to delete, which was given for one run.
    pub fn without_leave_to_delete(self) -> Self {
        Self { allow_deletes: false, ..self }
    }

    /// `owner|container-uuid`, with `|backend-id` where it is one of several.
    pub fn job_id(&self) -> &str {
        &self.job_id
    }

    /// `owner|container-uuid`: what the state is kept under.
    pub fn container_id(&self) -> &str {
        let end = self.job_id.match_indices('|').nth(1).map_or(self.job_id.len(), |(at, _)| at);
        &self.job_id[..end]
    }

    /// The container's name.
    pub fn container(&self) -> &str {
        &self.container
    }

    /// The storages, the source first.
    pub fn storages(&self) -> &[Storage; 2] {
        &self.storages
    }

    /// The values of environment variables that a client handed over for it.
    pub fn environment(&self) -> &Environment {
        &self.environment
    }

    /// Once or until stopped.
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// Whether only the source's changes travel.
    pub fn unidirectional(&self) -> bool {
        self.unidirectional
    }
}

impl Definition {
    /// What another definition of the same job has that is not as it is here, by the names of the arguments of `start`. The
    /// storages may be the other way round. A variable of the environment counts where the other one has a value for it.
    pub fn differing(&self, other: &Self, defaults: &Defaults) -> Vec<&'static str> {
        let same = |theirs: &Storage| self.storages.iter().any(|ours| ours == theirs);
        let (ours, theirs) = (self.options(defaults), other.options(defaults));
        let stale = |(name, value): (&String, &SecretString)| {
            variable(&self.environment, name).as_deref() != Some(value.expose_secret())
        };
        let found = [
            ("source", !same(&other.storages[0])),
            ("target", !same(&other.storages[1])),
            ("unidirectional", ours.unidirectional != theirs.unidirectional),
            ("exclude", ours.exclude != theirs.exclude),
            ("max-delete", ours.max_delete != theirs.max_delete),
            ("keep-deleted", ours.keep_deleted != theirs.keep_deleted),
            ("transfers", ours.transfers != theirs.transfers),
            ("bandwidth-limit", ours.bandwidth_limit != theirs.bandwidth_limit),
            ("retry-for", ours.retry_for != theirs.retry_for),
            ("env", other.environment.iter().any(stale)),
        ];
        found.into_iter().filter(|(_, differs)| *differs).map(|(name, _)| name).collect()
    }

    /// How to keep the pair, with `defaults` for what was not said.
    pub fn options(&self, defaults: &Defaults) -> Options {
        let usual = Options::default();
        let number = |key: &str| self.manner.get(key).and_then(Value::as_u64);
        let exclude = self.manner.get("exclude").and_then(Value::as_array).into_iter().flatten();
        Options {
            unidirectional: self.unidirectional,
            exclude: exclude.filter_map(Value::as_str).map(str::to_owned).collect(),
            max_delete: number("max-delete").and_then(|share| u8::try_from(share).ok()).unwrap_or(usual.max_delete),
            allow_deletes: self.allow_deletes,
            keep_deleted: number("keep-deleted").map_or(usual.keep_deleted, |days| Duration::from_hours(24 * days)),
            transfers: number("transfers").and_then(|many| usize::try_from(many).ok()).or(defaults.transfers),
            bandwidth_limit: self.manner.get("bandwidth-limit").and_then(bytes_a_second).or(defaults.bandwidth_limit),
            retry_for: self.manner.get("retry-for").and_then(duration).unwrap_or(defaults.retry_for),
        }
    }
}

/// The values of environment variables among the arguments of a command.
pub fn environment(args: &Map<String, Value>) -> Environment {
    let given = args.get("env").and_then(Value::as_object).into_iter().flatten();
    given.filter_map(|(name, value)| Some((name.clone(), SecretString::from(value.as_str()?)))).collect()
}

/// The value of an environment variable: what a client handed over goes before what the daemon was started with.
pub fn variable(environment: &Environment, name: &str) -> Option<String> {
    let given = environment.get(name).map(|value| value.expose_secret().to_owned());
    given.or_else(|| std::env::var(name).ok())
}

/// Storage parameters among the arguments of a command.
fn storage(args: &Map<String, Value>, key: &str) -> Result<Storage, WireError> {
    let params = args.get(key).cloned().unwrap_or_default();
    Storage::from_params(params).map_err(|error| WireError::new(ErrorClass::ArgumentError, format!("`{key}`: {error}")))
}

/// Refuses a pattern that can never match, as a manifest with it would be.
fn check_exclude(args: &Map<String, Value>) -> Result<(), WireError> {
    let patterns = args.get("exclude").and_then(Value::as_array).into_iter().flatten();
    let patterns: Vec<_> = patterns.filter_map(Value::as_str).map(str::to_owned).collect();
    let read = Filter::new(&patterns);
    read.map(drop).map_err(|error| WireError::new(ErrorClass::ArgumentError, error.to_string()))
}

fn check_apart([source, target]: &[Storage; 2]) -> Result<(), WireError> {
    let text = if source.backend_id() == target.backend_id() {
        format!("source and target have the same backend-id ({}): choose two storages", source.backend_id())
    } else if let Some(how) = source.overlap(target) {
        let [source, target] = [source.location(), target.location()];
        format!("source and target are {how} ({source}, {target})")
    } else {
        return Ok(());
    };
    Err(WireError::new(ErrorClass::ArgumentError, text))
}
