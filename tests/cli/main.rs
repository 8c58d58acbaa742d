//! Tests.
mod walls;
