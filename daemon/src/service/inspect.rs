//! The commands about a pair that need no job: looking at it, and changing it for the user.

use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use serde_json::{Map, Value, json};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use wl_core::backend::{Facts, WatchBy};
use wl_core::job::{Pair, Run};
use wl_core::manifest::Storage;
use wl_core::monitor::Monitor;
use wl_core::path::RelPath;
use wl_core::report::{Problem, StorageProbe};
use wl_core::resolve::{self, Keep};
use wl_core::{Fault, Result, inspect, trash};

use crate::clients::ClientHandle;
use crate::jobs::{Definition, Jobs, environment, first_status, view};
use crate::protocol::{ErrorClass, WireError};

type Args = Map<String, Value>;
type Outcome = Result<Value, WireError>;

/// How many entries `history` gives where it is not told.
const HISTORY: usize = 100;

/// Four times what Linux takes for a path.
const LONGEST_PATH: usize = 16 << 10;

/// Looks at pairs, and changes them beside their jobs.
pub struct Inspect {
    jobs: Arc<Jobs>,
}

impl Inspect {
    /// Shares pairs with these jobs.
    pub fn new(jobs: Arc<Jobs>) -> Self {
        Self { jobs }
    }

    /// Carries out a command whose arguments are valid.
    pub async fn handle(&self, client: &ClientHandle, cmd: &str, args: &Args) -> Outcome {
        if cmd == "probe" {
            return self.probe(args).await;
        }
        let definition = Definition::from_args(args)?;
        match cmd {
            "plan" | "verify" | "explain" => self.looking(&definition, client, cmd, args).await,
            "conflicts" if args.get("force-scan") == Some(&Value::Bool(true)) => {
                self.looking(&definition, client, cmd, args).await
            }
            "conflicts" => {
                let ids = definition.storages().each_ref().map(|storage| storage.backend_id().to_owned());
                let known = self.jobs.pairs().known(&definition)?;
                Ok(open(&inspect::recorded_conflicts(&known, &ids)?, &known.problems()?))
            }
            "history" => {
                let path = args.contains_key("path").then(|| path(args)).transpose()?;
                let limit = args.get("limit").and_then(Value::as_u64).and_then(|limit| usize::try_from(limit).ok());
                let known = self.jobs.pairs().ever_known(&definition)?;
                answer("entries", known.history(path.as_ref(), limit.unwrap_or(HISTORY)))
            }
            "resolve" => self.resolve(&definition, client, args).await,
            "trash" => self.trash(&definition, client, args).await,
            _ => Err(WireError::new(ErrorClass::CommandError, format!("{cmd} is not there yet"))),
        }
    }

    /// Looks at both storages for a client, and no longer than it is there: it changes nothing, so it may end anywhere.
    async fn looking(&self, definition: &Definition, client: &ClientHandle, cmd: &str, args: &Args) -> Outcome {
        let looking = async {
            match cmd {
                "plan" => {
                    let pair = self.jobs.pairs().open_untouched(definition).await?;
                    let run = run(definition, pair, client.gone().child_token());
                    answer("actions", inspect::plan(&run).await)
                }
                "verify" => whole(inspect::verify(&self.look(definition, client).await?).await),
                "explain" => {
                    let path = path(args)?;
                    whole(inspect::explain(&self.look(definition, client).await?, &path).await)
                }
                _ => {
                    let (conflicts, problems) = inspect::scan_conflicts(&self.look(definition, client).await?).await?;
                    Ok(open(&conflicts, &problems))
                }
            }
        };
        // Nobody is left to read the answer.
        client.gone().run_until_cancelled(looking).await.unwrap_or_else(|| Err(wl_core::Error::stopped().into()))
    }

    /// A run over a pair of its own, ended when the client leaves.
    async fn look(&self, definition: &Definition, client: &ClientHandle) -> Result<Run, WireError> {
        let pair = self.jobs.pairs().open(definition).await?;
        Ok(run(definition, pair, client.gone().child_token()))
    }

    /// A run over the pair that a job may be running on too. What was begun is finished though the client leaves; nothing is
    /// begun for one who has left.
    async fn change(&self, definition: &Definition, client: &ClientHandle) -> Result<Run, WireError> {
        let pair = self.jobs.pairs().open_shared(definition).await?;
        Ok(run(definition, pair, client.gone().child_token()))
    }

    /// Resolves what can be resolved; fails if anything could not, naming each.
    async fn resolve(&self, definition: &Definition, client: &ClientHandle, args: &Args) -> Outcome {
        let texts = args.get("paths").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
        let paths = texts.map(parse_path).collect::<Result<Vec<_>, _>>()?;
        let run = self.change(definition, client).await?;
        let keep = keep(&run.pair, args)?;
        let (mut resolved, mut failed) = (Vec::new(), Vec::new());
        for path in &paths {
            match resolve::resolve(&run, path, keep).await {
                Ok(()) => resolved.push(path.to_string()),
                Err(error) => failed.push(naming(path, &error)),
            }
        }
        self.jobs.refresh(definition);
        if failed.is_empty() {
            return Ok(json!({ "resolved": resolved }));
        }
        let done = if resolved.is_empty() { String::new() } else { format!(" (resolved: {})", resolved.join(", ")) };
        Err(WireError::new(ErrorClass::SyncError, format!("{}{done}", failed.join("; "))))
    }

    async fn trash(&self, definition: &Definition, client: &ClientHandle, args: &Args) -> Outcome {
        let run = self.change(definition, client).await?;
        match args.get("action").and_then(Value::as_str) {
            Some("restore") => {
                let path = path(args)?;
                let at = args.get("at").and_then(Value::as_str).map(str::parse).transpose().map_err(|error| {
                    let text = format!("`at` is no time ({error}): give it as `trash list` shows it");
                    WireError::new(ErrorClass::ArgumentError, text)
                })?;
                let restored = whole(trash::restore(&run, &path, at).await);
                self.jobs.refresh(definition);
                restored
            }
            Some("empty") => whole(trash::empty(&run).await),
            _ => whole(Ok(trash::list(&run.pair).await)),
        }
    }

    async fn probe(&self, args: &Args) -> Outcome {
        let given = args.get("storages").and_then(Value::as_array).into_iter().flatten();
        let storages = given.map(|params| Storage::from_params(params.clone())).collect::<Result<Vec<_>>>()?;
        let probes = join_all(storages.iter().map(|storage| self.probe_one(storage, args))).await;
        let mut syncers = Vec::new();
        for (at, source) in storages.iter().enumerate() {
            for target in &storages[at + 1..] {
                let name = self.jobs.syncer_between(source, target).map(|syncer| syncer.traits().name).ok();
                syncers.push(json!({ "source": source.backend_id(), "target": target.backend_id(), "syncer": name }));
            }
        }
        Ok(json!({ "storages": probes, "syncers": syncers }))
    }

    async fn probe_one(&self, storage: &Storage, args: &Args) -> StorageProbe {
        let view = view(storage);
        let environment = environment(args);
        let tried = async {
            let backend = self.jobs.pairs().backend(storage, environment).await?;
            backend.root().await?;
            let found = backend.probe().await;
            if found.is_err() {
                // The first look may have been on a connection from before: whether there can be one now is what counts.
                backend.root().await?;
            }
            Ok::<_, WireError>(found.map(|facts| as_watched(facts, storage.watcher_interval())))
        };
        let (reachable, capabilities, problems) = match tried.await {
            Ok(Ok(facts)) => (true, Some(facts), Vec::new()),
            Ok(Err(error)) if error.fault == Fault::Offline => (false, None, vec![error.to_string()]),
            Ok(Err(error)) => (true, None, vec![error.to_string()]),
            Err(error) => (false, None, vec![error.desc]),
        };
        StorageProbe {
            backend_id: view.backend_id,
            storage_type: view.storage_type,
            location: view.location,
            reachable,
            capabilities,
            problems,
        }
    }
}

/// What a storage can do, where the manifest says how often it is scanned.
fn as_watched(facts: Facts, interval: Option<Duration>) -> Facts {
    let Some(interval) = interval else { return facts };
    // A watcher whose messages may get lost stays beside the scanning.
    let both = facts.watcher == WatchBy::Native && facts.scan_every_s.is_some();
    let watcher = if both { WatchBy::Native } else { WatchBy::Scan };
    Facts { watcher, scan_every_s: Some(interval.as_secs().max(1)), ..facts }
}

fn run(definition: &Definition, pair: Arc<Pair>, stop: CancellationToken) -> Run {
    let monitor = Arc::new(Monitor::new(first_status(definition, "none")));
    Run { pair, monitor, stop, poke: Arc::new(Notify::new()) }
}

fn keep(pair: &Pair, args: &Args) -> Result<Keep, WireError> {
    let wanted = args.get("keep").and_then(Value::as_str).unwrap_or_default();
    if wanted == "both" {
        return Ok(Keep::Both);
    }
    pair.which(wanted).map(Keep::Side).ok_or_else(|| {
        let [source, target] = pair.sides.each_ref().map(|side| &side.view.backend_id);
        let text = format!("`keep` is {wanted:?}: it must be {source}, {target} or both");
        WireError::new(ErrorClass::ArgumentError, text)
    })
}

fn path(args: &Args) -> Result<RelPath, WireError> {
    parse_path(args.get("path").and_then(Value::as_str).unwrap_or_default())
}

fn parse_path(text: &str) -> Result<RelPath, WireError> {
    // What is done about a path is done about each directory above it.
    if text.len() > LONGEST_PATH {
        let text = format!("a path of {} bytes is longer than any storage holds ({LONGEST_PATH})", text.len());
        return Err(WireError::new(ErrorClass::ArgumentError, text));
    }
    RelPath::parse(text).map_err(|error| {
        let text = format!("the path {text:?} {error}: give it relative to the storage, such as photos/a.jpg");
        WireError::new(ErrorClass::ArgumentError, text)
    })
}

fn naming(path: &RelPath, error: &wl_core::Error) -> String {
    if error.path.as_ref() == Some(path) { error.to_string() } else { format!("{path}: {error}") }
}

/// A result as it is written.
fn whole(outcome: Result<impl serde::Serialize>) -> Outcome {
    serde_json::to_value(outcome?).map_err(|error| WireError::new(ErrorClass::DaemonError, error.to_string()))
}

/// Conflicts, and beside them what could not be synced, if there is any.
fn open(conflicts: &impl serde::Serialize, problems: &[Problem]) -> Value {
    let mut found = json!({ "conflicts": conflicts });
    if !problems.is_empty() {
        found["problems"] = json!(problems);
    }
    found
}

/// A result under a key.
fn answer(key: &str, outcome: Result<impl serde::Serialize>) -> Outcome {
    Ok(json!({ key: whole(outcome)? }))
}
