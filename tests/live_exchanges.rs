//! What is under way ends with who asked for it: WebSockets, answers that stream, uploads; also where nobody says a word.

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
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    process::{Child, Command, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use harness::wait;
use harness::{
    Octroi, eventually,
    http2_client::{Http2Client, block_on},
    http2_server::Http2Server,
};
use rustls::{ClientConnection, StreamOwned};

/// An app whose answers go on for ever and say hardly anything. It counts those under way.
struct App {
    addr: SocketAddr,
    open: Arc<AtomicUsize>,
    /// The names of what is held that may be answered now.
    released: Released,
}

type Released = Arc<Mutex<Vec<String>>>;

impl App {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let app =
            Self { addr: listener.local_addr().unwrap(), open: Arc::default(), released: Arc::default() };
        let (open, released) = (Arc::clone(&app.open), Arc::clone(&app.released));
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (open, released) = (Arc::clone(&open), Arc::clone(&released));
                std::thread::spawn(move || serve(stream, &open, &released));
            }
        });
        app
    }

    fn open(&self) -> usize {
        self.open.load(Ordering::SeqCst)
    }

    /// Has what is held by this name answered.
    fn release(&self, name: &str) {
        self.released.lock().unwrap().push(name.to_owned());
    }
}

/// Counts as long as it lives.
struct Counted<'a>(&'a AtomicUsize);

impl<'a> Counted<'a> {
    fn new(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::SeqCst);
        Self(count)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

fn serve(mut stream: TcpStream, open: &AtomicUsize, released: &Mutex<Vec<String>>) -> Option<()> {
    stream.set_nodelay(true).ok()?;
    let mut sink = [0; 4096];
    loop {
        let mut head = Vec::new();
        let mut byte = [0];
        while !head.ends_with(b"\r\n\r\n") {
            stream.read_exact(&mut byte).ok()?;
            head.push(byte[0]);
        }
        let head = String::from_utf8(head).unwrap();
        let (path, query) =
            head.split(' ').nth(1).unwrap().split_once('?').unwrap_or((head.split(' ').nth(1).unwrap(), ""));
        let answer: &[u8] = match path {
            "/ws" | "/ws/half" | "/pub/ws" => {
                b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                  Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
            }
            "/quiet" | "/busy" | "/pub/quiet" => {
                b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n9\r\ndata: 1\n\n\r\n"
            }
            "/logout/busy" => b"HTTP/1.1 200 OK\r\nOctroi-Session-Revoke: self\r\nTransfer-Encoding: chunked\r\n\r\n9\r\ndata: 1\n\n\r\n",
            "/pub/file" | "/logout/file" => b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\ndata: 1\n\n\r\n",
            "/flood" => b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000000\r\n\r\n",
            "/grants" | "/pub/grants" => {
                b"HTTP/1.1 200 OK\r\nOctroi-Session-Grant: user=\"u_1\"\r\nTransfer-Encoding: chunked\r\n\r\n9\r\ndata: 1\n\n\r\n"
            }
            "/upload" | "/deaf" | "/thinks" | "/logout/upload" => b"",
            _ => {
                let late = query.strip_prefix("late-");
                if late.is_some() {
                    // Longer than an exchange is let be before it is watched over.
                    wait::slow_peer(Duration::from_millis(100));
                }
                let held = query.strip_prefix("held-").map(|held| held.split_once('-').unwrap());
                if let Some((name, _)) = held {
                    let _counted = Counted::new(open);
                    while !released.lock().unwrap().iter().any(|it| it == name) {
                        wait::slow_peer(Duration::from_millis(5));
                    }
                }
                if path == "/logout/early" {
                    stream.write_all(b"HTTP/1.1 103 Early Hints\r\nLink: </secret>\r\n\r\n").ok()?;
                }
                let field = query
                    .strip_prefix("h-")
                    .or(late)
                    .or(held.map(|(_, field)| field))
                    .map(|field| field.replacen('=', ": ", 1))
                    .unwrap_or_default();
                let field = percent_encoding::percent_decode_str(&field).decode_utf8().unwrap().into_owned();
                let field = if field.is_empty() { field } else { format!("{field}\r\n") };
                stream.write_all(format!("HTTP/1.1 200 OK\r\n{field}Content-Length: 2\r\n\r\nok").as_bytes()).ok()?;
                continue;
            }
        };
        let _counted = Counted::new(open);
        stream.write_all(answer).ok()?;
        match path {
            // A whole frame, and one of which the rest never comes.
            "/ws" | "/pub/ws" => stream.write_all(b"\x81\x02hi").ok()?,
            "/ws/half" => stream.write_all(b"\x81\x02hi\x82\x7e\x40\x00abc").ok()?,
            "/flood" => loop {
                stream.write_all(&[b'x'; 65_536]).ok()?;
            },
            // It takes nothing.
            "/deaf" => wait::slow_peer(Duration::from_secs(20)),
            "/busy" | "/logout/busy" => loop {
                stream.write_all(b"9\r\ndata: 1\n\n\r\n").ok()?;
                wait::slow_peer(Duration::from_millis(10));
            },
            _ => {}
        }
        while stream.read(&mut sink).ok()? > 0 {}
        return None;
    }
}

fn config(app: &App, more: &str, rules: &str) -> String {
    format!(
        r#"
version: 1
server: {{state_dir: STATE, drain: 1s, threads: 2}}
listeners: [{{name: public, address: "127.0.0.1:0", tls: {{}}}}]
metrics: {{address: "127.0.0.1:0"}}
tls: {{certificates: [{{dev: true, dir: certs}}]}}
sessions: {{keys: [{{id: 1, secret: "${{file:session.key}}"}}]}}
request_limits: {{body_min_rate: 0B/s}}
upstreams: {{app: {{servers: [{{address: "{}"}}]{more}}}}}
routes:
  app:
    rules:
      - {{path: /login, access: public, grant: true}}
      - {{path: /logout, access: session, revoke: true}}
      - {{path: /logout/busy, access: session, revoke: true}}
      - {{path: /logout/file, access: session, revoke: true}}
      - {{path: /logout/early, access: session, revoke: true}}
      - {{path: /logout/upload, access: session, revoke: true}}
      - {{path: /grants, access: session, grant: true}}
      - {{path: /pub/grants, access: public, grant: true}}
      - {{path: /plogout, access: public, revoke: true}}
      - {{path: /pw, access: session, grant: true}}
      - {{path: /pub, access: public}}
      - {{path: /pub/, access: public}}
      - {{path: /pub/ws, access: public, websocket: true}}
      - {{path: /ws, access: session, websocket: true}}
      - {{path: /ws/, access: session, websocket: true}}
tenants:
  acme: {{hosts: [acme.test], upstream: app, routes: app{rules}}}
  other: {{hosts: [other.test], upstream: app, routes: app}}
"#,
        app.addr
    )
}

fn sign_in(octroi: &Octroi, host: &str, grant: &str) -> String {
    let grant = percent_encoding::utf8_percent_encode(grant, percent_encoding::NON_ALPHANUMERIC).to_string();
    octroi.curl(host, &format!("/login?h-Octroi-Session-Grant={grant}")).args(&["-X", "POST"]).get().session()
}

/// A WebSocket that was opened and has said `hi`.
struct Socket(StreamOwned<ClientConnection, TcpStream>);

impl Socket {
    fn open(octroi: &Octroi, host: &str, path: &str, cookie: &str) -> Self {
        let mut stream = harness::raw_tls(
            octroi.addr("public"),
            host,
            &octroi.path().join("certs/ca.pem"),
            &[b"http/1.1"],
        );
        let head = format!(
            "GET {path} HTTP/1.1\r\nHost: {host}\r\nCookie: {cookie}\r\nUpgrade: websocket\r\nConnection: keep-alive, Upgrade\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).unwrap();
        let mut got = Vec::new();
        let mut byte = [0];
        while !got.ends_with(b"\r\n\r\n\x81\x02hi") {
            stream
                .read_exact(&mut byte)
                .unwrap_or_else(|error| panic!("{error} after {:?}", String::from_utf8_lossy(&got)));
            got.push(byte[0]);
        }
        assert!(got.starts_with(b"HTTP/1.1 101 "));
        stream.sock.set_read_timeout(Some(Duration::from_secs(15))).unwrap();
        Self(stream)
    }

    /// Sends a request of which the rest never comes.
    fn upload(octroi: &Octroi, host: &str, cookie: &str) -> Self {
        Self::ask(
            octroi,
            host,
            &format!(
                "POST /upload HTTP/1.1\r\nHost: {host}\r\nCookie: {cookie}\r\nContent-Length: 1000\r\n\r\nabc"
            ),
        )
    }

    /// Sends a request as it is written.
    fn ask(octroi: &Octroi, host: &str, request: &str) -> Self {
        let mut stream = harness::raw_tls(
            octroi.addr("public"),
            host,
            &octroi.path().join("certs/ca.pem"),
            &[b"http/1.1"],
        );
        stream.write_all(request.as_bytes()).unwrap();
        Self(stream)
    }

    /// Waits for the refusal that is the end of it.
    fn refused(self, octroi: &Octroi) -> (u16, String) {
        let refused = harness::client::parse(&String::from_utf8(self.rest()).unwrap(), 0);
        (refused.status, octroi.reason(&refused))
    }

    /// Returns all that comes up to the end.
    fn rest(mut self) -> Vec<u8> {
        let mut rest = Vec::new();
        let mut buffer = [0; 256];
        loop {
            match self.0.read(&mut buffer) {
                Ok(0) => return rest,
                Ok(read) => rest.extend_from_slice(&buffer[..read]),
                Err(error) => panic!("no orderly end: {error} behind {rest:?}"),
            }
        }
    }

    /// Says whether nothing comes and it stays.
    fn stays(&mut self) -> bool {
        self.0.sock.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        let silent =
            self.0.read(&mut [0; 16]).is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock);
        self.0.sock.set_read_timeout(Some(Duration::from_secs(15))).unwrap();
        silent
    }
}

/// A Close frame of a server, with status 1008.
const CLOSE: [u8; 4] = [0x88, 2, 0x03, 0xf0];

/// A curl under way: its answer has begun.
struct Stream(Child);

impl Stream {
    fn open(octroi: &Octroi, host: &str, path: &str, cookie: &str, args: &[&str]) -> Self {
        let addr = octroi.addr("public");
        let mut command = Command::new("curl");
        command.args([
            "-sSN",
            "--max-time",
            "60",
            "--resolve",
            &format!("{host}:{}:{}", addr.port(), addr.ip()),
        ]);
        command
            .arg("--cacert")
            .arg(octroi.path().join("certs/ca.pem"))
            .args(["-H", &format!("Cookie: {cookie}")])
            .args(args);
        command.arg(format!("https://{host}:{}{path}", addr.port()));
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut got = [0; 9];
        child.stdout.as_mut().unwrap().read_exact(&mut got).unwrap();
        assert_eq!(&got, b"data: 1\n\n");
        Self(child)
    }

    fn stays(&mut self) -> bool {
        self.0.try_wait().unwrap().is_none()
    }

    /// Waits for its end; returns curl's exit code, and what it printed.
    fn end(mut self) -> (i32, String) {
        let mut stdout = self.0.stdout.take().unwrap();
        let reader = std::thread::spawn(move || {
            let mut rest = String::new();
            stdout.read_to_string(&mut rest).unwrap();
            rest
        });
        let code = eventually("curl ends", || self.0.try_wait().unwrap()).code().unwrap();
        (code, reader.join().unwrap())
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The exchanges of one session.
struct Open {
    socket: Socket,
    upload: Socket,
    streams: Vec<(&'static str, Stream)>,
}

impl Open {
    fn all(octroi: &Octroi, host: &str, cookie: &str) -> Self {
        let stream = |path, args: &[&str]| Stream::open(octroi, host, path, cookie, args);
        Self {
            streams: vec![
                ("SSE over HTTP/1.1", stream("/quiet", &["--http1.1"])),
                ("SSE over HTTP/2", stream("/quiet", &["--http2"])),
                ("a busy answer", stream("/busy", &["--http1.1"])),
            ],
            socket: Socket::open(octroi, host, "/ws", cookie),
            upload: Socket::upload(octroi, host, cookie),
        }
    }

    fn count(&self) -> usize {
        self.streams.len() + 2
    }

    fn stay(&mut self) -> bool {
        self.socket.stays()
            && self.upload.stays()
            && self.streams.iter_mut().all(|(_, stream)| stream.stays())
    }

    /// Every one of them ends, the way it should.
    fn end(self, status: u16) {
        assert_eq!(self.socket.rest(), CLOSE);
        let refusal = harness::client::parse(&String::from_utf8(self.upload.rest()).unwrap(), 0);
        assert_eq!(
            (refusal.status, refusal.body.is_empty()),
            (status, false),
            "nothing had been answered: {refusal:?}"
        );
        for (what, stream) in self.streams {
            let (code, rest) = stream.end();
            match what {
                // 18: the last chunk is missing. 56: and the connection is gone.
                "SSE over HTTP/1.1" | "a busy answer" => {
                    assert!([18, 56].contains(&code), "{what}: {code} {rest}")
                }
                // 92: the stream was reset.
                _ => assert_eq!(code, 92, "{what}: {rest}"),
            }
        }
    }
}

#[test]
fn everything_under_way_ends_with_its_session_and_nothing_else_does() {
    let app = App::start();
    let mut octroi = Octroi::start(&config(&app, "", ""));
    let others = sign_in(&octroi, "acme.test", r#"user="u_9""#);
    let elsewhere = sign_in(&octroi, "other.test", r#"user="u_1""#);
    let mut others = Open::all(&octroi, "acme.test", &others);
    let mut elsewhere = Open::all(&octroi, "other.test", &elsewhere);
    let under_way = others.count() + elsewhere.count();
    eventually("all are at the app", || (app.open() == under_way).then_some(()));
    let revoke = |args: &[&str]| drop(octroi.ok(&[&["session", "revoke"], args].concat()));
    let token = |cookie: &str| {
        let told = octroi.ok(&["session", "inspect", cookie.split_once('=').unwrap().1, "--json"]);
        serde_json::from_str::<serde_json::Value>(&told).unwrap()["session"].as_str().unwrap().to_owned()
    };
    type Ending<'a> = (&'a str, &'a dyn Fn(&str));
    let endings: [Ending<'_>; 4] = [
        ("by session", &|cookie| revoke(&["--session", &token(cookie)])),
        ("by user", &|_| revoke(&["--tenant", "acme", "--user", "u_1"])),
        ("by itself", &|cookie| {
            let out = octroi
                .curl("acme.test", "/logout?h-Octroi-Session-Revoke=self")
                .args(&["-X", "POST"])
                .cookie(cookie)
                .get();
            assert_eq!((out.status, out.body.as_str()), (200, "ok"), "its own answer arrives");
        }),
        ("at another sign-in", &|cookie| {
            let again = octroi
                .curl("acme.test", "/login?h-Octroi-Session-Grant=user%3D%22u_1%22")
                .args(&["-X", "POST"])
                .cookie(cookie);
            assert_eq!(again.get().status, 200);
        }),
    ];
    let mut took = Vec::new();
    for (how, end) in endings {
        let cookie = sign_in(&octroi, "acme.test", r#"user="u_1""#);
        let open = Open::all(&octroi, "acme.test", &cookie);
        eventually("all are at the app", || (app.open() == under_way + open.count()).then_some(()));

        end(&cookie);
        let start = Instant::now();

        open.end(401);
        took.push((how, start.elapsed()));
        eventually("the app's connections are closed", || (app.open() == under_way).then_some(()));
        assert!(others.stay() && elsewhere.stay(), "{how}");
    }
    eprintln!("from the command's return to the end of five clients: {took:?}");
    // The look that comes every few seconds cannot have done it each time.
    assert!(took.iter().all(|(_, took)| *took < Duration::from_secs(3)), "{took:?}");
    for kind in [("/ws", 101), ("/quiet", 200), ("/busy", 200), ("/upload", 401)] {
        let line = octroi.access_line(|line| line["path"] == kind.0 && line["reason"] == "session_revoked");
        assert_eq!((&line["status"], &line["decision"]), (&kind.1.into(), &"deny".into()), "{line}");
    }
    assert_eq!(octroi.metric(r#"octroi_exchanges_ended_total{reason="session_revoked"}"#), 20.0);

    // A tenant's end is the end of every session of it; a suspension ends what is public as well.
    octroi.ok(&["session", "revoke", "--tenant", "acme"]);
    others.end(401);
    let cookie = sign_in(&octroi, "acme.test", r#"user="u_1""#);
    let open = Open::all(&octroi, "acme.test", &cookie);
    octroi.reload(&config(&app, "", ", suspended: true"));
    open.end(403);
    octroi.access_line(|line| line["path"] == "/ws" && line["reason"] == "tenant_suspended");
    assert!(elsewhere.stay());
}

#[test]
fn what_is_under_way_ends_with_the_rule_that_let_it_in() {
    let app = App::start();
    let text = config(&app, "", "");
    let with = |asks: &str| {
        let rules = format!("{{path: /, {asks}}}, {{path: /ws, websocket: true, {asks}}}");
        let changed = text.replace(
            "[acme.test], upstream: app, routes: app",
            &format!("[acme.test], upstream: app, routes: {{use: app, rules: [{rules}]}}"),
        );
        assert_ne!(changed, text);
        changed
    };
    for (stays, ends, status, reason) in [
        ("roles: [staff, boss]", "roles: [boss]", 403, "role_missing"),
        ("max_auth_age: 1h", "max_auth_age: 1s", 401, "auth_too_old"),
    ] {
        let mut octroi = Octroi::start(&text);
        let cookie = sign_in(&octroi, "acme.test", r#"user="u_1", roles=("staff")"#);
        let mut open = Open::all(&octroi, "acme.test", &cookie);

        octroi.reload(&with(stays));
        assert!(open.stay(), "{stays}");
        octroi.reload(&with(ends));

        open.end(status);
        for path in ["/ws", "/quiet", "/busy", "/upload"] {
            octroi.access_line(|line| line["path"] == path && line["reason"] == reason);
        }
    }
}

#[test]
fn an_address_that_is_taken_out_ends_what_comes_from_it() {
    let app = App::start();
    let mut octroi = Octroi::start(&config(&app, "", ", ip_access: {allow: [127.0.0.0/8]}"));
    let cookie = sign_in(&octroi, "acme.test", r#"user="u_1""#);
    let mut open = Open::all(&octroi, "acme.test", &cookie);

    octroi.reload(&config(&app, "", ", ip_access: {allow: [127.0.0.0/8, 192.0.2.0/24]}"));
    assert!(open.stay());
    octroi.reload(&config(&app, "", ", ip_access: {allow: [192.0.2.0/24]}"));

    open.end(403);
    octroi.access_line(|line| line["path"] == "/ws" && line["reason"] == "ip_not_allowed");
}

#[test]
fn a_session_that_reaches_its_end_takes_everything_with_it() {
    let app = App::start();
    let octroi = Octroi::start(&config(&app, "", ""));
    let cookie = sign_in(&octroi, "acme.test", r#"user="u_1", absolute=2"#);

    let open = Open::all(&octroi, "acme.test", &cookie);

    open.end(401);
    octroi.access_line(|line| line["path"] == "/quiet" && line["reason"] == "session_expired");
    // So does one that somebody ended for a later date.
    let cookie = sign_in(&octroi, "acme.test", r#"user="u_2""#);
    let open = Open::all(&octroi, "acme.test", &cookie);
    let soon = jiff::Timestamp::try_from(std::time::SystemTime::now() + Duration::from_secs(1)).unwrap();
    octroi.ok(&["session", "revoke", "--tenant", "acme", "--user", "u_2", "--at", &soon.to_string()]);
    open.end(401);
}

#[test]
fn a_close_frame_stands_between_frames_or_nowhere() {
    let app = App::start();
    let octroi = Octroi::start(&config(&app, "", ""));
    let cookie = sign_in(&octroi, "acme.test", r#"user="u_1""#);
    let mut socket = Socket::open(&octroi, "acme.test", "/ws/half", &cookie);
    socket.0.read_exact(&mut [0; 7]).unwrap();

    octroi.ok(&["session", "revoke", "--tenant", "acme", "--user", "u_1"]);

    assert_eq!(socket.rest(), b"");
}

#[test]
fn who_takes_nothing_keeps_nothing_open() {
    let app = App::start();
    let octroi = Octroi::start(
        &config(&app, "", "").replace("body_min_rate: 0B/s", "body_min_rate: 0B/s, body_bytes: 1GiB"),
    );
    let cookie = sign_in(&octroi, "acme.test", r#"user="u_1""#);
    let head = |path: &str, fields: &str| {
        format!("{path} HTTP/1.1\r\nHost: acme.test\r\nCookie: {cookie}\r\n{fields}\r\n")
    };
    let connect = || {
        harness::raw_tls(
            octroi.addr("public"),
            "acme.test",
            &octroi.path().join("certs/ca.pem"),
            &[b"http/1.1"],
        )
    };
    // A client that reads nothing of its answer, and an app that reads nothing of its request.
    let (mut reads_nothing, mut sends) = (connect(), connect());
    reads_nothing.write_all(head("GET /flood", "").as_bytes()).unwrap();
    sends.write_all(head("POST /deaf", "Content-Length: 1000000000\r\n").as_bytes()).unwrap();
    sends.sock.set_write_timeout(Some(Duration::from_secs(1))).unwrap();
    while sends.write_all(&[b'x'; 65_536]).is_ok() {}
    eventually("both are at the app", || (app.open() == 2).then_some(()));

    octroi.ok(&["session", "revoke", "--tenant", "acme", "--user", "u_1"]);

    for path in ["/flood", "/deaf"] {
        octroi.access_line(|line| line["path"] == path && line["reason"] == "session_revoked");
    }
    drop(reads_nothing);
}

#[test]
fn one_stream_of_a_connection_ends_and_its_neighbour_goes_on() {
    let app = App::start();
    let octroi = Octroi::start(&config(&app, "", ""));
    let [ended, stays] =
        ["u_1", "u_2"].map(|user| sign_in(&octroi, "acme.test", &format!("user=\"{user}\"")));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();

    runtime.block_on(async {
        let tcp = tokio::net::TcpStream::connect(octroi.addr("public")).await.unwrap();
        let tls = harness::client::tls_config(&octroi.path().join("certs/ca.pem"), &[b"h2"]);
        let tls = tokio_rustls::TlsConnector::from(tls)
            .connect("acme.test".try_into().unwrap(), tcp)
            .await
            .unwrap();
        let (mut sender, connection) = h2::client::handshake(tls).await.unwrap();
        let connection = tokio::spawn(connection);
        let mut bodies = Vec::new();
        for cookie in [&ended, &stays] {
            let request =
                http::Request::get("https://acme.test/busy").header("cookie", cookie).body(()).unwrap();
            let (answer, _) = sender.send_request(request, true).unwrap();
            bodies.push(answer.await.unwrap().into_body());
        }
        let [mut first, mut second] = <[h2::RecvStream; 2]>::try_from(bodies).unwrap();

        octroi.ok(&["session", "revoke", "--tenant", "acme", "--user", "u_1"]);

        let reset = loop {
            match first.data().await {
                Some(Ok(data)) => first.flow_control().release_capacity(data.len()).unwrap(),
                other => break other,
            }
        };
        assert!(
            reset.as_ref().is_some_and(|end| end.as_ref().is_err_and(|error| error.is_reset())),
            "{reset:?}"
        );
        for _ in 0..20 {
            let data = second.data().await.unwrap().unwrap();
            second.flow_control().release_capacity(data.len()).unwrap();
        }
        connection.abort();
    });
}

/// Whatever the app thinks about, its client gets at once what it would have got with the answer.
#[test]
fn a_request_that_waits_for_its_answer_ends_with_its_session() {
    let app = App::start();
    let http2 = Http2Server::start();
    let grpc = format!(
        "}}, grpc: {{protocol: http2, servers: [{{address: \"{}\"}}]}}}}\nroutes:\n  grpc: {{unmatched: session}}",
        http2.addr
    );
    let text = config(&app, "", "").replace("}}\nroutes:", &grpc);
    let octroi =
        Octroi::start(&format!("{text}  grpc: {{hosts: [grpc.test], upstream: grpc, routes: grpc}}\n"));
    for (round, method) in ["GET", "POST"].into_iter().enumerate() {
        for (host, path) in [("acme.test", "/thinks"), ("grpc.test", "/deaf")] {
            let tenant = host.split('.').next().unwrap();
            let minted = |user: &str| {
                let token = octroi.ok(&["session", "mint", "--tenant", tenant, "--user", user]);
                format!("__Host-octroi={}", token.trim())
            };
            let (cookie, other) = (minted("u_1"), minted("u_2"));
            let ask = |cookie: &str| {
                let mut stream = harness::raw_tls(
                    octroi.addr("public"),
                    host,
                    &octroi.path().join("certs/ca.pem"),
                    &[b"http/1.1"],
                );
                let length = if method == "POST" { "Content-Length: 3\r\n\r\nabc" } else { "\r\n" };
                stream
                    .write_all(
                        format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\nCookie: {cookie}\r\n{length}")
                            .as_bytes(),
                    )
                    .unwrap();
                Socket(stream)
            };
            let (first, mut stays) = (ask(&cookie), ask(&other));
            block_on(async {
                let mut client = Http2Client::connect(&octroi, host).await;
                let mut call = client.ask(method, path, &[("cookie", &*cookie)], method == "GET").await;
                if method == "POST" {
                    call.say(b"abc", true);
                }
                let asked = || {
                    if host == "acme.test" {
                        app.open() == 3
                    } else {
                        http2.seen.calls.lock().unwrap().len() == 3
                    }
                };
                wait::eventually_async("all requests are at the app", asked).await;

                octroi.ok(&["session", "revoke", "--tenant", tenant, "--user", "u_1"]);
                let began = Instant::now();

                assert_eq!(call.end().await.status, 401);
                let refused = harness::client::parse(&String::from_utf8(first.rest()).unwrap(), 0);
                assert_eq!((refused.status, octroi.reason(&refused).as_str()), (401, "session_revoked"));
                // The look that comes every few seconds cannot have done it each time.
                assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
            });
            assert!(stays.stays(), "{host} {method}");
            let lines = octroi.access_lines();
            let lines: Vec<_> =
                lines.iter().filter(|line| line["path"] == path && line["method"] == method).collect();
            assert_eq!(lines.len(), 2, "{lines:?}");
            for line in lines {
                // The app has had it, and may have acted: its server is named, and that it said nothing.
                assert_eq!(
                    (&line["reason"], &line["upstream.tries"], &line["status"]),
                    (&"session_revoked".into(), &1.into(), &401.into())
                );
                assert!(line["upstream.addr"].is_string() && line["upstream.status"].is_null(), "{line}");
            }
            // Its side is closed as well, and the neighbour's is not.
            if host == "acme.test" {
                eventually("the app's connections are closed", || (app.open() == 1).then_some(()));
            } else {
                let resets = (round + 1) * 2 + round;
                eventually("the streams are reset", || (http2.resets().len() == resets).then_some(()));
                assert!(
                    http2.resets().iter().all(|(_, reason)| *reason == u32::from(h2::Reason::CANCEL)),
                    "{:?}",
                    http2.resets()
                );
            }
            drop(stays);
            eventually("the last one ends", || {
                let done = if host == "acme.test" {
                    app.open() == 0
                } else {
                    http2.resets().len() == (round + 1) * 3
                };
                done.then_some(())
            });
            http2.take();
        }
    }
    assert_eq!(octroi.metric(r#"octroi_exchanges_ended_total{reason="session_revoked"}"#), 8.0);
}

/// What ends a session by its own answer is not ended by that, however long the app thinks: nor is what its own sign-in replaces.
#[test]
fn an_answer_that_comes_late_and_ends_its_session_arrives() {
    let app = App::start();
    let octroi = Octroi::start(&config(&app, "", ""));
    for version in ["--http1.1", "--http2"] {
        for path in
            ["/login?late-Octroi-Session-Grant=user%3D%22u_1%22", "/logout?late-Octroi-Session-Revoke=self"]
        {
            for _ in 0..3 {
                let cookie = sign_in(&octroi, "acme.test", r#"user="u_1""#);
                let answer =
                    octroi.curl("acme.test", path).args(&[version, "-X", "POST"]).cookie(&cookie).get();
                assert_eq!((answer.status, answer.body.as_str()), (200, "ok"), "{version} {path}");
            }
        }
    }
    assert!(
        !octroi.metrics().contains(r#"octroi_exchanges_ended_total{reason="session_revoked"} 1"#),
        "{}",
        octroi.metrics()
    );
}

/// The end that an answer brings is told by it; whatever else ends exchanges still does.
#[test]
fn an_answer_that_ends_its_session_goes_on_and_ends_with_its_tenant() {
    let app = App::start();
    let text = config(&app, "", "");
    let mut octroi = Octroi::start(&text);
    for version in ["--http1.1", "--http2"] {
        let cookie = sign_in(&octroi, "acme.test", r#"user="u_1""#);
        let mut stream = Stream::open(
            &octroi,
            "acme.test",
            "/logout/busy",
            &cookie,
            &[version, "-X", "POST", "-d", "a=b"],
        );
        let refused = octroi.curl("acme.test", "/x").cookie(&cookie).get();
        assert_eq!((refused.status, octroi.reason(&refused).as_str()), (401, "session_revoked"));
        // The end of another session is looked at behind that of this one.
        let other = sign_in(&octroi, "acme.test", r#"user="u_2""#);
        let mut upload = Stream::open(&octroi, "acme.test", "/quiet", &other, &[version]);
        octroi.ok(&["session", "revoke", "--tenant", "acme", "--user", "u_2"]);
        eventually("the other one ends", || (!upload.stays()).then_some(()));
        assert!(stream.stays(), "{version}");

        octroi.reload(&text.replace("hosts: [acme.test]", "hosts: [moved.test]"));

        let (code, _) = stream.end();
        assert!([18, 56, 92].contains(&code), "{code}");
        octroi.access_line(|line| line["path"] == "/logout/busy" && line["reason"] == "host_unknown");
        octroi.reload(&text);
    }
}

/// Asks in another thread.
fn ask(
    octroi: &Octroi,
    (version, method, path): (&str, &str, &str),
    cookie: &str,
) -> std::thread::JoinHandle<harness::client::Answer> {
    let curl = octroi.curl("acme.test", path).args(&[version, "-X", method]).cookie(cookie);
    std::thread::spawn(move || curl.get())
}

const GRANT: &str = "Octroi-Session-Grant=user%3D%22u_1%22";

/// What nobody needs a session for goes on without one, as a new request would, and so does what signs out. Nobody makes a new session of
/// one that has ended where a session is needed: who was shut out would have it from a request that was under way.
#[test]
fn what_needs_no_session_goes_on_when_its_session_ends() {
    let app = App::start();
    let octroi = Octroi::start(&config(&app, "", ""));
    for version in ["--http1.1", "--http2"] {
        let cookie = sign_in(&octroi, "acme.test", r#"user="u_1""#);
        let held = version.trim_start_matches('-').replace('.', "");
        let ask = |method: &str, path: &str, field: &str| {
            ask(&octroi, (version, method, &format!("{path}?held-{held}-{field}")), &cookie)
        };
        let served = [
            ask("GET", "/pub/x", ""),
            ask("POST", "/pub/x", ""),
            ask("GET", "/login", ""),
            ask("POST", "/login", ""),
        ];
        // The app ends all sessions of the user, and grants a new one.
        let granted = ask("POST", "/login", GRANT);
        let signed_out = [
            ask("POST", "/plogout", "Octroi-Session-Revoke=self"),
            ask("POST", "/logout", "Octroi-Session-Revoke=self"),
        ];
        // What streams with the identity of the one who asked ends with that, also where it begins to stream behind the end.
        let stream = ask("GET", "/pub/x", "Content-Type=text/event-stream");
        let needs = [ask("GET", "/in", ""), ask("POST", "/in", ""), ask("POST", "/pw", GRANT)];
        // Where the app may end sessions, its answer says whether it does, and no more than that.
        let both = format!("Octroi-Session-Revoke=self%0D%0A{}", GRANT.replacen('=', ":", 1));
        let of_another = "Octroi-Session-Revoke=user%3D%22u_2%22";
        let no_sign_out = ["", GRANT, &both, of_another, "Octroi-Session-Revoke=nobody"]
            .map(|field| ask("POST", "/logout", field));
        let early = ask("POST", "/logout/early", "Octroi-Session-Revoke=self");
        let other = sign_in(&octroi, "acme.test", r#"user="u_2""#);
        eventually("all are at the app", || (app.open() == 17).then_some(()));

        octroi.ok(&["session", "revoke", "--tenant", "acme", "--user", "u_1"]);
        for needs in needs {
            let refused = needs.join().unwrap();
            assert_eq!(
                (refused.status, octroi.reason(&refused).as_str()),
                (401, "session_revoked"),
                "{version}"
            );
        }
        app.release(&held);

        for refused in no_sign_out {
            let refused = refused.join().unwrap();
            assert_eq!(
                (refused.status, octroi.reason(&refused).as_str()),
                (401, "session_revoked"),
                "{version}"
            );
            assert_eq!(
                refused.field("set-cookie").filter(|set| !set.contains("Max-Age=0")),
                None,
                "{version}"
            );
        }
        // What the app did when it was asked it has done: who was ended by it is.
        assert_eq!(octroi.curl("acme.test", "/in").cookie(&other).status(), 401, "{version}");
        let early = early.join().unwrap();
        assert_eq!((early.status, early.field("link")), (200, None), "{version}: {early:?}");
        for served in served {
            let answer = served.join().unwrap();
            assert_eq!(
                (answer.status, answer.body.as_str(), answer.field("set-cookie")),
                (200, "ok", None),
                "{version}"
            );
        }
        let session = granted.join().unwrap().session();
        assert_eq!(
            octroi.curl("acme.test", "/in").cookie(&session).status(),
            200,
            "{version}: the grant holds"
        );
        for signed_out in signed_out {
            let answer = signed_out.join().unwrap();
            assert_eq!((answer.status, answer.body.as_str()), (200, "ok"), "{version}");
            // Another sign-in may have set the cookie meanwhile.
            assert_eq!(answer.field("set-cookie"), None, "{version}");
        }
        assert_eq!(stream.join().unwrap().status, 401, "{version}");
        assert_eq!(
            octroi.curl("acme.test", "/in").cookie(&cookie).status(),
            401,
            "{version}: the old session stays ended"
        );
    }
}

/// A link or a button is clicked twice, and two tabs have the same cookie.
#[test]
fn a_second_sign_in_or_sign_out_with_the_same_cookie_is_served() {
    let app = App::start();
    let octroi = Octroi::start(&config(&app, "", ""));
    for version in ["--http1.1", "--http2"] {
        let tag = version.trim_start_matches('-').replace('.', "");
        let twice = |first: (&str, &str, &str), second: (&str, &str, &str)| {
            let cookie = sign_in(&octroi, "acme.test", r#"user="u_1""#);
            let names =
                [0, 1].map(|n| format!("{tag}{}{}{}{n}", first.1, second.0, second.1).replace('/', ""));
            let path =
                |n: usize, (_, path, field): (&str, &str, &str)| format!("{path}?held-{}-{field}", names[n]);
            let (one, other) = (
                ask(&octroi, (version, first.0, &path(0, first)), &cookie),
                ask(&octroi, (version, second.0, &path(1, second)), &cookie),
            );
            eventually("both are at the app", || (app.open() == 2).then_some(()));
            app.release(&names[0]);
            let one = one.join().unwrap();
            // Whatever looks after the end of a session has looked.
            assert_eq!(octroi.curl("acme.test", "/in").cookie(&cookie).status(), 401);
            app.release(&names[1]);
            let other = other.join().unwrap();
            assert_eq!((one.status, other.status), (200, 200), "{version} {first:?} {second:?}");
            (one, other)
        };
        let login = ("POST", "/login", GRANT);

        let (one, other) = twice(login, login);
        for session in [one.session(), other.session()] {
            assert_eq!(octroi.curl("acme.test", "/in").cookie(&session).status(), 200, "{version}");
        }
        for logout in ["/logout", "/plogout"] {
            let logout = ("POST", logout, "Octroi-Session-Revoke=self");
            twice(logout, logout);
            // The form is loaded in another tab; and somebody signs in there.
            let (_, form) = twice(logout, ("GET", "/login", ""));
            assert_eq!(form.field("set-cookie"), None, "{version}");
            let (_, signed_in) = twice(logout, login);
            assert_eq!(
                octroi.curl("acme.test", "/in").cookie(&signed_in.session()).status(),
                200,
                "{version}"
            );
        }
    }
}

/// An answer that goes on for long was told at its start in whose name: it ends with that, also where everybody may ask.
#[test]
fn what_streams_in_a_session_ends_with_it_on_a_public_rule_too_and_a_download_does_not() {
    let app = App::start();
    let octroi = Octroi::start(&config(&app, "", ""));
    let cookie = sign_in(&octroi, "acme.test", r#"user="u_1""#);
    let stream = |path: &str, version: &str, cookie: &str| {
        Stream::open(&octroi, "acme.test", path, cookie, &[version])
    };
    let socket = Socket::open(&octroi, "acme.test", "/pub/ws", &cookie);
    let versions = ["--http1.1", "--http2"];
    let events = versions.map(|version| stream("/pub/quiet", version, &cookie));
    let mut stay =
        versions.map(|version| [stream("/pub/quiet", version, "a=b"), stream("/pub/file", version, &cookie)]);
    // The app could have ended the session there, and did not.
    let files = versions.map(|version| stream("/logout/file", version, &cookie));

    octroi.ok(&["session", "revoke", "--tenant", "acme", "--user", "u_1"]);

    assert_eq!(socket.rest(), CLOSE);
    for events in events.into_iter().chain(files) {
        let (code, rest) = events.end();
        assert!([18, 56, 92].contains(&code), "{code} {rest}");
    }
    assert!(stay.iter_mut().flatten().all(Stream::stays));
}

/// The same with servers of HTTP/2: the request is under way until its body has come.
#[test]
fn what_needs_no_session_goes_on_with_servers_of_http2_too() {
    let app = App::start();
    let http2 = Http2Server::start();
    let text = config(&app, "", "").replace(
        &format!("app: {{servers: [{{address: \"{}\"}}]}}", app.addr),
        &format!("app: {{protocol: http2, servers: [{{address: \"{}\"}}]}}", http2.addr),
    );
    let text: Vec<&str> = text.lines().filter(|line| !line.contains("websocket: true")).collect();
    let octroi = Octroi::start(&text.join("\n"));
    let cookie = sign_in(&octroi, "acme.test", r#"user="u_1""#);
    http2.take();
    block_on(async {
        let mut client = Http2Client::connect(&octroi, "acme.test").await;
        let mut calls = Vec::new();
        // A sign-out of which the app has not all yet is like any other request.
        for path in [
            "/pub/x",
            "/login?h-Octroi-Session-Grant=user%3D%22u_1%22",
            "/logout?h-Octroi-Session-Revoke=self",
            "/in",
        ] {
            let mut call = client.ask("POST", path, &[("cookie", &*cookie)], false).await;
            call.say(b"abc", false);
            calls.push(call);
        }
        wait::eventually_async("all calls are at the server", || http2.seen.calls.lock().unwrap().len() >= 4)
            .await;

        octroi.ok(&["session", "revoke", "--tenant", "acme", "--user", "u_1"]);

        for _ in 0..2 {
            assert_eq!(calls.pop().unwrap().end().await.status, 401);
        }
        for mut call in calls {
            call.say(b"d", true);
            assert_eq!(call.end().await.status, 200);
        }
    });
}

/// The app is not told any more of a request whose session has ended, and what it had not been told at all it never is.
#[test]
fn what_the_app_has_not_wholly_ends_with_its_session_where_it_may_sign_out_too() {
    let app = App::start();
    let octroi = Octroi::start(&config(&app, "", ""));
    let cookie = sign_in(&octroi, "acme.test", r#"user="u_1""#);
    let head = format!(
        "POST /logout/upload HTTP/1.1\r\nHost: acme.test\r\nCookie: {cookie}\r\nContent-Length: 40\r\n\r\n"
    );
    let upload = Socket::ask(&octroi, "acme.test", &format!("{head}new_password="));
    let whole = Socket::ask(&octroi, "acme.test", &format!("{head}{}", "x".repeat(40)));
    block_on(async {
        let mut client = Http2Client::connect(&octroi, "acme.test").await;
        let mut call = client.ask("POST", "/logout/upload", &[("cookie", &*cookie)], false).await;
        call.say(b"new_password=", false);
        wait::eventually_async("all uploads are at the app", || app.open() >= 3).await;

        octroi.ok(&["session", "revoke", "--tenant", "acme", "--user", "u_1"]);

        assert_eq!(call.end().await.status, 401);
    });
    assert_eq!(upload.refused(&octroi), (401, "session_revoked".to_owned()));
    // Of one it has all.
    eventually("the app is left alone with one", || (app.open() == 1).then_some(()));
    drop(whole);
    eventually("and with none", || (app.open() == 0).then_some(()));
}

/// Reads a request as far as its empty line.
fn head_of(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    String::from_utf8(head).unwrap().to_lowercase()
}

/// The app takes no more connections for a while, and the session ends meanwhile: nothing is asked in its name.
#[test]
fn nothing_is_asked_in_the_name_of_a_session_that_ended_while_a_connection_was_waited_for() {
    let busy = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = busy.local_addr().unwrap();
    let app = App { addr, open: Arc::default(), released: Arc::default() };
    let octroi = Octroi::start(&config(&app, "", ""));
    let minted = |user: &str| {
        format!(
            "__Host-octroi={}",
            octroi.ok(&["session", "mint", "--tenant", "acme", "--user", user]).trim()
        )
    };
    let (cookie, other) = (minted("u_1"), minted("u_2"));
    // One waits to be accepted, and the next are not answered.
    rustix::net::listen(&busy, 0).unwrap();
    let filler = TcpStream::connect(addr).unwrap();
    let public = ["--http1.1", "--http2"].map(|version| ask(&octroi, (version, "POST", "/pub/x"), &cookie));
    let needs = ["/in", "/logout"].map(|path| ask(&octroi, ("--http2", "POST", path), &cookie));
    let stays = ask(&octroi, ("--http2", "GET", "/pub/x"), &other);
    let waits = || {
        let sockets = std::fs::read_to_string("/proc/net/tcp").unwrap();
        let remote = format!(":{:04X}", addr.port());
        // `02` is SYN_SENT.
        sockets
            .lines()
            .filter(|line| {
                line.split_whitespace().nth(2).is_some_and(|it| it.ends_with(&remote))
                    && line.split_whitespace().nth(3) == Some("02")
            })
            .count()
    };
    eventually("all wait", || (waits() == 5).then_some(()));

    octroi.ok(&["session", "revoke", "--tenant", "acme", "--user", "u_1"]);

    rustix::net::listen(&busy, 64).unwrap();
    drop(filler);
    let mut asked = Vec::new();
    while asked.len() < 3 {
        let (mut stream, _) = busy.accept().unwrap();
        stream.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
        let mut byte = [0];
        // The filler, and what was given up, say nothing.
        if !matches!(stream.peek(&mut byte), Ok(1)) {
            continue;
        }
        stream.set_read_timeout(Some(Duration::from_secs(15))).unwrap();
        asked.push(head_of(&mut stream));
        stream.write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok").unwrap();
    }
    for needs in needs {
        let refused = needs.join().unwrap();
        assert_eq!((refused.status, octroi.reason(&refused).as_str()), (401, "session_revoked"));
    }
    for public in public {
        assert_eq!(public.join().unwrap().status, 200);
    }
    assert_eq!(stays.join().unwrap().status, 200);
    asked.sort_unstable();
    let (named, nameless): (Vec<_>, Vec<_>) = asked.iter().partition(|head| head.contains("octroi-user"));
    assert!(
        named.len() == 1 && named[0].starts_with("get /pub/x ") && named[0].contains("octroi-user: u_2"),
        "{asked:?}"
    );
    assert!(
        nameless.iter().all(|head| head.starts_with("post /pub/x ") && head.contains("octroi-tenant: acme")),
        "{asked:?}"
    );
    let public = eventually("they have their lines", || {
        let lines: Vec<_> =
            octroi.access_lines().into_iter().filter(|line| line["path"] == "/pub/x").collect();
        (lines.len() == 3).then_some(lines)
    });
    let users: Vec<_> = public.iter().filter_map(|line| line["user"].as_str()).collect();
    assert_eq!(users, ["u_2"], "{public:?}");
}

/// An answer that begins a session ends with that one, where the rule needs a session.
#[test]
fn an_answer_that_grants_goes_on_in_the_session_that_it_began() {
    let app = App::start();
    let octroi = Octroi::start(&config(&app, "", ""));
    for version in ["--http1.1", "--http2"] {
        let cookie = sign_in(&octroi, "acme.test", r#"user="u_1""#);
        let mut signs_in = Stream::open(&octroi, "acme.test", "/pub/grants", "a=b", &[version]);
        let mut steps_up = Stream::open(&octroi, "acme.test", "/grants", &cookie, &[version]);
        // The session before has ended, and does not end it.
        assert_eq!(octroi.curl("acme.test", "/in").cookie(&cookie).status(), 401);
        let other = sign_in(&octroi, "acme.test", r#"user="u_2""#);
        let mut stream = Stream::open(&octroi, "acme.test", "/quiet", &other, &[version]);
        octroi.ok(&["session", "revoke", "--tenant", "acme", "--user", "u_2"]);
        eventually("the other one ends", || (!stream.stays()).then_some(()));
        assert!(steps_up.stays() && signs_in.stays(), "{version}");

        octroi.ok(&["session", "revoke", "--tenant", "acme", "--user", "u_1"]);

        let (code, _) = steps_up.end();
        assert!([18, 56, 92].contains(&code), "{code}");
        // As any download on a public rule.
        assert!(signs_in.stays(), "{version}");
    }
}

/// What a rule lets the app do since a reload is nothing that was under way before.
#[test]
fn a_rule_that_lets_the_app_sign_out_since_a_reload_lets_nothing_outlive_its_session() {
    let app = App::start();
    let text = config(&app, "", "");
    let mut octroi = Octroi::start(
        &text.replace("{path: /logout, access: session, revoke: true}", "{path: /logout, access: session}"),
    );
    let cookie = sign_in(&octroi, "acme.test", r#"user="u_1""#);
    let waits = ask(&octroi, ("--http2", "POST", "/logout?held-now-Octroi-Session-Revoke=self"), &cookie);
    eventually("it is at the app", || (app.open() == 1).then_some(()));
    octroi.reload(&text);

    octroi.ok(&["session", "revoke", "--tenant", "acme", "--user", "u_1"]);

    let refused = waits.join().unwrap();
    assert_eq!((refused.status, octroi.reason(&refused).as_str()), (401, "session_revoked"));
    app.release("now");
}

/// Observing lets a request without a session pass, so one whose session ends goes on as well.
#[test]
fn what_a_tenant_observes_goes_on_without_its_session() {
    let app = App::start();
    let octroi = Octroi::start(&config(&app, "", ", mode: observe"));
    let cookie = sign_in(&octroi, "acme.test", r#"user="u_1""#);
    let mut file = Stream::open(&octroi, "acme.test", "/logout/file", &cookie, &["--http2"]);
    let mut events = Stream::open(&octroi, "acme.test", "/quiet", &cookie, &["--http2"]);
    let waits = ["/in", "/logout"]
        .map(|path| ask(&octroi, ("--http1.1", "GET", &format!("{path}?held-now-")), &cookie));
    eventually("all are at the app", || (app.open() == 4).then_some(()));

    octroi.ok(&["session", "revoke", "--tenant", "acme", "--user", "u_1"]);

    // What streams in somebody's name does not.
    eventually("the events end", || (!events.stays()).then_some(()));
    app.release("now");
    for waits in waits {
        assert_eq!(waits.join().unwrap().status, 200);
    }
    assert!(file.stays());
    assert_eq!(octroi.curl("acme.test", "/in").cookie(&cookie).status(), 200);
}

/// A cookie whose session has ended is cleared where a browser opens a page and is refused at once, and in no other answer, which may be late:
/// somebody may have signed in meanwhile.
#[test]
fn the_cookie_of_an_ended_session_is_cleared_where_a_page_is_refused() {
    const PAGE: [&str; 4] = ["-H", "Sec-Fetch-Mode: navigate", "-H", "Accept: text/html"];
    const FETCH: [&str; 4] = ["-H", "Sec-Fetch-Mode: cors", "-H", "Accept: */*"];
    let app = App::start();
    let text = config(&app, "", "");
    let octroi = Octroi::start(&text.replace("sessions: {", "sessions: {login_url: /login, "));
    let cookie = sign_in(&octroi, "acme.test", r#"user="u_1""#);
    octroi.ok(&["session", "revoke", "--tenant", "acme", "--user", "u_1"]);
    let cleared = |path: &str, args: &[&str]| {
        let answer = octroi.curl("acme.test", path).args(args).cookie(&cookie).get();
        (
            answer.status,
            answer
                .field("set-cookie")
                .is_some_and(|set| set.starts_with("__Host-octroi=;") && set.contains("Max-Age=0")),
        )
    };

    // The app's answer may be late, too.
    assert_eq!((cleared("/pub/x", &PAGE), cleared("/pub/x", &FETCH)), ((200, false), (200, false)));
    assert_eq!((cleared("/in", &PAGE), cleared("/in", &FETCH)), ((303, true), (401, false)));
    assert_eq!((cleared("/in", &PAGE[2..]), cleared("/in", &FETCH[2..])), ((303, true), (401, false)));
    assert_eq!(octroi.metric(r#"octroi_session_events_total{event="cookie_cleared"}"#), 2.0);
    // One that holds is not.
    let holds = sign_in(&octroi, "acme.test", r#"user="u_1""#);
    for path in ["/pub/x", "/in"] {
        assert_eq!(octroi.curl("acme.test", path).args(&PAGE).cookie(&holds).get().field("set-cookie"), None);
    }
}

/// Behind an answer that ends its session, the app is told no more of the request.
#[test]
fn the_rest_of_an_upload_stays_here_behind_a_sign_out() {
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let app = App { addr: server.local_addr().unwrap(), open: Arc::default(), released: Arc::default() };
    let octroi = Octroi::start(&config(&app, "", ""));
    let cookie = format!(
        "__Host-octroi={}",
        octroi.ok(&["session", "mint", "--tenant", "acme", "--user", "u_1"]).trim()
    );
    let app = std::thread::spawn(move || {
        let (mut stream, _) = server.accept().unwrap();
        let head = head_of(&mut stream);
        let mut first = [0; 10];
        stream.read_exact(&mut first).unwrap();
        stream
            .write_all(b"HTTP/1.1 200 OK\r\nOctroi-Session-Revoke: self\r\nContent-Length: 2\r\n\r\nok")
            .unwrap();
        let mut rest = Vec::new();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        // Cut off, or closed in order.
        let _ = stream.read_to_end(&mut rest);
        (head, String::from_utf8_lossy(&rest).into_owned())
    });
    block_on(async {
        let mut client = Http2Client::connect(&octroi, "acme.test").await;
        let mut call = client.ask("POST", "/logout", &[("cookie", &*cookie)], false).await;
        call.say(b"before", false);
        wait::eventually_async("the session is revoked", || {
            octroi.metric(r#"octroi_session_events_total{event="revoked"}"#) != 0.0
        })
        .await;
        call.say(b"after", false);
        call.say(b"after", true);
        assert_eq!(call.end().await.status, 200);
    });
    let (head, rest) = app.join().unwrap();
    assert!(head.starts_with("post /logout ") && !rest.contains("after"), "{head} {rest}");
}
