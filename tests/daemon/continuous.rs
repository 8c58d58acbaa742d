//! A job that runs: what either side does arrives on the other.

use std::fs::{self, File};
use std::io::Write as _;
use std::time::Duration;

use crate::home::{Pair, tree, wait_for, wait_until};

#[test]
fn edits_moves_and_deletions_arrive_from_either_side() {
    let pair = Pair::new();
    pair.write("a/first", "1");
    pair.keep(&[]);
    for [from, to] in [["a", "b"], ["b", "a"]] {
        let [here, there] = [|name: &str, side: &str| format!("{side}/{name}"); 2];
        pair.write(&here("f", from), "created");
        wait_until(|| pair.has(&there("f", to)) && pair.read(&there("f", to)) == "created");
        pair.write(&here("f", from), "edited");
        wait_until(|| pair.read(&there("f", to)) == "edited");
        fs::rename(pair.home.path(here("f", from)), pair.home.path(here("g", from))).unwrap();
        wait_until(|| pair.has(&there("g", to)) && !pair.has(&there("f", to)));
        pair.remove(&here("g", from));
        wait_until(|| !pair.has(&there("g", to)));
    }
    pair.wait_job(|job| job["state"] == "SYNCED");
    pair.assert_equal();
}

#[test]
fn a_deep_tree_made_at_once_arrives_whole() {
    let pair = Pair::new();
    pair.keep(&[]);
    for side in ["a", "b"] {
        for top in 0..4 {
            let deep = (0..12).fold(String::new(), |deep, level| format!("{deep}{top}-{level}/"));
            fs::create_dir_all(pair.home.path(format!("{side}/{side}{deep}"))).unwrap();
            pair.write(&format!("{side}/{side}{deep}bottom"), "deep");
            pair.write(&format!("{side}/{side}{top}-0/{top}-1/middle"), "middle");
        }
    }
    wait_until(|| pair.is_equal() && tree(&pair.a("")).len() == 2 * 4 * (12 + 2));
    pair.wait_job(|job| job["state"] == "SYNCED");
    pair.assert_equal();
}

#[test]
fn more_events_than_the_queue_holds_converge() {
    let pair = Pair::new();
    pair.keep(&[]);
    for number in 0..5000 {
        let dir = number % 20;
        if number < 20 {
            fs::create_dir(pair.a(format!("d{dir}"))).unwrap();
        }
        fs::write(pair.a(format!("d{dir}/{number}")), number.to_string()).unwrap();
    }
    for number in (0..5000).step_by(7) {
        let dir = number % 20;
        fs::rename(pair.a(format!("d{dir}/{number}")), pair.a(format!("d{dir}/moved-{number}"))).unwrap();
    }
    for number in (1..5000).step_by(49) {
        let _ = fs::remove_file(pair.a(format!("d{}/{number}", number % 20)));
    }
    for number in 0..500 {
        fs::write(pair.b(format!("b{number}")), "from b").unwrap();
    }
    wait_for(Duration::from_mins(1), || pair.is_equal() && pair.job()["state"] == "SYNCED");
    assert!(pair.conflicts().is_empty());
    assert!(pair.has("a/b499"));
    pair.assert_equal();
}

#[test]
fn a_file_written_slowly_ends_up_whole() {
    let pair = Pair::new();
    pair.keep(&[]);
    let mut file = File::create(pair.a("slow")).unwrap();
    let mut written = Vec::new();
    for chunk in 0..40_u8 {
        let bytes = vec![chunk; 20_000];
        file.write_all(&bytes).unwrap();
        written.extend(bytes);
        std::thread::sleep(Duration::from_millis(40));
        // What is seen over there meanwhile is something that was here once.
        if let Ok(seen) = fs::read(pair.b("slow")) {
            assert!(written.starts_with(&seen));
        }
    }
    drop(file);
    wait_until(|| fs::read(pair.b("slow")).is_ok_and(|seen| seen == written));
    pair.wait_job(|job| job["state"] == "SYNCED" && job["problems"].as_array().unwrap().is_empty());
}

#[test]
fn what_editors_do_when_they_save_arrives_as_an_edit() {
    let pair = Pair::new();
    pair.write("a/text", "old");
    pair.keep(&[]);
    for version in 0..5 {
        let content = format!("version {version}");
        fs::write(pair.a(".text.swp"), &content).unwrap();
        fs::rename(pair.a("text"), pair.a("text~")).unwrap();
        fs::rename(pair.a(".text.swp"), pair.a("text")).unwrap();
        wait_until(|| fs::read_to_string(pair.b("text")).is_ok_and(|seen| seen == content));
    }
    assert!(pair.conflicts().is_empty());
}

#[test]
fn a_scanning_watcher_sees_changes_too() {
    let pair = Pair::with("", "watcher-interval: 1", "watcher-interval: 1");
    pair.write("a/f", "1");
    pair.keep(&[]);
    pair.write("a/f", "edited");
    pair.write("b/new", "from b");
    wait_until(|| pair.read("b/f") == "edited" && pair.has("a/new"));
    pair.remove("a/f");
    wait_until(|| !pair.has("b/f"));
}

#[test]
fn the_jobs_own_writes_cause_no_work() {
    let pair = Pair::new();
    for number in 0..50 {
        pair.write(&format!("a/{number}"), "1");
    }
    pair.keep(&[]);
    let job = pair.wait_job(|job| job["state"] == "SYNCED");
    assert_eq!((&job["transferred_files"], &job["files"]), (&50.into(), &50.into()));
    pair.write("a/one-more", "1");
    let job = pair.wait_job(|job| job["files"] == 51 && job["state"] == "SYNCED");
    assert_eq!(job["transferred_files"], 51);
}

#[test]
fn a_conflict_appears_and_ends_while_it_runs() {
    let pair = Pair::new();
    pair.write("a/f", "base");
    pair.keep(&[]);
    pair.home.ok(&["container", "pause", "c"]);
    pair.write("a/f", "one");
    pair.write("b/f", "two");
    pair.home.ok(&["container", "resume", "c"]);
    let job = pair.wait_job(|job| job["conflicts"].as_array().unwrap().len() == 1 && job["state"] == "SYNCED");
    assert_eq!(job["conflicts"][0]["path"], "f");
    assert_eq!(pair.home.wl(&["status"]).code, 3, "open conflicts do not hinder SYNCED");
    pair.write("a/else", "goes on");
    wait_until(|| pair.has("b/else"));
    pair.home.ok(&["container", "resolve", "c", "f", "--keep", "bbbb"]);
    assert_eq!(pair.read("a/f"), "two");
    pair.wait_job(|job| job["conflicts"].as_array().unwrap().is_empty());
    pair.write("a/f", "edited after");
    wait_until(|| pair.read("b/f") == "edited after");
}

#[test]
fn a_held_job_does_nothing_and_then_everything() {
    let pair = Pair::new();
    pair.write("a/f", "1");
    pair.keep(&[]);
    pair.home.ok(&["container", "pause", "c"]);
    pair.write("a/meanwhile", "1");
    pair.remove("b/f");
    assert_eq!(pair.job()["state"], "STOPPED");
    pair.home.ok(&["daemon", "stop"]);
    pair.home.ok(&["daemon", "start"]);
    let job = pair.job();
    assert_eq!((&job["state"], &job["paused"]), (&"STOPPED".into(), &true.into()), "held over a restart");
    assert!(!pair.has("b/meanwhile") && pair.has("a/f"));
    pair.home.ok(&["container", "resume", "c"]);
    wait_until(|| pair.has("b/meanwhile") && !pair.has("a/f"));
}

#[test]
fn one_command_makes_three_storages_equal() {
    let pair = Pair::new();
    let third = pair.home.text("third");
    fs::create_dir(&third).unwrap();
    pair.home.ok(&["container", "add-storage", "c", &third]);
    for file in ["a/1", "b/2", "third/3"] {
        pair.write(file, file);
    }
    let planned = pair.home.ok(&["container", "sync", "c", "--all", "--dry-run"]);
    planned.says(&["goes on from there to the other storages, which is not in this plan"]);
    let done = pair.home.json(&["container", "sync", "c", "--all", "--one-shot"]);
    assert_eq!((&done["state"], &done["copied"]), (&"SYNCED".into(), &6.into()), "{done}");
    assert!(pair.is_equal() && tree(&pair.a("")) == tree(&pair.home.path("third")) && pair.has("b/3"));
    let nothing = pair.home.ok(&["container", "sync", "c", "--all", "--dry-run"]);
    assert!(!nothing.stderr.contains("goes on"), "{}", nothing.stderr);
}

#[test]
fn one_container_on_three_storages_stays_equal() {
    let pair = Pair::new();
    let third = pair.home.text("third");
    fs::create_dir(&third).unwrap();
    pair.home.ok(&["container", "add-storage", "c", &third]);
    pair.write("a/f", "1");
    pair.write("third/g", "2");
    pair.home.ok(&["container", "sync", "c", "--all", "--wait"]);
    assert!(pair.is_equal() && tree(&pair.a("")) == tree(&pair.home.path("third")) && pair.has("b/g"));
    pair.write("b/h", "3");
    wait_until(|| pair.has("third/h"));
    let jobs = pair.home.jobs();
    assert_eq!(jobs.len(), 2);
    for job in jobs {
        let (id, target) = (job["job_id"].as_str().unwrap(), job["target"]["backend_id"].as_str().unwrap());
        assert!(id.ends_with(&format!("|{target}")), "{id}");
    }
    pair.home.ok(&["container", "stop-sync", "c"]);
    assert!(pair.home.jobs().is_empty());
}

#[test]
fn stop_sync_returns_when_nothing_runs_any_more() {
    let pair = Pair::new();
    for number in 0..200 {
        pair.write(&format!("a/{number}"), vec![1_u8; 50_000]);
    }
    pair.home.ok(&["container", "sync", "c"]);
    pair.home.ok(&["container", "stop-sync", "c"]);
    let stopped = tree::exact(&pair.b(""));
    assert!(!tree::has_parts(&pair.b("")));
    pair.write("a/later", "1");
    assert!(pair.home.jobs().is_empty());
    assert_eq!(tree::exact(&pair.b("")), stopped);
    pair.sync(0, &[]);
    pair.assert_equal();
}
