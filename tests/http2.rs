//! What an HTTP/2 client may do, end to end: floods, windows, deadlines, and answers that come before the body has.

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
    future::Future,
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    time::{Duration, Instant},
};

use harness::wait;
use harness::{
    Octroi, Upstream, eventually,
    frames::{
        CONTINUATION, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, PING, PRIORITY, RESET, ReceivedFrame,
        SETTINGS, WINDOW_UPDATE, block, frame, preface, request, send, until,
    },
    raw_tls,
};

const SECOND: Duration = Duration::from_secs(1);
const HOST: &str = "acme.test";
const CALM: u32 = 11;
const CANCEL: u32 = 8;
const INTERNAL_ERROR: u32 = 2;
const REFUSED_STREAM: u32 = 7;

type Tls = rustls::StreamOwned<rustls::ClientConnection, TcpStream>;

fn config(upstream: SocketAddr, limits: &str) -> String {
    format!(
        r#"
version: 1
server: {{state_dir: STATE, drain: 2s, threads: 2}}
listeners:
  - {{name: public, address: "127.0.0.1:0", tls: {{}}, max_connections_per_client: 5000}}
  - {{name: plain, address: "127.0.0.1:0", plaintext: true, max_connections_per_client: 5000}}
metrics: {{address: "127.0.0.1:0"}}
limits: {{{limits}}}
request_limits: {{body_bytes: 50MiB}}
tls: {{certificates: [{{dev: true, dir: certs}}]}}
upstreams:
  app: {{servers: [{{address: "{upstream}"}}]}}
routes:
  app: {{unmatched: public}}
tenants:
  acme: {{hosts: [acme.test], upstream: app, routes: app}}
"#
    )
}

fn started(limits: &str) -> (Octroi, Upstream) {
    let upstream = Upstream::start();
    (Octroi::start(&config(upstream.addr, limits)), upstream)
}

/// A connection that speaks HTTP/2, with these settings.
fn connect(octroi: &Octroi, settings: &[(u16, u32)]) -> Tls {
    let mut stream = raw_tls(octroi.addr("public"), HOST, &octroi.path().join("certs/ca.pem"), &[b"h2"]);
    assert!(send(&mut stream, &preface(settings)));
    stream.sock.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    stream
}

fn get(stream: u32) -> Vec<u8> {
    request(stream, "GET", HOST, "/", END_STREAM)
}

fn goaway(came: &[ReceivedFrame]) -> Option<u32> {
    came.iter().find(|frame| frame.kind == GOAWAY).map(ReceivedFrame::code)
}

/// Sends the same frame so often; says how the connection ended, if it did.
fn flood(
    octroi: &Octroi,
    settings: &[(u16, u32)],
    times: u32,
    mut each: impl FnMut(u32) -> Vec<u8>,
) -> Option<u32> {
    let mut stream = connect(octroi, settings);
    let frames: Vec<u8> = (0..times).flat_map(&mut each).collect();
    for piece in frames.chunks(8192) {
        if !send(&mut stream, piece) {
            break;
        }
    }
    let (came, ended) = until(&mut stream, Duration::from_millis(700), |frame| frame.kind == GOAWAY);
    goaway(&came).or(ended.then_some(u32::MAX))
}

#[test]
fn what_is_no_http2_is_written_down_and_counted() {
    let (octroi, _upstream) = started("");
    let begun = |bytes: &[u8]| {
        let mut stream = raw_tls(octroi.addr("public"), HOST, &octroi.path().join("certs/ca.pem"), &[b"h2"]);
        assert!(send(&mut stream, bytes));
        stream.sock.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        stream
    };
    let preface = preface(&[]);

    for (number, bytes) in
        [&b"garbage"[..], b"GET / HTTP/1.1\r\nHost: acme.test\r\n\r\n", &[&preface[..23], b"\r"].concat()]
            .into_iter()
            .enumerate()
    {
        let (came, ended) = until(&mut begun(bytes), SECOND, |frame| frame.kind == GOAWAY);
        assert!(ended || goaway(&came) == Some(1), "{came:?}");
        let count = number + 1;
        eventually("the refusal is counted", || {
            let series = r#"octroi_decisions_total{check="hygiene",mode="enforce",reason="protocol",tenant="-",verdict="deny"}"#;
            (octroi.metrics().contains(&format!("{series} {count}\n"))).then_some(())
        });
    }
    let line = octroi.access_line(|line| line["reason"] == "protocol");
    assert_eq!(line["detail"], "the connection was ended: PROTOCOL_ERROR");
    // In pieces it is the same preface.
    let mut stream = begun(&preface[..10]);
    wait::slow_peer(Duration::from_millis(50));
    assert!(send(&mut stream, &[&preface[10..], &get(1)].concat()));
    let (came, _) = until(&mut stream, SECOND, |frame| frame.kind == HEADERS);
    assert!(came.iter().any(|frame| frame.kind == HEADERS) && goaway(&came).is_none(), "{came:?}");
}

#[test]
fn floods_are_sent_away_and_what_clients_need_is_not() {
    let limits = "http2: {resets: 30, settings: 30, pings: 30, priorities: 30, empty_data: 30, window_updates: 30, starved: 30}";
    let (octroi, _upstream) = started(limits);
    let opened = |n: u32| 2 * n + 1;
    let post = |n: u32, more: &[u8]| {
        if n == 0 { [&request(1, "POST", HOST, "/", 0), more].concat() } else { more.to_vec() }
    };
    type Each = Box<dyn FnMut(u32) -> Vec<u8>>;
    type Flood = (&'static str, u32, &'static [(u16, u32)], Each);
    // The client's own first SETTINGS counts.
    let floods: [Flood; 8] = [
        ("settings", 29, &[], Box::new(|_| frame(SETTINGS, 0, 0, &[0, 3, 0, 0, 0, 100]))),
        ("pings", 31, &[], Box::new(|_| frame(PING, 0, 0, b"12345678"))),
        ("priorities", 30, &[], Box::new(|n| frame(2, 0, 2 * n + 1, &[0, 0, 0, 0, 7]))),
        ("priorities", 30, &[], Box::new(move |n| post(n, &frame(GOAWAY, 0, 0, &[0; 8])))),
        ("empty_data", 30, &[], Box::new(move |n| post(n, &frame(DATA, 0, 1, b"")))),
        ("window_updates", 30, &[], Box::new(|_| frame(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1]))),
        (
            "resets",
            30,
            &[],
            Box::new(move |n| [get(opened(n)), frame(RESET, 0, opened(n), &[0, 0, 0, 8])].concat()),
        ),
        ("starved", 30, &[(4, 0)], Box::new(move |n| get(opened(n)))),
    ];
    for (key, fine, settings, mut each) in floods {
        if key != "resets" {
            assert_eq!(flood(&octroi, settings, fine, &mut each), None, "{key}");
        }
        assert_eq!(flood(&octroi, settings, fine + 40, &mut each), Some(CALM), "{key}");
        let line = octroi.access_line(|line| {
            line["reason"] == "h2_abuse" && line["detail"].as_str().unwrap().contains(key)
        });
        assert_eq!(
            (&line["event"], &line["http.version"]),
            (&"connection".into(), &"HTTP/2".into()),
            "{line}"
        );
    }
    let counted = octroi.metric(r#"octroi_decisions_total{check="hygiene",mode="enforce",reason="h2_abuse",tenant="-",verdict="deny"}"#);
    assert!(counted >= 8.0, "{counted} {}", octroi.metrics());
    assert_eq!(octroi.curl(HOST, "/").args(&["--http2"]).status(), 200);
}

#[test]
fn ten_thousand_streams_opened_and_reset_end_soon_and_cost_little() {
    let (octroi, upstream) = started("");
    let before = octroi.resident();

    let ended =
        flood(&octroi, &[], 10_000, |n| [get(2 * n + 1), frame(RESET, 0, 2 * n + 1, &[0, 0, 0, 8])].concat());

    assert!(ended.is_some());
    assert!(upstream.take().len() <= 300);
    assert!(octroi.resident() < before + 32 * 1024, "{before} {}", octroi.resident());
    eventually("nothing is left of it", || {
        (octroi.metric(r#"octroi_connections{listener="public"}"#) == 0.0).then_some(())
    });
}

#[test]
fn heads_without_an_end_are_cut() {
    let (octroi, _upstream) = started("header_timeout: 600ms");
    let half = |bytes: &[u8]| frame(HEADERS, 0, 1, bytes);
    let whole = block(&[(":method", "GET"), (":scheme", "https"), (":authority", HOST), (":path", "/")]);

    // CONTINUATION without end: the library's own bound, or ours.
    let mut stream = connect(&octroi, &[]);
    send(&mut stream, &half(&whole));
    let empty = frame(CONTINUATION, 0, 1, b"").repeat(5000);
    send(&mut stream, &empty);
    let (came, _) = until(&mut stream, SECOND, |frame| frame.kind == GOAWAY);
    assert_eq!(goaway(&came), Some(CALM));

    // One that drips, and one whose frame does.
    for drip in [frame(CONTINUATION, 0, 1, &[]), vec![0]] {
        let mut stream = connect(&octroi, &[]);
        let start = Instant::now();
        let begun = if drip.len() == 1 {
            frame(HEADERS, END_HEADERS, 1, &[0; 200])[..20].to_vec()
        } else {
            half(&whole)
        };
        send(&mut stream, &begun);
        let mut ended = None;
        while ended.is_none() && start.elapsed() < 3 * SECOND {
            send(&mut stream, &drip);
            let (came, closed) = until(&mut stream, Duration::from_millis(60), |frame| frame.kind == GOAWAY);
            ended = goaway(&came).or(closed.then_some(u32::MAX));
        }
        assert_eq!(ended, Some(CALM));
        assert!(
            start.elapsed() >= Duration::from_millis(500) && start.elapsed() < 2 * SECOND,
            "{:?}",
            start.elapsed()
        );
    }
    octroi.access_line(|line| line["reason"] == "timeout_head" && line["http.version"] == "HTTP/2");

    // Just inside: in two pieces, within the time.
    let mut stream = connect(&octroi, &[]);
    send(&mut stream, &frame(HEADERS, END_STREAM, 1, &whole[..10]));
    wait::slow_peer(Duration::from_millis(200));
    send(&mut stream, &frame(CONTINUATION, END_HEADERS, 1, &whole[10..]));
    let (came, _) = until(&mut stream, 2 * SECOND, |frame| frame.kind == DATA);
    assert!(came.iter().any(|frame| frame.kind == HEADERS) && goaway(&came).is_none(), "{came:?}");
}

#[test]
fn silence_has_an_end_before_the_first_request_and_after_the_last() {
    let (octroi, _upstream) = started("header_timeout: 400ms, idle_timeout: 900ms");
    let cut = |reason: &str| {
        octroi.metric(&format!(r#"octroi_connections_cut_total{{listener="public",reason="{reason}"}}"#))
    };

    let (start, mut stream) = (Instant::now(), connect(&octroi, &[]));
    let (came, _) = until(&mut stream, 3 * SECOND, |frame| frame.kind == GOAWAY);
    assert_eq!((goaway(&came), cut("timeout_no_request")), (Some(0), 1.0));
    assert!(start.elapsed() >= Duration::from_millis(350));

    let mut stream = connect(&octroi, &[]);
    for id in [1, 3] {
        send(&mut stream, &get(id));
        let (came, _) =
            until(&mut stream, 2 * SECOND, |frame| frame.kind == DATA && frame.flags & END_STREAM != 0);
        assert!(goaway(&came).is_none());
        // Longer than `header_timeout`, shorter than `idle_timeout`.
        wait::elapse(Duration::from_millis(500));
    }
    let start = Instant::now();
    let (came, _) = until(&mut stream, 3 * SECOND, |frame| frame.kind == GOAWAY);
    assert_eq!((goaway(&came), cut("timeout_idle")), (Some(0), 1.0));
    assert!(start.elapsed() < SECOND, "{:?}", start.elapsed());
}

#[test]
fn a_request_in_flight_is_not_idle() {
    let (octroi, _upstream) = started("idle_timeout: 300ms");
    let mut stream = connect(&octroi, &[]);

    send(&mut stream, &request(1, "GET", HOST, "/?sleep=1200", END_STREAM));
    let (came, _) = until(&mut stream, 4 * SECOND, |frame| frame.kind == DATA);

    assert!(came.iter().any(|frame| frame.kind == DATA) && goaway(&came).is_none(), "{came:?}");
}

#[test]
fn an_answer_without_a_window_is_given_up() {
    let (octroi, _upstream) = started("write_stall: 500ms, write_min_rate: 1MiB/s");
    let mut stream = connect(&octroi, &[(4, 0)]);

    // An upstream's answer, and one of our own.
    send(&mut stream, &[get(1), request(3, "GET", "nobody.test", "/", END_STREAM)].concat());
    let left = std::cell::Cell::new(2);
    let (came, _) = until(&mut stream, 5 * SECOND, |frame| {
        left.set(left.get() - i32::from(frame.kind == RESET));
        left.get() == 0
    });
    let mut reset: Vec<_> =
        came.iter().filter(|frame| frame.kind == RESET).map(|frame| (frame.stream, frame.code())).collect();
    reset.sort_unstable();
    assert_eq!(reset, [(1, CALM), (3, CALM)]);
    octroi.access_line(|line| line["reason"] == "timeout_write" && line["path"] == "/");

    // The connection goes on, for streams that have one.
    send(&mut stream, &[get(5), frame(WINDOW_UPDATE, 0, 5, &[0, 0, 100, 0])].concat());
    let (came, _) = until(&mut stream, 2 * SECOND, |frame| frame.kind == DATA && frame.stream == 5);
    assert!(came.iter().any(|frame| frame.kind == DATA && frame.stream == 5), "{came:?}");
}

/// The library keeps an answer that waits for a window, and its stream's place, whoever resets the stream.
#[test]
fn an_answer_that_waited_for_a_window_leaves_its_place_to_others() {
    let (octroi, _upstream) = started("http2: {streams: 4}, write_stall: 300ms, write_min_rate: 1MiB/s");
    let put = |stream: u32, host: &str| {
        let fields = [
            (":method", "PUT"),
            (":scheme", "https"),
            (":authority", host),
            (":path", "/"),
            ("content-length", "0"),
        ];
        frame(HEADERS, END_HEADERS, stream, &block(&fields))
    };
    let by_us = |_: u32| Vec::new();
    let by_client = |stream: u32| frame(RESET, 0, stream, &CANCEL.to_be_bytes());
    type Frames<'a> = &'a dyn Fn(u32) -> Vec<u8>;
    let enders: [(&str, Frames<'_>); 2] = [("the client", &by_client), ("octroi", &by_us)];
    let requests: [(&str, Frames<'_>); 3] = [
        ("a refusal", &|stream| request(stream, "GET", "nobody.test", "/", END_STREAM)),
        ("a refusal of what has not ended", &|stream| put(stream, "nobody.test")),
        ("an answer of the app", &get),
    ];
    for (who, ends) in enders {
        for (what, ask) in requests {
            // None at all, and one that some of the answer goes through.
            for window in [0, 1] {
                let mut stream = connect(&octroi, &[(4, window)]);
                // Three times as many as may be open at once, so many at a time.
                let numbers: Vec<u32> = (0..12).map(|n| 2 * n + 1).collect();
                for some in numbers.chunks(4) {
                    send(&mut stream, &some.iter().flat_map(|&number| ask(number)).collect::<Vec<_>>());
                    let begun = std::cell::Cell::new(0);
                    let is_next = |frame: &ReceivedFrame| {
                        let counts =
                            if ends(1).is_empty() { frame.kind == RESET } else { frame.kind == HEADERS };
                        begun.set(begun.get() + usize::from(counts));
                        begun.get() == some.len()
                    };
                    let (came, _) = until(&mut stream, 10 * SECOND, is_next);
                    let refused =
                        came.iter().find(|frame| frame.kind == RESET && frame.code() == REFUSED_STREAM);
                    assert_eq!(
                        (begun.get(), refused),
                        (some.len(), None),
                        "{what}, ended by {who}, at {}: {came:?}",
                        some[0]
                    );
                    send(&mut stream, &some.iter().flat_map(|&number| ends(number)).collect::<Vec<_>>());
                }
                // An honest request behind all of them.
                send(&mut stream, &[get(101), frame(WINDOW_UPDATE, 0, 101, &[0, 0, 100, 0])].concat());
                let (came, _) = until(&mut stream, 10 * SECOND, |frame| {
                    frame.stream == 101 && frame.flags & END_STREAM != 0
                });
                assert!(
                    came.iter().any(|frame| frame.kind == DATA && frame.stream == 101),
                    "{what}, ended by {who}: {came:?}"
                );
                assert!(came.iter().all(|frame| frame.kind != GOAWAY), "{came:?}");
            }
        }
    }
}

/// The library asserts, where it is built for tests, that nothing is counted when a connection ends. It may fail here, where a write fails
/// before the end of the client is read (`Http2::client_has_gone`): it is about a count that nobody reads any more.
#[test]
fn a_client_that_goes_while_its_answers_wait_for_a_window_leaves_nothing_behind() {
    let (octroi, _upstream) = started("");
    let fields = [
        (":method", "PUT"),
        (":scheme", "https"),
        (":authority", "nobody.test"),
        (":path", "/"),
        ("content-length", "0"),
    ];
    for (window, hard) in [(0, false), (0, true), (1, false), (1, true)] {
        for _ in 0..3 {
            let mut stream = connect(&octroi, &[(4, window)]);
            send(
                &mut stream,
                &[1, 3, 5].map(|number| frame(HEADERS, END_HEADERS, number, &block(&fields))).concat(),
            );
            until(&mut stream, 5 * SECOND, |frame| frame.kind == HEADERS && frame.stream == 5);
            if !hard {
                stream.conn.send_close_notify();
                let _ = stream.flush();
            }
        }
    }
    eventually("all connections have ended", || {
        (octroi.metric(r#"octroi_connections{listener="public"}"#) == 0.0).then_some(())
    });
    assert_eq!(octroi.metric("octroi_kept_bytes"), 0.0);
    assert_eq!(octroi.curl("acme.test", "/x").args(&["--http2"]).status(), 200, "and others are served");
}

/// Node's `http2` takes an answer that is reset with NO_ERROR or CANCEL for a whole one.
#[test]
fn an_answer_that_breaks_off_is_taken_for_whole_by_no_client() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for mut server in listener.incoming().flatten() {
            std::thread::spawn(move || {
                let (mut head, mut octet) = (Vec::new(), [0]);
                while !head.ends_with(b"\r\n\r\n") && server.read(&mut octet).is_ok_and(|read| read > 0) {
                    head.push(octet[0]);
                }
                let head = String::from_utf8_lossy(&head);
                let (framing, body) = if head.contains("/chunks") {
                    ("Transfer-Encoding: chunked", "3\r\nabc\r\n")
                } else {
                    ("Content-Length: 1000", "abc")
                };
                let _ = server.write_all(format!("HTTP/1.1 200 OK\r\n{framing}\r\n\r\n{body}").as_bytes());
                // One breaks off, the other says nothing more.
                if head.contains("/stuck") {
                    let _ = server.read(&mut octet);
                }
            });
        }
    });
    let slow = config(addr, "").replace("}]}\nroutes", "}], timeouts: {between_bytes: 300ms}}\nroutes");
    let octroi = Octroi::start(&slow);
    for (path, reason) in
        [("/length", "upstream_closed"), ("/chunks", "upstream_closed"), ("/stuck", "upstream_timeout")]
    {
        let mut stream = connect(&octroi, &[]);
        send(&mut stream, &request(1, "GET", HOST, path, END_STREAM));
        let (came, _) = until(&mut stream, 5 * SECOND, |frame| {
            frame.kind == RESET || frame.flags & END_STREAM != 0 && frame.kind == DATA
        });

        let reset: Vec<_> =
            came.iter().filter(|frame| frame.kind == RESET).map(ReceivedFrame::code).collect();
        assert_eq!(reset, [INTERNAL_ERROR], "{path} {came:?}");
        let line = octroi.access_line(|line| line["path"] == path);
        assert_eq!((&line["status"], &line["reason"]), (&200.into(), &reason.into()), "{line}");
    }
    // Whole ones end in order.
    let (octroi, _upstream) = started("");
    let mut stream = connect(&octroi, &[]);
    send(&mut stream, &get(1));
    let (came, _) =
        until(&mut stream, 5 * SECOND, |frame| frame.kind == DATA && frame.flags & END_STREAM != 0);
    assert!(came.iter().all(|frame| frame.kind != RESET), "{came:?}");
}

/// A balancer passes on over one connection what each of its clients cancels.
#[test]
fn a_trusted_proxy_may_cancel_for_many_clients() {
    let upstream = Upstream::start();
    let limits = "http2: {resets: 3, errors: 3}";
    let trusting =
        config(upstream.addr, limits).replace("tls: {},", "tls: {}, trusted_proxies: [127.0.0.1/32],");
    let cancelled = |n: u32| [get(2 * n + 1), frame(RESET, 0, 2 * n + 1, &CANCEL.to_be_bytes())].concat();
    let alone = Octroi::start(&config(upstream.addr, limits));
    assert_eq!(flood(&alone, &[], 4, cancelled), Some(CALM));

    let octroi = Octroi::start(&trusting);
    let mut stream = connect(&octroi, &[]);
    send(&mut stream, &request(1, "GET", HOST, "/?sleep=3000", END_STREAM));
    for n in 1..=300 {
        assert!(send(&mut stream, &cancelled(n)));
        // Taken up before it is cancelled or not: both happen.
        if n % 20 == 0 {
            assert!(send(&mut stream, &frame(PING, 0, 0, b"12345678")));
            until(&mut stream, SECOND, |frame| frame.kind == PING);
        }
    }
    let (came, ended) = until(&mut stream, 5 * SECOND, |frame| frame.kind == DATA && frame.stream == 1);
    assert!(!ended && goaway(&came).is_none() && came.iter().any(|frame| frame.kind == DATA), "{came:?}");
    // It has a bound too.
    assert!(send(&mut stream, &cancelled(301)));
    let (came, _) = until(&mut stream, SECOND, |frame| frame.kind == GOAWAY);
    assert_eq!(goaway(&came), Some(CALM));
}

/// All its clients leave at once.
#[test]
fn a_burst_of_cancelled_requests_ends_no_connection_within_its_bound() {
    let (octroi, _upstream) = started("http2: {streams: 20, resets: 400}");
    let mut stream = connect(&octroi, &[]);
    let cancelled = |n: u32| [get(2 * n + 1), frame(RESET, 0, 2 * n + 1, &CANCEL.to_be_bytes())].concat();
    let burst = |numbers: std::ops::Range<u32>| numbers.flat_map(cancelled).collect::<Vec<_>>();
    send(
        &mut stream,
        &[request(1, "GET", HOST, "/?sleep=700", END_STREAM), burst(1..400), get(801)].concat(),
    );
    let came = until_answers(&mut stream, 2);
    assert!(came.iter().any(|frame| frame.kind == HEADERS && frame.stream == 1), "{came:?}");
    // One too many has the name of its bound.
    let mut stream = connect(&octroi, &[]);
    send(&mut stream, &burst(0..401));
    let (came, _) = until(&mut stream, 5 * SECOND, |frame| frame.kind == GOAWAY);
    assert_eq!(goaway(&came), Some(CALM));
    octroi.access_line(|line| {
        line["reason"] == "h2_abuse" && line["detail"].as_str().unwrap().contains("resets")
    });
}

/// A stream that is opened, and what it is reset for.
type Case<'a> = (&'a str, &'a dyn Fn(u32) -> Vec<u8>);

/// A stream that we reset is to the library as one that its client cancels.
#[test]
fn a_burst_of_streams_that_we_reset_ends_no_connection_within_its_bound() {
    let upstream = Upstream::start();
    let limits = "http2: {streams: 20, errors: 4, resets: 4}";
    let trusting =
        config(upstream.addr, limits).replace("tls: {},", "tls: {}, trusted_proxies: [127.0.0.1/32],");
    let octroi = Octroi::start(&trusting);
    let post = |stream: u32| request(stream, "POST", HOST, "/", 0);
    let cases: [Case<'_>; 8] = [
        ("window", &|stream| [post(stream), frame(WINDOW_UPDATE, 0, stream, &[0; 4])].concat()),
        ("DATA", &|stream| [get(stream), frame(DATA, END_STREAM, stream, b"x")].concat()),
        ("HEADERS", &|stream| [get(stream), get(stream)].concat()),
        ("PRIORITY", &|stream| [post(stream), frame(PRIORITY, 0, stream, &[0; 4])].concat()),
        // The client cancels, alone and with ours, and the library resets.
        ("RST_STREAM", &|stream| [post(stream), frame(RESET, 0, stream, &CANCEL.to_be_bytes())].concat()),
        ("both", &|stream| match stream % 4 {
            1 => [post(stream), frame(RESET, 0, stream, &CANCEL.to_be_bytes())].concat(),
            _ => [post(stream), frame(WINDOW_UPDATE, 0, stream, &[0; 4])].concat(),
        }),
        ("overflow", &|stream| {
            [post(stream), frame(WINDOW_UPDATE, 0, stream, &[0x7f, 0xff, 0xff, 0xff])].concat()
        }),
        ("all", &|stream| match stream % 6 {
            1 => [post(stream), frame(RESET, 0, stream, &CANCEL.to_be_bytes())].concat(),
            3 => [post(stream), frame(WINDOW_UPDATE, 0, stream, &[0; 4])].concat(),
            _ => [post(stream), frame(WINDOW_UPDATE, 0, stream, &[0x7f, 0xff, 0xff, 0xff])].concat(),
        }),
    ];
    for (name, each) in cases {
        // An upload that is open the whole time, and others that the library has to take up before those.
        for others in [0, 18] {
            let mut stream = connect(&octroi, &[]);
            let open: Vec<u8> = (0..=others).flat_map(|n| post(2 * n + 1)).collect();
            let burst: Vec<u8> = (19..319).flat_map(|n| each(2 * n + 1)).collect();
            assert!(send(&mut stream, &[open, burst, frame(DATA, END_STREAM, 1, b"x")].concat()), "{name}");
            let (came, ended) = until(&mut stream, 5 * SECOND, |frame| {
                frame.kind == GOAWAY
                    || (frame.stream == 1 && frame.flags & END_STREAM != 0 && frame.kind != RESET)
            });
            assert!(!ended && goaway(&came).is_none(), "{name} {others}: {:?}", came.last());
            assert!(came.iter().any(|frame| frame.kind == HEADERS && frame.stream == 1), "{name} {others}");
        }
    }
    // One too many has the name of its bound.
    let mut stream = connect(&octroi, &[]);
    let ours = |n: u32| [get(2 * n + 1), frame(DATA, END_STREAM, 2 * n + 1, b"x")].concat();
    send(&mut stream, &(0..401).flat_map(ours).collect::<Vec<_>>());
    let (came, _) = until(&mut stream, 5 * SECOND, |frame| frame.kind == GOAWAY);
    assert_eq!(goaway(&came), Some(CALM));
    octroi.access_line(|line| {
        line["reason"] == "h2_abuse" && line["detail"].as_str().unwrap().contains("errors")
    });
}

/// RFC 9113, section 5.3.2: nobody ranks streams any more, and what is said of it changes nothing.
#[test]
fn what_ranks_streams_and_what_nobody_knows_changes_nothing_and_counts() {
    let (octroi, upstream) = started("http2: {priorities: 12}");
    let rank = |stream: u32| [&stream.to_be_bytes()[..], &[16]].concat();
    let fields = |path: &str| {
        [&b"\x82\x87\x41\x09acme.test\x04"[..], &[u8::try_from(path.len()).unwrap()], path.as_bytes()]
            .concat()
    };
    let ranked = |stream: u32, path: &str| {
        frame(HEADERS, 0x20 | END_HEADERS | END_STREAM, stream, &[rank(stream), fields(path)].concat())
    };
    for in_two in [false, true] {
        // On streams that nobody has opened, the highest of all too; PRIORITY_UPDATE, ALTSVC, ORIGIN, and a type of nobody's.
        let idle: Vec<u8> = [1, 2, 7, 0x7fff_ffff]
            .into_iter()
            .flat_map(|stream| frame(PRIORITY, 0, stream, &rank(stream)))
            .collect();
        let others: Vec<u8> =
            [0x10, 10, 12, 99].into_iter().flat_map(|kind| frame(kind, 0, 0, b"\0\0\0\x01u=1")).collect();
        let mut stream = connect(&octroi, &[]);
        let first = match in_two {
            true => [
                frame(HEADERS, 0x20 | END_STREAM, 1, &[rank(1), fields("/1")[..2].to_vec()].concat()),
                frame(CONTINUATION, END_HEADERS, 1, &fields("/1")[2..]),
            ]
            .concat(),
            false => ranked(1, "/1"),
        };
        // Trailers of a stream that depends on itself, too.
        let post = request(5, "POST", HOST, "/5", 0);
        let trailers =
            frame(HEADERS, 0x20 | END_HEADERS | END_STREAM, 5, &[rank(5), block(&[("x-sum", "1")])].concat());
        let said =
            [idle, others, first, ranked(3, "/3"), frame(PRIORITY, 0, 3, &rank(3)), post, trailers].concat();
        assert!(send(&mut stream, &said));
        let came = until_answers(&mut stream, 3);
        assert!(came.iter().all(|frame| frame.kind != RESET), "{came:?}");
        let mut targets: Vec<_> = upstream.take().into_iter().map(|got| got.target).collect();
        targets.sort();
        assert_eq!(targets, ["/1", "/3", "/5"]);
    }
    for path in ["/1", "/3", "/5"] {
        let line = octroi.access_line(|line| line["path"] == path);
        assert_eq!(
            (&line["status"], &line["host"], &line["tenant"]),
            (&200.into(), &HOST.into(), &"acme".into()),
            "{line}"
        );
    }
    for kind in [PRIORITY, 0x10, 99] {
        assert_eq!(flood(&octroi, &[], 12, |_| frame(kind, 0, 3, &rank(1))), None, "{kind}");
        assert_eq!(flood(&octroi, &[], 13, |_| frame(kind, 0, 3, &rank(1))), Some(CALM), "{kind}");
    }
    // It needs a stream (section 6.3).
    assert_eq!(flood(&octroi, &[], 1, |_| frame(PRIORITY, 0, 0, &rank(1))), Some(1));
}

/// RFC 7541, section 4.2.
#[test]
fn a_head_changes_the_size_of_the_table_twice_and_no_more() {
    const COMPRESSION: u32 = 9;
    let (octroi, _upstream) = started("");
    let fields = &b"\x82\x87\x84\x41\x09acme.test"[..];
    let mut stream = connect(&octroi, &[]);
    for number in [1, 3] {
        assert!(send(
            &mut stream,
            &frame(HEADERS, END_HEADERS | END_STREAM, number, &[b"\x20\x3f\xe1\x1f", fields].concat())
        ));
        until_answers(&mut stream, 1);
    }
    for bad in [[&b"\x20\x20\x3f\xe1\x1f"[..], fields], [&[0x20; 15_000], fields], [fields, b"\x20"]] {
        let head = frame(HEADERS, END_HEADERS | END_STREAM, 1, &bad.concat());
        assert_eq!(flood(&octroi, &[], 1, |_| head.clone()), Some(COMPRESSION));
    }
    let cut = [
        frame(HEADERS, END_STREAM, 1, &[0x20; 2]),
        frame(CONTINUATION, END_HEADERS, 1, &[b"\x20", fields].concat()),
    ]
    .concat();
    assert_eq!(flood(&octroi, &[], 1, |_| cut.clone()), Some(COMPRESSION));
}

/// HAProxy gives a number to what it then cannot send, and resets that.
#[test]
fn a_trusted_proxy_that_resets_a_stream_that_it_never_opened_ends_no_other() {
    let upstream = Upstream::start();
    let trusting = config(upstream.addr, "http2: {resets: 1}")
        .replace("tls: {},", "tls: {}, trusted_proxies: [127.0.0.1/32],");
    let idle = |n: u32| frame(RESET, 0, 2 * n + 3, &INTERNAL_ERROR.to_be_bytes());
    let octroi = Octroi::start(&trusting);
    let mut stream = connect(&octroi, &[]);
    send(&mut stream, &[request(1, "GET", HOST, "/?sleep=300", END_STREAM), idle(0), get(5)].concat());
    let (came, ended) = until(&mut stream, 5 * SECOND, |frame| {
        frame.kind == DATA && frame.stream == 1 && frame.flags & END_STREAM != 0
    });
    assert!(
        !ended
            && goaway(&came).is_none()
            && came.iter().any(|frame| frame.kind == HEADERS && frame.stream == 5),
        "{came:?}"
    );
    assert!(came.iter().any(|frame| frame.kind == DATA && frame.stream == 1), "{came:?}");
    // They count.
    assert_eq!(flood(&octroi, &[], 101, idle), Some(CALM));

    let alone = Octroi::start(&config(upstream.addr, ""));
    assert_eq!(flood(&alone, &[], 1, idle), Some(1));
}

/// The whole body of a request, as the app has got it.
fn body_of(upstream: &Upstream, target: &str) -> Vec<u8> {
    eventually("the app has it", || {
        upstream.peek().into_iter().find(|got| got.target == target).map(|got| got.body)
    })
}

#[test]
fn data_without_an_octet_ends_no_connection_within_its_bound() {
    let (octroi, upstream) = started("http2: {empty_data: 600}");
    let mut stream = connect(&octroi, &[]);
    let padded = frame(DATA, 8, 1, &[&[200][..], &[0; 200]].concat());
    let empty = frame(DATA, 0, 1, b"");
    // The padding is more than the window of a stream.
    for part in [empty.repeat(250), padded.repeat(175), padded.repeat(174)] {
        assert!(send(&mut stream, &part_of(&part, 1)));
        let (came, ended) = until(&mut stream, Duration::from_millis(300), |frame| frame.kind == GOAWAY);
        assert!(!ended && goaway(&came).is_none(), "{came:?}");
    }
    assert!(send(&mut stream, &[frame(DATA, 8, 1, b"\x01ab\0"), frame(DATA, END_STREAM, 1, b"")].concat()));
    let (came, _) = until(&mut stream, 5 * SECOND, |frame| frame.kind == DATA && frame.stream == 1);
    assert!(came.iter().any(|frame| frame.kind == HEADERS), "{came:?}");
    assert_eq!(body_of(&upstream, "/empty"), b"ab");
    assert!(send(
        &mut stream,
        &[request(3, "POST", HOST, "/", 0), frame(DATA, 8, 3, b"\0").repeat(2)].concat()
    ));
    let (came, _) = until(&mut stream, SECOND, |frame| frame.kind == GOAWAY);
    assert_eq!(goaway(&came), Some(CALM), "{came:?}");
}

/// The parts of a request of which the first has its head.
fn part_of(part: &[u8], stream: u32) -> Vec<u8> {
    let is_first = part.starts_with(&frame(DATA, 0, stream, b""));
    [if is_first { request(stream, "POST", HOST, "/empty", 0) } else { Vec::new() }, part.to_vec()].concat()
}

#[test]
fn a_body_in_tiny_pieces_arrives_whole_and_ends_no_connection() {
    let (octroi, upstream) = started("");
    let mut stream = connect(&octroi, &[]);
    let octets: Vec<u8> = (0..6000_u32).map(|n| b'a' + u8::try_from(n % 26).unwrap()).collect();
    let body: Vec<u8> = octets.iter().flat_map(|octet| frame(DATA, 0, 3, &[*octet])).collect();
    send(
        &mut stream,
        &[request(1, "GET", HOST, "/?sleep=500", END_STREAM), request(3, "POST", HOST, "/tiny", 0), body]
            .concat(),
    );
    send(&mut stream, &frame(DATA, END_STREAM, 3, b""));
    let came = until_answers(&mut stream, 2);
    assert!(came.iter().all(|frame| frame.kind != RESET), "{came:?}");
    assert_eq!(body_of(&upstream, "/tiny"), octets);
}

/// Reads until so many answers are whole, on a connection that lives on.
fn until_answers(stream: &mut Tls, answers: usize) -> Vec<ReceivedFrame> {
    let whole = std::cell::Cell::new(0);
    let (came, ended) = until(stream, 10 * SECOND, |frame| {
        whole.set(
            whole.get() + usize::from(matches!(frame.kind, HEADERS | DATA) && frame.flags & END_STREAM != 0),
        );
        whole.get() == answers || frame.kind == GOAWAY
    });
    assert!(!ended && goaway(&came).is_none() && whole.get() == answers, "{came:?}");
    came
}

/// Tells how much of a chunked body has come so far.
fn listening() -> (SocketAddr, std::sync::mpsc::Receiver<Vec<u8>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    let (tell, told) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut space = [0; 4096];
        while let Ok(read @ 1..) = stream.read(&mut space) {
            if tell.send(space[..read].to_vec()).is_err() {
                return;
            }
        }
    });
    (addr, told)
}

#[test]
fn tiny_pieces_reach_the_app_without_waiting_for_more() {
    let (addr, told) = listening();
    let octroi = Octroi::start(&config(addr, ""));
    let mut stream = connect(&octroi, &[]);
    send(&mut stream, &request(1, "POST", HOST, "/talk", 0));
    let (mut sent, mut got) = (0, Vec::new());
    // One at a time, and more at once than the library may have.
    for pieces in [1, 1, 1, 30, 1, 200, 1, 7, 9, 1] {
        assert!(send(&mut stream, &frame(DATA, 0, 1, b"@").repeat(pieces)));
        sent += pieces;
        while got.iter().filter(|octet| **octet == b'@').count() < sent {
            got.extend(told.recv_timeout(10 * SECOND).expect("what was sent has come"));
        }
    }
}

#[test]
fn what_comes_where_nothing_may_ends_as_the_standard_says() {
    const PROTOCOL: u32 = 1;
    const FLOW_CONTROL: u32 = 3;
    const CLOSED: u32 = 5;
    const FRAME_SIZE: u32 = 6;
    let (octroi, _upstream) = started("");
    let post = request(1, "POST", HOST, "/", 0);
    let whole = request(1, "GET", HOST, "/?sleep=400", END_STREAM);
    let cancel = frame(RESET, 0, 1, &CANCEL.to_be_bytes());
    let (data, again) = (frame(DATA, END_STREAM, 1, b"test"), get(1));
    for (said, kind, code) in [
        ([&whole[..], &data].concat(), RESET, CLOSED),
        ([&whole[..], &again].concat(), RESET, CLOSED),
        ([&post[..], &cancel, &data].concat(), RESET, CLOSED),
        ([&post[..], &cancel, &again].concat(), RESET, CLOSED),
        ([get(5), get(3)].concat(), GOAWAY, PROTOCOL),
        ([&post[..], &frame(2, 0, 1, &[0; 4])].concat(), RESET, FRAME_SIZE),
        ([&post[..], &frame(WINDOW_UPDATE, 0, 1, &[0; 4])].concat(), RESET, PROTOCOL),
        (frame(WINDOW_UPDATE, 0, 0, &[0; 4]), GOAWAY, PROTOCOL),
        (frame(2, 0, 1, &[0; 4]), GOAWAY, FRAME_SIZE),
        (frame(GOAWAY, 0, 0, &[0; 7]), GOAWAY, FRAME_SIZE),
        (frame(SETTINGS, 0, 0, &[0, 4, 0x80, 0, 0, 0]), GOAWAY, FLOW_CONTROL),
        (frame(RESET, 0, 1, &[0; 4]), GOAWAY, PROTOCOL),
        (frame(DATA, 0, 1, b"x"), GOAWAY, PROTOCOL),
    ] {
        let mut stream = connect(&octroi, &[]);
        send(&mut stream, &said);
        let (came, _) = until(&mut stream, 3 * SECOND, |frame| matches!(frame.kind, RESET | GOAWAY));
        let last = came.last().map(|frame| (frame.kind, frame.code()));
        assert_eq!(last, Some((kind, code)), "{said:x?}");
        if kind == RESET {
            send(&mut stream, &get(9));
            let (came, _) =
                until(&mut stream, 3 * SECOND, |frame| frame.kind == HEADERS && frame.stream == 9);
            assert!(
                goaway(&came).is_none() && came.iter().any(|frame| frame.stream == 9),
                "{said:x?} {came:?}"
            );
        }
    }
    // Behind our answer, too.
    let mut stream = connect(&octroi, &[]);
    send(&mut stream, &get(1));
    until(&mut stream, 3 * SECOND, |frame| frame.kind == DATA && frame.flags & END_STREAM != 0);
    send(&mut stream, &again);
    let (came, _) = until(&mut stream, 3 * SECOND, |frame| frame.kind == RESET);
    assert_eq!(came.last().map(ReceivedFrame::code), Some(CLOSED), "{came:?}");
    let largest = frame(SETTINGS, 0, 0, &[0, 4, 0x7f, 0xff, 0xff, 0xff]);
    send(&mut stream, &[largest, get(3)].concat());
    let (came, _) = until(&mut stream, 3 * SECOND, |frame| frame.kind == HEADERS);
    assert!(goaway(&came).is_none() && came.iter().any(|frame| frame.kind == HEADERS), "{came:?}");
}

#[test]
fn a_stream_beyond_those_at_once_is_refused_and_everything_else_goes_on() {
    let (octroi, upstream) = started("http2: {streams: 3}");
    let mut stream = connect(&octroi, &[]);
    let upload = |stream: u32| {
        let trailers = frame(HEADERS, END_HEADERS | END_STREAM, stream, &block(&[("x-sum", "1")]));
        [
            request(stream, "POST", HOST, &format!("/{stream}?sleep=300"), 0),
            frame(DATA, 0, stream, &[b'x'; 12_000]),
            trailers,
        ]
        .concat()
    };
    // Before it has seen how many we take: all in one write, far more octets than the window of the connection together.
    let all: Vec<u8> = (0..5).flat_map(|n| upload(2 * n + 1)).collect();
    assert!(send(&mut stream, &all));
    let came = until_answers(&mut stream, 3);
    let refused: Vec<_> =
        came.iter().filter(|frame| frame.kind == RESET).map(|frame| (frame.stream, frame.code())).collect();
    assert_eq!(refused, [(7, 7), (9, 7)]);
    // Again, each once there is room; what was thrown away has given its window back.
    for n in 5..15 {
        assert!(send(&mut stream, &upload(2 * n + 1)));
        let came = until_answers(&mut stream, 1);
        assert!(came.iter().all(|frame| frame.kind != RESET), "{came:?}");
    }
    assert_eq!(upstream.take().len(), 13);
}

/// Takes so many octets of an answer at a time, so often. Returns how long it lasted until the stream was reset; nothing where it went on for
/// six seconds.
fn take_by_drops(octroi: &Octroi, stream: u32, octets: u32, every: Duration, path: &str) -> Option<Duration> {
    let mut tls = connect(octroi, &[(4, 100)]);
    tls.get_ref().set_read_timeout(Some(Duration::from_millis(10))).unwrap();
    let began = Instant::now();
    send(&mut tls, &request(stream, "GET", "acme.test", path, END_STREAM));
    while began.elapsed() < 6 * SECOND {
        let (came, ended) = until(&mut tls, every, |frame| frame.kind == RESET && frame.stream == stream);
        if ended || came.iter().any(|frame| frame.kind == RESET && frame.stream == stream) {
            return Some(began.elapsed());
        }
        for id in [0, stream] {
            send(&mut tls, &frame(WINDOW_UPDATE, 0, id, &octets.to_be_bytes()));
        }
    }
    None
}

#[test]
fn an_answer_that_is_taken_by_drops_ends_and_one_at_the_rate_goes_on() {
    let (octroi, _upstream) = started("write_stall: 2s, write_min_rate: 1KiB/s");

    let slow = take_by_drops(&octroi, 1, 100, Duration::from_millis(900), "/big?bytes=900000");
    assert!(slow.is_some_and(|after| after < 4 * SECOND), "{slow:?}");
    octroi.access_line(|line| line["reason"] == "timeout_write" && line["path"] == "/big");
    assert_eq!(take_by_drops(&octroi, 1, 800, Duration::from_millis(500), "/big?bytes=900000"), None);
    // What is silent owes nothing: a head, and one event each tenth of a second that the window has room for.
    assert_eq!(take_by_drops(&octroi, 1, 300, Duration::from_millis(900), "/held"), None);
}

#[test]
fn frames_of_a_wrong_length_end_the_connection() {
    let (octroi, _upstream) = started("");
    for wrong in [
        frame(PING, 0, 0, b"1234567"),
        frame(SETTINGS, 0, 0, &[0; 5]),
        frame(WINDOW_UPDATE, 0, 0, &[0; 3]),
        frame(RESET, 0, 1, &[0; 5]),
        [&[0, 0x40, 1, DATA, 0, 0, 0, 0, 1][..], &[0; 100]].concat(),
    ] {
        let mut stream = connect(&octroi, &[]);
        send(&mut stream, &[get(1), wrong.clone()].concat());

        let (came, ended) = until(&mut stream, 2 * SECOND, |frame| frame.kind == GOAWAY);

        assert!(goaway(&came).is_some_and(|code| code != 0) || ended, "{wrong:?} {came:?}");
        octroi.access_line(|line| line["reason"] == "protocol");
    }
}

/// Answers as soon as it has the head, and reads whatever comes behind it or not.
fn hasty(reads: bool) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || {
                let (mut stream, mut bytes, mut space) = (stream, Vec::new(), [0; 4096]);
                while !bytes.windows(4).any(|end| end == b"\r\n\r\n") {
                    match stream.read(&mut space) {
                        Ok(read @ 1..) => bytes.extend_from_slice(&space[..read]),
                        _ => return,
                    }
                }
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nearly\n");
                while reads && matches!(stream.read(&mut space), Ok(1..)) {}
                wait::slow_peer(10 * SECOND);
            });
        }
    });
    addr
}

#[test]
fn an_answer_before_the_body_hangs_nobody() {
    for reads in [true, false] {
        let octroi = Octroi::start(&config(hasty(reads), ""));
        let mut stream = connect(&octroi, &[]);
        let post =
            [request(1, "POST", HOST, "/early", 0), frame(DATA, 0, 1, &[b'x'; 16_000]).repeat(4)].concat();
        let start = Instant::now();

        send(&mut stream, &post);
        let (came, _) = until(&mut stream, 10 * SECOND, |frame| frame.kind == RESET);

        let answer = came
            .iter()
            .position(|frame| frame.kind == DATA && frame.payload == b"early\n")
            .expect("the answer");
        let reset = came.iter().position(|frame| frame.kind == RESET).expect("the reset");
        assert!(answer < reset && came[answer].flags & END_STREAM != 0, "{came:?}");
        assert_eq!((came[reset].stream, came[reset].code()), (1, 0), "NO_ERROR, so that the answer stands");
        assert!(start.elapsed() < 8 * SECOND, "{:?}", start.elapsed());
        let line = octroi.access_line(|line| line["path"] == "/early");
        assert_eq!(
            (&line["status"], &line["decision"], &line["reason"]),
            (&200.into(), &"allow".into(), &serde_json::Value::Null)
        );

        // The connection goes on.
        send(&mut stream, &get(3));
        let (came, _) = until(&mut stream, 2 * SECOND, |frame| frame.kind == DATA && frame.stream == 3);
        assert!(
            goaway(&came).is_none() && came.iter().any(|frame| frame.kind == HEADERS && frame.stream == 3),
            "{came:?}"
        );
    }
}

#[test]
fn a_body_that_drips_is_reset_and_a_slow_upstream_is_not_the_clients_fault() {
    // Meanwhile: an upstream that takes nothing for longer than the grace of a body, and a client that would send.
    let slow = std::thread::spawn(|| {
        let octroi = Octroi::start(&config(sleepy(17 * SECOND), ""));
        let outcome = upload(&octroi, 12 << 20);
        (outcome, octroi.metric(r#"octroi_connections_cut_total{listener="public",reason="timeout_body"}"#))
    });
    let (octroi, _upstream) = started("");
    let mut silent = connect(&octroi, &[]);
    let mut dripping = connect(&octroi, &[]);
    let mut steady = connect(&octroi, &[]);
    let post = |path: &str| request(1, "POST", HOST, path, 0);
    let start = Instant::now();
    send(&mut silent, &[post("/silent"), get(3)].concat());
    send(&mut dripping, &[post("/dripping"), frame(DATA, 0, 1, &[0; 16_000])[..100].to_vec()].concat());
    send(&mut steady, &post("/steady"));

    let (mut silent_end, mut dripping_end) = (None, None);
    while start.elapsed() < 14 * SECOND {
        let (came, _) = until(&mut silent, Duration::from_millis(200), |frame| frame.kind == RESET);
        silent_end = silent_end
            .or(came.iter().find(|frame| frame.kind == RESET).map(|frame| (frame.stream, start.elapsed())));
        send(&mut dripping, &[0]);
        let (came, ended) = until(&mut dripping, Duration::from_millis(200), |frame| frame.kind == GOAWAY);
        dripping_end = dripping_end.or((goaway(&came).is_some() || ended).then(|| start.elapsed()));
        send(&mut steady, &frame(DATA, 0, 1, &[0; 1200]));
    }
    send(&mut steady, &frame(DATA, END_STREAM, 1, &[]));
    let (came, _) = until(&mut steady, 5 * SECOND, |frame| frame.kind == DATA);

    let (stream, took) = silent_end.expect("the silent one is reset");
    assert!(stream == 1 && took >= 9 * SECOND && took < 13 * SECOND, "{stream} {took:?}");
    assert!(dripping_end.is_some_and(|took| took >= 9 * SECOND && took < 14 * SECOND), "{dripping_end:?}");
    assert!(came.iter().any(|frame| frame.kind == HEADERS), "{came:?}");
    let line = octroi.access_line(|line| line["path"] == "/silent");
    assert_eq!((&line["reason"], &line["status"]), (&"timeout_body".into(), &408.into()), "{line}");
    assert_eq!(octroi.access_line(|line| line["path"] == "/steady")["status"], 200);
    assert!(octroi.metric(r#"octroi_connections_cut_total{listener="public",reason="timeout_body"}"#) >= 1.0);
    let ((status, held_up), cut) = slow.join().unwrap();
    assert_eq!((status, cut), (200, 0.0));
    assert!(held_up > 11 * SECOND, "the upstream was not slow: {held_up:?}");
}

/// A client as others have it: the library's, over TLS. Runs one task.
fn as_a_client<F: Future>(
    octroi: &Octroi,
    task: impl FnOnce(h2::client::SendRequest<bytes::Bytes>) -> F,
) -> F::Output {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (addr, config) =
        (octroi.addr("public"), harness::client::tls_config(&octroi.path().join("certs/ca.pem"), &[b"h2"]));
    runtime.block_on(async {
        let tcp = tokio::net::TcpStream::connect(addr).await.unwrap();
        let tls =
            tokio_rustls::TlsConnector::from(config).connect(HOST.try_into().unwrap(), tcp).await.unwrap();
        let (sender, connection) = h2::client::handshake(tls).await.unwrap();
        tokio::spawn(connection);
        task(sender.ready().await.unwrap()).await
    })
}

#[test]
fn what_the_library_would_refuse_with_a_bare_answer_has_ours_and_a_line() {
    let (octroi, upstream) = started("");
    let refused =
        |reason: &str| octroi.access_lines().into_iter().filter(|line| line["reason"] == reason).count();

    as_a_client(&octroi, |mut sender| async move {
        let mut ask = async |request: http::request::Builder| {
            let (answer, _) = sender.send_request(request.body(()).unwrap(), true).unwrap();
            answer.await.unwrap()
        };
        let get = |target: &str| http::Request::get(format!("https://{HOST}{target}"));
        // Short answers that are the upstream's are nobody's refusal.
        for target in [
            "/?status=204%20No%20Content",
            "/?status=304%20Not%20Modified",
            "/?status=400%20Bad%20Request",
            "/trailers",
        ] {
            for _ in 0..3 {
                ask(get(target)).await;
            }
        }
        assert_eq!(ask(http::Request::head(format!("https://{HOST}/"))).await.status(), 200);
        // Twice: by then the answer is in the table of fields.
        for _ in 0..2 {
            let answer = ask(get("/other").header("host", "other.test")).await;
            assert!(
                answer.status() == 400 && answer.headers().contains_key("octroi-request-id"),
                "{answer:?}"
            );
        }
        let answer = ask(http::Request::connect(format!("{HOST}:443"))).await;
        assert_eq!(answer.status(), 405);
        assert!(answer.headers().contains_key("octroi-request-id"), "{answer:?}");
        assert_eq!(ask(get("/after")).await.status(), 200);
    });

    let line = octroi.access_line(|line| line["reason"] == "method_unknown");
    assert_eq!(
        (&line["status"], &line["http.version"], &line["method"]),
        (&405.into(), &"HTTP/2".into(), &"CONNECT".into()),
        "{line}"
    );
    let line = octroi.access_line(|line| line["reason"] == "authority_conflict");
    assert_eq!(
        (&line["status"], &line["http.version"], &line["event"]),
        (&400.into(), &"HTTP/2".into(), &"request".into()),
        "{line}"
    );
    octroi.access_line(|line| line["path"] == "/after");
    assert_eq!((refused("authority_conflict"), refused("protocol")), (2, 0));
    let counted =
        octroi.metric(r#"octroi_decisions_total{check="hygiene",mode="enforce",reason="authority_conflict",tenant="acme",verdict="deny"}"#);
    assert!(counted >= 2.0, "{}", octroi.metrics());
    assert!(upstream.take().iter().all(|got| got.method != "CONNECT" && got.target != "/other"));
}

/// Reads nothing of a body for so long; then all of it, and answers.
fn sleepy(rest: Duration) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    // What the system keeps for it is no reading.
    rustix::net::sockopt::set_socket_recv_buffer_size(&listener, 16_384).unwrap();
    let addr = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            std::thread::spawn(move || {
                wait::slow_peer(rest);
                let (mut tail, mut space) = (Vec::new(), vec![0; 65_536]);
                // The body is chunked, and nothing in it looks like its end.
                while !tail.ends_with(b"0\r\n\r\n") {
                    let read = stream.read(&mut space).unwrap();
                    assert!(read > 0, "the body was cut off");
                    tail.extend_from_slice(&space[..read]);
                    tail.drain(..tail.len().saturating_sub(8));
                }
                stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").unwrap();
                wait::slow_peer(SECOND);
            });
        }
    });
    addr
}

/// Uploads much more than lies in buffers on the way; returns the status, and how long the upload was held up at most.
fn upload(octroi: &Octroi, bytes: usize) -> (u16, Duration) {
    as_a_client(octroi, |mut sender| async move {
        let request = http::Request::post(format!("https://{HOST}/upload")).body(()).unwrap();
        let (answer, mut body) = sender.send_request(request, false).unwrap();
        let (mut left, mut held_up) = (bytes, Duration::ZERO);
        while left > 0 {
            body.reserve_capacity(left.min(65_536));
            let start = Instant::now();
            let room =
                std::future::poll_fn(|cx| body.poll_capacity(cx)).await.expect("the stream is open").unwrap();
            held_up = held_up.max(start.elapsed());
            let now = room.min(left);
            left -= now;
            body.send_data(bytes::Bytes::from(vec![b'x'; now]), left == 0).unwrap();
        }
        (answer.await.unwrap().status().as_u16(), held_up)
    })
}

/// Connects with a small buffer for what comes, so that what is acknowledged is what was read.
fn narrow(addr: SocketAddr) -> TcpStream {
    use rustix::net::{AddressFamily, SocketType, connect, socket, sockopt};
    let socket = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
    sockopt::set_socket_recv_buffer_size(&socket, 8192).unwrap();
    connect(&socket, &addr).unwrap();
    TcpStream::from(socket)
}

/// Reads an endless answer at so many bytes a second. Says after how long it was cut off, if it was within ten seconds.
fn read_at(addr: SocketAddr, rate: u64) -> Option<Duration> {
    let (mut stream, start) = (narrow(addr), Instant::now());
    stream.set_read_timeout(Some(5 * SECOND)).unwrap();
    write!(stream, "GET /big?rate={rate}&bytes=200000000 HTTP/1.1\r\nHost: {HOST}\r\n\r\n").unwrap();
    let (mut read, mut space) = (0, [0; 4096]);
    while start.elapsed() < 10 * SECOND {
        // What it fell behind, because the machine is busy, it makes up for.
        if read > u64::try_from(start.elapsed().as_millis()).unwrap() * rate / 1000 {
            wait::slow_peer(Duration::from_millis(10));
            continue;
        }
        match stream.read(&mut space) {
            Ok(0) | Err(_) => return Some(start.elapsed()),
            Ok(bytes) => read += u64::try_from(bytes).unwrap(),
        }
    }
    None
}

#[test]
fn an_answer_that_is_taken_too_slowly_is_cut_and_one_just_fast_enough_is_not() {
    let (octroi, _upstream) = started("write_stall: 2s, write_min_rate: 64KiB/s");
    let addr = octroi.addr("plain");

    let [slow, fast] = [40 << 10, 100 << 10]
        .map(|rate| std::thread::spawn(move || read_at(addr, rate)))
        .map(|one| one.join().unwrap());

    assert!(slow.is_some(), "40 KiB/s were enough");
    assert_eq!(fast, None, "100 KiB/s were not");
    let line = octroi.access_line(|line| line["reason"] == "timeout_write");
    assert_eq!((&line["path"], &line["decision"]), (&"/big".into(), &"deny".into()), "{line}");
    assert_eq!(
        octroi.metric(r#"octroi_connections_cut_total{listener="plain",reason="timeout_write_rate"}"#),
        1.0
    );
}

#[test]
fn clients_that_leave_leave_nothing_behind() {
    let (octroi, _upstream) = started("");
    let head = |line: &str, more: &str| format!("{line} HTTP/1.1\r\nHost: {HOST}\r\n{more}\r\n");
    let plain = |said: &str, read: usize| {
        let mut client = TcpStream::connect(octroi.addr("plain")).unwrap();
        client.write_all(said.as_bytes()).unwrap();
        client.read_exact(&mut vec![0; read]).unwrap();
    };
    let leave = |how: usize| match how % 6 {
        0 => plain(&head("GET /x?sleep=200", ""), 0),
        1 => plain(&head("GET /big?bytes=5000000", ""), 1000),
        2 => plain("GET /x HTTP/1.1\r\nHo", 0),
        3 => plain(&head("POST /x", "Content-Length: 1000\r\n"), 0),
        4 => drop(send(&mut connect(&octroi, &[]), &request(1, "GET", HOST, "/x?sleep=200", END_STREAM))),
        _ => {
            let mut client = connect(&octroi, &[]);
            send(&mut client, &request(1, "GET", HOST, "/big?bytes=5000000", END_STREAM));
            until(&mut client, 4 * SECOND, |frame| frame.kind == DATA);
            send(&mut client, &frame(RESET, 0, 1, &CANCEL.to_be_bytes()));
        }
    };
    let descriptors = || std::fs::read_dir(format!("/proc/{}/fd", octroi.pid())).unwrap().count();
    let open = || {
        octroi.metric(r#"octroi_connections{listener="plain"}"#)
            + octroi.metric(r#"octroi_connections{listener="public"}"#)
    };
    (0..6).for_each(leave);
    eventually("the first are gone", || (open() < 1.0).then_some(()));
    let before = descriptors();

    for clients in (0..200_usize).collect::<Vec<_>>().chunks(20) {
        std::thread::scope(|scope| clients.iter().for_each(|&how| drop(scope.spawn(move || leave(how)))));
    }

    eventually("all are gone", || (open() < 1.0).then_some(()));
    // What rests towards the app is bounded by what was asked of it at once: twenty clients, and the slow requests (one in six) of those who
    // have left before, whose answers are waited for.
    let after =
        eventually("what they held is given back", || Some(descriptors()).filter(|&now| now <= before + 60));
    assert!(after >= 10);
    let left = octroi.access_lines().iter().filter(|line| line["reason"] == "client_closed").count();
    assert!(left >= 100, "{left} lines say that the client left");
    assert_eq!(octroi.plain("plain", HOST, "/x").status(), 200);
}

#[test]
fn host_stands_for_an_authority_that_is_not_there() {
    let (octroi, upstream) = started("");
    let ask = |fields: &[(&str, &str)]| {
        let mut stream = connect(&octroi, &[]);
        let all = [&[(":method", "GET"), (":scheme", "https"), (":path", "/x")], fields].concat();
        send(&mut stream, &frame(HEADERS, END_HEADERS | END_STREAM, 1, &block(&all)));
        let (came, _) = until(&mut stream, 2 * SECOND, |frame| frame.kind == HEADERS);
        let head = came.into_iter().find(|frame| frame.kind == HEADERS).expect("an answer").payload;
        // Indexed in the static table of HPACK: `:status: 200` and `:status: 400`.
        match head.first() {
            Some(0x88) => 200,
            Some(0x8c) => 400,
            other => panic!("{other:?}"),
        }
    };

    assert_eq!(ask(&[("host", HOST)]), 200);
    assert_eq!(upstream.only().field("host"), Some(HOST));
    assert_eq!((ask(&[(":authority", HOST), ("host", HOST)]), ask(&[(":authority", HOST)])), (200, 200));
    assert_eq!(upstream.take().len(), 2);
    assert_eq!(
        (
            ask(&[]),
            ask(&[(":authority", HOST), ("host", "other.test")]),
            ask(&[("host", HOST), ("host", HOST)])
        ),
        (400, 400, 400)
    );
    assert!(upstream.take().is_empty());
}

/// curl 7.88 resets its upload as soon as it has a refusal; what it had sent by then still comes.
#[test]
fn a_request_whose_upload_is_reset_behind_its_answer_has_one_line() {
    let upstream = Upstream::start();
    let more = "bans: {after: 1, within: 1m, for: 1h}\n";
    let config =
        format!("{}{more}", config(upstream.addr, "").replace("unmatched: public", "unmatched: deny"));
    let octroi = Octroi::start(&config);
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("large");
    std::fs::write(&file, vec![b'x'; 8 << 20]).unwrap();
    let upload = format!("@{}", file.display());

    for _ in 0..3 {
        octroi.curl(HOST, "/upload").args(&["--http2", "-X", "POST", "--data-binary", &upload]).get();
    }
    // By hand: a cancel behind the answer, and the rest of the body behind that.
    let mut stream = connect(&octroi, &[]);
    send(&mut stream, &[request(1, "POST", HOST, "/by-hand", 0), frame(DATA, 0, 1, &[b'x'; 1000])].concat());
    let (came, _) = until(&mut stream, 2 * SECOND, |frame| frame.kind == HEADERS);
    assert!(came.iter().any(|frame| frame.kind == HEADERS), "{came:?}");
    send(
        &mut stream,
        &[frame(RESET, 0, 1, &[0, 0, 0, 8]), frame(DATA, 0, 1, &[b'x'; 1000]), get(3)].concat(),
    );
    until(&mut stream, 2 * SECOND, |frame| frame.kind == HEADERS && frame.stream == 3);
    // Once more after the library has forgotten the stream.
    wait::elapse(2 * SECOND);
    send(&mut stream, &[frame(DATA, 1, 1, &[b'x'; 1000]), get(5)].concat());
    until(&mut stream, 2 * SECOND, |frame| frame.kind == HEADERS && frame.stream == 5);

    eventually("all have a line", || {
        (octroi.access_lines().iter().filter(|line| line["event"] == "request").count() >= 6).then_some(())
    });
    let lines: Vec<_> = octroi.access_lines().into_iter().filter(|line| line["event"] != "admin").collect();
    assert_eq!(lines.iter().filter(|line| line["path"] == "/upload").count(), 3, "{lines:#?}");
    assert_eq!(lines.iter().filter(|line| line["path"] == "/by-hand").count(), 1, "{lines:#?}");
    assert!(lines.iter().all(|line| line["status"] == 404), "{lines:#?}");
    assert_eq!(octroi.ok(&["ban", "list"]), "nobody is banned\n");
}

#[test]
fn http2_with_prior_knowledge_is_served_in_clear_text() {
    let (octroi, upstream) = started("header_timeout: 700ms");
    let plain = |settings: &[u8]| {
        let mut stream = harness::client::raw(octroi.addr("plain"));
        stream.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        assert!(send(&mut stream, settings));
        stream
    };

    let answer = octroi.plain("plain", HOST, "/x").args(&["--http2-prior-knowledge"]).get();
    assert_eq!((answer.status, answer.version.as_str()), (200, "HTTP/2"), "{answer:?}");
    let line = octroi.access_line(|line| line["path"] == "/x");
    assert_eq!((&line["http.version"], &line["listener"]), (&"HTTP/2".into(), &"plain".into()));
    // However its preface is cut; and HTTP/1 next to it, even one that begins alike.
    let preface = preface(&[]);
    for cut in [1, 3, 23, 24, 30] {
        let mut stream = plain(&preface[..cut]);
        wait::slow_peer(Duration::from_millis(20));
        send(&mut stream, &[&preface[cut..], &get(1)].concat());
        let (came, _) = until(&mut stream, 2 * SECOND, |frame| frame.kind == DATA);
        assert!(came.iter().any(|frame| frame.kind == DATA), "{cut} {came:?}");
    }
    assert_eq!(octroi.plain("plain", HOST, "/x").args(&["-X", "PROPFIND"]).status(), 405);
    assert_eq!(octroi.plain("plain", HOST, "/x").args(&["--http1.0"]).status(), 200);
    // Silence, and the beginning of a preface, have the deadline that they had.
    for said in [&b""[..], b"PRI * HT"] {
        let (start, mut stream) = (Instant::now(), plain(said));
        stream.set_read_timeout(Some(3 * SECOND)).unwrap();
        let mut got = String::new();
        let _ = stream.read_to_string(&mut got);
        assert_eq!(got.starts_with("HTTP/1.1 408"), !said.is_empty(), "{got}");
        assert!(
            start.elapsed() > Duration::from_millis(500) && start.elapsed() < Duration::from_millis(2500),
            "{:?}",
            start.elapsed()
        );
    }
    upstream.take();
}

#[test]
fn a_fragment_is_cut_off_before_anybody_judges_the_path() {
    let upstream = Upstream::start();
    let rules = "unmatched: public, rules: [{path: /in, access: session}]";
    let sessions = "sessions: {keys: [{id: 1, secret: \"${file:session.key}\"}]}\n";
    let octroi = Octroi::start(&format!(
        "{}{sessions}",
        config(upstream.addr, "").replace("unmatched: public", rules)
    ));
    let mut stream = connect(&octroi, &[]);
    let mut ask = |id: u32, path: &str| {
        send(&mut stream, &request(id, "GET", HOST, path, END_STREAM));
        until(&mut stream, 2 * SECOND, |frame| frame.kind == DATA && frame.stream == id);
    };

    ask(1, "/x#/in");
    assert_eq!(upstream.only().target, "/x");
    ask(3, "/in#/x");
    ask(5, "/x?a=b#c");
    assert_eq!(upstream.only().target, "/x?a=b");

    let line = octroi.access_line(|line| line["path"] == "/in");
    assert_eq!((&line["status"], &line["reason"]), (&401.into(), &"session_missing".into()));
    assert!(
        octroi.access_lines().iter().all(|line| !line["path"].as_str().unwrap_or_default().contains('#'))
    );
}
