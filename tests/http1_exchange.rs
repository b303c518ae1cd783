//! Exchanges over HTTP/1.1: what the app gets of a request, and what a client gets of answers, good and bad.

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
    sync::{Arc, Mutex},
    time::Duration,
};

use harness::wait;
use harness::{
    Octroi,
    client::{Answer, ask, raw},
    eventually,
};

/// What the app answers: pieces that are written one by one, and whether it closes behind them.
struct Script {
    pieces: Vec<Vec<u8>>,
    closes: bool,
}

/// An app that answers octet for octet what the path's script says.
struct App {
    addr: SocketAddr,
    heads: Arc<Mutex<Vec<String>>>,
    connections: Arc<Mutex<usize>>,
}

impl App {
    fn start(scripts: Vec<(&'static str, Script)>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let app =
            Self { addr: listener.local_addr().unwrap(), heads: Arc::default(), connections: Arc::default() };
        let scripts = Arc::new(scripts);
        let (heads, connections) = (Arc::clone(&app.heads), Arc::clone(&app.connections));
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                *connections.lock().unwrap() += 1;
                let (scripts, heads) = (Arc::clone(&scripts), Arc::clone(&heads));
                std::thread::spawn(move || serve(stream, &scripts, &heads));
            }
        });
        app
    }

    fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.heads.lock().unwrap())
    }

    fn connections(&self) -> usize {
        *self.connections.lock().unwrap()
    }
}

fn serve(mut stream: TcpStream, scripts: &[(&'static str, Script)], heads: &Mutex<Vec<String>>) {
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
        let head = String::from_utf8(head).unwrap();
        let path = head.split(' ').nth(1).unwrap().to_owned();
        heads.lock().unwrap().push(head);
        let Some((_, script)) = scripts.iter().find(|(name, _)| *name == path) else { return };
        for (index, piece) in script.pieces.iter().enumerate() {
            if index > 0 {
                wait::slow_peer(Duration::from_millis(15));
            }
            if stream.write_all(piece).is_err() {
                return;
            }
        }
        if script.closes {
            return;
        }
    }
}

fn says(pieces: &[&[u8]]) -> Script {
    Script { pieces: pieces.iter().map(|piece| piece.to_vec()).collect(), closes: false }
}

fn closes(pieces: &[&[u8]]) -> Script {
    Script { closes: true, ..says(pieces) }
}

fn config(app: SocketAddr) -> String {
    format!(
        r#"
version: 1
server: {{state_dir: STATE, drain: 1s, threads: 2}}
listeners:
  - {{name: public, address: "127.0.0.1:0", tls: {{}}}}
  - {{name: plain, address: "127.0.0.1:0", plaintext: true}}
metrics: {{address: "127.0.0.1:0"}}
tls: {{certificates: [{{dev: true, dir: certs}}]}}
sessions: {{keys: [{{id: 1, secret: "${{file:session-1.key}}"}}]}}
upstreams:
  own: {{servers: [{{address: "{app}"}}], timeouts: {{connect: 2s, first_byte: 2s, between_bytes: 2s}}}}
routes:
  app: {{unmatched: public, rules: [{{path: /grant, access: public, grant: true}}]}}
tenants:
  own: {{hosts: [own.test], upstream: own, routes: app}}
"#
    )
}

fn started(scripts: Vec<(&'static str, Script)>) -> (Octroi, App) {
    let app = App::start(scripts);
    (Octroi::start(&config(app.addr)), app)
}

/// The lines that the app got, in lower case, without what differs from one request to the next.
fn got(head: &str) -> BTreeSet<String> {
    let lines = head.lines().filter(|line| !line.is_empty() && !line.starts_with("octroi-request-id"));
    lines.map(str::to_ascii_lowercase).collect()
}

/// The names of the fields that a client got.
fn names(answer: &Answer) -> BTreeSet<String> {
    answer.fields.iter().map(|(name, _)| name.to_ascii_lowercase()).collect()
}

/// Answers, and the status and the body that a client gets of them.
fn good() -> Vec<(&'static str, Script, u16, String)> {
    let large = [&b"HTTP/1.1 200 OK\r\nContent-Length: 200000\r\n\r\n"[..], &[b'x'; 200_000]].concat();
    let answers: Vec<(&'static str, Script, u16, &str)> = vec![
        ("/counted", says(&[b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX-App: 1\r\n\r\nhello"]), 200, "hello"),
        ("/counted_in_pieces", says(&[b"HTTP/1.1 200 OK\r\nContent-", b"Length: 5\r\n\r", b"\nhe", b"llo"]), 200, "hello"),
        ("/empty", says(&[b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"]), 200, ""),
        ("/no_content", says(&[b"HTTP/1.1 204 No Content\r\n\r\n"]), 204, ""),
        ("/not_modified", says(&[b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\nETag: \"a\"\r\n\r\n"]), 304, ""),
        ("/missing", says(&[b"HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\nno"]), 404, "no"),
        ("/chunked", says(&[b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", b"6;a=b\r\n world\r\n0\r\n\r\n"]), 200, "hello world"),
        ("/chunked_drop_by_drop", says(&[b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5", b"\r\nhel", b"lo\r", b"\n0\r\n", b"\r\n"]), 200, "hello"),
        ("/trailers", says(&[b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X\r\n\r\n2\r\nok\r\n0\r\nX: 1\r\n\r\n"]), 200, "ok"),
        ("/until_closed", closes(&[b"HTTP/1.1 200 OK\r\n\r\nall ", b"of it"]), 200, "all of it"),
        ("/says_close", closes(&[b"HTTP/1.1 200 OK\r\nConnection: close, X-Inner\r\nX-Inner: 1\r\nContent-Length: 2\r\n\r\nok"]), 200, "ok"),
        ("/http10", closes(&[b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok"]), 200, "ok"),
        ("/early_hints", says(&[b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"]), 200, "ok"),
        ("/space_behind_a_name", says(&[b"HTTP/1.1 200 OK\r\nX-App : 1\r\nContent-Length: 2\r\n\r\nok"]), 200, "ok"),
        ("/hidden", says(&[b"HTTP/1.1 200 OK\r\nServer: app\r\nOctroi-Session-Grant: user=\"a\"\r\nSet-Cookie: a=1\r\nSet-Cookie: __Host-octroi=x\r\nContent-Length: 2\r\n\r\nok"]), 200, "ok"),
        ("/grant", says(&[b"HTTP/1.1 200 OK\r\nOctroi-Session-Grant: user=\"u_1\"\r\nContent-Length: 2\r\n\r\nok"]), 200, "ok"),
        ("/bad_grant", says(&[b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"]), 200, "ok"),
    ];
    let large = ("/large", Script { pieces: vec![large], closes: false }, 200, "x".repeat(200_000));
    answers
        .into_iter()
        .map(|(path, script, status, body)| (path, script, status, body.to_owned()))
        .chain([large])
        .collect()
}

fn scripts() -> Vec<(&'static str, Script)> {
    good().into_iter().map(|(path, script, ..)| (path, script)).collect()
}

#[test]
fn good_answers_pass_whatever_their_form() {
    let (octroi, app) = started(scripts());
    for (path, _, status, body) in good() {
        for version in ["--http1.1", "--http2"] {
            let ask = |args: &[&str]| octroi.curl("own.test", path).args(&[version]).args(args).get();

            for args in [&[][..], &["-X", "DELETE"]] {
                let answer = ask(args);
                assert_eq!(
                    (answer.status, answer.exit),
                    (status, 0),
                    "{path} {version} {args:?}: {answer:?}"
                );
                assert!(answer.body == body, "{path} {version} {args:?}");
                let names = names(&answer);
                assert!(
                    names.contains("octroi-request-id") && names.contains("strict-transport-security"),
                    "{path} {version}: {names:?}"
                );
                for hidden in ["server", "octroi-session-grant", "x-inner", "trailer", "x"] {
                    assert!(!names.contains(hidden), "{path} {version}: {names:?}");
                }
                let cookies: Vec<_> = answer
                    .all("set-cookie")
                    .into_iter()
                    .map(|value| value.split('=').next().unwrap())
                    .collect();
                let expected: &[&str] = match path {
                    "/hidden" => &["a"],
                    "/grant" => &["__Host-octroi"],
                    _ => &[],
                };
                assert_eq!(cookies, expected, "{path} {version}");
                assert_eq!(app.take().len(), 1);
            }
            // What a body to a HEAD would do is asked for elsewhere.
            if ["/counted", "/no_content", "/not_modified", "/empty"].contains(&path) {
                let head = ask(&["-I"]);
                assert_eq!((head.status, &*head.body, head.exit), (status, "", 0), "{path} {version}");
                assert_eq!(app.take().len(), 1);
            }
        }
    }
}

#[test]
fn the_app_gets_the_same_request_whatever_the_client_speaks() {
    let (octroi, app) = started(vec![("/x", says(&[b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"]))]);
    let fields = [
        "X-A: 1",
        "Cookie: b=2",
        "TE: trailers",
        "X_A: 1",
        "Octroi-User: root",
        "X-Forwarded-For: 192.0.2.1",
        "User-Agent: a",
    ];
    let port = octroi.addr("public").port();
    let expected = [
        "get /x?y http/1.1",
        &format!("host: own.test:{port}"),
        "accept: */*",
        "user-agent: a",
        "x-a: 1",
        "cookie: b=2",
        "cdn-loop: octroi",
        "octroi-realm: own",
        "octroi-tenant: own",
        "x-forwarded-for: 127.0.0.1",
        &format!("x-forwarded-host: own.test:{port}"),
        &format!("x-forwarded-port: {port}"),
        "x-forwarded-proto: https",
        "x-real-ip: 127.0.0.1",
    ];

    for version in ["--http1.1", "--http2"] {
        let mut curl = octroi.curl("own.test", "/x?y").args(&[version]);
        for field in fields {
            curl = curl.header(field);
        }
        curl.get();
        assert_eq!(got(&app.take()[0]), expected.iter().map(|&line| line.to_owned()).collect(), "{version}");
    }
}

fn bad() -> Vec<(&'static str, Script)> {
    let many: Vec<u8> =
        [&b"HTTP/1.1 200 OK\r\n"[..], &b"a: b\r\n".repeat(300), b"Content-Length: 0\r\n\r\n"].concat();
    let long = [&b"HTTP/1.1 200 OK\r\nX: "[..], &[b'x'; 70_000], b"\r\nContent-Length: 0\r\n\r\n"].concat();
    vec![
        (
            "/length_and_chunks",
            says(&[b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"]),
        ),
        ("/two_lengths", says(&[b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nhello"])),
        ("/signed_length", says(&[b"HTTP/1.1 200 OK\r\nContent-Length: +5\r\n\r\nhello"])),
        ("/gzip_chunked", says(&[b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"])),
        ("/switches", says(&[b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n"])),
        ("/ssh", closes(&[b"SSH-2.0-OpenSSH_9\r\n\r\n"])),
        ("/silent", closes(&[])),
        ("/half_a_head", closes(&[b"HTTP/1.1 200 OK\r\nContent-Le"])),
        ("/long_head", Script { pieces: vec![long], closes: false }),
        ("/many_fields", Script { pieces: vec![many], closes: false }),
        ("/nul", says(&[b"HTTP/1.1 200 OK\r\nX: a\0b\r\nContent-Length: 0\r\n\r\n"])),
    ]
}

#[test]
fn bad_answers_are_refused() {
    let (octroi, app) = started(bad());
    for (path, _) in bad() {
        let reason =
            if ["/silent", "/half_a_head"].contains(&path) { "upstream_closed" } else { "upstream_protocol" };
        for version in ["--http1.1", "--http2"] {
            let answer = octroi.curl("own.test", path).args(&[version]).get();

            assert_eq!((answer.status, octroi.reason(&answer).as_str()), (502, reason), "{path} {version}");
        }
    }
    drop(app);
}

#[test]
fn a_body_that_breaks_off_never_looks_whole() {
    let broken: Vec<(&str, Script)> = vec![
        ("/short", closes(&[b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello"])),
        ("/chunks_cut", closes(&[b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"])),
        ("/chunk_cut", closes(&[b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nff\r\nhello"])),
        (
            "/chunk_too_long",
            says(&[b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhelloX\r\n0\r\n\r\n"]),
        ),
        (
            "/size_garbage",
            says(&[
                b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
                b"zz\r\nx\r\n0\r\n\r\n",
            ]),
        ),
    ];
    let paths: Vec<&str> = broken.iter().map(|(path, _)| *path).collect();
    let (octroi, _app) = started(broken);
    for path in paths {
        for version in ["--http1.1", "--http2"] {
            let answer = octroi.curl("own.test", path).args(&[version]).get();
            // Either the head had not left, and the whole is refused, or the client sees that it is not whole.
            assert!(answer.status == 502 || answer.exit != 0, "{path} {version}: {answer:?}");
            assert!(!answer.body.contains('X'), "{path} {version}: {answer:?}");
        }
    }
}

#[test]
fn what_comes_behind_an_answer_is_nobodys_answer() {
    let poison = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison";
    let behind = [&b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"[..], poison].concat();
    let behind_chunks =
        [&b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"[..], poison].concat();
    let (octroi, app) = started(vec![
        ("/at_once", Script { pieces: vec![behind], closes: false }),
        ("/later", says(&[b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", poison])),
        ("/behind_chunks", Script { pieces: vec![behind_chunks], closes: false }),
        (
            "/behind_none",
            says(&[b"HTTP/1.1 204 No Content\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison"]),
        ),
        ("/clean", says(&[b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nclean"])),
    ]);
    let mut client = raw(octroi.addr("plain"));
    let mut get = |path: &str| ask(&mut client, &format!("GET {path} HTTP/1.1\r\nHost: own.test\r\n\r\n"));

    for path in ["/at_once", "/later", "/behind_chunks", "/behind_none"] {
        let first = octroi.plain("plain", "own.test", path).get();
        assert!(first.status == 204 || first.body == "ok", "{path}: {first:?}");
        // The late octets have come by then.
        wait::elapse(Duration::from_millis(60));
        let before = app.connections();
        assert_eq!(get("/clean").body, "clean", "{path}");
        assert_eq!(app.connections(), before + 1, "{path}: its connection was used again");
    }
    // And a clean one is used again.
    let before = app.connections();
    assert_eq!(get("/clean").body, "clean");
    assert_eq!(app.connections(), before);
}

#[test]
fn a_client_that_leaves_is_noticed_and_its_upstream_connection_is_closed() {
    let (octroi, app) =
        started(vec![("/slow", says(&[b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n", b"x"]))]);
    let mut client = raw(octroi.addr("plain"));
    client.write_all(b"GET /slow HTTP/1.1\r\nHost: own.test\r\n\r\n").unwrap();
    eventually("the app is asked", || (!app.take().is_empty()).then_some(()));

    drop(client);

    let line = octroi.access_line(|line| line["path"] == "/slow");
    assert_eq!((&line["reason"], &line["upstream.status"]), (&"client_closed".into(), &200.into()), "{line}");
    eventually("nothing is open", || {
        (octroi.metric(r#"octroi_connections{listener="plain"}"#) < 1.0).then_some(())
    });
}

#[test]
fn what_a_client_says_of_its_connection_does_not_leave() {
    let (octroi, app) = started(vec![("/x", says(&[b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"]))]);
    let ask = |fields: &str| {
        let mut client = raw(octroi.addr("plain"));
        ask(&mut client, &format!("GET /x HTTP/1.1\r\nHost: own.test\r\n{fields}\r\n")).status
    };

    assert_eq!(ask("Connection: X-Secret, close\r\nX-Secret: 1\r\n"), 200);
    assert!(!app.take()[0].contains("x-secret"));
    for bad in [
        "X-Forwarded-For",
        "Host",
        "close, Cookie",
        "AUTHORIZATION",
        "content-length",
        "Transfer-Encoding",
        "Octroi-User",
        "Forwarded",
        ":path",
        "\"X-A\"",
        "a b",
        "1, 2, 3, 4, 5, 6, 7, 8, 9, 10",
    ] {
        assert_eq!(ask(&format!("Connection: {bad}\r\n")), 400, "{bad}");
        octroi.access_line(|line| line["reason"] == "connection_field");
    }
    assert!(app.take().is_empty());
    assert_eq!(ask("Connection: 1, 2, 3, 4, 5, 6, 7, 8, 9\r\n"), 200);
    app.take();
    assert_eq!(
        ask("Upgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n"),
        200
    );
    let head = app.take().remove(0).to_ascii_lowercase();
    assert!(
        !head.contains("upgrade") && !head.contains("http2-settings") && !head.contains("connection"),
        "{head}"
    );
    assert_eq!(ask("Expect: 100-continue\r\n"), 200);
    assert_eq!(
        ask("Connection: keep-alive\r\nKeep-Alive: 5\r\nProxy-Authorization: x\r\nTE: trailers\r\n"),
        200
    );
    let head = app.take().pop().unwrap().to_ascii_lowercase();
    assert!(
        ["keep-alive", "proxy-authorization", "\nte:", "connection"].iter().all(|name| !head.contains(name)),
        "{head}"
    );
}
