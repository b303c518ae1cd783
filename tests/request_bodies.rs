//! Bodies of requests that somebody does not read: what is in them is never a request, whoever wrote the app.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test may fail loudly"
)]
#![allow(
    missing_docs,
    unreachable_pub,
    clippy::disallowed_methods,
    clippy::print_stderr,
    reason = "a test is read, not linked"
)]

mod harness;

use std::{
    collections::BTreeSet,
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::Command,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use harness::wait;
use harness::{
    Octroi,
    apps::App,
    client::{ask, exchange, raw},
    eventually,
    http2_client::{Http2Client, block_on},
};

/// One head as it arrived, and over which connection.
#[derive(Clone, Debug)]
struct Head {
    connection: usize,
    text: String,
}

impl Head {
    fn has(&self, line: &str) -> bool {
        self.text.to_ascii_lowercase().contains(&format!("\r\n{line}\r\n"))
    }

    fn names(&self, field: &str) -> bool {
        self.text.to_ascii_lowercase().contains(&format!("\r\n{field}:"))
    }
}

/// An app that answers each head at once and reads no body, as Python's `http.server` and many small servers do. It obeys `Connection:
/// close`.
struct Careless {
    addr: SocketAddr,
    heads: Arc<Mutex<Vec<Head>>>,
}

impl Careless {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let app = Self { addr: listener.local_addr().unwrap(), heads: Arc::default() };
        let heads = Arc::clone(&app.heads);
        std::thread::spawn(move || {
            for (connection, stream) in listener.incoming().flatten().enumerate() {
                let heads = Arc::clone(&heads);
                std::thread::spawn(move || serve(stream, connection, &heads));
            }
        });
        app
    }

    fn take(&self) -> Vec<Head> {
        std::mem::take(&mut self.heads.lock().unwrap())
    }
}

fn serve(mut stream: TcpStream, connection: usize, heads: &Mutex<Vec<Head>>) {
    stream.set_nodelay(true).unwrap();
    loop {
        let mut head = Vec::new();
        let mut byte = [0];
        while !head.ends_with(b"\r\n\r\n") {
            match stream.read(&mut byte) {
                Ok(1) => head.push(byte[0]),
                _ => return,
            }
        }
        let head = Head { connection, text: String::from_utf8_lossy(&head).into_owned() };
        let line = head.text.lines().next().unwrap().to_owned();
        let closes = head.has("connection: close");
        heads.lock().unwrap().push(head);
        let body = if line.starts_with("HEAD ") { "" } else { &line };
        let length = body.len();
        if stream
            .write_all(format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{body}").as_bytes())
            .is_err()
            || closes
        {
            return;
        }
    }
}

fn config(app: SocketAddr, upstream: &str) -> String {
    format!(
        r#"
version: 1
server: {{state_dir: STATE, drain: 1s, threads: 2}}
listeners:
  - {{name: public, address: "127.0.0.1:0", tls: {{}}}}
  - {{name: plain, address: "127.0.0.1:0", plaintext: true}}
metrics: {{address: "127.0.0.1:0"}}
tls: {{certificates: [{{dev: true, dir: certs}}]}}
upstreams:
  app: {{servers: [{{address: "{app}"}}]{upstream}}}
routes:
  app:
    unmatched: public
    rules:
      - {{path: /search, access: public, body: true}}
      - {{path: /put, access: public, methods: [GET, PUT, POST, PURGE, REPORT]}}
      - {{path: /read, access: public, methods: [GET, POST, PUT, PATCH, REPORT]}}
      - {{path: /ws, access: public, websocket: true}}
tenants:
  own: {{hosts: [own.test], upstream: app, routes: app}}
"#
    )
}

/// What a stranger would have run in another's name.
const SMUGGLED: &str = "GET /smuggled HTTP/1.1\r\nHost: own.test\r\nOctroi-User: root\r\n\r\n";

const ROOT: &[u8] = b"Octroi-User: root\r\n\r\n";

fn request(method: &str, path: &str, fields: &str, body: &str) -> String {
    format!("{method} {path} HTTP/1.1\r\nHost: own.test\r\n{fields}\r\n{body}")
}

fn counted(method: &str, path: &str) -> String {
    request(method, path, &format!("Content-Length: {}\r\n", SMUGGLED.len()), SMUGGLED)
}

fn chunked(method: &str, path: &str, body: &str) -> String {
    let body = if body.is_empty() {
        "0\r\n\r\n".to_owned()
    } else {
        format!("{:x}\r\n{body}\r\n0\r\n\r\n", body.len())
    };
    request(method, path, "Transfer-Encoding: chunked\r\n", &body)
}

/// Sends a request over a connection of its own; returns the status.
fn send(octroi: &Octroi, text: &str) -> u16 {
    let answer = exchange(
        &mut raw(octroi.addr("plain")),
        text.replacen("\r\n\r\n", "\r\nConnection: close\r\n\r\n", 1).as_bytes(),
    );
    answer.split(' ').nth(1).unwrap_or_else(|| panic!("{answer:?}")).parse().unwrap()
}

#[test]
fn a_method_that_has_no_body_has_none_unless_the_rule_says_so() {
    let app = Careless::start();
    let octroi = Octroi::start(&config(app.addr, ""));

    for method in ["GET", "HEAD", "OPTIONS"] {
        for text in [counted(method, "/x"), chunked(method, "/x", SMUGGLED), chunked(method, "/x", "a")] {
            assert_eq!(send(&octroi, &text), 400, "{text}");
        }
        // And who asks first is told at once.
        let asks = request(method, "/x", "Transfer-Encoding: chunked\r\nExpect: 100-continue\r\n", "");
        assert_eq!(send(&octroi, &asks), 400);
        block_on(async {
            let mut client = Http2Client::connect(&octroi, "own.test").await;
            for length in [None, Some(("content-length", "1"))] {
                let mut call = client.ask(method, "/x", length.as_slice(), false).await;
                call.say(b"", false);
                call.say(b"a", true);
                assert_eq!(call.end().await.status, 400, "{method} {length:?}");
            }
        });
    }
    let line = octroi.access_line(|line| line["reason"] == "body_not_allowed");
    assert_eq!((&line["status"], &line["upstream.name"]), (&400.into(), &serde_json::Value::Null), "{line}");
    assert!(app.take().is_empty(), "nobody was asked");

    // None is none, whatever was announced, and leaves as none.
    let none = |method: &str| {
        [
            request(method, "/x", "Content-Length: 0\r\n", ""),
            chunked(method, "/x", ""),
            request(method, "/x", "", ""),
        ]
    };
    for method in ["GET", "HEAD", "OPTIONS", "DELETE"] {
        for text in none(method) {
            assert_eq!(send(&octroi, &text), 200, "{text}");
        }
        block_on(async {
            let mut client = Http2Client::connect(&octroi, "own.test").await;
            for fields in [&[][..], &[("content-length", "0")]] {
                assert_eq!(client.ask(method, "/x", fields, true).await.end().await.status, 200);
                let mut late = client.ask(method, "/x", fields, false).await;
                late.say(b"", false);
                late.say(b"", true);
                assert_eq!(late.end().await.status, 200);
            }
        });
        let heads = app.take();
        assert_eq!(heads.len(), 7, "{method}");
        for head in heads {
            assert!(!["content-length", "transfer-encoding"].iter().any(|name| head.names(name)), "{head:?}");
            // An answer to HEAD may be followed by what must not be there.
            assert_eq!(head.names("connection"), method == "HEAD", "{head:?}");
        }
    }
}

#[test]
fn a_body_that_nobody_expects_goes_over_a_connection_of_its_own_and_is_never_a_request() {
    let app = Careless::start();
    let octroi = Octroi::start(&config(app.addr, ""));
    let mut victim = raw(octroi.addr("plain"));
    let mut clean = || ask(&mut victim, &request("GET", "/clean", "", "")).body;

    for text in [
        counted("GET", "/search"),
        counted("OPTIONS", "/search"),
        counted("HEAD", "/search"),
        chunked("GET", "/search", SMUGGLED),
        counted("DELETE", "/x"),
        chunked("DELETE", "/x", SMUGGLED),
        counted("PURGE", "/put"),
    ] {
        // One rests, and may be used for this; then it is used no more.
        assert_eq!(clean(), "GET /clean HTTP/1.1");
        app.take();

        assert_eq!(send(&octroi, &text), 200, "{text}");

        let heads = app.take();
        assert!(heads.len() == 1 && heads[0].has("connection: close"), "{heads:?}");
        assert_eq!(clean(), "GET /clean HTTP/1.1");
        let heads_behind = app.take();
        assert!(
            heads_behind.len() == 1 && heads_behind[0].connection != heads[0].connection,
            "{text} {heads_behind:?}"
        );
    }
    // Over HTTP/2, whether its length was announced or not.
    block_on(async {
        let mut client = Http2Client::connect(&octroi, "own.test").await;
        let length = SMUGGLED.len().to_string();
        for fields in [&[][..], &[("content-length", &*length)]] {
            let mut call = client.ask("DELETE", "/x", fields, false).await;
            call.say(SMUGGLED.as_bytes(), true);
            assert_eq!(call.end().await.status, 200);
        }
    });
    let heads = app.take();
    assert!(heads.len() == 2 && heads.iter().all(|head| head.has("connection: close")), "{heads:?}");
    assert_eq!((heads[0].names("transfer-encoding"), heads[1].names("content-length")), (true, true));
    assert_eq!(octroi.metric(r#"octroi_upstream_bodies_unread{upstream="app"}"#), 0.0);
}

#[test]
fn a_body_without_an_octet_leaves_as_none() {
    for upstream in [READS, ""] {
        let app = Careless::start();
        let octroi = Octroi::start(&config(app.addr, upstream));
        let texts: Vec<String> = [("PUT", "/put"), ("POST", "/put"), ("REPORT", "/put"), ("PATCH", "/x")]
            .into_iter()
            .flat_map(|(method, path)| {
                [
                    request(method, path, "", ""),
                    request(method, path, "Content-Length: 0\r\n", ""),
                    chunked(method, path, ""),
                ]
            })
            .collect();
        for text in texts {
            assert_eq!(send(&octroi, &text), 200, "{text}");
            let heads = app.take();
            assert!(
                heads.len() == 1 && heads[0].has("content-length: 0") && !heads[0].names("transfer-encoding"),
                "{text} {heads:?}"
            );
            assert!(!heads[0].names("connection"), "{heads:?}");
        }
        // Just outside: one octet.
        assert_eq!(send(&octroi, &chunked("POST", "/put", "x")), 200);
        assert!(app.take()[0].has("transfer-encoding: chunked"));
        // DATA without an octet that comes with the head; later, it does not hold the request up.
        block_on(async {
            let mut client = Http2Client::connect(&octroi, "own.test").await;
            let mut call = client.ask("POST", "/put", &[], false).await;
            // It is asked before its body has ended.
            wait::eventually_async("the request is at the app", || !app.heads.lock().unwrap().is_empty())
                .await;
            assert!(app.take()[0].has("transfer-encoding: chunked"));
            call.say(b"", true);
            assert_eq!(call.end().await.status, 200);
            let call = client.ask("POST", "/put", &[], true).await;
            assert_eq!(call.end().await.status, 200);
        });
        assert!(app.take()[0].has("content-length: 0"));
    }
}

#[test]
fn an_upstream_that_reads_no_bodies_is_found_out_and_gets_none_over_a_connection_that_stays() {
    let app = Careless::start();
    let mut octroi = Octroi::start(&config(app.addr, READS));
    let unread = r#"octroi_upstream_bodies_unread{upstream="app"}"#;
    let smuggled = |heads: &[Head]| heads.iter().filter(|head| head.text.contains("/smuggled")).count();
    assert_eq!((send(&octroi, &counted("GET", "/search")), octroi.metric(unread)), (200, 0.0));
    app.take();

    // Nobody can know it before: it is found out by its second answer.
    // Where the answer overtakes the body, the connection is closed.
    eventually("the body is taken for a request", || {
        assert_eq!(send(&octroi, &counted("POST", "/put")), 200);
        (smuggled(&app.take()) > 0).then_some(())
    });
    assert_eq!(
        ask(&mut raw(octroi.addr("plain")), &request("GET", "/clean", "", "")).body,
        "GET /clean HTTP/1.1"
    );
    assert_eq!(octroi.metric(unread), 1.0);
    let errors = |octroi: &Octroi| {
        octroi
            .printed()
            .iter()
            .filter(|line| line.contains("ERROR") && line.contains("bodies_unread"))
            .count()
    };
    eventually("it is said", || (errors(&octroi) == 1).then_some(()));
    app.take();

    for text in [
        counted("POST", "/put"),
        chunked("POST", "/put", SMUGGLED),
        counted("PUT", "/put"),
        counted("REPORT", "/put"),
    ] {
        assert_eq!(send(&octroi, &text), 200, "{text}");
        let heads = app.take();
        assert!(heads.len() == 1 && heads[0].has("connection: close"), "{heads:?}");
    }
    // What has no body stays as it was, and a reload forgets nothing.
    assert_eq!(send(&octroi, &request("POST", "/put", "Content-Length: 0\r\n", "")), 200);
    assert!(app.take().iter().all(|head| !head.names("connection") && head.has("content-length: 0")));
    octroi.reload(&config(app.addr, READS).replace("unmatched: public", "unmatched: deny"));
    assert_eq!(send(&octroi, &counted("POST", "/put")), 200);
    assert!(app.take().iter().all(|head| head.has("connection: close")));
    assert_eq!((octroi.metric(unread), errors(&octroi)), (1.0, 1));
    // Where the word is taken back, nothing is known of it any more.
    octroi.reload(&config(app.addr, ""));
    assert_eq!((send(&octroi, &counted("POST", "/put")), octroi.metric(unread)), (200, 0.0));
    assert!(app.take().last().unwrap().has("connection: close"));
}

#[test]
fn an_upstream_of_which_nobody_says_that_it_reads_bodies_never_runs_one() {
    for upstream in ["", ", reads_bodies: false"] {
        let app = Careless::start();
        let octroi = Octroi::start(&config(app.addr, upstream));

        for text in [
            counted("POST", "/put"),
            chunked("POST", "/put", SMUGGLED),
            counted("PUT", "/put"),
            counted("POST", "/x"),
        ] {
            assert_eq!(send(&octroi, &text), 200, "{text}");
            assert_eq!(send(&octroi, &request("GET", "/clean", "", "")), 200);
            let heads = app.take();
            assert_eq!(
                (heads.len(), heads[0].has("connection: close"), heads[1].names("connection")),
                (2, true, false),
                "{heads:?}"
            );
        }
        assert_eq!(octroi.metric(r#"octroi_upstream_bodies_unread{upstream="app"}"#), 0.0);
    }
}

/// What can be done about an app that reads on, although it was told to close: nothing but saying so.
#[test]
fn an_upstream_that_is_told_to_close_and_reads_on_is_found_out() {
    let addr = app(|mut stream, _| {
        while read_until(&mut stream, b"\r\n\r\n").is_some()
            && stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").is_ok()
        {}
    });
    let octroi = Octroi::start(&config(addr, ""));
    let unread = || octroi.metric(r#"octroi_upstream_bodies_unread{upstream="app"}"#);

    assert_eq!(
        (send(&octroi, &request("POST", "/put", "Content-Length: 5\r\n", "hello")), unread()),
        (200, 0.0)
    );
    eventually("it is found", || {
        // The app may answer before it has the whole body: then the connection is closed, and nothing is left to be found.
        assert_eq!(send(&octroi, &counted("POST", "/put")), 200);
        // Whatever goes to the same server next looks.
        assert_eq!(send(&octroi, &request("GET", "/clean", "", "")), 200);
        (unread() == 1.0).then_some(())
    });
    eventually("it is said", || {
        octroi
            .printed()
            .iter()
            .any(|line| line.contains("bodies_unread") && line.contains("told to close"))
            .then_some(())
    });
}

/// Python's `http.server`, which reads a body only below `/read`.
struct Python {
    app: App,
    seen: PathBuf,
}

/// A request as the app saw it: from which port, the method and the path, and who asks.
#[derive(Debug, PartialEq, Eq)]
struct Seen {
    port: u16,
    asked: String,
    user: String,
}

impl Python {
    fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let seen = dir.path().join("seen");
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/apps/careless_app.py");
        let app = App::start(Command::new("python3").arg(script).arg(&seen), dir);
        Self { app, seen }
    }

    fn addr(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.app.port))
    }

    /// Takes what was asked so far.
    fn take(&self) -> Vec<Seen> {
        let text = std::fs::read_to_string(&self.seen).unwrap_or_default();
        std::fs::write(&self.seen, "").unwrap();
        let seen = |line: &str| {
            let words: Vec<&str> = line.split(' ').collect();
            Seen {
                port: words[0].parse().unwrap(),
                asked: format!("{} {}", words[1], words[2]),
                user: words[3].to_owned(),
            }
        };
        text.lines().map(seen).collect()
    }
}

const READS: &str = ", reads_bodies: true";

/// The beginning of a request: whatever comes next on the connection ends it.
const HALF: &str = "GET /admin HTTP/1.1\r\nHost: own.test\r\nOctroi-User: root\r\nX-I: ";

#[test]
fn half_a_request_as_a_body_is_ended_by_no_other_client() {
    let app = Python::start();
    let length = format!("Content-Length: {}\r\n", HALF.len());
    let octroi = Octroi::start(&config(app.addr(), ""));
    let mut victim = raw(octroi.addr("plain"));
    let mut clean = |octroi: &Octroi| {
        let answers = [
            ask(&mut victim, &request("GET", "/clean", "", "")).body,
            octroi.curl("own.test", "/clean").args(&["--http2"]).get().body,
        ];
        assert_eq!(answers, ["GET /clean", "GET /clean"]);
        let seen = app.take();
        assert!(!seen.iter().any(|seen| seen.asked.contains("/admin") || seen.user == "root"), "{seen:?}");
    };

    for _ in 0..3 {
        for method in ["POST", "PUT", "REPORT"] {
            for text in [request(method, "/put", &length, HALF), chunked(method, "/put", HALF)] {
                assert_eq!(send(&octroi, &text), 200, "{text}");
                clean(&octroi);
            }
        }
        let length = HALF.len().to_string();
        for fields in [&[][..], &[("content-length", &*length)]] {
            block_on(async {
                let mut client = Http2Client::connect(&octroi, "own.test").await;
                let mut call = client.ask("POST", "/x", fields, false).await;
                call.say(HALF.as_bytes(), true);
                assert_eq!(call.end().await.status, 200);
            });
            clean(&octroi);
        }
    }

    // That it is no matter of luck: the same app runs it where the configuration says of it what is not true.
    let wrongly = Octroi::start(&config(app.addr(), READS));
    eventually("half a request is ended by another client", || {
        assert_eq!(send(&wrongly, &request("POST", "/put", &length, HALF)), 200);
        send(&wrongly, &request("GET", "/clean", "", ""));
        app.take().iter().any(|seen| seen.asked == "GET /admin" && seen.user == "root").then_some(())
    });
}

#[test]
fn bodies_share_connections_only_where_they_are_said_to_be_read() {
    let app = Python::start();
    for (upstream, share) in [("", false), (", reads_bodies: false", false), (READS, true)] {
        let octroi = Octroi::start(&config(app.addr(), upstream));
        app.take();
        let bodies = [
            request("POST", "/read", "Content-Length: 5\r\n", "hello"),
            chunked("POST", "/read", "hello"),
            request("PUT", "/read", "Content-Length: 5\r\n", "hello"),
            request("PATCH", "/read", "Content-Length: 5\r\n", "hello"),
            chunked("REPORT", "/read", "hello"),
        ];
        assert_eq!(send(&octroi, &request("GET", "/read", "", "")), 200);
        for text in &bodies {
            assert_eq!(send(&octroi, text), 200, "{text}");
        }
        block_on(async {
            let mut client = Http2Client::connect(&octroi, "own.test").await;
            let mut call = client.ask("POST", "/read", &[], false).await;
            call.say(b"hello", true);
            assert_eq!(call.end().await.body, "POST /read");
        });
        let ports = app.take().into_iter().map(|seen| seen.port).collect::<Vec<_>>();
        let different: BTreeSet<_> = ports.iter().collect();
        // The first took the connection of what had no body.
        assert_eq!((ports.len(), different.len()), (7, if share { 1 } else { 6 }), "{upstream} {ports:?}");

        // What has no body shares them anyway.
        let none = [
            request("GET", "/read", "", ""),
            request("POST", "/read", "Content-Length: 0\r\n", ""),
            request("POST", "/read", "", ""),
            chunked("POST", "/read", ""),
        ];
        eventually("the last of them rests", || (send(&octroi, &none[0]) == 200).then_some(()));
        for text in none.iter().chain([&none[0]]) {
            assert_eq!(send(&octroi, text), 200);
        }
        let ports: BTreeSet<_> = app.take().into_iter().map(|seen| seen.port).collect();
        assert_eq!(ports.len(), 1, "{upstream} {ports:?}");
    }
}

#[test]
fn a_body_that_may_come_is_waited_for_as_long_as_a_body_may_take() {
    let app = Careless::start();
    let octroi = Octroi::start(&config(app.addr, ""));

    let http2 = block_on(async {
        let mut client = Http2Client::connect(&octroi, "own.test").await;
        let began = std::time::Instant::now();
        let call = client.ask("GET", "/never", &[], false).await;
        let got = tokio::time::timeout(Duration::from_secs(40), call.answer).await.expect("it is refused");
        (got.map(|answer| answer.status().as_u16()).ok(), began.elapsed())
    });

    // The stream is reset, or refused with 408.
    assert!(
        http2.0.is_none_or(|status| status == 408)
            && http2.1 > Duration::from_secs(9)
            && http2.1 < Duration::from_secs(20),
        "{http2:?}"
    );
    let line = octroi.access_line(|line| line["path"] == "/never");
    assert_eq!(line["reason"], "timeout_body", "{line}");
    assert!(app.take().is_empty());
}

/// Takes one connection after another, and does with each what the test says.
fn app(play: impl Fn(TcpStream, usize) + Send + Sync + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    let play = Arc::new(play);
    std::thread::spawn(move || {
        for (number, stream) in listener.incoming().flatten().enumerate() {
            let play = Arc::clone(&play);
            stream.set_nodelay(true).unwrap();
            std::thread::spawn(move || play(stream, number));
        }
    });
    addr
}

fn read_until(stream: &mut TcpStream, end: &[u8]) -> Option<Vec<u8>> {
    let mut got = Vec::new();
    let mut byte = [0];
    while !got.ends_with(end) {
        match stream.read(&mut byte) {
            Ok(1) => got.push(byte[0]),
            _ => return None,
        }
    }
    Some(got)
}

/// Answers in the middle of a body; what comes behind that is a request to it.
fn hasty(
    heads: Arc<Mutex<Vec<Head>>>,
    said: Arc<AtomicBool>,
    first: &'static [u8],
    then: &'static [u8],
) -> SocketAddr {
    app(move |mut stream, connection| {
        while let Some(head) = read_until(&mut stream, b"\r\n\r\n") {
            let text = String::from_utf8(head).unwrap();
            let early = text.contains("/early");
            heads.lock().unwrap().push(Head { connection, text });
            if early {
                let mut some = [0; 20];
                if stream.read_exact(&mut some).is_err() || stream.write_all(first).is_err() {
                    return;
                }
                said.store(true, Ordering::SeqCst);
                // The rest of the body comes before the rest of the answer.
                let goes_on = then.is_empty()
                    || (read_until(&mut stream, ROOT).is_some() && stream.write_all(then).is_ok());
                if !goes_on {
                    return;
                }
            } else if stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").is_err() {
                return;
            }
        }
    })
}

#[test]
fn a_connection_is_kept_only_where_the_answer_began_behind_the_whole_request() {
    let halves: [(&[u8], &[u8]); 4] = [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello", b"world"),
        // Its first octet is enough.
        (b"H", b"TTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"),
        (
            b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\no",
            b"k",
        ),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", b""),
    ];
    for (first, then) in halves {
        let heads: Arc<Mutex<Vec<Head>>> = Arc::default();
        let said: Arc<AtomicBool> = Arc::default();
        let app = hasty(Arc::clone(&heads), Arc::clone(&said), first, then);
        let octroi = Octroi::start(&config(app, READS));
        let mut client = raw(octroi.addr("plain"));
        let length = 20 + SMUGGLED.len();
        client
            .write_all(
                request("POST", "/early", &format!("Content-Length: {length}\r\n"), &"x".repeat(20))
                    .as_bytes(),
            )
            .unwrap();
        eventually("the app has begun its answer", || said.load(Ordering::SeqCst).then_some(()));
        if first.starts_with(b"HTTP") {
            // What has come by now is seen by the client, where it is a part of the answer's body.
            let mut some = [0; 4096];
            assert!(client.read(&mut some).unwrap() > 0);
        } else {
            // Nobody is told that octroi has read less than a head.
            wait::elapse(Duration::from_millis(100));
        }

        client.write_all(SMUGGLED.as_bytes()).unwrap();
        octroi.access_line(|line| line["path"] == "/early" && line["status"] == 200);

        assert_eq!(send(&octroi, &request("GET", "/clean", "", "")), 200);
        let heads = heads.lock().unwrap();
        let clean = heads.iter().find(|head| head.text.contains("/clean")).unwrap();
        assert!(
            clean.connection > 0
                && !heads.iter().any(|head| head.connection > 0 && head.text.contains("/smuggled")),
            "{heads:?}"
        );
    }
}

#[test]
fn an_interim_answer_before_the_end_of_a_request_costs_no_connection() {
    let connections = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&connections);
    let addr = app(move |mut stream, connection| {
        while let Some(head) = read_until(&mut stream, b"\r\n\r\n") {
            seen.lock().unwrap().push(connection);
            if String::from_utf8_lossy(&head).contains("POST") {
                let _ = stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n");
                if read_until(&mut stream, b"end").is_none() {
                    return;
                }
            }
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
        }
    });

    for (upstream, expected) in [(READS, [0, 0, 0]), ("", [1, 2, 3])] {
        let octroi = Octroi::start(&config(addr, upstream));
        for path in ["/1", "/2", "/3"] {
            let mut client = raw(octroi.addr("plain"));
            client
                .write_all(
                    request("POST", path, "Expect: 100-continue\r\nContent-Length: 7\r\n", "").as_bytes(),
                )
                .unwrap();
            let mut buffer = [0; 512];
            let read = client.read(&mut buffer).unwrap();
            assert!(buffer[..read].starts_with(b"HTTP/1.1 100"));
            assert_eq!(ask(&mut client, "thisend").status, 200);
            // Its client may have the answer before the connection rests; the line is written behind that.
            octroi.access_line(|line| line["path"] == path);
        }
        assert_eq!(std::mem::take(&mut *connections.lock().unwrap()), expected);
    }
}

/// Serves one request of a connection in full, and closes at the second: as if it had died at rest. What it got of whole requests, and how many began.
fn forgetful(got: Arc<Mutex<Vec<(usize, String)>>>, begun: Arc<AtomicUsize>) -> SocketAddr {
    app(move |mut stream, connection| {
        stream.set_read_timeout(Some(Duration::from_secs(3))).unwrap();
        for number in 0.. {
            let Some(head) = read_until(&mut stream, b"\r\n\r\n") else { return };
            begun.fetch_add(1, Ordering::SeqCst);
            let mut whole = String::from_utf8(head).unwrap();
            let body = if whole.to_ascii_lowercase().contains("transfer-encoding: chunked") {
                read_until(&mut stream, b"0\r\n\r\n")
            } else if let Some(length) = whole
                .to_ascii_lowercase()
                .split("content-length: ")
                .nth(1)
                .and_then(|rest| rest.lines().next()?.parse().ok())
            {
                let mut body = vec![0; length];
                stream.read_exact(&mut body).ok().map(|()| body)
            } else {
                Some(Vec::new())
            };
            // A body without its end is no request.
            let Some(body) = body else { return };
            whole.push_str(&String::from_utf8_lossy(&body));
            got.lock().unwrap().push((connection, whole));
            if number > 0 || stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").is_err() {
                return;
            }
        }
    })
}

#[test]
fn what_is_said_again_is_said_to_its_end() {
    for upstream in ["", READS] {
        said_again(upstream);
    }
}

fn said_again(upstream: &str) {
    let got: Arc<Mutex<Vec<(usize, String)>>> = Arc::default();
    let begun: Arc<AtomicUsize> = Arc::default();
    let octroi = Octroi::start(&config(forgetful(Arc::clone(&got), Arc::clone(&begun)), upstream));
    let warm = || {
        assert_eq!(send(&octroi, &request("GET", "/warm", "", "")), 200);
        got.lock().unwrap().clear();
    };
    let bodies = || {
        got.lock()
            .unwrap()
            .iter()
            .map(|(_, whole)| whole.split_once("\r\n\r\n").unwrap().1.to_owned())
            .collect::<Vec<_>>()
    };

    // What has come without an octet by the time that the request leaves is none.
    for (body, at_once, said) in
        [("", "", "0\r\n\r\n"), ("abc", "3\r\nabc\r\n0\r\n\r\n", "3\r\nabc\r\n0\r\n\r\n")]
    {
        warm();
        assert_eq!(send(&octroi, &chunked("PUT", "/put", body)), 200);
        assert_eq!(bodies(), [at_once, at_once]);

        warm();
        let status = block_on(async {
            let mut client = Http2Client::connect(&octroi, "own.test").await;
            let before = begun.load(Ordering::SeqCst);
            let mut call = client.ask("PUT", "/put", &[], false).await;
            if !body.is_empty() {
                call.say(body.as_bytes(), false);
            }
            wait::eventually_async("the app has begun", || begun.load(Ordering::SeqCst) != before).await;
            call.say(b"", true);
            call.end().await.status
        });
        assert_eq!((status.as_u16(), bodies().last().map(String::as_str)), (200, Some(said)));
    }
    warm();
    assert_eq!(send(&octroi, &request("PUT", "/put", "Content-Length: 3\r\n", "abc")), 200);
    assert_eq!(bodies(), ["abc", "abc"]);
    // What changes something twice is said once.
    for text in [chunked("POST", "/put", ""), request("POST", "/put", "Content-Length: 3\r\n", "abc")] {
        warm();
        assert_eq!(send(&octroi, &text), 502);
        assert_eq!(bodies().len(), 1);
    }
    // And so is what was answered with an interim answer, or is too large to be kept.
    warm();
    let large = "x".repeat(70_000);
    assert_eq!(send(&octroi, &request("PUT", "/put", "Content-Length: 70000\r\n", &large)), 502);
}

#[test]
fn an_answer_that_has_no_body_leaves_no_doubt_about_one() {
    let (connections, closed) = (Arc::new(Mutex::new(Vec::new())), Arc::new(Mutex::new(BTreeSet::new())));
    let (seen, ended) = (Arc::clone(&connections), Arc::clone(&closed));
    let answers: [(&str, &[u8]); 10] = [
        ("/204", b"HTTP/1.1 204 No Content\r\n\r\n"),
        ("/204-zero", b"HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n"),
        ("/204-length", b"HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n"),
        ("/204-chunked", b"HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
        ("/205", b"HTTP/1.1 205 Reset Content\r\nContent-Length: 0\r\n\r\n"),
        (
            "/205-chunked",
            b"HTTP/1.1 205 Reset Content\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nno\r\n0\r\n\r\n",
        ),
        ("/304", b"HTTP/1.1 304 Not Modified\r\nContent-Type: text/html\r\nETag: \"a\"\r\n\r\n"),
        ("/304-zero", b"HTTP/1.1 304 Not Modified\r\nContent-Length: 0\r\nETag: \"a\"\r\n\r\n"),
        ("/304-chunked", b"HTTP/1.1 304 Not Modified\r\nTransfer-Encoding: chunked\r\nETag: \"a\"\r\n\r\n"),
        (
            "/103-chunked",
            b"HTTP/1.1 103 Early Hints\r\nTransfer-Encoding: chunked\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n",
        ),
    ];
    let addr = app(move |mut stream, connection| {
        while let Some(head) = read_until(&mut stream, b"\r\n\r\n") {
            seen.lock().unwrap().push(connection);
            let head = String::from_utf8(head).unwrap();
            let path = head.split(' ').nth(1).unwrap();
            let said = answers
                .iter()
                .find(|(name, _)| *name == path)
                .map_or(&b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"[..], |(_, said)| said);
            let said = if head.starts_with("HEAD ") {
                b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
            } else {
                said
            };
            let _ = stream.write_all(said);
        }
        ended.lock().unwrap().insert(connection);
    });
    // Where the operator says that its servers keep to it, HEAD, a 205 and a 304 with a length leave no doubt either.
    for careful in [false, true] {
        an_answer_without_a_body(addr, careful, (&connections, &closed));
    }
}

type Connections<'a> = (&'a Mutex<Vec<usize>>, &'a Mutex<BTreeSet<usize>>);

fn an_answer_without_a_body(addr: SocketAddr, careful: bool, (connections, closed): Connections<'_>) {
    let octroi = Octroi::start(&config(addr, if careful { READS } else { "" }));
    connections.lock().unwrap().clear();
    let kept = |ask: &dyn Fn()| {
        let get = || assert_eq!(send(&octroi, &request("GET", "/", "", "")), 200);
        get();
        ask();
        let seen = std::mem::take(&mut *connections.lock().unwrap());
        assert_eq!((seen.len(), seen[0]), (2, seen[1]), "{seen:?}");
        // It settles first: other connections serve meanwhile.
        let kept = eventually("it is used again, or closed", || {
            get();
            let again = std::mem::take(&mut *connections.lock().unwrap()).contains(&seen[1]);
            (again || closed.lock().unwrap().contains(&seen[1])).then_some(again)
        });
        get();
        connections.lock().unwrap().clear();
        kept
    };

    for (path, status, keeps) in [
        ("/204", 204, true),
        ("/204-zero", 204, true),
        ("/204-length", 204, false),
        ("/204-chunked", 204, false),
        ("/205", 205, careful),
        ("/205-chunked", 205, false),
        ("/304", 304, true),
        ("/304-zero", 304, careful),
        ("/304-chunked", 304, careful),
        ("/103-chunked", 204, false),
    ] {
        for version in ["--http1.1", "--http2"] {
            let asked = || {
                let answer = octroi.curl("own.test", path).args(&[version]).get();
                assert_eq!(
                    (answer.status, answer.exit, &*answer.body),
                    (status, 0, ""),
                    "{path} {version} {answer:?}"
                );
                assert_eq!(answer.field("transfer-encoding"), None, "{path} {version}");
                let length = (status == 205 || path == "/304-zero").then_some("0");
                assert_eq!(answer.field("content-length"), length, "{path} {version}");
            };
            assert_eq!(kept(&asked), keeps, "{path} {version}");
        }
    }
    let head = || {
        let answer = octroi.curl("own.test", "/x").args(&["-I"]).get();
        assert_eq!(
            (answer.status, answer.exit, answer.field("transfer-encoding")),
            (200, 0, None),
            "{answer:?}"
        );
    };
    assert_eq!(kept(&head), careful);
    // What a server says behind 204 is no second answer: it reads its bodies.
    assert_eq!(send(&octroi, &request("POST", "/204-chunked", "Content-Length: 0\r\n", "")), 204);
    assert_eq!(octroi.metric(r#"octroi_upstream_bodies_unread{upstream="app"}"#), 0.0);
}

/// Says something behind an answer that has no body: a careless app's body, or a whole answer.
fn talkative(pause: Option<Duration>, surplus: &'static [u8]) -> SocketAddr {
    app(move |mut stream, _| {
        // Without a pause the kernel holds the second write back, until the first is acknowledged (RFC 896).
        stream.set_nodelay(pause.is_some()).unwrap();
        while let Some(head) = read_until(&mut stream, b"\r\n\r\n") {
            let line = String::from_utf8_lossy(&head).lines().next().unwrap().to_owned();
            let said: &[u8] = match line.as_str() {
                "GET /204 HTTP/1.1" => b"HTTP/1.1 204 No Content\r\n\r\n",
                "GET /205 HTTP/1.1" => b"HTTP/1.1 205 Reset Content\r\nContent-Length: 0\r\n\r\n",
                "GET /304 HTTP/1.1" => b"HTTP/1.1 304 Not Modified\r\nETag: \"a\"\r\n\r\n",
                "HEAD /head HTTP/1.1" => b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
                _ => {
                    let said = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{line}", line.len());
                    stream.write_all(said.as_bytes()).unwrap();
                    continue;
                }
            };
            stream.write_all(said).unwrap();
            let began = Instant::now();
            wait::slow_peer(pause.unwrap_or_default());
            // On a busy machine it may have slept for longer than it meant to; that is another case.
            if began.elapsed() > Duration::from_millis(12) || stream.write_all(surplus).is_err() {
                return;
            }
        }
    })
}

#[test]
fn what_comes_behind_an_answer_without_a_body_is_nobody_s_answer() {
    for (pause, surplus) in [
        (None, &b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nwrong"[..]),
        (Some(Duration::from_millis(5)), b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nwrong"),
        (None, b"{}"),
    ] {
        let octroi = Octroi::start(&config(talkative(pause, surplus), ""));
        let mut client = raw(octroi.addr("plain"));

        for round in 0..15 {
            for (method, path, status) in
                [("GET", "/204", 204), ("GET", "/205", 205), ("GET", "/304", 304), ("HEAD", "/head", 200)]
            {
                let answer = ask(&mut client, &request(method, path, "", ""));
                assert_eq!((answer.status, &*answer.body), (status, ""), "{round} {path}");

                let answer = ask(&mut client, &request("GET", "/clean", "", ""));

                assert_eq!(
                    (answer.status, &*answer.body),
                    (200, "GET /clean HTTP/1.1"),
                    "{round} {path} {pause:?}"
                );
            }
        }
    }
}

/// A handler that treats HEAD as GET says its body as late as it likes, and so does one that sends with 205 or 304 what it would with 200.
#[test]
fn a_body_that_comes_late_behind_head_205_or_304_is_nobody_s_answer() {
    let wrong = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nwrong";
    let addr = app(move |mut stream, _| {
        while let Some(head) = read_until(&mut stream, b"\r\n\r\n") {
            let line = String::from_utf8_lossy(&head).lines().next().unwrap().to_owned();
            let late = line.starts_with("HEAD ") || line.contains("/304") || line.contains("/205");
            let status = match () {
                () if line.contains("/304") => "304 Not Modified",
                () if line.contains("/205") => "205 Reset Content",
                () => "200 OK",
            };
            let length = match () {
                () if line.contains("-zero") => 0,
                () if late => wrong.len(),
                () => line.len(),
            };
            let body = if late { "" } else { line.as_str() };
            if stream
                .write_all(format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\n\r\n{body}").as_bytes())
                .is_err()
            {
                return;
            }
            if late {
                wait::slow_peer(Duration::from_millis(60));
                let _ = stream.write_all(wrong);
            }
        }
    });
    let octroi = Octroi::start(&config(addr, ""));

    for (method, path) in
        [("HEAD", "/x"), ("GET", "/304"), ("GET", "/304-zero"), ("GET", "/205-zero")].repeat(5)
    {
        let mut client = raw(octroi.addr("plain"));
        let how: &[&str] = if method == "HEAD" { &["-I"] } else { &[] };
        octroi.plain("plain", "own.test", path).args(how).get();
        let began = Instant::now();
        while began.elapsed() < Duration::from_millis(150) {
            let answer = ask(&mut client, &request("GET", "/clean", "", ""));
            assert_eq!((answer.status, &*answer.body), (200, "GET /clean HTTP/1.1"), "{method} {path}");
        }
    }
    // It is no body of a request that was not read.
    assert_eq!(octroi.metric(r#"octroi_upstream_bodies_unread{upstream="app"}"#), 0.0);
}

#[test]
fn what_a_client_sends_beside_its_request_reaches_no_connection_of_others() {
    let app = Careless::start();
    let octroi = Octroi::start(&config(app.addr, READS));
    let handshake = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    let read_some = |client: &mut TcpStream| {
        let mut some = [0; 4096];
        let read = client.read(&mut some).unwrap();
        String::from_utf8_lossy(&some[..read]).into_owned()
    };
    let clean = |what: &str| {
        assert_eq!(
            ask(&mut raw(octroi.addr("plain")), &request("GET", "/clean", "", "")).body,
            "GET /clean HTTP/1.1",
            "{what}"
        );
        let heads = app.take();
        assert!(!heads.iter().any(|head| head.has("octroi-user: root")), "{what} {heads:?}");
        heads
    };

    // A WebSocket that the app refuses, with what the client meant for it.
    let mut client = raw(octroi.addr("plain"));
    client.write_all(request("GET", "/ws", handshake, SMUGGLED).as_bytes()).unwrap();
    assert!(read_some(&mut client).starts_with("HTTP/1.1 200"));
    clean("a handshake with more behind it");
    let mut client = raw(octroi.addr("plain"));
    client.write_all(request("GET", "/ws", handshake, "").as_bytes()).unwrap();
    assert!(read_some(&mut client).starts_with("HTTP/1.1 200"));
    let _ = client.write_all(SMUGGLED.as_bytes());
    // Behind the answer it is the client's next request, or nothing: it has ended before the next client asks.
    let _ = client.read(&mut [0; 4096]);
    clean("a refused handshake, and more behind the refusal");
    assert_eq!(send(&octroi, &counted("GET", "/ws").replacen("\r\n", &format!("\r\n{handshake}"), 1)), 400);
    let heads = clean("a handshake with a body");
    assert!(!heads.iter().any(|head| head.text.contains("/ws")), "{heads:?}");

    // A body behind the answer that its client asked for first.
    let mut client = raw(octroi.addr("plain"));
    let fields = format!("Expect: 100-continue\r\nContent-Length: {}\r\n", SMUGGLED.len());
    client.write_all(request("POST", "/put", &fields, "").as_bytes()).unwrap();
    assert!(read_some(&mut client).starts_with("HTTP/1.1 200"));
    let _ = client.write_all(SMUGGLED.as_bytes());
    let heads = clean("a body that nobody asked for");
    assert!(heads.len() == 2 && heads[0].connection != heads[1].connection, "{heads:?}");

    // Methods that are about connections reach nobody.
    for method in ["TRACE", "CONNECT"] {
        assert!(send(&octroi, &counted(method, "/put")) >= 400);
        assert_eq!(clean(method).len(), 1);
    }

    // And h2c is no protocol that the app hears of.
    let careful = Octroi::start(&config(app.addr, ""));
    let fields =
        format!("Upgrade: h2c\r\nContent-Length: {}\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n", SMUGGLED.len());
    let text = request("POST", "/put", &format!("Connection: Upgrade, HTTP2-Settings\r\n{fields}"), SMUGGLED);
    assert!(exchange(&mut raw(careful.addr("plain")), text.as_bytes()).starts_with("HTTP/1.1 200"));
    let head = app.take().remove(0);
    assert!(
        head.has("connection: close") && !head.names("upgrade") && !head.names("http2-settings"),
        "{head:?}"
    );
}

#[test]
fn what_is_said_inside_of_chunks_and_behind_them_stays_with_us() {
    let got: Arc<Mutex<Vec<(usize, String)>>> = Arc::default();
    let octroi = Octroi::start(&config(forgetful(Arc::clone(&got), Arc::default()), ""));
    let line = SMUGGLED.lines().next().unwrap();
    let bodies = || {
        std::mem::take(&mut *got.lock().unwrap())
            .into_iter()
            .map(|(_, whole)| whole.split_once("\r\n\r\n").unwrap().1.to_owned())
            .collect::<Vec<_>>()
    };

    let body = format!(
        "5;x=\"{line}\"\r\nhello\r\n0;{}\r\nX-T: {line}\r\nOctroi-User: root\r\n\r\n",
        "x".repeat(20)
    );
    assert_eq!(
        send(&octroi, &request("POST", "/put", "Transfer-Encoding: chunked\r\nTrailer: X-T\r\n", &body)),
        200
    );
    assert_eq!(bodies(), ["5\r\nhello\r\n0\r\n\r\n"]);
    block_on(async {
        let mut client = Http2Client::connect(&octroi, "own.test").await;
        let mut call = client.ask("POST", "/x", &[], false).await;
        call.say(b"hello", false);
        let trailers = [("x-t", line), ("octroi-user", "root")]
            .map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()));
        call.out.send_trailers(trailers.into_iter().collect()).unwrap();
        assert_eq!(call.end().await.status, 200);
    });
    let bodies = bodies().concat();
    assert!(
        bodies.starts_with("5\r\nhello\r\n") && bodies.ends_with("0\r\n\r\n") && !bodies.contains("HTTP"),
        "{bodies:?}"
    );
}
