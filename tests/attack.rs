//! What an attacker would try with the real program: raw bytes in front, an upstream that lies behind.

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
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    time::Instant,
};

use harness::wait;
use harness::{Octroi, Upstream, client, raw_tls};

fn config(upstream: SocketAddr) -> String {
    format!(
        r#"
version: 1
server: {{state_dir: STATE, drain: 5s, threads: 2}}
listeners:
  - {{name: public, address: "127.0.0.1:0", tls: {{}}}}
tls: {{certificates: [{{dev: true, dir: certs}}]}}
sessions: {{keys: [{{id: 1, secret: "${{file:session.key}}"}}], login_url: /login}}
limits: {{header_timeout: 1s, idle_timeout: 20s}}
upstreams:
  app: {{servers: [{{address: "{upstream}"}}], timeouts: {{connect: 1s, first_byte: 3s}}}}
quotas:
  tunnels: {{by: client, rate: 1/h, burst: 2, count: failures}}
routes:
  app:
    rules:
      - {{path: /public/, access: public}}
      - {{path: /merge/, access: session, merge_slashes: true}}
      - {{path: /login, methods: [GET, POST], access: public, grant: true}}
      - {{path: /logout, methods: [POST], revoke: true}}
      - {{path: /ws, access: public, websocket: true, quotas: [tunnels]}}
tenants:
  acme: {{hosts: [acme.test], upstream: app, routes: app}}
  cached: {{hosts: [cached.test], upstream: app, routes: app, headers: {{response: {{cache-control: "public, max-age=60"}}}}}}
  closed: {{hosts: [closed.test], upstream: app, routes: app, ip_access: {{allow: [203.0.113.0/24]}}}}
"#
    )
}

fn started() -> (Octroi, Upstream) {
    let upstream = Upstream::start();
    let octroi = Octroi::start(&config(upstream.addr));
    (octroi, upstream)
}

/// Starts octroi before an upstream that gives one answer, byte for byte, to every request.
fn before(answer: impl Into<Vec<u8>>) -> Octroi {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let octroi = Octroi::start(&config(listener.local_addr().unwrap()));
    let answer = answer.into();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let answer = answer.clone();
            std::thread::spawn(move || serve(&stream, &answer));
        }
    });
    octroi
}

fn serve(mut stream: &TcpStream, answer: &[u8]) {
    let mut lines = BufReader::new(stream).lines();
    loop {
        match lines.next() {
            Some(Ok(line)) if line.is_empty() => {
                if stream.write_all(answer).is_err() {
                    return;
                }
            }
            Some(Ok(_)) => {}
            _ => return,
        }
    }
}

fn connect(octroi: &Octroi, host: &str) -> impl Read + Write + use<> {
    raw_tls(octroi.addr("public"), host, &octroi.path().join("certs/ca.pem"), &[b"http/1.1"])
}

/// Sends bytes on a connection of their own; returns all that comes back.
fn raw(octroi: &Octroi, host: &str, bytes: &str) -> String {
    client::exchange(&mut connect(octroi, host), bytes.as_bytes())
}

fn reason(octroi: &Octroi, id: &str) -> String {
    octroi.access_line(|line| line["request.id"] == id)["reason"].as_str().unwrap_or("none").to_owned()
}

#[test]
fn empty_lines_before_a_request_hold_no_connection() {
    let (octroi, upstream) = started();

    let five = "\r\n".repeat(5);
    // Four may stand before a request line: they are as good as silence, and put no deadline off.
    for (silence, status) in [(&*five, 400), ("\n\n", 400), ("\r\n\r\n", 0)] {
        let since = Instant::now();
        let answer = client::parse(&raw(&octroi, "acme.test", silence), 0);
        assert_eq!((answer.status, since.elapsed().as_secs() < 2), (status, true), "{silence:?} {answer:?}");
    }
    let mut kept = connect(&octroi, "acme.test");
    kept.write_all(b"GET /public/ HTTP/1.1\r\nHost: acme.test\r\n\r\n").unwrap();
    let mut got = [0; 4096];
    assert_ne!(kept.read(&mut got).unwrap(), 0);

    let end = client::exchange(&mut kept, five.as_bytes());

    assert!(end.contains("HTTP/1.1 400 "), "{end}");
    octroi.access_line(|line| line["reason"] == "head_syntax");
    assert_eq!(upstream.take().len(), 1);
}

#[test]
fn only_malformed_chunks_are_called_so() {
    let (octroi, upstream) = started();

    for head in [
        "Connection: Host",
        "Connection: X-Forwarded-For",
        "Connection: \"x\"",
        "Connection: a,b,c,d,e,f,g,h,i,j,k",
    ] {
        let answer = client::parse(
            &raw(
                &octroi,
                "acme.test",
                &format!("GET /public/ HTTP/1.1\r\nHost: acme.test\r\n{head}\r\n\r\n"),
            ),
            0,
        );
        assert_eq!(
            (answer.status, reason(&octroi, answer.field("octroi-request-id").unwrap()).as_str()),
            (400, "connection_field"),
            "{head}"
        );
    }
    assert!(upstream.take().is_empty());
}

#[test]
fn a_request_before_the_answer_to_the_one_before_is_judged_as_itself() {
    let (octroi, upstream) = started();
    let mut stream = connect(&octroi, "acme.test");
    stream.write_all(b"GET /public/1?sleep=700 HTTP/1.1\r\nHost: acme.test\r\n\r\n").unwrap();
    wait::eventually("the first request is at the app", || (!upstream.peek().is_empty()).then_some(()));

    let answer = client::exchange(&mut stream, b"GET /private HTTP/1.1\r\nHost: acme.test\r\n\r\n");

    assert_eq!(
        (answer.matches("HTTP/1.1 200").count(), answer.matches("HTTP/1.1 401").count()),
        (1, 1),
        "{answer}"
    );
    let got = upstream.take();
    assert!(got.iter().all(|got| got.target.starts_with("/public/1")), "{got:?}");
    octroi.access_line(|line| line["path"] == "/private" && line["reason"] == "session_missing");
}

#[test]
fn a_length_that_connection_nominates_is_refused() {
    let (octroi, upstream) = started();
    let hidden = "GET /private HTTP/1.1\r\nHost: acme.test\r\n\r\n";

    for (field, body) in [
        (format!("Content-Length: {}\r\nConnection: Content-Length", hidden.len()), hidden.to_owned()),
        (
            "Transfer-Encoding: chunked\r\nConnection: Transfer-Encoding".to_owned(),
            format!("{:x}\r\n{hidden}\r\n0\r\n\r\n", hidden.len()),
        ),
    ] {
        let answers = raw(
            &octroi,
            "acme.test",
            &format!("POST /public/ HTTP/1.1\r\nHost: acme.test\r\n{field}\r\n\r\n{body}"),
        );
        let answer = client::parse(&answers, 0);
        assert_eq!(
            (answer.status, reason(&octroi, answer.field("octroi-request-id").unwrap()).as_str()),
            (400, "connection_field")
        );
        assert_eq!(answers.matches("HTTP/1.1 ").count(), 1, "{answers}");
    }
    assert!(upstream.take().is_empty());
}

#[test]
fn a_refused_upload_over_http2_is_answered() {
    let (octroi, upstream) = started();
    let large = octroi.path().join("large");
    std::fs::write(&large, vec![b'x'; 3_000_000]).unwrap();

    for body in ["hello".to_owned(), format!("@{}", large.display())] {
        let answer = octroi.curl("closed.test", "/public/").args(&["--http2", "--data-binary", &body]).get();
        assert_eq!((answer.status, answer.exit), (403, 0), "{answer:?}");
    }
    assert!(upstream.take().is_empty());
}

#[test]
fn an_answer_with_two_ends_is_refused() {
    for head in [
        "Content-Length: 2\r\nContent-Length: 2".to_owned(),
        "Content-Length: 2, 2".to_owned(),
        "Content-Length: +2".to_owned(),
        "Content-Length: -2".to_owned(),
        "Transfer-Encoding: gzip, chunked".to_owned(),
        "Transfer-Encoding: xchunked".to_owned(),
        format!("Content-Length: 2\r\nX-A: {}", "a".repeat(65_536)),
    ] {
        let octroi = before(format!("HTTP/1.1 200 OK\r\n{head}\r\n\r\nok"));
        let answer = octroi.curl("acme.test", "/public/").args(&["--http1.1"]).get();
        let id = answer.field("octroi-request-id").unwrap();
        assert_eq!(
            (answer.status, reason(&octroi, id).as_str()),
            (502, "upstream_protocol"),
            "{}",
            &head[..head.len().min(60)]
        );
    }
}

#[test]
fn bytes_behind_an_answer_are_nobodys_answer() {
    let octroi = before(
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nEVIL!",
    );

    for _ in 0..4 {
        assert_eq!(octroi.curl("acme.test", "/public/").get().body, "ok");
    }
}

#[test]
fn an_interim_answer_carries_no_cookie_and_no_word_of_ours() {
    let octroi = before(
        "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\nSet-Cookie: __Host-octroi=evil\r\nOctroi-Session-Grant: user=\"x\"\r\n\r\n\
         HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
    );

    let answer =
        raw(&octroi, "acme.test", "GET /public/ HTTP/1.1\r\nHost: acme.test\r\nConnection: close\r\n\r\n");

    assert!(answer.starts_with("HTTP/1.1 103 ") && answer.contains("HTTP/1.1 200 "), "{answer}");
    assert!(!answer.contains("evil") && !answer.to_lowercase().contains("octroi-session-grant"), "{answer}");
}

#[test]
fn what_belongs_to_the_upstreams_connection_stays_there() {
    let octroi = before(
        "HTTP/1.1 200 OK\r\nConnection: keep-alive, X-Internal\r\nX-Internal: 1\r\nKeep-Alive: timeout=3\r\nUpgrade: h2c\r\n\
         Trailer: Octroi-Session-Grant\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nOctroi-Session-Grant: user=\"x\"\r\n\r\n",
    );

    for version in ["--http1.1", "--http2"] {
        let answer = octroi.curl("acme.test", "/public/").args(&[version]).get();
        assert_eq!((answer.status, answer.body.as_str()), (200, "ok"));
        for name in ["x-internal", "keep-alive", "upgrade", "trailer", "octroi-session-grant"] {
            assert_eq!(answer.field(name), None, "{version} {name} {answer:?}");
        }
    }
}

#[test]
fn the_app_cannot_set_the_session_cookie_under_any_spelling() {
    let octroi = before(
        "HTTP/1.1 200 OK\r\nSet-Cookie: =__Host-octroi=1\r\nSet-Cookie: \t__HOST-octroi =2\r\nSet-Cookie: __Host-octroi\r\n\
         Set-Cookie: a=b\r\nContent-Length: 2\r\n\r\nok",
    );

    assert_eq!(
        octroi.curl("acme.test", "/public/").get().all("set-cookie"),
        ["a=b; Secure; HttpOnly; SameSite=Lax"]
    );
}

#[test]
fn no_cache_keeps_a_session_whatever_the_tenant_or_the_app_says() {
    let (octroi, _upstream) = started();
    let path = "/login?h-Octroi-Session-Grant=user%3D%22u_1%22&h-CDN-Cache-Control=max-age%3D60&h-Surrogate-Control=max-age%3D60";

    let answer = octroi.curl("cached.test", path).args(&["-X", "POST"]).get();

    answer.session();
    assert_eq!(answer.all("cache-control"), ["no-store"]);
    assert_eq!((answer.field("cdn-cache-control"), answer.field("surrogate-control")), (None, None));
    assert_eq!(octroi.curl("cached.test", "/public/").get().all("cache-control"), ["public, max-age=60"]);
}

#[test]
fn the_way_back_after_signing_in_stays_on_this_host() {
    let (octroi, _upstream) = started();

    for path in ["//merge//evil.test/", "/merge///evil.test"] {
        let location = octroi
            .curl("acme.test", path)
            .header("Accept: text/html")
            .get()
            .field("location")
            .unwrap()
            .to_owned();
        let next = location.strip_prefix("/login?next=").unwrap();
        let next = percent_encoding::percent_decode_str(next).decode_utf8_lossy().into_owned();
        assert!(next.starts_with("/merge/") && !next.contains("//"), "{next}");
    }
}

#[test]
fn a_form_of_a_page_without_referrer_signs_in_and_another_sites_does_not() {
    let (octroi, upstream) = started();
    let sign_in = |fields: &[&str]| {
        let curl =
            octroi.curl("acme.test", "/login?h-Octroi-Session-Grant=user%3D%22u_1%22").args(&["-X", "POST"]);
        fields.iter().fold(curl, |curl, field| curl.header(field)).status()
    };

    assert_eq!(sign_in(&["Origin: null", "Sec-Fetch-Site: same-origin"]), 200);
    upstream.take();
    assert_eq!(sign_in(&["Origin: null"]), 403);
    assert_eq!(sign_in(&["Origin: null", "Sec-Fetch-Site: cross-site"]), 403);
    assert_eq!(sign_in(&["Origin: null", "Sec-Fetch-Site: same-site"]), 403);
    assert_eq!(sign_in(&["Origin: null", "Sec-Fetch-Site: same-origin", "Sec-Fetch-Site: none"]), 403);
    assert_eq!(sign_in(&["Origin: https://evil.test", "Sec-Fetch-Site: same-origin"]), 403);
    assert!(upstream.take().is_empty());
}

#[test]
fn a_token_reaches_no_app_under_any_scheme() {
    let (octroi, upstream) = started();
    let token = format!("oct1.{}", "A".repeat(80));

    for value in [format!("Token {token}"), format!("Basic x, Bearer {token}"), format!("Bearer\t{token}")] {
        assert_eq!(
            octroi.curl("acme.test", "/public/").header(&format!("Authorization: {value}")).status(),
            200
        );
        assert!(!upstream.only().has("authorization"), "{value}");
    }
    octroi.curl("acme.test", "/public/").header("Authorization: Bearer abc.oct1.def").status();
    assert_eq!(upstream.only().field("authorization"), Some("Bearer abc.oct1.def"));
}

#[test]
fn http_1_0_gets_no_chunks_and_no_interim_answer() {
    let octroi = before("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n");

    let answer =
        client::parse(&raw(&octroi, "acme.test", "GET /public/ HTTP/1.0\r\nHost: acme.test\r\n\r\n"), 0);
    assert_eq!((answer.body.as_str(), answer.field("transfer-encoding")), ("ok", None), "{answer:?}");

    let (octroi, upstream) = started();
    raw(&octroi, "acme.test", "GET /public/ HTTP/1.0\r\nHost: acme.test\r\nExpect: 100-continue\r\n\r\n");
    assert!(!upstream.only().has("expect"));
}

#[test]
fn an_upstream_switches_to_what_was_asked_for_or_to_nothing() {
    for (upgrade, status) in [("websocket", 101), ("h2c", 502), ("websocket, h2c", 502)] {
        let octroi = before(format!(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: {upgrade}\r\nConnection: Upgrade\r\nSet-Cookie: __Host-octroi=evil\r\n\
             Content-Length: 4\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
        ));
        let answer = client::parse(
            &raw(
                &octroi,
                "acme.test",
                "GET /ws HTTP/1.1\r\nHost: acme.test\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
                 Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
            ),
            0,
        );
        assert_eq!((answer.status, answer.field("set-cookie")), (status, None), "{upgrade} {answer:?}");
        assert!(status != 101 || answer.field("content-length").is_none(), "{answer:?}");
    }
}

/// Opens a tunnel with a cookie.
fn tunnel(octroi: &Octroi, cookie: &str) -> impl Read + Write + use<> {
    let mut stream = connect(octroi, "acme.test");
    let head = format!(
        "GET /ws HTTP/1.1\r\nHost: acme.test\r\nCookie: {cookie}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).unwrap();
    let mut got = Vec::new();
    let mut byte = [0];
    while !got.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).unwrap();
        got.push(byte[0]);
    }
    assert!(got.starts_with(b"HTTP/1.1 101 "), "{}", String::from_utf8_lossy(&got));
    stream
}

fn echoes(stream: &mut (impl Read + Write)) -> bool {
    let mut echo = [0; 4];
    stream.write_all(b"ping").is_ok() && stream.flush().is_ok() && stream.read_exact(&mut echo).is_ok()
}

#[test]
fn an_opened_tunnel_is_no_failure() {
    let (octroi, _upstream) = started();

    for _ in 0..4 {
        tunnel(&octroi, "a=b");
    }
}

#[test]
fn a_tunnel_ends_with_its_session_or_its_tenant() {
    let (octroi, upstream) = started();
    let sign_in = || {
        octroi
            .curl("acme.test", "/login?h-Octroi-Session-Grant=user%3D%22u_1%22")
            .args(&["-X", "POST"])
            .get()
            .session()
    };
    let (ended, other) = (sign_in(), sign_in());
    let (mut ended_tunnel, mut other_tunnel) = (tunnel(&octroi, &ended), tunnel(&octroi, &other));
    let mut anonymous = tunnel(&octroi, "a=b");
    assert!(echoes(&mut ended_tunnel) && echoes(&mut other_tunnel) && echoes(&mut anonymous));

    assert_eq!(
        octroi
            .curl("acme.test", "/logout?h-Octroi-Session-Revoke=self")
            .args(&["-X", "POST"])
            .cookie(&ended)
            .status(),
        200
    );

    wait::eventually("its tunnel ends", || (!echoes(&mut ended_tunnel)).then_some(()));
    // Tunnels are judged again about once a second: the others have been, too, after that.
    wait::elapse(std::time::Duration::from_millis(1100));
    octroi.access_line(|line| line["path"] == "/ws" && line["reason"] == "session_revoked");
    assert!(echoes(&mut other_tunnel) && echoes(&mut anonymous));

    octroi.configure(&config(upstream.addr).replace("hosts: [acme.test]", "hosts: [moved.test]"));
    octroi.ok(&["reload"]);

    for tunnel in [&mut other_tunnel, &mut anonymous] {
        wait::eventually("every tunnel of the host ends", || (!echoes(tunnel)).then_some(()));
    }
    octroi.access_line(|line| line["path"] == "/ws" && line["reason"] == "host_unknown");
}
