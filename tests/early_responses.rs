//! An app that answers before it has read the request: no client waits for ever, and every client gets the answer. With Debian's nginx and
//! curl.

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
    io::{ErrorKind, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    process::{Child, Command, Stdio},
    sync::mpsc,
    time::{Duration, Instant},
};

use bytes::Bytes;

use harness::{
    Octroi, eventually,
    frames::{DATA, END_HEADERS, END_STREAM, HEADERS, RESET, SETTINGS, WINDOW_UPDATE, frame, preface, until},
};

/// A real nginx that answers without reading.
struct Nginx {
    child: Child,
    addr: SocketAddr,
    _dir: tempfile::TempDir,
}

impl Nginx {
    fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let addr = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let config = format!(
            r#"
daemon off; master_process off; pid nginx.pid; error_log stderr crit;
events {{ worker_connections 64; }}
http {{
  access_log off;
  client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi; uwsgi_temp_path uwsgi; scgi_temp_path scgi;
  server {{
    listen {addr};
    client_max_body_size 0;
    location / {{ return 200 "early\n"; }}
    location /refused {{ return 403 "no\n"; }}
    location /elsewhere {{ return 303 /; }}
    location /nothing {{ return 204; }}
    location /limited {{ client_max_body_size 1m; return 200; }}
  }}
}}
"#
        );
        fs::write(dir.path().join("nginx.conf"), config).unwrap();
        let child = Command::new("nginx")
            .args(["-p", dir.path().to_str().unwrap(), "-c", "nginx.conf", "-e", "stderr"])
            .stdin(Stdio::null())
            .spawn()
            .expect("nginx; `make test` installs it");
        eventually("nginx listens", || TcpStream::connect(addr).ok());
        Self { child, addr, _dir: dir }
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn started() -> (Octroi, Nginx) {
    let nginx = Nginx::start();
    let octroi = Octroi::start(&format!(
        r#"
version: 1
server: {{state_dir: STATE, drain: 1s, threads: 2}}
listeners: [{{name: public, address: "127.0.0.1:0", tls: {{}}}}]
metrics: {{address: "127.0.0.1:0"}}
tls: {{certificates: [{{dev: true, dir: certs}}]}}
upstreams: {{app: {{servers: [{{address: "{}"}}]}}}}
routes: {{app: {{unmatched: public, rules: [{{path: /small/, access: public, request_limits: {{body_bytes: 1MiB}}}}]}}}}
tenants: {{acme: {{hosts: [acme.test], upstream: app, routes: app}}}}
"#,
        nginx.addr
    ));
    fs::write(octroi.path().join("three"), vec![b'x'; 3 << 20]).unwrap();
    (octroi, nginx)
}

#[test]
fn an_early_answer_reaches_curl_whatever_it_still_sends() {
    let (octroi, _nginx) = started();
    let body = format!("@{}", octroi.path().join("three").display());
    for version in ["--http1.1", "--http2"] {
        for (path, status, text) in [
            ("/", 200, "early\n"),
            ("/refused", 403, "no\n"),
            ("/elsewhere", 303, ""),
            ("/nothing", 204, ""),
            ("/limited", 413, ""),
        ] {
            for more in [
                &[][..],
                &["-H", "Transfer-Encoding: chunked"],
                &["-H", "Expect: 100-continue"],
                &["-H", "Expect:"],
            ] {
                let answer =
                    octroi.curl("acme.test", path).args(&[version, "--data-binary", &body]).args(more).get();
                // A length that it cannot know is no reason to refuse.
                let status = if path == "/limited"
                    && answer.status == 200
                    && more.len() == 2
                    && more[1].contains("chunked")
                {
                    200
                } else {
                    status
                };
                let got = (answer.exit, answer.status);
                assert_eq!(got, (0, status), "{version} {path} {more:?} {answer:?}");
                assert!(text.is_empty() || answer.body == text, "{answer:?}");
            }
        }
    }
}

#[test]
fn other_requests_go_on_behind_an_early_answer() {
    let (octroi, _nginx) = started();
    let body = format!("@{}", octroi.path().join("three").display());
    // Over HTTP/1.1 such an answer says that the connection closes.
    for (version, connects) in [("--http1.1", "111"), ("--http2", "100")] {
        let url = format!("https://acme.test:{}/", octroi.addr("public").port());
        let answer = octroi
            .curl("acme.test", "/")
            .args(&[version, "--data-binary", &body, "-w", "connects %{num_connects}\\n", &url, &url])
            .get();

        assert_eq!(answer.exit, 0, "{answer:?}");
        let lines =
            |start: &str| answer.body.lines().filter_map(|line| line.strip_prefix(start)).collect::<String>();
        assert_eq!(
            (lines("connects "), answer.body.matches("early").count()),
            (connects.to_owned(), 3),
            "{version} {answer:?}"
        );
    }
}

#[test]
fn a_connection_is_kept_behind_an_early_answer_where_little_is_to_come() {
    let (octroi, _nginx) = started();
    let short = 65_536;
    for (framing, rest, kept) in [
        (format!("Content-Length: {short}"), short, true),
        (format!("Content-Length: {}", short + 1), short + 1, false),
        ("Transfer-Encoding: chunked".to_owned(), 0, false),
    ] {
        for path in ["/refused", "/"] {
            let mut stream = harness::raw_tls(
                octroi.addr("public"),
                "acme.test",
                &octroi.path().join("certs/ca.pem"),
                &[b"http/1.1"],
            );
            stream
                .write_all(format!("POST {path} HTTP/1.1\r\nHost: acme.test\r\n{framing}\r\n\r\n").as_bytes())
                .unwrap();
            let answer =
                String::from_utf8(read_to(&mut stream, if path == "/" { b"early\n" } else { b"no\n" }))
                    .unwrap();
            assert_eq!(answer.contains("\r\nConnection: keep-alive\r\n"), kept, "{framing} {path} {answer}");
            if kept {
                stream.write_all(&vec![b'x'; rest]).unwrap();
                stream.write_all(b"GET /refused?next HTTP/1.1\r\nHost: acme.test\r\n\r\n").unwrap();
                let next = String::from_utf8(read_to(&mut stream, b"no\n")).unwrap();
                assert!(next.starts_with("HTTP/1.1 403 ") && next.ends_with("\r\n\r\nno\n"), "{next}");
                octroi.access_line(|line| line["path"] == path && line["bytes.in"] == rest);
            }
        }
    }
}

/// Reads up to the end of an answer.
fn read_to(stream: &mut impl Read, end: &[u8]) -> Vec<u8> {
    let (mut got, mut space) = (Vec::new(), [0; 4096]);
    while !got.ends_with(end) {
        match stream.read(&mut space) {
            Ok(read @ 1..) => got.extend_from_slice(&space[..read]),
            other => panic!("{other:?} after {:?}", String::from_utf8_lossy(&got)),
        }
    }
    got
}

#[test]
fn what_comes_behind_an_early_answer_is_counted_and_told_where_it_is_too_much() {
    let (octroi, _nginx) = started();
    let chunk = [&b"10000\r\n"[..], &[b'x'; 65_536], b"\r\n"].concat();
    // Just inside, and just outside, for a client that reads last. How long it may go on is in `refused_uploads`.
    for (chunks, reason) in [(16_u64, None), (17, Some("body_too_large"))] {
        let mut stream = harness::raw_tls(
            octroi.addr("public"),
            "acme.test",
            &octroi.path().join("certs/ca.pem"),
            &[b"http/1.1"],
        );
        stream
            .write_all(b"POST /small/ HTTP/1.1\r\nHost: acme.test\r\nTransfer-Encoding: chunked\r\n\r\n")
            .unwrap();
        (0..chunks).for_each(|_| stream.write_all(&chunk).unwrap());
        stream.write_all(b"0\r\n\r\n").unwrap();
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);

        assert!(
            answer.starts_with(b"HTTP/1.1 200 ") || chunks == 17 && answer.starts_with(b"HTTP/1.1 413 "),
            "{answer:?}"
        );
        let line =
            octroi.access_line(|line| line["path"] == "/small/" && line["bytes.in"] == chunks * 65_536);
        assert_eq!(line["reason"].as_str(), reason, "{line}");
    }
}

/// Sends `sent` octets of a request of three million over HTTP/2, and the end of it only where `ends`. Returns the answer, how long its end
/// took, and what became of the sending.
async fn over_http2(octroi: &Octroi, sent: usize, ends: bool) -> (u16, Vec<u8>, Duration) {
    let tcp = tokio::net::TcpStream::connect(octroi.addr("public")).await.unwrap();
    let tls = harness::client::tls_config(&octroi.path().join("certs/ca.pem"), &[b"h2"]);
    let tls =
        tokio_rustls::TlsConnector::from(tls).connect("acme.test".try_into().unwrap(), tcp).await.unwrap();
    let (mut sender, connection) = h2::client::handshake(tls).await.unwrap();
    tokio::spawn(connection);
    let request = http::Request::post("https://acme.test/").body(()).unwrap();
    let start = Instant::now();
    let (answer, mut body) = sender.send_request(request, false).unwrap();
    let feed = tokio::spawn(async move {
        body.send_data(Bytes::from(vec![b'x'; sent]), ends).unwrap();
        // It stays open, and waits.
        std::future::pending::<()>().await;
    });
    let answer = answer.await.unwrap();
    let status = answer.status().as_u16();
    let (mut stream, mut got) = (answer.into_body(), Vec::new());
    while let Some(data) = stream.data().await {
        let data = data.unwrap();
        stream.flow_control().release_capacity(data.len()).unwrap();
        got.extend_from_slice(&data);
    }
    feed.abort();
    (status, got, start.elapsed())
}

#[test]
fn a_client_that_waits_for_the_answer_before_it_goes_on_gets_it() {
    let (octroi, _nginx) = started();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let ask = |sent, ends| {
        runtime.block_on(async {
            tokio::time::timeout(Duration::from_secs(15), over_http2(&octroi, sent, ends)).await.unwrap()
        })
    };

    let (status, body, _) = ask(3 << 20, true);
    assert_eq!((status, &body[..]), (200, &b"early\n"[..]));
    let (status, body, took) = ask(1000, false);
    assert_eq!((status, &body[..]), (200, &b"early\n"[..]));
    assert!(took >= Duration::from_secs(1), "the end waits for a request that comes: {took:?}");
}

/// An HTTP/2 server that takes whatever comes. It answers the only request once it is told to, and says how much of the body has come
/// until it is told that no more does.
fn greedy(answer: mpsc::Receiver<()>) -> (SocketAddr, mpsc::Receiver<usize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    let (say, said) = mpsc::channel();
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let most = (1_u32 << 30).to_be_bytes();
        let settings = preface(&[(4, 1 << 30)]).split_off(24);
        stream
            .write_all(&[settings, frame(WINDOW_UPDATE, 0, 0, &most), frame(SETTINGS, 1, 0, &[])].concat())
            .unwrap();
        // Behind the preface of the client.
        stream.read_exact(&mut [0; 24]).unwrap();
        let (came, _) = until(&mut stream, Duration::from_secs(10), |came| came.kind == HEADERS);
        let request = came.last().unwrap().stream;
        say.send(0).unwrap();
        answer.recv().unwrap();
        // A status of 200, out of the table.
        stream.write_all(&frame(HEADERS, END_STREAM | END_HEADERS, request, &[0x88])).unwrap();
        say.send(0).unwrap();
        let (came, _) = until(&mut stream, Duration::from_secs(10), |came| came.kind == RESET);
        say.send(came.iter().filter(|came| came.kind == DATA).map(|came| came.payload.len()).sum()).unwrap();
    });
    (addr, said)
}

/// Both wait for octroi at the same time: as much of an upload as the system takes, and the answer to it.
#[test]
fn a_client_that_never_pauses_does_not_drown_an_answer_over_http2() {
    let (answer, told) = mpsc::channel();
    let (addr, said) = greedy(told);
    let octroi = Octroi::start(&format!(
        r#"
version: 1
server: {{state_dir: STATE, drain: 1s, threads: 2}}
listeners: [{{name: plain, address: "127.0.0.1:0", plaintext: true}}]
metrics: {{address: "127.0.0.1:0"}}
request_limits: {{body_bytes: 100MiB}}
upstreams: {{app: {{servers: [{{address: "{addr}"}}], protocol: http2}}}}
routes: {{app: {{unmatched: public}}}}
tenants: {{acme: {{hosts: [acme.test], upstream: app, routes: app}}}}
"#
    ));
    let mut client = TcpStream::connect(octroi.addr("plain")).unwrap();
    client.write_all(b"POST / HTTP/1.1\r\nHost: acme.test\r\nTransfer-Encoding: chunked\r\n\r\n").unwrap();
    let next = || said.recv_timeout(Duration::from_secs(15)).unwrap();
    next();

    octroi.signal("STOP");
    let chunk = [&b"4000\r\n"[..], &[b'x'; 16_384], b"\r\n"].concat();
    client.set_nonblocking(true).unwrap();
    let mut waits = 0;
    loop {
        match client.write(&chunk[waits % chunk.len()..]) {
            Ok(wrote) => waits += wrote,
            Err(error) => break assert_eq!(error.kind(), ErrorKind::WouldBlock),
        }
    }
    answer.send(()).unwrap();
    next();
    octroi.signal("CONT");

    let came = next();
    assert!(waits > 3 << 20, "{waits}");
    assert!(
        came < 2 << 20,
        "of {waits} octets that waited {came} were handed on before the answer was looked at"
    );
}
