//! What becomes of connections before, or without, a request; and of requests that nobody began.

use std::{fmt::Write as _, io::Write, time::Duration};

use crate::{
    client::{Ask, Version},
    endings::masked,
    harness::{
        client::{self, exchange, raw, raw_tls},
        frames::{END_HEADERS, END_STREAM, GOAWAY, HEADERS, PING, block, frame, preface, send, until},
    },
    world::World,
};

const HOST: &str = "acme.test";

/// A request that shows that a connection was taken; its line is none of the case's.
const ASIDE: &str = "GET /public/aside HTTP/1.1\r\nHost: acme.test\r\n\r\n";

/// What happens by name, and what makes it happen; it returns what the client got. No two of one listener have the same reason: the second
/// would be counted, and written down with a sum.
type Case = (&'static str, fn(&World) -> String);

const CASES: &[Case] = &[
    ("HTTP in clear text on a TLS listener", |world| {
        plain(world, "public", "GET / HTTP/1.1\r\nHost: acme.test\r\n\r\n")
    }),
    ("bytes that are no TLS", |world| bytes(world, "public", b"\x16\x03\x01\x00\x05hello")),
    ("a client that leaves in the handshake", |world| {
        drop(raw(world.octroi.addr("public")).write_all(b"\x16\x03\x01\x00"));
        "-".to_owned()
    }),
    ("no name in the handshake", |world| handshake(world, "127.0.0.1", &[b"http/1.1"])),
    ("an unknown name in the handshake", |world| handshake(world, "nobody.test", &[b"http/1.1"])),
    ("a protocol that is not spoken", |world| handshake(world, HOST, &[b"gopher"])),
    ("a client certificate that is not accepted", |world| {
        Ask::get("asked.test", "/public/x")
            .certificate(&world.stranger)
            .begin(world, Version::Http1)
            .end()
            .told
    }),
    ("an address that the listener denies", |world| bytes(world, "denied", b"x")),
    ("a client that is banned", |world| {
        let mut open = raw(world.octroi.addr("plain"));
        assert_eq!(client::ask(&mut open, ASIDE).status, 200);
        world.octroi.ok(&["ban", "add", "127.0.0.1"]);
        // Its open connection ends with its next octet.
        assert_eq!(exchange(&mut open, ASIDE.as_bytes()), "");
        let told = bytes(world, "plain", b"x");
        world.octroi.ok(&["ban", "remove", "127.0.0.1"]);
        told
    }),
    ("more connections than a client may have", |world| {
        let mut first = raw(world.octroi.addr("one"));
        // It counts once it is taken: an answer shows that.
        assert_eq!(client::ask(&mut first, ASIDE).status, 200);
        bytes(world, "one", b"GET / HTTP/1.1\r\n\r\n")
    }),
    ("more connections than a listener may have", |world| {
        let mut first = raw(world.octroi.addr("full"));
        assert_eq!(client::ask(&mut first, ASIDE).status, 200);
        bytes(world, "full", b"GET / HTTP/1.1\r\n\r\n")
    }),
    ("no PROXY header where one is required", |world| {
        plain(world, "proxied", "GET / HTTP/1.1\r\nHost: acme.test\r\n\r\n")
    }),
    ("a PROXY header of a stranger", |world| {
        plain(world, "strange", "PROXY TCP4 203.0.113.9 192.0.2.1 1 443\r\nGET / HTTP/1.1\r\n\r\n")
    }),
    ("a request behind a PROXY header", |world| {
        plain(
            world,
            "proxied",
            "PROXY TCP4 203.0.113.9 192.0.2.1 1 443\r\nGET /public/x HTTP/1.1\r\nHost: acme.test\r\nConnection: close\r\n\r\n",
        )
    }),
    ("a request in clear text", |world| {
        plain(world, "plain", "GET /public/x HTTP/1.1\r\nHost: acme.test\r\nConnection: close\r\n\r\n")
    }),
    ("HTTP/1.0", |world| plain(world, "plain", "GET /public/x HTTP/1.0\r\nHost: acme.test\r\n\r\n")),
    ("redirected to https", |world| {
        plain(world, "http", "GET /a?b=c HTTP/1.1\r\nHost: acme.test\r\nConnection: close\r\n\r\n")
    }),
    ("not redirected to https", |world| {
        plain(
            world,
            "http",
            "POST /a HTTP/1.1\r\nHost: acme.test\r\nContent-Length: 1\r\nConnection: close\r\n\r\nx",
        )
    }),
    ("a head that is none", |world| plain(world, "plain", "GET /a b HTTP/1.1\r\nHost: acme.test\r\n\r\n")),
    ("a head with a bare line feed", |world| plain(world, "plain", "GET /a HTTP/1.1\nHost: acme.test\n\n")),
    ("a head without an end", |world| {
        plain(world, "plain", &format!("GET /a HTTP/1.1\r\nHost: acme.test\r\nX: {}", "x".repeat(9000)))
    }),
    ("two lengths", |world| {
        plain(
            world,
            "plain",
            "POST /public/x HTTP/1.1\r\nHost: acme.test\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        )
    }),
    ("chunks that are none", |world| {
        plain(
            world,
            "plain",
            "POST /public/x HTTP/1.1\r\nHost: acme.test\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        )
    }),
    ("CONNECT", |world| plain(world, "plain", "CONNECT acme.test:443 HTTP/1.1\r\nHost: acme.test\r\n\r\n")),
    ("HTTP/2: no preface", |world| http2(world, b"GET / HTTP/1.1\r\n\r\n")),
    ("HTTP/2: fields that cannot be read", |world| {
        http2(world, &[preface(&[]), frame(HEADERS, END_HEADERS | END_STREAM, 1, b"\x80")].concat())
    }),
    ("HTTP/2: a field in upper case", |world| {
        let fields =
            [(":method", "GET"), (":scheme", "https"), (":authority", HOST), (":path", "/"), ("Bad", "x")];
        http2(world, &[preface(&[]), frame(HEADERS, END_HEADERS | END_STREAM, 1, &block(&fields))].concat())
    }),
    ("HTTP/2: a field of the connection", |world| {
        let fields = [
            (":method", "GET"),
            (":scheme", "https"),
            (":authority", HOST),
            (":path", "/public/x"),
            ("connection", "close"),
        ];
        http2(world, &[preface(&[]), frame(HEADERS, END_HEADERS | END_STREAM, 1, &block(&fields))].concat())
    }),
    ("HTTP/2: an authority that is none", |world| {
        let fields =
            [(":method", "GET"), (":scheme", "https"), (":authority", "acme.test:x"), (":path", "/public/x")];
        http2(world, &[preface(&[]), frame(HEADERS, END_HEADERS | END_STREAM, 1, &block(&fields))].concat())
    }),
    ("HTTP/2: a flood", |world| {
        http2(world, &[preface(&[]), frame(PING, 0, 0, b"12345678").repeat(25)].concat())
    }),
];

/// Sends bytes in clear text and tells of the answer.
fn plain(world: &World, listener: &str, text: &str) -> String {
    bytes(world, listener, text.as_bytes())
}

fn bytes(world: &World, listener: &str, bytes: &[u8]) -> String {
    let mut stream = raw(world.octroi.addr(listener));
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let said = exchange(&mut stream, bytes);
    let status = said
        .strip_prefix("HTTP/1.1 ")
        .or(said.strip_prefix("HTTP/1.0 "))
        .and_then(|rest| rest.split([' ', '\r']).next());
    match status {
        Some(status) => {
            let answer = client::parse(&said, 0);
            let noted = ["connection", "location"]
                .iter()
                .filter_map(|name| Some(format!(" [{name}: {}]", answer.field(name)?)));
            format!("{status}{}", noted.collect::<String>())
        }
        None if said.is_empty() => "closed".to_owned(),
        None => "an alert, or other bytes".to_owned(),
    }
}

/// Begins TLS and says how it went.
fn handshake(world: &World, name: &str, alpn: &[&[u8]]) -> String {
    let mut stream =
        raw_tls(world.octroi.addr("public"), name, &world.octroi.path().join("certs/ca.pem"), alpn);
    stream.sock.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    // In TLS 1.3 a refused client certificate is told behind the handshake.
    let began = stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    match began.and_then(|()| std::io::Read::read(&mut stream, &mut [0; 1])) {
        Ok(read) => format!("{read} octets"),
        Err(error) => match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
            Some(rustls::Error::AlertReceived(alert)) => format!("{alert:?}"),
            _ => "closed".to_owned(),
        },
    }
}

/// Sends bytes over a connection that is to speak HTTP/2, and tells how it ended.
fn http2(world: &World, bytes: &[u8]) -> String {
    let mut stream =
        raw_tls(world.octroi.addr("public"), HOST, &world.octroi.path().join("certs/ca.pem"), &[b"h2"]);
    stream.sock.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    assert!(send(&mut stream, bytes));
    let is_answer = |kind: u8, id: u32| {
        kind == GOAWAY || id == 1 && [HEADERS, crate::harness::frames::RESET].contains(&kind)
    };
    let (came, ended) = until(&mut stream, Duration::from_secs(20), |came| is_answer(came.kind, came.stream));
    match came.last().filter(|came| is_answer(came.kind, came.stream)) {
        Some(came) if came.kind == GOAWAY => format!("GOAWAY {}", came.code()),
        Some(came) if came.kind == HEADERS => "an answer".to_owned(),
        Some(came) => format!("reset {}", came.code()),
        None => if ended { "closed" } else { "nothing" }.to_owned(),
    }
}

/// Makes all of it happen, one after the other, and tells what is written down.
pub fn table(world: &World) -> String {
    let mut out =
        "# Connections, and requests that nobody began: what the client gets, and the access lines.\n"
            .to_owned();
    for (name, run) in CASES {
        let before = world.lines().len();
        let told = run(world);
        writeln!(out, "\n## {name}\n(client): {told}").unwrap();
        // What made room for the case has lines of its own.
        let is_room =
            |line: &crate::json::Json| line.get("path").is_some_and(|path| path.text() == "/public/aside");
        let lines = crate::harness::eventually(name, || {
            let lines: Vec<_> =
                world.lines().split_off(before).into_iter().filter(|line| !is_room(line)).collect();
            (!lines.is_empty()).then_some(lines)
        });
        for (name, value) in lines.into_iter().flat_map(masked) {
            writeln!(out, "{name}: {value}").unwrap();
        }
    }
    out
}
