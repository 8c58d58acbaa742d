//! JuiceFS's gateway, which silently ignores every condition, passes the suite that every backend passes: that it does
//! is noticed.

mod support;

use support::Bucket;

wl_test_kit::conformance!(Bucket::on_juicefs());
