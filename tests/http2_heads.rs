//! Heads that HTTP/2 has no meaning for, or no room: each is refused alone, by us, with a reason and a line.

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
    fs,
    io::Write,
    net::{SocketAddr, TcpListener, TcpStream},
    process::{Command, Stdio},
    time::Duration,
};

use harness::{
    Octroi, Upstream, client, eventually,
    frames::{
        CONTINUATION, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, RESET, ReceivedFrame, frame, preface,
        request, send, until,
    },
    raw_tls,
};

const SECOND: Duration = Duration::from_secs(1);
const HOST: &str = "acme.test";
const PROTOCOL_ERROR: u32 = 1;
/// `:status: 200` and `:status: 400`, as the static table has them.
const OK: u8 = 0x88;
const BAD: u8 = 0x8c;

/// A field as octets.
type Field = (&'static [u8], &'static [u8]);
type Tls = rustls::StreamOwned<rustls::ClientConnection, TcpStream>;

fn config(upstream: SocketAddr, more: &str) -> String {
    format!(
        r#"
version: 1
server: {{state_dir: STATE, drain: 2s, threads: 2}}
listeners:
  - {{name: public, address: "127.0.0.1:0", tls: {{}}}}
  - {{name: plain, address: "127.0.0.1:0", plaintext: true}}
metrics: {{address: "127.0.0.1:0"}}
tls: {{certificates: [{{dev: true, dir: certs}}]}}
upstreams:
  app: {{servers: [{{address: "{upstream}"}}]}}
routes:
  app: {{unmatched: public}}
tenants:
  acme: {{hosts: [acme.test], upstream: app, routes: app}}
{more}
"#
    )
}

fn started() -> (Octroi, Upstream) {
    let upstream = Upstream::start();
    // Whatever counts, counts.
    (Octroi::start(&config(upstream.addr, "bans: {after: 1, within: 1m, for: 1h}")), upstream)
}

fn connect(octroi: &Octroi) -> Tls {
    let mut stream = raw_tls(octroi.addr("public"), HOST, &octroi.path().join("certs/ca.pem"), &[b"h2"]);
    assert!(send(&mut stream, &preface(&[])));
    stream.sock.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    stream
}

/// The lines of requests: the harness's own calls have lines too.
fn lines_of(octroi: &Octroi) -> Vec<serde_json::Value> {
    octroi.access_lines().into_iter().filter(|line| line["event"] == "request").collect()
}

/// A block of fields without compression, as octets.
fn block(fields: &[(&[u8], &[u8])]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        for text in [name, value] {
            assert!(text.len() < 127);
            block.push(u8::try_from(text.len()).unwrap());
            block.extend_from_slice(text);
        }
    }
    block
}

/// The same of fields that may be large.
fn large_block(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        octroi::wire::http2::literal(&mut block, name.as_bytes());
        octroi::wire::http2::literal(&mut block, value.as_bytes());
    }
    block
}

/// `"cookies"` in Huffman code.
const COOKIES: &[u8] = b"\xfe\x48\x73\xf5\x31\x51\xfc\xff";

/// Whether a head has `"cookies"`, quotes included, in Huffman code or without.
fn clears_cookies(head: &[u8]) -> bool {
    let said = |text: &[u8]| head.windows(text.len()).any(|window| window == text);
    said(b"\"cookies\"") || said(COOKIES)
}

const GET: [Field; 4] =
    [(b":method", b"GET"), (b":scheme", b"https"), (b":authority", b"acme.test"), (b":path", b"/x")];

/// A request with these fields behind those that each has.
fn with(stream: u32, fields: &[(&[u8], &[u8])]) -> Vec<u8> {
    frame(HEADERS, END_HEADERS | END_STREAM, stream, &block(&[&GET, fields].concat()))
}

/// What came on a stream, and the first octet of its answer's head.
fn on(came: &[ReceivedFrame], stream: u32) -> (Vec<u8>, Option<u8>) {
    let frames: Vec<&ReceivedFrame> = came.iter().filter(|frame| frame.stream == stream).collect();
    let head =
        frames.iter().find(|frame| frame.kind == HEADERS).and_then(|frame| frame.payload.first().copied());
    (frames.iter().map(|frame| frame.kind).collect(), head)
}

/// Reads until this stream has its whole answer.
fn answered(tls: &mut Tls, stream: u32) -> Vec<ReceivedFrame> {
    let (came, ended) = until(tls, 5 * SECOND, |frame| {
        frame.stream == stream && frame.flags & END_STREAM != 0 && frame.kind != RESET
    });
    assert!(!ended && came.iter().all(|frame| frame.kind != GOAWAY), "{came:?}");
    came
}

#[test]
fn a_malformed_head_is_refused_alone_and_its_connection_lives_on() {
    let (octroi, upstream) = started();
    let mut tls = connect(&octroi);
    let cases: [(Vec<Field>, &str); 22] = [
        (vec![(b"x-a", b"a\x01b")], "head_octet"),
        (vec![(b"x-a", b"a\x7f")], "head_octet"),
        (vec![(b"X-A", b"a")], "head_syntax"),
        (vec![(b"x a", b"a")], "head_syntax"),
        (vec![(b"", b"a")], "head_syntax"),
        (vec![(b"x-a", b" a")], "head_syntax"),
        (vec![(b"x-a", b"a\t")], "head_syntax"),
        (vec![(b"connection", b"close")], "connection_field"),
        (vec![(b"keep-alive", b"1")], "connection_field"),
        (vec![(b"proxy-connection", b"close")], "connection_field"),
        (vec![(b"upgrade", b"h2c")], "connection_field"),
        (vec![(b"te", b"gzip")], "connection_field"),
        (vec![(b"transfer-encoding", b"chunked")], "framing_te"),
        (vec![(b"content-length", b"+5")], "framing_cl"),
        (vec![(b"content-length", b"5")], "framing_cl"),
        (vec![(b":path", b"/y")], "head_syntax"),
        (vec![(b"x-a", b"a"), (b":path", b"/y")], "head_syntax"),
        (vec![(b":status", b"200")], "head_syntax"),
        (vec![(b":made-up", b"a")], "head_syntax"),
        (vec![(b":protocol", b"websocket")], "head_syntax"),
        (vec![(b"host", b"other.test")], "authority_conflict"),
        (vec![(b"host", b"acme.test"), (b"host", b"acme.test")], "head_duplicate"),
    ];

    // One that takes its time, and the others beside it.
    send(&mut tls, &request(1, "GET", HOST, "/?sleep=3000", END_STREAM));
    let mut slow = Vec::new();
    for (number, (fields, reason)) in (1_u32..).zip(&cases) {
        let stream = 2 * number + 1;
        send(&mut tls, &with(stream, fields));
        let (came, ended) =
            until(&mut tls, 5 * SECOND, |frame| frame.stream == stream && frame.kind == RESET);
        assert!(!ended && came.iter().all(|frame| frame.kind != GOAWAY), "{fields:?} {came:?}");
        // Its answer, and behind that the reset that the standard has for it (RFC 9113, section 8.1.1).
        assert_eq!(on(&came, stream), (vec![HEADERS, DATA, RESET], Some(BAD)), "{fields:?} {came:?}");
        assert_eq!(
            came.iter().find(|frame| frame.stream == stream && frame.kind == RESET).map(ReceivedFrame::code),
            Some(PROTOCOL_ERROR)
        );
        slow.extend(came);
        let seen = octroi.access_line(|line| {
            line["reason"] == *reason && line["status"] == 400 && line["event"] == "request"
        });
        assert_eq!(
            (&seen["host"], &seen["tenant"], &seen["path"]),
            (&HOST.into(), &"acme".into(), &"/x".into()),
            "{seen}"
        );
    }
    if on(&slow, 1).1.is_none() {
        slow.extend(answered(&mut tls, 1));
    }
    assert_eq!(on(&slow, 1).1, Some(OK));

    // One line for each, and nothing of them went on.
    send(&mut tls, &request(101, "GET", HOST, "/last", END_STREAM));
    assert_eq!(on(&answered(&mut tls, 101), 101).1, Some(OK));
    let lines = eventually("the last line", || {
        Some(lines_of(&octroi)).filter(|lines| lines.iter().any(|line| line["path"] == "/last"))
    });
    assert_eq!(lines.iter().filter(|line| line["status"] == 400).count(), cases.len(), "{lines:#?}");
    assert_eq!(upstream.take().len(), 2);
    assert_eq!(octroi.ok(&["ban", "list"]), "nobody is banned\n");
}

#[test]
fn what_ends_a_line_is_held_against_its_sender() {
    let (octroi, upstream) = started();
    let mut tls = connect(&octroi);

    send(&mut tls, &with(1, &[(b"x-a", b"a\r\nx-b: c")]));

    let (came, _) = until(&mut tls, 5 * SECOND, |frame| frame.kind == RESET);
    assert_eq!(on(&came, 1).1, Some(BAD), "{came:?}");
    let banned = eventually("a ban", || {
        Some(octroi.ok(&["ban", "list"])).filter(|list| list.starts_with("127.0.0.1 "))
    });
    assert!(banned.ends_with("protocol: head_octet\n"), "{banned}");
    assert!(upstream.take().is_empty());
}

#[test]
fn pseudo_fields_that_are_missing_or_no_such_thing_are_named() {
    let (octroi, upstream) = started();
    let mut tls = connect(&octroi);
    let without = |missing: usize| {
        GET.iter().enumerate().filter(|(at, _)| *at != missing).map(|(_, field)| *field).collect::<Vec<_>>()
    };
    let other = |at: usize, value: &'static [u8]| {
        let mut fields = GET.to_vec();
        fields[at].1 = value;
        fields
    };
    let cases = [
        (without(0), "head_syntax", Some(HOST)),
        (without(1), "head_syntax", Some(HOST)),
        (without(2), "host_missing", None),
        (without(3), "head_syntax", Some(HOST)),
        (other(0, b"G T"), "head_syntax", Some(HOST)),
        (other(1, b"1"), "head_syntax", Some(HOST)),
        (other(2, b"user@acme.test"), "host_syntax", None),
        (other(2, b""), "host_missing", None),
        (other(3, b""), "target_form", Some(HOST)),
        (other(3, b"x"), "target_form", Some(HOST)),
        (other(3, b"https://acme.test/x"), "target_form", Some(HOST)),
    ];

    for (number, (fields, reason, host)) in (0_u32..).zip(&cases) {
        let (stream, before) = (2 * number + 1, lines_of(&octroi).len());
        send(&mut tls, &frame(HEADERS, END_HEADERS | END_STREAM, stream, &block(fields)));
        let (came, _) = until(&mut tls, 5 * SECOND, |frame| frame.stream == stream && frame.kind == RESET);
        assert_eq!(on(&came, stream), (vec![HEADERS, DATA, RESET], Some(BAD)), "{fields:?} {came:?}");
        let line = eventually("its line", || lines_of(&octroi).get(before).cloned());
        assert_eq!(
            (line["reason"].as_str(), line["host"].as_str()),
            (Some(*reason), *host),
            "{fields:?} {line}"
        );
        assert_eq!(line["tenant"].as_str(), host.map(|_| "acme"), "{line}");
    }
    assert!(upstream.take().is_empty());
}

#[test]
fn what_a_url_does_not_have_is_refused_with_its_reason_in_both_versions() {
    let (octroi, upstream) = started();
    let mut tls = connect(&octroi);
    let cases = [
        ("/a?b=\"c\"", 400),
        ("/a?b=<c>", 400),
        ("/a\"b", 400),
        ("/a`b", 400),
        ("/a?b=`c`|{d}^[e]", 200),
        ("/a?b=%22c%22", 200),
    ];

    for (number, (path, status)) in (0_u32..).zip(cases) {
        let (stream, before) = (2 * number + 1, lines_of(&octroi).len());
        send(&mut tls, &request(stream, "GET", HOST, path, END_STREAM));
        let came = answered(&mut tls, stream);
        assert_eq!(on(&came, stream).1, Some(if status == 200 { OK } else { BAD }), "{path}");
        // Go's client tries a stream that was reset so on a new connection, again and again.
        assert!(came.iter().all(|frame| frame.kind != RESET), "{path} {came:?}");
        let line = eventually("its line", || lines_of(&octroi).get(before).cloned());
        assert_eq!(
            (&line["host"], &line["tenant"], &line["status"]),
            (&HOST.into(), &"acme".into(), &status.into()),
            "{path} {line}"
        );

        let head = format!("GET {path} HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n\r\n");
        let answer =
            client::parse(&client::exchange(&mut client::raw(octroi.addr("plain")), head.as_bytes()), 0);
        assert_eq!(answer.status, status, "{path}");
        let line = eventually("its line", || lines_of(&octroi).get(before + 1).cloned());
        assert_eq!(
            (&line["host"], &line["tenant"], &line["status"]),
            (&HOST.into(), &"acme".into(), &status.into()),
            "{path} {line}"
        );
        for line in &lines_of(&octroi)[before..] {
            assert_eq!(line["reason"].as_str(), (status == 400).then_some("path_encoding"), "{path} {line}");
        }
        assert_eq!(upstream.take().len(), if status == 200 { 2 } else { 0 }, "{path}");
    }
    assert_eq!(octroi.ok(&["ban", "list"]), "nobody is banned\n");
}

#[test]
fn a_head_that_http_1_refuses_names_host_and_tenant_where_they_can_be_read() {
    let upstream = Upstream::start();
    let octroi = Octroi::start(&config(upstream.addr, ""));
    for (head, reason, host) in [
        ("GET /x HTTP/1.1\r\nHost: acme.test\r\nno colon\r\n\r\n", "head_syntax", Some(HOST)),
        ("GET /x HTTP/1.1\r\nHost: acme.test\r\nX-A: a\x01b\r\n\r\n", "head_octet", Some(HOST)),
        ("GET /x HTTP/1.1\r\nHost: acme.test:1\r\nContent-Length: +5\r\n\r\n", "framing_cl", Some(HOST)),
        ("GET /x HTTP/1.1\r\nHost: acme.test\r\nHost: acme.test\r\n\r\n", "head_duplicate", None),
    ] {
        let before = lines_of(&octroi).len();
        client::exchange(&mut client::raw(octroi.addr("plain")), head.as_bytes());
        let line = eventually("its line", || lines_of(&octroi).get(before).cloned());
        assert_eq!(
            (line["reason"].as_str(), line["tenant"].as_str()),
            (Some(reason), host.map(|_| "acme")),
            "{head:?} {line}"
        );
    }
    assert!(upstream.take().is_empty());
}

#[test]
fn values_that_the_standard_has_pass_as_they_are() {
    let (octroi, upstream) = started();
    let mut tls = connect(&octroi);
    let cases: [(&[u8], &[u8], &str); 6] = [
        (b"x-a", b"", ""),
        (b"x-a", b"a\tb", "a\tb"),
        (b"x-a", b"a  b", "a  b"),
        (b"x-a", "\u{e9}".as_bytes(), "\u{e9}"),
        (b"te", b"Trailers", "trailers"),
        // The same host, written otherwise.
        (b"host", b"ACME.test", "acme.test"),
    ];
    for (number, (name, value, seen)) in (0_u32..).zip(cases) {
        let stream = 2 * number + 1;
        send(&mut tls, &with(stream, &[(name, value)]));
        assert_eq!(on(&answered(&mut tls, stream), stream).1, Some(OK), "{name:?} {value:?}");
        let got = upstream.only();
        let name = std::str::from_utf8(name).unwrap();
        assert!(name == "te" || got.field(name) == Some(seen), "{name} {got:?}");
    }
    // A name of ours does not, and is no fault.
    send(&mut tls, &with(101, &[(b"octroi-stream", b"0000000000000000-1")]));
    assert_eq!(on(&answered(&mut tls, 101), 101).1, Some(OK));
    assert!(!upstream.only().has("octroi-stream"));
    // Octets that are no UTF-8 are the app's to read. This one does not.
    send(&mut tls, &with(103, &[(b"x-a", b"\x80\xff")]));
    assert_ne!(on(&answered(&mut tls, 103), 103).1, Some(BAD));
    octroi.access_line(|line| line["upstream.name"] == "app" && line["status"] == 502);
}

#[test]
fn no_head_gets_past_the_one_who_reads_them() {
    let upstream = Upstream::start();
    let octroi = Octroi::start(&config(upstream.addr, ""));
    let get = block(&GET);
    let fine = || with(3, &[]);
    // A block that begins on no stream, or on another one, or is interrupted: RFC 9113, sections 6.2 and 6.10.
    let tricks = [
        [
            frame(HEADERS, 0, 0, b""),
            frame(CONTINUATION, END_HEADERS, 1, &get),
            frame(DATA, END_STREAM, 1, b""),
        ]
        .concat(),
        [frame(HEADERS, END_STREAM, 0, b""), frame(CONTINUATION, END_HEADERS, 1, &get)].concat(),
        [frame(HEADERS, END_STREAM, 1, b""), frame(CONTINUATION, END_HEADERS, 0, &get)].concat(),
        [frame(HEADERS, END_STREAM, 1, b""), frame(CONTINUATION, END_HEADERS, 3, &get)].concat(),
        [
            frame(HEADERS, END_STREAM, 1, b""),
            frame(DATA, 0, 1, b""),
            frame(CONTINUATION, END_HEADERS, 1, &get),
        ]
        .concat(),
        [frame(HEADERS, END_STREAM, 1, b""), frame(99, 0, 1, b""), frame(CONTINUATION, END_HEADERS, 1, &get)]
            .concat(),
        [
            frame(HEADERS, END_STREAM, 1, b""),
            frame(HEADERS, END_STREAM, 1, b""),
            frame(CONTINUATION, END_HEADERS, 1, &get),
        ]
        .concat(),
        frame(CONTINUATION, END_HEADERS, 1, &get),
        frame(HEADERS, END_HEADERS | END_STREAM, 0, &get),
        frame(HEADERS, END_HEADERS | END_STREAM, 2, &get),
        [frame(5, 0, 1, b"\0\0\0\x02"), frame(CONTINUATION, END_HEADERS, 1, &get)].concat(),
        frame(5, END_HEADERS, 1, &[b"\0\0\0\x02", &get[..]].concat()),
    ];
    for trick in tricks {
        let mut tls = connect(&octroi);
        send(&mut tls, &[&trick[..], &fine()].concat());
        let (came, ended) = until(&mut tls, 5 * SECOND, |frame| frame.kind == GOAWAY);
        assert_eq!(
            came.last().map(|frame| (frame.kind, frame.code())),
            Some((GOAWAY, PROTOCOL_ERROR)),
            "{trick:x?} {came:?} {ended}"
        );
        assert!(
            !came.iter().any(|frame| frame.kind == HEADERS && frame.payload.first() == Some(&OK)),
            "{trick:x?} {came:?}"
        );
    }
    assert!(upstream.peek().is_empty());
}

#[test]
fn trailers_behind_our_reset_of_their_stream_end_no_other_one() {
    let upstream = Upstream::start();
    let octroi = Octroi::start(&config(upstream.addr, ""));
    let mut tls = connect(&octroi);
    let post: [Field; 5] = [
        (b":method", b"POST"),
        (b":scheme", b"https"),
        (b":authority", b"acme.test"),
        (b":path", b"/x"),
        (b"X", b"a"),
    ];
    send(&mut tls, &frame(HEADERS, END_HEADERS, 1, &block(&post)));
    let (came, _) = until(&mut tls, 5 * SECOND, |frame| frame.kind == RESET);
    assert_eq!(on(&came, 1).1, Some(BAD), "{came:?}");
    // They were under way (RFC 9113, section 5.1), and what they put into the table counts.
    send(&mut tls, &frame(HEADERS, END_HEADERS | END_STREAM, 1, b"\x40\x03x-b\x01b"));
    send(&mut tls, &frame(HEADERS, END_HEADERS | END_STREAM, 3, &[&block(&GET)[..], b"\xbe"].concat()));
    assert_eq!(on(&answered(&mut tls, 3), 3).1, Some(OK));
    assert_eq!(upstream.only().field("x-b"), Some("b"));
}

#[test]
fn a_bad_field_that_the_client_indexed_is_bad_each_time_and_the_others_stay() {
    let (octroi, upstream) = started();
    let mut tls = connect(&octroi);
    // `X-A: a` in Huffman code, and `x-b: b`, both put into the table; the newest has index 62.
    let first = [&block(&GET)[..], b"\x40\x83\xfc\x5a\x1f\x01a\x40\x03x-b\x01b"].concat();

    send(&mut tls, &frame(HEADERS, END_HEADERS | END_STREAM, 1, &first));
    assert_eq!(on(&answered(&mut tls, 1), 1).1, Some(BAD));
    send(&mut tls, &frame(HEADERS, END_HEADERS | END_STREAM, 3, &[&block(&GET)[..], b"\xbf"].concat()));
    assert_eq!(on(&answered(&mut tls, 3), 3).1, Some(BAD));
    // In two frames.
    send(&mut tls, &frame(HEADERS, END_STREAM, 5, &block(&GET)));
    send(&mut tls, &frame(CONTINUATION, END_HEADERS, 5, b"\xbe"));
    assert_eq!(on(&answered(&mut tls, 5), 5).1, Some(OK));

    assert_eq!(upstream.only().field("x-b"), Some("b"));
}

#[test]
fn a_head_of_any_size_is_refused_by_us_and_a_cookie_bomb_is_taken_away() {
    let (octroi, upstream) = started();
    let name = |number: usize| format!("Cookie: c{number}={}", "v".repeat(3000));
    // A page that a browser opens; some send other fields behind their cookies.
    let ask = |number: usize| {
        let crumbs: Vec<String> = (0..number).map(name).collect();
        let curl =
            crumbs.iter().fold(octroi.curl(HOST, "/x").args(&["--http2"]), |curl, crumb| curl.header(crumb));
        curl.header("Sec-Fetch-Mode: navigate").get()
    };
    // Over `header_bytes`, and over what the library reads.
    for number in [12, 20] {
        let answer = ask(number);
        assert_eq!((answer.status, answer.version.as_str()), (431, "HTTP/2"), "{answer:?}");
        assert_eq!(answer.field("clear-site-data"), Some("\"cookies\""), "{answer:?}");
        assert!(answer.field("octroi-request-id").is_some_and(|id| answer.body.contains(id)), "{answer:?}");
    }

    // Larger than curl says them, and one value that is longer than any head.
    let large = "v".repeat(90_000);
    let long = format!("/{large}");
    let crumb = "v".repeat(4000);
    let many = vec![("cookie", &*crumb); 100];
    let asked = |path: &str, more: &[(&str, &str)]| {
        let all = [
            &[(":method", "GET"), (":scheme", "https"), (":authority", HOST), (":path", path)],
            more,
            &[("sec-fetch-mode", "navigate")],
        ]
        .concat();
        large_block(&all)
    };
    for (number, (block, reason, clears)) in (0_u32..).zip([
        (asked("/x", &many), "head_too_large", true),
        (asked("/x", &[("cookie", &large)]), "cookie_too_large", true),
        // A long link signs nobody out, and so does nothing else.
        (asked(&long, &[("cookie", "a=b")]), "uri_too_long", false),
        (asked("/x", &[("x-a", &large), ("cookie", "a=b")]), "head_too_large", false),
    ]) {
        // The library's own table begins anew.
        let mut tls = connect(&octroi);
        let (stream, before) = (2 * number + 1, lines_of(&octroi).len());
        let pieces: Vec<&[u8]> = block.chunks(16_000).collect();
        let frames = pieces.iter().enumerate().flat_map(|(at, piece)| {
            let end = if at + 1 == pieces.len() { END_HEADERS } else { 0 };
            if at == 0 {
                frame(HEADERS, end | END_STREAM, stream, piece)
            } else {
                frame(CONTINUATION, end, stream, piece)
            }
        });
        send(&mut tls, &frames.collect::<Vec<u8>>());
        let came = answered(&mut tls, stream);
        // That of the fine one before it may come late.
        let line = eventually("its line", || {
            lines_of(&octroi)[before..].iter().find(|line| line["status"] != 200).cloned()
        });
        assert_eq!(
            (&line["reason"], &line["tenant"], &line["host"]),
            (&reason.into(), &"acme".into(), &HOST.into()),
            "{line}"
        );
        let said = |kind: u8| {
            came.iter()
                .filter(|frame| frame.stream == stream && frame.kind == kind)
                .flat_map(|frame| frame.payload.clone())
                .collect::<Vec<u8>>()
        };
        let id = line["request.id"].as_str().unwrap();
        assert!(String::from_utf8(said(DATA)).unwrap().contains(id), "{came:?}");
        assert_eq!(clears_cookies(&said(HEADERS)), clears, "{reason} {came:?}");
        assert!(came.iter().all(|frame| frame.kind != RESET), "{came:?}");
        assert!(upstream.take().is_empty());
        send(&mut tls, &request(101, "GET", HOST, "/x", END_STREAM));
        assert_eq!(on(&answered(&mut tls, 101), 101).1, Some(OK));
        assert_eq!(upstream.take().len(), 1);
    }
    assert_eq!(octroi.ok(&["ban", "list"]), "nobody is banned\n");
}

#[test]
fn malformed_trailers_end_their_stream_and_are_no_end_of_the_request() {
    let (octroi, upstream) = started();
    let mut tls = connect(&octroi);
    let post =
        |stream: u32| [request(stream, "POST", HOST, "/x", 0), frame(DATA, 0, stream, b"abc")].concat();
    let trailers: [&[Field]; 5] = [
        &[(b":path", b"/y")],
        &[(b"X-A", b"a")],
        &[(b"x-a", b"a\x01")],
        &[(b"connection", b"close")],
        &[(b"x-a", b"a"), (b":status", b"200")],
    ];

    for (number, fields) in (0_u32..).zip(trailers) {
        let stream = 2 * number + 1;
        send(
            &mut tls,
            &[post(stream), frame(HEADERS, END_HEADERS | END_STREAM, stream, &block(fields))].concat(),
        );
        let (came, ended) = until(&mut tls, 5 * SECOND, |frame| frame.kind == RESET);
        assert!(!ended && came.iter().all(|frame| frame.kind != GOAWAY), "{fields:?} {came:?}");
        assert_eq!(on(&came, stream), (vec![RESET], None), "{fields:?} {came:?}");
        assert_eq!(
            came.iter().find(|frame| frame.kind == RESET).map(ReceivedFrame::code),
            Some(PROTOCOL_ERROR)
        );
    }
    // While it is with the app.
    for (number, fields) in (0_u32..).zip(trailers) {
        let stream = 2 * number + 51;
        send(&mut tls, &post(stream));
        until(&mut tls, Duration::from_millis(200), |_| false);
        send(&mut tls, &frame(HEADERS, END_HEADERS | END_STREAM, stream, &block(fields)));
        let (came, ended) = until(&mut tls, 5 * SECOND, |frame| frame.kind == RESET);
        assert!(!ended && came.iter().all(|frame| frame.kind != GOAWAY), "{fields:?} {came:?}");
        assert_eq!(on(&came, stream), (vec![RESET], None), "{fields:?} {came:?}");
    }
    send(
        &mut tls,
        &[post(101), frame(HEADERS, END_HEADERS | END_STREAM, 101, &block(&[(b"x-a", b"a")]))].concat(),
    );
    assert_eq!(on(&answered(&mut tls, 101), 101).1, Some(OK));

    // No app has had one of the others whole.
    assert_eq!(upstream.take().iter().filter(|got| got.body == b"abc").count(), 1);
    let lines = eventually("each has its line", || {
        let lines = lines_of(&octroi);
        (lines.len() > 2 * trailers.len()).then_some(lines)
    });
    assert_eq!(lines.len(), 2 * trailers.len() + 1, "{lines:#?}");
    assert_eq!(
        lines.iter().filter(|line| line["reason"] == "protocol").count(),
        2 * trailers.len(),
        "{lines:#?}"
    );
    let with_tenant = lines.iter().filter(|line| line["tenant"] == "acme" && line["status"] == 400).count();
    assert_eq!(with_tenant, 2 * trailers.len(), "{lines:#?}");
    assert_eq!(octroi.ok(&["ban", "list"]), "nobody is banned\n");
}

/// A running HAProxy; ended by its process id.
struct Haproxy {
    child: std::process::Child,
    _dir: tempfile::TempDir,
    addr: SocketAddr,
}

impl Haproxy {
    /// Has many users share one HTTP/2 connection to octroi.
    fn start(octroi: &Octroi) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let held = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = held.local_addr().unwrap();
        let to = octroi.addr("public");
        let text = format!(
            "global\n  nbthread 1\ndefaults\n  mode http\n  timeout connect 5s\n  timeout client 20s\n  timeout server 20s\n  option accept-invalid-http-request\n  http-reuse always\n\
             listen users\n  bind {addr}\n  server octroi {to} ssl verify none sni str({HOST}) alpn h2\n"
        );
        let config = dir.path().join("haproxy.cfg");
        fs::write(&config, text).unwrap();
        drop(held);
        let child = Command::new("haproxy")
            .args(["-q", "-db", "-f"])
            .arg(&config)
            .stdin(Stdio::null())
            .spawn()
            .expect("haproxy runs");
        eventually("HAProxy listens", || TcpStream::connect(addr).ok());
        Self { child, _dir: dir, addr }
    }
}

impl Drop for Haproxy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn behind_a_proxy_that_shares_a_connection_one_user_ends_no_other_s_request() {
    let upstream = Upstream::start();
    let octroi = Octroi::start(&config(upstream.addr, ""));
    let haproxy = Haproxy::start(&octroi);
    let ask = |path: &str, more: &str| {
        let mut stream = client::raw(haproxy.addr);
        stream.set_read_timeout(Some(10 * SECOND)).unwrap();
        stream
            .write_all(
                format!("GET {path} HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n{more}\r\n").as_bytes(),
            )
            .unwrap();
        stream
    };
    let status = |mut stream: TcpStream| client::parse(&client::exchange(&mut stream, b""), 0).status;
    assert_eq!(status(ask("/first", "")), 200);

    let long = ask("/long?sleep=1500", "");
    eventually("the long one is with the app", || {
        upstream.take().iter().any(|got| got.target.starts_with("/long")).then_some(())
    });
    let bad = [ask("/x", "X-A: a\u{1}b\r\n"), ask("/x?a=\"b\"", "")];

    for stream in bad {
        assert_eq!(status(stream), 400);
    }
    assert_eq!(status(long), 200);
    // A line is written behind the end of its answer.
    let of = |path: &str| {
        let is_of =
            |line: &serde_json::Value| line["path"].as_str().is_some_and(|seen| seen.starts_with(path));
        eventually("it has its line", || {
            lines_of(&octroi).into_iter().find(is_of).map(|line| line["connection"].clone())
        })
    };
    assert_eq!(of("/x"), of("/long"));
}

/// HAProxy cannot pass a WebSocket on over HTTP/2 without extended CONNECT, and resets a stream that it never opened.
#[test]
fn a_websocket_that_haproxy_cannot_pass_on_ends_no_other_s_request() {
    let upstream = Upstream::start();
    let trusting = config(upstream.addr, "").replace("tls: {}}", "tls: {}, trusted_proxies: [127.0.0.1/32]}");
    let octroi = Octroi::start(&trusting);
    let haproxy = Haproxy::start(&octroi);
    let ask = |path: &str, more: &str| {
        let mut stream = client::raw(haproxy.addr);
        stream.set_read_timeout(Some(10 * SECOND)).unwrap();
        stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: {HOST}\r\n{more}\r\n").as_bytes()).unwrap();
        stream
    };
    let close = "Connection: close\r\n";
    let status = |mut stream: TcpStream| client::parse(&client::exchange(&mut stream, b""), 0).status;
    assert_eq!(status(ask("/first", close)), 200);
    let long = ask("/long?sleep=1500", close);
    eventually("the long one is with the app", || {
        upstream.take().iter().any(|got| got.target.starts_with("/long")).then_some(())
    });
    let ws = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n";
    assert!(status(ask("/ws", ws)) >= 400);
    assert_eq!(status(long), 200);
    assert_eq!(status(ask("/last", close)), 200);
}
