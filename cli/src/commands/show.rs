//! `wl container show`: a manifest with its secrets masked.

use crate::args::Name;
use crate::context::Context;
use crate::failure::{Exit, Outcome};
use crate::render::containers;

/// Shows one manifest.
pub fn run(context: &Context, args: &Name) -> Outcome {
    let manifest = context.manifest_alone(&args.name)?;
    context.screen.show(&manifest.masked(), containers::tree)?;
    Ok(Exit::Done)
}
