//! The open streams of an HTTP/2 connection: whose turn it is in each, and for how long we have waited. Pure rules, no timer.
//!
//! A body is slow only while its client may send: while our windows for the stream and for the connection are open. They close when
//! an upstream takes nothing, so that waiting is not the client's (RFC 9113, section 5.2).

use std::time::Duration;

use tokio::time::Instant;

use super::{pace::Pace, watch::BODY_GRACE};
use crate::model::{Frame, FrameKind, Http2Error};

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
    /// Its answer is taken slower than `write_min_rate`, while some of it waits.
    Unread,
}

#[derive(Debug)]
struct Open {
    id: u32,
    /// Whether its request has more to come.
    coming: bool,
    /// Whether an answer has begun.
    answering: bool,
    /// Whether its request is malformed, so that it is reset behind the answer.
    malformed: bool,
    /// When its answer was complete, or the last of its body came behind that.
    answered: Option<Instant>,
    window: i64,
    bytes: u64,
    waited: Duration,
    /// Since when the client may send and does not.
    since: Option<Instant>,
    /// When the gateway was told that it is too slow.
    told: Option<Instant>,
    /// What the client takes of the answer.
    takes: Takes,
}

/// What a client takes of what is sent to it: its window for one answer, or for all of them.
///
/// It is waited for only while that is shut (RFC 9113, section 6.9). What goes through counts from the first such wait on, over time: an
/// octet now and then is no progress, and what was taken at once before earns nothing.
#[derive(Debug)]
struct Takes {
    window: i64,
    sent: u64,
    shut: bool,
    pace: Pace,
    /// When it is judged.
    due: Option<Instant>,
    /// When it was shut last, and what had been sent by then.
    last: Option<(Instant, u64)>,
    /// How much went through between the last two times that it was shut, and how long that took.
    burst: (u64, Duration),
}

impl Takes {
    fn new(window: i64, stall: Duration, least: u64) -> Self {
        let pace = Pace::new(stall, least);
        Self { window, sent: 0, shut: false, pace, due: None, last: None, burst: (0, Duration::ZERO) }
    }

    /// Returns what a client that opens its window at times is about to take, as it did the last time: it is not judged by the moment
    /// before it does.
    fn coming(&self, now: Instant) -> u64 {
        let (octets, every) = self.burst;
        let since = self.last.map_or(Duration::ZERO, |(last, _)| now.saturating_duration_since(last)).min(every);
        let part = u128::from(octets).saturating_mul(since.as_nanos()).checked_div(every.as_nanos()).unwrap_or(0);
        u64::try_from(part).unwrap_or(u64::MAX)
    }

    fn is_closed(&self) -> bool {
        self.shut
    }

    fn due(&self) -> Option<Instant> {
        self.due.filter(|_| self.shut)
    }

    fn sent(&mut self, octets: i64, now: impl Fn() -> Instant) {
        self.window -= octets;
        self.sent = self.sent.saturating_add(u64::try_from(octets).unwrap_or(0));
        if self.window <= 0 && !self.shut {
            self.shut = true;
            let at = now();
            if let Some((last, sent)) = self.last.replace((at, self.sent)) {
                self.burst = (self.sent - sent, at.saturating_duration_since(last));
            }
            self.due = Some(self.pace.wait(|| at, || self.sent));
        }
    }

    fn granted(&mut self, more: i64, now: impl Fn() -> Instant) {
        self.window += more;
        if self.window > 0 && self.shut {
            self.shut = false;
            self.pace.wrote(now);
        }
    }

    fn judge(&mut self, waits: bool, now: Instant) -> bool {
        if !waits {
            self.pace = self.pace.again();
        } else if self.pace.judge_with(now, self.sent, self.coming(now)).is_some() {
            return true;
        }
        self.due = Some(self.pace.wait(|| now, || self.sent));
        false
    }
}

/// The open streams, in the order of their numbers.
#[derive(Debug)]
pub(super) struct Streams {
    open: Vec<Open>,
    highest: u32,
    /// The first stream that is not followed, because too many were open.
    beyond: Option<u32>,
    initial: i64,
    window: i64,
    /// The first window of an answer, as the client sets it.
    their_initial: i64,
    /// What the client takes of all answers together.
    takes: Takes,
    stall: Duration,
    least: u64,
}

impl Streams {
    /// Begins with none. An answer of which nothing is taken for `stall`, or less than `least` octets per second, ends.
    pub(super) fn new(stall: Duration, least: u64) -> Self {
        Self {
            open: Vec::new(),
            highest: 0,
            beyond: None,
            initial: FIRST_WINDOW,
            window: FIRST_WINDOW,
            their_initial: FIRST_WINDOW,
            takes: Takes::new(FIRST_WINDOW, stall, least),
            stall,
            least,
        }
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

    /// Notes that the request on a stream is malformed.
    pub(super) fn note_malformed(&mut self, id: u32) {
        self.find(id).into_iter().for_each(|stream| stream.malformed = true);
    }

    /// Says whether that was noted.
    pub(super) fn is_malformed(&mut self, id: u32) -> bool {
        self.find(id).is_some_and(|stream| stream.malformed)
    }

    /// Says whether somebody asked on a stream that is reset with this: a client can have streams reset that it never opened.
    pub(super) fn was_asked(&self, id: u32, error: Http2Error) -> bool {
        // Of those that are not followed, most were refused for their number, and what comes on them then is STREAM_CLOSED.
        let beyond = error != Http2Error::StreamClosed && self.beyond.is_some_and(|beyond| (beyond..=self.highest).contains(&id));
        beyond || self.open.binary_search_by_key(&id, |stream| stream.id).is_ok()
    }

    /// Takes in a frame of the client.
    pub(super) fn came(&mut self, frame: &Frame, now: impl Fn() -> Instant) {
        match frame.kind {
            FrameKind::Headers => {
                let opens = frame.stream > self.highest;
                self.highest = self.highest.max(frame.stream);
                if opens && self.open.len() >= MOST {
                    self.beyond.get_or_insert(frame.stream);
                } else if opens {
                    let (id, window) = (frame.stream, self.initial);
                    let waited = Duration::ZERO;
                    let takes = Takes::new(self.their_initial, self.stall, self.least);
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
                        told: None,
                        takes,
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
            FrameKind::WindowUpdate => {
                let more = i64::from(frame.number);
                match frame.stream {
                    0 => self.takes.granted(more, now),
                    id => self.find(id).into_iter().for_each(|stream| stream.takes.granted(more, &now)),
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

    /// Says whether a frame of ours is a whole answer. One of a stream that is not followed is none.
    pub(super) fn is_answer(&self, frame: &Frame) -> bool {
        let open = |id: u32| self.open.binary_search_by_key(&id, |stream| stream.id).ok().and_then(|at| self.open.get(at));
        frame.kind == FrameKind::Headers && frame.ends_stream() && open(frame.stream).is_some_and(|stream| !stream.answering)
    }

    /// Takes in a frame of ours.
    pub(super) fn sent(&mut self, frame: &Frame, now: impl Fn() -> Instant) {
        if frame.kind == FrameKind::Data {
            let octets = i64::from(frame.length);
            self.takes.sent(octets, &now);
            self.find(frame.stream).into_iter().for_each(|stream| stream.takes.sent(octets, &now));
        }
        match frame.kind {
            FrameKind::Headers | FrameKind::Data if frame.ends_stream() => {
                let answered = now();
                match self.find(frame.stream) {
                    Some(stream) if stream.coming => stream.answered = Some(answered),
                    Some(_) => self.close(frame.stream),
                    None => {}
                }
            }
            FrameKind::Headers => self.find(frame.stream).into_iter().for_each(|stream| {
                stream.answering = true;
                // There may be no window from the start.
                stream.takes.sent(0, &now);
            }),
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

    /// Takes in a setting of the client, in the same way.
    pub(super) fn set_theirs(&mut self, id: u16, value: u32, now: impl Fn() -> Instant) {
        if id == INITIAL_WINDOW {
            let more = i64::from(value) - self.their_initial;
            self.their_initial += more;
            self.open.iter_mut().for_each(|stream| stream.takes.granted(more, &now));
        }
    }

    /// Says whether a stream whose window, or that of the connection, is closed waits for its client.
    pub(super) fn waits(&mut self, id: u32) -> bool {
        self.takes.is_closed() || self.find(id).is_some_and(|stream| stream.takes.is_closed())
    }

    /// Judges what the client takes of an answer, or of all of them where the stream is 0, when its time has come. Where nothing `waits`
    /// for the client, it owes nothing, and its time begins anew.
    pub(super) fn is_unread(&mut self, id: u32, waits: bool, now: Instant) -> bool {
        match id {
            0 => self.takes.judge(waits, now),
            id => self.find(id).is_some_and(|stream| stream.takes.judge(waits, now)),
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
        // Its window, too, is shut only for what has been answered; and one that waits for the connection's alone is no slow reader.
        let answering = || self.open.iter().filter(|stream| stream.answering && stream.answered.is_none());
        let unread = answering().filter_map(|stream| Some((stream.takes.due()?, stream.id, End::Unread)));
        let all = self.takes.due().filter(|_| answering().next().is_some()).map(|by| (by, 0, End::Unread));
        ends.chain(unread).chain(all).min_by_key(|(by, ..)| *by)
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

    /// A stream that has been answered, with the whole of its first window sent.
    fn answered(stream: u32) -> (Streams, Instant) {
        let (mut streams, start) = (Streams::new(30 * SECOND, 1000), Instant::now());
        streams.set_theirs(INITIAL_WINDOW, 100, || start);
        streams.came(&frame(FrameKind::Headers, 5, stream, 20, 0), || start);
        streams.sent(&frame(FrameKind::Headers, 4, stream, 20, 0), || start);
        streams.sent(&frame(FrameKind::Data, 0, stream, 100, 0), || start);
        (streams, start)
    }

    #[test]
    fn an_answer_that_is_taken_by_drops_ends_and_one_that_keeps_the_rate_does_not() {
        for (every, octets, ends) in [(29, 100, true), (1, 990, true), (1, 1000, false), (10, 10_000, false), (10, 9_900, true)] {
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
                streams.came(&frame(FrameKind::WindowUpdate, 0, 1, 4, octets), || at);
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
        streams.came(&frame(FrameKind::WindowUpdate, 0, 1, 4, 1), || start + 300 * SECOND);
        assert_eq!(streams.next_end(0, None), None);
        // Its end ends the watch.
        streams.sent(&frame(FrameKind::Data, 0, 1, 1, 0), || start + 301 * SECOND);
        assert!(streams.next_end(0, None).is_some());
        streams.sent(&frame(FrameKind::Data, 1, 1, 0, 0), || start + 302 * SECOND);
        assert_eq!(streams.next_end(0, None), None);
    }

    fn frame(kind: FrameKind, flags: u8, stream: u32, length: u32, number: u32) -> Frame {
        Frame { kind, flags, stream, length, number }
    }

    fn asked(start: Instant) -> Streams {
        let mut streams = Streams::new(30 * SECOND, 1000);
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
            let mut streams = Streams::new(30 * SECOND, 1000);
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
        let mut streams = Streams::new(30 * SECOND, 1000);
        streams.came(&frame(FrameKind::Headers, 5, 1, 30, 0), || now);
        streams.came(&frame(FrameKind::Headers, 5, 3, 30, 0), || now);
        assert!(streams.awaits_answer(1) && streams.awaits_answer(3) && !streams.awaits_answer(5));
        streams.sent(&frame(FrameKind::Headers, 4, 1, 9, 0), || now);
        streams.came(&frame(FrameKind::Reset, 0, 3, 4, 8), || now);
        assert!(!streams.awaits_answer(1) && !streams.awaits_answer(3));
    }

    #[test]
    fn only_a_stream_that_was_opened_was_asked_on() {
        let now = Instant::now();
        let mut streams = Streams::new(30 * SECOND, 1000);
        streams.came(&frame(FrameKind::Headers, 5, 5, 30, 0), || now);
        let asked = |streams: &Streams, id| streams.was_asked(id, Http2Error::Protocol);
        assert!(asked(&streams, 5) && !asked(&streams, 3) && !asked(&streams, 7));
        for n in 0..300 {
            streams.came(&frame(FrameKind::Headers, 5, 2 * n + 7, 30, 0), || now);
        }
        assert!(asked(&streams, 605) && !asked(&streams, 607) && !streams.was_asked(605, Http2Error::StreamClosed));
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let mut streams = Streams::new(30 * SECOND, 1000);
        for n in 0..10_000 {
            streams.came(&frame(FrameKind::Headers, 5, 2 * n + 1, 30, 0), Instant::now);
        }
        assert_eq!(streams.open.len(), MOST);
    }
}
