//! Each real server starts, answers, and is gone afterwards.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use wl_test_kit::proxy::{Http, Tcp, s3_operation};
use wl_test_kit::servers::sshd::Mode;
use wl_test_kit::servers::{Dav, PASSWORD, S3, Sshd, USER, apache, juicefs, lighttpd, nginx, sabre, seaweed};

fn run(command: &mut Command) -> Output {
    command.stdin(Stdio::null()).output().unwrap_or_else(|why| panic!("{command:?}: {why}"))
}

/// What curl prints of a request: its status.
fn status(args: &[&str]) -> String {
    let output =
        run(Command::new("curl").args(["-s", "-o", "/dev/null", "-w", "%{http_code}", "--max-time", "20"]).args(args));
    String::from_utf8(output.stdout).unwrap()
}

fn serves(dav: &Dav) {
    let file = format!("{}file", dav.url());
    let login = format!("{USER}:{PASSWORD}");
    assert_eq!(status(&[&file]), "401");
    assert_eq!(status(&["-u", &login, "-X", "PUT", "-d", "text", &file]), "201", "{}", dav.server().logs());
    assert_eq!(fs::read(dav.root().join("file")).unwrap(), b"text");
    dav.user_write("of the user/file", b"mine");
    let below = format!("{}of%20the%20user/", dav.url());
    assert_eq!(status(&["-u", &login, &format!("{below}file")]), "200");
    assert_eq!(status(&["-u", &login, "-X", "PROPFIND", "-H", "Depth: 1", &below]), "207");
    for args in
        [["-X", "PUT", "-d", "new", &format!("{below}file")], ["-X", "MKCOL", "-d", "", &format!("{below}dir/")]]
    {
        let status = status(&[&["-u", &login][..], &args].concat());
        assert!(["201", "204"].contains(&status.as_str()), "{args:?}: {status}\n{}", dav.server().logs());
    }
    assert_eq!(status(&["-u", &login, "-X", "DELETE", &format!("{below}file")]), "204");
    let moved = ["-X", "MOVE", "-H", &format!("Destination: {below}moved"), &file];
    let moved = status(&[&["-u", &login][..], &moved].concat());
    assert!(["201", "204"].contains(&moved.as_str()), "{moved}");
    assert_eq!(fs::read(dav.root().join("of the user/moved")).unwrap(), b"text");

    // A destination is taken for the server's own, also where it names a proxy.
    let proxy = Http::start(dav.address());
    let through = format!("http://{}/dav/of%20the%20user/", proxy.address());
    let args = ["-X", "MOVE", "-H", &format!("Destination: {through}again"), &format!("{through}moved")];
    let moved = status(&[&["-u", &login][..], &args].concat());
    assert!(["201", "204"].contains(&moved.as_str()), "{moved}");
    assert_eq!(fs::read(dav.root().join("of the user/again")).unwrap(), b"text");
}

#[test]
fn apache_serves() {
    serves(&apache::start());
}

#[test]
fn lighttpd_serves() {
    serves(&lighttpd::start());
}

#[test]
fn nginx_serves() {
    serves(&nginx::start());
}

#[test]
fn sabre_serves() {
    serves(&sabre::start());
}

/// The status of a signed request.
fn s3(args: &[&str]) -> String {
    let login = format!("{}:{}", S3::ACCESS_KEY, S3::SECRET_KEY);
    let sign = format!("aws:amz:{}:s3", S3::REGION);
    let unsigned = "x-amz-content-sha256: UNSIGNED-PAYLOAD";
    status(&[&["-u", &login, "--aws-sigv4", &sign, "-H", unsigned][..], args].concat())
}

fn stores(server: &S3) {
    let buckets = [server.fresh_bucket(), server.fresh_bucket()];
    assert_ne!(buckets[0], buckets[1]);
    let object = format!("{}/{}/object", server.endpoint(), buckets[0]);
    assert_eq!(status(&[&object]), "403");
    assert_eq!(s3(&["-X", "PUT", "-d", "text", &object]), "200");
    assert_eq!(s3(&[&object]), "200");
    let elsewhere = format!("{}/{}/object", server.endpoint(), buckets[1]);
    assert_eq!(s3(&[&elsewhere]), "404");

    // Signatures hold through a proxy.
    let proxy = Http::start(server.address());
    let object = format!("http://{}/{}/object", proxy.address(), buckets[0]);
    assert_eq!(s3(&[&object]), "200");
    assert_eq!(s3(&["-X", "PUT", "-d", "other", &object]), "200");
    assert_eq!(proxy.requests().iter().map(s3_operation).collect::<Vec<_>>(), ["GetObject", "PutObject"]);
}

#[test]
fn seaweed_stores() {
    stores(seaweed::shared());
}

#[test]
fn juicefs_stores() {
    stores(juicefs::shared());
}

fn ssh(sshd: &Sshd, program: &str, args: &[&str]) -> Output {
    let option = |name: &str, value: &Path| format!("{name}={}", value.display());
    let mut command = Command::new(program);
    command.args(["-F", "none", "-o", "BatchMode=yes", "-o", "IdentitiesOnly=yes"]);
    command.args(["-o", &option("UserKnownHostsFile", &sshd.known_hosts()), "-o", &format!("Port={}", sshd.port())]);
    command.args(["-o", &option("IdentityFile", &sshd.identity()), &format!("{}@127.0.0.1", sshd.user())]);
    run(command.args(args))
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&[&output.stdout[..], &output.stderr].concat()).into_owned()
}

/// Takes SFTP's word for what is in the root.
fn lists(sshd: &Sshd) {
    fs::write(sshd.root().join("file"), "text").unwrap();
    let batch = sshd.known_hosts().with_file_name("batch");
    fs::write(&batch, format!("ls {}/\n", sshd.remote_root().display())).unwrap();
    let mut command = Command::new("sftp");
    let option = |name: &str, value: &Path| format!("{name}={}", value.display());
    command.args([
        "-F",
        "none",
        "-P",
        &sshd.port().to_string(),
        "-o",
        &option("UserKnownHostsFile", &sshd.known_hosts()),
    ]);
    command.args(["-o", "IdentitiesOnly=yes", "-i"]).arg(sshd.identity()).arg("-b").arg(&batch);
    let output = run(command.arg(format!("{}@127.0.0.1", sshd.user())));
    assert!(output.status.success() && said(&output).contains("file"), "{}\n{}", said(&output), sshd.server().logs());
}

#[test]
fn sshd_runs_commands_in_an_empty_home() {
    let sshd = Sshd::start(Mode::Exec);
    let output = ssh(&sshd, "ssh", &["printf %s \"$HOME\"; ls -A ~"]);
    assert_eq!(said(&output), sshd.home().display().to_string());
    lists(&sshd);
}

#[test]
fn sshd_with_sftp_alone_refuses_commands() {
    let sshd = Sshd::start(Mode::SftpOnly);
    lists(&sshd);
    let output = ssh(&sshd, "ssh", &["true"]);
    assert!(said(&output).contains("sftp connections only"), "{}", said(&output));
}

#[test]
fn sshd_changes_its_root() {
    let sshd = Sshd::start(Mode::Chroot);
    assert_eq!(sshd.remote_root(), Path::new("/data"));
    lists(&sshd);
}

#[test]
fn sshd_takes_a_user_who_goes_with_it() {
    let sshd = Sshd::with_user(Mode::Exec);
    lists(&sshd);
    let output = ssh(&sshd, "ssh", &["id -un; pwd"]);
    assert_eq!(said(&output), format!("{}\n{}\n", sshd.user(), sshd.home().display()));
    let user = sshd.user().to_owned();
    let known = || run(Command::new("id").arg(&user)).status.success();
    assert!(known());
    drop(sshd);
    assert!(!known());
}

#[test]
fn connections_are_killed_and_frozen() {
    let sshd = Sshd::start(Mode::Exec);
    let begun = Instant::now();
    std::thread::scope(|scope| {
        let long = scope.spawn(|| ssh(&sshd, "ssh", &["touch ~/there; sleep 60"]));
        while !sshd.home().join("there").exists() {
            assert!(begun.elapsed() < Duration::from_secs(20) && !long.is_finished(), "{}", sshd.server().logs());
            std::thread::sleep(Duration::from_millis(5));
        }
        sshd.kill_connections();
        assert!(!long.join().unwrap().status.success());
    });
    assert!(begun.elapsed() < Duration::from_secs(20));

    sshd.server().freeze();
    let slow = ssh(&sshd, "ssh", &["-o", "ConnectTimeout=1", "true"]);
    assert!(!slow.status.success());
    sshd.server().thaw();
    assert!(ssh(&sshd, "ssh", &["true"]).status.success());
}

#[test]
fn a_proxy_leads_to_sshd() {
    let sshd = Sshd::start(Mode::Exec);
    let proxy = Tcp::with_round_trip(&sshd.address(), Duration::from_millis(20));
    let option = |name: &str, value: String| ["-o".to_owned(), format!("{name}={value}")];
    let known_hosts = sshd.known_hosts_at(proxy.port()).display().to_string();
    let mut command = Command::new("ssh");
    command.args(["-F", "none", "-o", "BatchMode=yes", "-p", &proxy.port().to_string(), "-i"]).arg(sshd.identity());
    command.args(option("UserKnownHostsFile", known_hosts)).arg(format!("{}@127.0.0.1", sshd.user())).arg("echo here");
    let begun = Instant::now();
    assert_eq!(said(&run(&mut command)), "here\n");
    assert!(begun.elapsed() > Duration::from_millis(100), "{:?}", begun.elapsed());
}

#[test]
fn nothing_is_left() {
    let sshd = Sshd::start(Mode::Exec);
    let dir = sshd.server().dir().to_owned();
    assert!(dir.exists());
    let address = sshd.address();
    drop(sshd);
    assert!(!dir.exists());
    assert!(TcpStream::connect(address).is_err());
}

/// The first line that a program prints.
fn first_line(child: &mut Child) -> String {
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    line.trim().to_owned()
}

/// Also nothing of what was killed and could not clean up.
#[test]
fn shared_servers_end_with_who_started_them() {
    let script = format!("echo ${} ${}; cat", seaweed::VARIABLE, juicefs::VARIABLE);
    let mut servers = Command::new(env!("CARGO_BIN_EXE_wl-test-servers"))
        .args(["sh", "-c", &script])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let line = first_line(&mut servers);
    let addresses: Vec<_> = line.split(' ').map(|url| url.trim_start_matches("http://")).collect();
    assert_eq!(addresses.len(), 2, "{line}");
    assert!(addresses.iter().all(|address| TcpStream::connect(address).is_ok()), "{line}");
    servers.kill().unwrap();
    servers.wait().unwrap();
    let deadline = Instant::now() + Duration::from_secs(20);
    while addresses.iter().any(|address| TcpStream::connect(address).is_ok()) {
        assert!(Instant::now() < deadline, "{line} is still there");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn shared_servers_end_as_their_command_ends() {
    let mut servers = Command::new(env!("CARGO_BIN_EXE_wl-test-servers"));
    assert_eq!(run(servers.args(["sh", "-c", "exit 7"])).status.code(), Some(7));
}

#[test]
fn a_proxy_serves_the_shell() {
    let sshd = Sshd::start(Mode::Exec);
    let mut proxy = Command::new(env!("CARGO_BIN_EXE_wl-test-proxy"))
        .args(["--to", &sshd.address(), "--rtt-ms", "10"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let address = first_line(&mut proxy);
    let banner = TcpStream::connect(address).map(|stream| BufReader::new(stream).lines().next().unwrap().unwrap());
    proxy.kill().unwrap();
    proxy.wait().unwrap();
    assert!(banner.unwrap().starts_with("SSH-2.0-"));
}
