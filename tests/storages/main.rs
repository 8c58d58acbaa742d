//! Whole syncs with the storages of a network, through the built `wl` and against real servers.
//!
//! A remote storage is looked at through a second directory: what is synced from `a` to the remote and from there to `b`
//! has been written and read, listed and moved there.

#[path = "../cli/home/mod.rs"]
mod home;
mod manifest;
mod remote;
mod trio;

mod all;
mod between;
mod continuous;
mod crash;
mod once;

/// Makes one test of a scenario for every type of remote storage.
macro_rules! on_each {
    ($($scenario:ident),+ $(,)?) => {
        $(mod $scenario {
            use crate::remote::Remote;

            #[test]
            fn s3() {
                super::$scenario(&Remote::s3());
            }

            #[test]
            fn sftp() {
                super::$scenario(&Remote::sftp());
            }

            #[test]
            fn webdav() {
                super::$scenario(&Remote::webdav());
            }
        })+
    };
}

use on_each;
