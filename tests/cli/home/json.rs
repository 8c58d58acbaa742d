//! Shapes of JSON documents, as the contract writes them down.

use serde_json::Value;

/// The names of an object's fields, sorted.
pub fn keys(value: &Value) -> Vec<&str> {
    let mut keys: Vec<_> = value.as_object().unwrap_or_else(|| panic!("not an object: {value}")).keys().collect();
    keys.sort();
    keys.into_iter().map(String::as_str).collect()
}

/// Holds an object against `name:type` words: every one is there, of that type, and nothing else is.
///
/// Types: `text`, `number`, `bool`, `list`, `object`, `hash`, `time`; with `?` also null. A name with `?` may be absent.
#[track_caller]
pub fn shape(value: &Value, fields: &str) {
    let object = value.as_object().unwrap_or_else(|| panic!("not an object: {value}"));
    let mut known = Vec::new();
    for field in fields.split_whitespace() {
        let (name, kind) = field.split_once(':').unwrap_or((field, "any"));
        let (name, optional) = name.strip_suffix('?').map_or((name, false), |name| (name, true));
        known.push(name);
        match object.get(name) {
            Some(value) => assert!(is(value, kind), "`{name}` is no {kind}: {value}"),
            None => assert!(optional, "`{name}` is missing: {object:?}"),
        }
    }
    let unknown: Vec<_> = object.keys().filter(|key| !known.contains(&key.as_str())).collect();
    assert!(unknown.is_empty(), "unknown fields {unknown:?} in {value}");
}

fn is(value: &Value, kind: &str) -> bool {
    if let Some(kind) = kind.strip_suffix('?') {
        return value.is_null() || is(value, kind);
    }
    match kind {
        "any" => true,
        "text" => value.is_string(),
        "number" => value.is_number(),
        "bool" => value.is_boolean(),
        "list" => value.is_array(),
        "object" => value.is_object(),
        "hash" => value.as_str().is_some_and(is_hash),
        "time" => value.as_str().is_some_and(is_time),
        other => panic!("no such type: {other}"),
    }
}

fn is_hash(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// RFC 3339, in UTC.
fn is_time(text: &str) -> bool {
    text.ends_with('Z') && text.as_bytes().get(10) == Some(&b'T') && text.len() >= 20
}
