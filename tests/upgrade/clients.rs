//! Clients that count honestly: a request counts as failed unless its answer came, whole and with 200.

use std::{
    io::{Read, Write},
    net::SocketAddr,
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use crate::harness::client::{parse, raw, tls_config, tls_over};
use crate::harness::wait;

/// What one client did.
#[derive(Debug, Default)]
pub struct Tally {
    /// Which client this is.
    number: usize,
    answered: AtomicUsize,
    failed: AtomicUsize,
    connections: AtomicUsize,
    /// How many targets were made.
    made: AtomicUsize,
    /// What the failures were.
    said: Mutex<Vec<String>>,
}

impl Tally {
    fn note(&self, outcome: Result<(), String>) {
        match outcome {
            Ok(()) => {
                self.answered.fetch_add(1, Ordering::Relaxed);
            }
            Err(why) => {
                self.failed.fetch_add(1, Ordering::Relaxed);
                self.said.lock().unwrap().push(why);
            }
        }
    }
}

/// The kinds of clients, in the order of [`ClientFleet::start`].
pub const KEPT: usize = 1;
pub const HTTP2: usize = 2;

/// Clients of every kind, each on a thread of its own.
pub struct ClientFleet {
    clients: Vec<(usize, Arc<Tally>)>,
    threads: Vec<JoinHandle<()>>,
    stop: Arc<AtomicBool>,
}

impl ClientFleet {
    /// Starts so many of each kind: on new connections, on kept ones, over HTTP/2.
    pub fn start(addr: SocketAddr, ca: &Path, counts: [usize; 3]) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let kinds: [fn(SocketAddr, &Path, &AtomicBool, &Tally); 3] = [new_connections, kept_alive, http2];
        let each = (0..3).flat_map(|kind| std::iter::repeat_n(kind, counts[kind])).enumerate();
        let clients: Vec<_> =
            each.map(|(number, kind)| (kind, Arc::new(Tally { number, ..Tally::default() }))).collect();
        let begin = |(kind, tally): &(usize, Arc<Tally>)| {
            let (stop, ca, tally, ask) = (Arc::clone(&stop), ca.to_owned(), Arc::clone(tally), kinds[*kind]);
            std::thread::spawn(move || ask(addr, &ca, &stop, &tally))
        };
        let threads = clients.iter().map(begin).collect();
        Self { clients, threads, stop }
    }

    fn of(&self, kind: usize) -> impl Iterator<Item = &Tally> {
        self.clients.iter().filter(move |(of, _)| *of == kind).map(|(_, tally)| &**tally)
    }

    /// How many requests of a kind were answered.
    pub fn answered(&self, kind: usize) -> usize {
        self.of(kind).map(|tally| tally.answered.load(Ordering::Relaxed)).sum()
    }

    /// How many targets the clients over HTTP/2 made.
    pub fn made(&self) -> usize {
        self.of(HTTP2).map(|tally| tally.made.load(Ordering::Relaxed)).sum()
    }

    /// How often each client has connected.
    pub fn connections(&self) -> Vec<usize> {
        self.clients.iter().map(|(_, tally)| tally.connections.load(Ordering::Relaxed)).collect()
    }

    /// Waits until every one of the clients has connected anew since: whoever is told to go comes again with the next request. A busy
    /// machine lets single clients wait, so each is asked for, and not their sum.
    pub fn all_come_again(&self, since: &[usize]) {
        self.wait("every client came again", || {
            std::iter::zip(self.connections(), since).all(|(now, than)| now > *than)
        });
    }

    /// Waits until each kind of client was answered so many times more.
    pub fn answered_again(&self, times: usize) {
        let than = [0, KEPT, HTTP2].map(|kind| self.answered(kind));
        self.wait("every kind is answered", || (0..3).all(|kind| self.answered(kind) > than[kind] + times));
    }

    /// Waits for a minute at most: a machine that does much else is slow, and loses nothing.
    fn wait(&self, what: &str, is_so: impl Fn() -> bool) {
        wait::eventually_within(Duration::from_secs(60), what, || is_so().then_some(()));
    }

    /// Has them stop, once each has its last answer. Nobody lost a request.
    pub fn stop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.threads.drain(..).for_each(|client| client.join().unwrap());
        for (_, tally) in &self.clients {
            assert_eq!(tally.failed.load(Ordering::Relaxed), 0, "{:?}", tally.said.lock().unwrap());
        }
    }
}

/// How long a client rests between two requests: the load is bounded, and other tests run beside it.
const REST: Duration = Duration::from_millis(2);

/// One HTTP/1.1 request; says whether it was answered, and whether the connection may carry another.
fn ask(stream: &mut (impl Read + Write)) -> (Result<(), String>, bool) {
    let sent =
        stream.write_all(b"GET /public/x HTTP/1.1\r\nHost: acme.test\r\n\r\n").and_then(|()| stream.flush());
    if let Err(error) = sent {
        return (Err(format!("sending: {error}")), false);
    }
    let (mut got, mut buffer) = (Vec::new(), [0; 4096]);
    loop {
        let text = String::from_utf8_lossy(&got);
        if let Some(end) = text.find("\r\n\r\n") {
            let answer = parse(&text, 0);
            let length: usize = answer.field("content-length").map_or(0, |length| length.parse().unwrap());
            if got.len() >= end + 4 + length {
                let closes =
                    answer.field("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"));
                return (if answer.status == 200 { Ok(()) } else { Err(text.into_owned()) }, !closes);
            }
        }
        match stream.read(&mut buffer) {
            Ok(read) if read > 0 => got.extend_from_slice(&buffer[..read]),
            other => return (Err(format!("{other:?} after {:?}", String::from_utf8_lossy(&got))), false),
        }
    }
}

/// Sends requests until told to stop: over TLS, each on a connection of its own.
fn new_connections(addr: SocketAddr, ca: &Path, stop: &AtomicBool, tally: &Tally) {
    while !stop.load(Ordering::Relaxed) {
        tally.connections.fetch_add(1, Ordering::Relaxed);
        let mut stream = tls_over(raw(addr), "acme.test", ca, &[b"http/1.1"]);
        tally.note(ask(&mut stream).0);
        wait::slow_peer(REST);
    }
}

/// Sends requests until told to stop: over TLS, on a connection that is kept until the server says `Connection: close`. A connection
/// that ends otherwise has lost the request that was on its way.
fn kept_alive(addr: SocketAddr, ca: &Path, stop: &AtomicBool, tally: &Tally) {
    while !stop.load(Ordering::Relaxed) {
        tally.connections.fetch_add(1, Ordering::Relaxed);
        let mut stream = tls_over(raw(addr), "acme.test", ca, &[b"http/1.1"]);
        while !stop.load(Ordering::Relaxed) {
            let (answered, goes_on) = ask(&mut stream);
            tally.note(answered);
            if !goes_on {
                break;
            }
            wait::slow_peer(REST);
        }
    }
}

/// Sends requests until told to stop: over HTTP/2, four at a time, on one connection until the server says GOAWAY. Each has a target of
/// its own, `/public/x?n=…`.
///
/// What the client had queued when GOAWAY came, and the server says it has not looked at, is sent again (RFC 9113, section 6.8): no
/// server can know of it. That the server says the truth is for the test to see at the upstream.
fn http2(addr: SocketAddr, ca: &Path, stop: &AtomicBool, tally: &Tally) {
    let config = tls_config(ca, &[b"h2"]);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut waiting: Vec<String> = Vec::new();
    runtime.block_on(async {
        while !stop.load(Ordering::Relaxed) || !waiting.is_empty() {
            tally.connections.fetch_add(1, Ordering::Relaxed);
            let tcp = tokio::net::TcpStream::connect(addr).await.unwrap();
            let tls = tokio_rustls::TlsConnector::from(Arc::clone(&config))
                .connect("acme.test".try_into().unwrap(), tcp)
                .await
                .unwrap();
            let (mut sender, connection) = h2::client::handshake(tls).await.unwrap();
            let connection = tokio::spawn(connection);
            while !stop.load(Ordering::Relaxed) || !waiting.is_empty() {
                let Ok(ready) = sender.clone().ready().await else { break };
                sender = ready;
                while waiting.len() < 4 {
                    waiting.push(format!(
                        "/public/x?n={}.{}",
                        tally.number,
                        tally.made.fetch_add(1, Ordering::Relaxed)
                    ));
                }
                let mut asked = Vec::new();
                for target in std::mem::take(&mut waiting) {
                    let request =
                        http::Request::builder().uri(format!("https://acme.test{target}")).body(()).unwrap();
                    match sender.send_request(request, true) {
                        Ok((answer, _)) => asked.push((target, answer)),
                        Err(_) => waiting.push(target),
                    }
                }
                for (target, answer) in asked {
                    match answer.await {
                        Err(error)
                            if error.is_go_away()
                                && error.is_remote()
                                && error.reason() == Some(h2::Reason::NO_ERROR) =>
                        {
                            waiting.push(target);
                        }
                        Err(error) => tally.note(Err(format!("{target}: {error:?}"))),
                        Ok(answer) => {
                            tally.note(whole(answer).await.map_err(|why| format!("{target}: {why}")))
                        }
                    }
                }
                wait::slow_peer_async(REST).await;
            }
            drop(sender);
            let _ = connection.await;
        }
    });
}

async fn whole(answer: http::Response<h2::RecvStream>) -> Result<(), String> {
    let status = answer.status();
    let mut body = answer.into_body();
    while let Some(piece) = body.data().await {
        let piece = piece.map_err(|error| format!("{error:?}"))?;
        let _ = body.flow_control().release_capacity(piece.len());
    }
    if status == 200 { Ok(()) } else { Err(status.to_string()) }
}
