//! The daemon from outside, between two directories: what it does to files, under which circumstances, and how it is
//! talked to. All through the built `wl`.

#[path = "../cli/home/mod.rs"]
mod home;

mod conflicts;
mod continuous;
mod crash;
mod denied;
mod filters;
mod guard;
mod life;
mod names;
mod readonly;
mod room;
mod socket;
mod table;
mod trash;
mod travel;
