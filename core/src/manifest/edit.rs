//! Changes of a manifest's text that leave the rest of it, comments too, as its user wrote it.

use super::file::ordered;
use super::{Manifest, Storage};
use crate::document::Document;

const LIST: &str = "/backends/storage";

/// The text with the storages that the manifest has now and with nothing else changed; none where that takes writing it anew.
pub(super) fn with_storages(manifest: &Manifest, text: &str) -> Option<String> {
    let document = Document::parse(&manifest.file, text).ok()?;
    let before = Manifest::parse(&manifest.file, text).ok()?;
    let lines: Vec<_> = text.split_inclusive('\n').collect();
    let (first, _) = document.lines_below(&format!("{LIST}/0"))?;
    let (_, end) = document.lines_below(LIST)?;
    let indent = lines.get(first - 1)?.split_once("- ")?.0;
    let removed = before.storages.iter().enumerate().filter(|(_, one)| !has(manifest, one));
    let removed = removed.map(|(index, _)| document.lines_below(&format!("{LIST}/{index}")));
    let removed = removed.collect::<Option<Vec<_>>>()?;
    let added = manifest.storages.iter().filter(|one| !has(&before, one)).map(|one| item(one, indent));
    let added = added.collect::<Option<String>>()?;
    let mut changed = String::with_capacity(text.len() + added.len());
    for (number, line) in (1..).zip(lines) {
        if !removed.iter().any(|(from, to)| (*from..=*to).contains(&number)) {
            changed += line;
        }
        if number == end {
            changed += if changed.ends_with('\n') { "" } else { "\n" };
            changed += &added;
        }
    }
    // Whatever way the text is written: what is read must be what is meant.
    (Manifest::parse(&manifest.file, &changed).ok()? == *manifest).then_some(changed)
}

fn has(manifest: &Manifest, storage: &Storage) -> bool {
    manifest.storages.iter().any(|one| one.backend_id() == storage.backend_id())
}

/// An item of the list.
fn item(storage: &Storage, indent: &str) -> Option<String> {
    let text = serde_saphyr::to_string(&ordered(storage.params())).ok()?;
    let marks = std::iter::once("- ").chain(std::iter::repeat("  "));
    Some(text.lines().zip(marks).fold(String::new(), |text, (line, mark)| text + indent + mark + line + "\n"))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use serde_json::json;

    use super::*;

    const TEXT: &str = "signature: x\n---\n# mine\nobject: container\npaths: [/.uuid/u]\nbackends:\n  storage:\n  # home\n  \
        - type: local # here\n    backend-id: a\n    location: /a\n  # away\n  - type: local\n    backend-id: b\n    \
        location: /b # there\nmax-delete: 10 # careful\n";

    fn changed(text: &str, change: impl FnOnce(&mut Manifest)) -> Option<String> {
        let mut manifest = Manifest::parse(Path::new("/c.container.yaml"), text).unwrap();
        change(&mut manifest);
        with_storages(&manifest, text)
    }

    #[test]
    fn comments_and_the_header_stay() {
        let new = Storage::from_params(json!({ "type": "local", "backend-id": "c", "location": "/c" })).unwrap();
        let added = changed(TEXT, |manifest| manifest.add_storage(new).unwrap()).unwrap();
        let item = "  - type: local\n    backend-id: c\n    location: /c\n";
        assert_eq!(added, TEXT.replace("max-delete", &format!("{item}max-delete")));
        let removed = changed(&added, |manifest| drop(manifest.remove_storage("c").unwrap())).unwrap();
        assert_eq!(removed, TEXT);
        let first = changed(TEXT, |manifest| drop(manifest.remove_storage("a").unwrap())).unwrap();
        assert!(first.contains("# home") && first.contains("# away") && !first.contains("# here"), "{first}");
    }

    #[test]
    fn a_list_on_one_line_is_not_changed_in_place() {
        let text =
            "object: container\npaths: [/.uuid/u]\nbackends: {storage: [{type: local, backend-id: a, location: /a}]}\n";
        assert_eq!(changed(text, |manifest| drop(manifest.remove_storage("a").unwrap())), None);
    }
}
