//! The open streams of an HTTP/2 connection: whose turn it is in each, and for how long we have waited. Pure rules, no timer.
//!
//! A body is slow only while its client may send: while our windows for the stream and for the connection are open. They close when
//! an upstream takes nothing, so that waiting is not the client's (RFC 9113, section 5.2).

use std::time::Duration;

use tokio::time::Instant;

use super::watch::BODY_GRACE;
use crate::model::{Frame, FrameKind};

/// More streams than this are not followed. The library refuses those beyond `streams`; this bounds what we keep of them until then.
const MOST: usize = 256;
/// The windows before anything is said about them (RFC 9113, section 6.9.2).
const FIRST_WINDOW: i64 = 65_535;
/// SETTINGS_INITIAL_WINDOW_SIZE.
const INITIAL_WINDOW: u16 = 4;
/// How long the rest of a body may pause whose answer is complete (`security.md`, row 10). Longer than the gateway itself waits behind a
/// refusal. Behind an answer of the app it takes in as much as the app would have got: there are clients that wait for ever otherwise.
const REST_TIME: Duration = Duration::from_millis(1250);
/// How long the gateway may take to refuse a body that is too slow: it is asked only when more of it comes.
const REFUSAL_TIME: Duration = Duration::from_secs(1);

/// Why one stream has to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// Its body comes slower than `body_min_rate`: the gateway is told, and refuses it with the next octet that comes.
    BodyTooSlow,
    /// And none came.
    BodyStuck,
    /// The answer is complete and the rest of the body is of no use.
    Answered,
}

#[derive(Debug)]
struct Open {
    id: u32,
    /// Whether its request has more to come.
    coming: bool,
    /// Whether an answer has begun.
    answering: bool,
    /// When its answer was complete, or the last of its body came behind that.
    answered: Option<Instant>,
    window: i64,
    bytes: u64,
    waited: Duration,
    /// Since when the client may send and does not.
    since: Option<Instant>,
    /// When the gateway was told that it is too slow.
    told: Option<Instant>,
}

/// The open streams, in the order of their numbers.
#[derive(Debug)]
pub(super) struct Streams {
    open: Vec<Open>,
    highest: u32,
    initial: i64,
    window: i64,
}

impl Streams {
    pub(super) fn new() -> Self {
        Self { open: Vec::new(), highest: 0, initial: FIRST_WINDOW, window: FIRST_WINDOW }
    }

    /// Says whether no request is open.
    pub(super) fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    /// Says whether a stream is open on which no answer has begun.
    pub(super) fn awaits_answer(&self, id: u32) -> bool {
        let at = self.open.binary_search_by_key(&id, |stream| stream.id).ok();
        at.and_then(|at| self.open.get(at)).is_some_and(|stream| !stream.answering)
    }

    /// Takes in a frame of the client.
    pub(super) fn came(&mut self, frame: &Frame, now: impl Fn() -> Instant) {
        match frame.kind {
            FrameKind::Headers => {
                let opens = frame.stream > self.highest;
                self.highest = self.highest.max(frame.stream);
                if opens && self.open.len() < MOST {
                    let (id, window) = (frame.stream, self.initial);
                    let waited = Duration::ZERO;
                    self.open.push(Open {
                        id,
                        coming: true,
                        answering: false,
                        answered: None,
                        window,
                        bytes: 0,
                        waited,
                        since: None,
                        told: None,
                    });
                }
                if frame.ends_stream() {
                    self.body_came(frame.stream);
                } else {
                    self.turns(now);
                }
            }
            FrameKind::Data => {
                let length = i64::from(frame.length);
                self.window -= length;
                if let Some(stream) = self.find(frame.stream) {
                    stream.window -= length;
                    stream.bytes = stream.bytes.saturating_add(u64::from(frame.length));
                    if let Some(last) = stream.answered.as_mut().filter(|_| frame.length > 0) {
                        *last = now();
                    }
                }
                if frame.ends_stream() {
                    self.body_came(frame.stream);
                }
                self.turns(now);
            }
            FrameKind::Reset => self.close(frame.stream),
            FrameKind::Priority
            | FrameKind::Settings
            | FrameKind::PushPromise
            | FrameKind::Ping
            | FrameKind::GoAway
            | FrameKind::WindowUpdate
            | FrameKind::Continuation
            | FrameKind::Other => {}
        }
    }

    /// Says whether a frame of ours is a whole answer. One of a stream that is not followed is none.
    pub(super) fn is_answer(&self, frame: &Frame) -> bool {
        let open = |id: u32| self.open.binary_search_by_key(&id, |stream| stream.id).ok().and_then(|at| self.open.get(at));
        frame.kind == FrameKind::Headers && frame.ends_stream() && open(frame.stream).is_some_and(|stream| !stream.answering)
    }

    /// Takes in a frame of ours.
    pub(super) fn sent(&mut self, frame: &Frame, now: impl Fn() -> Instant) {
        match frame.kind {
            FrameKind::Headers | FrameKind::Data if frame.ends_stream() => {
                let answered = now();
                match self.find(frame.stream) {
                    Some(stream) if stream.coming => stream.answered = Some(answered),
                    Some(_) => self.close(frame.stream),
                    None => {}
                }
            }
            FrameKind::Headers => self.find(frame.stream).into_iter().for_each(|stream| stream.answering = true),
            FrameKind::Reset => self.close(frame.stream),
            FrameKind::WindowUpdate => {
                let more = i64::from(frame.number);
                match frame.stream {
                    0 => self.window += more,
                    id => self.find(id).into_iter().for_each(|stream| stream.window += more),
                }
                self.turns(now);
            }
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

    /// Takes in a setting of ours: it changes the windows that are there too (RFC 9113, section 6.9.2).
    pub(super) fn set(&mut self, id: u16, value: u32) {
        if id == INITIAL_WINDOW {
            let more = i64::from(value) - self.initial;
            self.initial += more;
            self.open.iter_mut().for_each(|stream| stream.window += more);
        }
    }

    /// Notes that the gateway was told of a body that is too slow.
    pub(super) fn told(&mut self, id: u32, now: Instant) {
        self.find(id).into_iter().for_each(|stream| stream.told = Some(now));
    }

    /// Forgets a stream.
    pub(super) fn close(&mut self, id: u32) {
        if let Ok(at) = self.open.binary_search_by_key(&id, |stream| stream.id) {
            self.open.remove(at);
        }
    }

    /// Answers which stream has to end first, when, and why. `rate` is in bytes per second, 0 is no bound; `in_data` is what is to
    /// come of a DATA frame that has begun: its length is known and has not come.
    pub(super) fn next_end(&self, rate: u64, in_data: Option<(u32, usize)>) -> Option<(Instant, u32, End)> {
        let missing = |id: u32| in_data.filter(|(of, _)| *of == id).map_or(0, |(_, rest)| u64::try_from(rest).unwrap_or(u64::MAX));
        let ends = self.open.iter().filter(|stream| stream.coming).filter_map(|stream| {
            let came = stream.bytes.saturating_sub(missing(stream.id));
            let rest = stream.answered.map(|last| (last + REST_TIME, stream.id, End::Answered));
            if let Some(told) = stream.told {
                return rest.or(Some((told + REFUSAL_TIME, stream.id, End::BodyStuck)));
            }
            let slow = stream.since.filter(|_| rate > 0).map(|since| {
                let allowed = Duration::from_secs(came.checked_div(rate).unwrap_or(0)).max(BODY_GRACE);
                (since + allowed.saturating_sub(stream.waited), stream.id, End::BodyTooSlow)
            });
            rest.into_iter().chain(slow).min_by_key(|(by, ..)| *by)
        });
        ends.min_by_key(|(by, ..)| *by)
    }

    /// The request of a stream is whole.
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

    /// Keeps up whose turn it is.
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

    const SECOND: Duration = Duration::from_secs(1);

    fn frame(kind: FrameKind, flags: u8, stream: u32, length: u32, number: u32) -> Frame {
        Frame { kind, flags, stream, length, number }
    }

    fn asked(start: Instant) -> Streams {
        let mut streams = Streams::new();
        streams.came(&frame(FrameKind::Headers, 4, 1, 30, 0), || start);
        streams
    }

    #[test]
    fn a_body_has_ten_seconds_and_then_its_rate() {
        let start = Instant::now();
        let mut streams = asked(start);

        assert_eq!(streams.next_end(100, None), Some((start + 10 * SECOND, 1, End::BodyTooSlow)));
        assert_eq!(streams.next_end(0, None), None);
        streams.came(&frame(FrameKind::Data, 0, 1, 3000, 0), || start + 4 * SECOND);
        assert_eq!(streams.next_end(100, None), Some((start + 30 * SECOND, 1, End::BodyTooSlow)));
        // A frame that was only announced is no body.
        assert_eq!(streams.next_end(100, Some((1, 1000))), Some((start + 20 * SECOND, 1, End::BodyTooSlow)));
        streams.came(&frame(FrameKind::Data, 1, 1, 0, 0), || start + 5 * SECOND);
        assert_eq!((streams.next_end(100, None), streams.is_empty()), (None, false));
    }

    #[test]
    fn a_slow_upstream_is_not_the_clients_slowness() {
        let start = Instant::now();
        let mut streams = asked(start);
        streams.came(&frame(FrameKind::Data, 0, 1, 65_535, 0), || start + 2 * SECOND);
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
        streams.came(&frame(FrameKind::Data, 0, 1, 60_000, 0), || start);
        streams.sent(&frame(FrameKind::Headers, 4, 1, 9, 0), || start);
        streams.sent(&frame(FrameKind::Data, 1, 1, 9, 0), || start + SECOND);

        assert_eq!(streams.next_end(100, None), Some((start + SECOND + REST_TIME, 1, End::Answered)));
        streams.sent(&frame(FrameKind::WindowUpdate, 0, 1, 4, 60_000), || start);
        streams.sent(&frame(FrameKind::WindowUpdate, 0, 0, 4, 60_000), || start);
        streams.came(&frame(FrameKind::Data, 0, 1, 40_000, 0), || start + 2 * SECOND);
        assert_eq!(streams.next_end(100, None), Some((start + 2 * SECOND + REST_TIME, 1, End::Answered)));
        // Frames without an octet are no body, and neither is a trickle.
        streams.came(&frame(FrameKind::Data, 0, 1, 0, 0), || start + 3 * SECOND);
        assert_eq!(streams.next_end(100, None), Some((start + 2 * SECOND + REST_TIME, 1, End::Answered)));
        streams.came(&frame(FrameKind::Data, 0, 1, 1, 0), || start + 11 * SECOND);
        assert_eq!(streams.next_end(100_001, None), Some((start + 10 * SECOND, 1, End::BodyTooSlow)));
        streams.came(&frame(FrameKind::Data, 1, 1, 0, 0), || start);
        assert!(streams.is_empty());
    }

    #[test]
    fn a_body_that_is_too_slow_is_told_and_then_ended() {
        let start = Instant::now();
        let mut streams = asked(start);

        streams.told(1, start + 10 * SECOND);
        assert_eq!(streams.next_end(100, None), Some((start + 11 * SECOND, 1, End::BodyStuck)));
        // The gateway has answered it.
        streams.sent(&frame(FrameKind::Data, 1, 1, 9, 0), || start + 10 * SECOND);
        assert_eq!(streams.next_end(100, None), Some((start + 10 * SECOND + REST_TIME, 1, End::Answered)));
    }

    #[test]
    fn streams_close_by_both_ends_or_by_a_reset() {
        let now = Instant::now();
        for last in [frame(FrameKind::Reset, 0, 1, 4, 8), frame(FrameKind::Data, 1, 1, 0, 0)] {
            let mut streams = Streams::new();
            streams.came(&frame(FrameKind::Headers, 5, 1, 30, 0), || now);
            assert!(!streams.is_empty());
            streams.sent(&last, || now);
            assert!(streams.is_empty());
        }
        let mut streams = asked(now);
        streams.came(&frame(FrameKind::Reset, 0, 1, 4, 8), || now);
        assert!(streams.is_empty());
        // Trailers end a request and open nothing.
        let mut streams = asked(now);
        streams.sent(&frame(FrameKind::Headers, 5, 1, 30, 0), || now);
        streams.came(&frame(FrameKind::Headers, 5, 1, 30, 0), || now);
        assert!(streams.is_empty());
    }

    #[test]
    fn a_stream_awaits_its_answer_until_that_begins_or_it_is_reset() {
        let now = Instant::now();
        let mut streams = Streams::new();
        streams.came(&frame(FrameKind::Headers, 5, 1, 30, 0), || now);
        streams.came(&frame(FrameKind::Headers, 5, 3, 30, 0), || now);
        assert!(streams.awaits_answer(1) && streams.awaits_answer(3) && !streams.awaits_answer(5));
        streams.sent(&frame(FrameKind::Headers, 4, 1, 9, 0), || now);
        streams.came(&frame(FrameKind::Reset, 0, 3, 4, 8), || now);
        assert!(!streams.awaits_answer(1) && !streams.awaits_answer(3));
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let mut streams = Streams::new();
        for n in 0..10_000 {
            streams.came(&frame(FrameKind::Headers, 5, 2 * n + 1, 30, 0), Instant::now);
        }
        assert_eq!(streams.open.len(), MOST);
    }
}
