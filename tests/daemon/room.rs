//! A full disk: said so, nothing lost, and done by itself once there is room.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::home::{Home, Pair, tree, wait_until};

/// A small file system that goes away with the test.
struct Small(PathBuf);

impl Small {
    /// One of so many KiB at that path; none where the test may not mount.
    fn mount(at: &Path, kib: u32) -> Option<Self> {
        fs::create_dir_all(at).unwrap();
        let options = format!("size={kib}k");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(at).output();
        if !mounted.is_ok_and(|output| output.status.success()) {
            eprintln!("NOT TESTED: a full disk, since nothing can be mounted here (run as root)");
            return None;
        }
        Some(Self(at.to_owned()))
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        // Lazily: whoever still holds it lets go of it later.
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
        // The world around it is gone already, but for this.
        let _ = self.0.parent().map(fs::remove_dir_all);
    }
}

#[test]
fn a_full_disk_is_said_so_and_the_rest_follows_when_there_is_room() {
    let home = Home::new();
    let Some(_small) = Small::mount(&home.path("b"), 2048) else { return };
    let pair = Pair::in_home(home, "", "", "");
    pair.write("b/ballast", vec![0_u8; 1_500_000]);
    pair.write("a/small", "fits");
    pair.sync(0, &[]);
    pair.write("a/.wlignore", "ballast\n");
    pair.home.ok(&["container", "sync", "c", "--wait"]);
    for number in 0..8 {
        // Whole at once: what is seen of a file before it is written travels, too.
        fs::write(pair.home.path("aside"), vec![b'x'; 150_000]).unwrap();
        fs::rename(pair.home.path("aside"), pair.a(format!("big{number}"))).unwrap();
    }
    pair.write("a/small", "edited and still fits");
    let job = pair.wait_job(|job| job["problems"].as_array().unwrap().iter().any(|p| p["kind"] == "full"));
    assert_eq!(pair.home.wl(&["status"]).code, 4, "{job}");
    assert!(job["problems"].as_array().unwrap().iter().all(|p| p["storage"] == crate::home::pair::B), "{job}");
    // Nothing is torn: what is there is whole.
    for (path, node) in tree(&pair.b("")) {
        if path.starts_with("big") {
            assert!(Some(&node) == tree(&pair.a("")).get(&path), "{path} is not whole");
        }
    }
    pair.remove("b/ballast");
    wait_until(|| {
        (0..8).all(|number| pair.has(&format!("b/big{number}"))) && pair.read("b/small").starts_with("edited")
    });
    pair.wait_job(|job| job["state"] == "SYNCED" && job["problems"].as_array().unwrap().is_empty());
    assert!(!tree::has_parts(&pair.b("")));
    pair.home.ok(&["container", "verify", "c"]);
}

#[test]
fn a_waited_run_tells_what_did_not_fit() {
    let home = Home::new();
    let Some(_small) = Small::mount(&home.path("b"), 1024) else { return };
    fs::write(home.path("base/config.yaml"), "retry-for: 1s\n").unwrap();
    let pair = Pair::in_home(home, "", "", "");
    pair.write("a/fits", "1");
    pair.write("a/big", vec![b'x'; 3_000_000]);
    let ran = pair.home.wl(&["container", "sync", "c", "--one-shot"]);
    assert!(ran.code == 1 || ran.code == 4, "{} {}", ran.code, ran.stderr);
    assert!((ran.stdout + &ran.stderr).contains("big"));
    assert_eq!(pair.read("b/fits"), "1");
    assert!(!pair.has("b/big"));
    assert_eq!(fs::metadata(pair.a("big")).unwrap().len(), 3_000_000);
}
