//! Clients that count honestly: a request counts as failed unless its answer came, whole and with 200.

use std::{
    io::{Read, Write},
    net::SocketAddr,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use crate::harness::client::{parse, raw, tls_config, tls_over};

/// What clients of one kind did.
#[derive(Debug, Default)]
pub struct Tally {
    pub answered: AtomicUsize,
    pub failed: AtomicUsize,
    pub connections: AtomicUsize,
}

impl Tally {
    fn note(&self, outcome: bool) {
        if outcome { &self.answered } else { &self.failed }.fetch_add(1, Ordering::Relaxed);
    }

    pub fn counts(&self) -> (usize, usize) {
        (self.answered.load(Ordering::Relaxed), self.failed.load(Ordering::Relaxed))
    }
}

/// How long a client rests between two requests: the load is bounded, and other tests run beside it.
const REST: Duration = Duration::from_millis(2);

/// One HTTP/1.1 request; says whether it was answered, and whether the connection may carry another.
fn ask(stream: &mut (impl Read + Write)) -> (bool, bool) {
    if stream.write_all(b"GET /public/x HTTP/1.1\r\nHost: acme.test\r\n\r\n").and_then(|()| stream.flush()).is_err() {
        return (false, false);
    }
    let (mut got, mut buffer) = (Vec::new(), [0; 4096]);
    loop {
        let text = String::from_utf8_lossy(&got);
        if let Some(end) = text.find("\r\n\r\n") {
            let answer = parse(&text, 0);
            let length: usize = answer.field("content-length").map_or(0, |length| length.parse().unwrap());
            if got.len() >= end + 4 + length {
                let closes = answer.field("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"));
                return (answer.status == 200, !closes);
            }
        }
        match stream.read(&mut buffer) {
            Ok(read) if read > 0 => got.extend_from_slice(&buffer[..read]),
            Ok(_) | Err(_) => return (false, false),
        }
    }
}

/// Sends requests until told to stop: over TLS, each on a connection of its own.
pub fn new_connections(addr: SocketAddr, ca: &Path, stop: &AtomicBool, tally: &Tally) {
    while !stop.load(Ordering::Relaxed) {
        tally.connections.fetch_add(1, Ordering::Relaxed);
        let mut stream = tls_over(raw(addr), "acme.test", ca, &[b"http/1.1"]);
        tally.note(ask(&mut stream).0);
        std::thread::sleep(REST);
    }
}

/// Sends requests until told to stop: over TLS, on a connection that is kept until the server says `Connection: close`. A connection
/// that ends otherwise has lost the request that was on its way.
pub fn kept_alive(addr: SocketAddr, ca: &Path, stop: &AtomicBool, tally: &Tally) {
    while !stop.load(Ordering::Relaxed) {
        tally.connections.fetch_add(1, Ordering::Relaxed);
        let mut stream = tls_over(raw(addr), "acme.test", ca, &[b"http/1.1"]);
        while !stop.load(Ordering::Relaxed) {
            let (answered, goes_on) = ask(&mut stream);
            tally.note(answered);
            if !goes_on {
                break;
            }
            std::thread::sleep(REST);
        }
    }
}

/// Sends requests until told to stop: over HTTP/2, four at a time, on one connection until the server says GOAWAY.
///
/// A stream that the server says it never looked at (RFC 9113, section 8.7) is one that the client sent after that, and is sent again.
pub fn http2(addr: SocketAddr, ca: &Path, stop: &AtomicBool, tally: &Tally) {
    let config = tls_config(ca, &[b"h2"]);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        while !stop.load(Ordering::Relaxed) {
            tally.connections.fetch_add(1, Ordering::Relaxed);
            let tcp = tokio::net::TcpStream::connect(addr).await.unwrap();
            let tls = tokio_rustls::TlsConnector::from(Arc::clone(&config)).connect("acme.test".try_into().unwrap(), tcp).await.unwrap();
            let (sender, connection) = h2::client::handshake(tls).await.unwrap();
            let connection = tokio::spawn(connection);
            let mut sender = sender;
            while !stop.load(Ordering::Relaxed) {
                let Ok(ready) = sender.ready().await else { break };
                sender = ready;
                let request = || http::Request::builder().uri("https://acme.test/public/x").body(()).unwrap();
                let answers: Vec<_> = (0..4).filter_map(|_| sender.send_request(request(), true).ok()).map(|(answer, _)| answer).collect();
                for answer in answers {
                    tally.note(whole(answer).await);
                }
                tokio::time::sleep(REST).await;
            }
            drop(sender);
            let _ = connection.await;
        }
    });
}

async fn whole(answer: h2::client::ResponseFuture) -> bool {
    let Ok(answer) = answer.await else { return false };
    let ok = answer.status() == 200;
    let mut body = answer.into_body();
    while let Some(piece) = body.data().await {
        let Ok(piece) = piece else { return false };
        let _ = body.flow_control().release_capacity(piece.len());
    }
    ok
}
