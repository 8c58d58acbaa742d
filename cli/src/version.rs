//! What `--version` says: the version, and the storage types compiled in.

use std::sync::LazyLock;

/// `0.1.0 (storage types: local)`.
pub fn text() -> &'static str {
    static TEXT: LazyLock<String> =
        LazyLock::new(|| format!("{} (storage types: {})", env!("CARGO_PKG_VERSION"), wl_backends::types().join(", ")));
    &TEXT
}
