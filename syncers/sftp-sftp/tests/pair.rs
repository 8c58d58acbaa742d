//! Two directories of one SSH server come to the same end as with the generic syncer, with commands and without, and their
//! contents stay on the server.

use std::path::Path;
use std::sync::{Arc, OnceLock};

use serde_json::json;
use wl_core::backend::Backend;
use wl_core::job::Which;
use wl_core::manifest::Storage;
use wl_core::path::RelPath;
use wl_syncer_sftp_sftp::SftpSftp;
use wl_test_kit::conformance::Bench;
use wl_test_kit::directory::Directory;
use wl_test_kit::pairs::{self, World};
use wl_test_kit::proxy::Tcp;
use wl_test_kit::servers::sshd::{Mode, Sshd};

const TYPES: [&str; 2] = ["sftp", "sftp"];

fn commands() -> &'static Sshd {
    static SERVER: OnceLock<Sshd> = OnceLock::new();
    SERVER.get_or_init(|| Sshd::start(Mode::Exec))
}

fn no_copy_data() -> &'static Sshd {
    static SERVER: OnceLock<Sshd> = OnceLock::new();
    SERVER.get_or_init(|| Sshd::start(Mode::NoCopyData))
}

fn sftp_only() -> &'static Sshd {
    static SERVER: OnceLock<Sshd> = OnceLock::new();
    SERVER.get_or_init(|| Sshd::start(Mode::SftpOnly))
}

fn open(sshd: &Sshd, port: u16, root: &Path) -> Arc<dyn Backend> {
    let params = json!({
        "type": "sftp", "backend-id": "test", "host": "127.0.0.1", "port": port, "ssh-user": sshd.user(),
        "ssh-identity": sshd.identity(), "known-hosts": sshd.known_hosts_at(port), "path": root,
    });
    wl_backend_sftp::open(&Storage::from_params(params).unwrap()).unwrap()
}

/// Two directories, each reached through a port.
fn two(sshd: &Sshd, ports: [u16; 2]) -> [Box<dyn Bench>; 2] {
    ports.map(|port| Box::new(Directory::below(sshd.root(), |root| open(sshd, port, root))) as Box<dyn Bench>)
}

mod with_commands {
    use super::*;

    wl_test_kit::pairs_scenarios!(TYPES, SftpSftp, two(commands(), [commands().port(); 2]);
        a_first_contact, edits_and_deletions, no_deletion_is_lost_in_a_copy, the_source_changes_meanwhile,
        the_source_vanishes_meanwhile, the_target_changes_meanwhile);
}

mod by_cp {
    use super::*;

    wl_test_kit::pairs_scenarios!(TYPES, SftpSftp, two(no_copy_data(), [no_copy_data().port(); 2]);
        edits_and_deletions, the_source_changes_meanwhile, the_source_vanishes_meanwhile, the_target_changes_meanwhile);
}

mod without_commands {
    use super::*;

    wl_test_kit::pairs_scenarios!(TYPES, SftpSftp, two(sftp_only(), [sftp_only().port(); 2]);
        edits_and_deletions);
}

/// How many bytes went each way for a file of that size, with both storages behind one proxy, or only the target.
async fn carried(sshd: &Sshd, size: usize, both: bool) -> [u64; 2] {
    let proxy = Tcp::start(&sshd.address());
    let ports = [if both { proxy.port() } else { sshd.port() }, proxy.port()];
    let world = World::new(TYPES, two(sshd, ports)).await;
    let (at, bytes) = (RelPath::parse("d/f").unwrap(), pairs::noise(size, 1));
    world.user(Which::Source).user_write(&at, &bytes).await;
    let (summary, monitor) = world.once(&SftpSftp).await;
    assert_eq!((summary.copied, summary.bytes, monitor.status().transferred_bytes), (1, size as u64, size as u64));
    assert!(world.user(Which::Target).user_read(&at).await == Some(bytes));
    [proxy.up(), proxy.down()]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_byte_passes_through_where_commands_run() {
    let [up, down] = carried(commands(), 8 << 20, true).await;
    assert!(up < 1 << 20 && down < 1 << 20, "{up} up, {down} down");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_byte_passes_through_where_a_command_copies() {
    let [up, down] = carried(no_copy_data(), 8 << 20, true).await;
    assert!(up < 1 << 20 && down < 1 << 20, "{up} up, {down} down");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_copy_is_only_read_where_none_run() {
    let [up, down] = carried(sftp_only(), 8 << 20, true).await;
    assert!(up < 1 << 20 && (8 << 20..10 << 20).contains(&down), "{up} up, {down} down");
}

/// What may be another server is one: another port is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn from_one_server_to_another() {
    let [up, _] = carried(commands(), 1 << 20, false).await;
    assert!(up > 1 << 20, "{up} up");
}
