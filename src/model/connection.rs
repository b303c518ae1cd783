//! One client connection: what edge learnt about it, and what edge and gateway tell each other while it
//! lives.

mod answers;
mod bodies;
mod cut_reason;
mod discard;
mod facts;
mod head_deadlines;
mod held_certificate;
mod multiplexed;
mod pending_answer;
mod phase;
mod stream_set;
mod streams;

use std::{
    fmt,
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering},
    },
    time::Duration,
};

use super::{CertificateVerifier, ClientCertificate, Http2Error, Presented, UnixTime};
use crate::wire::http1::{self, Incoming, Progress};

pub use cut_reason::CutReason;
pub use discard::Discard;
pub use facts::{Alpn, Facts, TlsFacts, Transport};
pub use head_deadlines::HeadDeadlines;
pub use pending_answer::PendingAnswer;
pub use phase::Phase;

use answers::Answers;
use bodies::Bodies;
use discard::Discarding;
use held_certificate::HeldCertificate;
use streams::Requests;

/// One client connection. Edge's stream feeds it and the gateway reads it; both hold it in an `Arc`, and it
/// is dropped when the connection ends.
#[derive(Debug)]
pub struct Connection {
    facts: Facts,
    deadlines: HeadDeadlines,
    phase: AtomicU8,
    incoming: Mutex<Incoming>,
    chunks_are_wrong: AtomicBool,
    /// Whether the current request has been received completely.
    whole: AtomicBool,
    /// Whether an answer of known length has begun.
    answered_to_a_length: AtomicBool,
    dripped: AtomicBool,
    /// Whether a request over HTTP/2 came without its stream mark.
    has_unread_head: AtomicBool,
    requests: AtomicU32,
    bodies: Bodies,
    streams: Requests,
    stream_key: OnceLock<Option<u64>>,
    tunnel_idle_millis: AtomicU64,
    cut: OnceLock<CutReason>,
    answers: Answers,
    discarding: Discarding,
    certificate: Option<Box<HeldCertificate>>,
    last: OnceLock<Last>,
}

/// Reports, at the end of a connection, the streams that were reset before a request began on them.
pub trait ResetObserver: Send + Sync {
    /// Reports one stream.
    fn report_reset(&self, connection: &Connection, stream: u32, error: Http2Error);
}

struct Last(Box<dyn ResetObserver>);

impl fmt::Debug for Last {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Last")
    }
}

/// Which octets of a read belong to the current request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Received {
    /// The phase of the connection now.
    pub phase: Phase,
    /// How many octets at the beginning are empty lines before a request; they belong to no request.
    pub skipped: usize,
    /// How many octets behind those belong to the current request, or to the protocol that replaced HTTP. The
    /// rest belongs to another request.
    pub taken: usize,
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
            whole: AtomicBool::new(false),
            answered_to_a_length: AtomicBool::new(false),
            dripped: AtomicBool::new(false),
            has_unread_head: AtomicBool::new(false),
            requests: AtomicU32::new(0),
            bodies: Bodies::default(),
            streams: Requests::default(),
            stream_key: OnceLock::new(),
            tunnel_idle_millis: AtomicU64::new(0),
            cut: OnceLock::new(),
            answers: Answers::default(),
            discarding: Discarding::default(),
            certificate: None,
            last: OnceLock::new(),
        }
    }

    /// Says that the client speaks HTTP/2 although TLS did not negotiate it.
    pub fn with_prior_knowledge(mut self) -> Self {
        self.phase = AtomicU8::new(Phase::Multiplexed.number());
        self
    }

    /// Keeps the certificate that the client presented, and the verifier for later.
    pub fn with_certificate(mut self, presented: Presented, verifier: Arc<dyn CertificateVerifier>) -> Self {
        self.certificate = Some(Box::new(HeldCertificate::new(presented, verifier)));
        self
    }

    /// Returns the certificate that the client presented.
    pub fn certificate(&self) -> Option<&Arc<ClientCertificate>> {
        self.certificate.as_ref().map(|held| &held.certificate)
    }

    /// Returns the certificate that the client presented, and the tenants that accept it now.
    ///
    /// It is verified again if the rules have changed, or something in it or its revocation list has expired
    /// since: a connection may live for days. That costs a few signatures, once per change.
    pub fn presented(&self, now: UnixTime) -> Option<Presented> {
        let sni = self.facts.tls().and_then(|tls| tls.sni.as_ref());
        self.certificate.as_ref().map(|held| held.presented(sni, now))
    }

    /// Says whether the client's certificate was accepted once, but by no tenant when the last request asked.
    /// Only another connection can present another certificate.
    pub fn certificate_is_refused(&self) -> bool {
        self.certificate.as_ref().is_some_and(|held| held.is_refused())
    }

    /// Returns the facts that do not change.
    pub fn facts(&self) -> &Facts {
        &self.facts
    }

    /// Returns its deadlines.
    pub fn deadlines(&self) -> HeadDeadlines {
        self.deadlines
    }

    /// Returns the phase.
    pub fn phase(&self) -> Phase {
        Phase::from_number(self.phase.load(Ordering::Acquire))
    }

    /// Returns how many requests it has carried.
    pub fn requests(&self) -> u32 {
        self.requests.load(Ordering::Relaxed)
    }

    /// Reads bytes as they were received; the stream calls it for every read.
    ///
    /// It keeps them while they belong to a head, and follows the body to its end. What it does not take
    /// belongs to another request, and must be passed again once this one has ended.
    ///
    /// Bounded: once an unfinished head exceeds `header_bytes`, by at most one read, nothing more is kept.
    pub fn received(&self, bytes: &[u8]) -> Received {
        let before = self.phase();
        let all = Received { phase: before, skipped: 0, taken: bytes.len() };
        if bytes.is_empty() || !matches!(before, Phase::Idle | Phase::Head | Phase::HeadRead | Phase::Request)
        {
            return all;
        }
        let mut incoming = self.incoming.lock().unwrap_or_else(PoisonError::into_inner);
        let (phase, skipped, head) = if matches!(before, Phase::HeadRead | Phase::Request) {
            (before, 0, 0)
        } else {
            let (progress, skipped, head) = incoming.head(bytes, self.deadlines.header_bytes);
            let phase = match progress {
                Progress::Empty => Phase::Idle,
                Progress::Begun => Phase::Head,
                Progress::Whole | Progress::Malformed => Phase::HeadRead,
                Progress::TooLarge => Phase::HeadTooLarge,
            };
            self.phase.store(phase.number(), Ordering::Release);
            if phase != Phase::HeadRead {
                return Received { phase, skipped, taken: head };
            }
            (phase, skipped, head)
        };
        match incoming.body(bytes.get(skipped + head..).unwrap_or_default()) {
            Ok(body) => {
                self.whole.store(incoming.is_whole(), Ordering::Release);
                Received { phase, skipped, taken: head + body }
            }
            Err(http1::Malformed) => {
                self.chunks_are_wrong.store(true, Ordering::Release);
                Received { phase, skipped, taken: bytes.len() - skipped }
            }
        }
    }

    /// Says whether the current request has been received completely, so that further bytes would belong to
    /// another one.
    pub fn is_whole(&self) -> bool {
        self.whole.load(Ordering::Acquire)
    }

    /// Returns how many octets of the current request's body have been received, whether or not they were
    /// read on; HTTP/1 only.
    pub fn body_octets(&self) -> u64 {
        self.incoming.lock().unwrap_or_else(PoisonError::into_inner).body_octets()
    }

    /// Returns the length of the current request's body, where its head gives a Content-Length and nothing
    /// else frames it.
    pub fn body_length(&self) -> Option<u64> {
        self.incoming.lock().unwrap_or_else(PoisonError::into_inner).length()
    }

    /// Has the rest of the current request discarded at the close behind its answer, within these bounds.
    ///
    /// HTTP/1 only, and once: no request follows on this connection.
    pub fn discards(&self, bounds: Discard) {
        self.discarding.begin(bounds);
    }

    /// Returns the bounds of discarding, unless it was stopped.
    pub fn discard(&self) -> Option<Discard> {
        self.discarding.bounds()
    }

    /// Stops discarding: the stream closes the next time it is polled.
    pub fn stop_discarding(&self) {
        self.discarding.stop();
    }

    /// Says whether bytes came behind a request that asked for another protocol. If that protocol is not
    /// spoken, they belong to no request, and the connection ends behind the answer.
    pub fn has_doubtful_surplus(&self) -> bool {
        self.phase() == Phase::Request
            && self.incoming.lock().unwrap_or_else(PoisonError::into_inner).has_doubtful_surplus()
    }

    /// Says whether the current head comes a few octets at a time, which no slow link causes.
    pub fn head_is_dripped(&self) -> bool {
        self.dripped.load(Ordering::Acquire)
            || self.incoming.lock().unwrap_or_else(PoisonError::into_inner).is_dripped()
    }

    /// Notes that a head over HTTP/2 comes that way.
    pub fn note_dripped(&self) {
        self.dripped.store(true, Ordering::Release);
    }

    /// Says whether the current body has malformed chunks, so that its end is uncertain.
    pub fn chunks_are_wrong(&self) -> bool {
        self.chunks_are_wrong.load(Ordering::Acquire)
    }

    /// Notes that the gateway has begun a request, and returns the head as received (HTTP/1 only).
    pub fn request_begins(&self) -> Option<Vec<u8>> {
        self.requests.fetch_add(1, Ordering::Relaxed);
        if self.phase() == Phase::Multiplexed {
            return None;
        }
        self.phase.store(Phase::Request.number(), Ordering::Release);
        Some(self.take_head())
    }

    /// Takes the head as received so far, for a request that never began.
    pub fn take_head(&self) -> Vec<u8> {
        std::mem::take(&mut self.incoming.lock().unwrap_or_else(PoisonError::into_inner).head)
    }

    /// Notes that an answer of known length begins: it has an end, so a client that sends nothing more gets
    /// all of it.
    pub fn answers_to_a_length(&self) {
        self.answered_to_a_length.store(true, Ordering::Release);
    }

    /// Says whether an answer of known length has begun.
    pub fn is_answered_to_a_length(&self) -> bool {
        self.answered_to_a_length.load(Ordering::Acquire)
    }

    /// Notes that the request has ended: another head comes next. None comes where the end of this request is
    /// uncertain, or another protocol was spoken.
    pub fn request_ends(&self) {
        let before = self.phase();
        if before == Phase::Multiplexed {
            return;
        }
        self.bodies.unbound();
        self.tunnel_idle_millis.store(0, Ordering::Relaxed);
        self.whole.store(false, Ordering::Release);
        self.answered_to_a_length.store(false, Ordering::Release);
        let certain = self.incoming.lock().unwrap_or_else(PoisonError::into_inner).end();
        let certain =
            certain && !self.chunks_are_wrong.swap(false, Ordering::AcqRel) && before != Phase::Tunnel;
        self.phase.store(if certain { Phase::Idle } else { Phase::Over }.number(), Ordering::Release);
    }

    /// Notes that the request became a tunnel that may be silent for this long.
    pub fn becomes_tunnel(&self, idle: Duration) {
        self.tunnel_idle_millis.store(u64::try_from(idle.as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
        if self.phase() != Phase::Multiplexed {
            self.whole.store(false, Ordering::Release);
            self.phase.store(Phase::Tunnel.number(), Ordering::Release);
        }
    }

    /// Returns how long a tunnel may be silent.
    pub fn tunnel_idle(&self) -> Option<Duration> {
        Some(self.tunnel_idle_millis.load(Ordering::Relaxed))
            .filter(|&millis| millis > 0)
            .map(Duration::from_millis)
    }

    /// Notes that a body is to come, and its minimum rate in bytes per second; 0 means no bound.
    ///
    /// [`Connection::body_ends`] notes that it has come.
    pub fn body_begins(&self, bytes_per_second: u64) {
        self.bodies.begin(bytes_per_second);
    }

    /// Notes that a body has come, or is no longer waited for: one that began with the same rate.
    pub fn body_ends(&self, bytes_per_second: u64) {
        self.bodies.end(bytes_per_second);
    }

    /// Notes that a body over HTTP/2 comes more slowly than its rate. It is refused with its next octet, or
    /// ended if none comes.
    pub fn note_slow_body(&self) {
        self.bodies.note_slow();
    }

    /// Takes this note, if there is one. Which body it is follows from what each has received.
    pub fn take_slow_body(&self) -> bool {
        self.bodies.take_slow()
    }

    /// Returns the minimum rate of bodies now, in bytes per second; 0 means no bound.
    pub fn body_min_rate(&self) -> u64 {
        self.bodies.lowest()
    }

    /// Notes why edge ended the connection, or its reading side. The first note stays.
    pub fn note_cut(&self, cut: CutReason) {
        let _ = self.cut.set(cut);
    }

    /// Returns why edge ended the connection, or its reading side.
    pub fn cut(&self) -> Option<CutReason> {
        self.cut.get().copied()
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        if let Some(Last(observer)) = self.last.take() {
            self.streams
                .take_reset()
                .into_iter()
                .for_each(|(stream, error)| observer.report_reset(self, stream, error));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Http2Limits;

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
                header_count: 100,
                write_stall: second,
                write_min_rate: 0,
                many_clients: false,
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
    fn what_comes_behind_a_request_is_not_taken_before_it_has_ended() {
        const BOTH: &[u8] = b"GET /1 HTTP/1.1\r\n\r\n\r\nGET /2 HTTP/1.1\r\n\r\n";
        let connection = connection();

        assert_eq!(connection.received(BOTH), Received { phase: Phase::HeadRead, skipped: 0, taken: 19 });
        connection.request_begins();
        assert!(connection.is_whole());
        assert_eq!(
            connection.received(&BOTH[19..]),
            Received { phase: Phase::Request, skipped: 0, taken: 0 }
        );
        connection.request_ends();

        assert_eq!(
            connection.received(&BOTH[19..]),
            Received { phase: Phase::HeadRead, skipped: 2, taken: 19 }
        );
        assert_eq!(connection.request_begins(), Some(BOTH[21..].to_vec()));
    }

    #[test]
    fn what_comes_behind_a_tunnel_is_its_own_and_no_request_follows_it() {
        let connection = connection();
        connection.received(b"GET / HTTP/1.1\r\nUpgrade: x\r\n\r\nframe");
        connection.request_begins();
        assert!(connection.has_doubtful_surplus());
        connection.becomes_tunnel(Duration::from_secs(1));

        assert!(!connection.has_doubtful_surplus() && !connection.is_whole());
        assert_eq!(connection.received(b"frame"), Received { phase: Phase::Tunnel, skipped: 0, taken: 5 });
        connection.request_ends();
        assert_eq!(connection.phase(), Phase::Over);
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
        connection.received(b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n");
        connection.request_begins();
        connection.request_ends();

        connection.received(b"POST / HTTP/1.1\r\nContent-Length: 1\r\n\r\n");
        connection.request_begins();
        connection.received(b" ");

        assert!(!connection.chunks_are_wrong());
        connection.request_ends();
        assert_eq!(connection.phase(), Phase::Idle);
        // The end of a body with malformed chunks is uncertain.
        connection.received(b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5 \r\n");
        connection.request_begins();
        assert!(connection.chunks_are_wrong());
        connection.request_ends();
        assert_eq!(connection.phase(), Phase::Over);
    }

    #[test]
    fn what_came_of_a_body_is_counted_without_its_chunks() {
        for (head, pieces, octets) in [
            ("Content-Length: 5", [&b"he"[..], b"llo"], [2, 5]),
            ("Content-Length: 5", [b"hello more", b"more"], [5, 5]),
            ("Transfer-Encoding: chunked", [b"5;a=b\r\nhel", b"lo\r\n2\r\n!!\r\n0\r\n\r\nmore"], [3, 7]),
        ] {
            let connection = connection();
            connection.received(format!("POST / HTTP/1.1\r\n{head}\r\n\r\n").as_bytes());
            connection.request_begins();
            for (piece, octets) in pieces.iter().zip(octets) {
                connection.received(piece);
                assert_eq!(connection.body_octets(), octets, "{head}");
            }
            connection.request_ends();
            assert_eq!(connection.body_octets(), 0);
        }
    }

    #[test]
    fn nothing_is_thrown_away_before_the_gateway_says_so_nor_behind_that() {
        let connection = connection();
        let bounds = Discard { octets: 1, first: Duration::from_secs(1) };

        assert_eq!(connection.discard(), None);
        connection.discards(bounds);
        assert_eq!(connection.discard(), Some(bounds));
        connection.stop_discarding();
        assert_eq!(connection.discard(), None);
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
