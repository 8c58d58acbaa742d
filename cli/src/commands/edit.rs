//! `wl container edit`: a copy of the manifest in an editor, put back once it is valid.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};
use wl_core::manifest::Manifest;

use crate::args::Name;
use crate::context::Context;
use crate::failure::{Exit, Failure, Outcome};

/// Edits until the copy is valid or the user gives up. Without a terminal an invalid copy is refused at once; the
/// manifest stays as it was.
pub async fn run(context: &Context, args: &Name) -> Outcome {
    // The file may be the very thing that is broken: it is found by name, not read.
    let file = context.manifest_file(&args.name)?;
    let before = fs::read(&file).map_err(|error| cannot(&file, "read", &error))?;
    // Beside the manifests, so that the copy is as private, and on the same file system.
    let dir = tempfile::Builder::new()
        .prefix(".wl-edit-")
        .tempdir_in(&context.places.base_dir)
        .map_err(|error| cannot(&context.places.base_dir, "written to", &error))?;
    let copy = dir.path().join(file.file_name().unwrap_or_default());
    fs::copy(&file, &copy).map_err(|error| cannot(&copy, "written", &error))?;
    loop {
        if let Err(failure) = open_editor(&copy) {
            let is_changed = fs::read(&copy).is_ok_and(|after| after != before);
            return Err(if is_changed { failure.hint(kept(context, args, &copy, &file)) } else { failure });
        }
        let after = fs::read(&copy).map_err(|error| cannot(&copy, "read", &error))?;
        if after == before {
            context.screen.show(&json!({ "changed": false }), |_| "Nothing was changed.".to_owned())?;
            return Ok(Exit::Done);
        }
        match Manifest::load(&copy) {
            Ok(_) => break,
            Err(error) => {
                let text = error.to_string().replace(&*copy.to_string_lossy(), &file.to_string_lossy());
                let failure = Failure::usage(text);
                if !context.screen.can_ask() {
                    return Err(failure.hint(kept(context, args, &copy, &file)));
                }
                context.screen.fail(&failure);
                if !context.screen.confirm("Edit again?").await {
                    return Err(Failure::usage("given up").hint(kept(context, args, &copy, &file)));
                }
            }
        }
    }
    put_back(context, &copy, &file, &before).map_err(|failure| failure.hint(kept(context, args, &copy, &file)))?;
    context.screen.show(&json!({ "changed": true }), |_| {
        let name = &args.name;
        format!("Changed container `{name}`. A job that runs goes on with what it was started with, until the next `wl container sync {name}`.")
    })?;
    Ok(Exit::Done)
}

fn open_editor(file: &Path) -> Outcome<()> {
    let editor = ["VISUAL", "EDITOR"].into_iter().filter_map(|name| std::env::var(name).ok());
    let editor = editor.map(|editor| editor.trim().to_owned()).find(|editor| !editor.is_empty());
    let editor = editor.unwrap_or_else(|| "vi".to_owned());
    // The terminal sends these to all who are at it: they are meant for the editor, which has its own way with them. Where
    // they are caught here a program that is started has them as usual, which it would not if they were ignored.
    let _caught = [SignalKind::interrupt(), SignalKind::quit()].map(signal);
    // As every program does it: the variable may hold arguments, so a shell reads it; the file is no part of that text.
    // The shell outlives them too, by traps that what it starts does not inherit.
    let status =
        Command::new("sh").arg("-c").arg(format!("trap : INT QUIT; {editor} \"$1\"")).arg("sh").arg(file).status();
    let hint = "set VISUAL or EDITOR to an editor";
    match status {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => {
            Err(Failure::new(format!("the editor `{editor}` failed ({status}): nothing was changed")).hint(hint))
        }
        Err(error) => Err(Failure::new(format!("the editor `{editor}` cannot be run: {error}")).hint(hint)),
    }
}

fn put_back(context: &Context, copy: &Path, file: &Path, before: &[u8]) -> Outcome<()> {
    let _lock = context.lock()?;
    let now = fs::read(file).map_err(|error| cannot(file, "read", &error))?;
    if now != before {
        return Err(Failure::new(format!(
            "{} was changed by somebody else meanwhile: your edit was not saved",
            file.display()
        )));
    }
    let text = fs::read_to_string(copy).map_err(|error| cannot(copy, "read", &error))?;
    Ok(Manifest::replace(file, &text)?)
}

/// Keeps a text that was not put in place, and says where and how to go on.
fn kept(context: &Context, args: &Name, copy: &Path, file: &Path) -> String {
    let (name, file) = (&args.name, file.display());
    let place = |number: u32| match number {
        1 => context.places.base_dir.join(format!("{name}.edited.yaml")),
        _ => context.places.base_dir.join(format!("{name}.edited-{number}.yaml")),
    };
    let kept = (1..1000).map(place).find(|place| fs::hard_link(copy, place).is_ok());
    let rest = "the manifest was left as it was";
    kept.map_or_else(
        || format!("{rest}, and your text could not be kept in {}", context.places.base_dir.display()),
        |kept| format!("{rest}; your text is in {}: correct it there, then bring it into {file}, which may have changed meanwhile", kept.display()),
    )
}

fn cannot(file: &Path, what: &str, error: &std::io::Error) -> Failure {
    Failure::new(format!("{} cannot be {what}: {error}", file.display()))
}
