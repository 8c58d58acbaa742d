//! wl
