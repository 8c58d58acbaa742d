//! SeaweedFS, which holds all conditions, passes the suite that every backend passes.

mod support;

use support::Bucket;

wl_test_kit::conformance!(Bucket::on_seaweed());
