//! Interim answers: 100, 103 and whatever else comes before the answer, to clients of HTTP/1 and of HTTP/2.

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
    time::{Duration, Instant},
};

use harness::wait;
use harness::{
    Octroi,
    client::{self, raw},
    eventually,
    frames::{
        self, CONTINUATION, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, RESET, ReceivedFrame, SETTINGS,
        block, frame, preface, request, send, until,
    },
    raw_tls,
};

const HOST: &str = "acme.test";
const SECOND: Duration = Duration::from_secs(1);

/// Says what its path asks for before it answers.
fn upstream() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || serve(stream));
        }
    });
    addr
}

fn serve(mut stream: TcpStream) {
    stream.set_nodelay(true).unwrap();
    let mut bytes = Vec::new();
    loop {
        let end = loop {
            if let Some(end) = bytes.windows(4).position(|end| end == b"\r\n\r\n") {
                break end + 4;
            }
            let mut space = [0; 4096];
            match stream.read(&mut space) {
                Ok(read @ 1..) => bytes.extend_from_slice(&space[..read]),
                _ => return,
            }
        };
        let head = String::from_utf8_lossy(&bytes[..end]).to_ascii_lowercase();
        bytes.drain(..end);
        let path = head.split(' ').nth(1).unwrap().to_owned();
        let length: usize = head
            .lines()
            .find_map(|line| line.strip_prefix("content-length: "))
            .map_or(0, |length| length.parse().unwrap());
        let mut say = |text: &str| stream.write_all(text.as_bytes()).is_ok();
        match path.split_once('/').unwrap().1.split_once('/').unwrap_or((&path[1..], "")) {
            ("hints", _) => {
                say(
                    "HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\nServer: secret\r\nConnection: keep-alive, x-hop\r\nX-Hop: 1\r\nKeep-Alive: timeout=5\r\nUpgrade: h2c\r\nTE: x\r\nTrailer: x\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\nProxy-Authenticate: x\r\nProxy-Connection: x\r\nSet-Cookie: a=b\r\nOctroi-Session-Grant: user=\"u\"\r\n\r\n",
                );
                say("HTTP/1.1 104 Upload Resumption Supported\r\nUpload-Offset: 7\r\n\r\n");
                wait::slow_peer(Duration::from_millis(50));
            }
            ("many", bytes) => {
                // Each counts its fields and 28 octets.
                let mut left: usize = bytes.parse().unwrap();
                while left > 0 {
                    let one = left.min(1000);
                    left -= one;
                    say(&format!("HTTP/1.1 103 Early Hints\r\nX: {}\r\n\r\n", "a".repeat(one - 28 - 5)));
                }
            }
            ("expect", _) if head.contains("\r\nexpect: 100-continue\r\n") => {
                wait::slow_peer(Duration::from_millis(100));
                say("HTTP/1.1 100 Continue\r\n\r\n");
            }
            _ => {}
        }
        while bytes.len() < length {
            let mut space = [0; 4096];
            match stream.read(&mut space) {
                Ok(read @ 1..) => bytes.extend_from_slice(&space[..read]),
                _ => return,
            }
        }
        bytes.drain(..length);
        let body = format!("{length} bytes");
        if stream
            .write_all(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()).as_bytes())
            .is_err()
        {
            return;
        }
    }
}

fn started() -> Octroi {
    Octroi::start(&format!(
        r#"
version: 1
server: {{state_dir: STATE, drain: 2s, threads: 2}}
listeners:
  - {{name: public, address: "127.0.0.1:0", tls: {{}}}}
  - {{name: plain, address: "127.0.0.1:0", plaintext: true}}
metrics: {{address: "127.0.0.1:0"}}
tls: {{certificates: [{{dev: true, dir: certs}}]}}
upstreams:
  app: {{servers: [{{address: "{}"}}]}}
routes:
  app: {{unmatched: public}}
tenants:
  acme: {{hosts: [acme.test], upstream: app, routes: app}}
"#,
        upstream()
    ))
}

type Tls = rustls::StreamOwned<rustls::ClientConnection, TcpStream>;

fn connect(octroi: &Octroi, settings: &[(u16, u32)]) -> Tls {
    let mut stream = raw_tls(octroi.addr("public"), HOST, &octroi.path().join("certs/ca.pem"), &[b"h2"]);
    assert!(send(&mut stream, &preface(settings)));
    stream.sock.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    stream
}

fn get(stream: u32, path: &str) -> Vec<u8> {
    request(stream, "GET", HOST, path, END_STREAM)
}

/// An interim answer: its stream, its status, its fields.
type Interim = (u32, u16, Vec<(String, String)>);

/// Reads a head that is an interim one: those are ours, and none of it is compressed.
fn interim(came: &ReceivedFrame) -> Option<Interim> {
    let rest = came.payload.strip_prefix(b"\x08\x03").filter(|_| came.kind == HEADERS)?;
    let status: u16 = std::str::from_utf8(&rest[..3]).unwrap().parse().unwrap();
    let (mut rest, mut fields) = (&rest[3..], Vec::new());
    while let [0, after @ ..] = rest {
        let (name, after) = after[1..].split_at(after[0].into());
        let (value, after) = after[1..].split_at(after[0].into());
        fields.push((String::from_utf8(name.to_vec()).unwrap(), String::from_utf8(value.to_vec()).unwrap()));
        rest = after;
    }
    assert_eq!((rest.len(), came.flags), (0, END_HEADERS));
    Some((came.stream, status, fields))
}

fn hints(came: &[ReceivedFrame]) -> Vec<(u32, u16)> {
    came.iter().filter_map(interim).map(|(stream, status, _)| (stream, status)).collect()
}

#[test]
fn hints_reach_http_1_and_http_2_without_what_is_of_a_connection() {
    let octroi = started();
    let link = ("link".to_owned(), "</a.css>; rel=preload".to_owned());

    let mut stream = raw(octroi.addr("plain"));
    let got =
        client::exchange(&mut stream, b"GET /hints HTTP/1.1\r\nHost: acme.test\r\nConnection: close\r\n\r\n");
    let first = got.split_once("\r\n\r\n").unwrap().0.to_ascii_lowercase();
    assert_eq!(first, "http/1.1 103 early hints\r\nlink: </a.css>; rel=preload");
    assert!(got.contains("HTTP/1.1 104 ") && got.ends_with("0 bytes"), "{got}");

    let mut stream = connect(&octroi, &[]);
    send(&mut stream, &get(1, "/hints"));
    let (came, _) = until(&mut stream, 2 * SECOND, |frame| frame.kind == DATA);
    let all: Vec<_> = came.iter().filter_map(interim).collect();
    let offset = ("upload-offset".to_owned(), "7".to_owned());
    assert_eq!(all, [(1, 103, vec![link]), (1, 104, vec![offset])]);
    let answer = came
        .iter()
        .position(|frame| frame.kind == HEADERS && frame.payload.first() == Some(&0x88))
        .expect("the answer");
    assert!(came[..answer].iter().filter(|frame| frame.kind == HEADERS).count() == 2);
    // Real clients read them.
    let ca = octroi.path().join("certs/ca.pem");
    let output = octroi.curl(HOST, "/hints").args(&["--http2", "-v", "--cacert", ca.to_str().unwrap()]).get();
    assert_eq!((output.status, output.body.as_str()), (200, "0 bytes"), "{output:?}");
}

#[test]
fn a_client_of_http_2_that_waits_is_told_to_go_on() {
    let octroi = started();
    for value in ["100-continue", "100-Continue"] {
        let mut stream = connect(&octroi, &[]);
        let fields = [
            (":method", "POST"),
            (":scheme", "https"),
            (":authority", HOST),
            (":path", "/expect"),
            ("content-length", "5"),
            ("expect", value),
        ];
        let start = Instant::now();
        send(&mut stream, &frame(HEADERS, END_HEADERS, 1, &block(&fields)));
        let (came, _) = until(&mut stream, 3 * SECOND, |frame| frame.kind == HEADERS);
        assert_eq!(hints(&came), [(1, 100)], "{came:?}");
        assert!(start.elapsed() < SECOND);

        send(&mut stream, &frame(DATA, END_STREAM, 1, b"hello"));
        let (came, _) = until(&mut stream, 3 * SECOND, |frame| frame.kind == DATA);
        assert!(came.iter().any(|frame| frame.payload == b"5 bytes"), "{came:?}");
    }
    // curl waits for a second where nobody says so.
    let body = "x".repeat(100_000);
    let start = Instant::now();
    let answer = octroi
        .curl(HOST, "/expect")
        .args(&["--http2", "--expect100-timeout", "8", "-H", "Expect: 100-continue", "-d", &body])
        .get();
    assert_eq!((answer.status, answer.body.as_str()), (200, "100000 bytes"));
    assert!(start.elapsed() < 5 * SECOND, "{:?}", start.elapsed());
}

#[test]
fn each_stream_has_its_own_hints_and_none_once_it_is_answered_or_reset() {
    let octroi = started();
    let mut stream = connect(&octroi, &[]);
    let all: Vec<u8> =
        (0..20).flat_map(|n| get(2 * n + 1, if n % 2 == 0 { "/hints" } else { "/plain" })).collect();
    send(&mut stream, &all);
    let answered = std::cell::Cell::new(0);
    let (came, _) = until(&mut stream, 5 * SECOND, |frame| {
        answered.set(answered.get() + u32::from(frame.kind == DATA && frame.flags & END_STREAM != 0));
        answered.get() == 20
    });
    assert_eq!(answered.get(), 20, "{came:?}");
    for n in 0..20 {
        let id = 2 * n + 1;
        let heads: Vec<_> = came.iter().filter(|frame| frame.kind == HEADERS && frame.stream == id).collect();
        assert_eq!(heads.len(), if n % 2 == 0 { 3 } else { 1 }, "{id}");
        assert!(
            interim(heads.last().unwrap()).is_none()
                && heads[..heads.len() - 1].iter().all(|head| interim(head).is_some())
        );
    }
    // One that is gone gets nothing more, and the connection goes on.
    send(
        &mut stream,
        &[get(101, "/hints"), frame(RESET, 0, 101, &[0, 0, 0, 8]), get(103, "/plain")].concat(),
    );
    let (came, _) = until(&mut stream, 2 * SECOND, |frame| frame.kind == DATA && frame.stream == 103);
    assert!(came.iter().any(|frame| frame.kind == DATA && frame.stream == 103), "{came:?}");
    assert!(!came.iter().any(|frame| frame.kind == GOAWAY), "{came:?}");
}

#[test]
fn a_client_that_made_its_table_smaller_gets_the_answer_alone() {
    let octroi = started();
    for (settings, told) in [(&[(1, 65_536)][..], true), (&[(1, 4096)], true), (&[(1, 100)], false)] {
        let mut stream = connect(&octroi, settings);
        send(&mut stream, &get(1, "/hints"));
        let (came, _) = until(&mut stream, 2 * SECOND, |frame| frame.kind == DATA);
        assert!(came.iter().any(|frame| frame.kind == DATA), "{came:?}");
        assert_eq!(!hints(&came).is_empty(), told, "{settings:?}");
    }
    // Later, too.
    let mut stream = connect(&octroi, &[(1, 65_536)]);
    send(&mut stream, &[frame(SETTINGS, 0, 0, &[0, 1, 0, 0, 0x10, 0]), get(1, "/hints")].concat());
    let (came, _) = until(&mut stream, 2 * SECOND, |frame| frame.kind == DATA);
    assert_eq!(hints(&came), []);
}

#[test]
fn the_bound_is_bytes_and_not_how_many() {
    let octroi = started();
    let ask = |bytes: usize| octroi.plain("plain", HOST, &format!("/many/{bytes}")).get();

    let fine = ask(64 << 10);
    assert_eq!((fine.status, fine.body.as_str()), (200, "0 bytes"));
    let refused = ask((64 << 10) + 50);
    assert_eq!((refused.status, octroi.reason(&refused).as_str()), (502, "upstream_protocol"));
    assert_eq!(octroi.curl(HOST, "/many/60000").args(&["--http2"]).status(), 200);
}

#[test]
fn nobody_can_name_another_stream() {
    let octroi = started();
    let mut stream = connect(&octroi, &[]);
    let fields = [
        (":method", "GET"),
        (":scheme", "https"),
        (":authority", HOST),
        (":path", "/hints"),
        ("octroi-stream", "3"),
    ];
    send(
        &mut stream,
        &[get(3, "/held-back"), frame(HEADERS, END_HEADERS | END_STREAM, 5, &block(&fields))].concat(),
    );
    let (came, _) = until(&mut stream, 2 * SECOND, |frame| frame.kind == DATA && frame.stream == 5);
    assert_eq!(hints(&came), [(5, 103), (5, 104)], "{came:?}");
    let _ = frames::PING;
}

#[test]
fn whatever_a_client_says_of_its_stream_its_request_has_a_line() {
    let octroi = started();
    let fields = |path: &'static str| {
        [
            (":method", "GET"),
            (":scheme", "https"),
            (":authority", HOST),
            (":path", path),
            ("octroi-stream", "0000000000000000-1"),
            ("octroi-stream", "1"),
        ]
    };
    // Stream 1 is refused by the library, and has its line.
    let wrong =
        block(&[(":method", "GET"), (":scheme", "https"), (":authority", HOST), (":path", "http://x/")]);
    let mut stream = connect(&octroi, &[]);
    send(&mut stream, &frame(HEADERS, END_HEADERS | END_STREAM, 1, &wrong));
    until(&mut stream, 2 * SECOND, |frame| frame.stream == 1);

    // In one frame, and in five: then the library still takes it.
    send(&mut stream, &frame(HEADERS, END_HEADERS | END_STREAM, 3, &block(&fields("/one"))));
    until(&mut stream, 2 * SECOND, |frame| frame.kind == DATA && frame.stream == 3);
    let many = block(&fields("/five"));
    let pieces: Vec<&[u8]> = many.chunks(many.len().div_ceil(5)).collect();
    let frames = pieces.iter().enumerate().map(|(at, piece)| {
        let end = if at + 1 == pieces.len() { END_HEADERS } else { 0 };
        if at == 0 { frame(HEADERS, end | END_STREAM, 5, piece) } else { frame(CONTINUATION, end, 5, piece) }
    });
    send(&mut stream, &frames.collect::<Vec<_>>().concat());
    until(&mut stream, 2 * SECOND, |frame| frame.kind == DATA && frame.stream == 5);

    eventually("both lines", || {
        let lines = octroi.access_lines();
        let of = |path: &str| lines.iter().filter(|line| line["path"] == path).count();
        ((of("/one"), of("/five")) == (1, 1)).then_some(())
    });
    // A head that ends within a field would take what stands behind it for the rest of that field.
    let mut cut = block(&fields("/cut"));
    cut.extend_from_slice(b"\x10\x04x-sw\x93");
    let (came, _) = {
        send(&mut stream, &frame(HEADERS, END_HEADERS | END_STREAM, 7, &cut));
        until(&mut stream, 2 * SECOND, |frame| frame.kind == GOAWAY)
    };
    // An error of the connection (RFC 9113, section 4.3).
    assert_eq!(came.last().map(|frame| frame.kind), Some(GOAWAY), "{came:?}");
}

#[test]
fn a_malformed_head_ends_its_stream_and_no_other() {
    let octroi = started();
    for wrong in [("te", "gzip"), ("connection", "x"), ("transfer-encoding", "chunked")] {
        let mut stream = connect(&octroi, &[]);
        let fields = [(":method", "GET"), (":scheme", "https"), (":authority", HOST), (":path", "/x"), wrong];
        send(
            &mut stream,
            &[get(1, "/hints"), frame(HEADERS, END_HEADERS | END_STREAM, 3, &block(&fields))].concat(),
        );

        let (came, _) = until(&mut stream, 4 * SECOND, |frame| frame.kind == DATA && frame.stream == 1);
        assert!(came.iter().any(|frame| frame.kind == DATA && frame.stream == 1), "{wrong:?}: {came:?}");
        assert!(came.iter().all(|frame| frame.kind != GOAWAY), "{wrong:?}");
    }
}
