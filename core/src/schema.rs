//! The JSON schemas of manifest, config and control socket: they are what validates.

use std::sync::LazyLock;

use jsonschema::error::ValidationErrorKind as Broken;
use jsonschema::{Registry, RegistryBuilder, ValidationError, Validator};
use serde_json::{Map, Value, json};

const MANIFEST: &str = "wl:///schemas/manifest.json";
const CONFIG: &str = "wl:///schemas/config.json";
const COMMANDS: &str = "wl:///schemas/sync-commands.json";

/// One thing that a document does against its schema. Never holds a value of the document, which may be secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Where, as a JSON pointer; the object itself where one of its keys is missing.
    pub pointer: String,
    /// What is wrong and what to do, as a sentence without its subject.
    pub message: String,
}

/// Checks a manifest's shape.
pub fn validate_manifest(value: &Value) -> Result<(), Vec<Violation>> {
    static VALIDATOR: LazyLock<Validator> = LazyLock::new(|| validator(&format!("{MANIFEST}#")));
    check(&VALIDATOR, value)
}

/// Checks the shape of one storage's parameters.
pub fn validate_storage(value: &Value) -> Result<(), Vec<Violation>> {
    static VALIDATOR: LazyLock<Validator> = LazyLock::new(|| validator(&format!("{MANIFEST}#/$defs/storage")));
    check(&VALIDATOR, value)
}

/// Checks a configuration's shape.
pub fn validate_config(value: &Value) -> Result<(), Vec<Violation>> {
    static VALIDATOR: LazyLock<Validator> = LazyLock::new(|| validator(&format!("{CONFIG}#")));
    check(&VALIDATOR, value)
}

/// The commands of the control socket.
pub fn command_names() -> impl Iterator<Item = &'static str> {
    VALIDATORS.iter().map(|(name, _)| *name)
}

/// Checks the arguments of a command, each complaint with its place. Storage parameters may have more keys than their
/// type knows. What no command is called is refused.
pub fn validate_command(command: &str, args: &Value) -> Result<(), Vec<String>> {
    let Some((_, validator)) = VALIDATORS.iter().find(|(name, _)| *name == command) else {
        return Err(vec![format!("unknown command: {command}")]);
    };
    let mut args = args.clone();
    for storage in storages_in(&mut args) {
        drop_unknown_keys(storage);
    }
    check(validator, &args).map_err(|all| {
        all.into_iter()
            .map(|Violation { pointer, message }| format!("{} {message}", key_of(&pointer, "args")))
            .collect()
    })
}

static VALIDATORS: LazyLock<Vec<(&'static str, Validator)>> = LazyLock::new(|| {
    let commands = DOCUMENTS[2].1["$defs"].as_object().into_iter().flat_map(Map::keys);
    let validator = |name: &str| validator(&format!("{COMMANDS}#/$defs/{name}"));
    commands.filter(|name| *name != "types").map(|name| (name.as_str(), validator(name))).collect()
});

/// Writes whole numbers without a fraction or an exponent. To a schema `5.0` and `1e3` are integers; who reads an integer
/// would find none, and take what is usual instead.
pub fn write_whole_numbers(value: &mut Value) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(write_whole_numbers),
        Value::Object(fields) => fields.values_mut().for_each(write_whole_numbers),
        Value::Number(number) if number.is_f64() => {
            let float = number.as_f64().filter(|float| float.fract() == 0.0);
            // As a text it has no exponent; what is too large for an integer stays as it is.
            if let Some(whole) = float.and_then(|float| format!("{float:.0}").parse::<u64>().ok()) {
                *number = whole.into();
            }
        }
        _ => {}
    }
}

fn storages_in(args: &mut Value) -> impl Iterator<Item = &mut Value> {
    let fields = args.as_object_mut().into_iter().flatten();
    fields.flat_map(|(key, value)| match (key.as_str(), value) {
        ("source" | "target", storage) => std::slice::from_mut(storage),
        ("storages", Value::Array(storages)) => storages,
        _ => &mut [],
    })
}

/// Drops the keys of a storage's parameters that its type does not know, and those that are null.
pub(crate) fn drop_unknown_keys(storage: &mut Value) {
    let schema = storage["type"].as_str().and_then(|name| resolve(MANIFEST, &format!("/$defs/{name}")));
    if let Some((_, schema)) = schema {
        drop_keys_unknown_to(schema, storage);
    }
}

fn drop_keys_unknown_to(schema: &Value, value: &mut Value) {
    if let (Some(known), Some(fields)) = (schema["properties"].as_object(), value.as_object_mut()) {
        fields.retain(|key, value| known.contains_key(key) && !value.is_null());
        for (key, value) in fields {
            drop_keys_unknown_to(&known[key], value);
        }
    }
}

/// What a storage's key holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Holds {
    Text,
    Number,
    Flag,
    /// A text that may be given by reference.
    Identifier,
    /// A secret.
    Secret,
}

/// A key of a storage's parameters: where it stands, the last name being the one it is known by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StorageKey {
    pub(crate) path: Vec<&'static str>,
    pub(crate) holds: Holds,
}

impl StorageKey {
    pub(crate) fn name(&self) -> &'static str {
        self.path.last().copied().unwrap_or_default()
    }
}

/// The keys that a type's storages may have, nested ones with their path, in the schema's order.
pub(crate) fn storage_keys(storage_type: &str) -> Vec<StorageKey> {
    let mut keys = Vec::new();
    if let Some((_, schema)) = resolve(MANIFEST, &format!("/$defs/{storage_type}")) {
        collect_keys(schema, &[], &mut keys);
    }
    keys
}

fn collect_keys(schema: &'static Value, above: &[&'static str], keys: &mut Vec<StorageKey>) {
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        let path: Vec<_> = above.iter().copied().chain([name.as_str()]).collect();
        if property["properties"].is_object() {
            collect_keys(property, &path, keys);
            continue;
        }
        let (pointer, resolved) = dereference(MANIFEST, property);
        let holds = match (pointer, resolved["type"].as_str()) {
            (Some("#/$defs/secret"), _) => Holds::Secret,
            (Some("#/$defs/identifier"), _) => Holds::Identifier,
            (_, Some("boolean")) => Holds::Flag,
            (_, Some("number" | "integer")) => Holds::Number,
            _ => Holds::Text,
        };
        keys.push(StorageKey { path, holds });
    }
}

fn check(validator: &Validator, value: &Value) -> Result<(), Vec<Violation>> {
    let errors: Vec<_> = validator.iter_errors(value).collect();
    // A key that is missing where another one is unknown is most likely that one, misspelt.
    let has_unknown_key =
        |at: &str| errors.iter().any(|error| is_unknown_key(error) && error.instance_path().as_str() == at);
    let misspelt = |error: &ValidationError<'_>| {
        matches!(error.kind(), Broken::Required { .. }) && has_unknown_key(error.instance_path().as_str())
    };
    let mut violations: Vec<Violation> = Vec::new();
    for error in errors.iter().filter(|error| !misspelt(error)) {
        let found = violations_of(error);
        // What has the wrong shape breaks many rules at once; the first, the outermost, says what it is.
        let is_said =
            !names_a_key(error) && violations.iter().any(|said| said.pointer == error.instance_path().as_str());
        violations.extend(found.into_iter().filter(|_| !is_said));
    }
    if violations.is_empty() { Ok(()) } else { Err(violations) }
}

fn names_a_key(error: &ValidationError<'_>) -> bool {
    is_unknown_key(error) || matches!(error.kind(), Broken::Required { .. })
}

fn is_unknown_key(error: &ValidationError<'_>) -> bool {
    matches!(error.kind(), Broken::AdditionalProperties { .. } | Broken::UnevaluatedProperties { .. })
}

fn violations_of(error: &ValidationError<'_>) -> Vec<Violation> {
    let at = error.instance_path().as_str();
    let schema = schema_of(error);
    let one = |pointer: String, message: String| Violation { pointer, message };
    match error.kind() {
        Broken::AdditionalProperties { unexpected } | Broken::UnevaluatedProperties { unexpected } => {
            let known = known_keys(schema);
            unexpected.iter().map(|key| one(child(at, key), format!("is no key that is known here{known}"))).collect()
        }
        Broken::Required { property } => {
            let key = property.as_str().unwrap_or_default();
            let meaning = schema.and_then(|(document, schema)| description(document, &schema["properties"][key]));
            let meaning = meaning.map_or_else(String::new, |text| format!(" ({text})"));
            vec![one(at.to_owned(), format!("lacks the key {key}{meaning}: add it"))]
        }
        _ => {
            let meaning = schema.and_then(|(document, schema)| description(document, schema));
            let meaning = match (at, meaning) {
                // What describes a whole document is for its readers.
                ("", _) | (_, None) => keys_in_words(schema),
                (_, Some(meaning)) => meaning.to_owned(),
            };
            vec![one(at.to_owned(), format!("must be {meaning}"))]
        }
    }
}

/// The schema that an error's keyword stands in, with the document it is part of.
fn schema_of(error: &ValidationError<'_>) -> Option<(&'static str, &'static Value)> {
    let location = error.absolute_keyword_location()?.as_str();
    let (document, pointer) = location.split_once('#')?;
    let (above, _) = pointer.rsplit_once('/')?;
    // An entry of `additionalProperties` and the like says itself what it is.
    resolve(document, &percent_decoded(above))
}

/// What something must be whose schema has no description for users.
fn keys_in_words(schema: Option<(&'static str, &'static Value)>) -> String {
    let keys = schema.and_then(|(_, schema)| schema["properties"].as_object()).into_iter().flat_map(Map::keys);
    let keys = keys.map(String::as_str).collect::<Vec<_>>().join(", ");
    if keys.is_empty() { "an object".to_owned() } else { format!("`key: value` pairs; the keys are {keys}") }
}

fn known_keys(schema: Option<(&'static str, &'static Value)>) -> String {
    let keys: Vec<_> =
        schema.and_then(|(_, schema)| schema["properties"].as_object()).into_iter().flat_map(Map::keys).collect();
    if keys.is_empty() {
        return ": remove it".to_owned();
    }
    let list = keys.into_iter().map(String::as_str).collect::<Vec<_>>().join(", ");
    format!(": correct or remove it; known are {list}")
}

fn description(document: &'static str, schema: &'static Value) -> Option<&'static str> {
    let own = schema["description"].as_str();
    own.or_else(|| dereference(document, schema).1["description"].as_str())
}

/// What a schema's `$ref` refers to, and the reference; the schema itself where there is none.
fn dereference(document: &'static str, schema: &'static Value) -> (Option<&'static str>, &'static Value) {
    let Some(reference) = schema["$ref"].as_str() else { return (None, schema) };
    let (file, pointer) = reference.split_once('#').unwrap_or((reference, ""));
    let document = if file.is_empty() { document.to_owned() } else { format!("wl:///schemas/{file}") };
    (Some(reference), resolve(&document, pointer).map_or(schema, |(_, schema)| schema))
}

fn resolve(document: &str, pointer: &str) -> Option<(&'static str, &'static Value)> {
    let (name, document) = DOCUMENTS.iter().find(|(name, _)| *name == document)?;
    Some((*name, document.pointer(pointer)?))
}

fn percent_decoded(pointer: &str) -> String {
    pointer.replace("%24", "$")
}

/// A JSON pointer's child, escaped as JSON pointers are.
pub(crate) fn child(pointer: &str, key: &str) -> String {
    format!("{pointer}/{}", key.replace('~', "~0").replace('/', "~1"))
}

/// A JSON pointer as people write it: `backends.storage[0].type`; `whole` for the document itself.
pub(crate) fn key_of(pointer: &str, whole: &str) -> String {
    let mut key = String::new();
    for step in pointer.split('/').skip(1) {
        if step.parse::<usize>().is_ok() {
            key.extend(["[", step, "]"]);
        } else {
            key.push_str(if key.is_empty() { "" } else { "." });
            key.push_str(&step.replace("~1", "/").replace("~0", "~"));
        }
    }
    if key.is_empty() { whole.to_owned() } else { key }
}

static DOCUMENTS: LazyLock<[(&'static str, Value); 3]> = LazyLock::new(|| {
    [
        (MANIFEST, include_str!("../../schemas/manifest.json")),
        (CONFIG, include_str!("../../schemas/config.json")),
        (COMMANDS, include_str!("../../schemas/sync-commands.json")),
    ]
    // INVARIANT: the texts are built in, and the tests below parse them.
    .map(|(name, text)| (name, serde_json::from_str(text).expect("a built-in schema is JSON")))
});

static REGISTRY: LazyLock<Registry<'static>> = LazyLock::new(|| {
    let all = DOCUMENTS.iter().try_fold(Registry::new(), |registry, (name, value)| registry.add(*name, value));
    // INVARIANT: the schemas are built in, and the tests below use each of them.
    all.and_then(RegistryBuilder::prepare).expect("the built-in schemas refer to each other correctly")
});

fn validator(schema: &str) -> Validator {
    let built = jsonschema::options().with_registry(&REGISTRY).build(&json!({ "$ref": schema }));
    // INVARIANT: as above.
    built.expect("a built-in schema is valid")
}

#[cfg(test)]
mod tests;
