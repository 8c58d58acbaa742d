//! The connection to the daemon, in this program's words.

use std::time::Duration;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};
use wl_core::config::Places;
use wl_core::report::JobStatus;
use wl_daemon::client::{Client, ClientError, ensure_daemon};

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

    /// The jobs the daemon knows.
    pub async fn jobs(&self) -> Outcome<Vec<JobStatus>> {
        Ok(self.call::<Jobs>("jobs", Map::new()).await?.jobs)
    }

    /// Stops a job; the daemon forgets it. Returns when nothing of it runs any more.
    pub async fn stop(&self, job_id: &str) -> Outcome<()> {
        self.call::<Value>("stop", object(json!({ "job-id": job_id }))).await.map(drop)
    }

    /// Ends the daemon and waits until it has.
    pub async fn shutdown(self) -> Outcome<()> {
        match self.client.call("shutdown", json!({})).await {
            Ok(_) | Err(ClientError::Ended(_)) => {}
            Err(error) => return Err(failure(&error)),
        }
        let ended = tokio::time::timeout(END, self.client.closed()).await;
        ended.map_err(|_| Failure::new("the daemon was told to end, but has not yet").hint("its log says what it does"))
    }
}

fn failure(error: &ClientError) -> Failure {
    Failure::new(error.to_string())
}
