//! The files that manifests are kept in.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use super::site::Site;
use super::{Manifest, Storage, check_name, edit};
use crate::document::{Document, create_atomically, fault_of, has_comments, split_header, text_of, write_atomically};
use crate::error::{Error, Fault, Result};
use crate::filter::Filter;
use crate::job::Options;
use crate::schema::{self, Violation};

const SUFFIX: &str = ".container.yaml";
const DAY: u64 = 24 * 60 * 60;

impl Manifest {
    /// Where the manifest of that container is kept.
    pub fn path_of(base_dir: &Path, name: &str) -> PathBuf {
        base_dir.join("containers").join(format!("{name}{SUFFIX}"))
    }

    /// Reads the manifest of that container.
    pub fn open(base_dir: &Path, name: &str) -> Result<Self> {
        check_name(name)?;
        Self::load(&Self::path_of(base_dir, name))
    }

    /// Reads a manifest and checks it; an error names file, line and key.
    pub fn load(file: &Path) -> Result<Self> {
        let bytes = fs::read(file).map_err(|error| cannot_read(file, &error))?;
        Self::parse(file, text_of(file, &bytes)?)
    }

    /// Checks the text of a manifest that is, or will be, kept in that file.
    pub fn parse(file: &Path, text: &str) -> Result<Self> {
        let document = Document::parse(file, text)?;
        schema::validate_manifest(&document.value).map_err(|violations| document.error(violations))?;
        let manifest = Self::of(file, &document.value);
        let violations = manifest.flaws();
        if violations.is_empty() { Ok(manifest) } else { Err(document.error(violations)) }
    }

    /// Takes what the schema found right.
    fn of(file: &Path, value: &Value) -> Self {
        let text = |key: &str| value[key].as_str().map(ToOwned::to_owned);
        let texts = |key: &str| -> Vec<String> {
            value[key].as_array().into_iter().flatten().filter_map(|item| Some(item.as_str()?.to_owned())).collect()
        };
        let mut paths = texts("paths");
        paths.sort_by_key(|path| !path.starts_with(UUID));
        let uuid = paths.first().and_then(|path| path.strip_prefix(UUID)).unwrap_or_default().to_owned();
        let storages = value["backends"]["storage"].as_array().into_iter().flatten();
        let number = |key: &str| value[key].as_u64();
        let usual = Options::default();
        Self {
            file: file.to_owned(),
            name: name_of(file),
            owner: text("owner"),
            uuid,
            title: text("title"),
            paths,
            storages: storages.filter_map(Value::as_object).cloned().map(Storage::of).collect(),
            exclude: texts("exclude"),
            max_delete: number("max-delete").and_then(|n| u8::try_from(n).ok()).unwrap_or(usual.max_delete),
            keep_deleted: number("keep-deleted").and_then(|n| u32::try_from(n).ok()).unwrap_or_else(usual_days),
        }
    }

    /// What a schema cannot say.
    fn flaws(&self) -> Vec<Violation> {
        let mut flaws = Vec::new();
        let sited: Vec<_> = self.storages.iter().map(|storage| (storage, Site::of(storage))).collect();
        for (index, storage) in self.storages.iter().enumerate() {
            let mut flaw = |key: &str, message: String| {
                flaws.push(Violation { pointer: format!("/backends/storage/{index}/{key}"), message });
            };
            if let Some((key, why)) = storage.flaw() {
                flaw(key, why.to_owned());
            }
            if let Some((key, why)) = sited[..index].iter().find_map(|other| clash(other, &sited[index])) {
                flaw(key, why);
            }
        }
        for (index, pattern) in self.exclude.iter().enumerate() {
            if let Err(error) = Filter::new(std::slice::from_ref(pattern)) {
                flaws.push(Violation { pointer: format!("/exclude/{index}"), message: format!("is wrong: {error}") });
            }
        }
        flaws
    }

    /// Writes a new manifest, with a fresh uuid; refused if the container exists.
    pub fn create(base_dir: &Path, name: &str, storages: Vec<Storage>) -> Result<Self> {
        check_name(name)?;
        let uuid = uuid::Uuid::new_v4().to_string();
        let usual = Options::default();
        let mut manifest = Self {
            file: Self::path_of(base_dir, name),
            name: name.to_owned(),
            owner: None,
            paths: vec![format!("{UUID}{uuid}"), format!("/{name}")],
            uuid,
            title: None,
            storages: Vec::new(),
            exclude: Vec::new(),
            max_delete: usual.max_delete,
            keep_deleted: usual_days(),
        };
        storages.into_iter().try_for_each(|storage| manifest.add_storage(storage))?;
        if create_atomically(&manifest.file, &manifest.to_yaml()?)? {
            return Ok(manifest);
        }
        let what = format!(
            "container {name} exists already ({}): choose another name, or add to it with `wl container add-storage`",
            manifest.file.display()
        );
        Err(Error::new(Fault::Refused, what))
    }

    /// Adds a storage; refused if it is at the place of another one, or one is inside the other. Not saved yet.
    pub fn add_storage(&mut self, storage: Storage) -> Result<()> {
        let sited = (&storage, Site::of(&storage));
        if let Some((key, why)) = self.storages.iter().find_map(|other| clash(&(other, Site::of(other)), &sited)) {
            let what = format!("cannot add the storage {} to {}: its {key} {why}", storage.location(), self.name);
            return Err(Error::new(Fault::Malformed, what));
        }
        self.storages.push(storage);
        Ok(())
    }

    /// Takes a storage out, named by its backend-id or an unambiguous prefix of it. Not saved yet.
    pub fn remove_storage(&mut self, selector: &str) -> Result<Storage> {
        let id = self.find_storage(selector)?.backend_id().to_owned();
        let index = self.storages.iter().position(|storage| storage.backend_id() == id).unwrap_or_default();
        Ok(self.storages.remove(index))
    }

    /// Replaces the file at once. Its mode and a Wildland header, whose signature no longer fits, stay; comments do where
    /// [`Self::keeps_comments`] says so.
    pub fn save(&self) -> Result<()> {
        let before = fs::read_to_string(&self.file).unwrap_or_default();
        let text = match edit::with_storages(self, &before) {
            Some(text) => text,
            None => format!("{}{}", split_header(&before).0, self.to_yaml()?),
        };
        write_atomically(&self.file, &text)
    }

    /// Puts another text in the place of a manifest's at once; the file's mode stays.
    pub fn replace(file: &Path, text: &str) -> Result<()> {
        write_atomically(file, text)
    }

    /// Whether no comment is lost by saving it now.
    pub fn keeps_comments(&self) -> bool {
        let before = fs::read_to_string(&self.file).unwrap_or_default();
        !has_comments(&before) || edit::with_storages(self, &before).is_some()
    }

    /// The manifest as YAML, with the keys in a fixed order and those left out that say nothing.
    pub fn to_yaml(&self) -> Result<String> {
        let whole = self.to_value(Storage::params);
        let options = serde_saphyr::SerializerOptions::default();
        serde_saphyr::to_string_with_options(&whole, options)
            .map_err(|error| Error::new(Fault::Broken, format!("cannot write {} as YAML: {error}", self.name)))
    }

    /// The manifest with every inline secret masked; references stay visible.
    pub fn masked(&self) -> Value {
        let masked: Vec<_> = self.storages.iter().map(Storage::masked).collect();
        let mut whole = self.to_value(Storage::params);
        whole["backends"]["storage"] = Value::Array(masked);
        whole
    }

    fn to_value<'a>(&'a self, params: impl Fn(&'a Storage) -> &'a Map<String, Value>) -> Value {
        let mut whole = json!({ "object": "container", "version": "1" });
        let optional = [("owner", &self.owner), ("title", &self.title)];
        for (key, value) in optional.into_iter().filter_map(|(key, value)| Some((key, value.as_ref()?))) {
            whole[key] = json!(value);
        }
        whole["paths"] = json!(self.paths);
        let storages: Vec<_> = self.storages.iter().map(|storage| ordered(params(storage))).collect();
        whole["backends"] = json!({ "storage": storages });
        let usual = Options::default();
        if !self.exclude.is_empty() {
            whole["exclude"] = json!(self.exclude);
        }
        if self.max_delete != usual.max_delete {
            whole["max-delete"] = json!(self.max_delete);
        }
        if self.keep_deleted != usual_days() {
            whole["keep-deleted"] = json!(self.keep_deleted);
        }
        whole
    }

    /// The other manifests beside this one that have its uuid: copies of it, whose jobs nobody could tell apart.
    pub fn twins(&self) -> Result<Vec<PathBuf>> {
        let files = files_in(self.file.parent().unwrap_or(Path::new(".")))?.into_iter();
        let mentions = |file: &PathBuf| {
            let bytes = fs::read(file).unwrap_or_default();
            !self.uuid.is_empty() && bytes.windows(self.uuid.len()).any(|part| part == self.uuid.as_bytes())
        };
        // What cannot be read cannot be used either.
        let is_twin = |file: &PathBuf| Self::load(file).is_ok_and(|other| other.uuid == self.uuid);
        Ok(files.filter(|file| *file != self.file && mentions(file) && is_twin(file)).collect())
    }

    /// Every manifest there is, by name; or why it cannot be used.
    pub fn list(base_dir: &Path) -> Result<Vec<(String, Result<Self>)>> {
        let files = files_in(&base_dir.join("containers"))?;
        Ok(files.into_iter().map(|file| (name_of(&file), Self::load(&file))).collect())
    }
}

/// The manifests in a directory, by name.
fn files_in(dir: &Path) -> Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.and_then(Iterator::collect::<io::Result<Vec<_>>>).map_err(|error| cannot_read(dir, &error))?,
    };
    let files = entries.iter().map(fs::DirEntry::path);
    let mut files: Vec<_> = files.filter(|file| file.to_string_lossy().ends_with(SUFFIX)).collect();
    files.sort();
    Ok(files)
}

const UUID: &str = "/.uuid/";

fn usual_days() -> u32 {
    u32::try_from(Options::default().keep_deleted.as_secs() / DAY).unwrap_or(u32::MAX)
}

fn name_of(file: &Path) -> String {
    let name = file.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    name.strip_suffix(SUFFIX).map_or(name.clone(), ToOwned::to_owned)
}

/// Why two storages cannot be in one container: the second one's key, and the reason.
fn clash((first, site): &(&Storage, Site), (second, other): &(&Storage, Site)) -> Option<(&'static str, String)> {
    let id = first.backend_id();
    if id == second.backend_id() {
        return Some(("backend-id", format!("is that of another storage too ({id}): give each its own")));
    }
    let key = match second.storage_type() {
        "s3" => "s3-url",
        "sftp" => "path",
        "webdav" => "url",
        _ => "location",
    };
    let how = site.overlap(other)?;
    let why = format!("and that of storage {id} ({}) are {how}: choose a place of its own", first.location());
    Some((key, why))
}

/// A storage's parameters in the order of the schema.
pub(super) fn ordered(params: &Map<String, Value>) -> Value {
    let storage_type = params.get("type").and_then(Value::as_str).unwrap_or_default();
    let mut names: Vec<_> = schema::storage_keys(storage_type).iter().map(|key| key.path[0]).collect();
    names.dedup();
    names.into_iter().filter_map(|name| Some((name.to_owned(), params.get(name)?.clone()))).collect()
}

fn cannot_read(file: &Path, error: &io::Error) -> Error {
    if error.kind() == io::ErrorKind::NotFound {
        let what = format!("there is no container {} ({}): see `wl container list`", name_of(file), file.display());
        return Error::new(Fault::Missing, what);
    }
    Error::new(fault_of(error), format!("cannot read {}: {error}", file.display()))
}
