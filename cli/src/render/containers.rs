//! Containers and their storages, as text.

use serde_json::Value;
use wl_core::backend::{Facts, HashBy, Swap, Vouch, WatchBy};
use wl_core::report::StorageProbe;

use super::words::{add, count, indented, short_id, table};
use super::{BAD, BOLD, GOOD, WARN, styled};
use crate::commands::doctor::Probe;
use crate::commands::list::Containers;

/// Every container in a table, then the manifests that cannot be read.
pub fn list(found: &Containers) -> String {
    let mut text = String::new();
    if found.containers.is_empty() {
        text += "No containers. `wl container create NAME STORAGE STORAGE` makes one.\n";
    } else {
        let rows = found.containers.iter().map(|one| {
            let storages = one.storages.iter().map(|storage| storage.location.clone()).collect::<Vec<_>>().join(", ");
            [one.name.clone(), one.storages.len().to_string(), storages]
        });
        text += &table(["NAME", "STORAGES", "WHERE"], rows);
    }
    text + &found
        .errors
        .iter()
        .map(|one| format!("{} {}\n", styled(BAD, "unreadable:"), one.message))
        .collect::<Vec<_>>()
        .concat()
}

/// What each storage can do, and who would sync each pair.
pub fn probe(found: &Probe) -> String {
    let mut text: String = found.storages.iter().map(one_probe).collect();
    for choice in &found.syncers {
        add!(
            text,
            "{} -> {}: syncer {}\n",
            short_id(&choice.source),
            short_id(&choice.target),
            choice.syncer.as_deref().unwrap_or("none")
        );
    }
    text
}

fn one_probe(probe: &StorageProbe) -> String {
    let reachable = if probe.reachable { styled(GOOD, "reachable") } else { styled(BAD, "not reachable") };
    let title = styled(BOLD, &probe.location);
    let mut text = format!("{title} ({}, {}): {reachable}\n", probe.storage_type, probe.backend_id);
    if let Some(facts) = &probe.capabilities {
        text += &indented(&self::facts(facts));
    }
    text + &probe
        .problems
        .iter()
        .map(|problem| format!("  {} {problem}\n", styled(WARN, "note:")))
        .collect::<Vec<_>>()
        .concat()
}

fn facts(facts: &Facts) -> String {
    let yes = |can: bool| if can { "yes" } else { "no" };
    let swap = |swap: Swap| match swap {
        Swap::Atomic => "atomic",
        Swap::Checked => "checked, then done",
    };
    let hash = match facts.hash {
        HashBy::Native => "native",
        HashBy::Read => "by reading",
    };
    let token = match facts.token {
        Vouch::Strong => "strong",
        Vouch::Weak => "weak",
    };
    let watcher = match facts.watcher {
        WatchBy::Native => "native",
        WatchBy::Scan => "by scanning",
    };
    let rows = [
        ("hash", hash),
        ("token", token),
        ("replace", swap(facts.replace)),
        ("create", swap(facts.create)),
        ("delete", swap(facts.delete)),
        ("watcher", watcher),
        ("server-side copy", yes(facts.server_copy)),
        ("server-side move", yes(facts.server_move)),
        ("trash", yes(facts.trash)),
        ("modification times", yes(facts.mtime)),
        ("permission bits", yes(facts.mode)),
    ];
    let rows = rows.iter().map(|(name, value)| format!("{name:<19} {value}\n")).collect::<Vec<_>>().concat();
    rows + &facts.windows.iter().map(|window| format!("{window}\n")).collect::<Vec<_>>().concat()
}

/// A manifest as it is shown: `key: value` lines, lists with dashes.
pub fn tree(value: &Value) -> String {
    match value {
        Value::Object(map) => map.iter().map(|(key, value)| entry(&format!("{key}:"), value)).collect(),
        Value::Array(items) => items.iter().map(item).collect(),
        scalar => format!("{}\n", self::scalar(scalar)),
    }
}

fn entry(head: &str, value: &Value) -> String {
    match value {
        Value::Object(map) if !map.is_empty() => format!("{head}\n{}", indented(&tree(value))),
        Value::Array(items) if !items.is_empty() => format!("{head}\n{}", indented(&tree(value))),
        _ => format!("{head} {}\n", scalar(value)),
    }
}

fn item(value: &Value) -> String {
    let text = indented(&tree(value));
    text.strip_prefix("  ").map_or_else(|| text.clone(), |rest| format!("- {rest}"))
}

fn scalar(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// `2 storages`, with their backend-ids, as `create` says them.
pub fn storages(views: &[wl_core::report::StorageView]) -> String {
    if views.is_empty() {
        return count(0, "storage") + "\n";
    }
    let rows = views.iter().map(|view| [view.storage_type.clone(), view.backend_id.clone(), view.location.clone()]);
    table(["TYPE", "BACKEND-ID", "WHERE"], rows)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_manifest_reads_like_yaml() {
        let value = json!({"object": "container", "paths": ["/a", "/b"], "backends": {"storage": [{"type": "local",
            "credentials": {"secret": "********"}}, {"type": "s3"}]}, "none": []});
        assert_eq!(
            tree(&value),
            "object: container\npaths:\n  - /a\n  - /b\nbackends:\n  storage:\n    - type: local\n      credentials:\n        \
             secret: ********\n    - type: s3\nnone: []\n"
        );
    }

    #[test]
    fn a_storage_that_cannot_be_reached_says_so() {
        let probe = StorageProbe {
            backend_id: "1".into(),
            storage_type: "local".into(),
            location: "/a".into(),
            reachable: false,
            capabilities: None,
            problems: vec!["there is no such directory".into()],
        };
        let text = anstream::adapter::strip_str(&crate::render::harmless(&one_probe(&probe))).to_string();
        assert_eq!(text, "/a (local, 1): not reachable\n  note: there is no such directory\n");
    }
}
