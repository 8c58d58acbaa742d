//! The commands from outside, through the built `wl`; and the walls between the rooms.

mod containers;
mod home;
mod manifests;
mod plain;
mod reports;
mod secrets;
mod sync;
mod walls;
