//! What the server honours, found out by trying it under temporary names.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use wl_core::backend::{Facts, HashBy, Swap, Vouch, WatchBy};
use wl_core::error::{Error, Fault, Result};
use wl_core::path::RelPath;

use crate::token::Version;
use crate::{Place, race, trial};

/// How often a bucket is listed, beneath notifications too: they may get lost.
const SCAN_EVERY_S: u64 = 60;
/// Small requests at once.
const IN_FLIGHT: usize = 32;

/// How long after the first trial writers are raced against each other; or when that many writes were looked at again because
/// nobody knows.
const RACE_AFTER: Duration = Duration::from_secs(3);
const MANY_LOOKS: usize = 32;

/// How long a trial that failed is not repeated for one more hash.
const TRIED_AGAIN: Duration = Duration::from_mins(5);

/// What a server does with what wl would like it to do.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Traits {
    /// `PutObject` with `If-None-Match: *` refuses where something is.
    pub create: bool,
    /// `PutObject` with `If-Match` refuses another version.
    pub replace: bool,
    /// The same of `DeleteObject`.
    pub delete: bool,
    /// `CompleteMultipartUpload` with `If-None-Match: *`.
    pub complete_create: bool,
    /// `CompleteMultipartUpload` with `If-Match`.
    pub complete_replace: bool,
    /// Of several that create one object at once, one wins.
    pub one_creates: bool,
    /// The same where one of them completes an upload.
    pub one_completes: bool,
    /// Of several that replace one version at once, one wins.
    pub one_replaces: bool,
    /// The same where one of them completes an upload.
    pub one_completes_over: bool,
    /// Of one that deletes a version and one that replaces it, one wins.
    pub one_deletes: bool,
    /// `CopyObject` with `If-None-Match: *` for its destination.
    pub copy_create: bool,
    /// `CopyObject` with `If-Match` for its destination.
    pub copy_replace: bool,
    /// `CopyObject` with `x-amz-copy-source-if-match`.
    pub copy_source: bool,
    /// `CopyObject` at all.
    pub copy: bool,
    /// Whether `If-Match` wants the ETag without quotes (Ceph before 18).
    pub unquoted: bool,
    /// `x-amz-checksum-sha256` is verified, kept and told back.
    pub checksums: bool,
    /// A backslash in a key stays one. SeaweedFS makes it a `/`, and so another key.
    pub backslash: bool,
}

impl Traits {
    /// An ETag as this server's `If-Match` wants it.
    pub fn if_match(&self, version: &Version) -> String {
        if self.unquoted { version.etag.clone() } else { version.quoted() }
    }
}

/// What was found of one bucket, kept as long as the process lives.
#[derive(Default)]
pub(crate) struct Memory {
    known: Mutex<Option<Known>>,
    /// Whether checksums are verified, where that alone was tried.
    checksums: tokio::sync::Mutex<Option<Checksums>>,
    /// Writes that were looked at again, and who waits for many of them.
    looks: AtomicUsize,
    many_looks: Notify,
    /// One tries at a time. Who waited while a trial failed shares its error, with the time of that.
    trying: tokio::sync::Mutex<Option<(Instant, Error)>>,
}

/// What came of trying checksums alone.
enum Checksums {
    Verified(bool),
    /// It could not be tried.
    Untold(Instant),
}

#[derive(Clone)]
struct Known {
    traits: Arc<Traits>,
    /// Whether writers were raced against each other; until then no race counts as won by one alone.
    raced: bool,
}

impl Memory {
    fn get(&self) -> Option<Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Takes note that a write is looked at again, which may be spared once it is known who wins of several at once.
    pub fn looks_again(&self) {
        if self.looks.fetch_add(1, Ordering::Relaxed) + 1 == MANY_LOOKS {
            self.many_looks.notify_one();
        }
    }

    fn set(&self, known: Option<Known>) {
        *self.known.lock().unwrap_or_else(PoisonError::into_inner) = known;
    }
}

static KNOWN: LazyLock<Mutex<HashMap<String, Arc<Memory>>>> = LazyLock::new(Mutex::default);

/// The memory of one bucket.
pub(crate) fn memory(bucket: &str) -> Arc<Memory> {
    KNOWN.lock().unwrap_or_else(PoisonError::into_inner).entry(bucket.to_owned()).or_default().clone()
}

/// What the server does; tried if that was not done before. Who wins of several at once is found out a little later, and
/// until then nobody is said to.
pub(crate) async fn traits(place: &Arc<Place>) -> Result<Arc<Traits>> {
    if let Some(known) = place.traits.get() {
        return Ok(known.traits);
    }
    let asked = Instant::now();
    let mut failed = place.traits.trying.lock().await;
    if let Some(known) = place.traits.get() {
        return Ok(known.traits);
    }
    if let Some((at, error)) = &*failed
        && *at >= asked
    {
        return Err(error.clone());
    }
    let traits = Box::pin(trial::traits(place)).await.map(Arc::new);
    let traits = traits.inspect_err(|error| *failed = Some((Instant::now(), error.clone())))?;
    place.traits.set(Some(Known { traits: traits.clone(), raced: false }));
    tokio::spawn(race_later(Arc::downgrade(place), place.traits.clone()));
    Ok(traits)
}

/// Races writers against each other when this process has lived on for a while, or writes a lot: one that ends soon has no
/// use for it, and would leave something behind.
async fn race_later(place: Weak<Place>, memory: Arc<Memory>) {
    tokio::select! {
        () = tokio::time::sleep(RACE_AFTER) => {}
        () = memory.many_looks.notified() => {}
    }
    let Some(place) = place.upgrade() else { return };
    let _turn = place.traits.trying.lock().await;
    let Some(known) = place.traits.get().filter(|known| !known.raced) else { return };
    match Box::pin(race::traits(&place, &known.traits)).await {
        Ok(traits) => place.traits.set(Some(Known { traits: Arc::new(traits), raced: true })),
        Err(error) => tracing::debug!(%error, "who wins of several at once was not found out"),
    }
}

/// Tries everything again, whatever is known: the server may be another one.
pub(crate) async fn afresh(place: &Arc<Place>) -> Result<()> {
    if place.config.read_only {
        return Ok(());
    }
    let _turn = place.traits.trying.lock().await;
    place.traits.set(None);
    let traits = Box::pin(trial::traits(place)).await?;
    let traits = Arc::new(Box::pin(race::traits(place, &traits)).await?);
    place.traits.set(Some(Known { traits, raced: true }));
    Ok(())
}

/// What is known of the bucket now: until it was tried, that every swap is looked at first.
pub(crate) fn facts(place: &Place) -> Facts {
    let known = place.traits.get();
    let traits = known.as_ref().map(|known| &*known.traits);
    let swap = |of: fn(&Traits) -> bool| if traits.is_some_and(of) { Swap::Atomic } else { Swap::Checked };
    let copies = traits.is_none_or(|known| known.copy);
    Facts {
        hash: HashBy::Native,
        token: Vouch::Strong,
        replace: swap(|known| {
            known.replace && known.complete_replace && known.one_replaces && known.one_completes_over
        }),
        create: swap(|known| known.create && known.complete_create && known.one_creates && known.one_completes),
        delete: swap(|known| known.delete && known.one_deletes),
        watcher: if cfg!(feature = "notifications") && place.config.queue.is_some() {
            WatchBy::Native
        } else {
            WatchBy::Scan
        },
        scan_every_s: Some(SCAN_EVERY_S),
        server_copy: copies,
        server_move: copies,
        trash: copies,
        mtime: true,
        mode: false,
        mtime_resolution_ns: 1,
        in_flight: IN_FLIGHT,
        windows: known.map_or_else(untried, |known| windows(&known)),
    }
}

fn untried() -> Vec<String> {
    vec!["what this server does with conditions is found out before the first write, or by `wl doctor`".to_owned()]
}

/// What is only looked at and then done, in words.
fn windows(known: &Known) -> Vec<String> {
    let mut windows = races(known);
    windows.push(
        "an empty bucket in the place of this one is not told from one whose objects were deleted: `max-delete` is what stops \
         the deletions"
            .to_owned(),
    );
    windows
}

fn races(known: &Known) -> Vec<String> {
    if known.raced {
        return lacking(&known.traits);
    }
    // Nobody knows: that is said once.
    let fair = Traits {
        one_creates: true,
        one_completes: true,
        one_replaces: true,
        one_completes_over: true,
        one_deletes: true,
        ..Traits::clone(&known.traits)
    };
    let untold =
        "whether of two that write in the same instant one wins is not found out yet: `wl doctor` does it at once";
    let mut windows = lacking(&fair);
    windows.push(untold.to_owned());
    windows
}

fn lacking(known: &Traits) -> Vec<String> {
    const BETWEEN: &str =
        "it is looked at with HEAD right before and after, and who writes in between may be overwritten";
    const BEFORE: &str = "it is looked at with HEAD right before, and what somebody writes in between may be";
    const INSTANT: &str = "the server looks and then acts: of two that write in the same instant, both may win";
    let lacks = [
        (known.create, format!("creating: the server ignores `If-None-Match: *`; {BETWEEN}")),
        (known.one_creates || !known.create, format!("creating: {INSTANT}")),
        (known.replace, format!("replacing: the server ignores `If-Match`; {BETWEEN}")),
        (known.one_replaces || !known.replace, format!("replacing: {INSTANT}")),
        (known.delete, format!("deleting: the server ignores `If-Match` on DELETE; {BEFORE} deleted")),
        (known.one_deletes || !known.delete, format!("deleting: {INSTANT}")),
        (
            known.complete_create || !known.create,
            format!("creating large files: the server ignores `If-None-Match: *` on CompleteMultipartUpload; {BETWEEN}"),
        ),
        (
            known.one_completes || !known.complete_create || !known.one_creates,
            format!("creating large files: {INSTANT}"),
        ),
        (
            known.one_completes_over || !known.complete_replace || !known.one_replaces,
            format!("replacing large files: {INSTANT}"),
        ),
        (
            known.complete_replace || !known.replace,
            format!("replacing large files: the server ignores `If-Match` on CompleteMultipartUpload; {BETWEEN}"),
        ),
        (
            known.copy_create || !known.copy,
            format!("moving and copying: the server ignores `If-None-Match: *` on CopyObject; {BEFORE} overwritten"),
        ),
        (
            known.copy_replace || !known.copy,
            format!("setting times: the server ignores `If-Match` on CopyObject; {BEFORE} overwritten"),
        ),
        (known.copy, "the server cannot copy: there is no trash here, and moves are transferred".to_owned()),
        (
            known.checksums,
            "the server does not verify SHA-256 checksums: what was written is read back, and what others wrote is read once"
                .to_owned(),
        ),
    ];
    lacks.into_iter().filter(|(has, _)| !has).map(|(_, text)| text).collect()
}

/// Refuses a path that the server would take for another one.
pub(crate) async fn can_hold(place: &Arc<Place>, path: &RelPath) -> Result<()> {
    if !path.as_str().contains('\\') || traits(place).await?.backslash {
        return Ok(());
    }
    let text = "the server takes a \\ in a name for a /, which would be another file: rename it";
    Err(Error::new(Fault::Malformed, text).at(path))
}

/// Whether the server takes a path for another one, as far as that is known without trying.
pub(crate) fn mistakes(place: &Place, path: &RelPath) -> bool {
    let backslash =
        place.traits.get().map_or_else(|| !place.client.walks.load(Ordering::Relaxed), |known| known.traits.backslash);
    path.as_str().contains('\\') && !backslash
}

/// Whether a checksum that the server shows was verified by it. Tried, with a few requests, where nobody has tried the
/// server yet and the storage may be written to: it saves reading contents. What cannot be found out is not believed.
pub(crate) async fn checksums_are_verified(place: &Arc<Place>) -> bool {
    if let Some(known) = place.traits.get() {
        return known.traits.checksums;
    }
    if place.config.read_only {
        return false;
    }
    let mut found = place.traits.checksums.lock().await;
    match (place.traits.get(), &*found) {
        (Some(known), _) => return known.traits.checksums,
        (None, Some(Checksums::Verified(verified))) => return *verified,
        (None, Some(Checksums::Untold(at))) if at.elapsed() < TRIED_AGAIN => return false,
        _ => {}
    }
    let tried = Box::pin(trial::checksums(place)).await;
    let tried = tried.inspect_err(|error| tracing::debug!("whether checksums are verified was not found out: {error}"));
    *found = Some(tried.as_ref().map_or_else(|_| Checksums::Untold(Instant::now()), |&yes| Checksums::Verified(yes)));
    tried.unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_is_lacking_is_said() {
        let all = Traits {
            create: true,
            replace: true,
            delete: true,
            complete_create: true,
            complete_replace: true,
            one_creates: true,
            one_completes: true,
            one_replaces: true,
            one_completes_over: true,
            one_deletes: true,
            copy_create: true,
            copy_replace: true,
            copy_source: true,
            copy: true,
            unquoted: false,
            checksums: true,
            backslash: true,
        };
        assert_eq!(lacking(&all), [""; 0]);
        for (lacking, says) in [
            (Traits { create: false, complete_create: false, ..all.clone() }, "creating: the server ignores"),
            (Traits { one_creates: false, one_completes: false, ..all.clone() }, "creating: the server looks"),
            (Traits { one_completes: false, ..all.clone() }, "creating large files: the server looks"),
            (Traits { replace: false, complete_replace: false, ..all.clone() }, "replacing: the server ignores"),
            (Traits { one_replaces: false, ..all.clone() }, "replacing: the server looks"),
            (Traits { one_completes_over: false, ..all.clone() }, "replacing large files: the server looks"),
            (Traits { one_deletes: false, ..all.clone() }, "deleting: the server looks"),
            (Traits { delete: false, ..all.clone() }, "deleting: "),
            (Traits { complete_create: false, ..all.clone() }, "creating large files: "),
            (Traits { complete_replace: false, ..all.clone() }, "replacing large files: "),
            (Traits { copy_create: false, ..all.clone() }, "moving and copying: "),
            (Traits { copy_replace: false, ..all.clone() }, "setting times: "),
            (Traits { copy: false, copy_create: false, copy_replace: false, ..all.clone() }, "no trash"),
            (Traits { checksums: false, ..all.clone() }, "read back"),
        ] {
            let windows = super::lacking(&lacking);
            assert!(matches!(&windows[..], [one] if one.contains(says)), "{windows:?}");
        }
    }
}
