//! The deletion guard: what looks like an accident stops the job before anything is deleted.

use std::fs;
use std::time::Duration;

use crate::home::pair::A;
use crate::home::tree::exact;
use crate::home::{Pair, tree, wait_for, wait_until};

fn agreed(files: usize, container: &str) -> Pair {
    let pair = Pair::with(container, "", "");
    fill(&pair, 0..files);
    pair.sync(0, &[]);
    pair
}

fn fill(pair: &Pair, numbers: std::ops::Range<usize>) {
    numbers.for_each(|number| pair.write(&format!("a/d/{number}"), format!("content {number}")));
}

fn remove(pair: &Pair, side: &str, numbers: std::ops::Range<usize>) {
    numbers.for_each(|number| pair.remove(&format!("{side}/d/{number}")));
}

#[test]
fn more_than_half_of_twenty_is_refused_from_either_side() {
    for (from, to) in [("a", "b"), ("b", "a")] {
        let pair = agreed(20, "");
        remove(&pair, from, 0..11);
        pair.write(&format!("{from}/new"), "1");
        let before = tree(&pair.home.path(format!("{to}/d")));
        let ran = pair.home.expect(1, &["container", "sync", "c", "--one-shot"]);
        ran.says(&["11 of 20", "max-delete", "--allow-deletes"]);
        assert_eq!(tree(&pair.home.path(format!("{to}/d"))), before);
        pair.sync(0, &["--allow-deletes"]);
        assert_eq!(tree(&pair.home.path(format!("{to}/d"))).len(), 9);
        pair.assert_equal();
    }
}

#[test]
fn half_of_them_or_less_than_twenty_may_go() {
    let pair = agreed(20, "");
    remove(&pair, "a", 0..10);
    pair.sync(0, &[]);
    pair.assert_equal();
    let pair = agreed(19, "");
    remove(&pair, "a", 0..18);
    pair.sync(0, &[]);
    pair.assert_equal();
}

#[test]
fn the_share_is_the_containers() {
    let pair = agreed(30, "max-delete: 10");
    remove(&pair, "a", 0..4);
    pair.home.expect(1, &["container", "sync", "c", "--one-shot"]).says(&["10 percent"]);
    let pair = agreed(30, "max-delete: 5.0");
    remove(&pair, "a", 0..4);
    pair.home.expect(1, &["container", "sync", "c", "--one-shot"]).says(&["5 percent"]);
    let pair = agreed(30, "max-delete: 100");
    remove(&pair, "a", 0..30);
    pair.sync(0, &[]);
    pair.assert_equal();
}

#[test]
fn a_storage_that_was_taken_out_and_added_again_is_met_anew() {
    for renamed in [false, true] {
        let pair = agreed(10, "");
        pair.write("a/differs", "one");
        pair.sync(0, &[]);
        if renamed {
            let file = pair.home.path("base/containers/c.container.yaml");
            let text = fs::read_to_string(&file).unwrap();
            fs::write(&file, text.replace(A, "cccccccc-0000-4000-8000-000000000003")).unwrap();
        } else {
            pair.home.ok(&["container", "remove-storage", "c", A]);
        }
        remove(&pair, "a", 0..5);
        pair.write("a/differs", "other");
        if !renamed {
            pair.home.ok(&["container", "add-storage", "c", &pair.home.text("a")]);
        }
        let plan = pair.plan(&[]);
        assert!(plan.iter().all(|step| step["action"] != "delete"), "{plan:?}");
        pair.sync(3, &[]);
        assert_eq!((tree(&pair.a("d")).len(), tree(&pair.b("d")).len()), (10, 10));
        assert_eq!((pair.read("a/differs"), pair.read("b/differs")), ("other".into(), "one".into()));
        // From then on both are as they always are.
        remove(&pair, "a", 0..5);
        pair.sync(3, &[]);
        assert_eq!(tree(&pair.b("d")).len(), 5);
    }
}

#[test]
fn moves_do_not_count() {
    let pair = agreed(30, "");
    fs::rename(pair.a("d"), pair.a("e")).unwrap();
    let done = pair.sync(0, &[]);
    assert_eq!(done["moved"], 30);
    pair.assert_equal();
}

#[test]
fn a_running_job_stops_and_goes_on_when_the_files_return() {
    let pair = Pair::new();
    fill(&pair, 0..30);
    pair.keep(&[]);
    fs::rename(pair.a("d"), pair.home.path("aside")).unwrap();
    let job = pair.wait_job(|job| job["state"] == "ERROR");
    assert!(job["error"].as_str().unwrap().contains("30 of 30"), "{job}");
    assert_eq!(tree(&pair.b("d")).len(), 30);
    assert_eq!(pair.home.wl(&["status"]).code, 1);
    fs::rename(pair.home.path("aside"), pair.a("d")).unwrap();
    pair.wait_job(|job| job["state"] == "SYNCED" && job["error"].is_null());
    pair.write("a/d/after", "1");
    wait_until(|| pair.has("b/d/after"));
}

#[test]
fn leave_to_delete_is_given_for_one_run() {
    let pair = Pair::new();
    fill(&pair, 0..30);
    pair.keep(&[]);
    // At once: one by one, a round between would rightly follow the first few.
    fs::rename(pair.a("d"), pair.home.path("aside")).unwrap();
    pair.wait_job(|job| job["state"] == "ERROR");
    assert_eq!(tree(&pair.b("d")).len(), 30);
    pair.home.ok(&["container", "sync", "c", "--wait", "--allow-deletes"]);
    assert!(tree(&pair.b("d")).is_empty());
    fill(&pair, 0..30);
    wait_until(|| tree(&pair.b("d")).len() == 30);
    pair.wait_job(|job| job["state"] == "SYNCED");
    fs::rename(pair.a("d"), pair.home.path("aside2")).unwrap();
    pair.wait_job(|job| job["state"] == "ERROR");
    assert_eq!(tree(&pair.b("d")).len(), 30, "the next mass deletion is stopped again");
}

/// Programs do so with their temporary files.
#[test]
fn what_is_made_and_deleted_again_and_again_stops_nothing() {
    let pair = agreed(20, "");
    pair.home.ok(&["container", "sync", "c", "--wait"]);
    for number in 0..16 {
        pair.write("a/d/temporary", format!("{number}"));
        pair.write("a/d/0", format!("again {number}"));
        wait_until(|| pair.home.path("b/d/temporary").exists() && pair.home.path("b/d/0").exists());
        pair.remove("a/d/temporary");
        pair.remove("a/d/0");
        wait_until(|| !pair.home.path("b/d/temporary").exists() && !pair.home.path("b/d/0").exists());
    }
    wait_until(|| pair.home.jobs()[0]["state"] == "SYNCED");
    pair.home.ok(&["container", "stop-sync", "c"]);
}

#[test]
fn a_slow_mass_deletion_is_one_all_the_same() {
    let pair = Pair::new();
    fill(&pair, 0..40);
    pair.keep(&[]);
    for number in 0..40 {
        pair.remove(&format!("a/d/{number}"));
        std::thread::sleep(Duration::from_millis(15));
    }
    pair.wait_job(|job| job["state"] == "ERROR");
    assert!(tree(&pair.b("d")).len() >= 20, "no more than half was followed");
}

#[test]
fn a_missing_root_is_no_deletion() {
    for (gone, other) in [("a", "b"), ("b", "a")] {
        let pair = Pair::new();
        fill(&pair, 0..3);
        pair.sync(0, &[]);
        fs::rename(pair.home.path(gone), pair.home.path("aside")).unwrap();
        let before = exact(&pair.home.path(other));
        for options in [&["--one-shot"][..], &["--one-shot", "--allow-deletes"]] {
            let ran = pair.home.expect(1, &[&["container", "sync", "c"], options].concat());
            ran.says(&["root", "nothing was deleted"]);
            assert!(!pair.has(gone), "a known root is not made anew");
        }
        assert_eq!(exact(&pair.home.path(other)), before);
        fs::rename(pair.home.path("aside"), pair.home.path(gone)).unwrap();
        pair.sync(0, &[]);
        pair.assert_equal();
    }
}

#[test]
fn a_running_job_waits_for_its_root_and_goes_on() {
    for (gone, other) in [("a", "b"), ("b", "a")] {
        let pair = Pair::new();
        fill(&pair, 0..3);
        pair.keep(&[]);
        fs::rename(pair.home.path(gone), pair.home.path("aside")).unwrap();
        pair.write(&format!("{other}/meanwhile"), "1");
        pair.wait_job(|job| job["state"] == "ERROR");
        assert!(pair.has(&format!("{other}/d/0")));
        fs::rename(pair.home.path("aside"), pair.home.path(gone)).unwrap();
        wait_until(|| pair.has(&format!("{gone}/meanwhile")));
        pair.wait_job(|job| job["state"] == "SYNCED" && job["error"].is_null());
        pair.write(&format!("{gone}/after"), "1");
        wait_until(|| pair.has(&format!("{other}/after")));
        assert!(pair.is_equal());
    }
}

#[test]
fn a_replaced_root_is_no_deletion() {
    let pair = agreed(3, "");
    fs::rename(pair.a(""), pair.home.path("aside")).unwrap();
    fs::create_dir(pair.a("")).unwrap();
    let before = exact(&pair.b("d"));
    pair.home.expect(1, &["container", "sync", "c", "--one-shot"]).says(&["root", "replaced"]);
    assert_eq!(exact(&pair.b("d")), before);
    fs::remove_dir(pair.a("")).unwrap();
    fs::rename(pair.home.path("aside"), pair.a("")).unwrap();
    pair.sync(0, &[]);
    pair.assert_equal();
}

/// What was put into an empty mount point would count as kept there.
#[test]
fn a_replaced_target_is_not_filled_though_nothing_is_deleted() {
    let pair = Pair::new();
    fill(&pair, 0..3);
    pair.sync(0, &["--unidirectional"]);
    fs::rename(pair.b(""), pair.home.path("aside")).unwrap();
    fs::create_dir(pair.b("")).unwrap();
    pair.write("a/new", "1");
    let args = ["container", "sync", "c", "--one-shot", "--unidirectional"];
    pair.home.expect(1, &args).says(&["root", "replaced", "lacks 3 files"]);
    assert!(!pair.has("b/new"));
    fs::remove_dir(pair.b("")).unwrap();
    fs::rename(pair.home.path("aside"), pair.b("")).unwrap();
    pair.sync(0, &["--unidirectional"]);
    pair.assert_equal();
}

#[test]
fn a_root_replaced_by_a_copy_goes_on() {
    let pair = agreed(30, "");
    fs::rename(pair.a(""), pair.home.path("aside")).unwrap();
    let copied = std::process::Command::new("cp").arg("-a").arg(pair.home.path("aside")).arg(pair.a("")).status();
    assert!(copied.unwrap().success());
    pair.write("a/new", "1");
    pair.sync(0, &[]);
    pair.assert_equal();
}

#[test]
fn a_running_job_stops_at_a_replaced_root_and_goes_on_with_the_old_one() {
    let pair = Pair::new();
    fill(&pair, 0..3);
    pair.keep(&[]);
    fs::rename(pair.a(""), pair.home.path("aside")).unwrap();
    fs::create_dir(pair.a("")).unwrap();
    pair.wait_job(|job| job["state"] == "ERROR");
    assert_eq!(tree(&pair.b("d")).len(), 3);
    fs::remove_dir(pair.a("")).unwrap();
    fs::rename(pair.home.path("aside"), pair.a("")).unwrap();
    pair.wait_job(|job| job["state"] == "SYNCED" && job["error"].is_null());
    pair.write("b/after", "1");
    wait_until(|| pair.has("a/after"));
}

#[test]
fn a_root_that_is_not_there_yet_is_made() {
    let pair = Pair::new();
    pair.write("a/f", "1");
    fs::remove_dir(pair.b("")).unwrap();
    pair.sync(0, &[]);
    assert_eq!(pair.read("b/f"), "1");
    // But not where its parent is missing.
    let home = &pair.home;
    let (from, to) = (home.text("a"), home.text("no/such/parent"));
    let ran = home.expect(1, &["sync", &from, &to, "--one-shot"]);
    ran.says(&["no/such/parent"]);
    assert!(!home.path("no").exists());
}

#[test]
fn a_running_job_makes_its_root_and_watches_it() {
    let pair = Pair::new();
    pair.write("a/f", "1");
    fs::remove_dir(pair.b("")).unwrap();
    pair.keep(&[]);
    assert_eq!(pair.job()["problems"].as_array().unwrap().len(), 0, "{}", pair.job());
    pair.write("b/back", "1");
    wait_for(Duration::from_secs(10), || pair.has("a/back"));
}

#[test]
fn an_unplugged_medium_in_a_dry_run_is_an_error_too() {
    let pair = agreed(3, "");
    fs::rename(pair.a(""), pair.home.path("aside")).unwrap();
    let ran = pair.home.expect(1, &["container", "sync", "c", "--dry-run"]);
    ran.says(&["root"]);
    assert!(!pair.has("a"));
}

#[test]
fn a_run_that_failed_is_told_as_json_too() {
    let pair = agreed(30, "");
    remove(&pair, "a", 0..20);
    let done = pair.home.json_of(1, &["container", "sync", "c", "--one-shot"]);
    assert_eq!((&done["state"], &done["deleted"]), (&"ERROR".into(), &0.into()), "{done}");
    assert!(done["conflicts"].is_array() && done["problems"].is_array(), "{done}");
}
