//! A YAML file whose errors name file, line and key.

use std::collections::HashMap;
use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use serde_json::Value;
use serde_saphyr::granit_parser::{Event, Parser};

use crate::error::{Error, Fault, Result};
use crate::schema::{Violation, child, key_of, write_whole_numbers};

/// What a file holds, and the line of every key in it.
pub(crate) struct Document {
    file: PathBuf,
    pub(crate) value: Value,
    lines: HashMap<String, usize>,
}

impl Document {
    /// Reads a file's bytes as YAML.
    pub(crate) fn read(file: &Path, bytes: &[u8]) -> Result<Self> {
        Self::parse(file, text_of(file, bytes)?)
    }

    /// Reads YAML that came from a file; what stands before the first line `---` is a header, and left out.
    pub(crate) fn parse(file: &Path, text: &str) -> Result<Self> {
        let (header, body) = split_header(text);
        let skipped = header.lines().count();
        let is_document = header.lines().any(|line| line.starts_with("object:"));
        let further = || body.lines().position(|line| line.trim_end() == "---").map(|at| skipped + at + 1);
        if let Some(line) = is_document.then_some(skipped).or_else(further) {
            let what = "a second document begins here, and a file holds one: put the other one into a file of its own";
            return Err(malformed(file, line, what));
        }
        let mut value: Value = serde_saphyr::from_str(body).map_err(|error| {
            let line = error.location().map_or(0, |location| usize::try_from(location.line()).unwrap_or(0));
            // Its text may quote the file, which may hold secrets: only the first line of it, without the excerpt.
            let what = match error.without_snippet() {
                serde_saphyr::Error::DuplicateMappingKey { key: Some(key), .. } => {
                    format!("the key {key} is there twice: remove one")
                }
                other => format!("this is not YAML: {}; correct it", first_line(&other.to_string())),
            };
            malformed(file, skipped + line.max(1), &what)
        })?;
        write_whole_numbers(&mut value);
        Ok(Self { file: file.to_owned(), value, lines: lines_of_keys(body, skipped) })
    }

    /// The first of the violations in the order of lines, as an error that names file, line and key.
    pub(crate) fn error(&self, violations: Vec<Violation>) -> Error {
        let mut located: Vec<_> =
            violations.into_iter().map(|violation| (self.line_of(&violation.pointer), violation)).collect();
        located.sort_by_key(|(line, _)| *line);
        let what = located.into_iter().next().map(|(line, violation)| {
            malformed(
                &self.file,
                line,
                &format!("{} {}", key_of(&violation.pointer, "the document"), violation.message),
            )
        });
        what.unwrap_or_else(|| malformed(&self.file, 1, "this is not as its schema says"))
    }

    /// The first and the last line on which something at or below that key begins.
    pub(crate) fn lines_below(&self, pointer: &str) -> Option<(usize, usize)> {
        let is_below =
            |key: &str| key.strip_prefix(pointer).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
        let lines = || self.lines.iter().filter(|(key, _)| is_below(key)).map(|(_, line)| *line);
        Some((lines().min()?, lines().max()?))
    }

    /// The line of a key, or of the nearest thing around it whose line is known.
    fn line_of(&self, pointer: &str) -> usize {
        let mut at = pointer;
        loop {
            match (self.lines.get(at), at.rsplit_once('/')) {
                (Some(line), _) => return *line,
                (None, Some((above, _))) => at = above,
                (None, None) => return 1,
            }
        }
    }
}

/// A file's text.
pub(crate) fn text_of<'a>(file: &Path, bytes: &'a [u8]) -> Result<&'a str> {
    std::str::from_utf8(bytes).map_err(|error| {
        let line = bytes[..error.valid_up_to()].split(|byte| *byte == b'\n').count();
        malformed(file, line, "there are bytes that are not UTF-8: save the file as UTF-8")
    })
}

fn malformed(file: &Path, line: usize, what: &str) -> Error {
    Error::new(Fault::Malformed, format!("{}, line {line}: {what}", file.display()))
}

fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().trim_end_matches(['.', ':']).to_owned()
}

/// Whether there may be comments in a text: a `#` behind a blank can also be part of something in quotes.
pub(crate) fn has_comments(text: &str) -> bool {
    split_header(text).1.lines().any(|line| line.trim_start().starts_with('#') || line.contains(" #"))
}

/// The header with its closing `---`, and the rest.
pub(crate) fn split_header(text: &str) -> (&str, &str) {
    let mut end = 0;
    for line in text.split_inclusive('\n') {
        end += line.len();
        if line.trim_end() == "---" {
            return text.split_at(end);
        }
    }
    ("", text)
}

/// Where each key and each item of a list begins, by JSON pointer. As far as the text can be read.
fn lines_of_keys(text: &str, skipped: usize) -> HashMap<String, usize> {
    /// A mapping or a list that is being read.
    enum Open {
        Mapping { pointer: String, key: Option<String> },
        List { pointer: String, next: usize },
    }
    let mut lines = HashMap::new();
    let mut open: Vec<Open> = Vec::new();
    for (event, span) in Parser::new_from_str(text).map_while(Result::ok) {
        let line = skipped + span.start.line();
        if matches!(event, Event::MappingEnd | Event::SequenceEnd) {
            open.pop();
            continue;
        }
        let is_node =
            matches!(event, Event::Scalar(..) | Event::MappingStart(..) | Event::SequenceStart(..) | Event::Alias(_));
        if !is_node {
            continue;
        }
        // A mapping's nodes are keys and values by turns.
        let pointer = match open.last_mut() {
            None => String::new(),
            Some(Open::List { pointer, next }) => {
                *next += 1;
                child(pointer, &(*next - 1).to_string())
            }
            Some(Open::Mapping { pointer, key }) => match (key.take(), &event) {
                (Some(key), _) => child(pointer, &key),
                (None, Event::Scalar(text, ..)) => {
                    lines.insert(child(pointer, text), line);
                    *key = Some(text.to_string());
                    continue;
                }
                (None, _) => return lines,
            },
        };
        lines.entry(pointer.clone()).or_insert(line);
        match event {
            Event::MappingStart(..) => open.push(Open::Mapping { pointer, key: None }),
            Event::SequenceStart(..) => open.push(Open::List { pointer, next: 0 }),
            _ => {}
        }
    }
    lines
}

/// Puts a file in place at once, with the mode of the one that it replaces; a new one is readable by its owner only. Where
/// its name is a link, it is the file at its end that is replaced.
pub(crate) fn write_atomically(file: &Path, text: &str) -> Result<()> {
    let file = &end_of_links(file)?;
    let failed = |error: io::Error| {
        let what = format!("cannot write {}: {error}; check the directory's permissions and room", file.display());
        Error::new(fault_of(&error), what)
    };
    write_beside(file, text).and_then(|part| fs::rename(part, file)).and_then(|()| sync_parent(file)).map_err(failed)
}

/// Puts a new file in place at once, readable by its owner only. Whether it did: not if there is one already.
pub(crate) fn create_atomically(file: &Path, text: &str) -> Result<bool> {
    let failed = |error: io::Error| {
        let what = format!("cannot write {}: {error}; check the directory's permissions and room", file.display());
        Error::new(fault_of(&error), what)
    };
    let part = write_beside(file, text).map_err(failed)?;
    let linked = fs::hard_link(&part, file);
    fs::remove_file(&part).map_err(failed)?;
    match linked {
        Ok(()) => sync_parent(file).map(|()| true).map_err(failed),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(failed(error)),
    }
}

/// The file that is meant by a name, which may be a link.
fn end_of_links(file: &Path) -> Result<PathBuf> {
    if !file.is_symlink() {
        return Ok(file.to_owned());
    }
    file.canonicalize().map_err(|error| {
        let to = fs::read_link(file).unwrap_or_default();
        let (file, to) = (file.display(), to.display());
        let what = format!("cannot write {file}: it is a link to {to}, which cannot be reached ({error}); put that back, or remove the link");
        Error::new(fault_of(&error), what)
    })
}

fn write_beside(file: &Path, text: &str) -> io::Result<PathBuf> {
    let dir = parent(file);
    fs::create_dir_all(dir)?;
    let part = dir.join(format!(".wl-part-{}", uuid::Uuid::new_v4()));
    let mut out = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&part)?;
    // Said outright: a umask may take from an owner what is an owner's.
    let mode = fs::metadata(file).map_or_else(|_| fs::Permissions::from_mode(0o600), |old| old.permissions());
    let written = out.set_permissions(mode).and_then(|()| out.write_all(text.as_bytes())).and_then(|()| out.sync_all());
    if written.is_err() {
        // What cannot be written can often not be removed either; the first failure is the one to tell.
        let _ = fs::remove_file(&part);
    }
    written.map(|()| part)
}

fn sync_parent(file: &Path) -> io::Result<()> {
    fs::File::open(parent(file))?.sync_all()
}

fn parent(file: &Path) -> &Path {
    file.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// What a caller does about a failure of the file system.
pub(crate) fn fault_of(error: &io::Error) -> Fault {
    match error.kind() {
        io::ErrorKind::NotFound => Fault::Missing,
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => Fault::Denied,
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Fault::Full,
        io::ErrorKind::InvalidData => Fault::Malformed,
        _ => Fault::Broken,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_line_of_every_key_behind_a_header() {
        let text = "signature: |\n  x\n---\n# why\na:\n  - b: 1\n    c: {d: 2}\n  - e\nf: g\n";
        let document = Document::parse(Path::new("f"), text).unwrap();
        for (pointer, line) in
            [("/a", 5), ("/a/0", 6), ("/a/0/b", 6), ("/a/0/c/d", 7), ("/a/1", 8), ("/f", 9), ("/a/0/c/missing", 7)]
        {
            assert_eq!(document.line_of(pointer), line, "{pointer}");
        }
        assert_eq!(document.value["a"][0]["c"]["d"], 2);
    }

    #[test]
    fn a_second_document_is_no_header() {
        let refused = |text: &str| Document::parse(Path::new("f"), text).err().map(|error| error.to_string());
        let two = refused("object: container\na: 1\n---\nobject: container\n").unwrap();
        assert!(two.starts_with("f, line 3: a second document begins here"), "{two}");
        let behind = refused("---\nobject: container\n---\nobject: container\n").unwrap();
        assert!(behind.starts_with("f, line 3: a second document begins here"), "{behind}");
        assert_eq!(refused("---\nobject: container\n"), None);
    }

    #[test]
    fn the_first_violation_in_the_order_of_lines_is_told() {
        let document = Document::parse(Path::new("f"), "a: 1\nb: 2\n").unwrap();
        let violation = |pointer: &str| Violation { pointer: pointer.to_owned(), message: "is wrong".to_owned() };
        let error = document.error(vec![violation("/b"), violation("/a")]);
        assert_eq!(error.to_string(), "f, line 1: a is wrong");
    }

    #[test]
    fn what_is_no_yaml_is_told_with_its_line_and_without_its_text() {
        for text in ["---\na: 1\npassword: [hunter2\nb: 3\n", "a: 1\npassword: hunter2\n  hunter2: x\n", "p: 'hunter2"]
        {
            let error = Document::parse(Path::new("f"), text).err().unwrap().to_string();
            assert!(error.starts_with("f, line ") && !error.contains("hunter2") && !error.contains('\n'), "{error}");
        }
    }

    #[test]
    fn a_file_is_replaced_at_once_and_private() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("deep/f");
        assert!(create_atomically(&file, "one").unwrap());
        assert!(!create_atomically(&file, "two").unwrap());
        assert_eq!(fs::read_to_string(&file).unwrap(), "one");
        write_atomically(&file, "three").unwrap();
        assert_eq!(fs::read_to_string(&file).unwrap(), "three");
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(file.parent().unwrap()).unwrap().count(), 1);
    }

    #[test]
    fn what_a_link_leads_to_is_replaced_and_the_link_stays() {
        let dir = tempfile::tempdir().unwrap();
        let [deep, real, link] = ["deep", "deep/real", "link"].map(|name| dir.path().join(name));
        fs::create_dir(&deep).unwrap();
        fs::write(&real, "one").unwrap();
        std::os::unix::fs::symlink("deep/real", &link).unwrap();
        write_atomically(&link, "two").unwrap();
        assert!(link.is_symlink());
        assert_eq!(fs::read_to_string(&real).unwrap(), "two");
        fs::remove_file(&real).unwrap();
        let refused = write_atomically(&link, "three").unwrap_err();
        assert!(refused.message.contains("it is a link to deep/real"), "{refused}");
        assert!(link.is_symlink());
        assert_eq!(fs::read_dir(&deep).unwrap().count(), 0);
    }
}
