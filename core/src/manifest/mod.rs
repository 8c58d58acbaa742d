//! Containers: their manifests and storages.

mod argument;
mod choose;
mod edit;
mod file;
mod place;
mod roots;
mod site;
mod storage;

use std::path::PathBuf;

use crate::error::{Error, Fault, Result};
pub(crate) use storage::expand_home;
pub use storage::{Storage, bytes_a_second};

/// A manifest, checked.
#[derive(Debug, Clone, PartialEq)]
pub struct Manifest {
    /// The file it is kept in.
    pub file: PathBuf,
    /// The container's name: the file's, without `.container.yaml`.
    pub name: String,
    /// A hex fingerprint, where the manifest comes from Wildland.
    pub owner: Option<String>,
    /// The container's uuid, from its paths.
    pub uuid: String,
    /// A title.
    pub title: Option<String>,
    /// Paths, the `/.uuid/…` one first.
    pub paths: Vec<String>,
    /// The storages, in the manifest's order.
    pub storages: Vec<Storage>,
    /// Patterns in gitignore syntax.
    pub exclude: Vec<String>,
    /// Percent.
    pub max_delete: u8,
    /// Days.
    pub keep_deleted: u32,
}

impl Manifest {
    /// `owner|uuid`, with `local` where there is no owner.
    pub fn job_id(&self) -> String {
        format!("{}|{}", self.owner.as_deref().unwrap_or("local"), self.uuid)
    }
}

/// Checks a container's name: it becomes a file's name.
pub fn check_name(name: &str) -> Result<()> {
    const LONGEST: usize = 200;
    let why = match name {
        "" => "is empty",
        _ if name.starts_with('.') => "begins with a dot",
        _ if name.contains('/') => "has a '/' in it",
        _ if name.chars().any(char::is_control) => "has a control character in it",
        _ if name.len() > LONGEST => "is longer than 200 bytes",
        _ => return Ok(()),
    };
    let shown: String = name.chars().take(40).collect();
    Err(Error::new(Fault::Malformed, format!("{shown:?} cannot be a container's name: it {why}; choose another one")))
}

#[cfg(test)]
mod tests;
