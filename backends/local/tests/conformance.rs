//! A directory passes the suite that every backend passes.

use wl_backend_local::Local;
use wl_test_kit::directory::Directory;

wl_test_kit::conformance!(Directory::below(&std::env::temp_dir(), |root| Local::new(root).unwrap()));
