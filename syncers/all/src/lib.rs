//! The registry of syncers, those for one pair of types before the generic one.

use std::sync::Arc;

use wl_core::syncer::Syncer;

/// Every syncer compiled in. Among equally exact matches the first is chosen, so the generic one stands last.
pub fn all() -> Vec<Arc<dyn Syncer>> {
    vec![
        #[cfg(feature = "local")]
        Arc::new(wl_syncer_local_local::LocalLocal),
        #[cfg(feature = "s3")]
        Arc::new(wl_syncer_s3_s3::S3S3::default()),
        #[cfg(feature = "sftp")]
        Arc::new(wl_syncer_sftp_sftp::SftpSftp),
        #[cfg(feature = "webdav")]
        Arc::new(wl_syncer_webdav_webdav::WebDavWebDav),
        Arc::new(wl_syncer_generic::Generic),
    ]
}
