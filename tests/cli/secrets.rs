//! A secret never appears anywhere.

use std::fs;
use std::io::{Read as _, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::home::{Home, Pair, Ran};

const INLINE: &str = "inline-hunter2-inline";
const FROM_ENV: &str = "env-hunter2-env";
const FROM_FILE: &str = "file-hunter2-file";
const FROM_COMMAND: &str = "command-hunter2-command";

/// Every file below a directory that holds one of these bytes.
fn holding(dir: &Path, secret: &str, found: &mut Vec<String>) {
    for entry in fs::read_dir(dir).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() {
            holding(&path, secret, found);
        } else if let Ok(content) = fs::read(&path)
            && content.windows(secret.len()).any(|window| window == secret.as_bytes())
        {
            found.push(path.display().to_string());
        }
    }
}

/// Ctrl-C at the question for a password, in a terminal that `script` makes.
#[test]
fn an_interrupted_question_gives_the_terminal_back() {
    let home = Home::new();
    let wl = env!("CARGO_BIN_EXE_wl");
    let line = format!("{wl} -b {} container create c webdav+http://me@h/; stty -a", home.base().display());
    let mut command = Command::new("script");
    command.args(["-qec", &line, "/dev/null"]).env("SHELL", "/bin/sh").current_dir(home.path("run"));
    let mut script = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let (mut keyboard, mut shown) = (script.stdin.take().unwrap(), script.stdout.take().unwrap());
    let mut text = String::new();
    while !text.contains("LINE): ") {
        let mut piece = [0; 1024];
        let count = shown.read(&mut piece).unwrap();
        assert!(count > 0, "it asked nothing: {text}");
        text += &String::from_utf8_lossy(&piece[..count]);
    }
    // It asks before it listens.
    std::thread::sleep(Duration::from_millis(300));
    keyboard.write_all(b"\x03").unwrap();
    shown.read_to_string(&mut text).unwrap();
    script.wait().unwrap();
    assert!(text.contains("interrupted") && text.contains(" echo ") && text.contains(" icanon "), "{text}");
}

#[test]
fn no_secret_is_told_or_kept() {
    let pair = Pair::new();
    pair.write("a/f", "1");
    let manifest = pair.home.path("base/containers/c.container.yaml");
    fs::write(pair.home.path("home/secret"), FROM_FILE).unwrap();
    let file = pair.home.text("home/secret");
    let more = format!(
        "    - type: s3
      backend-id: cccccccc-0000-4000-8000-000000000003
      s3-url: s3://bucket/prefix/
      endpoint-url: http://127.0.0.1:9
      region: us-east-1
      credentials: {{access-key: {{env: WL_TEST_KEY}}, secret-key: {INLINE}}}
    - type: webdav
      backend-id: dddddddd-0000-4000-8000-000000000004
      url: http://127.0.0.1:9/x/
      credentials: {{login: me, password: {{file: {file}}}}}
    - type: webdav
      backend-id: eeeeeeee-0000-4000-8000-000000000005
      url: http://127.0.0.1:9/y/
      credentials: {{login: me, password: {{command: 'echo command-hunter2-$(echo command)'}}}}
"
    );
    let text = fs::read_to_string(&manifest).unwrap() + &more;
    fs::write(&manifest, text).unwrap();
    fs::write(pair.home.path("base/config.yaml"), "retry-for: 1s\n").unwrap();
    let mut said = String::new();
    let run = |args: &[&str]| {
        let mut command = pair.home.command(args);
        let Ran { stdout, stderr, .. } =
            Ran::of(command.env("WL_TEST_KEY", FROM_ENV).env("RUST_LOG", "trace").env("WL_LOG", "trace"));
        stdout + &stderr
    };
    for args in [
        &["container", "show", "c"][..],
        &["container", "show", "c", "--json"],
        &["container", "list", "--json"],
        &["container", "sync", "c", "--target-storage", "bbbb", "--wait"],
        &["status", "--json"],
        &["container", "stop-sync", "c"],
        &["container", "sync", "c", "--target-storage", "s3"],
        &["status", "--json"],
        &["container", "stop-sync", "c"],
        &["container", "sync", "c", "--target-storage", "dddd"],
        &["container", "stop-sync", "c"],
        &["container", "sync", "c", "--target-storage", "eeee"],
        &["status"],
        &["doctor", "c"],
        &["container", "explain", "c", "f", "--target-storage", "bbbb"],
    ] {
        said += &run(args);
    }
    for secret in [INLINE, FROM_ENV, FROM_FILE, FROM_COMMAND] {
        assert!(!said.contains(secret), "{secret} in:\n{said}");
        let mut found = Vec::new();
        holding(pair.home.path("").as_path(), secret, &mut found);
        let own = [manifest.display().to_string(), file.clone()];
        found.retain(|path| !own.contains(path));
        assert_eq!(found, Vec::<String>::new(), "{secret}");
    }
}
