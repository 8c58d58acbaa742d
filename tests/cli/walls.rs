//! The walls of the house: who may know whom. Read from the workspace's own metadata and sources.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use cargo_metadata::{DependencyKind, Metadata, MetadataCommand, Package, PackageId};

/// The folders that each room may depend on, dev-dependencies aside. A trailing slash stands for every room below.
const ARROWS: &[(&str, &[&str])] = &[
    ("core", &[]),
    ("backends/all", &["core", "backends/"]),
    ("backends/", &["core"]),
    ("syncers/all", &["core", "syncers/"]),
    ("syncers/generic", &["core"]),
    ("syncers/local-local", &["core", "backends/local"]),
    ("syncers/local-sftp", &["core", "backends/local", "backends/sftp"]),
    ("syncers/s3-s3", &["core", "backends/s3"]),
    ("syncers/sftp-sftp", &["core", "backends/sftp"]),
    ("syncers/webdav-webdav", &["core", "backends/webdav"]),
    ("syncers/", &["core", "backends/"]),
    ("daemon", &["core", "backends/all", "syncers/all"]),
    ("cli", &["core", "daemon", "backends/all", "syncers/all"]),
    ("tests/kit", &["core", "daemon", "syncers/generic"]),
];

/// What only tests may use.
const TEST_ROOMS: &[&str] = &["tests/kit"];

/// Crates that speak HTTP, SSH or S3, or to a terminal: the engine knows none of that.
const NOT_IN_CORE: &[&str] = &[
    "reqwest",
    "hyper",
    "h2",
    "http",
    "ureq",
    "isahc",
    "curl",
    "rustls",
    "native-tls",
    "openssl",
    "ssh2",
    "russh",
    "openssh",
    "clap",
    "indicatif",
    "comfy-table",
    "crossterm",
    "console",
    "anstream",
    "rpassword",
];
const NOT_IN_CORE_FAMILIES: &[&str] = &["aws-", "hyper-", "libssh"];
/// Core runs on tokio, but opens no socket and starts no process through it.
const NOT_CORES_TOKIO: &[&str] = &["net", "process", "signal", "full"];

/// The modules between "what is there" and "what to do".
const PURE: &[&str] = &["merge", "plan", "brakes", "filter", "path", "entry"];
const IMPURE: &[&str] = &[
    "async ",
    ".await",
    "tokio",
    "futures::",
    "std::fs",
    "std::net",
    "std::env",
    "std::time",
    "std::thread",
    "Timestamp::now",
    "Instant",
    "SystemTime",
    "rand::",
    "Uuid::new",
    "rusqlite",
];
/// What the pure modules may import of the crate: one another, …
const PURE_MAY_IMPORT: &[&str] = &["merge", "plan", "brakes", "filter", "path", "entry", "error", "report"];
/// … and words that only say something.
const WORDS: &[(&str, &[&str])] = &[
    ("backend", &["Guard", "Prune"]),
    ("job", &["Which"]),
    ("state", &["BaseRow", "Becoming", "ConflictRow", "Held", "Intent"]),
];

struct House {
    metadata: Metadata,
    root: PathBuf,
}

impl House {
    fn look() -> Self {
        let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("../Cargo.toml");
        // For one system, lest crates are fetched that nothing here is built from.
        let system = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
        let options = ["--all-features", "--locked", "--filter-platform", &system];
        let metadata = MetadataCommand::new()
            .manifest_path(manifest)
            .other_options(options.map(str::to_owned))
            .exec()
            .expect("cargo metadata");
        let root = metadata.workspace_root.clone().into_std_path_buf();
        Self { metadata, root }
    }

    fn rooms(&self) -> BTreeMap<String, &Package> {
        let room = |package| (self.room(package), package);
        self.metadata.workspace_packages().into_iter().map(room).collect()
    }

    /// A package's folder below the root.
    fn room(&self, package: &Package) -> String {
        let dir = package.manifest_path.parent().unwrap().as_std_path();
        dir.strip_prefix(&self.root).unwrap().to_str().unwrap().to_owned()
    }

    /// The rooms that one depends on.
    fn neighbours(&self, package: &Package, kinds: &[DependencyKind]) -> BTreeSet<String> {
        let wanted = package.dependencies.iter().filter(|dependency| kinds.contains(&dependency.kind));
        let dirs = wanted.filter_map(|dependency| dependency.path.as_ref());
        let below_root = |dir: &Path| dir.strip_prefix(&self.root).unwrap().to_str().unwrap().to_owned();
        dirs.map(|dir| below_root(dir.as_std_path())).collect()
    }

    /// Every crate that a room's library is built from, with all features on.
    fn tree(&self, name: &str) -> BTreeSet<&str> {
        let resolve = self.metadata.resolve.as_ref().unwrap();
        let nodes: BTreeMap<&PackageId, _> = resolve.nodes.iter().map(|node| (&node.id, node)).collect();
        let mut todo = vec![&self.metadata.packages.iter().find(|package| package.name == name).unwrap().id];
        let mut seen = BTreeSet::new();
        while let Some(id) = todo.pop() {
            if seen.insert(id) {
                let normal = nodes[id]
                    .deps
                    .iter()
                    .filter(|dep| dep.dep_kinds.iter().any(|kind| kind.kind == DependencyKind::Normal));
                todo.extend(normal.map(|dep| &dep.pkg));
            }
        }
        seen.into_iter().map(|id| self.metadata[id].name.as_str()).collect()
    }
}

fn fits(rule: &str, room: &str) -> bool {
    rule == room || rule.ends_with('/') && room.starts_with(rule)
}

#[test]
fn every_arrow_is_drawn() {
    let house = House::look();
    for (room, package) in house.rooms() {
        let rule = ARROWS.iter().find(|(rule, _)| fits(rule, &room));
        let (_, allowed) = rule.unwrap_or_else(|| panic!("{room} is new: say in ARROWS what it may depend on"));
        for other in house.neighbours(package, &[DependencyKind::Normal, DependencyKind::Build]) {
            assert!(allowed.iter().any(|rule| fits(rule, &other)), "{room} must not depend on {other}");
            assert!(!TEST_ROOMS.contains(&other.as_str()), "{room} is not a test, but depends on {other}");
        }
        for other in house.neighbours(package, &[DependencyKind::Development]) {
            assert_ne!(other, "cli", "nothing depends on the command line, not even the tests of {room}");
            let allowed = allowed.iter().any(|rule| fits(rule, &other)) || TEST_ROOMS.contains(&other.as_str());
            assert!(allowed || room == "cli", "the tests of {room} must not depend on {other}");
        }
    }
}

#[test]
fn the_engine_knows_no_network_and_no_terminal() {
    let house = House::look();
    let tree = house.tree("wl-core");
    assert!(tree.contains("rusqlite"), "the tree is not seen whole: {tree:?}");
    for name in tree {
        let family = NOT_IN_CORE_FAMILIES.iter().any(|family| name.starts_with(family));
        assert!(!family && !NOT_IN_CORE.contains(&name), "wl-core is built from {name}");
    }
}

/// Tokio's features are the workspace's, for all rooms together; so the sources are looked at.
#[test]
fn the_engine_opens_no_socket() {
    let house = House::look();
    for file in sources(&house.root.join("core/src"), "") {
        let text = fs::read_to_string(&file).unwrap();
        for feature in NOT_CORES_TOKIO {
            let used = format!("tokio::{feature}");
            assert!(!text.contains(&used), "{} uses {used}", file.display());
        }
        assert!(!text.contains("std::net"), "{} uses std::net", file.display());
    }
}

#[test]
fn what_decides_touches_nothing() {
    let house = House::look();
    for module in PURE {
        let files = sources(&house.root.join("core/src"), module);
        assert!(!files.is_empty(), "the module {module} is gone: what replaced it?");
        for file in files {
            let text = fs::read_to_string(&file).unwrap();
            for (number, line) in without_tests(&text) {
                let place = || format!("{}:{number}: {line}", file.display());
                for word in IMPURE {
                    assert!(!line.contains(word), "a pure module has {word:?}: {}", place());
                }
                if let Some(imported) = line.trim().strip_prefix("use crate::") {
                    assert!(is_pure(imported), "a pure module imports from outside them: {}", place());
                }
            }
        }
    }
}

#[test]
fn the_scan_of_sources_sees_code_and_no_tests() {
    let text = "//! tokio\nuse a;\n/// tokio\nfn f() {} // tokio\n#[cfg(test)]\nmod tests { use tokio; }\n";
    let seen: Vec<_> = without_tests(text).map(|(number, line)| (number, line.trim())).collect();
    assert_eq!(seen, [(2, "use a;"), (4, "fn f() {}")]);
}

/// Whether an import, without its `use crate::`, is of the pure modules or of words.
fn is_pure(imported: &str) -> bool {
    let (module, names) = imported.trim_end_matches(';').split_once("::").unwrap_or((imported, ""));
    let words = WORDS.iter().find(|(name, _)| *name == module).map_or(&[][..], |(_, words)| words);
    let mut names = names.trim_matches(['{', '}']).split(", ");
    PURE_MAY_IMPORT.contains(&module) || names.all(|name| words.contains(&name))
}

#[test]
fn a_pure_import_is_told_from_another() {
    for pure in ["merge::Row;", "state::{BaseRow, Held};", "job::Which;"] {
        assert!(is_pure(pure), "{pure}");
    }
    for other in ["state::State;", "state::{BaseRow, State};", "job::Pair;", "backend::{", "state;"] {
        assert!(!is_pure(other), "{other}");
    }
}

/// Every feature that a registry has is forwarded under its own name by all packages above it, and to all of them.
#[test]
fn features_are_forwarded_by_name() {
    let house = House::look();
    let rooms = house.rooms();
    let types: BTreeSet<&String> =
        ["backends/all", "syncers/all"].iter().flat_map(|room| rooms[*room].features.keys()).collect();
    let is_type = |feature: &str| !["default", "full"].contains(&feature);
    for (room, below) in
        [("daemon", &["wl-backends", "wl-syncers"][..]), ("cli", &["wl-backends", "wl-daemon", "wl-syncers"])]
    {
        let features = &rooms[room].features;
        for wanted in &types {
            let given = features.get(*wanted).unwrap_or_else(|| panic!("{room} has no feature {wanted}"));
            for package in below.iter().filter(|_| is_type(wanted)) {
                let forwarded = given.contains(&format!("{package}/{wanted}"));
                assert!(forwarded, "{room}'s feature {wanted} does not switch {package}/{wanted} on");
            }
        }
    }
    for (room, package) in rooms {
        if let Some(full) = package.features.get("full") {
            let all: BTreeSet<_> = package.features.keys().filter(|name| is_type(name)).collect();
            assert_eq!(full.iter().collect::<BTreeSet<_>>(), all, "{room}'s feature full is not all of them");
        }
    }
}

/// Gates of a room's own, each for one dependency that is heavy and that few need, in the one or two files that name it.
const OWN_GATES: &[(&str, &str)] = &[("backends/s3", "notifications")];

/// Feature gates stand in the registries and nowhere else, but for a room's own.
#[test]
fn only_the_registries_know_what_is_compiled_in() {
    let house = House::look();
    for (room, package) in house.rooms() {
        if ["backends/all", "syncers/all"].contains(&room.as_str()) {
            continue;
        }
        for file in sources(package.manifest_path.parent().unwrap().join("src").as_std_path(), "") {
            let text = fs::read_to_string(&file).unwrap();
            let own = |line: &str| {
                OWN_GATES
                    .iter()
                    .any(|(of, gate)| *of == room.as_str() && line.contains(&format!("feature = \"{gate}\"")))
            };
            let gated = without_tests(&text).find(|(_, line)| line.contains("feature = \"") && !own(line));
            assert!(gated.is_none(), "{}: {gated:?}", file.display());
        }
    }
}

/// The sources below a directory: of one module, given its name, else all. Files of tests are left out.
fn sources(dir: &Path, module: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut todo: Vec<PathBuf> = if module.is_empty() {
        vec![dir.to_owned()]
    } else {
        [dir.join(module), dir.join(format!("{module}.rs"))].into_iter().filter(|path| path.exists()).collect()
    };
    while let Some(path) = todo.pop() {
        if path.is_dir() {
            todo.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        } else if path.extension().is_some_and(|ext| ext == "rs") && path.file_stem().unwrap() != "tests" {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// Numbered lines of code, without comments, up to the tests at the end of a file.
fn without_tests(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let code = text.lines().enumerate().map(|(index, line)| (index + 1, line.split("//").next().unwrap_or_default()));
    code.take_while(|(_, line)| !line.starts_with("#[cfg(test)]")).filter(|(_, line)| !line.trim().is_empty())
}
