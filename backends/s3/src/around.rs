//! What lies around a key, as it was listed a moment ago.
//!
//! Before an object is created, nothing may lie below its name; before one is deleted, its directory must have something
//! else in it, or be given a marker. Asking the server each time would double the requests of a first copy, so one page of
//! a listing serves all that is done near it for a moment.
//!
//! RACE: what somebody else puts or deletes in that moment is not seen. Nothing is overwritten for it: at worst a file and
//! a directory have one name until somebody renames one of them, which the next listing says, or a directory is gone
//! because its last file was deleted elsewhere.

mod gone;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use wl_core::error::Result;
use wl_core::moment::Moment;
use wl_core::path::PART_PREFIX;

use self::gone::Gone;
use crate::Place;
use crate::page::{From, page};
use crate::token::Version;

/// For how long a page is good.
const FRESH: Duration = Duration::from_secs(10);
/// For how long a directory that did not fit into one page is not listed from its beginning again.
const LARGE: Duration = Duration::from_mins(1);
/// So many pages, and so many large directories, are kept.
const PAGES: usize = 16;
/// So many markers are remembered as wl's own; more are left where they are, which is all right.
const MARKERS: usize = 65_536;

/// What was listed a moment ago, and the markers that wl made.
#[derive(Default)]
pub(crate) struct Around {
    known: Mutex<Known>,
    /// One asks at a time: who waits finds the answer there.
    asking: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct Known {
    /// The youngest last.
    pages: Vec<Listed>,
    /// Directories that did not fit into one page.
    large: Vec<(String, Moment)>,
    gone: Gone,
    /// Markers that wl made for directories in which nothing was, with their version: superfluous once something is.
    markers: BTreeMap<String, Version>,
}

/// The keys below a prefix between two keys.
struct Listed {
    at: Moment,
    prefix: String,
    /// Exclusive.
    after: String,
    until: Until,
    keys: BTreeSet<String>,
}

#[derive(Debug, PartialEq, Eq)]
enum Until {
    End,
    Key(String),
    /// Keys came in no order: what was not listed may be anywhere.
    Nowhere,
}

impl Listed {
    /// Whether anything begins with `dir`, which ends with `/`, except `but`; none where it cannot be told.
    fn holds(&self, dir: &str, but: Option<&str>) -> Option<bool> {
        let mut below = self.below(dir);
        if below.any(|key| Some(key.as_str()) != but && !is_part(dir, key)) {
            return Some(true);
        }
        let ends = match &self.until {
            Until::End => true,
            Until::Key(until) => until.as_str() > dir && !until.starts_with(dir),
            Until::Nowhere => false,
        };
        (dir.starts_with(&self.prefix) && self.after.as_str() < dir && ends).then_some(false)
    }

    fn below(&self, dir: &str) -> impl Iterator<Item = &String> {
        let from = (Bound::Included(dir), Bound::Unbounded);
        self.keys.range::<str, _>(from).take_while(move |key| key.starts_with(dir))
    }

    fn covers(&self, key: &str) -> bool {
        let before_end = match &self.until {
            Until::End => true,
            Until::Key(until) => key <= until.as_str(),
            Until::Nowhere => false,
        };
        key.starts_with(&self.prefix) && self.after.as_str() < key && before_end
    }
}

/// Whether a key below `dir`, which ends with `/`, is a part object of wl's own, or lies in a directory of such a name: no
/// listing shows either.
pub(crate) fn is_part(dir: &str, key: &str) -> bool {
    key.strip_prefix(dir).is_some_and(|below| below.split('/').any(|segment| segment.starts_with(PART_PREFIX)))
}

impl Around {
    fn known(&self) -> MutexGuard<'_, Known> {
        // What is there is as true as it was if somebody panicked.
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.pages.retain(|page| page.at.is_within(FRESH));
        known.gone.forget_old();
        known.large.retain(|(_, since)| since.is_within(LARGE));
        known
    }

    fn told(&self, dir: &str, but: Option<&str>) -> Option<bool> {
        self.known().pages.iter().rev().find_map(|page| page.holds(dir, but))
    }

    fn is_large(&self, dir: &str) -> bool {
        self.known().large.iter().any(|(large, _)| large == dir)
    }

    /// Forgets what was listed: the bucket may be another one.
    pub fn forget(&self) {
        self.known().pages.clear();
    }

    fn learn(&self, mut listed: Listed) {
        let mut known = self.known();
        listed.keys.retain(|key| !known.gone.holds(key));
        if listed.after.is_empty() && listed.until != Until::End {
            known.large.truncate(PAGES - 1);
            known.large.insert(0, (listed.prefix.clone(), listed.at));
        }
        if known.pages.len() >= PAGES {
            known.pages.remove(0);
        }
        known.pages.push(listed);
    }

    /// Takes note that an object is there.
    pub fn put(&self, key: &str) {
        let mut known = self.known();
        known.gone.forget(key);
        for page in known.pages.iter_mut().filter(|page| page.covers(key)) {
            page.keys.insert(key.to_owned());
        }
    }

    /// Takes note that an object is gone, or is about to be.
    pub fn gone(&self, key: &str) {
        let mut known = self.known();
        known.markers.remove(key);
        known.gone.note(key);
        for page in &mut known.pages {
            page.keys.remove(key);
        }
    }

    fn is_gone(&self, key: &str) -> bool {
        self.known().gone.holds(key)
    }

    /// Remembers a marker that wl made.
    pub fn made(&self, marker: &str, version: Version) {
        self.put(marker);
        let mut known = self.known();
        if known.markers.len() < MARKERS {
            known.markers.insert(marker.to_owned(), version);
        }
    }

    /// The markers of wl's that an object under this key makes superfluous, forgotten from now on.
    pub fn superfluous(&self, key: &str) -> Vec<(String, Version)> {
        let mut known = self.known();
        if known.markers.is_empty() {
            return Vec::new();
        }
        let slashes = key.match_indices('/').map(|(at, _)| &key[..=at]).filter(|marker| *marker != key);
        slashes.filter_map(|marker| known.markers.remove_entry(marker)).collect()
    }
}

/// Whether anything but that key, and but wl's own part objects, has a key that begins with `dir`, which ends with `/`.
/// What is done next is mostly done in `near`, a directory that this is or lies in.
pub(crate) async fn anything_below(place: &Arc<Place>, dir: &str, near: &str, but: Option<&str>) -> Result<bool> {
    let around = &place.around;
    if let Some(told) = around.told(dir, but) {
        return Ok(told);
    }
    let turn = around.asking.lock().await;
    let top = place.config.keys.prefix();
    let sorted = !place.client.walks.load(Ordering::Relaxed);
    let behind = dir.strip_suffix('/').unwrap_or(dir);
    let asks = [(top, ""), (near, ""), (near, behind)];
    for (prefix, after) in asks {
        if let Some(told) = around.told(dir, but) {
            return Ok(told);
        }
        let pays = if after.is_empty() { !around.is_large(prefix) } else { sorted && around.is_large(near) };
        if pays {
            ask(place, prefix, after).await?;
        }
    }
    // What is asked for one directory serves no other: nobody need wait for it.
    drop(turn);
    match around.told(dir, but) {
        Some(told) => Ok(told),
        None => search(place, dir, but).await,
    }
}

async fn ask(place: &Arc<Place>, prefix: &str, after: &str) -> Result<()> {
    let at = Moment::now();
    let from = if after.is_empty() { From::Start } else { From::After(after.to_owned()) };
    let page = page(place, prefix, true, &from, None).await?;
    let sorted =
        !place.client.walks.load(Ordering::Relaxed) && page.objects.is_sorted_by(|one, other| one.key < other.key);
    let until = match page.objects.last() {
        _ if page.next.is_none() => Until::End,
        Some(last) if sorted => Until::Key(last.key.clone()),
        _ => Until::Nowhere,
    };
    let keys = page.objects.into_iter().map(|object| object.key).collect();
    place.around.learn(Listed { at, prefix: prefix.to_owned(), after: after.to_owned(), until, keys });
    Ok(())
}

/// Looks through one directory, for as long as nothing but wl's own is found.
async fn search(place: &Arc<Place>, dir: &str, but: Option<&str>) -> Result<bool> {
    let mut from = Some(From::Start);
    while let Some(begin) = from.take() {
        let page = page(place, dir, true, &begin, Some(8)).await?;
        let mut keys = page.objects.iter().map(|object| object.key.as_str());
        if keys.any(|key| Some(key) != but && !is_part(dir, key) && !place.around.is_gone(key)) {
            return Ok(true);
        }
        from = page.next;
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(after: &str, until: Until, keys: &[&str]) -> Listed {
        let keys = keys.iter().map(|key| (*key).to_owned()).collect();
        Listed { at: Moment::now(), prefix: String::new(), after: after.to_owned(), until, keys }
    }

    #[test]
    fn a_page_tells_what_it_covers() {
        let key = |key: &str| Until::Key(key.to_owned());
        let known = listed("b", key("e"), &["b/1", "b/2", "c/", "d/.wl-part-1", "d/.wl-part-2/x", "d0", "e"]);
        for (dir, but, told) in [
            ("b/", None, Some(true)),
            ("b/", Some("b/1"), Some(true)),
            ("c/", Some("c/"), Some(false)),
            ("d/", None, Some(false)),
            ("bb/", None, Some(false)),
            ("a/", None, None),
            ("e/", None, None),
            ("f/", None, None),
        ] {
            assert_eq!(known.holds(dir, but), told, "{dir}");
        }
        assert_eq!(listed("", Until::End, &[]).holds("x/", None), Some(false));
        assert_eq!(listed("", Until::Nowhere, &["a/1"]).holds("x/", None), None);
        assert_eq!(listed("", Until::Nowhere, &["a/1"]).holds("a/", None), Some(true));
        assert_eq!(listed("b/1", Until::End, &["b/2"]).holds("b/", Some("b/2")), None, "it begins in the middle");
        assert_eq!(listed("a", key("b/9"), &["b/9"]).holds("b/", Some("b/9")), None, "it ends in the middle");
        let below = Listed { prefix: "p/".to_owned(), ..listed("", Until::End, &["p/a/1"]) };
        assert_eq!((below.holds("p/b/", None), below.holds("q/", None)), (Some(false), None));
    }

    #[test]
    fn what_is_done_is_known() {
        let around = Around::default();
        around.learn(listed("", Until::End, &["d/x"]));
        assert_eq!(around.told("d/", Some("d/x")), Some(false));
        around.put("d/y");
        assert_eq!(around.told("d/", Some("d/x")), Some(true));
        around.gone("d/y");
        assert_eq!(around.told("d/", Some("d/x")), Some(false));
        around.learn(listed("", Until::End, &["d/x", "d/y"]));
        assert_eq!(around.told("d/", Some("d/x")), Some(false), "what was listed before it was deleted");
        around.put("d/y");
        around.learn(listed("", Until::End, &["d/x", "d/y"]));
        assert_eq!(around.told("d/", Some("d/x")), Some(true), "it is there again");
    }

    #[test]
    fn what_was_listed_before_the_machine_slept_tells_nothing() {
        let around = Around::default();
        let known = listed("", Until::End, &["d/x"]);
        around.learn(Listed { at: known.at.slept(FRESH), ..known });
        assert_eq!(around.told("d/", None), None);
    }

    #[test]
    fn markers_are_superfluous_once_something_is_below() {
        let (around, version) = (Around::default(), Version { etag: "e".to_owned(), size: 0 });
        for marker in ["p/a/", "p/a/b/", "p/c/"] {
            around.made(marker, version.clone());
        }
        let of = |key: &str| around.superfluous(key).into_iter().map(|(marker, _)| marker).collect::<Vec<_>>();
        assert_eq!(of("p/a/b/"), ["p/a/"], "a marker below makes those above it superfluous, not itself");
        assert_eq!(of("p/a/b/x"), ["p/a/b/"]);
        assert!(of("p/a/b/y").is_empty());
        around.gone("p/c/");
        assert!(of("p/c/z").is_empty());
    }
}
