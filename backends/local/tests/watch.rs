//! Watching: every change leads to a hint.

mod kit;

use std::collections::BTreeSet;
use std::fs;
use std::time::{Duration, Instant};

use futures::StreamExt as _;
use futures::stream::BoxStream;
use kit::{Storage, path, storage};
use wl_core::backend::{Backend as _, Guard, Hint};
use wl_core::path::RelPath;

/// What was hinted at so far.
#[derive(Default, Debug)]
struct Heard {
    look: BTreeSet<RelPath>,
    below: BTreeSet<RelPath>,
    gone: BTreeSet<RelPath>,
    everything: bool,
    degraded: bool,
    ended: bool,
}

impl Heard {
    /// Whether somebody who follows the hints looks at that path.
    fn covers(&self, name: &str) -> bool {
        let name = path(name);
        self.everything || self.look.contains(&name) || self.below.iter().any(|dir| name.is_at_or_below(dir))
    }

    fn has_gone(&self, name: &str) -> bool {
        self.everything || self.gone.contains(&path(name))
    }

    async fn until(&mut self, hints: &mut BoxStream<'static, Hint>, holds: impl Fn(&Self) -> bool) {
        let deadline = Instant::now() + Duration::from_secs(20);
        while !holds(self) {
            let left = deadline.saturating_duration_since(Instant::now());
            let Ok(hint) = tokio::time::timeout(left, hints.next()).await else { panic!("never: {self:?}") };
            match hint {
                Some(Hint::Look(paths)) => self.look.extend(paths),
                Some(Hint::LookBelow(paths)) => self.below.extend(paths),
                Some(Hint::Gone(paths)) => self.gone.extend(paths),
                Some(Hint::Everything) => self.everything = true,
                Some(Hint::Degraded(_)) => self.degraded = true,
                None => self.ended = true,
            }
        }
    }
}

async fn watched() -> (Storage, BoxStream<'static, Hint>) {
    let s = storage();
    s.put("d/f", "x");
    let hints = s.local.watch().await.unwrap();
    (s, hints)
}

#[tokio::test]
async fn a_change_is_heard_of_at_once() {
    let (s, mut hints) = watched().await;
    for name in ["new", "d/f", "d/new"] {
        let begun = Instant::now();
        s.put(name, "y");
        Heard::default().until(&mut hints, |heard| heard.covers(name)).await;
        println!("{name}: {:?}", begun.elapsed());
    }
    fs::remove_file(s.at("d/f")).unwrap();
    Heard::default().until(&mut hints, |heard| heard.has_gone("d/f")).await;
    fs::rename(s.at("d/new"), s.at("moved")).unwrap();
    Heard::default().until(&mut hints, |heard| heard.has_gone("d/new") && heard.covers("moved")).await;
    fs::rename(s.at("d"), s.at("e")).unwrap();
    Heard::default().until(&mut hints, |heard| heard.has_gone("d") && heard.covers("e/anything")).await;
    s.put("e/later", "z");
    Heard::default().until(&mut hints, |heard| heard.covers("e/later")).await;
}

#[tokio::test]
async fn files_in_directories_made_just_now_are_covered() {
    let (s, mut hints) = watched().await;
    let names: Vec<_> = (0..200).map(|at| format!("t{at}/a/b/c/d/file")).collect();
    for name in &names {
        s.put(name, "x");
    }
    Heard::default().until(&mut hints, |heard| names.iter().all(|name| heard.covers(name))).await;
}

#[tokio::test]
async fn a_slow_writer_is_looked_at_when_it_is_done() {
    let (s, mut hints) = watched().await;
    let mut file = fs::File::create(s.at("slow")).unwrap();
    for _ in 0..3 {
        std::io::Write::write_all(&mut file, b"piece").unwrap();
        Heard::default().until(&mut hints, |heard| heard.covers("slow")).await;
    }
    let before = s.token("slow").await;
    drop(file);
    Heard::default().until(&mut hints, |heard| heard.covers("slow")).await;
    assert!(s.token("slow").await.same(&before), "closing changes nothing");
}

#[tokio::test]
async fn ten_thousand_creations_are_all_covered() {
    let (s, mut hints) = watched().await;
    let names: Vec<_> = (0..10_000).map(|at| format!("f{at}")).collect();
    let all: Vec<_> = names.iter().map(|name| s.at(name)).collect();
    let writer = std::thread::spawn(move || all.iter().for_each(|at| fs::write(at, "x").unwrap()));
    let last = names.last().unwrap();
    let mut heard = Heard::default();
    heard.until(&mut hints, |heard| heard.covers(last)).await;
    writer.join().unwrap();
    let missed: Vec<_> = names.iter().filter(|name| !heard.covers(name)).collect();
    assert!(missed.is_empty(), "{} missed", missed.len());
}

#[tokio::test]
async fn our_own_leftovers_and_the_trash_are_no_news() {
    let (s, mut hints) = watched().await;
    let token = s.create("f", "one").await.unwrap().entry.token;
    let guard = Guard::Unchanged(token);
    s.local.replace(&path("f"), kit::content("two"), &guard, Some(&path(".wl-trash/f"))).await.unwrap();
    s.put("last", "x");
    let mut heard = Heard::default();
    heard.until(&mut hints, |heard| heard.covers("last")).await;
    let all: Vec<_> = [&heard.look, &heard.below, &heard.gone].into_iter().flatten().collect();
    assert!(heard.covers("f") && all.iter().all(|path| !path.is_ours()), "{all:?}");
}

#[tokio::test]
async fn a_root_that_goes_ends_the_watch() {
    for removed in [true, false] {
        let parent = tempfile::tempdir().unwrap();
        let at = parent.path().join("root");
        fs::create_dir(&at).unwrap();
        let local = wl_backend_local::Local::new(&at).unwrap();
        let mut hints = local.watch().await.unwrap();
        if removed {
            fs::remove_dir(&at).unwrap();
        } else {
            fs::rename(&at, parent.path().join("away")).unwrap();
        }
        Heard::default().until(&mut hints, |heard| heard.everything).await;
        Heard::default().until(&mut hints, |heard| heard.ended).await;
    }
}

#[tokio::test]
async fn names_that_cannot_be_said_lead_to_their_directory() {
    let (s, mut hints) = watched().await;
    fs::write(s.at("d").join(<std::ffi::OsStr as std::os::unix::ffi::OsStrExt>::from_bytes(b"\xff")), "x").unwrap();
    Heard::default().until(&mut hints, |heard| heard.below.contains(&path("d"))).await;
}

#[tokio::test]
async fn a_dropped_stream_ends_its_watcher() {
    let (_s, hints) = watched().await;
    let watches = || {
        let open = fs::read_dir("/proc/self/fd").unwrap().flatten().filter_map(|fd| fs::read_link(fd.path()).ok());
        open.filter(|to| to.to_string_lossy().contains("inotify")).count()
    };
    let before = watches();
    drop(hints);
    kit::eventually("the watcher closes", || watches() < before).await;
}
