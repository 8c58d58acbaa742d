//! `wl sync`: the container of exactly two storages, made or found again, and synced.

use wl_core::manifest::{Manifest, Storage};

use super::create;
use super::sync::sync;
use crate::args::SyncStorages;
use crate::context::{Context, refuse_twins};
use crate::failure::{Failure, Outcome};

/// How many characters of a directory's name a container's may have.
const LONGEST: usize = 40;

/// Syncs two storages.
pub async fn run(context: &Context, args: &SyncStorages) -> Outcome {
    let storages = [create::named(&args.first)?, create::named(&args.second)?];
    let manifest = if let Some(manifest) = found(context, &storages)? {
        manifest
    } else {
        let mut whole = Vec::new();
        for storage in &storages {
            whole.push(create::with_secrets(context, storage.clone()).await?);
        }
        if args.options.dry_run { plan_for(context, whole)? } else { make(context, &storages, whole)? }
    };
    let mut options = args.options.clone();
    if options.choice.source_storage.is_none() && options.choice.target_storage.is_none() {
        // The manifest may have them the other way round.
        let place = storages[0].place();
        let first = manifest.storages.iter().find(|storage| storage.place() == place);
        options.choice.source_storage = first.map(|storage| storage.backend_id().to_owned());
    }
    sync(context, &manifest, &options, false).await
}

/// The container of these two, if there is one, and what it is called.
fn found(context: &Context, storages: &[Storage; 2]) -> Outcome<Option<Manifest>> {
    let Some(manifest) = find(context, storages)? else {
        refuse_unreadable(context)?;
        return Ok(None);
    };
    refuse_twins(&manifest)?;
    refuse_otherwise(&manifest, storages)?;
    context.screen.say(format!("This is container `{}`.", manifest.name));
    Ok(Some(manifest))
}

/// A manifest that cannot be read may be the one of these two: a second container of theirs would have another base.
fn refuse_unreadable(context: &Context) -> Outcome<()> {
    let unreadable = context.manifests()?.into_iter().find_map(|(name, manifest)| Some((name, manifest.err()?)));
    let Some((name, error)) = unreadable else { return Ok(()) };
    let text = format!("container `{name}` may be the one of these two, and cannot be read: {error}");
    let hint = format!(
        "`wl container edit {name}` corrects it; or make another one with `wl container create NAME STORAGE STORAGE`"
    );
    Err(Failure::usage(text).hint(hint))
}

/// What is asked for holds, or nothing happens: a manifest that says otherwise is for its user to change.
fn refuse_otherwise(manifest: &Manifest, storages: &[Storage; 2]) -> Outcome<()> {
    for storage in storages {
        let place = storage.place();
        let Some(kept) = manifest.storages.iter().find(|kept| kept.place() == place) else { continue };
        let keys = storage.given_otherwise(kept).join("`, `");
        if !keys.is_empty() {
            let (name, location) = (&manifest.name, kept.location());
            let text =
                format!("container `{name}` has storage {location} already, and not with the `{keys}` given here");
            let hint = format!("`wl container edit {name}` changes that; or leave `{keys}` out to sync it as it is");
            return Err(Failure::usage(text).hint(hint));
        }
    }
    Ok(())
}

/// As much of a container as one must have to plan: nothing of it stays.
fn plan_for(context: &Context, storages: Vec<Storage>) -> Outcome<Manifest> {
    let name = free_name(context, &storages[0])?;
    let elsewhere =
        tempfile::tempdir().map_err(|error| Failure::new(format!("no temporary directory can be made: {error}")))?;
    context.screen.say(format!("This would make container `{name}`."));
    Manifest::create(elsewhere.path(), &name, storages).map_err(|error| Failure::manifest(&error))
}

/// Makes the container of these two, unless somebody else has made it by now. `whole` is they with their secrets.
fn make(context: &Context, storages: &[Storage; 2], whole: Vec<Storage>) -> Outcome<Manifest> {
    let _lock = context.lock()?;
    if let Some(manifest) = found(context, storages)? {
        return Ok(manifest);
    }
    let name = free_name(context, &storages[0])?;
    let manifest = create::write(context, &name, whole)?;
    context.screen.say(format!("Made container `{name}`: {}", manifest.file.display()));
    Ok(manifest)
}

/// The container of exactly these two storages, the first of them first if there are several.
fn find(context: &Context, storages: &[Storage; 2]) -> Outcome<Option<Manifest>> {
    let places = storages.each_ref().map(Storage::place);
    let mut found: Vec<_> = context
        .manifests()?
        .into_iter()
        .filter_map(|(_, manifest)| manifest.ok())
        .filter(|manifest| is_of(manifest, &places))
        .collect();
    found.sort_by_key(|manifest| manifest.storages[0].place() != places[0]);
    Ok(found.into_iter().next())
}

fn is_of(manifest: &Manifest, places: &[String; 2]) -> bool {
    let [a, b] = places;
    match manifest.storages.as_slice() {
        [one, other] => (one.place() == *a && other.place() == *b) || (one.place() == *b && other.place() == *a),
        _ => false,
    }
}

fn free_name(context: &Context, storage: &Storage) -> Outcome<String> {
    let wanted = name_of(&storage.location());
    let numbered = (2..10_000).map(|number| format!("{wanted}-{number}"));
    for name in std::iter::once(wanted.clone()).chain(numbered) {
        if !Manifest::path_of(&context.places.base_dir, &name).exists() {
            return Ok(name);
        }
    }
    Err(Failure::new(format!("there are too many containers named `{wanted}`"))
        .hint("make one with `wl container create NAME STORAGE STORAGE`"))
}

/// A valid container name from a location's last segment.
fn name_of(location: &str) -> String {
    let path = location.split(['?', '#']).next().unwrap_or_default();
    let last = path.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
    let valid = |c: char| if c.is_alphanumeric() || matches!(c, '-' | '_' | '.') { c } else { '-' };
    let name: String = last.chars().take(LONGEST).map(valid).collect();
    let name = name.trim_matches(['-', '.']);
    if name.is_empty() { "files".to_owned() } else { name.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_the_last_segment_made_valid() {
        let cases = [
            ("/home/me/photos", "photos"),
            ("/home/me/my photos/", "my-photos"),
            ("s3://bucket/a?endpoint=x/y", "a"),
            ("sftp://h/~/.config", "config"),
            ("/", "files"),
        ];
        for (location, name) in cases {
            assert_eq!(name_of(location), name, "{location}");
        }
    }
}
