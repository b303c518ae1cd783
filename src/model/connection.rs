//! One connection: what edge learnt about it, and what edge and gateway tell each other while it lives.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering},
    },
    time::Duration,
};

use super::{
    Acceptance, CertificateJudge, ClientCertificate, ClientIp, Host, Http2Limits, ListenerName, Presented, UnixTime, chunk::Chunks,
};

/// The application protocol that TLS agreed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Alpn {
    /// HTTP/1.1, or none was offered.
    Http1,
    /// HTTP/2.
    Http2,
}

impl Alpn {
    /// Returns the protocol's identification: RFC 7301, section 6.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Http1 => "http/1.1",
            Self::Http2 => "h2",
        }
    }
}

/// What a TLS handshake settled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFacts {
    /// The host that the client named, in canonical form.
    pub sni: Option<Host>,
    /// `TLSv1.2` or `TLSv1.3`.
    pub version: &'static str,
    /// The cipher suite, by its IANA name.
    pub cipher: &'static str,
    /// The key exchange group.
    pub group: &'static str,
    /// The application protocol.
    pub alpn: Alpn,
    /// Whether an earlier session was resumed.
    pub resumed: bool,
    /// The JA4 fingerprint of the client, where it is asked for.
    pub ja4: Option<Box<str>>,
}

/// How a connection is carried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Transport {
    /// Plain TCP, where the operator said so.
    Plain,
    /// TLS.
    Tls(TlsFacts),
}

/// What is known of a connection once it is open. It does not change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// A number that no other connection of this process has.
    pub id: u64,
    /// The listener that took it.
    pub listener: ListenerName,
    /// The listener's own address.
    pub local: SocketAddr,
    /// Who connected: the socket's other end.
    pub peer: SocketAddr,
    /// Who connected according to the PROXY header, otherwise the peer.
    pub source: SocketAddr,
    /// How it is carried.
    pub transport: Transport,
    /// When it was taken.
    pub accepted: UnixTime,
}

impl Facts {
    /// Returns the address that trusted forwarding headers may refine.
    pub fn source_ip(&self) -> ClientIp {
        ClientIp::from(self.source.ip())
    }

    /// Returns what TLS settled.
    pub fn tls(&self) -> Option<&TlsFacts> {
        match &self.transport {
            Transport::Plain => None,
            Transport::Tls(tls) => Some(tls),
        }
    }
}

/// Where an HTTP/1 connection stands. HTTP/2 connections stay in [`Phase::Multiplexed`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// No byte of the next head has come.
    Idle,
    /// Part of a head has come.
    Head,
    /// The head is whole; nobody has begun the request yet.
    HeadRead,
    /// More than `header_bytes` came and the head did not end: nothing more is taken in.
    HeadTooLarge,
    /// A request is being served: what comes is its body.
    Request,
    /// The request became a tunnel (101).
    Tunnel,
    /// HTTP/2.
    Multiplexed,
}

impl Phase {
    const fn number(self) -> u8 {
        match self {
            Self::Idle => 0,
            Self::Head => 1,
            Self::HeadRead => 2,
            Self::HeadTooLarge => 3,
            Self::Request => 4,
            Self::Tunnel => 5,
            Self::Multiplexed => 6,
        }
    }

    /// Says whether bytes of a head are there for which nobody has begun a request.
    pub const fn is_before_request(self) -> bool {
        matches!(self, Self::Head | Self::HeadRead | Self::HeadTooLarge)
    }
}

/// Why edge ended a connection, the reading of one, or one body on it: by a deadline, or because of who it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cut {
    /// Not one byte of a first request came within `header_timeout`.
    NoRequest,
    /// The head was not whole within `header_timeout`; the client was told 408.
    HeadTimeout,
    /// No further request came within `idle_timeout`.
    Idle,
    /// The body came slower than `body_min_rate`.
    BodyTooSlow,
    /// The tunnel was silent for too long.
    TunnelIdle,
    /// The other side took nothing of what was sent within `write_stall`.
    WriteStall,
    /// The other side took what was sent slower than `write_min_rate`.
    WriteTooSlow,
    /// The client is banned since the connection was taken.
    Banned,
}

impl Cut {
    /// Every cut.
    pub const ALL: &'static [Self] = &[
        Self::NoRequest,
        Self::HeadTimeout,
        Self::Idle,
        Self::BodyTooSlow,
        Self::TunnelIdle,
        Self::WriteStall,
        Self::WriteTooSlow,
        Self::Banned,
    ];

    /// Returns the code that logs and metrics say.
    pub const fn code(self) -> &'static str {
        match self {
            Self::NoRequest => "timeout_no_request",
            Self::HeadTimeout => "timeout_head",
            Self::Idle => "timeout_idle",
            Self::BodyTooSlow => "timeout_body",
            Self::TunnelIdle => "timeout_tunnel",
            Self::WriteStall => "timeout_write",
            Self::WriteTooSlow => "timeout_write_rate",
            Self::Banned => "banned",
        }
    }
}

/// The deadlines and bounds of a head, from the limits of the policy that was in force when the connection was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeadDeadlines {
    /// How long a head may take from its first byte (the first one: from the end of the handshake).
    pub header_timeout: Duration,
    /// How long a kept-alive connection may wait for the next head.
    pub idle_timeout: Duration,
    /// How large a head may be.
    pub header_bytes: usize,
    /// How long the other side may take none of what we send.
    pub write_stall: Duration,
    /// How many bytes per second it must take while we wait for it; 0 is no bound.
    pub write_min_rate: u64,
    /// What it may do where it speaks HTTP/2.
    pub http2: Http2Limits,
}

/// The request that is coming in.
#[derive(Debug, Default)]
struct Incoming {
    head: Vec<u8>,
    /// Its body, if the head announces chunks.
    chunks: Option<Chunks>,
}

/// One connection. Edge's stream feeds it, the gateway asks it; both hold it in an `Arc`, and its end is the connection's end.
#[derive(Debug)]
pub struct Connection {
    facts: Facts,
    deadlines: HeadDeadlines,
    phase: AtomicU8,
    incoming: Mutex<Incoming>,
    chunks_are_wrong: AtomicBool,
    requests: AtomicU32,
    body_min_rate: AtomicU64,
    /// The rates of the bodies that are to come over HTTP/2.
    bodies: Mutex<Vec<u64>>,
    slow_bodies: AtomicU32,
    tunnel_idle_millis: AtomicU64,
    cut: OnceLock<Cut>,
    certificate: Option<Box<Held>>,
}

/// A client certificate that lives as long as its connection, and what was last found of it.
#[derive(Debug)]
struct Held {
    certificate: Arc<ClientCertificate>,
    acceptance: Mutex<Arc<Acceptance>>,
    /// Whether it was last found that nobody accepts it any more.
    is_refused: AtomicBool,
    judge: Arc<dyn CertificateJudge>,
}

impl Connection {
    /// Begins a connection.
    pub fn new(facts: Facts, deadlines: HeadDeadlines) -> Self {
        let multiplexed = facts.tls().is_some_and(|tls| tls.alpn == Alpn::Http2);
        let phase = if multiplexed { Phase::Multiplexed } else { Phase::Idle };
        Self {
            facts,
            deadlines,
            phase: AtomicU8::new(phase.number()),
            incoming: Mutex::default(),
            chunks_are_wrong: AtomicBool::new(false),
            requests: AtomicU32::new(0),
            body_min_rate: AtomicU64::new(0),
            bodies: Mutex::default(),
            slow_bodies: AtomicU32::new(0),
            tunnel_idle_millis: AtomicU64::new(0),
            cut: OnceLock::new(),
            certificate: None,
        }
    }

    /// Keeps the certificate that the client presented, and who may be asked about it again.
    pub fn with_certificate(mut self, presented: Presented, judge: Arc<dyn CertificateJudge>) -> Self {
        let Presented { certificate, acceptance } = presented;
        self.certificate =
            Some(Box::new(Held { certificate, acceptance: Mutex::new(acceptance), is_refused: AtomicBool::new(false), judge }));
        self
    }

    /// Returns the certificate that the client presented.
    pub fn certificate(&self) -> Option<&Arc<ClientCertificate>> {
        self.certificate.as_ref().map(|held| &held.certificate)
    }

    /// Returns the certificate that the client presented and who accepts it now.
    ///
    /// It is verified again where the rules have changed, or something in it or its revocation list has ended since: a connection
    /// may be held for days. That costs a few signatures, once per change.
    pub fn presented(&self, now: UnixTime) -> Option<Presented> {
        let held = self.certificate.as_ref()?;
        let mut acceptance = held.acceptance.lock().unwrap_or_else(PoisonError::into_inner);
        if !acceptance.holds(held.judge.rules(), now) {
            let sni = self.facts.tls().and_then(|tls| tls.sni.as_ref());
            *acceptance = Arc::new(held.judge.judge(sni, &held.certificate, now));
            held.is_refused.store(acceptance.tenants.is_empty(), Ordering::Release);
        }
        Some(Presented { certificate: Arc::clone(&held.certificate), acceptance: Arc::clone(&acceptance) })
    }

    /// Says whether the client's certificate was accepted once and nobody accepts it any more, as the last request found: only
    /// another connection can have another certificate.
    pub fn certificate_is_refused(&self) -> bool {
        self.certificate.as_ref().is_some_and(|held| held.is_refused.load(Ordering::Acquire))
    }

    /// Returns what is known of it.
    pub fn facts(&self) -> &Facts {
        &self.facts
    }

    /// Returns its deadlines.
    pub fn deadlines(&self) -> HeadDeadlines {
        self.deadlines
    }

    /// Returns where it stands.
    pub fn phase(&self) -> Phase {
        match self.phase.load(Ordering::Acquire) {
            0 => Phase::Idle,
            1 => Phase::Head,
            2 => Phase::HeadRead,
            3 => Phase::HeadTooLarge,
            4 => Phase::Request,
            5 => Phase::Tunnel,
            _ => Phase::Multiplexed,
        }
    }

    /// Returns how many requests it has carried.
    pub fn requests(&self) -> u32 {
        self.requests.load(Ordering::Relaxed)
    }

    /// Takes in bytes as they were received; the stream calls it for every read. Keeps them while they belong to a head, and judges
    /// the chunks of a body. Returns where the connection stands now.
    ///
    /// Bounded: once a head that did not end exceeds `header_bytes`, by at most one read, nothing more is kept.
    pub fn received(&self, bytes: &[u8]) -> Phase {
        let before = self.phase();
        if bytes.is_empty() || !matches!(before, Phase::Idle | Phase::Head | Phase::HeadRead | Phase::Request) {
            return before;
        }
        let mut incoming = self.incoming.lock().unwrap_or_else(PoisonError::into_inner);
        let Incoming { head, chunks } = &mut *incoming;
        if matches!(before, Phase::HeadRead | Phase::Request) {
            self.judge_chunks(chunks, bytes);
            return before;
        }
        let known = head.len();
        head.extend_from_slice(bytes);
        let phase = match end_of_head(head, known.saturating_sub(3)) {
            Some(end) => {
                head.truncate(end);
                *chunks = announces_chunks(head).then(Chunks::new);
                self.judge_chunks(chunks, bytes.get(end.saturating_sub(known)..).unwrap_or_default());
                Phase::HeadRead
            }
            None if head.len() > self.deadlines.header_bytes => Phase::HeadTooLarge,
            None => Phase::Head,
        };
        self.phase.store(phase.number(), Ordering::Release);
        phase
    }

    fn judge_chunks(&self, chunks: &mut Option<Chunks>, bytes: &[u8]) {
        if chunks.as_mut().is_some_and(|chunks| !chunks.read(bytes)) {
            self.chunks_are_wrong.store(true, Ordering::Release);
        }
    }

    /// Says whether the body of this request has malformed chunks: nobody can tell where it ends.
    pub fn chunks_are_wrong(&self) -> bool {
        self.chunks_are_wrong.load(Ordering::Acquire)
    }

    /// Tells that the gateway has begun a request, and hands it the head as received (HTTP/1 only).
    pub fn request_begins(&self) -> Option<Vec<u8>> {
        self.requests.fetch_add(1, Ordering::Relaxed);
        if self.phase() == Phase::Multiplexed {
            return None;
        }
        self.phase.store(Phase::Request.number(), Ordering::Release);
        Some(self.take_head())
    }

    /// Hands over the head as received so far, for a request that nobody began.
    pub fn take_head(&self) -> Vec<u8> {
        std::mem::take(&mut self.incoming.lock().unwrap_or_else(PoisonError::into_inner).head)
    }

    /// Tells that the request is over: what comes next is another head.
    pub fn request_ends(&self) {
        if self.phase() == Phase::Multiplexed {
            return;
        }
        self.body_min_rate.store(0, Ordering::Relaxed);
        self.tunnel_idle_millis.store(0, Ordering::Relaxed);
        self.chunks_are_wrong.store(false, Ordering::Release);
        self.phase.store(Phase::Idle.number(), Ordering::Release);
    }

    /// Tells that the request became a tunnel that may be silent for so long.
    pub fn becomes_tunnel(&self, idle: Duration) {
        self.tunnel_idle_millis.store(u64::try_from(idle.as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
        if self.phase() != Phase::Multiplexed {
            self.phase.store(Phase::Tunnel.number(), Ordering::Release);
        }
    }

    /// Returns how long a tunnel may be silent.
    pub fn tunnel_idle(&self) -> Option<Duration> {
        Some(self.tunnel_idle_millis.load(Ordering::Relaxed)).filter(|&millis| millis > 0).map(Duration::from_millis)
    }

    /// Tells that a body is to come, and the lowest rate at which it may, in bytes per second; 0 is no bound.
    ///
    /// [`Connection::body_ends`] tells that it has come: the client has nothing more to send then.
    pub fn body_begins(&self, bytes_per_second: u64) {
        self.bodies_change(|bodies| bodies.push(bytes_per_second));
    }

    /// Tells that a body has come, or that nobody waits for it any more: one that began with the same rate.
    pub fn body_ends(&self, bytes_per_second: u64) {
        self.bodies_change(|bodies| {
            if let Some(at) = bodies.iter().position(|rate| *rate == bytes_per_second) {
                bodies.swap_remove(at);
            }
        });
    }

    /// Over HTTP/2 many bodies come at once, and the stream does not know which of them is which request's. So the lowest of their
    /// rates holds for all of them.
    fn bodies_change(&self, change: impl FnOnce(&mut Vec<u64>)) {
        let mut bodies = self.bodies.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut bodies);
        self.body_min_rate.store(bodies.iter().copied().min().unwrap_or(0), Ordering::Relaxed);
    }

    /// Notes that a body over HTTP/2 comes slower than its rate. It is to be refused with the next octet of it, and is ended if none
    /// comes.
    pub fn note_slow_body(&self) {
        self.slow_bodies.fetch_add(1, Ordering::Release);
    }

    /// Asks whether there is such a body, and takes the note away. Which one it is has to be seen from what came of each.
    pub fn take_slow_body(&self) -> bool {
        self.slow_bodies.fetch_update(Ordering::AcqRel, Ordering::Acquire, |slow| slow.checked_sub(1)).is_ok()
    }

    /// Returns the lowest rate, in bytes per second, at which bodies may come now; 0 is no bound.
    pub fn body_min_rate(&self) -> u64 {
        self.body_min_rate.load(Ordering::Relaxed)
    }

    /// Notes that a deadline ended the connection, or the reading of it. The first note stays.
    pub fn note_cut(&self, cut: Cut) {
        let _ = self.cut.set(cut);
    }

    /// Returns which deadline ended the connection, or the reading of it.
    pub fn cut(&self) -> Option<Cut> {
        self.cut.get().copied()
    }
}

/// Finds where a head ends: after the first empty line, with whatever line ends the HTTP library would accept.
///
/// `from` is how far an earlier search came.
fn end_of_head(head: &[u8], from: usize) -> Option<usize> {
    let mut at = from;
    while let Some(found) = head.get(at..).and_then(|rest| memchr::memchr(b'\n', rest)) {
        let after = at + found + 1;
        match head.get(after..) {
            Some([b'\n', ..]) => return Some(after + 1),
            Some([b'\r', b'\n', ..]) => return Some(after + 2),
            _ => at = after,
        }
    }
    None
}

/// Says whether a head has a `Transfer-Encoding` field. Whether its value can stand is judged with the head.
fn announces_chunks(head: &[u8]) -> bool {
    const NAME: &[u8] = b"transfer-encoding";
    memchr::memchr_iter(b'\n', head).any(|end| {
        let line = head.get(end + 1..).unwrap_or_default();
        line.get(..NAME.len()).is_some_and(|name| name.eq_ignore_ascii_case(NAME))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connection() -> Connection {
        let facts = Facts {
            id: 1,
            listener: "public".parse().unwrap(),
            local: "127.0.0.1:8443".parse().unwrap(),
            peer: "192.0.2.1:5".parse().unwrap(),
            source: "192.0.2.1:5".parse().unwrap(),
            transport: Transport::Plain,
            accepted: UnixTime::from_secs(1),
        };
        let second = Duration::from_secs(1);
        Connection::new(
            facts,
            HeadDeadlines {
                header_timeout: second,
                idle_timeout: second,
                header_bytes: 64,
                write_stall: second,
                write_min_rate: 0,
                http2: Http2Limits::SMALL,
            },
        )
    }

    #[test]
    fn the_head_is_kept_as_received_and_the_body_is_not() {
        let connection = connection();

        connection.received(b"POST / HTTP/1.1\r\nHost: a.te");
        assert_eq!(connection.phase(), Phase::Head);
        connection.received(b"st\r\n\r\nbody");
        assert_eq!(connection.phase(), Phase::HeadRead);
        connection.received(b"more body");

        assert_eq!(connection.request_begins(), Some(b"POST / HTTP/1.1\r\nHost: a.test\r\n\r\n".to_vec()));
        connection.received(b"GET / HTTP/1.1\r\n\r\n");
        connection.request_ends();
        assert_eq!((connection.phase(), connection.take_head()), (Phase::Idle, Vec::new()));
    }

    #[test]
    fn an_empty_line_ends_the_head_however_it_is_written() {
        assert_eq!(end_of_head(b"a\r\n\r\nb", 0), Some(5));
        assert_eq!(end_of_head(b"a\n\nb", 0), Some(3));
        assert_eq!(end_of_head(b"a\n\r\nb", 0), Some(4));
        assert_eq!(end_of_head(b"a\r\n\r", 0), None);
        assert_eq!(end_of_head(b"a\r\n\r\n", 1), Some(5));
    }

    #[test]
    fn a_head_split_anywhere_is_found() {
        let head = b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n";
        for split in 1..head.len() {
            let connection = connection();
            connection.received(&head[..split]);
            connection.received(&head[split..]);
            assert_eq!(connection.phase(), Phase::HeadRead, "{split}");
            assert_eq!(connection.take_head(), head);
        }
    }

    #[test]
    fn chunks_are_judged_from_the_first_byte_behind_the_head() {
        const HEAD: &[u8] = b"POST / HTTP/1.1\r\nTransfer-encoding: chunked\r\n\r\n";
        let judged = |pieces: &[&[u8]]| {
            let connection = connection();
            for piece in pieces {
                connection.received(piece);
            }
            connection.chunks_are_wrong()
        };

        assert!(judged(&[&[HEAD, b"0 \r\n\r\n"].concat()]));
        assert!(judged(&[HEAD, b"\r\n"]));
        assert!(!judged(&[HEAD, b"1\r\na", b"\r\n0\r\n", b"\r\n", b"anything"]));
        assert!(!judged(&[b"POST / HTTP/1.1\r\nContent-Length: 9\r\n\r\n0 \r\n\r\n"]));
    }

    #[test]
    fn a_body_without_chunks_is_not_judged_by_those_of_the_one_before() {
        let connection = connection();
        connection.received(b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5 \r\n");
        connection.request_begins();
        assert!(connection.chunks_are_wrong());
        connection.request_ends();

        connection.received(b"POST / HTTP/1.1\r\nContent-Length: 1\r\n\r\n");
        connection.request_begins();
        connection.received(b" ");

        assert!(!connection.chunks_are_wrong());
    }

    #[test]
    fn a_head_without_end_is_bounded() {
        let connection = connection();

        connection.received(&[b'a'; 65]);
        connection.received(&[b'a'; 1000]);

        assert_eq!(connection.phase(), Phase::HeadTooLarge);
        assert_eq!(connection.take_head().len(), 65);
    }
}
