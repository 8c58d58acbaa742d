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
        // After those of its two types with themselves, which it could serve, too.
        #[cfg(all(feature = "local", feature = "sftp"))]
        Arc::new(wl_syncer_local_sftp::LocalSftp),
        #[cfg(feature = "webdav")]
        Arc::new(wl_syncer_webdav_webdav::WebDavWebDav),
        Arc::new(wl_syncer_generic::Generic),
    ]
}

#[cfg(test)]
mod tests {
    use wl_core::report::Mode;
    use wl_core::syncer::{Needs, select};

    use super::*;

    #[cfg(all(feature = "local", feature = "sftp"))]
    #[test]
    fn a_pair_has_its_own_syncer_in_either_order() {
        let chosen = |source_type, target_type| {
            let needs =
                Needs { source_type, target_type, mode: Mode::Continuous, unidirectional: false, mounted: false };
            select(&all(), &needs).map(|syncer| syncer.traits().name)
        };
        for (pair, name) in [
            (["local", "sftp"], "local-sftp"),
            (["sftp", "local"], "local-sftp"),
            (["local", "local"], "local-local"),
            (["sftp", "sftp"], "sftp-sftp"),
            (["local", "moon"], "generic"),
        ] {
            assert_eq!(chosen(pair[0], pair[1]), Ok(name), "{pair:?}");
        }
    }
}
