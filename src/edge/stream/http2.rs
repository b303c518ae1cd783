//! What is watched on an HTTP/2 connection, from the frames that pass in both directions.
//!
//! The library tells nobody what it refuses by itself, keeps no deadline of a head or a body, and counts little of what a client
//! may flood it with. So the frames are followed here: only their heads, and never their content.

use std::{collections::VecDeque, io::IoSlice, time::Duration};

use tokio::{io::ReadBuf, time::Instant};

use super::{
    flood::Flood,
    given::Given,
    own::{Own, farewell, refusal, reset},
    streams::{End, Streams},
};
use crate::{
    edge::{Http2Error, Http2Refusal},
    model::{Abuse, Cut, FrameKind, Frames, HeadDeadlines, Passed},
};

/// CANCEL: the stream is not needed any more.
const CANCEL: u32 = 8;
/// NO_ERROR.
const NO_ERROR: u32 = 0;
/// PROTOCOL_ERROR.
const PROTOCOL_ERROR: u32 = 1;
/// ENHANCE_YOUR_CALM.
const CALM: u32 = 11;
/// SETTINGS_HEADER_TABLE_SIZE, and what it is at first.
const TABLE_SIZE: u16 = 1;
const FIRST_TABLE: u32 = 4096;
/// A head of 64 KiB needs no more than these behind its first frame.
const MOST_CONTINUATIONS: u64 = 4;
/// The highest stream that there can be: a farewell that leaves open which is the last one.
const ANY_STREAM: u32 = (1 << 31) - 1;
/// `:status: 400` as HPACK writes it (RFC 7541, appendix A). Nothing that the gateway says is so short: each answer has its number.
const BAD_REQUEST: u32 = 0x8c;

/// What is due on the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Due {
    /// The connection ends: a deadline has passed.
    Cut(Cut),
    /// The connection ends: the client went beyond its bounds.
    Abuse(Abuse),
    /// The connection ends: what the client speaks is no HTTP/2. The library would close it without a word to anybody.
    NoPreface,
    /// The connection ends: nobody can tell what its frames mean.
    Lost(Http2Error),
    /// One stream ends.
    Stream(u32, End),
    /// The connection ends: all is answered, and the client should come back with another certificate.
    Leave,
}

/// The watch over one HTTP/2 connection.
#[derive(Debug)]
pub(super) struct Http2 {
    came: Frames,
    sent: Frames,
    flood: Flood,
    streams: Streams,
    header_timeout: Duration,
    idle_timeout: Duration,
    /// When the first head must be whole.
    first_by: Instant,
    /// Whether a head has come.
    asked: bool,
    block: Option<Block>,
    /// Whether fields came with the last read.
    fields_came: bool,
    /// When what is unfinished must be whole: its number, and the time.
    whole_by: Option<(u64, Instant)>,
    idle_by: Option<Instant>,
    given: Given,
    to_library: Own,
    to_client: Own,
    /// Interim answers, by their streams.
    interim: VecDeque<(u32, Vec<u8>)>,
    /// How large the client lets our table of fields be. Where it was made smaller, the library's next head has to say so, and
    /// nothing of ours may come before that (RFC 7541, section 4.2): then nothing of ours is said any more.
    table: u32,
    table_shrank: bool,
    /// Whether the client was told that it should go.
    leaving: bool,
}

/// A block of fields: HEADERS, and CONTINUATION up to the one that ends it (RFC 9113, section 4.3).
#[derive(Clone, Copy, Debug)]
struct Block {
    first: u64,
    last: u64,
    ended: bool,
}

impl Http2 {
    /// Begins at the end of the handshake.
    pub(super) fn new(deadlines: &HeadDeadlines, key: Option<u64>, now: Instant) -> Self {
        Self {
            came: Frames::of_client(),
            sent: Frames::of_server(),
            flood: Flood::new(deadlines.http2),
            streams: Streams::new(deadlines.write_stall, deadlines.write_min_rate),
            header_timeout: deadlines.header_timeout,
            idle_timeout: deadlines.idle_timeout,
            first_by: now + deadlines.header_timeout,
            asked: false,
            block: None,
            fields_came: false,
            whole_by: None,
            idle_by: None,
            given: Given::new(deadlines.header_bytes, deadlines.header_count, key),
            to_library: Own::default(),
            to_client: Own::default(),
            interim: VecDeque::new(),
            table: FIRST_TABLE,
            table_shrank: false,
            leaving: false,
        }
    }

    /// Takes in what the client sent. Says what is due at once.
    pub(super) fn came(&mut self, bytes: &[u8], now: impl Fn() -> Instant + Copy) -> Option<Due> {
        let Self { came, flood, streams, block, asked, fields_came, table, table_shrank, .. } = self;
        *fields_came = false;
        let mut number = came.seen();
        came.take(bytes, |passed| match passed {
            Passed::Setting { id, value } => {
                flood.set(id, value);
                streams.set_theirs(id, value, now);
                if id == TABLE_SIZE {
                    *table_shrank |= value < *table;
                    *table = value;
                }
            }
            Passed::Frame(frame) => {
                number += 1;
                flood.came(&frame, now);
                streams.came(&frame, now);
                if matches!(frame.kind, FrameKind::Headers | FrameKind::Continuation) {
                    *fields_came = true;
                    let first = block.filter(|block| !block.ended).map_or(number, |block| block.first);
                    *block = Some(Block { first, last: number, ended: frame.ends_head() });
                    *asked |= frame.ends_head();
                }
            }
        });
        if self.came.has_no_preface() {
            return Some(Due::NoPreface);
        }
        if let Some(abuse) = self.flood.over() {
            return Some(Due::Abuse(abuse));
        }
        // Who never makes us wait is judged here.
        let (by, _) = self.whole_by(now)?;
        (now() >= by).then_some(Due::Cut(Cut::HeadTimeout))
    }

    /// Takes in what was sent: the first `sent` octets of the pieces. Tells of what the library refused. Says whether it may be
    /// somebody else's turn now, so that [`Http2::wait`] has another answer.
    pub(super) fn sent(
        &mut self,
        pieces: &[IoSlice<'_>],
        mut sent: usize,
        now: impl Fn() -> Instant + Copy,
        mut each: impl FnMut(Http2Refusal),
    ) -> bool {
        let Self { sent: frames, flood, streams, fields_came, to_client, given, .. } = self;
        let mut turned = false;
        for piece in pieces {
            let taken = piece.get(..sent.min(piece.len())).unwrap_or_default();
            sent -= taken.len();
            frames.take(taken, |passed| match passed {
                Passed::Setting { id, value } => streams.set(id, value),
                Passed::Frame(frame) => {
                    let bad = streams.is_answer(&frame) && frame.number == BAD_REQUEST;
                    let refused = refusal(&frame).filter(|refusal| match refusal {
                        Http2Refusal::Stream(stream, error) => streams.was_asked(*stream, *error),
                        Http2Refusal::Authority(_)
                        | Http2Refusal::Connection(_)
                        | Http2Refusal::Fields
                        | Http2Refusal::HeadTimeout
                        | Http2Refusal::Abuse(_) => true,
                    });
                    flood.sent(&frame);
                    if frame.ends_stream() && streams.is_malformed(frame.stream) {
                        to_client.push(reset(frame.stream, PROTOCOL_ERROR));
                        given.note_reset(frame.stream);
                    } else if frame.kind == FrameKind::Reset {
                        given.note_reset(frame.stream);
                    }
                    streams.sent(&frame, now);
                    turned |= frame.ends_stream() || matches!(frame.kind, FrameKind::Reset | FrameKind::WindowUpdate);
                    turned |= matches!(frame.kind, FrameKind::Data | FrameKind::Headers) && streams.waits(frame.stream);
                    if refusal(&frame).is_some() || bad {
                        flood.error(now);
                    }
                    match refused.or(bad.then_some(Http2Refusal::Authority(frame.stream))) {
                        Some(Http2Refusal::Connection(Http2Error::Protocol)) if *fields_came => each(Http2Refusal::Fields),
                        Some(refusal) => each(refusal),
                        None => {}
                    }
                }
            });
        }
        turned
    }

    /// Returns why the client's frames cannot be followed any more, once all before that was given.
    pub(super) fn lost(&self) -> Option<Http2Error> {
        self.given.lost()
    }

    /// Returns what the client exceeded.
    pub(super) fn over(&self) -> Option<Abuse> {
        self.flood.over()
    }

    /// Answers until when a read may wait, and what is due if it waits longer. `rate` is that of bodies, in bytes per second.
    pub(super) fn wait(&mut self, rate: u64, now: impl Fn() -> Instant + Copy) -> Option<(Instant, Due)> {
        if !self.asked {
            let cut = if self.block.is_some() { Cut::HeadTimeout } else { Cut::NoRequest };
            return Some((self.first_by, Due::Cut(cut)));
        }
        let whole = self.whole_by(now).map(|(by, _)| (by, Due::Cut(Cut::HeadTimeout)));
        if self.streams.is_empty() {
            let idle = *self.idle_by.get_or_insert_with(|| now() + self.idle_timeout);
            return whole.or(Some((idle, Due::Cut(Cut::Idle))));
        }
        self.idle_by = None;
        let stream = self.streams.next_end(rate, self.came.in_data()).map(|(by, id, end)| (by, Due::Stream(id, end)));
        whole.into_iter().chain(stream).min_by_key(|(by, _)| *by)
    }

    /// Tells the client, once, to send no further request here (RFC 9113, section 6.8). What is open is still answered.
    pub(super) fn leave(&mut self) {
        if !std::mem::replace(&mut self.leaving, true) {
            self.to_client.push(farewell(ANY_STREAM, NO_ERROR));
        }
    }

    /// Says whether a head comes in more frames than one of any size needs.
    pub(super) fn drips(&self) -> bool {
        self.block.is_some_and(|block| !block.ended && block.last - block.first >= MOST_CONTINUATIONS)
    }

    /// Says whether no request is open.
    pub(super) fn rests(&self) -> bool {
        self.streams.is_empty()
    }

    /// Says whether the client was told to go and nothing is open any more.
    pub(super) fn has_left(&self) -> bool {
        self.leaving && self.rests()
    }

    /// Notes that the gateway was told of a body that is too slow.
    pub(super) fn told(&mut self, id: u32, now: Instant) {
        self.streams.told(id, now);
    }

    /// Judges what the client takes of an answer, where its time has come; `waits` says whether something waits for it.
    pub(super) fn is_unread(&mut self, id: u32, waits: bool, now: Instant) -> bool {
        self.streams.is_unread(id, waits, now)
    }

    /// Ends one stream for both sides. Says false if that cannot be told to the library, which reads the middle of its DATA.
    pub(super) fn end(&mut self, id: u32, end: End) -> bool {
        if self.given.in_data() == Some(id) {
            return false;
        }
        self.streams.close(id);
        self.given.note_reset(id);
        self.to_library.push(reset(id, CANCEL));
        let code = match end {
            // Node takes an answer that ends with CANCEL for a whole one.
            End::BodyTooSlow | End::BodyStuck | End::Unread => CALM,
            End::Answered => NO_ERROR,
        };
        self.to_client.push(reset(id, code));
        true
    }

    /// Hands the library what it is to read instead of the client's frames. Says whether there was something.
    pub(super) fn deliver(&mut self, buf: &mut ReadBuf<'_>) -> bool {
        if self.to_library.is_empty() || (!self.to_library.has_begun() && !self.given.is_between()) {
            let some = self.given.give(buf);
            self.note_malformed();
            return some;
        }
        let rest = self.to_library.rest();
        let some = rest.get(..buf.remaining()).unwrap_or(rest);
        buf.put_slice(some);
        let read = some.len();
        self.to_library.passed(read);
        read > 0
    }

    /// Says whether all that came was given to the library.
    pub(super) fn has_none_waiting(&self) -> bool {
        self.given.is_empty()
    }

    /// Lets through to the library what came. Returns how much it gets now.
    pub(super) fn pass_on(&mut self, bytes: &[u8]) -> usize {
        if self.given.is_empty() {
            let passed = self.given.pass_on(bytes);
            self.note_malformed();
            return passed;
        }
        self.given.keep(bytes);
        0
    }

    fn note_malformed(&mut self) {
        let Self { given, streams, .. } = self;
        given.take_to_reset().for_each(|stream| streams.note_malformed(stream));
    }

    /// Has an interim answer said, as long as the answer itself has not begun.
    pub(super) fn say_interim(&mut self, stream: u32, frame: Vec<u8>) {
        if !self.table_shrank {
            self.interim.push_back((stream, frame));
        }
    }

    /// Returns what we have to say to the client now.
    pub(super) fn own(&mut self) -> &[u8] {
        // In the middle of a frame or a block of the library, it waits for the end of that.
        if !self.to_client.has_begun() {
            if !self.sent.may_be_interrupted() {
                return &[];
            }
            // The library writes nothing before this has left, so what has not begun by now begins behind it.
            while self.to_client.is_empty()
                && let Some((stream, frame)) = self.interim.pop_front()
            {
                if self.streams.awaits_answer(stream) && !self.table_shrank {
                    self.to_client.push(frame);
                }
            }
        }
        self.to_client.rest()
    }

    /// Tells how much of that was taken.
    pub(super) fn own_sent(&mut self, bytes: usize) {
        self.to_client.passed(bytes);
    }

    /// Says farewell (RFC 9113, section 6.8); nothing where a frame is only half sent.
    pub(super) fn goaway(&self, due: Due) -> Vec<u8> {
        if self.to_client.has_begun() || !self.sent.may_be_interrupted() {
            return Vec::new();
        }
        let code = match due {
            Due::Cut(Cut::NoRequest | Cut::Idle) | Due::Leave => NO_ERROR,
            Due::NoPreface => PROTOCOL_ERROR,
            Due::Lost(error) => error.code(),
            Due::Cut(_) | Due::Abuse(_) | Due::Stream(..) => CALM,
        };
        farewell(self.flood.highest(), code)
    }

    /// When what has begun must be whole.
    fn whole_by(&mut self, now: impl Fn() -> Instant) -> Option<(Instant, u64)> {
        let unfinished = self.came.unfinished();
        let open = self.block.filter(|block| !block.ended || unfinished == Some(block.last));
        let Some(number) = open.map(|block| block.first).or(unfinished) else {
            self.whole_by = None;
            return None;
        };
        match self.whole_by {
            Some((of, by)) if of == number => Some((by, number)),
            Some(_) | None => {
                let by = if self.asked || open.is_none() { now() + self.header_timeout } else { self.first_by };
                self.whole_by = Some((number, by));
                Some((by, number))
            }
        }
    }
}
