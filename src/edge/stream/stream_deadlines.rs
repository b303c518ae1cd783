//! The deadlines of the open streams of an HTTP/2 connection: whom each of them waits for, and how long it
//! has waited. Pure rules, no timer.
//!
//! A body is slow only while its client may send: while our windows for the stream and for the connection are
//! open. They close when an upstream accepts nothing, so that wait is not the client's fault (RFC 9113,
//! section 5.2).

use std::time::Duration;

use tokio::time::Instant;

use super::{read_deadlines::BODY_GRACE, send_window::SendWindow};
use crate::{
    model::Http2Error,
    wire::http2::{Frame, FrameKind, INITIAL_WINDOW, setting},
};

/// How many streams are tracked. The library refuses those beyond `limits.http2.streams`; this bounds what we
/// keep until then.
const MAX_TRACKED: usize = 256;
/// How long the rest of a body may pause after its response is complete (`threat-model.md`, row 10). That is
/// longer than the gateway itself waits after a refusal. After a response of the app as much is read as the
/// app would have got: some clients wait for ever otherwise.
const REST_TIME: Duration = Duration::from_millis(1250);
/// How long the gateway may take to refuse a body that is too slow: it is asked only when more of it arrives.
const REFUSAL_TIME: Duration = Duration::from_secs(1);

/// Why one stream must end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// Its body is slower than `body_min_rate`: the gateway is told, and refuses it when the next octet
    /// arrives.
    BodyTooSlow,
    /// The same, and no octet arrived.
    BodyStuck,
    /// The response is complete, so the rest of the body has no use.
    Answered,
    /// The client accepts the response slower than `write_min_rate`, while some of it waits.
    Unread,
}

#[derive(Debug)]
struct Open {
    id: u32,
    /// Whether the request is incomplete.
    coming: bool,
    /// Whether a response has begun.
    answering: bool,
    /// Whether the request is malformed, so that the stream is reset after the response.
    malformed: bool,
    /// When the response was complete, or the last octet of the body arrived after that.
    answered: Option<Instant>,
    window: i64,
    bytes: u64,
    waited: Duration,
    /// Since when the client may send and does not.
    since: Option<Instant>,
    /// When the gateway was told that the body is too slow.
    gateway_notified: Option<Instant>,
    /// How the client accepts the response.
    send_window: SendWindow,
}

impl Open {
    /// Returns the increment that would open the window for which the response waits.
    fn blocked_by(&self) -> Option<u32> {
        let waits = self.answering && self.answered.is_none();
        if waits { self.send_window.increment_to_open() } else { None }
    }
}

/// The open streams, ordered by number.
#[derive(Debug)]
pub(super) struct Streams {
    open: Vec<Open>,
    highest: u32,
    /// The first stream that is not tracked, because too many were open.
    beyond: Option<u32>,
    initial: i64,
    window: i64,
    /// The initial window of a response, as the client sets it.
    their_initial: i64,
    /// The client's window for all responses together.
    send_window: SendWindow,
    stall: Duration,
    least: u64,
}

impl Streams {
    /// Begins without streams. A response ends if the client accepts nothing of it for `stall`, or less than
    /// `least` octets per second.
    pub(super) fn new(stall: Duration, least: u64) -> Self {
        let first_window = i64::from(INITIAL_WINDOW);
        Self {
            open: Vec::new(),
            highest: 0,
            beyond: None,
            initial: first_window,
            window: first_window,
            their_initial: first_window,
            send_window: SendWindow::new(first_window, stall, least),
            stall,
            least,
        }
    }

    /// Says whether no request is open.
    pub(super) fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    /// Says whether a stream is open and no response has begun on it.
    pub(super) fn awaits_answer(&self, id: u32) -> bool {
        let at = self.open.binary_search_by_key(&id, |stream| stream.id).ok();
        at.and_then(|at| self.open.get(at)).is_some_and(|stream| !stream.answering)
    }

    /// Notes that the request on a stream is malformed.
    pub(super) fn note_malformed(&mut self, id: u32) {
        self.find(id).into_iter().for_each(|stream| stream.malformed = true);
    }

    /// Says whether that was noted.
    pub(super) fn is_malformed(&mut self, id: u32) -> bool {
        self.find(id).is_some_and(|stream| stream.malformed)
    }

    /// Says whether a request was made on a stream that is reset with this error. A client can cause resets
    /// of streams that it never opened.
    pub(super) fn was_asked(&self, id: u32, error: Http2Error) -> bool {
        // Most of the untracked streams were refused because of their number, and later frames on them cause
        // STREAM_CLOSED.
        let beyond = error != Http2Error::StreamClosed
            && self.beyond.is_some_and(|beyond| (beyond..=self.highest).contains(&id));
        beyond || self.open.binary_search_by_key(&id, |stream| stream.id).is_ok()
    }

    /// Takes in a frame of the client.
    pub(super) fn received(&mut self, frame: &Frame, now: impl Fn() -> Instant) {
        match frame.header.kind {
            FrameKind::Headers => {
                let opens = frame.header.stream > self.highest;
                self.highest = self.highest.max(frame.header.stream);
                if opens && self.open.len() >= MAX_TRACKED {
                    self.beyond.get_or_insert(frame.header.stream);
                } else if opens {
                    let (id, window) = (frame.header.stream, self.initial);
                    let waited = Duration::ZERO;
                    let send_window = SendWindow::new(self.their_initial, self.stall, self.least);
                    self.open.push(Open {
                        id,
                        coming: true,
                        answering: false,
                        malformed: false,
                        answered: None,
                        window,
                        bytes: 0,
                        waited,
                        since: None,
                        gateway_notified: None,
                        send_window,
                    });
                }
                if frame.header.ends_stream() {
                    self.body_came(frame.header.stream);
                } else {
                    self.turns(now);
                }
            }
            FrameKind::Data => {
                let length = i64::from(frame.header.length);
                self.window -= length;
                if let Some(stream) = self.find(frame.header.stream) {
                    stream.window -= length;
                    stream.bytes = stream.bytes.saturating_add(u64::from(frame.header.length));
                    if let Some(last) = stream.answered.as_mut().filter(|_| frame.header.length > 0) {
                        *last = now();
                    }
                }
                if frame.header.ends_stream() {
                    self.body_came(frame.header.stream);
                }
                self.turns(now);
            }
            FrameKind::Reset => self.close(frame.header.stream),
            FrameKind::WindowUpdate => {
                let more = i64::from(frame.number);
                match frame.header.stream {
                    0 => self.send_window.granted(more, now),
                    id => self.find(id).into_iter().for_each(|stream| stream.send_window.granted(more, &now)),
                }
            }
            FrameKind::Priority
            | FrameKind::Settings
            | FrameKind::PushPromise
            | FrameKind::Ping
            | FrameKind::GoAway
            | FrameKind::Continuation
            | FrameKind::Other => {}
        }
    }

    /// Says whether a frame of ours is a complete response. A response on an untracked stream is not.
    pub(super) fn is_answer(&self, frame: &Frame) -> bool {
        let open = |id: u32| {
            self.open.binary_search_by_key(&id, |stream| stream.id).ok().and_then(|at| self.open.get(at))
        };
        frame.header.kind == FrameKind::Headers
            && frame.header.ends_stream()
            && open(frame.header.stream).is_some_and(|stream| !stream.answering)
    }

    /// Takes in a frame of ours.
    pub(super) fn sent(&mut self, frame: &Frame, now: impl Fn() -> Instant) {
        if frame.header.kind == FrameKind::Data {
            let octets = i64::from(frame.header.length);
            self.send_window.sent(octets, &now);
            self.find(frame.header.stream)
                .into_iter()
                .for_each(|stream| stream.send_window.sent(octets, &now));
        }
        match frame.header.kind {
            FrameKind::Headers | FrameKind::Data if frame.header.ends_stream() => {
                let answered = now();
                match self.find(frame.header.stream) {
                    Some(stream) if stream.coming => stream.answered = Some(answered),
                    Some(_) => self.close(frame.header.stream),
                    None => {}
                }
            }
            FrameKind::Headers => self.find(frame.header.stream).into_iter().for_each(|stream| {
                stream.answering = true;
                // The window may be closed from the start.
                stream.send_window.sent(0, &now);
            }),
            FrameKind::Reset => self.close(frame.header.stream),
            FrameKind::WindowUpdate => self.granted(frame.header.stream, frame.number, now),
            FrameKind::Data
            | FrameKind::Priority
            | FrameKind::Settings
            | FrameKind::PushPromise
            | FrameKind::Ping
            | FrameKind::GoAway
            | FrameKind::Continuation
            | FrameKind::Other => {}
        }
    }

    /// Notes that the client may send more on a stream, or on the connection, which is 0.
    pub(super) fn granted(&mut self, id: u32, octets: u32, now: impl Fn() -> Instant) {
        let more = i64::from(octets);
        match id {
            0 => self.window += more,
            id => self.find(id).into_iter().for_each(|stream| stream.window += more),
        }
        self.turns(now);
    }

    /// Takes in a setting of ours, which also changes the current windows (RFC 9113, section 6.9.2).
    pub(super) fn set(&mut self, id: u16, value: u32) {
        if id == setting::INITIAL_WINDOW_SIZE {
            let more = i64::from(value) - self.initial;
            self.initial += more;
            self.open.iter_mut().for_each(|stream| stream.window += more);
        }
    }

    /// Takes in a setting of the client in the same way.
    pub(super) fn set_theirs(&mut self, id: u16, value: u32, now: impl Fn() -> Instant) {
        if id == setting::INITIAL_WINDOW_SIZE {
            let more = i64::from(value) - self.their_initial;
            self.their_initial += more;
            self.open.iter_mut().for_each(|stream| stream.send_window.granted(more, &now));
        }
    }

    /// Says whether a stream waits for its client because its window, or that of the connection, is closed.
    pub(super) fn waits(&mut self, id: u32) -> bool {
        self.send_window.is_closed() || self.find(id).is_some_and(|stream| stream.send_window.is_closed())
    }

    /// Judges at its deadline how fast the client accepts a response, or all of them where the stream is 0.
    /// Where nothing waits (`waits`), the measurement restarts.
    pub(super) fn is_unread(&mut self, id: u32, waits: bool, now: Instant) -> bool {
        match id {
            0 => self.send_window.judge(waits, now),
            id => self.find(id).is_some_and(|stream| stream.send_window.judge(waits, now)),
        }
    }

    /// Notes that the gateway was told of a body that is too slow.
    pub(super) fn note_gateway_notified(&mut self, id: u32, now: Instant) {
        self.find(id).into_iter().for_each(|stream| stream.gateway_notified = Some(now));
    }

    /// Returns the increment that would open the window for which the response of a stream waits.
    pub(super) fn blocked_by(&self, id: u32) -> Option<u32> {
        let at = self.open.binary_search_by_key(&id, |stream| stream.id).ok()?;
        self.open.get(at).and_then(Open::blocked_by)
    }

    /// Forgets all streams whose responses wait for a window, and returns the increment that would open each.
    pub(super) fn take_blocked(&mut self) -> Vec<(u32, u32)> {
        let blocked: Vec<_> =
            self.open.iter().filter_map(|stream| Some((stream.id, stream.blocked_by()?))).collect();
        blocked.iter().for_each(|(id, _)| self.close(*id));
        blocked
    }

    /// Forgets a stream.
    pub(super) fn close(&mut self, id: u32) {
        if let Ok(at) = self.open.binary_search_by_key(&id, |stream| stream.id) {
            self.open.remove(at);
        }
    }

    /// Returns which stream must end first, when, and why. `rate` is in bytes per second, 0 means no bound.
    /// `in_data` is how much is missing of a DATA frame that has begun: its length was counted and has not
    /// arrived.
    pub(super) fn next_end(&self, rate: u64, in_data: Option<(u32, usize)>) -> Option<(Instant, u32, End)> {
        let missing = |id: u32| {
            in_data.filter(|(of, _)| *of == id).map_or(0, |(_, rest)| u64::try_from(rest).unwrap_or(u64::MAX))
        };
        let ends = self.open.iter().filter(|stream| stream.coming).filter_map(|stream| {
            let came = stream.bytes.saturating_sub(missing(stream.id));
            let rest = stream.answered.map(|last| (last + REST_TIME, stream.id, End::Answered));
            if let Some(told) = stream.gateway_notified {
                return rest.or(Some((told + REFUSAL_TIME, stream.id, End::BodyStuck)));
            }
            let slow = stream.since.filter(|_| rate > 0).map(|since| {
                let allowed = Duration::from_secs(came.checked_div(rate).unwrap_or(0)).max(BODY_GRACE);
                (since + allowed.saturating_sub(stream.waited), stream.id, End::BodyTooSlow)
            });
            rest.into_iter().chain(slow).min_by_key(|(by, ..)| *by)
        });
        // A closed window counts only while a response is in progress; a stream that waits only for the
        // connection's window is not a slow reader.
        let answering = || self.open.iter().filter(|stream| stream.answering && stream.answered.is_none());
        let unread =
            answering().filter_map(|stream| Some((stream.send_window.due()?, stream.id, End::Unread)));
        let all =
            self.send_window.due().filter(|_| answering().next().is_some()).map(|by| (by, 0, End::Unread));
        ends.chain(unread).chain(all).min_by_key(|(by, ..)| *by)
    }

    /// Notes that the request of a stream is complete.
    fn body_came(&mut self, id: u32) {
        match self.find(id) {
            Some(stream) if stream.answered.is_some() => self.close(id),
            Some(stream) => {
                stream.coming = false;
                stream.since = None;
            }
            None => {}
        }
    }

    /// Updates whom each stream waits for.
    fn turns(&mut self, now: impl Fn() -> Instant) {
        let open = self.window > 0;
        for stream in self.open.iter_mut().filter(|stream| stream.coming) {
            match (open && stream.window > 0, stream.since) {
                (true, None) => stream.since = Some(now()),
                (false, Some(since)) => {
                    stream.waited += now().saturating_duration_since(since);
                    stream.since = None;
                }
                (true, Some(_)) | (false, None) => {}
            }
        }
    }

    fn find(&mut self, id: u32) -> Option<&mut Open> {
        let at = self.open.binary_search_by_key(&id, |stream| stream.id).ok()?;
        self.open.get_mut(at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::http2::FrameHeader;

    const SECOND: Duration = Duration::from_secs(1);

    /// A stream that has been answered, with the whole of its first window sent.
    fn answered(stream: u32) -> (Streams, Instant) {
        let (mut streams, start) = (Streams::new(30 * SECOND, 1000), Instant::now());
        streams.set_theirs(setting::INITIAL_WINDOW_SIZE, 100, || start);
        streams.received(&frame(FrameKind::Headers, 5, stream, 20, 0), || start);
        streams.sent(&frame(FrameKind::Headers, 4, stream, 20, 0), || start);
        streams.sent(&frame(FrameKind::Data, 0, stream, 100, 0), || start);
        (streams, start)
    }

    #[test]
    fn an_answer_that_is_taken_by_drops_ends_and_one_that_keeps_the_rate_does_not() {
        for (every, octets, ends) in
            [(29, 100, true), (1, 990, true), (1, 1000, false), (10, 10_000, false), (10, 9_900, true)]
        {
            let (mut streams, start) = answered(1);
            let mut ended = None;
            let mut at = start;
            while at < start + 300 * SECOND && ended.is_none() {
                let next = at + every * SECOND;
                while let Some((by, 1, End::Unread)) = streams.next_end(0, None)
                    && by <= next
                    && ended.is_none()
                {
                    ended = streams.is_unread(1, true, by).then_some(by);
                }
                at = next;
                streams.received(&frame(FrameKind::WindowUpdate, 0, 1, 4, octets), || at);
                streams.sent(&frame(FrameKind::Data, 0, 1, octets, 0), || at);
            }
            assert_eq!(ended.is_some(), ends, "{octets} each {every} s");
            assert!(ended.is_none_or(|ended| ended <= start + 61 * SECOND));
        }
    }

    #[test]
    fn a_client_owes_nothing_while_nothing_waits_or_its_window_is_open() {
        let (mut streams, start) = answered(1);
        // All was taken, and the app is silent.
        for number in 1..10 {
            assert_eq!(streams.next_end(0, None), Some((start + 30 * number * SECOND, 1, End::Unread)));
            assert!(!streams.is_unread(1, false, start + 30 * number * SECOND));
        }
        streams.received(&frame(FrameKind::WindowUpdate, 0, 1, 4, 1), || start + 300 * SECOND);
        assert_eq!(streams.next_end(0, None), None);
        // Its end ends the watch.
        streams.sent(&frame(FrameKind::Data, 0, 1, 1, 0), || start + 301 * SECOND);
        assert!(streams.next_end(0, None).is_some());
        streams.sent(&frame(FrameKind::Data, 1, 1, 0, 0), || start + 302 * SECOND);
        assert_eq!(streams.next_end(0, None), None);
    }

    #[test]
    fn what_would_open_a_window_is_known_while_an_answer_waits_for_it() {
        let (mut streams, start) = answered(1);
        streams.received(&frame(FrameKind::Headers, 5, 3, 20, 0), || start);
        assert_eq!(
            [streams.blocked_by(1), streams.blocked_by(3), streams.blocked_by(5)],
            [Some(1), None, None]
        );
        // The client takes back what it had given.
        streams.set_theirs(setting::INITIAL_WINDOW_SIZE, 0, || start);
        assert_eq!(streams.blocked_by(1), Some(101));
        streams.sent(&frame(FrameKind::Headers, 4, 3, 20, 0), || start);
        assert_eq!(streams.take_blocked(), [(1, 101), (3, 1)]);
        assert_eq!(streams.take_blocked(), []);
        // One with an octet left waits for nobody.
        let (mut streams, start) = answered(1);
        streams.received(&frame(FrameKind::WindowUpdate, 0, 1, 4, 1), || start);
        assert_eq!(streams.blocked_by(1), None);
    }

    fn frame(kind: FrameKind, flags: u8, stream: u32, length: u32, number: u32) -> Frame {
        Frame { header: FrameHeader { length, kind, flags, stream }, number }
    }

    fn asked(start: Instant) -> Streams {
        let mut streams = Streams::new(30 * SECOND, 1000);
        streams.received(&frame(FrameKind::Headers, 4, 1, 30, 0), || start);
        streams
    }

    #[test]
    fn a_body_has_ten_seconds_and_then_its_rate() {
        let start = Instant::now();
        let mut streams = asked(start);

        assert_eq!(streams.next_end(100, None), Some((start + 10 * SECOND, 1, End::BodyTooSlow)));
        assert_eq!(streams.next_end(0, None), None);
        streams.received(&frame(FrameKind::Data, 0, 1, 3000, 0), || start + 4 * SECOND);
        assert_eq!(streams.next_end(100, None), Some((start + 30 * SECOND, 1, End::BodyTooSlow)));
        // A frame that was only announced is no body.
        assert_eq!(streams.next_end(100, Some((1, 1000))), Some((start + 20 * SECOND, 1, End::BodyTooSlow)));
        streams.received(&frame(FrameKind::Data, 1, 1, 0, 0), || start + 5 * SECOND);
        assert_eq!((streams.next_end(100, None), streams.is_empty()), (None, false));
    }

    #[test]
    fn a_slow_upstream_is_not_the_clients_slowness() {
        let start = Instant::now();
        let mut streams = asked(start);
        streams.received(&frame(FrameKind::Data, 0, 1, 65_535, 0), || start + 2 * SECOND);
        assert_eq!(streams.next_end(100_000, None), None);

        // A hundred seconds later the upstream goes on: two seconds are used up.
        let later = start + 100 * SECOND;
        streams.sent(&frame(FrameKind::WindowUpdate, 0, 1, 4, 65_535), || later);
        assert_eq!(streams.next_end(100_000, None), None, "the window of the connection is still shut");
        streams.sent(&frame(FrameKind::WindowUpdate, 0, 0, 4, 65_535), || later);
        assert_eq!(streams.next_end(100_000, None), Some((later + 8 * SECOND, 1, End::BodyTooSlow)));
    }

    #[test]
    fn the_rest_of_an_answered_body_goes_on_as_long_as_it_comes_at_its_rate() {
        let start = Instant::now();
        let mut streams = asked(start);
        streams.received(&frame(FrameKind::Data, 0, 1, 60_000, 0), || start);
        streams.sent(&frame(FrameKind::Headers, 4, 1, 9, 0), || start);
        streams.sent(&frame(FrameKind::Data, 1, 1, 9, 0), || start + SECOND);

        assert_eq!(streams.next_end(100, None), Some((start + SECOND + REST_TIME, 1, End::Answered)));
        streams.sent(&frame(FrameKind::WindowUpdate, 0, 1, 4, 60_000), || start);
        streams.sent(&frame(FrameKind::WindowUpdate, 0, 0, 4, 60_000), || start);
        streams.received(&frame(FrameKind::Data, 0, 1, 40_000, 0), || start + 2 * SECOND);
        assert_eq!(streams.next_end(100, None), Some((start + 2 * SECOND + REST_TIME, 1, End::Answered)));
        // Frames without an octet are no body, and neither is a trickle.
        streams.received(&frame(FrameKind::Data, 0, 1, 0, 0), || start + 3 * SECOND);
        assert_eq!(streams.next_end(100, None), Some((start + 2 * SECOND + REST_TIME, 1, End::Answered)));
        streams.received(&frame(FrameKind::Data, 0, 1, 1, 0), || start + 11 * SECOND);
        assert_eq!(streams.next_end(100_001, None), Some((start + 10 * SECOND, 1, End::BodyTooSlow)));
        streams.received(&frame(FrameKind::Data, 1, 1, 0, 0), || start);
        assert!(streams.is_empty());
    }

    #[test]
    fn a_body_that_is_too_slow_is_told_and_then_ended() {
        let start = Instant::now();
        let mut streams = asked(start);

        streams.note_gateway_notified(1, start + 10 * SECOND);
        assert_eq!(streams.next_end(100, None), Some((start + 11 * SECOND, 1, End::BodyStuck)));
        // The gateway has answered it.
        streams.sent(&frame(FrameKind::Data, 1, 1, 9, 0), || start + 10 * SECOND);
        assert_eq!(streams.next_end(100, None), Some((start + 10 * SECOND + REST_TIME, 1, End::Answered)));
    }

    #[test]
    fn streams_close_by_both_ends_or_by_a_reset() {
        let now = Instant::now();
        for last in [frame(FrameKind::Reset, 0, 1, 4, 8), frame(FrameKind::Data, 1, 1, 0, 0)] {
            let mut streams = Streams::new(30 * SECOND, 1000);
            streams.received(&frame(FrameKind::Headers, 5, 1, 30, 0), || now);
            assert!(!streams.is_empty());
            streams.sent(&last, || now);
            assert!(streams.is_empty());
        }
        let mut streams = asked(now);
        streams.received(&frame(FrameKind::Reset, 0, 1, 4, 8), || now);
        assert!(streams.is_empty());
        // Trailers end a request and open nothing.
        let mut streams = asked(now);
        streams.sent(&frame(FrameKind::Headers, 5, 1, 30, 0), || now);
        streams.received(&frame(FrameKind::Headers, 5, 1, 30, 0), || now);
        assert!(streams.is_empty());
    }

    #[test]
    fn a_stream_awaits_its_answer_until_that_begins_or_it_is_reset() {
        let now = Instant::now();
        let mut streams = Streams::new(30 * SECOND, 1000);
        streams.received(&frame(FrameKind::Headers, 5, 1, 30, 0), || now);
        streams.received(&frame(FrameKind::Headers, 5, 3, 30, 0), || now);
        assert!(streams.awaits_answer(1) && streams.awaits_answer(3) && !streams.awaits_answer(5));
        streams.sent(&frame(FrameKind::Headers, 4, 1, 9, 0), || now);
        streams.received(&frame(FrameKind::Reset, 0, 3, 4, 8), || now);
        assert!(!streams.awaits_answer(1) && !streams.awaits_answer(3));
    }

    #[test]
    fn only_a_stream_that_was_opened_was_asked_on() {
        let now = Instant::now();
        let mut streams = Streams::new(30 * SECOND, 1000);
        streams.received(&frame(FrameKind::Headers, 5, 5, 30, 0), || now);
        let asked = |streams: &Streams, id| streams.was_asked(id, Http2Error::Protocol);
        assert!(asked(&streams, 5) && !asked(&streams, 3) && !asked(&streams, 7));
        for n in 0..300 {
            streams.received(&frame(FrameKind::Headers, 5, 2 * n + 7, 30, 0), || now);
        }
        assert!(
            asked(&streams, 605)
                && !asked(&streams, 607)
                && !streams.was_asked(605, Http2Error::StreamClosed)
        );
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let mut streams = Streams::new(30 * SECOND, 1000);
        for n in 0..10_000 {
            streams.received(&frame(FrameKind::Headers, 5, 2 * n + 1, 30, 0), Instant::now);
        }
        assert_eq!(streams.open.len(), MAX_TRACKED);
    }
}
