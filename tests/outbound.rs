//! The way out, against others that are down, slow, hostile or not who they say: deadlines, bounds, trust, and what a CA may point to.

#![cfg(feature = "gateway")]
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
    future::Future,
    net::SocketAddr,
    path::Path,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response};
use octroi::outbound::{Client, Deadlines, OutboundError, Trust};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::{ServerConfig, crypto::aws_lc_rs};
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::timeout,
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

use harness::wait;
use harness::{Octroi, Upstream, client::raw, eventually};

/// What a server does with a connection once TLS is there.
type Script = Box<dyn Fn(TlsStream<TcpStream>) -> Pin<Box<dyn Future<Output = ()> + Send>> + Send + Sync>;

/// An HTTPS server that behaves as badly as it is told to.
struct Server {
    addr: SocketAddr,
    /// The CA that vouches for it, as DER.
    root: Vec<u8>,
    root_pem: String,
    /// How many connections came, and how many of them spoke TLS to the end of the handshake.
    connections: Arc<AtomicUsize>,
    sessions: Arc<AtomicUsize>,
}

impl Server {
    /// Has a certificate for `name`.
    async fn start(name: &str, script: Script) -> Self {
        let (config, root, root_pem) = certified(name);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let (connections, sessions) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let (came, spoke, script) = (Arc::clone(&connections), Arc::clone(&sessions), Arc::new(script));
        let acceptor = TlsAcceptor::from(Arc::new(config));
        tokio::spawn(async move {
            loop {
                let (tcp, _) = listener.accept().await.unwrap();
                came.fetch_add(1, Ordering::SeqCst);
                let (acceptor, spoke, script) = (acceptor.clone(), Arc::clone(&spoke), Arc::clone(&script));
                tokio::spawn(async move {
                    let Ok(stream) = acceptor.accept(tcp).await else { return };
                    spoke.fetch_add(1, Ordering::SeqCst);
                    script(stream).await;
                });
            }
        });
        Self { addr, root, root_pem, connections, sessions }
    }

    /// Answers each request with these bytes, and closes.
    async fn answering(answer: impl Into<Vec<u8>>) -> Self {
        let answer = answer.into();
        let script = move |mut stream: TlsStream<TcpStream>| -> Pin<Box<dyn Future<Output = ()> + Send>> {
            let answer = answer.clone();
            Box::pin(async move {
                head(&mut stream).await;
                // Whoever has seen enough hangs up.
                let _ = stream.write_all(&answer).await;
                let _ = stream.shutdown().await;
            })
        };
        Self::start("127.0.0.1", Box::new(script)).await
    }

    /// Sends `first`, and then `drip` every ten milliseconds for as long as somebody reads.
    async fn dripping(first: &'static [u8], drip: &'static [u8]) -> Self {
        let script = move |mut stream: TlsStream<TcpStream>| -> Pin<Box<dyn Future<Output = ()> + Send>> {
            Box::pin(async move {
                head(&mut stream).await;
                let _ = stream.write_all(first).await;
                while stream.write_all(drip).await.is_ok() && stream.flush().await.is_ok() {
                    wait::slow_peer_async(Duration::from_millis(10)).await;
                }
            })
        };
        Self::start("127.0.0.1", Box::new(script)).await
    }

    fn trust(&self) -> Trust {
        Trust::Only(vec![self.root.clone()])
    }

    /// Asks for `/x` within half a second, for at most 1,000 bytes.
    async fn ask(&self) -> Result<Response<Bytes>, OutboundError> {
        ask(&self.trust(), &format!("https://{}/x", self.addr)).await
    }
}

/// A key and a certificate of a new CA, for one name or address.
fn certified(name: &str) -> (ServerConfig, Vec<u8>, String) {
    let ca_key = KeyPair::generate().unwrap();
    let mut ca = CertificateParams::default();
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let root = ca.self_signed(&ca_key).unwrap();
    let issuer = Issuer::new(ca, ca_key);
    let key = KeyPair::generate().unwrap();
    let leaf = CertificateParams::new(vec![name.to_owned()]).unwrap().signed_by(&key, &issuer).unwrap();
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![leaf.der().clone()], key)
        .unwrap();
    (config, root.der().to_vec(), root.pem())
}

/// Reads a request up to the end of its head.
async fn head(stream: &mut TlsStream<TcpStream>) -> String {
    let mut got = Vec::new();
    while !got.ends_with(b"\r\n\r\n") {
        got.push(stream.read_u8().await.unwrap());
    }
    String::from_utf8(got).unwrap()
}

/// Everything that is asked here ends: by its own deadline, or by an answer.
async fn ask(trust: &Trust, url: &str) -> Result<Response<Bytes>, OutboundError> {
    let half = Duration::from_millis(500);
    ask_within(
        trust,
        url,
        Deadlines { resolve: half * 20, connect: half * 20, handshake: half * 20, total: half },
    )
    .await
}

async fn ask_within(
    trust: &Trust,
    url: &str,
    deadlines: Deadlines,
) -> Result<Response<Bytes>, OutboundError> {
    let client = Client::new(trust, deadlines, 1000).unwrap();
    let request = Request::get(url).body(Bytes::new()).unwrap();
    timeout(Duration::from_secs(20), client.send(request)).await.expect("no deadline ended it")
}

/// Whether a step was given up for taking too long.
fn late(outcome: &Result<Response<Bytes>, OutboundError>, wanted: &str) -> bool {
    matches!(outcome, Err(OutboundError::Timeout { step, .. }) if *step == wanted)
}

#[tokio::test]
async fn one_that_takes_the_connection_and_says_nothing_is_given_up() {
    let server = Server::start("127.0.0.1", Box::new(|stream| Box::pin(async move { drop(stream) }))).await;
    let deaf = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}/x", deaf.local_addr().unwrap());
    let (short, long) = (Duration::from_millis(300), Duration::from_secs(10));

    let outcome = ask_within(
        &server.trust(),
        &url,
        Deadlines { resolve: long, connect: long, handshake: short, total: long },
    )
    .await;
    assert!(late(&outcome, "the TLS handshake"), "{outcome:?}");
    let outcome = ask(&server.trust(), &url).await;
    assert!(late(&outcome, "the exchange"), "the bound of all steps together: {outcome:?}");

    // One that shakes hands and falls silent then.
    let silent = Server::dripping(b"", b"").await;
    let outcome = silent.ask().await;
    assert!(late(&outcome, "the exchange"), "{outcome:?}");
    assert_eq!(silent.sessions.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn one_whose_queue_is_full_is_given_up() {
    use rustix::net::{AddressFamily, SocketType, bind, getsockname, listen, socket};
    let listener = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
    bind(&listener, &SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
    listen(&listener, 0).unwrap();
    let addr = SocketAddr::try_from(getsockname(&listener).unwrap()).unwrap();
    // Nobody accepts: what comes after these finds the queue full, and its SYN is dropped.
    let mut waiting = Vec::new();
    while let Ok(Ok(taken)) = timeout(Duration::from_millis(300), TcpStream::connect(addr)).await {
        waiting.push(taken);
        assert!(waiting.len() < 16, "the queue has no end");
    }
    let (short, long) = (Duration::from_millis(300), Duration::from_secs(10));
    let trust = Trust::Only(vec![certified("127.0.0.1").1]);

    let outcome = ask_within(
        &trust,
        &format!("https://{addr}/"),
        Deadlines { resolve: long, connect: short, handshake: long, total: long },
    )
    .await;

    assert!(late(&outcome, "connecting"), "{outcome:?}");
}

#[tokio::test]
async fn a_head_that_comes_byte_by_byte_and_a_body_without_end_are_given_up() {
    for (first, drip) in [
        (&b"HTTP/1.1 200 OK\r\nX-Slow: "[..], &b"a"[..]),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 900\r\n\r\n", b"a"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\na\r\n"),
        // Interim answers without end (RFC 9110, section 15.2).
        (b"", b"HTTP/1.1 103 Early Hints\r\n\r\n"),
    ] {
        let server = Server::dripping(first, drip).await;

        let outcome = server.ask().await;

        assert!(late(&outcome, "the exchange"), "{}: {outcome:?}", String::from_utf8_lossy(first));
    }
}

#[tokio::test]
async fn an_answer_has_a_bound() {
    let of = |length: usize| {
        [format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n").into_bytes(), vec![b'a'; length]]
            .concat()
    };
    let until_close = |length: usize| [b"HTTP/1.1 200 OK\r\n\r\n".to_vec(), vec![b'a'; length]].concat();
    let fields = |count: usize| {
        let lines: String = (0..count).map(|number| format!("X-{number}: a\r\n")).collect();
        format!("HTTP/1.1 200 OK\r\n{lines}\r\n").into_bytes()
    };
    let field =
        |length: usize| format!("HTTP/1.1 200 OK\r\nX-Long: {}\r\n\r\n", "a".repeat(length)).into_bytes();

    for answer in [of(1000), until_close(1000), fields(100), field(60 << 10)] {
        let outcome = Server::answering(answer).await.ask().await;
        assert_eq!(outcome.unwrap().status(), 200);
    }
    for answer in [of(1001), until_close(1001), of(1 << 20)] {
        let outcome = Server::answering(answer).await.ask().await;
        assert!(matches!(outcome, Err(OutboundError::TooLarge(1000))), "{outcome:?}");
    }
    for answer in [fields(101), field(256 << 10), b"not HTTP at all\r\n\r\n".to_vec(), b"".to_vec()] {
        let outcome = Server::answering(answer).await.ask().await;
        assert!(
            matches!(outcome, Err(OutboundError::Http(_))),
            "{:?}",
            outcome.map(|answer| answer.status())
        );
    }
    // Cut off in the middle.
    let outcome = Server::answering("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc").await.ask().await;
    assert!(matches!(outcome, Err(OutboundError::Http(_))), "{outcome:?}");
}

#[tokio::test]
async fn a_redirect_is_an_answer_and_not_followed() {
    let other = Server::answering("HTTP/1.1 200 OK\r\n\r\n").await;
    let answer =
        format!("HTTP/1.1 302 Found\r\nLocation: https://{}/x\r\nContent-Length: 0\r\n\r\n", other.addr);
    let server = Server::answering(answer).await;

    let answer = server.ask().await.unwrap();

    assert_eq!(answer.status(), 302);
    assert_eq!((server.connections.load(Ordering::SeqCst), other.connections.load(Ordering::SeqCst)), (1, 0));
}

#[tokio::test]
async fn only_whom_the_trusted_ca_vouches_for_is_asked() {
    let server = Server::answering("HTTP/1.1 200 OK\r\n\r\n").await;
    assert_eq!(server.ask().await.unwrap().status(), 200);
    let heard = server.sessions.load(Ordering::SeqCst);

    // Another CA, of the same name even.
    let outcome =
        ask(&Trust::Only(vec![certified("127.0.0.1").1]), &format!("https://{}/x", server.addr)).await;
    assert!(matches!(&outcome, Err(OutboundError::Tls { host, .. }) if host == "127.0.0.1"), "{outcome:?}");
    assert!(outcome.unwrap_err().to_string().contains("invalid peer certificate"));
    // The right CA, and a certificate for another name.
    let other = Server::start("ca.test", Box::new(|stream| Box::pin(async move { drop(stream) }))).await;
    let outcome = other.ask().await;
    assert!(matches!(&outcome, Err(OutboundError::Tls { .. })), "{outcome:?}");
    assert!(outcome.unwrap_err().to_string().contains("not valid for name"));
    // The name counts, not the address behind it.
    let outcome = ask(&server.trust(), &format!("https://localhost:{}/x", server.addr.port())).await;
    assert!(matches!(&outcome, Err(OutboundError::Tls { .. })), "{outcome:?}");

    assert_eq!(
        server.sessions.load(Ordering::SeqCst),
        heard,
        "no request was said to anybody who was not verified"
    );
    assert!(matches!(Client::new(&Trust::Only(Vec::new()), deadlines(), 1), Err(OutboundError::NoTrust)));
    assert!(matches!(
        Client::new(&Trust::Only(vec![b"no certificate".to_vec()]), deadlines(), 1),
        Err(OutboundError::Trust(_))
    ));
}

fn deadlines() -> Deadlines {
    let long = Duration::from_secs(10);
    Deadlines { resolve: long, connect: long, handshake: long, total: long }
}

#[tokio::test]
async fn nobody_there_is_said_at_once() {
    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let trust = Trust::Only(vec![certified("127.0.0.1").1]);

    let refused = ask_within(&trust, &format!("https://{gone}/"), deadlines()).await;
    let unknown = ask_within(&trust, "https://nobody.invalid/", deadlines()).await;
    let plain = ask_within(&trust, &format!("http://{gone}/"), deadlines()).await;

    assert!(
        matches!(&refused, Err(OutboundError::Connect { address, .. }) if *address == gone.to_string()),
        "{refused:?}"
    );
    assert!(
        matches!(&unknown, Err(OutboundError::Resolve { host, .. }) if host == "nobody.invalid"),
        "{unknown:?}"
    );
    assert!(matches!(plain, Err(OutboundError::Url(_))), "{plain:?}");
}

/// A gateway that wants a certificate from a CA.
fn config(upstream: &Upstream, directory: &str) -> String {
    format!(
        r#"
version: 1
node: edge-1
server: {{state_dir: STATE, drain: 30s, threads: 2}}
listeners:
  - {{name: public, address: "127.0.0.1:0", tls: {{}}}}
  - {{name: http, address: "127.0.0.1:0", redirect_to_https: 443}}
metrics: {{address: "127.0.0.1:0"}}
tls:
  certificates:
    - acme: {{directory: "{directory}", ca: ca-of-the-ca.pem, retry_after: 1s}}
upstreams:
  app: {{servers: [{{address: "{}"}}]}}
routes:
  app: {{unmatched: public}}
tenants:
  acme: {{hosts: [acme.test], upstream: app, routes: app}}
"#,
        upstream.addr
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ca_that_points_to_another_host_is_not_followed_there() {
    let other = Server::answering("HTTP/1.1 200 OK\r\n\r\n").await;
    let at = format!("https://{}", other.addr);
    let document =
        format!(r#"{{"newNonce": "{at}/nonce", "newAccount": "{at}/account", "newOrder": "{at}/order"}}"#);
    let length = document.len();
    let ca = Server::answering(format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{document}"
    ))
    .await;
    let upstream = Upstream::start();
    let mut octroi = Octroi::prepared(&config(&upstream, &format!("https://{}/dir", ca.addr)));
    fs::write(octroi.path().join("ca-of-the-ca.pem"), &ca.root_pem).unwrap();

    octroi.run();

    let wanted = format!("the CA names `{}`, which is another host than its directory's", other.addr);
    eventually("it says so", || octroi.printed().into_iter().find(|line| line.contains(&wanted)));
    assert!(ca.sessions.load(Ordering::SeqCst) >= 1);
    assert_eq!(other.connections.load(Ordering::SeqCst), 0, "nobody went there");
}

/// Whether a process has the lock of who orders open.
fn has_the_lock(pid: u32, lock: &Path) -> bool {
    let Ok(open) = fs::read_dir(format!("/proc/{pid}/fd")) else { return false };
    open.flatten().any(|entry| fs::read_link(entry.path()).is_ok_and(|target| target == lock))
}

#[tokio::test(flavor = "multi_thread")]
async fn one_process_orders_at_a_time() {
    // A CA that answers nothing useful: each order fails, and is counted by the process that tried.
    let ca = Server::answering("HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n").await;
    let upstream = Upstream::start();
    let mut octroi = Octroi::prepared(&config(&upstream, &format!("https://{}/dir", ca.addr)));
    fs::write(octroi.path().join("ca-of-the-ca.pem"), &ca.root_pem).unwrap();
    let lock = octroi.path().join("state/acme/lock");
    fs::create_dir_all(lock.parent().unwrap()).unwrap();
    let held = fs::File::create(&lock).unwrap();
    held.lock().unwrap();

    octroi.run();

    let waits = "another process keeps the certificates; waiting for its end";
    eventually("it waits", || octroi.printed().into_iter().find(|line| line.contains(waits)));
    assert_eq!(ca.connections.load(Ordering::SeqCst), 0, "two processes order at the same time");
    drop(held);
    eventually("it orders", || (ca.sessions.load(Ordering::SeqCst) > 0).then_some(()));
    assert!(has_the_lock(octroi.pid(), &lock));

    // At a hand-over it goes to the successor, also while the predecessor still drains.
    let open = raw(octroi.addr("http"));
    eventually("it is accepted", || {
        (octroi.metric(r#"octroi_connections{listener="http"}"#) >= 1.0).then_some(())
    });
    let old = octroi.pid();
    octroi.ok(&["upgrade"]);
    let new = octroi.succeed();
    eventually("the successor has the lock", || has_the_lock(new, &lock).then_some(()));
    assert!(harness::program::lives(old) && !has_the_lock(old, &lock));
    drop(open);
}
