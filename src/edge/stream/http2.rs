//! Monitors an HTTP/2 connection by the frames that pass in both directions.
//!
//! The library does not report what it refuses by itself, has no deadline for a head or a body, and counts
//! little of what a client may flood it with. So the frames are tracked here: their headers only, not their
//! contents.

use std::io::IoSlice;

use tokio::{io::ReadBuf, time::Instant};

use super::{
    block_deadlines::BlockDeadlines,
    client_frames::ClientFrames,
    due::Due,
    flood::Flood,
    frame_action::Reaction,
    frame_filter::FrameFilter,
    own_frames::{OwnFrames, refusal},
    stream_deadlines::{End, Streams},
};
use crate::{
    edge::Http2Refusal,
    model::{Abuse, CutReason, HeadDeadlines, Http2Error},
    wire::http2::{
        FrameEvent, FrameKind, FrameTracker, MAX_STREAM, MAX_WINDOW, error_code, goaway, rst_stream, setting,
        window_update,
    },
};

/// How many frames of ours may wait for the client. While more wait, nothing is read from it.
const MAX_WAITING: usize = 256;
/// `:status: 400` in HPACK (RFC 7541, appendix A). No response of the gateway is so short: each has its
/// request id.
const BAD_REQUEST: u32 = 0x8c;

/// The monitor of one HTTP/2 connection.
#[derive(Debug)]
pub(super) struct Http2 {
    received: FrameTracker,
    sent: FrameTracker,
    flood: Flood,
    streams: Streams,
    deadlines: BlockDeadlines,
    /// Whether fields arrived with the last read.
    fields_came: bool,
    frame_filter: FrameFilter,
    to_library: OwnFrames,
    to_client: ClientFrames,
    /// Resets of ours that are to be reported.
    refusals: Vec<Http2Refusal>,
    /// Whether the client was told to go away.
    draining: bool,
}

impl Http2 {
    /// Begins at the end of the handshake.
    pub(super) fn new(deadlines: &HeadDeadlines, key: Option<u64>, now: Instant) -> Self {
        Self {
            received: FrameTracker::of_client(),
            sent: FrameTracker::of_server(),
            flood: Flood::new(deadlines.http2),
            streams: Streams::new(deadlines.write_stall, deadlines.write_min_rate),
            deadlines: BlockDeadlines::new(deadlines, now),
            fields_came: false,
            frame_filter: FrameFilter::new(deadlines.header_bytes, deadlines.header_count, key)
                .within(&deadlines.http2, deadlines.many_clients),
            to_library: OwnFrames::default(),
            to_client: ClientFrames::new(),
            refusals: Vec::new(),
            draining: false,
        }
    }

    /// Takes in what the client sent. Returns what is due at once.
    pub(super) fn received(&mut self, bytes: &[u8], now: impl Fn() -> Instant + Copy) -> Option<Due> {
        let Self { received, flood, streams, deadlines, fields_came, to_client, frame_filter, .. } = self;
        *fields_came = false;
        let mut number = received.seen();
        let mut wide = false;
        received.take(bytes, |passed| match passed {
            FrameEvent::Setting { id, value } => {
                wide |= id == setting::INITIAL_WINDOW_SIZE && value > MAX_WINDOW;
                flood.set(id, value);
                streams.set_theirs(id, value, now);
                if id == setting::HEADER_TABLE_SIZE {
                    to_client.set_table_size(value);
                }
            }
            FrameEvent::Frame(frame) => {
                number += 1;
                flood.received(&frame, now);
                if frame.header.kind == FrameKind::Reset
                    && let Some(octets) = streams.blocked_by(frame.header.stream)
                {
                    frame_filter.states().note_blocked(frame.header.stream, octets);
                }
                streams.received(&frame, now);
                if matches!(frame.header.kind, FrameKind::Headers | FrameKind::Continuation) {
                    *fields_came = true;
                    deadlines.note_fields(number, frame.header.ends_block());
                }
            }
        });
        if self.received.has_no_preface() {
            return Some(Due::NoPreface);
        }
        if let Some(abuse) = self.flood.exceeded() {
            return Some(Due::Abuse(abuse));
        }
        if wide {
            return Some(Due::ConnectionError(Http2Error::FlowControl));
        }
        // A client that never makes us wait is judged here.
        let by = self.incomplete(now)?;
        (now() >= by).then_some(Due::Cut(CutReason::HeadTimeout))
    }

    /// Takes in what was sent: the first `sent` octets of the pieces. Reports what the library refused.
    /// Returns whether [`Http2::wait`] may have another answer now.
    pub(super) fn sent(
        &mut self,
        pieces: &[IoSlice<'_>],
        mut sent: usize,
        now: impl Fn() -> Instant + Copy,
        mut each: impl FnMut(Http2Refusal),
    ) -> bool {
        let Self { sent: frames, flood, streams, fields_came, to_client, frame_filter, .. } = self;
        let mut turned = false;
        for piece in pieces {
            let taken = piece.get(..sent.min(piece.len())).unwrap_or_default();
            sent -= taken.len();
            frames.take(taken, |passed| match passed {
                FrameEvent::Setting { id, value } => streams.set(id, value),
                FrameEvent::Frame(frame) => {
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
                    if frame.header.ends_stream() && streams.is_malformed(frame.header.stream) {
                        to_client.push(rst_stream(frame.header.stream, error_code::PROTOCOL_ERROR));
                        frame_filter.states().note_reset_sent(frame.header.stream);
                    } else if frame.header.kind == FrameKind::Reset {
                        frame_filter.states().note_reset(frame.header.stream);
                    }
                    if frame.header.ends_stream() {
                        frame_filter.states().note_answered(frame.header.stream);
                    }
                    streams.sent(&frame, now);
                    turned |= frame.header.ends_stream()
                        || matches!(frame.header.kind, FrameKind::Reset | FrameKind::WindowUpdate);
                    turned |= matches!(frame.header.kind, FrameKind::Data | FrameKind::Headers)
                        && streams.waits(frame.header.stream);
                    if refusal(&frame).is_some() || bad {
                        flood.error(now);
                    }
                    match refused.or(bad.then_some(Http2Refusal::Authority(frame.header.stream))) {
                        Some(Http2Refusal::Connection(Http2Error::Protocol)) if *fields_came => {
                            each(Http2Refusal::Fields)
                        }
                        Some(refusal) => each(refusal),
                        None => {}
                    }
                }
            });
        }
        turned
    }

    /// Returns why the client's frames cannot be followed any more, once the library has all that precedes
    /// the error.
    pub(super) fn connection_error(&self) -> Option<Http2Error> {
        self.frame_filter.connection_error()
    }

    /// Returns the limit that the client exceeded.
    pub(super) fn exceeded(&self) -> Option<Abuse> {
        self.flood.exceeded()
    }

    /// Returns until when a read may wait, and what is due if it waits longer. `rate` is the least rate of a
    /// body, in bytes per second.
    pub(super) fn wait(&mut self, rate: u64, now: impl Fn() -> Instant + Copy) -> Option<(Instant, Due)> {
        if let Some((by, cut)) = self.deadlines.first_head() {
            return Some((by, Due::Cut(cut)));
        }
        let whole = self.incomplete(now).map(|by| (by, Due::Cut(CutReason::HeadTimeout)));
        if self.streams.is_empty() {
            let idle = self.deadlines.idle(now);
            return whole.or(Some((idle, Due::Cut(CutReason::Idle))));
        }
        self.deadlines.note_busy();
        let stream = self
            .streams
            .next_end(rate, self.received.in_data())
            .map(|(by, id, end)| (by, Due::Stream(id, end)));
        whole.into_iter().chain(stream).min_by_key(|(by, _)| *by)
    }

    /// Tells the client, once, to send no further request on this connection (RFC 9113, section 6.8). Open
    /// requests are still answered.
    pub(super) fn start_drain(&mut self) {
        if !std::mem::replace(&mut self.draining, true) {
            self.to_client.push(goaway(MAX_STREAM, error_code::NO_ERROR));
        }
    }

    /// Says whether a head arrives in more frames than any head needs.
    pub(super) fn is_dripping(&self) -> bool {
        self.deadlines.is_dripping()
    }

    /// Says whether no request is open.
    pub(super) fn is_idle(&self) -> bool {
        self.streams.is_empty()
    }

    /// Says whether the client was told to go away and no request is open any more.
    pub(super) fn is_drained(&self) -> bool {
        self.draining && self.is_idle()
    }

    /// Notes that the gateway was told of a body that is too slow.
    pub(super) fn note_gateway_notified(&mut self, id: u32, now: Instant) {
        self.streams.note_gateway_notified(id, now);
    }

    /// Judges at its deadline how fast the client accepts a response. `waits` says whether data waits for it.
    pub(super) fn is_unread(&mut self, id: u32, waits: bool, now: Instant) -> bool {
        self.streams.is_unread(id, waits, now)
    }

    /// Ends one stream for both sides. Returns false if the library cannot be told, because it is in the
    /// middle of a DATA frame of the stream.
    pub(super) fn end(&mut self, id: u32, end: End) -> bool {
        if self.frame_filter.in_data() == Some(id) {
            return false;
        }
        let opens = self.streams.blocked_by(id).map(|octets| window_update(id, octets)).unwrap_or_default();
        self.streams.close(id);
        self.frame_filter.states().note_ended(id);
        // The window goes first for the reason given at `StreamStates::note_blocked`.
        self.to_library.push([opens, rst_stream(id, error_code::CANCEL)].concat());
        let code = match end {
            // Node takes a response that ends with CANCEL for a complete one.
            End::BodyTooSlow | End::BodyStuck | End::Unread => error_code::ENHANCE_YOUR_CALM,
            End::Answered => error_code::NO_ERROR,
        };
        self.to_client.push(rst_stream(id, code));
        true
    }

    /// Has the library discard the responses that wait for a window, now that the client has disconnected.
    /// Returns whether there are any.
    ///
    /// It would discard them itself. But it forgets to uncount a stream whose request was dropped before its
    /// end and whose response waits (h2 0.4.20, `Counts::transition_after`). The count disappears with the
    /// connection and nobody reads it any more; only a debug build asserts that it is 0 then, and panics in
    /// the task of that connection, which ends anyway. Where a write fails first, that may still happen: no
    /// read follows it.
    pub(super) fn client_has_gone(&mut self) -> bool {
        let blocked = self.streams.take_blocked();
        for (id, octets) in &blocked {
            self.frame_filter.states().note_ended(*id);
            self.to_library.push([window_update(*id, *octets), rst_stream(*id, error_code::CANCEL)].concat());
        }
        !blocked.is_empty()
    }

    /// Gives the library what it reads in place of the client's frames. Returns whether there was anything.
    pub(super) fn deliver(&mut self, buf: &mut ReadBuf<'_>, now: impl Fn() -> Instant + Copy) -> bool {
        if self.to_library.is_empty() || (!self.to_library.has_begun() && !self.frame_filter.is_between()) {
            let some = self.frame_filter.give(buf);
            self.act(now);
            return some;
        }
        let rest = self.to_library.rest();
        let some = rest.get(..buf.remaining()).unwrap_or(rest);
        buf.put_slice(some);
        let read = some.len();
        self.to_library.note_sent(read);
        read > 0
    }

    /// Says whether the library has been given everything that arrived.
    pub(super) fn has_none_waiting(&self) -> bool {
        self.frame_filter.is_empty()
    }

    /// Filters what arrived. Returns how much of it the library gets now.
    pub(super) fn pass_on(&mut self, bytes: &[u8], now: impl Fn() -> Instant + Copy) -> usize {
        if self.frame_filter.is_empty() {
            let passed = self.frame_filter.pass_on(bytes);
            self.act(now);
            return passed;
        }
        self.frame_filter.keep(bytes);
        0
    }

    /// Carries out the reactions to what was read.
    fn act(&mut self, now: impl Fn() -> Instant + Copy) {
        let Self { frame_filter, streams, flood, to_client, refusals, .. } = self;
        frame_filter.take_to_reset().for_each(|stream| streams.note_malformed(stream));
        for reaction in frame_filter.take_reactions() {
            match reaction {
                Reaction::Refused(stream) => {
                    streams.close(stream);
                    to_client.push(rst_stream(stream, error_code::REFUSED_STREAM));
                }
                Reaction::Reset(stream, error) => {
                    if streams.was_asked(stream, error) {
                        refusals.push(Http2Refusal::Stream(stream, error));
                    }
                    streams.close(stream);
                    flood.error(now);
                    to_client.push(rst_stream(stream, error.code()));
                }
                Reaction::Window(stream, octets) => {
                    streams.granted(stream, octets, now);
                    to_client.push(window_update(stream, octets));
                }
                Reaction::Empty => flood.empty(now),
            }
        }
    }

    /// Takes the resets of ours that are to be reported.
    pub(super) fn take_refusals(&mut self) -> Vec<Http2Refusal> {
        std::mem::take(&mut self.refusals)
    }

    /// Says whether so many frames of ours wait for the client that nothing more is read from it.
    pub(super) fn is_backlogged(&self) -> bool {
        self.to_client.len() >= MAX_WAITING
    }

    /// Says whether this read of the library must find nothing, and be repeated at once.
    pub(super) fn pauses(&mut self) -> bool {
        self.frame_filter.states().pacing().is_paused()
    }

    /// Notes that a read of the library has found nothing.
    pub(super) fn note_empty_read(&mut self) {
        self.frame_filter.states().pacing().note_empty_read();
    }

    /// Says whether small pieces of bodies are held until others were read.
    pub(super) fn holds(&mut self) -> bool {
        self.frame_filter.states().holds()
    }

    /// Notes that small pieces of a stream's body were read.
    pub(super) fn note_taken(&mut self, stream: u32, pieces: u32) {
        self.frame_filter.states().note_read(stream, pieces);
    }

    /// Queues an interim response. It is sent only if the final response has not begun.
    pub(super) fn queue_interim(&mut self, stream: u32, frame: Vec<u8>) {
        self.to_client.push_interim(stream, frame);
    }

    /// Returns the frames of ours that may be sent now.
    pub(super) fn own_frames(&mut self) -> &[u8] {
        // Inside a frame or a field block of the library, they wait for its end.
        let Self { to_client, sent, streams, .. } = self;
        to_client.sendable(sent.may_be_interrupted(), |stream| streams.awaits_answer(stream))
    }

    /// Notes how much of them was sent.
    pub(super) fn own_frames_sent(&mut self, bytes: usize) {
        self.to_client.note_sent(bytes);
    }

    /// Writes GOAWAY (RFC 9113, section 6.8), or nothing where a frame is only half sent.
    pub(super) fn goaway(&self, due: Due) -> Vec<u8> {
        if self.to_client.has_begun() || !self.sent.may_be_interrupted() {
            return Vec::new();
        }
        goaway(self.flood.highest(), due.goaway_code())
    }

    /// Returns when the frame or block that is incomplete must be complete.
    fn incomplete(&mut self, now: impl Fn() -> Instant) -> Option<Instant> {
        self.deadlines.incomplete(self.received.unfinished(), now)
    }
}
