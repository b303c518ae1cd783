//! The states of a client's streams (RFC 9113, section 5.1), in the order in which the library gets the
//! frames.
//!
//! The library knows less about a stream that is closed, or that it has refused, than the standard requires:
//! it ends the whole connection for frames that were in flight, and with another code. So it never sees such
//! a frame. Small DATA frames of one stream reach it a few at a time ([`held_data`](super::held_data)), and
//! so do resets ([`ResetPacing`]).
//!
//! PRIORITY and frames of unknown types never reach it either (RFC 9113, sections 4.1, 5.3.2 and 5.5): they
//! change nothing, and for some of them it would reset a stream, even one that nobody has opened.

mod small_data;

use super::{
    frame_action::{BlockKind, FrameAction, Reaction},
    held_data::may_be_small,
    open_streams::{OpenStream, OpenStreams},
    past_streams::PastStreams,
    reset_pacing::ResetPacing,
};
use crate::{
    model::{Http2Error, Http2Limits},
    wire::http2::{
        FrameHeader, FrameKind, INITIAL_WINDOW, MAX_WINDOW, error_code, rst_stream, window_update,
    },
};

/// The length of the payload of PRIORITY (RFC 9113, section 6.3).
const PRIORITY_BYTES: u32 = 5;
/// How much of a window is returned at once. It is a quarter of the smallest window
/// (`limits.http2.stream_window`: 16 KiB).
const WINDOW_STEP: u32 = 4096;

/// The streams of one connection.
#[derive(Debug)]
pub(super) struct StreamStates {
    /// The most streams that may be open at once.
    max_streams: usize,
    /// The most octets that a correct client may have in flight on one stream.
    window: u32,
    /// Whether a trusted proxy sends.
    trusted: bool,
    /// Whether small DATA frames are held. Without a connection key nobody reports that they were read.
    merges: bool,
    /// The highest stream that the client has opened.
    highest: u32,
    open: OpenStreams,
    past: PastStreams,
    /// Octets of the connection's window that we have to return.
    owed: u32,
    pacing: ResetPacing,
    /// How many streams have data that is held.
    holding: usize,
    reactions: Vec<Reaction>,
    /// Streams that the client is about to reset while their responses wait for a window, and the increment
    /// that would open it.
    blocked: Vec<(u32, u32)>,
}

impl StreamStates {
    /// Begins without bounds.
    pub(super) fn new(merges: bool) -> Self {
        Self {
            max_streams: usize::MAX,
            window: INITIAL_WINDOW,
            trusted: false,
            merges,
            highest: 0,
            open: OpenStreams::default(),
            past: PastStreams::default(),
            owed: 0,
            pacing: ResetPacing::default(),
            holding: 0,
            reactions: Vec::new(),
            blocked: Vec::new(),
        }
    }

    /// Sets the bounds of the connection. `trusted` says whether a trusted proxy sends on it.
    pub(super) fn within(mut self, limits: &Http2Limits, trusted: bool) -> Self {
        self.max_streams = usize::try_from(limits.streams).unwrap_or(usize::MAX);
        self.window = limits.stream_window.max(INITIAL_WINDOW);
        self.trusted = trusted;
        self
    }

    /// Decides what happens to a frame that belongs to no field block.
    pub(super) fn action(&self, frame: &FrameHeader) -> FrameAction {
        let stream = frame.stream;
        match frame.kind {
            FrameKind::Priority => return self.priority_action(frame),
            FrameKind::Other => return FrameAction::Drop,
            FrameKind::Data | FrameKind::Reset | FrameKind::WindowUpdate => {}
            FrameKind::Headers
            | FrameKind::Continuation
            | FrameKind::Settings
            | FrameKind::PushPromise
            | FrameKind::Ping
            | FrameKind::GoAway => return FrameAction::Forward,
        }
        if stream > self.highest || stream.is_multiple_of(2) {
            // HAProxy is known to number a stream that it then cannot send, and to reset it. One of its users
            // must not end the streams of the others. The library ends the connection for any other frame of
            // an idle stream (section 5.1).
            let is_of_proxy = frame.kind == FrameKind::Reset && stream != 0 && self.trusted;
            return if is_of_proxy { FrameAction::Drop } else { FrameAction::Forward };
        }
        if frame.kind == FrameKind::Data {
            return self.data_action(frame);
        }
        if self.open.contains(stream) { FrameAction::Forward } else { FrameAction::Drop }
    }

    /// Decides what happens to PRIORITY (section 6.3).
    fn priority_action(&self, frame: &FrameHeader) -> FrameAction {
        if frame.stream == 0 {
            return FrameAction::ConnectionError(Http2Error::Protocol);
        }
        if frame.length == PRIORITY_BYTES {
            return FrameAction::Drop;
        }
        // RST_STREAM may not be sent for a stream that is idle.
        if self.open.contains(frame.stream) {
            FrameAction::StreamError(Http2Error::FrameSize)
        } else {
            FrameAction::ConnectionError(Http2Error::FrameSize)
        }
    }

    /// Decides what happens to DATA of a stream that the client has opened.
    fn data_action(&self, frame: &FrameHeader) -> FrameAction {
        match self.open.find(frame.stream) {
            Some(open) if open.ended => FrameAction::StreamError(Http2Error::StreamClosed),
            Some(_) if may_be_small(frame) => FrameAction::Inspect,
            Some(_) => FrameAction::Forward,
            None => match self.past.dropped(frame.stream) {
                Some(dropped) if dropped.saturating_add(frame.length) > self.window => {
                    FrameAction::ConnectionError(Http2Error::FlowControl)
                }
                Some(_) => FrameAction::Drop,
                None => FrameAction::StreamError(Http2Error::StreamClosed),
            },
        }
    }

    /// Decides what happens to a WINDOW_UPDATE of a stream, given its increment. The first bit is reserved.
    pub(super) fn window_update_action(
        &self,
        action: FrameAction,
        stream: u32,
        increment: u32,
    ) -> FrameAction {
        if increment & MAX_WINDOW == 0 && self.open.contains(stream) {
            FrameAction::StreamError(Http2Error::Protocol)
        } else {
            action
        }
    }

    /// Notes that the library gets a frame unchanged. Says whether something must precede it: then the frame
    /// is judged again after that.
    pub(super) fn note_forwarded(&mut self, frame: &FrameHeader, due: &mut Vec<u8>) -> bool {
        let stream = frame.stream;
        if frame.kind == FrameKind::Data {
            let Some(open) = self.open.find_mut(stream) else { return false };
            if !open.held.is_empty() {
                self.release_stream(stream, due);
                return true;
            }
            if frame.ends_stream() {
                self.note_ended_by_client(stream);
            }
        }
        if frame.kind == FrameKind::Reset {
            if self.reset_must_wait(stream) {
                return true;
            }
            if let Some(at) = self.blocked.iter().position(|(id, _)| *id == stream) {
                let (_, increment) = self.blocked.swap_remove(at);
                due.extend_from_slice(&window_update(stream, increment));
                return true;
            }
            self.count_reset(stream);
            self.remove(stream);
        }
        false
    }

    /// Asks whether the reset of an open stream must wait until the library has accepted the requests that it
    /// has.
    pub(super) fn reset_must_wait(&mut self, stream: u32) -> bool {
        self.open.contains(stream) && self.pacing.must_wait(self.max_streams)
    }

    /// Asks the same of a field block that begins now, and for which its stream would be reset.
    pub(super) fn block_must_wait(&mut self, stream: u32) -> bool {
        self.block_kind(stream) == BlockKind::Closed && self.reset_must_wait(stream)
    }

    /// Returns the pace of resets.
    pub(super) fn pacing(&mut self) -> &mut ResetPacing {
        &mut self.pacing
    }

    /// Notes that the client resets a stream whose response waits for a window that `increment` would open.
    ///
    /// Until the connection ends, the library keeps a response that waits so, and counts its stream, whoever
    /// resets it (h2 0.4.20, `State::recv_reset`: it discards only what is about to be sent). After enough of
    /// them it accepts no request any more. With a window the response is about to be sent, and the reset
    /// arrives before it leaves.
    pub(super) fn note_blocked(&mut self, stream: u32, increment: u32) {
        if self.open.contains(stream) && !self.blocked.iter().any(|(id, _)| *id == stream) {
            self.blocked.push((stream, increment));
        }
    }

    /// Notes that a frame is dropped.
    pub(super) fn note_dropped(&mut self, frame: &FrameHeader) {
        if frame.kind == FrameKind::Reset {
            self.blocked.retain(|(id, _)| *id != frame.stream);
        }
        if frame.kind == FrameKind::Data {
            self.past.note_dropped(frame.stream, frame.length);
            self.owe(frame.length);
        }
    }

    /// Resets a stream, for the library too where it has the stream.
    pub(super) fn reset(&mut self, stream: u32, error: Http2Error, due: &mut Vec<u8>) {
        if self.open.contains(stream) {
            due.extend_from_slice(&rst_stream(stream, error_code::CANCEL));
        }
        self.reactions.push(Reaction::Reset(stream, error));
        self.note_ended(stream);
    }

    /// Notes that we reset a stream, for the library too.
    pub(super) fn note_ended(&mut self, stream: u32) {
        self.count_reset(stream);
        self.note_reset(stream);
    }

    fn count_reset(&mut self, stream: u32) {
        if self.open.contains(stream) {
            self.pacing.note_reset();
        }
    }

    /// Says what a field block is that begins now.
    pub(super) fn block_kind(&self, stream: u32) -> BlockKind {
        match self.open.find(stream) {
            _ if stream > self.highest => {
                if self.open.are_full(self.max_streams) {
                    BlockKind::Refused
                } else {
                    BlockKind::Head
                }
            }
            // The library keeps the stream of a malformed request, though the client was told that it is
            // reset.
            _ if self.past.is_reset(stream) => BlockKind::Late,
            Some(open) if open.ended => BlockKind::Closed,
            Some(_) => BlockKind::Trailers,
            None if self.past.is_skipped(stream) => BlockKind::Lower,
            None => BlockKind::Closed,
        }
    }

    /// Notes that a field block begins.
    pub(super) fn note_block_begun(&mut self, stream: u32) {
        if stream > self.highest {
            self.past.note_opened(self.highest, stream);
            self.highest = stream;
        }
    }

    /// Notes that a field block has ended, and whether its stream ended with it. Data that is held precedes
    /// trailers.
    pub(super) fn note_block_ended(
        &mut self,
        block: BlockKind,
        stream: u32,
        ends_stream: bool,
        due: &mut Vec<u8>,
    ) {
        match block {
            BlockKind::Head => {
                self.pacing.note_request();
                self.open.push(OpenStream::new(stream, ends_stream));
            }
            BlockKind::Refused => {
                self.reactions.push(Reaction::Refused(stream));
                self.past.note_reset(stream);
            }
            BlockKind::Trailers => {
                self.release_stream(stream, due);
                if ends_stream {
                    self.note_ended_by_client(stream);
                }
            }
            BlockKind::Closed => self.reset(stream, Http2Error::StreamClosed, due),
            BlockKind::Late | BlockKind::Lower => {}
        }
    }

    /// Notes that a stream is reset, by the library or for it.
    pub(super) fn note_reset(&mut self, stream: u32) {
        self.remove(stream);
        self.past.note_reset(stream);
    }

    /// Notes that the client was told of a reset, and the library was not.
    pub(super) fn note_reset_sent(&mut self, stream: u32) {
        self.open.find_mut(stream).into_iter().for_each(|open| open.reset_sent = true);
        self.past.note_reset(stream);
    }

    /// Notes that our response on a stream is complete.
    pub(super) fn note_answered(&mut self, stream: u32) {
        if let Some(open) = self.open.find_mut(stream) {
            open.answered = true;
            if open.ended {
                self.remove(stream);
            }
        }
    }

    /// Takes what we have to do, each reaction once.
    pub(super) fn take_reactions(&mut self) -> Vec<Reaction> {
        std::mem::take(&mut self.reactions)
    }

    fn note_ended_by_client(&mut self, stream: u32) {
        if let Some(open) = self.open.find_mut(stream) {
            open.ended = true;
            if open.answered {
                self.remove(stream);
            }
        }
    }

    fn remove(&mut self, stream: u32) {
        if let Some(open) = self.open.remove(stream).filter(|open| !open.held.is_empty()) {
            self.holding -= 1;
            // The library never sees this data, so it does not return the window for it.
            self.owe(octets(open.held.len()));
        }
    }

    fn owe(&mut self, octets: u32) {
        self.owed = self.owed.saturating_add(octets);
        if self.owed >= WINDOW_STEP {
            self.reactions.push(Reaction::Window(0, std::mem::take(&mut self.owed)));
        }
    }
}

fn octets(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::{super::frame_filter::FrameFilter, *};
    use crate::edge::fuzz::all_of;

    const HEAD: &[u8] = b"\x82\x87\x84\x41\x01a";
    const KEY: u64 = 0xfeed_0000_0000_0001;

    fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
        [&FrameHeader::encode(payload.len(), kind, flags, stream), payload].concat()
    }

    /// A connection on which these streams are open, and how the library gets them is behind it.
    fn open(streams: impl IntoIterator<Item = u32>, most: u32, trusted: bool) -> FrameFilter {
        let limits = Http2Limits { streams: most, ..Http2Limits::SMALL };
        let mut given = FrameFilter::new(1024, 100, Some(KEY)).within(&limits, trusted);
        let heads: Vec<u8> = streams.into_iter().flat_map(|stream| frame(1, 4, stream, HEAD)).collect();
        all_of(&mut given, &[&[&[0; 24][..], &heads].concat()], 4096);
        assert!(given.take_reactions().is_empty());
        given
    }

    /// What the library gets of these, and what we do; the same in whatever pieces they come.
    fn given(begin: impl Fn() -> FrameFilter, said: &[u8]) -> (Vec<u8>, Vec<Reaction>, Option<Http2Error>) {
        let mut whole = begin();
        let out = all_of(&mut whole, &[said], 4096);
        let did = whole.take_reactions();
        for (size, room) in [(1, 7), (5, 4096), (300, 1)] {
            let mut cut = begin();
            assert_eq!(all_of(&mut cut, &said.chunks(size).collect::<Vec<_>>(), room), out, "{size}");
            assert_eq!(
                (cut.take_reactions(), cut.connection_error()),
                (did.clone(), whole.connection_error()),
                "{size}"
            );
        }
        (out, did, whole.connection_error())
    }

    /// Frames of the library's: kind, flags, stream, and the length of each.
    fn frames(mut out: &[u8]) -> Vec<(u8, u8, u32, usize)> {
        let mut all = Vec::new();
        while let Some((&[_, a, b, kind, flags, .., stream], rest)) = out.split_first_chunk::<9>() {
            let length = usize::from(a) * 256 + usize::from(b);
            all.push((kind, flags, u32::from(stream), length));
            out = &rest[length..];
        }
        all
    }

    const OPEN: fn() -> FrameFilter = || open([1, 3], 100, false);

    #[test]
    fn data_without_an_octet_never_reaches_the_library() {
        let padded = frame(0, 8, 1, &[&[255][..], &[0; 255]].concat());
        let last = frame(0, 1, 1, b"");
        let (out, did, lost) =
            given(OPEN, &[frame(0, 0, 1, b"").repeat(500), padded.repeat(20), last.clone()].concat());
        assert_eq!((out, lost), (last, None));
        // Padding counts for flow control (section 6.1), and for the bound of what is empty.
        assert_eq!(did.iter().filter(|said| **said == Reaction::Empty).count(), 20);
        let windows: Vec<_> = did.into_iter().filter(|said| *said != Reaction::Empty).collect();
        assert_eq!(windows, [Reaction::Window(0, 4096), Reaction::Window(1, 4096)]);
        // With an octet in it, it is none; with padding that does not fit, the library ends the connection.
        for other in [frame(0, 8, 1, b"\0a"), frame(0, 8, 1, b"\x02a"), frame(0, 8, 1, b"")] {
            assert_eq!(given(OPEN, &other), (other.clone(), Vec::new(), None));
        }
    }

    #[test]
    fn small_pieces_wait_until_one_was_taken_up_or_there_are_enough() {
        let octet = frame(0, 0, 1, b"x");
        let (out, did, _) = given(OPEN, &octet.repeat(8 + 256 + 40));
        assert_eq!(frames(&out), [vec![(0, 0, 1, 1); 8], vec![(0, 0, 1, 256)]].concat());
        assert!(did.is_empty());

        let mut begun = OPEN();
        all_of(&mut begun, &[&octet.repeat(8 + 3)], 4096);
        assert!(begun.states().holds());
        begun.states().note_read(3, 1);
        assert_eq!(frames(&all_of(&mut begun, &[b""], 4096)), []);
        begun.states().note_read(1, 1);
        assert_eq!(frames(&all_of(&mut begun, &[b""], 4096)), [(0, 0, 1, 3)]);
        assert!(!begun.states().holds());
        // That was small too. The other stream has its own.
        let both = [octet.clone(), frame(0, 0, 3, b"x")].concat();
        assert_eq!(frames(&all_of(&mut begun, &[&both], 4096)), [(0, 0, 3, 1)]);
        // In the middle of another frame nothing comes in between.
        let large = frame(0, 0, 3, &[7; 300]);
        assert_eq!(all_of(&mut begun, &[&large[..100]], 4096), large[..100]);
        begun.states().note_read(1, 8);
        assert_eq!(all_of(&mut begun, &[b""], 4096), b"");
        assert_eq!(all_of(&mut begun, &[&large[100..]], 4096), [&large[100..], &octet].concat());
    }

    #[test]
    fn what_waits_goes_before_what_comes_behind_it() {
        let held = frame(0, 0, 1, b"x").repeat(8 + 3);
        let first = vec![(0, 0, 1, 1); 8];
        for (behind, expected) in [
            (frame(0, 1, 1, b""), vec![(0, 1, 1, 3)]),
            (frame(0, 1, 1, b"yy"), vec![(0, 1, 1, 5)]),
            (frame(0, 9, 1, b"\x02yy\0\0"), vec![(0, 1, 1, 5)]),
            (frame(0, 0, 1, &[7; 300]), vec![(0, 0, 1, 3), (0, 0, 1, 300)]),
            (frame(0, 1, 1, &[7; 300]), vec![(0, 0, 1, 3), (0, 1, 1, 300)]),
            (frame(1, 5, 1, b"\0\x01a\x01b"), vec![(0, 0, 1, 3), (1, 5, 1, 5)]),
            (frame(1, 5, 1, b"\0\x01A\x01b"), vec![(0, 0, 1, 3), (1, 5, 1, 18)]),
            // Of what was reset nobody wants anything.
            (frame(3, 0, 1, &[0; 4]), vec![(3, 0, 1, 4)]),
        ] {
            let (out, _, lost) = given(OPEN, &[&held[..], &behind].concat());
            assert_eq!((frames(&out), lost), ([first.clone(), expected].concat(), None), "{behind:x?}");
        }
    }

    #[test]
    fn what_comes_where_nothing_may_has_the_code_of_the_standard() {
        let closed = Reaction::Reset(1, Http2Error::StreamClosed);
        let (end, reset, cancel) =
            (frame(0, 1, 1, b""), frame(3, 0, 1, &[0, 0, 0, 8]), frame(3, 0, 1, &[0, 0, 0, 8]));
        let trailers = frame(1, 5, 1, b"\0\x01a\x01b");
        for (said, out, did, lost) in [
            // Half-closed: the stream ends, for the library too. Behind that nothing more is said of it.
            ([&end[..], &end].concat(), [&end[..], &cancel].concat(), vec![closed], None),
            (
                [&end[..], &frame(0, 0, 1, &[7; 300]), &end].concat(),
                [&end[..], &cancel].concat(),
                vec![closed],
                None,
            ),
            ([&end[..], &trailers, &trailers].concat(), [&end[..], &cancel].concat(), vec![closed], None),
            // Closed.
            ([&reset[..], &end, &trailers].concat(), reset.clone(), vec![closed], None),
            ([&reset[..], &trailers, &reset].concat(), reset.clone(), vec![closed], None),
            // A number that the client has left out (section 5.1.1), and one that nobody has opened.
            (frame(1, 5, 5, HEAD), Vec::new(), Vec::new(), Some(Http2Error::Protocol)),
            (frame(2, 0, 1, &[0; 4]), cancel.clone(), vec![Reaction::Reset(1, Http2Error::FrameSize)], None),
            (frame(2, 0, 9, &[0; 6]), Vec::new(), Vec::new(), Some(Http2Error::FrameSize)),
            (
                frame(8, 0, 1, &[0x80, 0, 0, 0]),
                cancel.clone(),
                vec![Reaction::Reset(1, Http2Error::Protocol)],
                None,
            ),
            (frame(8, 0, 1, &[0, 0, 0, 1]), frame(8, 0, 1, &[0, 0, 0, 1]), Vec::new(), None),
            (frame(7, 0, 0, &[0; 7]), Vec::new(), Vec::new(), Some(Http2Error::FrameSize)),
            (frame(7, 0, 0, &[0; 8]), frame(7, 0, 0, &[0; 8]), Vec::new(), None),
        ] {
            assert_eq!(given(|| open([1, 3, 7], 100, false), &said), (out, did, lost), "{said:x?}");
        }
        // Both sides have said all.
        let answered = || {
            let mut given = OPEN();
            all_of(&mut given, &[&end], 4096);
            given.states().note_answered(1);
            given
        };
        for late in [&end, &trailers] {
            assert_eq!(given(answered, late), (Vec::new(), vec![closed], None));
        }
        assert_eq!(
            given(answered, &[&reset[..], &frame(8, 0, 1, &[0, 0, 0, 1])].concat()),
            (Vec::new(), Vec::new(), None)
        );
    }

    #[test]
    fn behind_our_reset_comes_no_more_than_was_under_way() {
        let large = frame(0, 0, 1, &[7; 16_384]);
        let begin = || {
            let mut given = OPEN();
            given.states().note_reset(1);
            given
        };
        let window = |octets| Reaction::Window(0, octets);
        assert_eq!(given(begin, &large.repeat(4)), (Vec::new(), vec![window(16_384); 4], None));
        assert_eq!(
            given(begin, &[&large.repeat(4)[..], &frame(0, 0, 1, b"x")].concat()).2,
            Some(Http2Error::FlowControl)
        );
    }

    #[test]
    fn a_stream_beyond_those_at_once_is_refused_alone() {
        let head = |stream| frame(1, 4, stream, HEAD);
        let trailers = |stream| frame(1, 5, stream, b"\x40\x01a\x01b");
        let said = [
            head(5),
            frame(0, 0, 5, &[7; 5000]),
            trailers(5),
            frame(3, 0, 5, &[0; 4]),
            frame(8, 0, 5, &[0, 0, 0, 1]),
        ]
        .concat();
        let full = || open([1, 3], 2, false);
        assert_eq!(
            given(full, &said),
            (Vec::new(), vec![Reaction::Refused(5), Reaction::Window(0, 5000)], None)
        );
        // What its fields put into the table counts for the next one.
        let mut begun = full();
        all_of(&mut begun, &[&said], 4096);
        assert_eq!(frames(&all_of(&mut begun, &[&frame(1, 5, 3, b"\xbe")], 4096)), [(1, 5, 3, 5)]);
        // There is room again once the answer is whole, or the client has left one.
        begun.states().note_answered(3);
        all_of(&mut begun, &[&head(7), &head(9), &frame(3, 0, 1, &[0; 4]), &head(11)], 4096);
        assert_eq!(
            begun
                .take_reactions()
                .into_iter()
                .filter(|said| matches!(said, Reaction::Refused(_)))
                .collect::<Vec<_>>(),
            [Reaction::Refused(5), Reaction::Refused(9)]
        );
    }

    #[test]
    fn behind_as_many_cancelled_streams_as_may_be_open_the_library_has_time_to_take_them_up() {
        let pairs = pairs_of(0..6);
        let mut given = open([], 2, false);
        let of = |out: &[u8]| {
            frames(out).into_iter().map(|(kind, _, stream, _)| (kind, stream)).collect::<Vec<_>>()
        };
        assert_eq!(of(&all_of(&mut given, &[&pairs], 4096)), [(1, 1), (3, 1), (1, 3), (3, 3), (1, 5)]);
        for _ in 0..3 {
            assert_eq!(all_of(&mut given, &[b""], 4096), b"");
            assert!(given.states().pacing().is_paused());
            given.states().pacing().note_empty_read();
        }
        assert!(!given.states().pacing().is_paused());
        assert_eq!(of(&all_of(&mut given, &[b""], 4096)), [(3, 5), (1, 7), (3, 7), (1, 9), (3, 9), (1, 11)]);
        take_up(&mut given);
        assert_eq!(of(&all_of(&mut given, &[b""], 4096)), [(3, 11)]);
        // Those that it has taken up are none of these.
        take_up(&mut given);
        let heads: Vec<u8> = (6..8).flat_map(|n| frame(1, 4, 2 * n + 1, HEAD)).collect();
        let resets: Vec<u8> = (6..8).flat_map(|n| frame(3, 0, 2 * n + 1, &[0, 0, 0, 8])).collect();
        all_of(&mut given, &[&heads], 4096);
        (0..2).for_each(|_| given.states().pacing().note_empty_read());
        all_of(&mut given, &[&[&resets[..], &pairs_of(8..10), &frame(1, 5, 21, HEAD)].concat()], 4096);
        assert!(given.is_empty() && !given.states().pacing().is_paused());
    }

    #[test]
    fn a_reset_that_has_to_wait_takes_none_with_it_that_came_before() {
        let of = |out: &[u8]| {
            frames(out).into_iter().map(|(kind, _, stream, _)| (kind, stream)).collect::<Vec<_>>()
        };
        let reset = |stream| frame(3, 0, stream, &[0, 0, 0, 8]);
        let mut given = open([1, 3], 2, false);
        all_of(&mut given, &[&[reset(1), frame(1, 4, 5, HEAD)].concat()], 4096);

        assert_eq!(of(&all_of(&mut given, &[&[reset(3), reset(5)].concat()], 4096)), [(3, 3)]);
        take_up(&mut given);
        assert_eq!(of(&all_of(&mut given, &[b""], 4096)), [(3, 5)]);
    }

    #[test]
    fn an_answer_that_waits_for_a_window_gets_one_before_its_stream_is_reset() {
        let begin = || {
            let mut given = open([1, 3, 5], 10, false);
            [(1, 7), (5, 1), (7, 1)]
                .into_iter()
                .for_each(|(stream, octets)| given.states().note_blocked(stream, octets));
            given
        };
        let resets = [1, 3, 5].map(|stream| frame(3, 0, stream, &[0, 0, 0, 8])).concat();

        let (out, did, lost) = given(begin, &resets);

        let streams: Vec<_> = frames(&out).into_iter().map(|(kind, _, stream, _)| (kind, stream)).collect();
        assert_eq!((streams, did, lost), (vec![(8, 1), (3, 1), (3, 3), (8, 5), (3, 5)], vec![], None));
        assert_eq!(&out[9..13], &[0, 0, 0, 7]);
    }

    fn pairs_of(numbers: std::ops::Range<u32>) -> Vec<u8> {
        numbers
            .flat_map(|n| [frame(1, 5, 2 * n + 1, HEAD), frame(3, 0, 2 * n + 1, &[0, 0, 0, 8])].concat())
            .collect()
    }

    /// The library takes up all that it has.
    fn take_up(given: &mut FrameFilter) -> usize {
        let mut reads = 0;
        while given.states().pacing().queued() > 0 {
            given.states().pacing().note_empty_read();
            reads += 1;
        }
        assert!(!given.states().pacing().is_paused());
        reads
    }

    /// What opens a stream, and what it is reset for.
    type Case = (&'static str, u8, fn(u32) -> Vec<u8>);

    #[test]
    fn what_we_reset_ourselves_counts_as_what_the_client_cancels() {
        let resets = |out: &[u8]| {
            frames(out).into_iter().filter(|frame| frame.0 == 3).map(|frame| frame.2).collect::<Vec<_>>()
        };
        let cases: [Case; 5] = [
            ("DATA", 5, |stream| frame(0, 1, stream, b"x")),
            ("HEADERS", 5, |stream| frame(1, 5, stream, HEAD)),
            ("HEADERS in two frames", 5, |stream| {
                [frame(1, 1, stream, &HEAD[..3]), frame(9, 4, stream, &HEAD[3..])].concat()
            }),
            ("WINDOW_UPDATE", 4, |stream| frame(8, 0, stream, &[0; 4])),
            ("PRIORITY", 4, |stream| frame(2, 0, stream, &[0; 4])),
        ];
        for (name, flags, reset) in cases {
            let both = |n: u32| [frame(1, flags, 2 * n + 1, HEAD), reset(2 * n + 1)].concat();
            let all: Vec<u8> = [(0..3).flat_map(both).collect(), pairs_of(3..4)].concat();
            for pieces in [vec![&all[..]], all.chunks(1).collect()] {
                let mut given = open([], 2, true);
                assert_eq!(resets(&all_of(&mut given, &pieces, 4096)), [1, 3], "{name}");
                assert!(given.states().pacing().is_paused() && given.take_reactions().len() == 2, "{name}");
                assert_eq!(take_up(&mut given), 3, "{name}");
                assert_eq!(resets(&all_of(&mut given, &[b""], 4096)), [5, 7], "{name}");
                assert_eq!(
                    (given.take_reactions().len(), given.is_empty(), given.connection_error()),
                    (1, true, None),
                    "{name}"
                );
            }
        }
    }

    #[test]
    fn the_library_has_time_for_all_that_it_has_and_not_for_the_cancelled_ones_alone() {
        // Two that stay, and one that the library has reset: they wait before the cancelled ones.
        let mut given = open([1, 3], 3, true);
        all_of(&mut given, &[&frame(1, 4, 5, HEAD)], 4096);
        given.states().note_reset(5);
        all_of(&mut given, &[&pairs_of(3..7)], 4096);
        assert!(given.states().pacing().is_paused());
        assert_eq!(take_up(&mut given), 3 + 4);
        all_of(&mut given, &[b""], 4096);
        assert!(given.is_empty());
    }

    #[test]
    fn what_changes_nothing_never_reaches_the_library() {
        // On a stream that is open, half-closed, gone, idle, of the client's or not, whatever it says there.
        let begin = || {
            let mut given = open([1, 3, 5], 100, false);
            all_of(&mut given, &[&[frame(0, 1, 3, b""), frame(3, 0, 5, &[0; 4])].concat()], 4096);
            given
        };
        let rank = |stream: u32, on: u32| frame(2, 0, stream, &[&on.to_be_bytes()[..], &[7]].concat());
        let ranks: Vec<u8> = [1, 3, 5, 7, 8, 0x7fff_ffff]
            .into_iter()
            .flat_map(|stream| [rank(stream, stream), rank(stream, 1)].concat())
            .collect();
        // ALTSVC, ORIGIN, PRIORITY_UPDATE, and what nobody knows.
        let others: Vec<u8> = [10, 12, 16, 99, 255]
            .into_iter()
            .flat_map(|kind| [frame(kind, 255, 0, b"\0\0\0\x07u=1"), frame(kind, 0, 7, b"")].concat())
            .collect();
        assert_eq!(given(begin, &[&ranks[..], &others].concat()), (Vec::new(), Vec::new(), None));
        // And behind them a stream begins as if nothing had been said.
        let next = frame(1, 5, 7, HEAD);
        let (out, did, lost) = given(begin, &[&ranks[..], &next, &others, &frame(0, 0, 1, b"x")].concat());
        assert_eq!((did, lost), (Vec::new(), None));
        assert_eq!(
            frames(&out).into_iter().map(|frame| (frame.0, frame.2)).collect::<Vec<_>>(),
            [(1, 7), (0, 1)]
        );
    }

    #[test]
    fn only_a_trusted_proxy_may_reset_what_it_never_opened() {
        let reset = frame(3, 0, 5, &[0, 0, 0, 2]);
        assert_eq!(given(|| open([1], 100, true), &reset), (Vec::new(), Vec::new(), None));
        assert_eq!(given(|| open([1], 100, false), &reset), (reset.clone(), Vec::new(), None));
        // Everything else there ends the connection.
        for other in [frame(0, 0, 5, b"x"), frame(8, 0, 5, &[0, 0, 0, 1]), frame(3, 0, 0, &[0; 4])] {
            assert_eq!(given(|| open([1], 100, true), &other), (other.clone(), Vec::new(), None));
        }
    }
}
