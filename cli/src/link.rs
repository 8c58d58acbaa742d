//! The connection to the daemon, in this program's words.

use std::time::Duration;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};
use wl_core::config::Places;
use wl_core::report::JobStatus;
use wl_daemon::client::{Client, ClientError, ensure_daemon, has_ended, process, unreachable};
use wl_daemon::protocol::{ErrorClass, WireError};

use crate::failure::{Failure, Outcome};
use crate::pairs::object;

/// How long a daemon that was told to end may take for it.
const END: Duration = Duration::from_mins(1);

/// A connection to a running daemon.
pub struct Link {
    client: Client,
}

#[derive(Deserialize)]
struct Jobs {
    jobs: Vec<JobStatus>,
}

impl Link {
    /// Connects, starting the daemon if it is not running.
    pub async fn ensure(places: &Places) -> Outcome<Self> {
        let program = std::env::current_exe().map_err(|error| {
            Failure::new(format!("the daemon cannot be started: the path of this program is unknown: {error}"))
        })?;
        let client = ensure_daemon(places, &program).await.map_err(|error| failure(&error))?;
        Ok(Self { client })
    }

    /// Connects if the daemon is running.
    pub async fn running(places: &Places) -> Outcome<Option<Self>> {
        match Client::connect(&places.socket).await {
            Err(ClientError::NotRunning(_)) => {}
            Err(error) => return Err(failure(&error)),
            Ok(client) => return Ok(Some(Self { client })),
        }
        if let Some(process) = unreachable(places).await {
            let socket = places.socket.display();
            let text = format!("the sync daemon (process {process}) runs, but its socket {socket} was removed");
            let hint = format!("`kill {process}` ends it in good order; `wl daemon start` starts it again");
            return Err(Failure::new(text).hint(hint));
        }
        // It may have begun, or ended, just now.
        match Client::connect(&places.socket).await {
            Ok(client) => Ok(Some(Self { client })),
            Err(ClientError::NotRunning(_)) => Ok(None),
            Err(error) => Err(failure(&error)),
        }
    }

    /// Sends a command and reads its result.
    pub async fn call<T: DeserializeOwned>(&self, command: &str, args: Map<String, Value>) -> Outcome<T> {
        let result = self.client.call(command, Value::Object(args)).await.map_err(|error| failure(&error))?;
        serde_json::from_value(result).map_err(|error| {
            Failure::new(format!("the daemon answered `{command}` with something this wl does not know ({error})"))
                .hint("it is probably of another version: `wl daemon stop`, then try again")
        })
    }

    /// Starts a job. Whether it did: not if somebody else has started it since it was looked.
    pub async fn start(&self, args: Map<String, Value>) -> Outcome<bool> {
        let job_id = args.get("job-id").and_then(Value::as_str).unwrap_or_default().to_owned();
        match self.client.call("start", Value::Object(args)).await {
            Ok(_) => Ok(true),
            Err(ClientError::Refused(WireError { class: ErrorClass::JobError, .. }))
                if self.jobs().await?.iter().any(|job| job.job_id == job_id)
                    || self.ended(&job_id).await?.is_some() =>
            {
                Ok(false)
            }
            Err(error) => Err(failure(&error)),
        }
    }

    /// The jobs the daemon knows.
    pub async fn jobs(&self) -> Outcome<Vec<JobStatus>> {
        Ok(self.call::<Jobs>("jobs", Map::new()).await?.jobs)
    }

    /// How a one-shot job ended that somebody cleared a moment ago.
    pub async fn ended(&self, job_id: &str) -> Outcome<Option<JobStatus>> {
        self.call("ended", object(json!({ "job-id": job_id }))).await
    }

    /// Clears a job that has ended, unless somebody has done so already, or has started another in its place.
    pub async fn clear(&self, job_id: &str) -> Outcome<()> {
        self.end(json!({ "job-id": job_id, "only-ended": true })).await
    }

    /// Stops a job, unless somebody has done so already; the daemon forgets it. Returns when nothing of it runs any more.
    pub async fn stop(&self, job_id: &str) -> Outcome<()> {
        self.end(json!({ "job-id": job_id })).await
    }

    async fn end(&self, args: Value) -> Outcome<()> {
        match self.client.call("stop", args).await {
            // There is no such job.
            Ok(_) | Err(ClientError::Refused(WireError { class: ErrorClass::JobError, .. })) => Ok(()),
            Err(error) => Err(failure(&error)),
        }
    }

    /// Ends the daemon and waits until it has.
    pub async fn shutdown(self, places: &Places) -> Outcome<()> {
        let process = process(places);
        match self.client.call("shutdown", json!({})).await {
            Ok(_) | Err(ClientError::Ended(_)) => {}
            Err(error) => return Err(failure(&error)),
        }
        let end = async {
            self.client.closed().await;
            if let Some(process) = process {
                has_ended(places, &process).await;
            }
        };
        let ended = tokio::time::timeout(END, end).await;
        ended.map_err(|_| Failure::new("the daemon was told to end, but has not yet").hint("its log says what it does"))
    }
}

fn failure(error: &ClientError) -> Failure {
    Failure::new(error.to_string())
}
