//! Changes that a queue tells of.

mod support;

use aws_sdk_s3::types::{Event, NotificationConfiguration, QueueConfiguration};
use futures::StreamExt as _;
use serde_json::{Value, json};
use support::{PREFIX, user};
use wl_backend_s3::S3;
use wl_core::backend::{Backend as _, Hint, WatchBy};
use wl_core::error::Fault;
use wl_core::manifest::Storage;
use wl_core::path::RelPath;
use wl_test_kit::proxy::{Action, Answer, Http, Request};
use wl_test_kit::servers;

fn storage(endpoint: &str, queue: &str) -> std::sync::Arc<S3> {
    let params = json!({
        "type": "s3",
        "backend-id": "test",
        "s3-url": format!("s3://bucket/{PREFIX}"),
        "endpoint-url": endpoint,
        "credentials": { "access-key": servers::S3::ACCESS_KEY, "secret-key": servers::S3::SECRET_KEY },
        "notifications": { "sqs": queue },
    });
    S3::new(&Storage::from_params(params).unwrap()).unwrap()
}

fn record(name: &str, key: &str) -> String {
    let records = json!([{ "eventName": name, "s3": { "bucket": { "name": "bucket" }, "object": { "key": key } } }]);
    json!({ "Records": records }).to_string()
}

fn paths(texts: &[&str]) -> Vec<RelPath> {
    texts.iter().map(|text| RelPath::parse(text).unwrap()).collect()
}

/// An answer of SQS, in its JSON protocol.
fn answer(body: &Value) -> Action {
    let headers = vec![("content-type", "application/x-amz-json-1.0".to_owned())];
    Action::Answer(Answer { status: 200, headers, body: body.to_string() })
}

#[tokio::test]
async fn what_is_received_is_a_hint_and_deleted() {
    let mut bodies =
        vec![record("ObjectCreated:Put", "pre+fix%2Fd%2Fa+b"), record("ObjectRemoved:Delete", "pre+fix/c")];
    let proxy = Http::with("127.0.0.1:1", move |request: &Request| match request.header("x-amz-target") {
        Some("AmazonSQS.ReceiveMessage") => {
            let message = |body| json!({ "MessageId": "m", "ReceiptHandle": "r", "Body": body });
            answer(&json!({ "Messages": bodies.drain(..).map(message).collect::<Vec<_>>() }))
        }
        Some("AmazonSQS.DeleteMessageBatch") => answer(&json!({ "Successful": [], "Failed": [] })),
        _ => answer(&json!({})),
    });
    let endpoint = format!("http://{}", proxy.address());
    let storage = storage(&endpoint, &format!("{endpoint}/1/changes"));
    assert_eq!(storage.facts().watcher, WatchBy::Native);
    assert!(storage.facts().scan_every_s.is_some(), "notifications get lost");
    let hints = storage.watch().await.unwrap().take(2).collect::<Vec<_>>().await;
    assert_eq!(hints, [Hint::Look(paths(&["d", "d/a b"])), Hint::Gone(paths(&["c"]))]);
    let deleted = |request: &Request| request.header("x-amz-target") == Some("AmazonSQS.DeleteMessageBatch");
    assert_eq!(proxy.count(deleted), 1);
}

#[tokio::test]
async fn a_queue_that_cannot_be_used_is_said() {
    let denied = json!({ "__type": "com.amazonaws.sqs#QueueDoesNotExist", "message": "no" });
    let proxy = Http::with("127.0.0.1:1", move |_: &Request| {
        let headers = vec![("content-type", "application/x-amz-json-1.0".to_owned())];
        Action::Answer(Answer { status: 400, headers, body: denied.to_string() })
    });
    let endpoint = format!("http://{}", proxy.address());
    let error = storage(&endpoint, &format!("{endpoint}/1/changes")).watch().await.err().unwrap();
    assert!(error.fault == Fault::Broken && error.message.contains("correct `notifications`"), "{error:?}");
}

/// The whole way, with a server that really delivers.
#[tokio::test]
async fn a_server_tells_of_changes() {
    let server = servers::moto::start();
    let endpoint = server.endpoint();
    let bucket = user(endpoint);
    let sdk = aws_sdk_sqs::Config::builder()
        .behavior_version(aws_sdk_sqs::config::BehaviorVersion::latest())
        .region(aws_sdk_sqs::config::Region::new(servers::S3::REGION))
        .credentials_provider(aws_sdk_sqs::config::Credentials::new("testkey", "testsecret", None, None, "test"))
        .endpoint_url(endpoint);
    let queues = aws_sdk_sqs::Client::from_conf(sdk.build());
    let queue = queues.create_queue().queue_name("changes").send().await.unwrap().queue_url.unwrap();
    let _ = bucket.create_bucket().bucket("bucket").send().await;
    let arn = format!("arn:aws:sqs:{}:123456789012:changes", servers::S3::REGION);
    let told = QueueConfiguration::builder().queue_arn(arn);
    let told =
        told.events(Event::from("s3:ObjectCreated:*")).events(Event::from("s3:ObjectRemoved:*")).build().unwrap();
    let told = NotificationConfiguration::builder().queue_configurations(told).build();
    bucket
        .put_bucket_notification_configuration()
        .bucket("bucket")
        .notification_configuration(told)
        .send()
        .await
        .unwrap();
    let mut hints = storage(endpoint, &queue).watch().await.unwrap();
    let key = format!("{PREFIX}d/a b");
    bucket.put_object().bucket("bucket").key(&key).send().await.unwrap();
    assert_eq!(hints.next().await, Some(Hint::Look(paths(&["d", "d/a b"]))));
    bucket.delete_object().bucket("bucket").key(&key).send().await.unwrap();
    assert_eq!(hints.next().await, Some(Hint::Gone(paths(&["d", "d/a b"]))));
}
