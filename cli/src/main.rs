//! wl
fn main() {}
