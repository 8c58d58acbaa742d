//! Answers longer than one message.
//!
//! A client that put `"parts": true` beside `cmd` gets a long result as messages `{"part": TEXT, "id": N}`, whose texts
//! put together are the result's JSON text, followed by `{"result": null, "id": N}`. Any other client gets an error that
//! says so.

use std::collections::HashMap;

use bytes::Bytes;
use serde_json::Value;

use super::{Answer, ErrorClass, Id, MAX_MESSAGE, WireError};

/// The text in one part. JSON can write a byte as six (`\u0000`), so that this is well under [`MAX_MESSAGE`].
const PART: usize = 150_000;

/// The messages of one answer.
pub struct Parts;

impl Parts {
    /// Writes an answer down, in parts if it is long and the client takes them.
    pub fn of(answer: &Answer, accepted: bool) -> Vec<Bytes> {
        let whole = written(answer);
        if whole.len() <= MAX_MESSAGE {
            return vec![whole];
        }
        match answer {
            Answer::Result { result, id } if accepted => {
                let text = result.to_string();
                let mut messages: Vec<_> = pieces(&text)
                    .map(|part| written(&Answer::Part { part: part.to_owned(), id: id.clone() }))
                    .collect();
                messages.push(written(&Answer::Result { result: Value::Null, id: id.clone() }));
                messages
            }
            Answer::Event { .. } | Answer::Part { .. } => Vec::new(),
            Answer::Result { id, .. } | Answer::Error { id, .. } => {
                let desc = format!(
                    "the answer has {} bytes, more than a message may have ({MAX_MESSAGE}): ask for less, or put \
                     `\"parts\": true` beside `cmd` to get it in parts",
                    whole.len()
                );
                let error = WireError::new(ErrorClass::MessageError, desc);
                vec![written(&Answer::Error { error, id: id.clone() })]
            }
        }
    }
}

/// Puts parts together again.
#[derive(Debug, Default)]
pub struct Assembled {
    texts: HashMap<Id, String>,
}

impl Assembled {
    /// Takes a part.
    pub fn take(&mut self, id: Id, part: &str) {
        self.texts.entry(id).or_default().push_str(part);
    }

    /// The result of the request: what its parts say if it had any, else what its last message says.
    pub fn finish(&mut self, id: &Id, result: Value) -> serde_json::Result<Value> {
        self.texts.remove(id).map_or(Ok(result), |text| serde_json::from_str(&text))
    }
}

fn pieces(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let (piece, after) = rest.split_at(rest.floor_char_boundary(PART));
        rest = after;
        (!piece.is_empty()).then_some(piece)
    })
}

fn written(answer: &Answer) -> Bytes {
    // INVARIANT: an answer holds only texts, values and derived structures, all of which JSON can write.
    Bytes::from(serde_json::to_vec(answer).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn long() -> Value {
        Value::from((0..100_000).map(|number| format!("ä\n\u{1}{number} of many")).collect::<Vec<_>>())
    }

    #[test]
    fn a_long_answer_comes_in_parts_that_make_it_again() {
        let id = Id::Number(4.into());
        let messages = Parts::of(&Answer::to(Some(id.clone()), Ok(long())), true);
        assert!(messages.len() > 2 && messages.iter().all(|message| message.len() <= MAX_MESSAGE));
        let mut assembled = Assembled::default();
        let mut results = Vec::new();
        for message in messages {
            match serde_json::from_slice(&message).unwrap() {
                Answer::Part { part, id: Some(id) } => assembled.take(id, &part),
                Answer::Result { result, id: Some(id) } => results.push(assembled.finish(&id, result).unwrap()),
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(results, [long()]);
    }

    #[test]
    fn a_client_that_takes_no_parts_is_told() {
        let messages = Parts::of(&Answer::to(None, Ok(long())), false);
        let [message] = messages.as_slice() else { panic!("{} messages", messages.len()) };
        assert!(String::from_utf8_lossy(message).contains("more than a message may have"));
    }
}
