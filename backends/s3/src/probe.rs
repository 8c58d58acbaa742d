//! What the server honours, found out by trying it under temporary names.

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use tokio::sync::OnceCell;
use wl_core::backend::{Facts, HashBy, Swap, Vouch, WatchBy};
use wl_core::error::{Error, Fault, Result};
use wl_core::path::RelPath;

use crate::token::Version;
use crate::{Place, trial};

/// How often a bucket is listed, beneath notifications too: they may get lost.
const SCAN_EVERY_S: u64 = 60;
/// Small requests at once.
const IN_FLIGHT: usize = 32;

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
    /// Of one that deletes a version and one that replaces it, one wins.
    pub one_deletes: bool,
    /// `CopyObject` with `If-None-Match: *` for its destination.
    pub copy_create: bool,
    /// `CopyObject` with `x-amz-copy-source-if-match`.
    pub copy_source: bool,
    /// `CopyObject` at all.
    pub copy: bool,
    /// Whether `If-Match` wants the ETag without quotes (Ceph before 18).
    pub unquoted: bool,
    /// `x-amz-checksum-sha256` is verified, kept and told back.
    pub checksums: bool,
    /// A copy has its source's checksum.
    pub copy_keeps_checksum: bool,
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
pub(crate) type Memory = OnceCell<Arc<Traits>>;

static KNOWN: LazyLock<Mutex<HashMap<String, Arc<Memory>>>> = LazyLock::new(Mutex::default);

/// The memory of one bucket.
pub(crate) fn memory(bucket: &str) -> Arc<Memory> {
    KNOWN.lock().unwrap_or_else(PoisonError::into_inner).entry(bucket.to_owned()).or_default().clone()
}

/// What the server does; tried if that was not done before.
pub(crate) async fn traits(place: &Arc<Place>) -> Result<Arc<Traits>> {
    place.traits.get_or_try_init(|| async { Ok(Arc::new(Box::pin(trial::traits(place)).await?)) }).await.cloned()
}

/// What is known of the bucket now: until it was tried, that every swap is looked at first.
pub(crate) fn facts(place: &Place) -> Facts {
    let known = place.traits.get();
    let swap =
        |of: fn(&Traits) -> bool| if known.is_some_and(|known| of(known)) { Swap::Atomic } else { Swap::Checked };
    let copies = known.is_none_or(|known| known.copy);
    Facts {
        hash: HashBy::Native,
        token: Vouch::Strong,
        replace: swap(|known| known.replace && known.complete_replace && known.one_replaces),
        create: swap(|known| known.create && known.complete_create && known.one_creates && known.one_completes),
        delete: swap(|known| known.delete && known.one_deletes),
        watcher: if place.config.queue.is_some() { WatchBy::Native } else { WatchBy::Scan },
        scan_every_s: Some(SCAN_EVERY_S),
        server_copy: copies,
        server_move: copies,
        trash: copies,
        mtime: true,
        mode: false,
        mtime_resolution_ns: 1,
        in_flight: IN_FLIGHT,
        windows: known.map_or_else(untried, |known| windows(known)),
    }
}

fn untried() -> Vec<String> {
    vec!["what this server does with conditions is found out before the first write, or by `wl doctor`".to_owned()]
}

/// What is only looked at and then done, in words.
fn windows(known: &Traits) -> Vec<String> {
    const BETWEEN: &str =
        "it is looked at with HEAD right before and after, and who writes in between may be overwritten";
    const INSTANT: &str = "the server looks and then acts: of two that write in the same instant, both may win";
    let lacks = [
        (known.create, format!("creating: the server ignores `If-None-Match: *`; {BETWEEN}")),
        (known.one_creates || !known.create, format!("creating: {INSTANT}")),
        (known.replace, format!("replacing: the server ignores `If-Match`; {BETWEEN}")),
        (known.one_replaces || !known.replace, format!("replacing: {INSTANT}")),
        (known.delete, format!("deleting: the server ignores `If-Match` on DELETE; {BETWEEN}")),
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
            known.complete_replace || !known.replace,
            format!("replacing large files: the server ignores `If-Match` on CompleteMultipartUpload; {BETWEEN}"),
        ),
        (
            known.copy_create || !known.copy,
            format!("moving and copying: the server ignores `If-None-Match: *` on CopyObject; {BETWEEN}"),
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
        place.traits.get().map_or_else(|| !place.client.walks.load(Ordering::Relaxed), |known| known.backslash);
    path.as_str().contains('\\') && !backslash
}

/// Whether a checksum that the server shows was verified by it. Tried if that was not done before, unless nothing may be
/// written here: then nothing is believed.
pub(crate) async fn checksums_are_verified(place: &Arc<Place>) -> Result<bool> {
    match place.traits.get() {
        Some(known) => Ok(known.checksums),
        None if place.config.read_only => Ok(false),
        None => Ok(traits(place).await?.checksums),
    }
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
            one_deletes: true,
            copy_create: true,
            copy_source: true,
            copy: true,
            unquoted: false,
            checksums: true,
            copy_keeps_checksum: true,
            backslash: true,
        };
        assert_eq!(windows(&all), [""; 0]);
        for (lacking, says) in [
            (Traits { create: false, complete_create: false, ..all.clone() }, "creating: the server ignores"),
            (Traits { one_creates: false, one_completes: false, ..all.clone() }, "creating: the server looks"),
            (Traits { one_completes: false, ..all.clone() }, "creating large files: the server looks"),
            (Traits { replace: false, complete_replace: false, ..all.clone() }, "replacing: the server ignores"),
            (Traits { one_replaces: false, ..all.clone() }, "replacing: the server looks"),
            (Traits { one_deletes: false, ..all.clone() }, "deleting: the server looks"),
            (Traits { delete: false, ..all.clone() }, "deleting: "),
            (Traits { complete_create: false, ..all.clone() }, "creating large files: "),
            (Traits { complete_replace: false, ..all.clone() }, "replacing large files: "),
            (Traits { copy_create: false, ..all.clone() }, "moving and copying: "),
            (Traits { copy: false, copy_create: false, ..all.clone() }, "no trash"),
            (Traits { checksums: false, ..all.clone() }, "read back"),
        ] {
            let windows = windows(&lacking);
            assert!(matches!(&windows[..], [one] if one.contains(says)), "{windows:?}");
        }
    }
}
