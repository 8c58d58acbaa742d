//! The connection to the daemon, in this program's words.

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use wl_core::config::Places;
use wl_core::report::JobStatus;

use crate::failure::Outcome;

/// A connection to a running daemon.
pub struct Link {}

impl Link {
    /// Connects, starting the daemon if it is not running.
    pub async fn ensure(_places: &Places) -> Outcome<Self> {
        todo!()
    }
    /// Connects if the daemon is running.
    pub async fn running(_places: &Places) -> Outcome<Option<Self>> {
        todo!()
    }
    /// Sends a command and reads its result.
    pub async fn call<T: DeserializeOwned>(&mut self, _command: &str, _args: Map<String, Value>) -> Outcome<T> {
        todo!()
    }
    /// The jobs the daemon knows.
    pub async fn jobs(&mut self) -> Outcome<Vec<JobStatus>> {
        todo!()
    }
    /// Stops a job; the daemon forgets it.
    pub async fn stop(&mut self, _job_id: &str) -> Outcome<()> {
        todo!()
    }
    /// Ends the daemon and waits for its end.
    pub async fn shutdown(self) -> Outcome<()> {
        todo!()
    }
}
