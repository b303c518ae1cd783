//! Each request has one line in the access log, and it is the whole one: whoever ends it, however early, and whatever is known of it where.

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
    net::TcpStream,
    time::Duration,
};

use harness::wait;
use harness::{
    Octroi, Upstream, eventually,
    frames::{
        DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, PING, PRIORITY, RESET, WINDOW_UPDATE, block, frame,
        preface, request, send, until,
    },
    raw_tls,
};
use serde_json::Value;

const HOST: &str = "acme.test";
const SHORT: Duration = Duration::from_millis(300);
const LONG: Duration = Duration::from_secs(5);

type Tls = rustls::StreamOwned<rustls::ClientConnection, TcpStream>;

struct Both {
    octroi: Octroi,
    upstream: Upstream,
}

impl Both {
    fn start(more: &str) -> Self {
        let upstream = Upstream::start();
        let octroi = Octroi::start(&format!(
            r#"
version: 1
server: {{state_dir: STATE, drain: 1s, threads: 2}}
listeners: [{{name: public, address: "127.0.0.1:0", tls: {{}}}}]
metrics: {{address: "127.0.0.1:0"}}
tls: {{certificates: [{{dev: true, dir: certs}}]}}
sessions: {{keys: [{{id: 1, secret: "${{file:session.key}}"}}]}}
upstreams:
  app: {{servers: [{{address: "{}"}}]}}
routes:
  app:
    unmatched: public
    rules:
      - {{path: /login, access: public, grant: true}}
      - {{path: /admin/, roles: [admin]}}
      - {{path: /ws, access: public, websocket: true}}
tenants:
  acme: {{hosts: [acme.test], upstream: app, routes: app}}
{more}
"#,
            upstream.addr
        ));
        Self { octroi, upstream }
    }

    fn sign_in(&self) -> String {
        let cookie = self
            .octroi
            .curl(HOST, "/login?h-Octroi-Session-Grant=user%3D%22u_1%22%2C%20roles%3D(%22admin%22)")
            .args(&["-X", "POST"]);
        let cookie = cookie.get().session();
        self.upstream.take();
        cookie
    }

    /// A connection that speaks HTTP/2.
    fn http2(&self) -> Tls {
        let mut stream =
            raw_tls(self.octroi.addr("public"), HOST, &self.octroi.path().join("certs/ca.pem"), &[b"h2"]);
        assert!(send(&mut stream, &preface(&[])));
        stream.sock.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
        stream
    }

    fn http1(&self) -> Tls {
        let stream = raw_tls(
            self.octroi.addr("public"),
            HOST,
            &self.octroi.path().join("certs/ca.pem"),
            &[b"http/1.1"],
        );
        stream.sock.set_read_timeout(Some(LONG)).unwrap();
        stream
    }

    /// Waits until no connection is open: whatever is still to be told has been by then. Returns the lines of requests, without that of
    /// signing in.
    fn lines(&self) -> Vec<Value> {
        eventually("all connections are closed", || {
            (self.octroi.metric(r#"octroi_connections{listener="public"}"#) == 0.0).then_some(())
        });
        // The tasks of requests end behind their connection's.
        wait::elapse(Duration::from_millis(200));
        let lines = self.octroi.access_lines().into_iter();
        lines.filter(|line| line["event"] == "request" && line["path"] != "/login").collect()
    }
}

/// A whole request of a signed-in user.
fn post(stream: u32, path: &str, cookie: &str) -> Vec<u8> {
    let fields = [
        (":method", "POST"),
        (":scheme", "https"),
        (":authority", HOST),
        (":path", path),
        ("content-length", "3"),
    ];
    let cookie = [&[0x00, 6][..], b"cookie", &length(cookie.len()), cookie.as_bytes()].concat();
    let head = frame(HEADERS, END_HEADERS, stream, &[block(&fields), cookie].concat());
    [head, frame(DATA, END_STREAM, stream, b"abc")].concat()
}

/// A head with two octets of padding.
fn padded(path: &str) -> Vec<u8> {
    let block = block(&[(":method", "GET"), (":scheme", "https"), (":authority", HOST), (":path", path)]);
    frame(HEADERS, END_HEADERS | END_STREAM | 8, 1, &[&[2][..], &block, &[0; 2]].concat())
}

/// A head that fills its frame.
fn full(path: &str) -> Vec<u8> {
    let block = block(&[(":method", "GET"), (":scheme", "https"), (":authority", HOST), (":path", path)]);
    let rest = 16 * 1024 - block.len() - 6;
    let field = [&[0, 1, b'x'][..], &length(rest), &vec![b'a'; rest]].concat();
    frame(HEADERS, END_HEADERS | END_STREAM, 1, &[block, field].concat())
}

/// The length of a text (RFC 7541, section 5.1).
fn length(length: usize) -> Vec<u8> {
    match length {
        0..127 => vec![u8::try_from(length).unwrap()],
        _ => {
            let rest = length - 127;
            let low = u8::try_from(rest % 128).unwrap();
            if rest < 128 { vec![127, low] } else { vec![127, low | 128, u8::try_from(rest / 128).unwrap()] }
        }
    }
}

/// More window than there can be (RFC 9113, section 6.9.1).
fn overflow(stream: u32) -> Vec<u8> {
    frame(WINDOW_UPDATE, 0, stream, &0x7fff_ffff_u32.to_be_bytes())
}

/// A window of no octet (RFC 9113, section 6.9).
fn nothing(stream: u32) -> Vec<u8> {
    frame(WINDOW_UPDATE, 0, stream, &[0; 4])
}

/// A stream that depends on itself, which nobody reads any more (RFC 9113, section 5.3.2).
fn itself(stream: u32) -> Vec<u8> {
    frame(PRIORITY, 0, stream, &[&stream.to_be_bytes()[..], &[16]].concat())
}

/// Trailers that do not end the stream (RFC 9113, section 8.1).
fn again(stream: u32) -> Vec<u8> {
    request(stream, "GET", HOST, "/x", 0)
}

fn path(line: &Value) -> &str {
    line["path"].as_str().unwrap_or_else(|| panic!("no path: {line}"))
}

fn detail(line: &Value) -> &str {
    line["detail"].as_str().unwrap_or_default()
}

/// Whoever has a stream reset in the same write as the request reaches no app, and hides nothing.
#[test]
fn a_request_whose_stream_is_reset_at_once_is_not_forwarded_and_has_its_whole_line() {
    let both = Both::start("bans: {after: 6, within: 1m, for: 1h}");
    let cookie = both.sign_in();
    let whole = |stream, path: &str| post(stream, path, &cookie);
    let open = |stream, path: &str| request(stream, "POST", HOST, path, 0);
    let get = |stream, path: &str| request(stream, "GET", HOST, path, END_STREAM);
    let cases: &[(&str, &str, &str, Vec<u8>, &str)] = &[
        (
            "whole, window",
            "POST",
            "/admin/1",
            [whole(1, "/admin/1"), overflow(1)].concat(),
            "FLOW_CONTROL_ERROR",
        ),
        ("whole, nothing", "POST", "/admin/2", [whole(1, "/admin/2"), nothing(1)].concat(), "PROTOCOL_ERROR"),
        ("open, heads", "POST", "/3", [open(1, "/3"), again(1)].concat(), "PROTOCOL_ERROR"),
        ("GET, window", "GET", "/4", [get(1, "/4"), overflow(1)].concat(), "FLOW_CONTROL_ERROR"),
        ("GET, nothing", "GET", "/6", [get(1, "/6"), nothing(1)].concat(), "PROTOCOL_ERROR"),
        ("padded", "GET", "/padded", [padded("/padded"), overflow(1)].concat(), "FLOW_CONTROL_ERROR"),
        ("a full frame", "GET", "/full", [full("/full"), nothing(1)].concat(), "PROTOCOL_ERROR"),
        (
            "refused anyway",
            "GET",
            "/admin/7",
            [get(1, "/admin/7"), overflow(1)].concat(),
            "FLOW_CONTROL_ERROR",
        ),
        (
            "behind others",
            "GET",
            "/8",
            [itself(1), itself(3), get(5, "/8"), overflow(5)].concat(),
            "FLOW_CONTROL_ERROR",
        ),
    ];

    for (name, method, target, bytes, error) in cases {
        let mut stream = both.http2();
        assert!(send(&mut stream, bytes));
        let (came, _) = until(&mut stream, LONG, |frame| {
            frame.kind == RESET && frame.stream == if *name == "behind others" { 5 } else { 1 }
        });
        assert!(came.iter().all(|frame| frame.kind != HEADERS), "{name}: {came:?}");
        // At once, and not with the end of the connection.
        let line = both.octroi.access_line(|line| line["path"] == *target);
        let expected = ["400", method, HOST, "acme", "protocol", "deny"].map(String::from);
        let said = ["status", "method", "host", "tenant", "reason", "decision"]
            .map(|key| line[key].to_string().replace('"', ""));
        assert_eq!(said, expected, "{name}: {line}");
        assert!(detail(&line).ends_with(&format!(" was reset: {error}")), "{name}: {line}");
        assert!(line["request.id"].is_string() && line["duration_ms"].is_number(), "{name}: {line}");
    }

    let lines = both.lines();
    assert_eq!(
        lines.iter().map(path).collect::<Vec<_>>(),
        cases.iter().map(|case| case.2).collect::<Vec<_>>()
    );
    assert!(both.upstream.take().is_empty(), "nobody was asked");
    assert_eq!(
        both.octroi.metric(r#"octroi_requests_total{code="400",decision="deny",tenant="acme"}"#),
        9.0,
        "{}",
        both.octroi.metrics()
    );
    // Five of them were offences, and each has counted once, whoever wrote the line.
    assert_eq!(both.octroi.ok(&["ban", "list"]), "nobody is banned\n");
    let mut stream = both.http2();
    assert!(send(&mut stream, &[get(1, "/9"), overflow(1)].concat()));
    until(&mut stream, LONG, |frame| frame.kind == RESET);
    eventually("the sixth is one too many", || {
        (both.octroi.ok(&["ban", "list"]) != "nobody is banned\n").then_some(())
    });
}

#[test]
fn as_many_requests_as_come_in_one_write_have_as_many_lines() {
    let both = Both::start("limits: {http2: {errors: 1000}}");
    let cookie = both.sign_in();
    // Below, at, and far beyond what the connection may have open at once, and what edge follows.
    let mut expected = Vec::new();
    for (round, count) in [20_u32, 50, 101, 400].into_iter().enumerate() {
        let mut stream = both.http2();
        let target = |stream: u32| format!("/admin/{round}/{stream}");
        let numbers: Vec<u32> = (0..count).map(|n| 2 * n + 1).collect();
        let bytes: Vec<u8> = numbers
            .iter()
            .flat_map(|number| [post(*number, &target(*number), &cookie), overflow(*number)].concat())
            .collect();
        assert!(send(&mut stream, &bytes));
        let last = *numbers.last().unwrap();
        let (came, _) = until(&mut stream, LONG, |frame| frame.kind == RESET && frame.stream == last);
        // More than may be open at once: the client may ask again (RFC 9113, section 8.7).
        let refused: Vec<u32> = came
            .iter()
            .filter(|frame| frame.kind == RESET && frame.code() == 7)
            .map(|frame| frame.stream)
            .collect();
        eprintln!("{count}: {} refused", refused.len());
        expected.extend(numbers.into_iter().filter(|number| !refused.contains(number)).map(target));
        // One that the library had not handed over by the end of the connection would have the bare line.
        eventually("each has a line", || {
            (both.octroi.access_lines().iter().filter(|line| line["event"] == "request").count()
                > expected.len())
            .then_some(())
        });
        drop(stream);
    }

    let lines = both.lines();

    let mut paths: Vec<_> = lines.iter().map(|line| path(line).to_owned()).collect();
    paths.sort();
    expected.sort();
    assert_eq!(paths.len(), expected.len());
    assert_eq!(paths, expected);
    // What came in more than one read may have been begun by then.
    judge_by_id(&lines, &both.upstream);
}

/// What reached the app has the line that has its id, and that line says all of it.
fn judge_by_id(lines: &[Value], upstream: &Upstream) -> usize {
    let got = upstream.take();
    for got in &got {
        let id = got.field("octroi-request-id").unwrap();
        let mut with_id = lines.iter().filter(|line| line["request.id"] == id);
        let line = with_id.next().unwrap_or_else(|| panic!("no line: {got:?}"));
        assert!(with_id.next().is_none(), "two lines: {got:?}");
        assert_eq!(
            (path(line), line["method"].as_str()),
            (got.target.split('?').next().unwrap(), Some(&*got.method)),
            "{line}"
        );
        assert_eq!((&line["host"], &line["tenant"]), (&HOST.into(), &"acme".into()), "{line}");
        assert!(line["status"].is_u64(), "{line}");
    }
    got.len()
}

#[test]
fn a_reset_that_comes_sooner_or_later_changes_nothing_of_the_line_but_its_detail() {
    let both = Both::start("limits: {http2: {errors: 1000}}");
    let cookie = both.sign_in();
    let mut stream = both.http2();
    let mut numbers = (1_u32..).step_by(2);
    // In writes of their own: some are begun by then, some have ended.
    let mut expected = 0;
    for pause in (0..60).map(|n| Duration::from_micros(n * 50)) {
        let number = numbers.next().unwrap();
        assert!(send(&mut stream, &post(number, &format!("/admin/race/{number}"), &cookie)));
        wait::slow_peer(pause);
        assert!(send(&mut stream, &if number % 4 == 1 { overflow(number) } else { nothing(number) }));
        expected += 1;
    }
    // Surely at the app, and surely answered.
    let number = numbers.next().unwrap();
    assert!(send(&mut stream, &post(number, "/admin/slow?sleep=700", &cookie)));
    eventually("it is at the app", || {
        both.upstream.peek().iter().any(|got| got.target.contains("slow")).then_some(())
    });
    assert!(send(&mut stream, &overflow(number)));
    let slow = format!("stream {number} was reset: FLOW_CONTROL_ERROR");
    let number = numbers.next().unwrap();
    assert!(send(&mut stream, &post(number, "/admin/held", &cookie)));
    let number = numbers.next().unwrap();
    assert!(send(&mut stream, &request(number, "GET", HOST, "/held", END_STREAM)));
    until(&mut stream, LONG, |frame| frame.kind == DATA && frame.stream == number);
    assert!(send(&mut stream, &overflow(number)));
    let held = format!("stream {number} was reset: FLOW_CONTROL_ERROR");
    both.octroi.access_line(|line| line["path"] == "/admin/slow");
    both.octroi.access_line(|line| line["path"] == "/held");
    drop(stream);

    let lines = both.lines();

    assert_eq!(lines.len(), expected + 3, "{lines:#?}");
    let mut paths: Vec<_> = lines.iter().map(path).collect();
    paths.sort_unstable();
    paths.dedup();
    assert_eq!(paths.len(), lines.len());
    let reached = judge_by_id(&lines, &both.upstream);
    assert!(reached >= 3, "{reached}");
    for line in lines.iter().filter(|line| path(line).contains("race")) {
        let forwarded = line["upstream"] != Value::Null || line["upstream.name"] != Value::Null;
        eprintln!("{} {} {} {forwarded}", path(line), line["status"], detail(line));
        assert!(line["user"] == "u_1" || line["reason"] == "protocol", "{line}");
    }
    let line = lines.iter().find(|line| path(line) == "/admin/slow").unwrap();
    assert!(detail(line).contains(&slow) && line["user"] == "u_1" && line["decision"] == "allow", "{line}");
    let line = lines.iter().find(|line| path(line) == "/held").unwrap();
    assert!(detail(line).contains(&held) && line["status"] == 200 && line["decision"] == "allow", "{line}");
}

/// A stream that was never opened is no request, and a connection that ends with its error has the line of the connection.
#[test]
fn what_is_no_request_has_no_line_of_one() {
    let both = Both::start("");
    let mut stream = both.http2();
    assert!(send(
        &mut stream,
        &[itself(1), itself(3), request(5, "GET", HOST, "/after", END_STREAM)].concat()
    ));
    until(&mut stream, LONG, |frame| frame.kind == HEADERS && frame.stream == 5);
    both.octroi.access_line(|line| line["path"] == "/after");
    assert!(send(&mut stream, &frame(PING, 0, 1, &[0; 8])));
    let (came, _) = until(&mut stream, LONG, |frame| frame.kind == GOAWAY);
    assert!(came.iter().any(|frame| frame.kind == GOAWAY), "{came:?}");
    drop(stream);

    let lines = both.lines();

    assert_eq!(lines.iter().map(path).collect::<Vec<_>>(), ["/after"]);
    let line = both.octroi.access_line(|line| line["event"] == "connection");
    assert_eq!(detail(&line), "the connection was ended: PROTOCOL_ERROR");
}

/// The endings of requests over HTTP/1.1, and those that both protocols have.
#[test]
fn however_a_request_ends_it_has_one_line_with_the_id_that_the_app_was_given() {
    let both = Both::start("limits: {header_timeout: 1s}");
    let head = |method: &str, path: &str, more: &str| {
        format!("{method} {path} HTTP/1.1\r\nHost: {HOST}\r\n{more}\r\n").into_bytes()
    };
    let answered = |stream: &mut Tls| {
        let (mut got, mut byte) = (Vec::new(), [0]);
        while !got.ends_with(b"\r\n\r\n") {
            stream
                .read_exact(&mut byte)
                .unwrap_or_else(|error| panic!("{error} behind {:?}", String::from_utf8_lossy(&got)));
            got.push(byte[0]);
        }
        String::from_utf8(got).unwrap()[9..12].parse::<u16>().unwrap()
    };
    let arrived = |what: &str| {
        eventually(what, || both.upstream.peek().iter().any(|got| got.target.starts_with(what)).then_some(()))
    };
    // Path, status, and reason.
    let mut expected: Vec<(&str, u16, &str)> = Vec::new();

    // The second head that came along is malformed.
    let mut stream = both.http1();
    stream
        .write_all(
            &[head("GET", "/first?sleep=100", ""), b"GET /second HTTP/1.1\r\nHost : x\r\n\r\n".to_vec()]
                .concat(),
        )
        .unwrap();
    assert_eq!(answered(&mut stream), 200);
    let mut rest = String::new();
    stream.read_to_string(&mut rest).unwrap();
    assert!(rest.contains("HTTP/1.1 400 "), "{rest}");
    expected.extend([("/first", 200, "-"), ("/second", 400, "head_syntax")]);

    // The second one never ends.
    let mut stream = both.http1();
    stream
        .write_all(&[head("GET", "/before-late", ""), b"GET /late HTTP/1.1\r\nHos".to_vec()].concat())
        .unwrap();
    stream.read_to_string(&mut rest).unwrap();
    expected.extend([("/before-late", 200, "-"), ("/late", 408, "timeout_head")]);

    // Chunks that go wrong when the app has the head.
    let mut stream = both.http1();
    stream.write_all(&head("POST", "/chunks", "Transfer-Encoding: chunked\r\n")).unwrap();
    stream.write_all(b"3\r\nabc\r\n").unwrap();
    wait::slow_peer(SHORT);
    stream.write_all(b"oops\r\n").unwrap();
    assert_eq!(answered(&mut stream), 400);
    expected.push(("/chunks", 400, "framing_chunk"));

    // Clients that go: with an upload half sent, and while the app thinks.
    let mut stream = both.http1();
    stream.write_all(&[head("POST", "/half", "Content-Length: 10\r\n"), b"abc".to_vec()].concat()).unwrap();
    wait::slow_peer(SHORT);
    drop(stream);
    expected.push(("/half", 499, "client_closed"));
    let mut stream = both.http2();
    send(&mut stream, &request(1, "GET", HOST, "/gone?sleep=600", END_STREAM));
    arrived("/gone");
    drop(stream);
    expected.push(("/gone", 499, "client_closed"));
    let mut stream = both.http2();
    send(&mut stream, &request(1, "GET", HOST, "/cancelled?sleep=600", END_STREAM));
    arrived("/cancelled");
    send(&mut stream, &frame(RESET, 0, 1, &8_u32.to_be_bytes()));
    expected.push(("/cancelled", 499, "client_closed"));
    both.octroi.access_line(|line| line["path"] == "/cancelled");
    drop(stream);

    // A tunnel that its client leaves.
    let mut stream = both.http1();
    let upgrade = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    stream.write_all(&head("GET", "/ws", upgrade)).unwrap();
    assert_eq!(answered(&mut stream), 101);
    drop(stream);
    expected.push(("/ws", 101, "-"));

    // A body that is too large by what it announces, and one that is refused behind its head.
    let mut stream = both.http1();
    stream.write_all(&head("POST", "/large", "Content-Length: 999999999\r\n")).unwrap();
    assert_eq!(answered(&mut stream), 413);
    drop(stream);
    expected.push(("/large", 413, "body_too_large"));

    // An app that answers nothing, and one that says nonsense.
    let mut stream = both.http1();
    stream.write_all(&head("POST", "/close", "Content-Length: 0\r\n")).unwrap();
    assert_eq!(answered(&mut stream), 502);
    drop(stream);
    expected.push(("/close", 502, "upstream_closed"));

    for (path, ..) in &expected {
        both.octroi.access_line(|line| line["path"] == *path);
    }
    let lines = both.lines();
    let said = |line: &Value| {
        let reason = line["reason"].as_str().unwrap_or("-").to_owned();
        (path(line).to_owned(), u16::try_from(line["status"].as_u64().unwrap()).unwrap(), reason)
    };
    let mut said: Vec<_> = lines.iter().map(said).collect();
    let mut expected: Vec<_> = expected
        .into_iter()
        .map(|(path, status, reason)| (path.to_owned(), status, reason.to_owned()))
        .collect();
    said.sort();
    expected.sort();
    assert_eq!(said, expected);
    judge_by_id(&lines, &both.upstream);
}

/// What is still under way when the drain is over ends with the process.
#[test]
fn what_the_end_of_a_drain_cuts_has_its_line() {
    let mut both = Both::start("");
    let mut http1 = both.http1();
    http1.write_all(format!("GET /held?1 HTTP/1.1\r\nHost: {HOST}\r\n\r\n").as_bytes()).unwrap();
    let mut http2 = both.http2();
    send(&mut http2, &request(1, "GET", HOST, "/held", END_STREAM));
    let mut waits = both.http1();
    waits.write_all(format!("GET /waits?sleep=9000 HTTP/1.1\r\nHost: {HOST}\r\n\r\n").as_bytes()).unwrap();
    let mut upload = both.http1();
    upload
        .write_all(
            format!("POST /upload HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 10\r\n\r\nabc").as_bytes(),
        )
        .unwrap();
    eventually("three are at the app", || (both.upstream.peek().len() == 3).then_some(()));

    both.octroi.signal("TERM");
    both.octroi.wait();

    let lines = eventually("all have a line", || {
        let lines: Vec<_> =
            both.octroi.access_lines().into_iter().filter(|line| line["event"] == "request").collect();
        (lines.len() >= 4).then_some(lines)
    });
    assert_eq!(lines.len(), 4, "{lines:#?}");
    for line in &lines {
        let status = if path(line) == "/held" { 200 } else { 503 };
        assert_eq!((&line["status"], &line["reason"]), (&status.into(), &"draining".into()), "{line}");
    }
    judge_by_id(&lines, &both.upstream);
}

/// Whoever ends it: what was known of a request is not less for that.
#[test]
fn the_line_of_what_is_cut_off_has_the_fields_of_any_other() {
    let mut both = Both::start(
        "  globex: {hosts: [globex.test], upstream: app, routes: app}
  www: {hosts: [www.test], upstream: app, routes: app, members: [globex], mode: observe, ip_access: {deny: [127.0.0.0/8]}}",
    );
    let grant = "/login?h-Octroi-Session-Grant=user%3D%22u_1%22%2C%20tenant%3D%22globex%22%2C%20roles%3D(%22admin%22)";
    let cookie = both.octroi.curl("www.test", grant).args(&["-X", "POST"]).get().session();
    let connect = |protocol: &[u8]| {
        raw_tls(both.octroi.addr("public"), "www.test", &both.octroi.path().join("certs/ca.pem"), &[protocol])
    };
    let (mut http1, mut http2) = (connect(b"http/1.1"), connect(b"h2"));
    assert!(send(&mut http2, &preface(&[])));
    let by_http1 = |path: &str| {
        let fields = format!("User-Agent: test/1\r\nReferer: https://www.test/before\r\nCookie: {cookie}");
        format!("GET {path} HTTP/1.1\r\nHost: www.test\r\n{fields}\r\n\r\n").into_bytes()
    };
    let by_http2 = |stream: u32, path: &str| {
        let pseudo = [(":method", "GET"), (":scheme", "https"), (":authority", "www.test"), (":path", path)];
        let fields = block(
            &[&pseudo[..], &[("user-agent", "test/1"), ("referer", "https://www.test/before")]].concat(),
        );
        let cookie = [&[0x00, 6][..], b"cookie", &length(cookie.len()), cookie.as_bytes()].concat();
        frame(HEADERS, END_HEADERS | END_STREAM, stream, &[fields, cookie].concat())
    };
    http1.write_all(&by_http1("/admin/answered")).unwrap();
    assert!(send(&mut http2, &by_http2(1, "/admin/answered")));
    let told = |wanted: &str| -> Vec<Value> {
        both.octroi
            .access_lines()
            .into_iter()
            .filter(|line| line["event"] == "request" && line["path"] == wanted)
            .collect()
    };
    eventually("both were answered", || (told("/admin/answered").len() == 2).then_some(()));
    // The answer is read, so that the next request is one of its connection.
    let mut answer = [0; 4096];
    let read = http1.read(&mut answer).unwrap();
    assert!(answer[..read].starts_with(b"HTTP/1.1 200 "));
    both.upstream.take();
    http1.write_all(&by_http1("/admin/cut?sleep=9000")).unwrap();
    assert!(send(&mut http2, &by_http2(3, "/admin/cut?sleep=9000")));
    eventually("both are at the app", || (both.upstream.peek().len() == 2).then_some(()));

    both.octroi.signal("TERM");
    both.octroi.wait();

    let told = |wanted: &str| -> Vec<Value> {
        both.octroi
            .access_lines()
            .into_iter()
            .filter(|line| line["event"] == "request" && line["path"] == wanted)
            .collect()
    };
    let cut = eventually("all have a line", || Some(told("/admin/cut")).filter(|lines| lines.len() == 2));
    for whole in told("/admin/answered") {
        let cut = cut
            .iter()
            .find(|line| line["http.version"] == whole["http.version"])
            .unwrap_or_else(|| panic!("{whole} {cut:#?}"));
        assert_eq!((&cut["status"], &cut["reason"]), (&503.into(), &"draining".into()), "{cut}");
        assert_eq!(
            (&whole["member"], &whole["would"], &whole["user_agent"]),
            (&"globex".into(), &"ip_denied".into(), &"test/1".into()),
            "{whole}"
        );
        // When and where it was, how it ended, and what the app had said by then.
        let own = |name: &str| {
            [
                "time",
                "request.id",
                "path",
                "status",
                "decision",
                "reason",
                "duration_ms",
                "bytes.in",
                "bytes.out",
                "detail",
            ]
            .contains(&name)
                || name.starts_with("upstream.")
        };
        for (name, value) in whole.as_object().unwrap().iter().filter(|(name, _)| !own(name)) {
            assert_eq!(cut.get(name), Some(value), "{name}: {cut}");
        }
    }
}
