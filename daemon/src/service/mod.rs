//! What each command does. Knows no socket: whoever can call [`Service::handle`] can drive the daemon.

mod inspect;

use std::sync::Arc;

use serde_json::{Map, Value, json};
use tokio_util::sync::CancellationToken;
use wl_core::schema;

use crate::clients::{ClientHandle, Filter};
use crate::jobs::{Definition, Jobs, environment, status_line};
use crate::protocol::{ErrorClass, WireError};
use inspect::Inspect;

type Args = Map<String, Value>;
type Outcome = Result<Value, WireError>;

/// The commands that others need not wait for.
const LONG: [&str; 11] =
    ["stop", "stop-all", "pause", "verify", "plan", "conflicts", "resolve", "probe", "explain", "history", "trash"];

/// Whether a command may take so long that later ones overtake it.
pub fn takes_long(cmd: &str) -> bool {
    LONG.contains(&cmd)
}

/// The daemon's commands.
pub struct Service {
    jobs: Arc<Jobs>,
    inspect: Inspect,
    end: CancellationToken,
}

impl Service {
    /// Serves these jobs; `shutdown` cancels `end`.
    pub fn new(jobs: Arc<Jobs>, end: CancellationToken) -> Self {
        Self { inspect: Inspect::new(jobs.clone()), jobs, end }
    }

    /// Validates a command's arguments and carries it out.
    pub async fn handle(&self, client: &ClientHandle, cmd: &str, args: Args) -> Outcome {
        let args = validated(cmd, args)?;
        let job_id = args.get("job-id").and_then(Value::as_str).unwrap_or_default();
        match cmd {
            "start" => self.start(client, &args).await,
            "stop" if args.get("only-ended").is_some_and(|only| only == true) => {
                self.jobs.stop_ended(job_id).await.map(Value::from)
            }
            "stop" => self.jobs.stop(job_id).await.map(Value::from),
            "stop-all" => self.jobs.stop_all().await.map(Value::from),
            "pause" => self.jobs.pause(job_id).await.map(Value::from),
            "resume" => self.jobs.resume(job_id, environment(&args)).await.map(Value::from),
            "test-error" => self.jobs.fail(job_id).await.map(Value::from),
            "shutdown" => {
                self.jobs.halt_all().await;
                self.end.cancel();
                Ok(Value::Null)
            }
            "status" => Ok(self.jobs.statuses().iter().map(status_line).collect()),
            "job-state" => Ok(self.job_state(job_id)),
            "jobs" => Ok(self.statuses(args.get("job-id").and_then(Value::as_str))),
            "active-events" => {
                client.set_filter(self.jobs.get(job_id)?.id(), filter(&args)?);
                Ok(Value::Null)
            }
            "ended" => Ok(json!(self.jobs.just_cleared(job_id))),
            "compare" => self.compare(job_id, &args),
            "subscribe" => self.subscribe(client, job_id, &args),
            _ => self.inspect.handle(client, cmd, &args).await,
        }
    }

    async fn start(&self, client: &ClientHandle, args: &Args) -> Outcome {
        let definition = Definition::from_args(args)?;
        let replaces = args.get("replace") == Some(&Value::Bool(true));
        self.jobs.start(definition, replaces, Some((client, filter(args)?))).await.map(Value::from)
    }

    fn compare(&self, job_id: &str, args: &Args) -> Outcome {
        let job = self.jobs.get(job_id)?;
        Ok(job.definition().differing(&Definition::from_args(args)?, self.jobs.pairs().defaults()).into())
    }

    fn subscribe(&self, client: &ClientHandle, job_id: &str, args: &Args) -> Outcome {
        let job = self.jobs.get(job_id)?;
        if args.contains_key("active-events") {
            client.set_filter(job_id, filter(args)?);
        }
        client.follow(job_id, job.monitor());
        Ok(Value::Null)
    }

    fn job_state(&self, job_id: &str) -> Value {
        let status = self.jobs.statuses().into_iter().find(|status| status.job_id == job_id);
        status.map_or(Value::Null, |status| json!([status.state.number(), status_line(&status)]))
    }

    fn statuses(&self, job_id: Option<&str>) -> Value {
        let mut statuses = self.jobs.statuses();
        statuses.retain(|status| job_id.is_none_or(|id| status.job_id == id));
        json!({ "jobs": statuses })
    }
}

fn validated(cmd: &str, args: Args) -> Result<Args, WireError> {
    if !schema::command_names().any(|known| known == cmd) {
        let known: Vec<_> = schema::command_names().collect();
        let text = format!("unknown command {cmd:?}: known are {}", known.join(", "));
        return Err(WireError::new(ErrorClass::CommandError, text));
    }
    let args = Value::Object(args);
    schema::validate_command(cmd, &args)
        .map_err(|complaints| WireError::new(ErrorClass::ArgumentError, format!("{cmd}: {}", complaints.join("; "))))?;
    match args {
        Value::Object(args) => Ok(args),
        _ => Ok(Args::new()),
    }
}

fn filter(args: &Args) -> Result<Filter, WireError> {
    let types = args.get("active-events").cloned().unwrap_or_else(|| json!([]));
    serde_json::from_value(types)
        .map_err(|error| WireError::new(ErrorClass::ArgumentError, format!("`active-events`: {error}")))
}
