//! The other side, end to end: servers by turn and weight, retries, deadlines, TLS, Unix sockets, isolation, streaming.

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
    net::SocketAddr,
    time::{Duration, Instant},
};

use harness::wait;
use harness::{
    Octroi, Upstream,
    client::{self, ask, exchange, raw},
    eventually,
    upstream::tls_server,
};

/// A configuration with these upstreams; every tenant `NAME.test` goes to the upstream `NAME`.
fn config(upstreams: &[(&str, String)], more: &str) -> String {
    let servers: String =
        upstreams.iter().map(|(name, upstream)| format!("  {name}: {upstream}\n")).collect();
    let tenants: String = upstreams
        .iter()
        .map(|(name, _)| format!("  {name}: {{hosts: [{name}.test], upstream: {name}, routes: app}}\n"))
        .collect();
    format!(
        r#"
version: 1
server: {{state_dir: STATE, drain: 2s, threads: 2}}
listeners:
  - {{name: plain, address: "127.0.0.1:0", plaintext: true}}
  - {{name: public, address: "127.0.0.1:0", tls: {{}}}}
metrics: {{address: "127.0.0.1:0"}}
tls: {{certificates: [{{dev: true, dir: certs}}]}}
request_limits: {{body_bytes: 1GiB}}
upstreams:
{servers}
routes:
  app: {{unmatched: public, rules: [{{path: /ws, access: public, websocket: true}}]}}
tenants:
{tenants}
{more}
"#
    )
}

fn server(addr: SocketAddr) -> String {
    format!("{{servers: [{{address: \"{addr}\"}}]}}")
}

/// An address that nobody listens on.
fn dead() -> SocketAddr {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

fn get(host: &str, path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n")
}

#[test]
fn servers_take_turns_by_weight() {
    let (one, two) = (Upstream::start(), Upstream::start());
    let both =
        format!("{{servers: [{{address: \"{}\", weight: 3}}, {{address: \"{}\"}}]}}", one.addr, two.addr);
    let octroi = Octroi::start(&config(&[("app", both)], ""));
    let mut stream = raw(octroi.addr("plain"));

    for _ in 0..8 {
        assert_eq!(ask(&mut stream, &get("app.test", "/x")).status, 200);
    }

    assert_eq!((one.take().len(), two.take().len()), (6, 2));
    let line = octroi.access_line(|line| line["upstream.addr"] == two.addr.to_string());
    assert_eq!(
        (&line["upstream.name"], &line["upstream.tries"], &line["upstream.status"]),
        (&"app".into(), &1.into(), &200.into())
    );
}

#[test]
fn a_server_that_refuses_leaves_the_request_to_the_next_one_whatever_the_method() {
    let alive = Upstream::start();
    let both = |retries: u8| {
        format!(
            "{{servers: [{{address: \"{}\", weight: 5}}, {{address: \"{}\"}}], retries: {retries}}}",
            dead(),
            alive.addr
        )
    };
    let octroi = Octroi::start(&config(&[("app", both(1)), ("never", both(0))], ""));

    for method in ["GET", "POST", "DELETE", "GET", "POST", "GET"] {
        let answer = octroi.plain("plain", "app.test", "/x").args(&["-X", method]).get();
        assert_eq!(answer.status, 200, "{method} {answer:?}");
    }
    assert_eq!(octroi.plain("plain", "app.test", "/x").args(&["--data-binary", "body"]).status(), 200);
    assert_eq!(alive.take().pop().unwrap().body, b"body");
    // Once: from then on it is aside.
    assert_eq!(octroi.metric(r#"octroi_upstream_retries_total{upstream="app"}"#), 1.0);
    octroi.access_line(|line| line["upstream.tries"] == 2 && line["status"] == 200);
    let refused = octroi.plain("plain", "never.test", "/x").get();
    assert_eq!((refused.status, octroi.reason(&refused).as_str()), (502, "upstream_connect"));
}

#[test]
fn a_dead_server_of_two_costs_nobody_an_answer_and_comes_back() {
    let (alive, gone) = (Upstream::start(), dead());
    let both = format!("{{servers: [{{address: \"{gone}\"}}, {{address: \"{}\"}}]}}", alive.addr);
    let mut octroi = Octroi::start(&config(&[("app", both), ("alone", server(gone))], ""));
    let text = std::fs::read_to_string(octroi.config()).unwrap();
    let aside = format!(r#"octroi_upstream_server_aside{{server="{gone}",upstream="app"}}"#);
    let retries = |octroi: &Octroi| octroi.metric(r#"octroi_upstream_retries_total{upstream="app"}"#);
    let said =
        |octroi: &Octroi, event: &str| octroi.printed().iter().filter(|line| line.contains(event)).count();
    assert_eq!(octroi.metric(&aside), 0.0);
    let mut stream = raw(octroi.addr("plain"));

    for _ in 0..200 {
        assert_eq!(ask(&mut stream, &get("app.test", "/x")).status, 200);
    }

    assert_eq!((retries(&octroi), octroi.metric(&aside), said(&octroi, "server_aside")), (1.0, 1.0, 1));
    let status = octroi.ok(&["status"]);
    assert!(
        status.lines().any(|line| line.starts_with(&format!("aside       app {gone}: since "))),
        "{status}"
    );
    // The only server is never left aside.
    for _ in 0..3 {
        assert_eq!(octroi.plain("plain", "alone.test", "/x").status(), 502);
    }
    assert_eq!(
        octroi.metric(&format!(r#"octroi_upstream_server_aside{{server="{gone}",upstream="alone"}}"#)),
        0.0
    );
    // It is said once, and shown, until it is back.
    let down =
        |octroi: &Octroi, name: &str| octroi.metric(&format!(r#"octroi_upstream_down{{upstream="{name}"}}"#));
    assert_eq!((said(&octroi, "upstream_down"), down(&octroi, "alone"), down(&octroi, "app")), (1, 1.0, 0.0));
    let status = octroi.command(&["status"]);
    let text_of = String::from_utf8_lossy(&status.stdout).into_owned();
    assert_eq!(status.status.code(), Some(1), "{text_of}");
    let line =
        text_of.lines().find(|line| line.starts_with(&format!("down        alone {gone}: since "))).unwrap();
    assert!(line.contains(", 6 failed attempts, last 20") && line.contains("Connection refused"), "{line}");
    let ready = octroi.plain("metrics", "localhost", "/readyz").get();
    assert_eq!(ready.status, 200);
    assert!(
        ready.body.contains("upstream alone: no server takes connections\n")
            && !ready.body.contains("upstream app"),
        "{ready:?}"
    );
    // A reload that leaves it as it is does not try it either.
    octroi.reload(&text.replace("version: 1", "version: 1 # again"));
    for _ in 0..20 {
        assert_eq!(ask(&mut stream, &get("app.test", "/x")).status, 200);
    }
    assert_eq!(retries(&octroi), 1.0);

    // One request tries it after ten seconds, and it is back.
    let _back = Upstream::start_at(gone);
    wait::eventually("it is back", || {
        assert_eq!(ask(&mut stream, &get("app.test", "/x")).status, 200);
        (octroi.metric(&aside) == 0.0).then_some(())
    });
    alive.take();
    for _ in 0..10 {
        assert_eq!(ask(&mut stream, &get("app.test", "/x")).status, 200);
    }
    assert_eq!((alive.take().len(), said(&octroi, "server_back")), (5, 1));
    assert_eq!(octroi.plain("plain", "alone.test", "/x").status(), 200);
    // A log line may come later than the answer.
    eventually("both upstreams are said to be back", || (said(&octroi, "server_back") == 2).then_some(()));
    assert_eq!((said(&octroi, "upstream_down"), down(&octroi, "alone")), (1, 0.0));
    octroi.ok(&["status"]);
}

#[test]
fn a_server_that_says_nothing_in_its_handshake_is_left_aside_too() {
    let ours = tempfile::tempdir().unwrap();
    let upstream = Upstream::start_tls(tls_server(ours.path()));
    let mute = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let ca = ours.path().join("upstream-ca.pem");
    let tls = format!("tls: {{sni: app.internal, ca: \"{}\"}}, timeouts: {{connect: 500ms}}", ca.display());
    let servers = format!(
        "{{servers: [{{address: \"{}\"}}, {{address: \"{}\"}}], {tls}}}",
        mute.local_addr().unwrap(),
        upstream.addr
    );
    let octroi = Octroi::start(&config(&[("app", servers)], ""));
    let mut stream = raw(octroi.addr("plain"));
    let mut took = Vec::new();

    for _ in 0..20 {
        let began = Instant::now();
        assert_eq!(ask(&mut stream, &get("app.test", "/x")).status, 200);
        took.push(began.elapsed() > Duration::from_millis(450));
    }

    assert_eq!(took.iter().filter(|&&slow| slow).count(), 1, "{took:?}");
}

#[test]
fn a_connection_that_died_at_rest_costs_a_get_nothing_and_a_post_is_never_sent_twice() {
    let upstream = Upstream::start();
    let octroi = Octroi::start(&config(&[("app", server(upstream.addr))], ""));
    let warm = |path: &str, args: &[&str]| {
        assert_eq!(octroi.plain("plain", "app.test", "/warm").status(), 200);
        upstream.take();
        let answer = octroi.plain("plain", "app.test", path).args(args).get();
        (answer.status, upstream.take().iter().map(|got| got.earlier > 0).collect::<Vec<_>>())
    };

    assert_eq!(warm("/stale", &[]), (200, vec![true, false]));
    assert_eq!(warm("/stale", &["--data-binary", "once"]), (502, vec![true]));
    assert_eq!(warm("/stale", &["-X", "POST"]), (502, vec![true]));
}

#[test]
fn a_silent_server_is_given_up_at_its_deadlines() {
    let upstream = Upstream::start();
    let timed =
        |timeouts: &str| format!("{{servers: [{{address: \"{}\"}}], timeouts: {timeouts}}}", upstream.addr);
    let octroi = Octroi::start(&config(
        &[("app", timed("{connect: 1s, first_byte: 400ms, between_bytes: 400ms}"))],
        "",
    ));
    let app = |path: &str| {
        let start = Instant::now();
        let answer = octroi.plain("plain", "app.test", path).get();
        (answer, start.elapsed())
    };

    let (late, took) = app("/x?sleep=1500");
    assert_eq!((late.status, octroi.reason(&late).as_str()), (504, "upstream_timeout"));
    assert!(took >= Duration::from_millis(350) && took < Duration::from_millis(1200), "{took:?}");
    assert_eq!(app("/x?sleep=150").0.status, 200);

    // Silence in the middle: the answer has begun, so it only breaks off.
    let (torn, took) = app("/stall");
    assert!(torn.exit != 0 && torn.status == 200 && took < Duration::from_secs(2), "{torn:?} {took:?}");
    octroi.access_line(|line| line["path"] == "/stall" && line["reason"] == "upstream_timeout");

    // A body that takes longer than the first byte may is no silence of the server.
    let mut stream = raw(octroi.addr("plain"));
    stream.write_all(b"POST /x HTTP/1.1\r\nHost: app.test\r\nContent-Length: 5\r\n\r\n").unwrap();
    for byte in [b"h", b"e", b"l", b"l"] {
        stream.write_all(byte).unwrap();
        wait::slow_peer(Duration::from_millis(200));
    }
    assert_eq!(ask(&mut stream, "o").status, 200);
    assert!(
        octroi.metric(r#"octroi_upstream_errors_total{reason="upstream_timeout",upstream="app"}"#) >= 1.0
    );
}

#[test]
fn the_first_byte_and_the_pauses_have_each_their_own_time() {
    let upstream = Upstream::start();
    let timed =
        |timeouts: &str| format!("{{servers: [{{address: \"{}\"}}], timeouts: {timeouts}}}", upstream.addr);
    let octroi = Octroi::start(&config(
        &[
            ("late", timed("{first_byte: 5s, between_bytes: 300ms}")),
            ("early", timed("{first_byte: 300ms, between_bytes: 5s}")),
        ],
        "",
    ));
    let get = |host: &str, path: &str| octroi.plain("plain", host, path).get();

    assert_eq!(get("late.test", "/x?sleep=900").status, 200);
    assert_eq!(get("early.test", "/x?sleep=900").status, 504);
    let start = Instant::now();
    let torn = get("late.test", "/stall");
    assert!(torn.exit != 0 && torn.status == 200 && start.elapsed() < Duration::from_secs(2), "{torn:?}");
}

#[test]
fn an_upstream_s_certificate_is_verified_by_ca_and_name() {
    let ours = tempfile::tempdir().unwrap();
    let theirs = tempfile::tempdir().unwrap();
    let upstream = Upstream::start_tls(tls_server(ours.path()));
    let _ = tls_server(theirs.path());
    let over_tls = |sni: &str, ca: &std::path::Path| {
        let ca = ca.join("upstream-ca.pem");
        format!(
            "{{servers: [{{address: \"{}\"}}], tls: {{sni: {sni}, ca: \"{}\"}}}}",
            upstream.addr,
            ca.display()
        )
    };
    let octroi = Octroi::start(&config(
        &[
            ("good", over_tls("app.internal", ours.path())),
            ("misnamed", over_tls("other.internal", ours.path())),
            ("stranger", over_tls("app.internal", theirs.path())),
            (
                "systems",
                format!("{{servers: [{{address: \"{}\"}}], tls: {{sni: app.internal}}}}", upstream.addr),
            ),
        ],
        "",
    ));

    let good = || octroi.plain("plain", "good.test", "/x").get();
    assert_eq!((good().status, good().status), (200, 200));
    assert!(upstream.take().iter().all(|got| got.connection == 0));
    for host in ["misnamed.test", "stranger.test", "systems.test"] {
        let refused = octroi.plain("plain", host, "/x").get();
        assert_eq!((refused.status, octroi.reason(&refused).as_str()), (502, "upstream_tls"), "{host}");
    }
    assert!(upstream.take().is_empty());
    assert_eq!(good().status, 200);
}

#[test]
fn a_unix_socket_is_a_server_too() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("app.sock");
    let upstream = Upstream::start_unix(&socket);
    let address = |path: &std::path::Path| format!("{{servers: [{{address: \"unix:{}\"}}]}}", path.display());
    let octroi = Octroi::start(&config(
        &[("app", address(&socket)), ("gone", address(&dir.path().join("none.sock")))],
        "",
    ));

    assert_eq!(octroi.plain("plain", "app.test", "/x").args(&["--data-binary", "hello"]).status(), 200);
    assert_eq!(octroi.plain("plain", "app.test", "/x").status(), 200);
    let got = upstream.take();
    let host = format!("app.test:{}", octroi.addr("plain").port());
    assert_eq!((got[0].body.as_slice(), got[1].field("host")), (&b"hello"[..], Some(&*host)));
    let refused = octroi.plain("plain", "gone.test", "/x").get();
    assert_eq!((refused.status, octroi.reason(&refused).as_str()), (502, "upstream_connect"));
}

#[test]
fn isolated_tenants_share_no_connection() {
    let upstream = Upstream::start();
    let servers = format!("servers: [{{address: \"{}\"}}]", upstream.addr);
    let more = "  two: {hosts: [two.test], upstream: apart, routes: app}\n  four: {hosts: [four.test], upstream: shared, routes: app}";
    let octroi = Octroi::start(&config(
        &[("apart", format!("{{{servers}, isolate: true}}")), ("shared", format!("{{{servers}}}"))],
        more,
    ));
    let connections = |hosts: &[&str]| {
        upstream.take();
        for host in hosts {
            assert_eq!(octroi.plain("plain", host, "/x").status(), 200, "{host}");
        }
        upstream.take().iter().map(|got| got.connection).collect::<BTreeSet<_>>().len()
    };

    assert_eq!(connections(&["apart.test", "two.test", "apart.test", "two.test"]), 2);
    assert_eq!(connections(&["shared.test", "four.test", "shared.test", "four.test"]), 1);
}

#[test]
fn large_bodies_pass_without_being_kept() {
    let upstream = Upstream::start();
    let octroi = Octroi::start(&config(&[("app", server(upstream.addr))], ""));
    let file = octroi.path().join("body");
    std::fs::File::create(&file).unwrap().set_len(120 << 20).unwrap();
    let data = format!("@{}", file.display());
    assert_eq!(octroi.plain("plain", "app.test", "/x").status(), 200);
    let before = octroi.resident();

    let down = octroi
        .plain("plain", "app.test", "/big?bytes=120000000")
        .args(&["-o", "/dev/null", "-w", "%{size_download}"])
        .get();
    let up =
        octroi.plain("plain", "app.test", "/swallow").args(&["-T", data.trim_start_matches('@')]).status();
    let up2 =
        octroi.curl("app.test", "/swallow").args(&["--http2", "-T", data.trim_start_matches('@')]).status();

    assert_eq!((up, up2, down.exit), (200, 200, 0));
    let got = upstream.take();
    assert!(
        got.iter()
            .filter(|got| got.target == "/swallow")
            .all(|got| got.field("swallowed") == Some("125829120")),
        "{got:?}"
    );
    let grown = octroi.resident() - before;
    assert!(grown < 20 << 10, "{grown} KiB more for 120 MB");
}

#[test]
fn answers_without_a_body_or_with_trailers_keep_the_connection_in_step() {
    let upstream = Upstream::start();
    let octroi = Octroi::start(&config(&[("app", server(upstream.addr))], ""));
    let mut stream = raw(octroi.addr("plain"));

    stream.write_all(b"HEAD /x HTTP/1.1\r\nHost: app.test\r\n\r\n").unwrap();
    let mut buffer = [0; 4096];
    let read = stream.read(&mut buffer).unwrap();
    let head = client::parse(&String::from_utf8_lossy(&buffer[..read]), 0);
    assert_eq!((head.status, head.field("content-length"), head.body.as_str()), (200, Some("1000"), ""));
    // What follows on the same connection is in step: nothing was taken for a body.
    for (path, status) in
        [("/x?status=204%20No%20Content", 204), ("/x?status=304%20Not%20Modified", 304), ("/x", 200)]
    {
        let answer = ask(&mut stream, &get("app.test", path));
        assert_eq!((answer.status, answer.field("transfer-encoding")), (status, None), "{answer:?}");
    }
    // Those connections settle before they are used again.
    let used: Vec<usize> = upstream.take().iter().map(|got| got.connection).collect();
    eventually("one of them is used again, in step", || {
        assert_eq!(ask(&mut stream, &get("app.test", "/x")).status, 200);
        upstream.take().iter().any(|got| used[..3].contains(&got.connection)).then_some(())
    });
    for version in ["--http1.1", "--http2"] {
        let answer = octroi.curl("app.test", "/x?status=204%20No%20Content").args(&[version]).get();
        assert_eq!((answer.status, answer.exit), (204, 0), "{version}");
        let answer = octroi.curl("app.test", "/x").args(&[version, "-I"]).get();
        assert_eq!(
            (answer.status, answer.exit, answer.field("content-length")),
            (200, 0, Some("1000")),
            "{version}"
        );
    }

    let answer = exchange(
        &mut raw(octroi.addr("plain")),
        b"GET /trailers HTTP/1.1\r\nHost: app.test\r\nTE: trailers\r\nConnection: close\r\n\r\n",
    );
    // The library does not hand trailers of an HTTP/1 server on, so they are not announced either.
    assert!(answer.ends_with("\r\n5\r\nhello\r\n0\r\n\r\n") && !answer.contains("X-Sum"), "{answer}");
    assert_eq!(octroi.curl("app.test", "/trailers").args(&["--http2"]).get().body, "hello");
}

#[test]
fn who_asks_to_continue_is_told_before_the_body_comes() {
    let upstream = Upstream::start();
    let octroi = Octroi::start(&config(&[("app", server(upstream.addr))], ""));
    let mut stream = raw(octroi.addr("plain"));
    stream
        .write_all(b"POST /x HTTP/1.1\r\nHost: app.test\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n")
        .unwrap();

    let mut buffer = [0; 1024];
    let read = stream.read(&mut buffer).unwrap();
    assert!(buffer[..read].starts_with(b"HTTP/1.1 100 "), "{}", String::from_utf8_lossy(&buffer[..read]));
    assert_eq!(ask(&mut stream, "hello").status, 200);

    assert_eq!(upstream.only().body, b"hello");
    // Who is refused is refused at once.
    let text = "POST /x HTTP/1.1\r\nHost: nobody.test\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n";
    let refused = exchange(&mut raw(octroi.addr("plain")), text.as_bytes());
    assert!(refused.starts_with("HTTP/1.1 421 ") && refused.matches("HTTP/1.1 ").count() == 1, "{refused}");
}

#[test]
fn a_websocket_may_be_silent_for_as_long_as_its_route_says() {
    let upstream = Upstream::start();
    let timed = format!(
        "{{servers: [{{address: \"{}\"}}], timeouts: {{first_byte: 300ms, between_bytes: 300ms}}}}",
        upstream.addr
    );
    let text = config(&[("app", timed)], "").replace("body_bytes: 1GiB", "websocket_idle: 900ms");
    let octroi = Octroi::start(&text);
    let mut stream = raw(octroi.addr("plain"));
    let head = "GET /ws HTTP/1.1\r\nHost: app.test\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    stream.write_all(head.as_bytes()).unwrap();
    let mut buffer = [0; 1024];
    let read = stream.read(&mut buffer).unwrap();
    assert!(buffer[..read].starts_with(b"HTTP/1.1 101 "));

    // Longer than the upstream's deadlines, shorter than its own.
    wait::elapse(Duration::from_millis(600));
    stream.write_all(b"ping").unwrap();
    assert_eq!(stream.read(&mut buffer).unwrap(), 4);
    let start = Instant::now();
    assert_eq!(stream.read(&mut buffer).unwrap_or(0), 0);
    let took = start.elapsed();

    assert!(took > Duration::from_millis(700) && took < Duration::from_millis(1800), "{took:?}");
    assert_eq!(
        octroi.metric(r#"octroi_connections_cut_total{listener="plain",reason="timeout_tunnel"}"#),
        1.0
    );
    let line = octroi.access_line(|line| line["path"] == "/ws");
    assert_eq!((&line["status"], &line["decision"]), (&101.into(), &"allow".into()), "{line}");
}

#[test]
fn a_server_that_does_not_take_the_connection_in_time_is_left() {
    // The kernel answers no SYN once the queue of a socket that nobody accepts from is full.
    let socket =
        rustix::net::socket(rustix::net::AddressFamily::INET, rustix::net::SocketType::STREAM, None).unwrap();
    rustix::net::bind(&socket, &"127.0.0.1:0".parse::<SocketAddr>().unwrap()).unwrap();
    rustix::net::listen(&socket, 0).unwrap();
    let listener = std::net::TcpListener::from(socket);
    let addr = listener.local_addr().unwrap();
    let _full: Vec<_> = (0..4)
        .filter_map(|_| std::net::TcpStream::connect_timeout(&addr, Duration::from_millis(50)).ok())
        .collect();
    let octroi = Octroi::start(&config(
        &[(
            "app",
            format!("{{servers: [{{address: \"{addr}\"}}], timeouts: {{connect: 300ms}}, retries: 0}}"),
        )],
        "",
    ));

    let start = Instant::now();
    let answer = octroi.plain("plain", "app.test", "/x").get();

    assert_eq!((answer.status, octroi.reason(&answer).as_str()), (504, "upstream_timeout"));
    assert!(start.elapsed() < Duration::from_millis(1200), "{:?}", start.elapsed());
}

#[test]
fn a_drain_waits_for_a_websocket_no_longer_than_it_says() {
    let upstream = Upstream::start();
    let mut octroi =
        Octroi::start(&config(&[("app", server(upstream.addr))], "").replace("drain: 2s", "drain: 1s"));
    let mut stream = raw(octroi.addr("plain"));
    let head = "GET /ws HTTP/1.1\r\nHost: app.test\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    assert_eq!(ask(&mut stream, head).status, 101);

    octroi.signal("TERM");
    let start = Instant::now();
    stream.write_all(b"still").unwrap();
    assert_eq!(stream.read(&mut [0; 16]).unwrap(), 5);

    assert_eq!(octroi.wait(), 0);
    assert!(
        start.elapsed() > Duration::from_millis(800) && start.elapsed() < Duration::from_millis(2500),
        "{:?}",
        start.elapsed()
    );
}

#[test]
fn a_websocket_passes_over_tls_and_ends_with_its_tenant() {
    let ours = tempfile::tempdir().unwrap();
    let upstream = Upstream::start_tls(tls_server(ours.path()));
    let ca = ours.path().join("upstream-ca.pem");
    let over_tls = format!(
        "{{servers: [{{address: \"{}\"}}], tls: {{sni: app.internal, ca: \"{}\"}}}}",
        upstream.addr,
        ca.display()
    );
    let text = config(&[("app", over_tls)], "");
    let mut octroi = Octroi::start(&text);
    let mut stream = raw(octroi.addr("plain"));
    let head = "GET /ws HTTP/1.1\r\nHost: app.test\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    assert_eq!(ask(&mut stream, head).status, 101);
    // A frame of the app, as far as anybody can tell, with more than TLS puts into one record.
    let frame = [&[0x82, 127, 0, 0, 0, 0, 0, 1, 0x86, 0xa0][..], &[b'x'; 100_000]].concat();
    let mut echo = vec![0; frame.len()];
    for _ in 0..3 {
        stream.write_all(&frame).unwrap();
        stream.read_exact(&mut echo).unwrap();
        assert!(echo == frame);
    }

    octroi.reload(&text.replace("hosts: [app.test]", "hosts: [moved.test]"));

    let mut rest = Vec::new();
    stream.set_read_timeout(Some(Duration::from_secs(15))).unwrap();
    stream.read_to_end(&mut rest).unwrap();
    assert_eq!(rest, [0x88, 2, 0x03, 0xf0]);
}

#[test]
fn a_websocket_ends_with_the_rule_that_let_it_in() {
    let upstream = Upstream::start();
    let rule = "{path: /ws, access: public, websocket: true}";
    let text = config(&[("app", server(upstream.addr))], "");
    assert!(text.contains(rule), "{text}");
    for (after, ends) in [
        ("{path: /ws, access: public, websocket: true}, {path: /other, access: public}", false),
        ("{path: /ws, access: public}", true),
        ("{path: /elsewhere, access: public, websocket: true}", true),
        ("{path: /ws, access: public, websocket: true, methods: [GET, POST]}", false),
    ] {
        let mut octroi = Octroi::start(&text);
        let mut stream = raw(octroi.addr("plain"));
        let head = "GET /ws HTTP/1.1\r\nHost: app.test\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
        assert_eq!(ask(&mut stream, head).status, 101);

        octroi.reload(&text.replace(rule, after));

        let frame = [0x81, 0x82, 1, 2, 3, 4, 5, 6];
        stream.set_read_timeout(Some(Duration::from_secs(if ends { 15 } else { 1 }))).unwrap();
        let mut rest = Vec::new();
        if ends {
            stream.read_to_end(&mut rest).unwrap();
            assert_eq!(rest, [0x88, 2, 0x03, 0xf0], "{after}");
        } else {
            // Longer than a look at all exchanges behind a reload takes.
            assert!(stream.read_to_end(&mut rest).is_err(), "{after}: {rest:?}");
            stream.write_all(&frame).unwrap();
            let mut echo = [0; 8];
            stream.read_exact(&mut echo).unwrap();
            assert_eq!(echo, frame);
        }
    }
}
