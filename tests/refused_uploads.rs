//! Uploads that octroi refuses before they have come: every client gets the answer, whatever it reads first, and no client holds a
//! connection for longer than it may send. With Python, curl, nginx and HAProxy.

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
    time::{Duration, Instant},
};

use bytes::Bytes;

use harness::wait;
use harness::{Curl, Octroi, eventually};

/// More than any buffer on the way, and more than `body_bytes` by default.
const LARGE: usize = 20_000_000;

fn started(more: &str) -> Octroi {
    Octroi::start(&format!(
        r#"
version: 1
server: {{state_dir: STATE, drain: 20s, threads: 2}}
listeners:
  - {{name: public, address: "127.0.0.1:0", tls: {{}}}}
  - {{name: http, address: "127.0.0.1:0", redirect_to_https: 443}}
metrics: {{address: "127.0.0.1:0"}}
tls: {{certificates: [{{dev: true, dir: certs}}]}}
sessions: {{keys: [{{id: 1, secret: "${{file:session.key}}"}}], login_url: /login}}
upstreams: {{app: {{servers: [{{address: "127.0.0.1:1"}}]}}}}
quotas: {{one: {{by: client, rate: 1/h, burst: 1}}}}
routes:
  app:
    unmatched: session
    rules:
      - {{path: /large/, access: session, request_limits: {{body_bytes: 64MiB}}}}
      - {{path: /small/, access: public, request_limits: {{body_bytes: 1MiB}}}}
      - {{path: /fast/, access: session, request_limits: {{body_bytes: 64MiB, body_min_rate: 100KiB/s}}}}
      - {{path: /quota/, access: public, quotas: [one], request_limits: {{body_bytes: 64MiB}}}}
tenants: {{acme: {{hosts: [acme.test], upstream: app, routes: app}}}}
{more}
"#
    ))
}

/// What a browser says of a form whose answer takes the page's place.
const FORM: [(&str, &str); 3] =
    [("Accept", "text/html,*/*;q=0.8"), ("Sec-Fetch-Mode", "navigate"), ("Sec-Fetch-Dest", "document")];

/// Sends all of a request, at so many octets in a second where that is not 0, and reads only then.
const UPLOAD_THEN_READ: &str = r#"
import socket, ssl, sys, time
port, ca, host, path, size, mode, rate, agent = sys.argv[1:]
size, rate = int(size), int(rate)
context = ssl.create_default_context(cafile=ca)
if mode == "tls1.2":
    context.maximum_version = ssl.TLSVersion.TLSv1_2
client = context.wrap_socket(socket.create_connection(("127.0.0.1", int(port))), server_hostname="acme.test")
framing = "Transfer-Encoding: chunked" if mode == "chunked" else f"Content-Length: {size}"
expect = "Expect: 100-continue\r\n" if mode == "expect" else ""
client.sendall(f"POST {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: {agent}\r\n{expect}{framing}\r\n\r\n".encode())
began, sent = time.monotonic(), 0
while sent < size:
    piece = b"x" * min(65536, size - sent)
    client.sendall(b"%x\r\n%s\r\n" % (len(piece), piece) if mode == "chunked" else piece)
    sent += len(piece)
    if rate:
        time.sleep(max(0, began + sent / rate - time.monotonic()))
if mode == "chunked":
    client.sendall(b"0\r\n\r\n")
answer = b""
while piece := client.recv(65536):
    answer += piece
print(answer.decode().split(" ")[1], answer.count(b"HTTP/1.1 "), b"\r\nConnection: close\r\n" in answer)
"#;

/// What a client sends before it reads: so many octets, framed as `mode` says, at so many a second; 0 is as
/// fast as it can.
struct Upload<'a> {
    size: usize,
    mode: &'a str,
    rate: usize,
}

/// Returns what a client that reads last got.
fn upload_then_read(octroi: &Octroi, host: &str, path: &str, upload: &Upload<'_>, agent: &str) -> String {
    let &Upload { size, mode, rate } = upload;
    let port = octroi.addr("public").port().to_string();
    let ca = octroi.path().join("certs/ca.pem");
    let (size, rate) = (size.to_string(), rate.to_string());
    let output = Command::new("python3")
        .args(["-c", UPLOAD_THEN_READ, &port, ca.to_str().unwrap(), host, path, &size, mode, &rate, agent])
        .output()
        .unwrap();
    let text = [output.stdout, output.stderr].concat();
    String::from_utf8_lossy(&text).trim().to_owned()
}

#[test]
fn a_client_that_reads_last_gets_the_answer_of_every_refusal_and_has_one_line() {
    let octroi = started("bans: {after: 1, within: 1m, for: 10m}");
    // Nobody listens there; and from now on its quota is spent.
    let first = upload_then_read(
        &octroi,
        "acme.test",
        "/quota/",
        &Upload { size: LARGE, mode: "length", rate: 0 },
        "upstream",
    );
    assert_eq!(first, "502 1 True");
    for (host, path, mode, status, reason) in [
        ("acme.test", "/large/", "length", 401, "session_missing"),
        ("acme.test", "/large/", "tls1.2", 401, "session_missing"),
        ("acme.test", "/large/", "chunked", 401, "session_missing"),
        // One that does not wait for what it has asked.
        ("acme.test", "/large/", "expect", 401, "session_missing"),
        ("acme.test", "/small/", "length", 413, "body_too_large"),
        ("acme.test", "/quota/", "length", 429, "quota_exceeded"),
        ("acme.test", "/quota/", "chunked", 429, "quota_exceeded"),
        ("other.test", "/", "length", 421, "host_unknown"),
    ] {
        let agent = format!("{status} {mode}");
        assert_eq!(
            upload_then_read(&octroi, host, path, &Upload { size: LARGE, mode, rate: 0 }, &agent),
            format!("{status} 1 True"),
            "{path} {mode}"
        );
        let line = octroi.access_line(|line| line["user_agent"] == *agent);
        assert_eq!((&line["status"], &line["reason"]), (&status.into(), &reason.into()), "{line}");
        assert_eq!(line["bytes.in"], LARGE, "{line}");
        assert_eq!(octroi.access_lines().iter().filter(|line| line["user_agent"] == *agent).count(), 1);
    }
    // A form with a file, of somebody who is signed out, is sent to sign in; a short one keeps its connection, as every short body does.
    let fields: String = FORM.iter().map(|(name, value)| format!("\r\n{name}: {value}")).collect();
    for mode in ["length", "chunked"] {
        let agent = format!("form {mode}");
        assert_eq!(
            upload_then_read(
                &octroi,
                "acme.test",
                "/large/",
                &Upload { size: LARGE, mode, rate: 0 },
                &format!("{agent}{fields}")
            ),
            "303 1 True",
            "{agent}"
        );
        let line = octroi.access_line(|line| line["user_agent"] == *agent);
        assert_eq!((&line["status"], &line["reason"]), (&303.into(), &"session_missing".into()), "{line}");
        assert_eq!(line["bytes.in"], LARGE, "{line}");
    }
    let mut short = harness::raw_tls(
        octroi.addr("public"),
        "acme.test",
        &octroi.path().join("certs/ca.pem"),
        &[b"http/1.1"],
    );
    for _ in 0..3 {
        let head = format!("POST /large/ HTTP/1.1\r\nHost: acme.test{fields}\r\nContent-Length: 5\r\n\r\n");
        let answer = harness::client::ask(&mut short, &format!("{head}a=abc"));
        assert_eq!(
            (answer.status, answer.field("location"), answer.field("connection")),
            (303, Some("/login"), Some("keep-alive"))
        );
    }
    // No ban came of it.
    assert_eq!(octroi.curl("acme.test", "/small/").status(), 502);
}

#[test]
fn a_slow_line_gets_the_answer_too_and_the_line_says_how_long_that_took_and_not_the_rest() {
    let octroi = started("");
    let (length, chunked) = std::thread::scope(|scope| {
        let length = scope.spawn(|| {
            upload_then_read(
                &octroi,
                "acme.test",
                "/large/",
                &Upload { size: 3_000_000, mode: "length", rate: 1_000_000 },
                "length",
            )
        });
        let chunked = scope.spawn(|| {
            upload_then_read(
                &octroi,
                "acme.test",
                "/small/",
                &Upload { size: 3_000_000, mode: "length", rate: 1_000_000 },
                "above",
            )
        });
        (length.join().unwrap(), chunked.join().unwrap())
    });
    assert_eq!((&*length, &*chunked), ("401 1 True", "413 1 True"));

    for agent in ["length", "above"] {
        let line = octroi.access_line(|line| line["user_agent"] == agent);
        assert_eq!(line["bytes.in"], 3_000_000, "{line}");
        assert!(line["duration_ms"].as_f64().unwrap() < 1500.0, "{line}");
    }
}

#[test]
fn curl_gets_the_answer_over_both_versions_however_it_sends() {
    let octroi = started("");
    let large = octroi.path().join("large");
    fs::write(&large, vec![b'x'; LARGE]).unwrap();
    let body = format!("@{}", large.display());
    for version in ["--http1.1", "--http2"] {
        for (path, status) in [("/large/", 401), ("/small/", 413)] {
            for more in
                [&[][..], &["-H", "Expect:"], &["-H", "Expect: 100-continue"], &["--limit-rate", "5M"]]
            {
                let answer =
                    octroi.curl("acme.test", path).args(&[version, "--data-binary", &body]).args(more).get();
                assert_eq!((answer.exit, answer.status), (0, status), "{version} {path} {more:?} {answer:?}");
            }
        }
    }
    // In clear text, where only redirects are.
    let plain = Curl::plain(octroi.addr("http"), "acme.test", "/")
        .args(&["-H", "Expect:", "--data-binary", &body])
        .get();
    assert_eq!((plain.exit, plain.status), (0, 403), "{plain:?}");
}

/// A proxy in front of octroi.
struct Front {
    child: Child,
    addr: SocketAddr,
    _dir: tempfile::TempDir,
}

impl Front {
    fn start(program: &str, args: &[&str], config: impl Fn(SocketAddr) -> String) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let addr = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        fs::write(dir.path().join("front.conf"), config(addr)).unwrap();
        let child = Command::new(program)
            .args(args)
            .current_dir(dir.path())
            .stdin(Stdio::null())
            .spawn()
            .expect("`make test` installs it");
        eventually("the proxy listens", || TcpStream::connect(addr).ok());
        Self { child, addr, _dir: dir }
    }

    fn nginx(octroi: SocketAddr, buffering: &str) -> Self {
        Self::start("nginx", &["-p", ".", "-c", "front.conf", "-e", "stderr"], |addr| {
            format!(
                r#"
daemon off; master_process off; pid nginx.pid; error_log stderr crit;
events {{ worker_connections 64; }}
http {{
  access_log off;
  client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi; uwsgi_temp_path uwsgi; scgi_temp_path scgi;
  server {{
    listen {addr};
    client_max_body_size 0;
    location / {{
      proxy_pass https://{octroi};
      proxy_ssl_server_name on; proxy_ssl_name acme.test;
      proxy_set_header Host acme.test;
      proxy_http_version 1.1;
      proxy_request_buffering {buffering};
    }}
  }}
}}
"#
            )
        })
    }

    fn haproxy(octroi: SocketAddr) -> Self {
        Self::start("haproxy", &["-db", "-q", "-f", "front.conf"], |addr| {
            format!(
                "defaults\n mode http\n timeout client 30s\n timeout server 30s\n timeout connect 5s\n\
                 listen front\n bind {addr}\n http-request set-header Host acme.test\n \
                 server octroi {octroi} ssl verify none sni str(acme.test)\n"
            )
        })
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_proxy_in_front_hands_the_answer_on() {
    let octroi = started("");
    let large = octroi.path().join("large");
    fs::write(&large, vec![b'x'; LARGE]).unwrap();
    let body = format!("@{}", large.display());
    let public = octroi.addr("public");
    for (name, front) in [
        ("buffers", Front::nginx(public, "on")),
        ("streams", Front::nginx(public, "off")),
        ("haproxy", Front::haproxy(public)),
    ] {
        for (path, status) in [("/large/", 401), ("/small/", 413)] {
            for more in [&[][..], &["-H", "Transfer-Encoding: chunked"]] {
                // Where nobody knows its length, the server is asked first, and is not there.
                let unknown = path == "/small/" && !more.is_empty() && name != "buffers";
                let status = if unknown { 502 } else { status };
                let answer = Curl::plain(front.addr, "acme.test", path)
                    .args(&["-H", "Expect:", "--data-binary", &body])
                    .args(more)
                    .get();
                assert_eq!((answer.exit, answer.status), (0, status), "{name} {path} {more:?} {answer:?}");
                assert!(answer.field("octroi-request-id").is_some(), "octroi said it: {answer:?}");
            }
        }
    }
}

/// Returns the lines of requests.
fn requests(octroi: &Octroi) -> Vec<serde_json::Value> {
    octroi.access_lines().into_iter().filter(|line| line["event"] == "request").collect()
}

/// A client that reads as it sends; it has its answer, and goes on.
struct Sender {
    stream: rustls::StreamOwned<rustls::ClientConnection, TcpStream>,
    /// When it began: no deadline of octroi for it is counted from earlier on.
    since: Instant,
}

impl Sender {
    fn new(octroi: &Octroi, path: &str, framing: &str) -> Self {
        let since = Instant::now();
        let mut stream = harness::raw_tls(
            octroi.addr("public"),
            "acme.test",
            &octroi.path().join("certs/ca.pem"),
            &[b"http/1.1"],
        );
        write!(stream, "POST {path} HTTP/1.1\r\nHost: acme.test\r\nUser-Agent: sender\r\n{framing}\r\n\r\n")
            .unwrap();
        Self { stream, since }
    }

    /// Reads the head of the answer.
    fn status(&mut self) -> String {
        let mut head = Vec::new();
        let mut byte = [0];
        while !head.ends_with(b"\r\n\r\n") {
            self.stream.read_exact(&mut byte).unwrap();
            head.push(byte[0]);
        }
        String::from_utf8_lossy(&head[9..12]).into_owned()
    }

    /// Reads to the end; says how long it has lived.
    fn ends(&mut self) -> Duration {
        let mut space = [0; 4096];
        while self.since.elapsed() < Duration::from_secs(90) {
            match self.stream.read(&mut space) {
                Ok(0) => return self.since.elapsed(),
                Ok(_) => {}
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
                Err(_) => return self.since.elapsed(),
            }
        }
        panic!("it does not end");
    }

    /// Sends a piece every so often until it cannot; says how long it has lived.
    fn sends(&mut self, piece: &[u8], every: Duration) -> Duration {
        while self.since.elapsed() < Duration::from_secs(90) {
            if self.stream.write_all(piece).and_then(|()| self.stream.flush()).is_err() {
                return self.since.elapsed();
            }
            wait::slow_peer(every);
        }
        panic!("it sends for ever");
    }
}

#[test]
fn nobody_holds_a_connection_for_longer_than_a_body_may_take() {
    let octroi = started("");
    let within = |took: Duration, from: u64, to: u64| {
        (from * 1000..to * 1000).contains(&u64::try_from(took.as_millis()).unwrap())
    };
    std::thread::scope(|scope| {
        // One that sends no more has ten seconds.
        scope.spawn(|| {
            let mut silent = Sender::new(&octroi, "/large/", "Content-Length: 1000000");
            assert_eq!(silent.status(), "401");
            silent.stream.write_all(&[b'x'; 300_000]).unwrap();
            let took = silent.ends();
            assert!(within(took, 10, 20), "{took:?}");
        });
        // One that drips has ten seconds, too.
        scope.spawn(|| {
            let mut drips = Sender::new(&octroi, "/fast/", "Content-Length: 10000000");
            assert_eq!(drips.status(), "401");
            let took = drips.sends(&[b'x'; 1000], Duration::from_millis(100));
            assert!(within(took, 10, 20), "{took:?}");
        });
        // One that keeps the rate is read to its end.
        scope.spawn(|| {
            assert_eq!(
                upload_then_read(
                    &octroi,
                    "acme.test",
                    "/fast/",
                    &Upload { size: 2_000_000, mode: "length", rate: 150_000 },
                    "keeps"
                ),
                "401 1 True"
            )
        });
        // One that has sent as much as it may has half a minute more.
        scope.spawn(|| {
            let mut goes_on = Sender::new(&octroi, "/small/", "Content-Length: 900000000");
            assert_eq!(goes_on.status(), "413");
            let took = goes_on.sends(&[b'x'; 65_536], Duration::from_millis(40));
            assert!(within(took, 30, 60), "{took:?}");
        });
        // One that has sent all is not waited for.
        scope.spawn(|| {
            let mut whole = Sender::new(&octroi, "/large/", "Content-Length: 300000");
            assert_eq!(whole.status(), "401");
            whole.stream.write_all(&[b'x'; 300_000]).unwrap();
            let took = whole.ends();
            assert!(within(took, 0, 9), "{took:?}");
        });
    });
    assert_eq!(
        octroi.metric("octroi_connections_cut_total{listener=\"public\",reason=\"timeout_body\"}"),
        1.0,
        "{}",
        octroi.metrics()
    );
}

#[test]
fn what_is_behind_a_refused_request_is_never_a_request() {
    let octroi = started("");
    for framing in ["Content-Length: 300000", "Transfer-Encoding: chunked"] {
        let mut sender = Sender::new(&octroi, "/large/", framing);
        assert_eq!(sender.status(), "401");
        let body = vec![b'x'; 300_000];
        let body = if framing.starts_with('C') {
            body
        } else {
            [&b"493e0\r\n"[..], &body, b"\r\n0\r\n\r\n"].concat()
        };
        sender
            .stream
            .write_all(&[&body[..], b"GET /never/ HTTP/1.1\r\nHost: acme.test\r\n\r\n"].concat())
            .unwrap();
        let mut rest = Vec::new();
        let _ = sender.stream.read_to_end(&mut rest);

        assert!(!String::from_utf8_lossy(&rest).contains("HTTP/1.1"), "{}", String::from_utf8_lossy(&rest));
        octroi.access_line(|line| line["user_agent"] == "sender" && line["bytes.in"] == 300_000);
    }
    assert!(octroi.access_lines().iter().all(|line| line["path"] != "/never/"));
}

#[test]
fn a_stop_waits_for_no_refused_upload_and_it_has_its_line() {
    let mut octroi = started("");
    let mut sender = Sender::new(&octroi, "/large/", "Content-Length: 1000000");
    assert_eq!(sender.status(), "401");
    sender.stream.write_all(&[b'x'; 300_000]).unwrap();
    assert!(requests(&octroi).is_empty(), "its rest is waited for");

    let began = Instant::now();
    octroi.signal("TERM");
    assert_eq!(octroi.wait(), 0);

    assert!(began.elapsed() < Duration::from_secs(15), "before the drain is over: {:?}", began.elapsed());
    let line = octroi.access_line(|line| line["user_agent"] == "sender");
    assert_eq!((&line["status"], &line["bytes.in"]), (&401.into(), &300_000.into()), "{line}");
}

#[test]
fn a_client_of_http2_that_reads_last_gets_each_answer_and_its_connection_goes_on() {
    let octroi = started("");
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    runtime.block_on(async {
        let tcp = tokio::net::TcpStream::connect(octroi.addr("public")).await.unwrap();
        tcp.set_nodelay(true).unwrap();
        let tls = harness::client::tls_config(&octroi.path().join("certs/ca.pem"), &[b"h2"]);
        let tls = tokio_rustls::TlsConnector::from(tls)
            .connect("acme.test".try_into().unwrap(), tcp)
            .await
            .unwrap();
        let (sender, connection) = h2::client::handshake(tls).await.unwrap();
        tokio::spawn(connection);
        // More than the windows of a stream and of a connection, again and again.
        for (path, status, size) in [
            ("/large/", 401, 3_000_000),
            ("/large/", 303, 3_000_000),
            ("/small/", 413, 3_000_000),
            ("/large/", 401, 3_000_000),
        ] {
            let mut sender = sender.clone().ready().await.unwrap();
            let request = http::Request::post(format!("https://acme.test{path}"))
                .header("content-length", size.to_string());
            let fields = FORM.iter().filter(|_| status == 303);
            let request = fields
                .fold(request, |request, (name, value)| request.header(*name, *value))
                .body(())
                .unwrap();
            let (answer, mut body) = sender.send_request(request, false).unwrap();
            let mut left: usize = size;
            while left > 0 {
                body.reserve_capacity(left);
                let room = std::future::poll_fn(|cx| body.poll_capacity(cx))
                    .await
                    .expect("the stream is not reset")
                    .unwrap();
                let piece = room.min(left);
                left -= piece;
                body.send_data(Bytes::from(vec![b'x'; piece]), left == 0).unwrap();
            }
            let answer = tokio::time::timeout(Duration::from_secs(10), answer).await.unwrap().unwrap();
            assert_eq!(answer.status().as_u16(), status, "{path}");
        }
    });
    let lines = eventually("four lines", || Some(requests(&octroi)).filter(|lines| lines.len() == 4));
    assert!(
        lines.iter().all(|line| line["bytes.in"] == 3_000_000 && line["http.version"] == "HTTP/2"),
        "{lines:?}"
    );
}
