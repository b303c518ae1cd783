//! What is under way ends with who asked for it: WebSockets, answers that stream, uploads; also where nobody says a word.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, reason = "a test may fail loudly")]
#![allow(missing_docs, unreachable_pub, clippy::disallowed_methods, clippy::print_stderr, reason = "a test is read, not linked")]

mod harness;

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use harness::{Octroi, eventually};
use rustls::{ClientConnection, StreamOwned};

/// An app whose answers go on for ever and say hardly anything. It counts those under way.
struct App {
    addr: SocketAddr,
    open: Arc<AtomicUsize>,
}

impl App {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let app = Self { addr: listener.local_addr().unwrap(), open: Arc::default() };
        let open = Arc::clone(&app.open);
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let open = Arc::clone(&open);
                std::thread::spawn(move || serve(stream, &open));
            }
        });
        app
    }

    fn open(&self) -> usize {
        self.open.load(Ordering::SeqCst)
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

fn serve(mut stream: TcpStream, open: &AtomicUsize) -> Option<()> {
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
        let (path, query) = head.split(' ').nth(1).unwrap().split_once('?').unwrap_or((head.split(' ').nth(1).unwrap(), ""));
        let answer: &[u8] = match path {
            "/ws" | "/ws/half" => {
                b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                  Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
            }
            "/quiet" | "/busy" => {
                b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n9\r\ndata: 1\n\n\r\n"
            }
            "/logout/busy" => b"HTTP/1.1 200 OK\r\nOctroi-Session-Revoke: self\r\nTransfer-Encoding: chunked\r\n\r\n9\r\ndata: 1\n\n\r\n",
            "/flood" => b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000000\r\n\r\n",
            "/upload" | "/deaf" => b"",
            _ => {
                let field = query.strip_prefix("h-").map(|field| field.replacen('=', ": ", 1)).unwrap_or_default();
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
            "/ws" => stream.write_all(b"\x81\x02hi").ok()?,
            "/ws/half" => stream.write_all(b"\x81\x02hi\x82\x7e\x40\x00abc").ok()?,
            "/flood" => loop {
                stream.write_all(&[b'x'; 65_536]).ok()?;
            },
            // It takes nothing.
            "/deaf" => std::thread::sleep(Duration::from_secs(20)),
            "/busy" | "/logout/busy" => loop {
                stream.write_all(b"9\r\ndata: 1\n\n\r\n").ok()?;
                std::thread::sleep(Duration::from_millis(10));
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
        let mut stream = harness::raw_tls(octroi.addr("public"), host, &octroi.path().join("certs/ca.pem"), &[b"http/1.1"]);
        let head = format!(
            "GET {path} HTTP/1.1\r\nHost: {host}\r\nCookie: {cookie}\r\nUpgrade: websocket\r\nConnection: keep-alive, Upgrade\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).unwrap();
        let mut got = Vec::new();
        let mut byte = [0];
        while !got.ends_with(b"\r\n\r\n\x81\x02hi") {
            stream.read_exact(&mut byte).unwrap_or_else(|error| panic!("{error} after {:?}", String::from_utf8_lossy(&got)));
            got.push(byte[0]);
        }
        assert!(got.starts_with(b"HTTP/1.1 101 "));
        stream.sock.set_read_timeout(Some(Duration::from_secs(15))).unwrap();
        Self(stream)
    }

    /// Sends a request of which the rest never comes.
    fn upload(octroi: &Octroi, host: &str, cookie: &str) -> Self {
        let mut stream = harness::raw_tls(octroi.addr("public"), host, &octroi.path().join("certs/ca.pem"), &[b"http/1.1"]);
        let head = format!("POST /upload HTTP/1.1\r\nHost: {host}\r\nCookie: {cookie}\r\nContent-Length: 1000\r\n\r\nabc");
        stream.write_all(head.as_bytes()).unwrap();
        Self(stream)
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
        let silent = self.0.read(&mut [0; 16]).is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock);
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
        command.args(["-sSN", "--max-time", "60", "--resolve", &format!("{host}:{}:{}", addr.port(), addr.ip())]);
        command.arg("--cacert").arg(octroi.path().join("certs/ca.pem")).args(["-H", &format!("Cookie: {cookie}")]).args(args);
        command.arg(format!("https://{host}:{}{path}", addr.port()));
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
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
        self.socket.stays() && self.upload.stays() && self.streams.iter_mut().all(|(_, stream)| stream.stays())
    }

    /// Every one of them ends, the way it should.
    fn end(self, status: u16) {
        assert_eq!(self.socket.rest(), CLOSE);
        let refusal = harness::client::parse(&String::from_utf8(self.upload.rest()).unwrap(), 0);
        assert_eq!((refusal.status, refusal.body.is_empty()), (status, false), "nothing had been answered: {refusal:?}");
        for (what, stream) in self.streams {
            let (code, rest) = stream.end();
            match what {
                // 18: the last chunk is missing. 56: and the connection is gone.
                "SSE over HTTP/1.1" | "a busy answer" => assert!([18, 56].contains(&code), "{what}: {code} {rest}"),
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
            let out = octroi.curl("acme.test", "/logout?h-Octroi-Session-Revoke=self").args(&["-X", "POST"]).cookie(cookie).get();
            assert_eq!((out.status, out.body.as_str()), (200, "ok"), "its own answer arrives");
        }),
        ("at another sign-in", &|cookie| {
            let again = octroi.curl("acme.test", "/login?h-Octroi-Session-Grant=user%3D%22u_1%22").args(&["-X", "POST"]).cookie(cookie);
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
    for (stays, ends, status, reason) in
        [("roles: [staff, boss]", "roles: [boss]", 403, "role_missing"), ("max_auth_age: 1h", "max_auth_age: 1s", 401, "auth_too_old")]
    {
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
    let octroi = Octroi::start(&config(&app, "", "").replace("body_min_rate: 0B/s", "body_min_rate: 0B/s, body_bytes: 1GiB"));
    let cookie = sign_in(&octroi, "acme.test", r#"user="u_1""#);
    let head = |path: &str, fields: &str| format!("{path} HTTP/1.1\r\nHost: acme.test\r\nCookie: {cookie}\r\n{fields}\r\n");
    let connect = || harness::raw_tls(octroi.addr("public"), "acme.test", &octroi.path().join("certs/ca.pem"), &[b"http/1.1"]);
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
    let [ended, stays] = ["u_1", "u_2"].map(|user| sign_in(&octroi, "acme.test", &format!("user=\"{user}\"")));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();

    runtime.block_on(async {
        let tcp = tokio::net::TcpStream::connect(octroi.addr("public")).await.unwrap();
        let tls = harness::client::tls_config(&octroi.path().join("certs/ca.pem"), &[b"h2"]);
        let tls = tokio_rustls::TlsConnector::from(tls).connect("acme.test".try_into().unwrap(), tcp).await.unwrap();
        let (mut sender, connection) = h2::client::handshake(tls).await.unwrap();
        let connection = tokio::spawn(connection);
        let mut bodies = Vec::new();
        for cookie in [&ended, &stays] {
            let request = http::Request::get("https://acme.test/busy").header("cookie", cookie).body(()).unwrap();
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
        assert!(reset.as_ref().is_some_and(|end| end.as_ref().is_err_and(|error| error.is_reset())), "{reset:?}");
        for _ in 0..20 {
            let data = second.data().await.unwrap().unwrap();
            second.flow_control().release_capacity(data.len()).unwrap();
        }
        connection.abort();
    });
}

/// The end that an answer brings is told by it; whatever else ends exchanges still does.
#[test]
fn an_answer_that_ends_its_session_goes_on_and_ends_with_its_tenant() {
    let app = App::start();
    let text = config(&app, "", "");
    let mut octroi = Octroi::start(&text);
    for version in ["--http1.1", "--http2"] {
        let cookie = sign_in(&octroi, "acme.test", r#"user="u_1""#);
        let mut stream = Stream::open(&octroi, "acme.test", "/logout/busy", &cookie, &[version, "-X", "POST", "-d", "a=b"]);
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
