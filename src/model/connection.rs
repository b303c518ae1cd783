//! One connection: what edge learnt about it, and what edge and gateway tell each other while it lives.

mod answers;
mod bodies;
mod cut;
mod discard;
mod facts;
mod head;
mod held;
mod incoming;
mod numbers;
mod phase;
mod streams;

use std::{
    fmt,
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering},
    },
    task::Waker,
    time::Duration,
};

use super::{CertificateJudge, ClientCertificate, Http2Error, Http2Limits, Presented, StreamMark, UnixTime};

pub use answers::AnswerWaits;
pub use cut::Cut;
pub use discard::Discard;
pub use facts::{Alpn, Facts, TlsFacts, Transport};
pub use phase::Phase;

use answers::Answers;
use bodies::Bodies;
use discard::Discarding;
use held::Held;
use incoming::{Incoming, Progress};
use streams::Requests;

/// The deadlines and bounds of a head, from the limits of the policy that was in force when the connection was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeadDeadlines {
    /// How long a head may take from its first byte (the first one: from the end of the handshake).
    pub header_timeout: Duration,
    /// How long a kept-alive connection may wait for the next head.
    pub idle_timeout: Duration,
    /// How large a head may be.
    pub header_bytes: usize,
    /// How many fields it may have.
    pub header_count: usize,
    /// How long the other side may take none of what we send.
    pub write_stall: Duration,
    /// How many bytes per second it must take while we wait for it; 0 is no bound.
    pub write_min_rate: u64,
    /// What it may do where it speaks HTTP/2.
    pub http2: Http2Limits,
}

/// One connection. Edge's stream feeds it, the gateway asks it; both hold it in an `Arc`, and its end is the connection's end.
#[derive(Debug)]
pub struct Connection {
    facts: Facts,
    deadlines: HeadDeadlines,
    phase: AtomicU8,
    incoming: Mutex<Incoming>,
    chunks_are_wrong: AtomicBool,
    /// Whether all of the request in hand has come.
    whole: AtomicBool,
    /// Whether an answer has begun whose length is known.
    answered_to_a_length: AtomicBool,
    dripped: AtomicBool,
    /// Whether a request over HTTP/2 came without its mark.
    has_unread_head: AtomicBool,
    requests: AtomicU32,
    bodies: Bodies,
    streams: Requests,
    stream_key: OnceLock<Option<u64>>,
    tunnel_idle_millis: AtomicU64,
    cut: OnceLock<Cut>,
    answers: Answers,
    discarding: Discarding,
    certificate: Option<Box<Held>>,
    last: OnceLock<Last>,
}

/// Who tells, at the end of a connection, of the streams that were reset and on which no request has begun.
pub trait TellsOfResets: Send + Sync {
    /// Tells of one.
    fn tell_of_reset(&self, connection: &Connection, stream: u32, error: Http2Error);
}

struct Last(Box<dyn TellsOfResets>);

impl fmt::Debug for Last {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Last")
    }
}

/// Whose the octets of one read are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Received {
    /// Where the connection stands now.
    pub phase: Phase,
    /// So many at the beginning are empty lines before a request: nobody's.
    pub skipped: usize,
    /// So many behind those belong to the request in hand, or to whatever is spoken instead. The rest is another request's.
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

    /// Says that HTTP/2 is spoken although TLS did not agree on it.
    pub fn with_prior_knowledge(mut self) -> Self {
        self.phase = AtomicU8::new(Phase::Multiplexed.number());
        self
    }

    /// Keeps the certificate that the client presented, and who may be asked about it again.
    pub fn with_certificate(mut self, presented: Presented, judge: Arc<dyn CertificateJudge>) -> Self {
        self.certificate = Some(Box::new(Held::new(presented, judge)));
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
        let sni = self.facts.tls().and_then(|tls| tls.sni.as_ref());
        self.certificate.as_ref().map(|held| held.judged(sni, now))
    }

    /// Says whether the client's certificate was accepted once and nobody accepts it any more, as the last request found: only
    /// another connection can have another certificate.
    pub fn certificate_is_refused(&self) -> bool {
        self.certificate.as_ref().is_some_and(|held| held.is_refused())
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
        Phase::from_number(self.phase.load(Ordering::Acquire))
    }

    /// Returns how many requests it has carried.
    pub fn requests(&self) -> u32 {
        self.requests.load(Ordering::Relaxed)
    }

    /// Takes in bytes as they were received; the stream calls it for every read. Keeps them while they belong to a head, and follows
    /// the body to its end. What it does not take is another request's, and comes again once this one has ended.
    ///
    /// Bounded: once a head that did not end exceeds `header_bytes`, by at most one read, nothing more is kept.
    pub fn received(&self, bytes: &[u8]) -> Received {
        let before = self.phase();
        let all = Received { phase: before, skipped: 0, taken: bytes.len() };
        if bytes.is_empty() || !matches!(before, Phase::Idle | Phase::Head | Phase::HeadRead | Phase::Request) {
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
            Err(incoming::Malformed) => {
                self.chunks_are_wrong.store(true, Ordering::Release);
                Received { phase, skipped, taken: bytes.len() - skipped }
            }
        }
    }

    /// Says whether all of the request in hand has come, so that more would be another one's.
    pub fn is_whole(&self) -> bool {
        self.whole.load(Ordering::Acquire)
    }

    /// Returns how many octets of the body of the request in hand have come, whoever has read them; over HTTP/1 only.
    pub fn body_octets(&self) -> u64 {
        self.incoming.lock().unwrap_or_else(PoisonError::into_inner).body_octets()
    }

    /// Has what is still to come of the request in hand thrown away at the close behind its answer, within these bounds.
    ///
    /// Over HTTP/1 only, and once: nothing follows on this connection.
    pub fn discards(&self, bounds: Discard) {
        self.discarding.begin(bounds);
    }

    /// Returns the bounds of what is thrown away, unless no more is waited for.
    pub fn discard(&self) -> Option<Discard> {
        self.discarding.bounds()
    }

    /// Waits no more for what was to be thrown away: the close follows at the stream's next turn.
    pub fn stop_discarding(&self) {
        self.discarding.stop();
    }

    /// Says whether something came behind a request that asked for another protocol: if that is not spoken, it is nobody's, and the
    /// connection ends behind the answer.
    pub fn has_doubtful_surplus(&self) -> bool {
        self.phase() == Phase::Request && self.incoming.lock().unwrap_or_else(PoisonError::into_inner).has_doubtful_surplus()
    }

    /// Says whether the head that is coming in is dripped, a few octets at a time: that is no slow line.
    pub fn head_is_dripped(&self) -> bool {
        self.dripped.load(Ordering::Acquire) || self.incoming.lock().unwrap_or_else(PoisonError::into_inner).is_dripped()
    }

    /// Notes that of a head over HTTP/2.
    pub fn note_dripped(&self) {
        self.dripped.store(true, Ordering::Release);
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

    /// Returns the key by which the gateway knows the field with a stream's number from one that the client has written. It never leaves the
    /// process. Nothing where the system has no random octets: then no number is given, and every request is refused.
    pub fn stream_key(&self) -> Option<u64> {
        *self.stream_key.get_or_init(|| {
            let mut key = [0; 8];
            aws_lc_rs::rand::fill(&mut key).ok().map(|()| u64::from_ne_bytes(key))
        })
    }

    /// Reads what edge has written into a head of its stream.
    pub fn stream_mark(&self, value: &[u8]) -> Option<StreamMark> {
        StreamMark::read(value, self.stream_key()?)
    }

    /// Notes that the gateway got a request over HTTP/2 without what edge writes into each head: edge has not read it.
    pub fn note_unread_head(&self) {
        self.has_unread_head.store(true, Ordering::Release);
    }

    /// Says whether there was one: then the connection ends.
    pub fn has_unread_head(&self) -> bool {
        self.has_unread_head.load(Ordering::Acquire)
    }

    /// Tells that the gateway has begun a request on this stream of HTTP/2. Says whether edge has told of it already.
    pub fn stream_begins(&self, stream: u32) -> bool {
        self.streams.begin(stream)
    }

    /// Returns what the stream of a request that has begun was reset with, because its client broke the protocol: nobody gets an answer
    /// there any more. Costs a look as long as no stream of the connection was.
    pub fn stream_reset(&self, stream: u32) -> Option<Http2Error> {
        self.streams.reset_of(stream)
    }

    /// Tells that the request on this stream is over. Returns what the stream was reset with.
    pub fn stream_ends(&self, stream: u32) -> Option<Http2Error> {
        self.streams.end(stream)
    }

    /// Notes that the library has reset a stream because its client broke the protocol. Says whether no request has begun there: edge tells
    /// of it in a while, or with the end of the connection, if none has begun by then.
    pub fn note_reset(&self, stream: u32, error: Http2Error) -> bool {
        self.streams.reset(stream, error)
    }

    /// Asks whether edge is to tell of such a stream now, and of what; nothing where its request has begun, for the gateway tells.
    pub fn tell_of_reset(&self, stream: u32) -> Option<Http2Error> {
        self.streams.tell(stream)
    }

    /// Notes that edge has told of a stream: the library has answered it, so no request begins.
    pub fn note_told(&self, stream: u32) {
        self.streams.told(stream);
    }

    /// Has somebody told, at the end of the connection, of each stream that was reset and on which no request has begun. Nobody holds
    /// the connection by then, so none will. The first one stays.
    pub fn tell_at_end(&self, teller: Box<dyn TellsOfResets>) {
        let _ = self.last.set(Last(teller));
    }

    /// Has an interim answer said on a stream of HTTP/2, if its answer has not begun by then. Few wait at once; more are dropped.
    pub fn say_interim(&self, stream: u32, frame: Vec<u8>) {
        self.streams.say(stream, frame);
    }

    /// Returns the next interim answer that is to be said.
    pub fn take_interim(&self) -> Option<(u32, Vec<u8>)> {
        self.streams.take()
    }

    /// Wakes this task when there is something to say.
    pub fn wake_to_say(&self, waker: &Waker) {
        self.streams.wake(waker);
    }

    /// Hands over the head as received so far, for a request that nobody began.
    pub fn take_head(&self) -> Vec<u8> {
        std::mem::take(&mut self.incoming.lock().unwrap_or_else(PoisonError::into_inner).head)
    }

    /// Tells that an answer begins whose length is known: it has an end, so a client that sends nothing more gets all of it.
    pub fn answers_to_a_length(&self) {
        self.answered_to_a_length.store(true, Ordering::Release);
    }

    /// Says whether an answer has begun whose length is known.
    pub fn is_answered_to_a_length(&self) -> bool {
        self.answered_to_a_length.load(Ordering::Acquire)
    }

    /// Tells that the request is over: what comes next is another head. Nothing comes next where the end of this one is not certain, or
    /// another protocol was spoken.
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
        let certain = certain && !self.chunks_are_wrong.swap(false, Ordering::AcqRel) && before != Phase::Tunnel;
        self.phase.store(if certain { Phase::Idle } else { Phase::Over }.number(), Ordering::Release);
    }

    /// Tells that the request became a tunnel that may be silent for so long.
    pub fn becomes_tunnel(&self, idle: Duration) {
        self.tunnel_idle_millis.store(u64::try_from(idle.as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
        if self.phase() != Phase::Multiplexed {
            self.whole.store(false, Ordering::Release);
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
        self.bodies.begin(bytes_per_second);
    }

    /// Tells that a body has come, or that nobody waits for it any more: one that began with the same rate.
    pub fn body_ends(&self, bytes_per_second: u64) {
        self.bodies.end(bytes_per_second);
    }

    /// Notes that a body over HTTP/2 comes slower than its rate. It is to be refused with the next octet of it, and is ended if none
    /// comes.
    pub fn note_slow_body(&self) {
        self.bodies.note_slow();
    }

    /// Asks whether there is such a body, and takes the note away. Which one it is has to be seen from what came of each.
    pub fn take_slow_body(&self) -> bool {
        self.bodies.take_slow()
    }

    /// Returns the lowest rate, in bytes per second, at which bodies may come now; 0 is no bound.
    pub fn body_min_rate(&self) -> u64 {
        self.bodies.lowest()
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

impl Drop for Connection {
    fn drop(&mut self) {
        if let Some(Last(teller)) = self.last.take() {
            self.streams.take_reset().into_iter().for_each(|(stream, error)| teller.tell_of_reset(self, stream, error));
        }
    }
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
                header_count: 100,
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
    fn what_comes_behind_a_request_is_not_taken_before_it_has_ended() {
        const BOTH: &[u8] = b"GET /1 HTTP/1.1\r\n\r\n\r\nGET /2 HTTP/1.1\r\n\r\n";
        let connection = connection();

        assert_eq!(connection.received(BOTH), Received { phase: Phase::HeadRead, skipped: 0, taken: 19 });
        connection.request_begins();
        assert!(connection.is_whole());
        assert_eq!(connection.received(&BOTH[19..]), Received { phase: Phase::Request, skipped: 0, taken: 0 });
        connection.request_ends();

        assert_eq!(connection.received(&BOTH[19..]), Received { phase: Phase::HeadRead, skipped: 2, taken: 19 });
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
        // Nobody knows where a body ends whose chunks are wrong.
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
