//! Each way in which a proxy spoils a connection is seen by who uses it.

use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use wl_test_kit::proxy::{Action, Conditions, Cut, Http, Tcp, s3_operation};

const MIB: usize = 1 << 20;

/// A server that sends back all it is sent.
fn echo() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            thread::spawn(move || io::copy(&mut &stream, &mut &stream).and_then(|_| stream.shutdown(Shutdown::Write)));
        }
    });
    address
}

/// Sends so many bytes, and reads until nothing more comes.
fn round_trip(address: &str, length: usize) -> io::Result<usize> {
    let stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(20)))?;
    thread::scope(|scope| {
        scope.spawn(|| (&stream).write_all(&vec![7; length]).and_then(|()| stream.shutdown(Shutdown::Write)));
        let mut back = Vec::new();
        (&stream).read_to_end(&mut back).map(|_| back.len())
    })
}

#[test]
fn a_perfect_line_carries_and_counts() {
    let proxy = Tcp::start(&echo());
    for length in [0, 1, 3 * MIB + 1] {
        assert_eq!(round_trip(&proxy.address(), length).unwrap(), length);
    }
    assert_eq!(proxy.up(), 3 * MIB as u64 + 2);
    assert_eq!((proxy.down(), proxy.connections()), (proxy.up(), 3));
}

#[test]
fn a_delay_limits_no_throughput() {
    let proxy = Tcp::with_round_trip(&echo(), Duration::from_millis(100));
    let begun = Instant::now();
    assert_eq!(round_trip(&proxy.address(), 1).unwrap(), 1);
    // Connecting, and there and back.
    let took = begun.elapsed();
    assert!((200..1000).contains(&took.as_millis()), "{took:?}");
    let begun = Instant::now();
    assert_eq!(round_trip(&proxy.address(), 32 * MIB).unwrap(), 32 * MIB);
    // Chunk by chunk, this would take 25 seconds.
    assert!(begun.elapsed() < Duration::from_secs(6), "{:?}", begun.elapsed());
}

#[test]
fn a_bandwidth_is_kept() {
    let conditions = Conditions { bandwidth: Some(8 * MIB as u64), ..Conditions::default() };
    let proxy = Tcp::listen(0, &echo(), conditions, 0);
    let begun = Instant::now();
    assert_eq!(round_trip(&proxy.address(), 4 * MIB).unwrap(), 4 * MIB);
    let took = begun.elapsed();
    assert!((480..3000).contains(&took.as_millis()), "{took:?}");
}

#[test]
fn a_cut_is_a_reset() {
    let proxy = Tcp::start(&echo());
    proxy.change(|conditions| conditions.cut = Some(Cut::After(MIB as u64)));
    assert_eq!(round_trip(&proxy.address(), 2 * MIB).unwrap_err().kind(), ErrorKind::ConnectionReset);
    assert_eq!(proxy.up() + proxy.down(), MIB as u64);
    assert_eq!(round_trip(&proxy.address(), 1000).unwrap(), 1000);
}

#[test]
fn a_seed_decides_who_is_cut() {
    let server = echo();
    let cuts = |seed| {
        let cut = Some(Cut::Some { one_in: 2, within: 1000 });
        let proxy = Tcp::listen(0, &server, Conditions { cut, ..Conditions::default() }, seed);
        (0..20).map(|_| round_trip(&proxy.address(), 1000).is_err()).collect::<Vec<_>>()
    };
    let first = cuts(1);
    assert!(first.contains(&true) && first.contains(&false), "{first:?}");
    assert_eq!(first, cuts(1));
    assert_ne!(first, cuts(2));
}

#[test]
fn a_stall_stops_and_goes_on() {
    let proxy = Tcp::start(&echo());
    let mut stream = TcpStream::connect(proxy.address()).unwrap();
    stream.write_all(b"a").unwrap();
    stream.read_exact(&mut [0]).unwrap();
    proxy.change(|conditions| conditions.stalled = true);
    stream.write_all(b"b").unwrap();
    stream.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    assert_eq!(stream.read(&mut [0]).unwrap_err().kind(), ErrorKind::WouldBlock);
    proxy.change(|conditions| conditions.stalled = false);
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream.read_exact(&mut [0]).unwrap();
}

#[test]
fn all_connections_are_cut() {
    let proxy = Tcp::start(&echo());
    let mut stream = TcpStream::connect(proxy.address()).unwrap();
    stream.write_all(b"a").unwrap();
    stream.read_exact(&mut [0]).unwrap();
    proxy.cut_all();
    assert_eq!(stream.read(&mut [0]).unwrap_err().kind(), ErrorKind::ConnectionReset);
    assert_eq!(round_trip(&proxy.address(), 10).unwrap(), 10);
    let address = proxy.address();
    drop(proxy);
    assert!(TcpStream::connect(address).is_err());
}

/// A server that answers each request with its head, one connection at a time, and counts them.
fn mirror() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            thread::spawn(move || mirror_one(&stream));
        }
    });
    address
}

fn mirror_one(mut stream: &TcpStream) -> io::Result<()> {
    loop {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte)?;
            head.push(byte[0]);
        }
        let text = String::from_utf8_lossy(&head).to_ascii_lowercase();
        let length = text.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok()).unwrap_or(0);
        let mut body = vec![0; length];
        stream.read_exact(&mut body)?;
        write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", head.len())?;
        stream.write_all(&head)?;
    }
}

/// Sends requests over one connection, each when the one before is answered, until it is closed.
fn ask(address: &str, requests: &[&str]) -> Vec<String> {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let mut answers = Vec::new();
    for request in requests {
        let written = (&stream).write_all(request.as_bytes());
        let mut answer = Vec::new();
        let mut byte = [0];
        while let (Ok(()), Ok(1)) = (&written, (&stream).read(&mut byte)) {
            answer.push(byte[0]);
            let text = String::from_utf8_lossy(&answer);
            if let Some((head, body)) = text.split_once("\r\n\r\n") {
                let head = head.to_ascii_lowercase();
                let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
                if length.unwrap_or(0) <= body.len() {
                    break;
                }
            }
        }
        answers.push(String::from_utf8(answer).unwrap());
    }
    answers
}

const GET: &str = "GET /bucket/a%20b?x=1 HTTP/1.1\r\nHost: example.org:99\r\n\r\n";
const PUT: &str = "PUT /bucket/key HTTP/1.1\r\nHost: example.org\r\nContent-Length: 5\r\n\r\nhello";

#[test]
fn requests_pass_unchanged_and_are_counted() {
    let proxy = Http::start(&mirror());
    let answers = ask(&proxy.address(), &[GET, PUT, GET]);
    assert!(answers[0].contains("GET /bucket/a%20b?x=1 HTTP/1.1"), "{answers:?}");
    assert!(answers[2].to_ascii_lowercase().contains("host: example.org:99\r\n"), "{answers:?}");
    assert!(answers[1].to_ascii_lowercase().contains("content-length: 5\r\n"), "{answers:?}");
    assert_eq!(proxy.count(|request| request.method == "GET" && request.query == "x=1"), 2);
    let operations: Vec<_> = proxy.take().iter().map(|request| s3_operation(request).to_owned()).collect();
    assert_eq!(operations, ["GetObject", "PutObject", "GetObject"]);
    assert!(proxy.requests().is_empty());
}

#[test]
fn the_proxy_answers_for_the_server() {
    let refused = AtomicUsize::new(0);
    let proxy = Http::with(&mirror(), move |request| match refused.fetch_add(1, Ordering::Relaxed) {
        0 => Action::status(507),
        1 if request.method == "PUT" => Action::s3_error(503, "SlowDown"),
        _ => Action::Pass,
    });
    let answers = ask(&proxy.address(), &[GET, PUT, PUT]);
    assert!(answers[0].starts_with("HTTP/1.1 507 "), "{answers:?}");
    assert!(answers[1].starts_with("HTTP/1.1 503 ") && answers[1].contains("<Code>SlowDown</Code>"), "{answers:?}");
    assert!(answers[2].starts_with("HTTP/1.1 200 "), "{answers:?}");
}

#[test]
fn answers_are_lost_and_truncated() {
    let server = Http::start(&mirror());
    let proxy = Http::with(&server.address(), |_| Action::Close);
    assert_eq!(ask(&proxy.address(), &[GET]), [""]);
    assert_eq!(server.take().len(), 0);

    proxy.decide(|_| Action::LoseAnswer);
    assert_eq!(ask(&proxy.address(), &[PUT]), [""]);
    assert_eq!(server.take().len(), 1);

    proxy.decide(|_| Action::Truncate(10));
    let answers = ask(&proxy.address(), &[GET]);
    assert!(answers[0].ends_with("\r\n\r\nGET /bucke"), "{answers:?}");

    proxy.decide(|_| Action::Wait(Duration::from_millis(100)));
    let begun = Instant::now();
    assert!(ask(&proxy.address(), &[GET])[0].ends_with("\r\n\r\n"));
    assert!(begun.elapsed() >= Duration::from_millis(100));
}
