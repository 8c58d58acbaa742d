//! Receiving event notifications from SQS.

use std::sync::Arc;
use std::time::Duration;

use aws_sdk_sqs::error::ProvideErrorMetadata;
use aws_sdk_sqs::types::{DeleteMessageBatchRequestEntry, Message};
use futures::StreamExt as _;
use futures::stream::{self, BoxStream};
use serde_json::Value;
use wl_core::backend::Hint;
use wl_core::error::{Error, Fault, Result};
use wl_core::path::RelPath;

use crate::Place;
use crate::key::{Keys, Named};

/// How long one request waits for messages; SQS allows no longer (API reference, ReceiveMessage).
const WAIT_S: i32 = 20;
/// Messages in one answer; SQS allows no more.
const MOST: i32 = 10;
/// After a failure it is tried again, this much later each time, up to the last.
const PAUSES: [Duration; 4] =
    [Duration::from_secs(1), Duration::from_secs(5), Duration::from_secs(20), Duration::from_mins(1)];
/// From so many failures in a row on, it is said.
const MANY: usize = 3;

struct Queue {
    client: aws_sdk_sqs::Client,
    url: String,
    place: Arc<Place>,
    failures: usize,
}

/// Begins to receive. Fails if the queue cannot be reached.
pub(crate) async fn watch(place: Arc<Place>, url: String) -> Result<BoxStream<'static, Hint>> {
    let sdk = place.client.sdk(&place.config).await?;
    let mut config = aws_sdk_sqs::config::Builder::from(sdk);
    // The queue is where its URL says, whatever the bucket's endpoint.
    if let Some(endpoint) = endpoint(&url) {
        config = config.endpoint_url(endpoint);
    }
    let timeouts = aws_config::timeout::TimeoutConfig::builder().connect_timeout(Duration::from_secs(10));
    let wait = Duration::from_secs(u64::from(WAIT_S.unsigned_abs()) + 10);
    let config = config.timeout_config(timeouts.read_timeout(wait).build());
    let queue = Queue { client: aws_sdk_sqs::Client::from_conf(config.build()), url, place, failures: 0 };
    queue.client.get_queue_attributes().queue_url(&queue.url).send().await.map_err(|error| {
        let text = format!("the queue {} cannot be used: {}: correct `notifications`", queue.url, said(&error));
        Error::new(Fault::Broken, text)
    })?;
    let hints = stream::unfold(queue, |mut queue| async move {
        let hints = queue.next().await;
        Some((stream::iter(hints), queue))
    });
    Ok(hints.flatten().boxed())
}

impl Queue {
    async fn next(&mut self) -> Vec<Hint> {
        let receive = self.client.receive_message().queue_url(&self.url);
        match receive.wait_time_seconds(WAIT_S).max_number_of_messages(MOST).send().await {
            Ok(received) => {
                self.failures = 0;
                let messages = received.messages.unwrap_or_default();
                let hints = hints(&self.place.config.bucket, &self.place.config.keys, &messages);
                self.delete(&messages).await;
                hints
            }
            Err(error) => {
                let pause = PAUSES[self.failures.min(PAUSES.len() - 1)];
                self.failures += 1;
                tracing::debug!(queue = self.url, "receiving from the queue failed: {}", said(&error));
                tokio::time::sleep(pause).await;
                if self.failures != MANY {
                    return Vec::new();
                }
                vec![Hint::Degraded(format!("the queue {} cannot be read ({})", self.url, said(&error)))]
            }
        }
    }

    /// What was received is not delivered again. What fails to be deleted is, which does no harm.
    async fn delete(&self, messages: &[Message]) {
        let entry = |(id, message): (usize, &Message)| {
            let receipt = message.receipt_handle().unwrap_or_default();
            DeleteMessageBatchRequestEntry::builder().id(id.to_string()).receipt_handle(receipt).build().ok()
        };
        let entries: Vec<_> = messages.iter().enumerate().filter_map(entry).collect();
        if entries.is_empty() {
            return;
        }
        let deleted = self.client.delete_message_batch().queue_url(&self.url).set_entries(Some(entries)).send().await;
        if let Err(error) = deleted {
            tracing::debug!(queue = self.url, "deleting from the queue failed: {}", said(&error));
        }
    }
}

/// The scheme and server of a queue's URL.
fn endpoint(url: &str) -> Option<String> {
    let (scheme, rest) = url.split_once("://")?;
    Some(format!("{scheme}://{}", rest.split('/').next()?))
}

fn said<E: ProvideErrorMetadata>(error: &aws_sdk_sqs::error::SdkError<E>) -> String {
    match (error.as_service_error().and_then(ProvideErrorMetadata::code), error) {
        (Some(code), _) => code.to_owned(),
        (None, aws_sdk_sqs::error::SdkError::TimeoutError(_)) => "no answer in time".to_owned(),
        (None, _) => "it cannot be reached".to_owned(),
    }
}

/// What messages say of the keys of one bucket. What is about something else, or nothing that is known, says nothing.
fn hints(bucket: &str, keys: &Keys, messages: &[Message]) -> Vec<Hint> {
    let (mut look, mut gone) = (Vec::new(), Vec::new());
    let bodies = messages.iter().filter_map(|message| serde_json::from_str::<Value>(message.body()?).ok());
    for event in bodies.flat_map(|body| events(&body)) {
        if event.bucket != bucket || !event.key.starts_with(keys.prefix()) {
            continue;
        }
        let (Named::File(path) | Named::Dir(path)) = keys.named(&event.key) else { continue };
        if path.is_ours() {
            continue;
        }
        // A key is all there is of the directories it implies.
        let around: Vec<RelPath> = path.ancestors().collect();
        if event.removed {
            gone.extend(around.into_iter().rev());
            gone.push(path);
        } else {
            look.extend(around.into_iter().rev());
            look.push(path);
        }
    }
    let mut hints = Vec::new();
    for (paths, hint) in [(look, Hint::Look as fn(Vec<RelPath>) -> Hint), (gone, Hint::Gone)] {
        let mut paths = paths;
        paths.sort();
        paths.dedup();
        if !paths.is_empty() {
            hints.push(hint(paths));
        }
    }
    hints
}

/// That something happened to a key.
#[derive(Debug, PartialEq, Eq)]
struct Event {
    bucket: String,
    key: String,
    removed: bool,
}

/// The events in a message: S3's own records (user guide, Event message structure), the same wrapped by SNS, or one of
/// EventBridge's (user guide, EventBridge event message structure).
fn events(message: &Value) -> Vec<Event> {
    if let Some(wrapped) = message.get("Message").and_then(Value::as_str) {
        return serde_json::from_str(wrapped).map_or_else(|_| Vec::new(), |inner| events(&inner));
    }
    if let Some(records) = message.get("Records").and_then(Value::as_array) {
        return records.iter().filter_map(record).collect();
    }
    of_event_bridge(message).into_iter().collect()
}

fn record(record: &Value) -> Option<Event> {
    let text = |pointer: &str| record.pointer(pointer).and_then(Value::as_str);
    let name = text("/eventName")?;
    let name = name.strip_prefix("s3:").unwrap_or(name);
    let removed = name.starts_with("ObjectRemoved") || name.starts_with("LifecycleExpiration");
    if !removed && !name.starts_with("ObjectCreated") && !name.starts_with("ObjectRestore") {
        return None;
    }
    // "The object key name value is URL encoded", as a form is.
    let key = text("/s3/object/key")?.replace('+', " ");
    let key = percent_encoding::percent_decode_str(&key).decode_utf8().ok()?.into_owned();
    Some(Event { bucket: text("/s3/bucket/name")?.to_owned(), key, removed })
}

fn of_event_bridge(event: &Value) -> Option<Event> {
    let text = |pointer: &str| event.pointer(pointer).and_then(Value::as_str);
    let kind = text("/detail-type").filter(|_| text("/source") == Some("aws.s3"))?;
    let removed = kind == "Object Deleted";
    if !removed && kind != "Object Created" && kind != "Object Restore Completed" {
        return None;
    }
    Some(Event {
        bucket: text("/detail/bucket/name")?.to_owned(),
        key: text("/detail/object/key")?.to_owned(),
        removed,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn record_of(name: &str, key: &str) -> Value {
        json!({ "Records": [{ "eventName": name, "s3": { "bucket": { "name": "b" }, "object": { "key": key } } }] })
    }

    fn hinted(bodies: &[Value]) -> Vec<Hint> {
        let message = |body: &Value| Message::builder().body(body.to_string()).build();
        hints("b", &Keys::new("p").unwrap(), &bodies.iter().map(message).collect::<Vec<_>>())
    }

    fn paths(texts: &[&str]) -> Vec<RelPath> {
        texts.iter().map(|text| RelPath::parse(text).unwrap()).collect()
    }

    #[test]
    fn events_of_all_shapes_are_hints() {
        let created = record_of("ObjectCreated:Put", "p/a/b+c%2B");
        let wrapped =
            json!({ "Type": "Notification", "Message": record_of("s3:ObjectCreated:Copy", "p/d").to_string() });
        let bridged = json!({ "source": "aws.s3", "detail-type": "Object Deleted",
            "detail": { "bucket": { "name": "b" }, "object": { "key": "p/e+f" } } });
        let removed = record_of("ObjectRemoved:Delete", "p/g/h/");
        assert_eq!(
            hinted(&[created, wrapped, bridged, removed]),
            [Hint::Look(paths(&["a", "a/b c+", "d"])), Hint::Gone(paths(&["e+f", "g", "g/h"]))]
        );
    }

    #[test]
    fn what_is_about_something_else_says_nothing() {
        let elsewhere = json!({ "source": "aws.s3", "detail-type": "Object Created",
            "detail": { "bucket": { "name": "c" }, "object": { "key": "p/a" } } });
        let foreign = [
            json!({ "Event": "s3:TestEvent" }),
            json!("text"),
            json!({ "Message": "text" }),
            elsewhere,
            record_of("ObjectCreated:Put", "q/a"),
            record_of("ObjectTagging:Put", "p/a"),
            record_of("ObjectCreated:Put", "p/.wl-part-1"),
            record_of("ObjectCreated:Put", "p/.wl-trash/1/a"),
            record_of("ObjectCreated:Put", "p/a//b"),
            record_of("ObjectCreated:Put", "p/%ff"),
        ];
        assert_eq!(hinted(&foreign), []);
    }

    #[test]
    fn a_queue_is_where_its_url_says() {
        let url = "http://127.0.0.1:5000/123456789012/queue";
        assert_eq!(endpoint(url).as_deref(), Some("http://127.0.0.1:5000"));
    }
}
