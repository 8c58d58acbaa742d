//! What goes over the control socket: the only wire types.
//!
//! JSON objects, each followed by an empty line, both ways. A request is answered by one [`Answer`]; events are pushed.

mod framing;
mod parts;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

pub use framing::{Frame, Framing};
pub use parts::{Assembled, Parts};

/// The longest message, in bytes, without the empty line after it.
pub const MAX_MESSAGE: usize = 1 << 20;

/// From here on a number that is no integer of 64 bits does not stand for itself alone.
const EXACT: f64 = 9_007_199_254_740_992.0;

/// What a client numbers its requests with: a number or a text, echoed as it came.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Id {
    /// A number.
    Number(serde_json::Number),
    /// A text.
    Text(String),
}

/// A command with its arguments.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Request {
    /// The command's name.
    pub cmd: String,
    /// Its arguments, not yet validated.
    pub args: Map<String, Value>,
    /// What the answer echoes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<Id>,
    /// Whether an answer longer than a message may come in parts (see [`Parts`]).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub parts: bool,
}

/// The stable names of what can go wrong with a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ErrorClass {
    /// The message is no request: not JSON, not an object, too long.
    MessageError,
    /// There is no such command.
    CommandError,
    /// The arguments are not what the command takes.
    ArgumentError,
    /// There is no such job, or it is not in a state for this.
    JobError,
    /// A storage or the sync failed.
    SyncError,
    /// Only the daemon's own user may talk to it.
    PermissionError,
    /// The daemon itself failed or is ending.
    DaemonError,
}

/// Why a request failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{desc}")]
pub struct WireError {
    /// The kind of failure.
    pub class: ErrorClass,
    /// What happened and what to do next, as a sentence without its final stop. Never holds a secret.
    pub desc: String,
}

impl WireError {
    /// An error of that class.
    pub fn new(class: ErrorClass, desc: impl Into<String>) -> Self {
        Self { class, desc: desc.into() }
    }
}

impl From<wl_core::Error> for WireError {
    fn from(error: wl_core::Error) -> Self {
        Self::new(ErrorClass::SyncError, error.to_string())
    }
}

/// What the daemon sends.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Answer {
    /// A request was carried out.
    Result {
        /// What came of it.
        result: Value,
        /// The request's.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        id: Option<Id>,
    },
    /// A request failed.
    Error {
        /// Why.
        error: WireError,
        /// The request's.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        id: Option<Id>,
    },
    /// Something happened in a job.
    Event {
        /// The JSON text of a [`wl_core::monitor::Event`].
        event: String,
    },
    /// A piece of a long answer's result; the result itself then is null.
    Part {
        /// The next piece of the result's JSON text.
        part: String,
        /// The request's.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        id: Option<Id>,
    },
}

impl Answer {
    /// The answer to a request.
    pub fn to(id: Option<Id>, outcome: Result<Value, WireError>) -> Self {
        match outcome {
            Ok(result) => Self::Result { result, id },
            Err(error) => Self::Error { error, id },
        }
    }
}

/// A message that is no request, and its id where that could be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadRequest {
    /// What is wrong with it.
    pub error: WireError,
    /// What the answer echoes.
    pub id: Option<Id>,
}

impl Request {
    /// A request of that name.
    pub fn new(cmd: &str, args: Map<String, Value>) -> Self {
        Self { cmd: cmd.to_owned(), args, id: None, parts: false }
    }

    /// Reads a message.
    pub fn parse(message: &[u8]) -> Result<Self, BadRequest> {
        let bad =
            |id: Option<Id>, desc: String| BadRequest { error: WireError::new(ErrorClass::MessageError, desc), id };
        let text = std::str::from_utf8(message)
            .map_err(|error| bad(None, format!("the message is not UTF-8 (byte {})", error.valid_up_to())))?;
        let value: Value =
            serde_json::from_str(text).map_err(|error| bad(None, format!("the message is not JSON: {error}")))?;
        let Value::Object(mut fields) = value else {
            return Err(bad(None, format!("the message is {}, not a JSON object", kind_of(&value))));
        };
        let id = match fields.remove("id") {
            None | Some(Value::Null) => None,
            Some(Value::Number(number)) if number.as_f64().is_some_and(|id| number.is_f64() && id.abs() >= EXACT) => {
                let text = "`id` is a number beyond 64 bits, which would not come back as it was: give a smaller one, or a text";
                return Err(bad(None, text.to_owned()));
            }
            Some(Value::Number(number)) => Some(Id::Number(number)),
            Some(Value::String(text)) => Some(Id::Text(text)),
            Some(other) => return Err(bad(None, format!("`id` is {}, not a number or a text", kind_of(&other)))),
        };
        let cmd = match fields.remove("cmd") {
            Some(Value::String(cmd)) => cmd,
            Some(other) => return Err(bad(id, format!("`cmd` is {}, not a text", kind_of(&other)))),
            None => return Err(bad(id, "the message has no `cmd`".to_owned())),
        };
        let args = match fields.remove("args") {
            None | Some(Value::Null) => Map::new(),
            Some(Value::Object(args)) => args,
            Some(other) => return Err(bad(id, format!("`args` is {}, not an object", kind_of(&other)))),
        };
        let parts = match fields.remove("parts") {
            None => false,
            Some(Value::Bool(parts)) => parts,
            Some(other) => return Err(bad(id, format!("`parts` is {}, not true or false", kind_of(&other)))),
        };
        if let Some(key) = fields.keys().next() {
            return Err(bad(id, format!("the message has an unknown key `{key}`; it takes `cmd`, `args`, `id`")));
        }
        Ok(Self { cmd, args, id, parts })
    }
}

/// What a value is, in words.
fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Request, (String, Option<Id>)> {
        Request::parse(text.as_bytes()).map_err(|bad| (bad.error.desc, bad.id))
    }

    #[test]
    fn a_request_is_read_whole_or_bare() {
        let whole = parse(r#"{"cmd": "stop", "args": {"job-id": "a|b"}, "id": 7}"#).unwrap();
        assert_eq!((whole.cmd.as_str(), &whole.args["job-id"]), ("stop", &Value::from("a|b")));
        assert_eq!(whole.id, Some(Id::Number(7.into())));
        assert_eq!(parse(r#"{"cmd": "status"}"#), Ok(Request::new("status", Map::new())));
        assert_eq!(parse(r#"{"cmd": "status", "args": null, "id": null}"#), Ok(Request::new("status", Map::new())));
    }

    #[test]
    fn a_bad_message_says_what_is_wrong_and_keeps_its_id() {
        assert!(parse("{").unwrap_err().0.starts_with("the message is not JSON"));
        assert_eq!(parse("[1]").unwrap_err().0, "the message is a list, not a JSON object");
        assert_eq!(parse(r#"{"id": [1], "cmd": "x"}"#).unwrap_err().0, "`id` is a list, not a number or a text");
        let beyond = parse(r#"{"id": 123456789012345678901234567890, "cmd": "status"}"#).unwrap_err();
        assert!(beyond.0.contains("beyond 64 bits") && beyond.1.is_none(), "{beyond:?}");
        assert!(parse(r#"{"id": 18446744073709551615, "cmd": "status"}"#).is_ok());
        let seven = Some(Id::Text("seven".into()));
        assert_eq!(parse(r#"{"id": "seven"}"#).unwrap_err(), ("the message has no `cmd`".into(), seven.clone()));
        assert_eq!(parse(r#"{"id": "seven", "cmd": 3}"#).unwrap_err().1, seven);
        assert_eq!(parse(r#"{"cmd": "x", "args": []}"#).unwrap_err().0, "`args` is a list, not an object");
        assert!(parse(r#"{"cmd": "x", "arg": {}}"#).unwrap_err().0.contains("unknown key `arg`"));
        let not_text = Request::parse(b"{\"cmd\": \"\xff\"}").unwrap_err();
        assert_eq!(not_text.error.desc, "the message is not UTF-8 (byte 9)");
    }

    #[test]
    fn answers_have_the_shapes_of_the_contract() {
        let shown = |answer: &Answer| serde_json::to_string(answer).unwrap();
        let id = Some(Id::Number(3.into()));
        assert_eq!(shown(&Answer::to(id.clone(), Ok(Value::Null))), r#"{"result":null,"id":3}"#);
        assert_eq!(shown(&Answer::to(None, Ok(1.into()))), r#"{"result":1}"#);
        let error = WireError::new(ErrorClass::JobError, "no");
        assert_eq!(shown(&Answer::to(id, Err(error))), r#"{"error":{"class":"JobError","desc":"no"},"id":3}"#);
        assert_eq!(shown(&Answer::Event { event: "{}".into() }), r#"{"event":"{}"}"#);
        let back: Answer = serde_json::from_str(r#"{"result":null,"id":3}"#).unwrap();
        assert!(matches!(back, Answer::Result { result: Value::Null, .. }));
    }
}
