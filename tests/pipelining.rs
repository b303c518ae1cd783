//! Requests that come before the answer to the one before, and clients that end their side first.

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
    net::{Shutdown, TcpStream},
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use harness::wait;
use harness::{
    Octroi, Upstream,
    client::{self, Answer, raw},
    raw_tls,
};
use sha2::{Digest, Sha256};

fn started(more: &str) -> (Octroi, Upstream) {
    started_with(more, "")
}

fn started_with(more: &str, rules: &str) -> (Octroi, Upstream) {
    started_beside("127.0.0.1:1", more, rules)
}

/// With one more app, at this address.
fn started_beside(first: &str, more: &str, rules: &str) -> (Octroi, Upstream) {
    let upstream = Upstream::start();
    let octroi = Octroi::start(&format!(
        r#"
version: 1
server: {{state_dir: STATE, drain: 2s, threads: 2}}
listeners:
  - {{name: public, address: "127.0.0.1:0", tls: {{}}}}
  - {{name: plain, address: "127.0.0.1:0", plaintext: true}}
metrics: {{address: "127.0.0.1:0"}}
sessions: {{keys: [{{id: 1, secret: "${{file:session.key}}"}}]}}
tls: {{certificates: [{{dev: true, dir: certs}}]}}
upstreams:
  app: {{servers: [{{address: "{}"}}]}}
  gone: {{servers: [{{address: "127.0.0.1:1"}}]}}
  first: {{servers: [{{address: "{first}"}}]}}
routes:
  app: {{unmatched: public, rules: [{{path: /ws, access: public, websocket: true}}, {{path: /in, access: session}}{rules}]}}
tenants:
  acme: {{hosts: [acme.test], upstream: app, routes: app}}
{more}
"#,
        upstream.addr
    ));
    (octroi, upstream)
}

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: acme.test\r\n\r\n")
}

/// Reads so many answers with Content-Length, and whatever else has come by then.
fn answers(stream: &mut (impl Read + ?Sized), count: usize) -> (Vec<Answer>, Vec<u8>) {
    let (mut got, mut answers, mut space) = (Vec::new(), Vec::new(), [0; 8192]);
    loop {
        while let Some(end) = got.windows(4).position(|end| end == b"\r\n\r\n") {
            let answer = client::parse(&String::from_utf8_lossy(&got[..end + 4]), 0);
            let length: usize = answer.field("content-length").map_or(0, |length| length.parse().unwrap());
            if got.len() < end + 4 + length {
                break;
            }
            let body = String::from_utf8_lossy(&got[end + 4..end + 4 + length]).into_owned();
            got.drain(..end + 4 + length);
            answers.push(Answer { body, ..answer });
            if answers.len() == count {
                return (answers, got);
            }
        }
        match stream.read(&mut space) {
            Ok(read @ 1..) => got.extend_from_slice(&space[..read]),
            other => panic!("{other:?} after {answers:?} {:?}", String::from_utf8_lossy(&got)),
        }
    }
}

fn bodies(answers: &[Answer]) -> Vec<&str> {
    answers.iter().map(|answer| answer.body.trim_end()).collect()
}

#[test]
fn requests_in_one_segment_are_answered_in_order() {
    let (octroi, upstream) = started("");
    for count in [2, 10] {
        let all: String =
            (0..count).map(|n| get(&format!("/{n}?sleep={}", if n == 0 { 50 } else { 0 }))).collect();
        let expected: Vec<String> = (0..count)
            .map(|n| format!("upstream saw GET /{n}?sleep={}", if n == 0 { 50 } else { 0 }))
            .collect();

        let mut plain = raw(octroi.addr("plain"));
        plain.write_all(all.as_bytes()).unwrap();
        let (got, rest) = answers(&mut plain, count);
        assert_eq!((bodies(&got), rest.len()), (expected.iter().map(String::as_str).collect(), 0));
        assert!(
            got.iter().all(|answer| answer.status == 200 && answer.field("connection") == Some("keep-alive")),
            "{got:?}"
        );

        let mut tls =
            raw_tls(octroi.addr("public"), "acme.test", &octroi.path().join("certs/ca.pem"), &[b"http/1.1"]);
        tls.write_all(all.as_bytes()).unwrap();
        let (got, _) = answers(&mut tls, count);
        assert_eq!(bodies(&got), expected);
        assert_eq!(upstream.take().len(), 2 * count);
    }
}

#[test]
fn the_thousandth_request_of_a_connection_is_the_last() {
    let (octroi, upstream) = started("");
    let mut stream = raw(octroi.addr("plain"));
    let mut writer = stream.try_clone().unwrap();
    let sender = std::thread::spawn(move || {
        // The last one is never read.
        let _ = writer.write_all(get("/x").repeat(1001).as_bytes());
    });

    let (got, _) = answers(&mut stream, 1000);
    let mut rest = Vec::new();
    let _ = stream.read_to_end(&mut rest);

    let kept: Vec<_> =
        got.iter().map(|answer| (answer.status, answer.field("connection").unwrap())).collect();
    assert!(kept[..999].iter().all(|kept| *kept == (200, "keep-alive")), "{kept:?}");
    assert_eq!((kept[999], rest.len()), ((200, "close"), 0), "{}", String::from_utf8_lossy(&rest));
    assert_eq!(upstream.take().len(), 1000);
    sender.join().unwrap();
}

#[test]
fn a_request_behind_a_body_is_found_wherever_the_octets_are_split() {
    let (octroi, upstream) = started("");
    let posts = [
        "POST /1 HTTP/1.1\r\nHost: acme.test\r\nContent-Length: 5\r\n\r\nhello",
        "POST /1 HTTP/1.1\r\nHost: acme.test\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n",
    ];
    for post in posts {
        let all = format!("{post}\r\n{}{}", get("/2"), get("/3"));
        for split in (1..all.len()).step_by(3).chain([post.len(), post.len() + 1, post.len() + 2]) {
            let mut stream = raw(octroi.addr("plain"));
            stream.write_all(&all.as_bytes()[..split]).unwrap();
            wait::slow_peer(Duration::from_millis(2));
            stream.write_all(&all.as_bytes()[split..]).unwrap();

            let (got, _) = answers(&mut stream, 3);

            assert_eq!(
                bodies(&got),
                ["upstream saw POST /1", "upstream saw GET /2", "upstream saw GET /3"],
                "{split}"
            );
            let seen: Vec<(String, Vec<u8>)> =
                upstream.take().into_iter().map(|got| (got.target, got.body)).collect();
            assert_eq!(seen[0], ("/1".to_owned(), b"hello".to_vec()), "{split}");
            assert_eq!(seen.len(), 3);
        }
    }
}

#[test]
fn a_client_that_sends_ever_more_waits_and_costs_little() {
    let (octroi, upstream) = started("");
    let mut stream = raw(octroi.addr("plain"));
    let mut writer = stream.try_clone().unwrap();
    let before = octroi.resident();
    let sender = std::thread::spawn(move || {
        let _ = writer.write_all(get("/first?sleep=700").as_bytes());
        let all = get("/next").repeat(2000);
        let _ = writer.write_all(all.as_bytes());
    });

    let (got, _) = answers(&mut stream, 500);

    assert!(got.iter().all(|answer| answer.status == 200));
    assert!(octroi.resident() < before + 16 * 1024, "{before} {}", octroi.resident());
    drop(stream);
    sender.join().unwrap();
    assert!(upstream.take().len() >= 500);
}

#[test]
fn empty_lines_before_a_request_line_are_passed_over_up_to_four() {
    let (octroi, upstream) = started("");
    let mut stream = raw(octroi.addr("plain"));
    stream.write_all(format!("\r\n{}\r\n\r\n\r\n\r\n{}", get("/1"), get("/2")).as_bytes()).unwrap();
    let (got, _) = answers(&mut stream, 2);
    assert_eq!(bodies(&got), ["upstream saw GET /1", "upstream saw GET /2"]);

    // One after the other, they are still those before one line.
    let (mut stream, empty) = (raw(octroi.addr("plain")), b"\r\n");
    for _ in 0..4 {
        stream.write_all(empty).unwrap();
        wait::slow_peer(Duration::from_millis(5));
    }
    let (got, _) = {
        stream.write_all(get("/3").as_bytes()).unwrap();
        answers(&mut stream, 1)
    };
    assert_eq!(got[0].status, 200);
    stream.write_all(&[empty.repeat(5), get("/4").into_bytes()].concat()).unwrap();
    let (refused, _) = answers(&mut stream, 1);
    assert_eq!((refused[0].status, octroi.reason(&refused[0]).as_str()), (400, "head_syntax"));
    assert_eq!(upstream.take().len(), 3);
}

#[test]
fn behind_a_request_whose_end_is_in_doubt_nothing_is_read() {
    let (octroi, upstream) = started("");
    for (first, status, forwarded) in [
        (
            "POST /1 HTTP/1.1\r\nHost: acme.test\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            400,
            0,
        ),
        ("POST /1 HTTP/1.1\r\nHost: acme.test\r\nContent-Length: 0\r\nContent-Length: 0\r\n\r\n", 400, 0),
        ("GET /1 HTTP/1.1\r\nHost: acme.test\r\nX : y\r\n\r\n", 400, 0),
        // The client goes on in the other protocol at once, or so a balancer in front may think.
        ("GET /1 HTTP/1.1\r\nHost: acme.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n", 200, 1),
        // The client waits to be told to send, or not: nobody knows.
        (
            "POST /in HTTP/1.1\r\nHost: acme.test\r\nExpect: 100-continue\r\nContent-Length: 50\r\n\r\n",
            401,
            0,
        ),
        // They may go on for ever.
        ("POST /in HTTP/1.1\r\nHost: acme.test\r\nTransfer-Encoding: chunked\r\n\r\n1000\r\n", 401, 0),
        ("POST /in HTTP/1.1\r\nHost: acme.test\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", 400, 0),
        // More than is waited for.
        ("POST /in HTTP/1.1\r\nHost: acme.test\r\nContent-Length: 100000\r\n\r\n", 401, 0),
    ] {
        let mut stream = raw(octroi.addr("plain"));
        let got = client::exchange(&mut stream, format!("{first}{}", get("/smuggled")).as_bytes());

        let answer = client::parse(&got, 0);
        assert_eq!((answer.status, answer.field("connection")), (status, Some("close")), "{first} {got}");
        assert_eq!(got.matches("HTTP/1.1 ").count(), 1, "{first} {got}");
        assert_eq!(upstream.take().len(), forwarded, "{first}");
    }
    // Just inside: an upgrade that is not taken up, and a request that waits for that.
    let mut stream = raw(octroi.addr("plain"));
    stream
        .write_all(
            get("/1").replace("\r\n\r\n", "\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n").as_bytes(),
        )
        .unwrap();
    assert_eq!(answers(&mut stream, 1).0[0].status, 200);
    stream.write_all(get("/2").as_bytes()).unwrap();
    assert_eq!(answers(&mut stream, 1).0[0].status, 200);
    // A refusal that leaves no doubt ends nothing.
    stream.write_all(format!("{}{}", get("/in"), get("/3")).as_bytes()).unwrap();
    let statuses: Vec<u16> = answers(&mut stream, 2).0.iter().map(|answer| answer.status).collect();
    assert_eq!(statuses, [401, 200]);
}

#[test]
fn behind_a_refused_body_the_next_request_is_read_and_judged() {
    let (octroi, upstream) = started("");
    let post = |framing: &str| format!("POST /in HTTP/1.1\r\nHost: acme.test\r\n{framing}\r\n\r\n");
    let body = get("/smuggled");
    let length = format!("Content-Length: {}", body.len());
    let chunk = format!("{:x}\r\n{body}\r\n", body.len());
    let mut stream = raw(octroi.addr("plain"));
    for (head, body) in [
        (post(&length), body.clone()),
        (post(&format!("Expect: 100-continue\r\n{length}")), body.clone()),
        (post("Transfer-Encoding: chunked"), format!("{chunk}0\r\n\r\n")),
        (
            post("Transfer-Encoding: chunked"),
            format!("{chunk}{chunk}0;a=b\r\nGET: /smuggled\r\nHost: acme.test\r\n\r\n"),
        ),
        (post("Transfer-Encoding: chunked"), "0\r\n\r\n".to_owned()),
    ] {
        // What follows is answered as itself, and judged: one passes, one does not.
        stream.write_all(format!("{head}{body}{}{}", get("/1"), get("/in")).as_bytes()).unwrap();
        let (got, rest) = answers(&mut stream, 3);
        let statuses: Vec<_> = got.iter().map(|answer| (answer.status, answer.field("connection"))).collect();
        assert_eq!(statuses, [401, 200, 401].map(|status| (status, Some("keep-alive"))), "{head}{body}");
        assert!(rest.is_empty());
        assert_eq!(
            (got[1].body.trim_end(), upstream.take().len()),
            ("upstream saw GET /1", 1),
            "{head}{body}"
        );
        let id = got[0].field("octroi-request-id").unwrap();
        octroi.access_line(|line| line["request.id"] == *id && line["reason"] == "session_missing");
    }
    // A short rest may come behind the answer, and what follows lies behind all of it, whatever it looks like.
    let short = 65_536;
    for came in [0, 10, 30_000] {
        stream
            .write_all(
                format!("{}{}", post(&format!("Content-Length: {}", came + short)), "x".repeat(came))
                    .as_bytes(),
            )
            .unwrap();
        let (got, _) = answers(&mut stream, 1);
        assert_eq!((got[0].status, got[0].field("connection")), (401, Some("keep-alive")), "{came}");
        let rest = body.repeat(short / body.len() + 1);
        stream.write_all(format!("{}{}", &rest[..short], get("/2")).as_bytes()).unwrap();
        assert_eq!(answers(&mut stream, 1).0[0].body.trim_end(), "upstream saw GET /2");
        assert_eq!(upstream.take().len(), 1);
        let bytes = came + short;
        octroi.access_line(|line| line["bytes.in"] == bytes && line["reason"] == "session_missing");
    }
    // A length that lies hides what it covers, and nothing more.
    stream
        .write_all(format!("{}{body}", post(&format!("Content-Length: {}", body.len() + 3))).as_bytes())
        .unwrap();
    assert_eq!(answers(&mut stream, 1).0[0].status, 401);
    stream.write_all(format!("abc{}", get("/3")).as_bytes()).unwrap();
    assert_eq!(answers(&mut stream, 1).0[0].body.trim_end(), "upstream saw GET /3");
    assert_eq!(upstream.take().len(), 1);
    // Just outside: one octet more is to come, and the connection closes.
    let mut stream = raw(octroi.addr("plain"));
    stream.write_all(post(&format!("Content-Length: {}", short + 1)).as_bytes()).unwrap();
    let (got, _) = answers(&mut stream, 1);
    assert_eq!((got[0].status, got[0].field("connection")), (401, Some("close")));
    let got =
        client::exchange(&mut stream, format!("{}{}", "x".repeat(short + 1), get("/smuggled")).as_bytes());
    assert_eq!((got.as_str(), upstream.take().len()), ("", 0));
    // The rest of one ends with its client.
    let mut stream = raw(octroi.addr("plain"));
    stream.write_all(format!("{}abc", post("Content-Length: 10")).as_bytes()).unwrap();
    assert_eq!(answers(&mut stream, 1).0[0].status, 401);
    stream.shutdown(Shutdown::Write).unwrap();
    assert_eq!(stream.read(&mut [0; 10]).unwrap(), 0);
    octroi.access_line(|line| line["bytes.in"] == 3 && line["reason"] == "session_missing");
}

#[test]
fn honest_clients_keep_their_connection_whatever_a_small_upload_is_refused_for() {
    let (octroi, _upstream) = started_with(
        "  gone: {hosts: [gone.test], upstream: gone, routes: app}\nquotas: {one: {by: client, rate: 1/h, burst: 1}}",
        ", {path: /only, access: public, methods: [GET]}, {path: /spent, access: public, quotas: [one]}, \
         {path: /tiny, access: public, request_limits: {body_bytes: 4B}}",
    );
    let mut tls =
        raw_tls(octroi.addr("public"), "acme.test", &octroi.path().join("certs/ca.pem"), &[b"http/1.1"]);
    let mut plain = raw(octroi.addr("plain"));
    for (method, host, path, status) in [
        ("POST", "acme.test", "/in", 401),
        ("PUT", "acme.test", "/in", 401),
        ("POST", "acme.test", "/only", 405),
        ("POST", "acme.test", "/spent", 200),
        ("POST", "acme.test", "/spent", 429),
        ("POST", "acme.test", "/tiny", 413),
        ("POST", "other.test", "/", 421),
        ("POST", "gone.test", "/", 502),
        ("GET", "gone.test", "/", 502),
        ("DELETE", "gone.test", "/", 502),
        ("POST", "acme.test", "/in", 401),
    ] {
        let body = if method == "GET" { "" } else { "{\"a\": 1}" };
        let head =
            format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\nContent-Length: {}\r\n\r\n", body.len());
        let mut both: [&mut dyn Both; 2] = [&mut plain, &mut tls];
        for (at, stream) in
            both.iter_mut().enumerate().filter(|(at, _)| *at == 0 || host == "acme.test" && path != "/spent")
        {
            // In two writes, as most libraries do it; what is too large has to be there at once.
            if path == "/tiny" {
                stream.write_all(format!("{head}{body}").as_bytes()).unwrap();
            } else {
                stream.write_all(head.as_bytes()).unwrap();
                stream.write_all(body.as_bytes()).unwrap();
            }
            let (got, _) = answers(stream, 1);
            assert_eq!(
                (got[0].status, got[0].field("connection")),
                (status, Some("keep-alive")),
                "{at} {method} {host}{path}"
            );
        }
    }
    // Just outside: one octet is missing of what is too large.
    plain.write_all(b"POST /tiny HTTP/1.1\r\nHost: acme.test\r\nContent-Length: 5\r\n\r\nabcd").unwrap();
    let (got, _) = answers(&mut plain, 1);
    assert_eq!((got[0].status, got[0].field("connection")), (413, Some("close")));
    for listener in ["plain", "public"] {
        let accepted =
            octroi.metric(&format!("octroi_connections_accepted_total{{listener=\"{listener}\"}}"));
        assert_eq!(accepted, 1.0, "{listener}");
    }
}

trait Both: Read + Write {}

impl<T: Read + Write> Both for T {}

#[test]
fn what_comes_with_a_handshake_belongs_to_the_websocket() {
    let (octroi, _upstream) = started("");
    let handshake = "GET /ws HTTP/1.1\r\nHost: acme.test\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    let mut stream = raw(octroi.addr("plain"));
    stream.write_all(format!("{handshake}GET /smuggled HTTP/1.1\r\n\r\n").as_bytes()).unwrap();

    let (got, mut echoed) = answers(&mut stream, 1);
    while echoed.len() < 26 {
        let mut space = [0; 100];
        let read = stream.read(&mut space).unwrap();
        assert!(read > 0, "{:?}", String::from_utf8_lossy(&echoed));
        echoed.extend_from_slice(&space[..read]);
    }

    assert_eq!(
        (got[0].status, String::from_utf8_lossy(&echoed).as_ref()),
        (101, "GET /smuggled HTTP/1.1\r\n\r\n")
    );
    stream.write_all(b"more").unwrap();
    assert_eq!(stream.read(&mut [0; 100]).unwrap(), 4);
}

/// Sends this, ends its side, and reads to the end; says how long that took.
fn half_closed(octroi: &Octroi, requests: &str) -> (String, Duration) {
    let mut stream = raw(octroi.addr("plain"));
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream.write_all(requests.as_bytes()).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let start = Instant::now();
    let mut got = Vec::new();
    let _ = stream.read_to_end(&mut got);
    (String::from_utf8_lossy(&got).into_owned(), start.elapsed())
}

#[test]
fn a_client_that_has_ended_its_side_still_gets_its_answers() {
    let (octroi, upstream) = started("");

    let (got, _) = half_closed(&octroi, &format!("{}{}", get("/1?sleep=300"), get("/2")));
    assert!(got.contains("upstream saw GET /1") && got.contains("upstream saw GET /2"), "{got}");
    let (got, _) =
        half_closed(&octroi, "POST /3 HTTP/1.0\r\nHost: acme.test\r\nContent-Length: 5\r\n\r\nhello");
    assert!(got.contains("upstream saw POST /3"), "{got}");
    // So over TLS: that is its close_notify.
    let mut tls =
        raw_tls(octroi.addr("public"), "acme.test", &octroi.path().join("certs/ca.pem"), &[b"http/1.1"]);
    tls.write_all(get("/tls?sleep=300").as_bytes()).unwrap();
    tls.conn.send_close_notify();
    tls.flush().unwrap();
    tls.sock.shutdown(Shutdown::Write).unwrap();
    assert!(answers(&mut tls, 1).0[0].body.starts_with("upstream saw GET /tls"));
    // All of it, as long as it has an end.
    let (got, _) = half_closed(&octroi, &get("/big?bytes=30000000"));
    assert!(got.len() > 30_000_000, "{}", got.len());
    assert_eq!(upstream.take().len(), 5);
    let lines = octroi.access_line(|line| line["path"] == "/1");
    assert_eq!((&lines["status"], &lines["reason"]), (&200.into(), &serde_json::Value::Null));
}

#[test]
fn what_goes_on_for_long_ends_with_the_client_s_side() {
    let (octroi, _upstream) = started("");

    std::thread::scope(|scope| {
        scope.spawn(|| {
            let (got, took) = half_closed(&octroi, &get("/slow?sleep=9000"));
            assert_eq!(got, "");
            assert!(took > Duration::from_secs(4) && took < Duration::from_secs(8), "{took:?}");
            let line = octroi.access_line(|line| line["path"] == "/slow");
            assert_eq!((&line["status"], &line["reason"]), (&499.into(), &"client_closed".into()));
        });
        scope.spawn(|| {
            let (got, took) = half_closed(&octroi, &get("/held"));
            assert!(got.contains("data: 1"), "{got}");
            assert!(took > Duration::from_secs(4) && took < Duration::from_secs(8), "{took:?}");
            let line = octroi.access_line(|line| line["path"] == "/held");
            assert_eq!((&line["status"], &line["reason"]), (&200.into(), &"client_closed".into()));
        });
    });
}

/// apt asks for ten files before it has the first, where it knows what they must be.
#[test]
fn apt_gets_all_its_files() {
    let helper = Path::new("/usr/lib/apt/apt-helper");
    if !helper.exists() {
        return;
    }
    let (octroi, upstream) = started("");
    let dir = tempfile::tempdir().unwrap();
    let proxy = format!("Acquire::http::Proxy=http://{}/", octroi.addr("plain"));
    let mut apt = Command::new(helper);
    apt.args([
        "-o",
        &proxy,
        "-o",
        "Acquire::Retries=0",
        "-o",
        "Acquire::http::Pipeline-Depth=10",
        "download-file",
    ]);
    for n in 0..16 {
        let hash = Sha256::digest(format!("upstream saw GET /file-{n}\n").as_bytes());
        let hash: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
        apt.arg(format!("http://acme.test/file-{n}"))
            .arg(dir.path().join(format!("file-{n}")))
            .arg(format!("SHA256:{hash}"));
    }
    let output = apt.env("LC_ALL", "C").output().unwrap();

    let whole = (0..16).filter(|n| {
        std::fs::read_to_string(dir.path().join(format!("file-{n}")))
            .is_ok_and(|text| text == format!("upstream saw GET /file-{n}\n"))
    });
    assert_eq!(whole.count(), 16, "{output:?}");
    assert!(output.status.success(), "{output:?}");
    assert_eq!(upstream.take().len(), 16);
    let connections: std::collections::BTreeSet<String> = octroi
        .access_lines()
        .iter()
        .filter(|line| line["event"] == "request")
        .map(|line| line["connection"].to_string())
        .collect();
    assert_eq!(connections.len(), 1, "all over one connection");
}

/// nginx speaks HTTP/1.0 to whom it asks unless it is told otherwise.
#[test]
fn a_body_of_http_1_0_is_served() {
    let (octroi, upstream) = started("");
    let ask = |fields: &str, body: &str| {
        let mut stream: TcpStream = raw(octroi.addr("plain"));
        let request =
            format!("POST /x HTTP/1.0\r\nHost: acme.test\r\nConnection: close\r\n{fields}\r\n{body}");
        client::parse(&client::exchange(&mut stream, request.as_bytes()), 0)
    };

    assert_eq!(ask("Content-Length: 5\r\n", "hello").status, 200);
    assert_eq!(upstream.only().body, b"hello");
    for fields in [
        "Transfer-Encoding: chunked\r\n",
        "Content-Length: 5\r\nContent-Length: 5\r\n",
        "Content-Length: 5x\r\n",
    ] {
        assert_eq!(ask(fields, "hello").status, 400, "{fields}");
    }
    assert!(upstream.take().is_empty());
    // Over TLS, curl offers nothing else then (RFC 7301, section 6).
    assert_eq!(octroi.curl("acme.test", "/x").args(&["--http1.0"]).status(), 200);
}

/// An app that says something before it answers: 100 to who asks whether to go on, else 103. It reads the body, unless the path is `/early`.
fn says_something_first() -> std::net::SocketAddr {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            std::thread::spawn(move || {
                loop {
                    let (mut head, mut byte) = (Vec::new(), [0]);
                    while !head.ends_with(b"\r\n\r\n") {
                        stream.read_exact(&mut byte).ok()?;
                        head.push(byte[0]);
                    }
                    let head = String::from_utf8(head).unwrap().to_ascii_lowercase();
                    let interim =
                        if head.contains("\r\nexpect:") { "100 Continue" } else { "103 Early Hints" };
                    stream.write_all(format!("HTTP/1.1 {interim}\r\n\r\n").as_bytes()).ok()?;
                    if !head.contains(" /early") {
                        let length = head
                            .split("\r\ncontent-length: ")
                            .nth(1)
                            .map_or(0, |rest| rest.lines().next().unwrap().parse().unwrap());
                        stream.read_exact(&mut vec![0; length]).ok()?;
                    }
                    stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").ok()?;
                }
                #[expect(unreachable_code, reason = "the type of the thread")]
                Some(())
            });
        }
    });
    addr
}

/// What an app says before its answer closes nothing: behind a body that has come whole the connection goes on (RFC 9112, section 9.3).
#[test]
fn a_client_that_is_told_to_go_on_keeps_its_connection() {
    let (octroi, _upstream) = started_beside(
        &says_something_first().to_string(),
        "  first: {hosts: [first.test], upstream: first, routes: app}",
        "",
    );
    let mut stream = raw(octroi.addr("plain"));
    for expect in ["Expect: 100-continue\r\n", ""] {
        for _ in 0..2 {
            let head = format!("PUT /x HTTP/1.1\r\nHost: first.test\r\nContent-Length: 4\r\n{expect}\r\n");
            stream.write_all(head.as_bytes()).unwrap();
            let mut interim = Vec::new();
            while !interim.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                stream.read_exact(&mut byte).unwrap();
                interim.push(byte[0]);
            }
            let status = if expect.is_empty() { "HTTP/1.1 103" } else { "HTTP/1.1 100" };
            assert!(interim.starts_with(status.as_bytes()), "{:?}", String::from_utf8_lossy(&interim));
            stream.write_all(b"abcd").unwrap();
            let (got, _) = answers(&mut stream, 1);
            assert_eq!(
                (got[0].status, got[0].field("connection"), got[0].body.as_str()),
                (200, Some("keep-alive"), "ok"),
                "{expect}"
            );
        }
    }
    // Just outside: the answer comes, and the body that was asked for does not.
    stream
        .write_all(
            b"PUT /early HTTP/1.1\r\nHost: first.test\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n",
        )
        .unwrap();
    let mut got = String::new();
    let _ = stream.read_to_string(&mut got);
    assert!(got.contains("HTTP/1.1 200") && got.to_ascii_lowercase().contains("connection: close"), "{got}");
    // curl asks where a body is large.
    let file = octroi.path().join("large");
    std::fs::write(&file, vec![b'x'; 1_200_000]).unwrap();
    let url = format!("http://first.test:{}/x", octroi.addr("plain").port());
    let curl = Command::new("curl")
        .args([
            "-sS",
            "--max-time",
            "20",
            "--resolve",
            &format!("first.test:{}:127.0.0.1", octroi.addr("plain").port()),
        ])
        .args([
            "-H",
            "Expect: 100-continue",
            "-w",
            "%{num_connects} %{http_code}\n",
            "-o",
            "/dev/null",
            "-o",
            "/dev/null",
            "-T",
        ])
        .arg(&file)
        .arg(&url)
        .arg("-T")
        .arg(&file)
        .arg(&url)
        .output()
        .unwrap();
    assert_eq!(
        String::from_utf8_lossy(&curl.stdout),
        "1 200\n0 200\n",
        "{}",
        String::from_utf8_lossy(&curl.stderr)
    );
}
