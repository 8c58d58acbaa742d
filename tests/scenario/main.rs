//! The engine against every scenario by which its peers test themselves, and against all small and many random worlds.
//!
//! Two storages in memory, the engine between them, no daemon, no clock. Where we decide otherwise than a peer, the reason
//! stands beside the row.

mod alone;
mod bisync;
mod exhaustive;
mod jobs;
mod moves;
mod mutagen;
mod others;
mod owncloud;
mod random;
mod syncthing;
mod table;
mod unison;
