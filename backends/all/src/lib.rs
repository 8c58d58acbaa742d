//! The registry of storage types: which are compiled in, and how a storage of each is opened.

use std::sync::Arc;

use wl_core::backend::Backend;
use wl_core::manifest::Storage;
use wl_core::{Error, Fault, Result};

type Open = fn(&Storage) -> Result<Arc<dyn Backend>>;

/// One line a type. This and the features of this crate are the only places that know which there are.
const TYPES: &[(&str, Open)] = &[
    #[cfg(feature = "local")]
    ("local", wl_backend_local::open),
    #[cfg(feature = "s3")]
    ("s3", wl_backend_s3::open),
    #[cfg(feature = "sftp")]
    ("sftp", wl_backend_sftp::open),
    #[cfg(feature = "webdav")]
    ("webdav", wl_backend_webdav::open),
];

/// The storage types compiled in.
pub fn types() -> Vec<&'static str> {
    TYPES.iter().map(|(name, _)| *name).collect()
}

/// Opens a storage whose secrets are resolved. Does not need it to be reachable yet.
pub fn open(storage: &Storage) -> Result<Arc<dyn Backend>> {
    let wanted = storage.storage_type();
    let Some((_, open)) = TYPES.iter().find(|(name, _)| *name == wanted) else {
        let text = format!("this wl was built without `{wanted}`: rebuild with --features {wanted}");
        return Err(Error::new(Fault::Unsupported, text));
    };
    open(storage)
}
