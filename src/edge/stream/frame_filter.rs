//! Filters the frames of an HTTP/2 client before the library reads them.
//!
//! The library reports no stream numbers, drops every interim response, and ends a whole connection for one
//! bad field. So each field block is decoded ([`hpack`](crate::wire::http2::hpack)) and judged before the
//! library gets any of it. It then carries a field of ours at its end: the number of its stream, and what is
//! wrong with it. With the number the gateway can have an interim response sent on the right stream
//! ([`Connection::queue_interim`]), and the stream knows which requests have begun. The field contains the
//! key of the connection, which never leaves the process, and a field of that name that a client sends is
//! dropped, so a client cannot forge it. It must not be indexed (RFC 7541, section 6.2.3).
//!
//! A well-formed block ([`verbatim`](super::verbatim)) that is complete in one frame is forwarded unchanged,
//! which is cheap, and the dynamic table of the library follows the client's, as ours does. The first block
//! of a connection that is not forwarded so is rewritten ([`head`](super::head)) in literals that no table
//! keeps, and so is every later one: the library's table has missed that block, and is not needed any more.
//! So one bad field makes the requests of its own connection more expensive, and changes nothing else.
//!
//! The connection ends for a block that cannot be decoded (RFC 9113, section 4.3), for one that another frame
//! interrupts (section 6.10), and for one on a stream that a client cannot open (section 5.1.1). After that
//! the meaning of its frames is unknown, so the library gets nothing more of them: it could read a head that
//! nobody has judged. We end the connection.
//!
//! What a frame means in the state of its stream ([`stream_states`](super::stream_states)) is decided here
//! too. Frames that were in flight when we ended a stream (section 5.1), and heads beyond the number of
//! streams that we accept, are decoded for the table, and dropped; so is DATA without an octet. The library
//! would end the connection for each. Priorities, in a frame of their own or in HEADERS, and frames of
//! unknown types do not reach it either.
//!
//! [`Connection::queue_interim`]: crate::model::Connection::queue_interim

use std::mem;

use bytes::{Buf, BytesMut};
use tokio::io::ReadBuf;

use super::{
    frame_action::{BlockKind, FrameAction, Reaction},
    frame_check::check_frame,
    head::HeadWriter,
    header_block::BlockStart,
    stream_states::StreamStates,
    verbatim::{Verbatim, append_verbatim},
};
use crate::{
    model::{FIELD_TABLE_BYTES, Http2Error, Http2Limits, Malformed},
    wire::http2::{
        END_HEADERS, FRAME_BYTES, FRAME_HEADER_BYTES, FrameHeader, FrameKind, PREFACE, PayloadError,
        field_block_fragment, hpack::Decoder,
    },
};

/// How much buffer capacity is kept from one head to the next.
const KEPT: usize = 2048;

/// What has arrived and was not forwarded yet, and where the library stands.
#[derive(Debug)]
pub(in crate::edge) struct FrameFilter {
    /// The key of the connection, which our field carries. Without one, no field is added.
    key: Option<u64>,
    /// Octets of the preface still expected.
    preface: usize,
    /// Octets still expected of the payload of a frame that is forwarded.
    rest: usize,
    /// The stream of that frame, if it is DATA.
    data: Option<u32>,
    /// Octets still expected of the payload of a frame that is dropped.
    skip: usize,
    decoder: Decoder,
    head: HeadWriter,
    verbatim: Verbatim,
    /// Whether blocks are rewritten, because the library's table is no longer the client's.
    rewrites: bool,
    /// Whether a block has begun and not ended.
    in_block: bool,
    /// Why the client's frames cannot be followed any more: then the library gets nothing more of them.
    connection_error: Option<Http2Error>,
    states: StreamStates,
    /// What the block is that has begun.
    block: BlockKind,
    /// Frames of ours for the library, which precede everything else.
    due: Vec<u8>,
    /// How many octets of them were forwarded.
    due_at: usize,
    /// The streams of malformed requests, which are reset after their response.
    to_reset: Vec<u32>,
    waiting: BytesMut,
    /// How many octets of `waiting` may be forwarded.
    cleared: usize,
}

impl FrameFilter {
    /// Begins with the bounds of a head, and the key of the connection.
    pub(in crate::edge) fn new(header_bytes: usize, header_count: usize, key: Option<u64>) -> Self {
        Self {
            key,
            preface: PREFACE.len(),
            rest: 0,
            data: None,
            skip: 0,
            decoder: Decoder::new(FIELD_TABLE_BYTES, header_bytes),
            head: HeadWriter::new(header_bytes, header_count),
            verbatim: Verbatim::default(),
            rewrites: false,
            in_block: false,
            connection_error: None,
            states: StreamStates::new(key.is_some()),
            block: BlockKind::Head,
            due: Vec::new(),
            due_at: 0,
            to_reset: Vec::new(),
            waiting: BytesMut::new(),
            cleared: 0,
        }
    }

    /// Sets the bounds of the connection. `trusted` says whether a trusted proxy sends on it.
    pub(in crate::edge) fn within(mut self, limits: &Http2Limits, trusted: bool) -> Self {
        self.states = self.states.within(limits, trusted);
        self
    }

    /// Says whether the library is between two frames and outside a field block, so that a frame of ours may
    /// be inserted.
    pub(super) fn is_between(&self) -> bool {
        self.cleared == 0 && self.preface == 0 && self.rest == 0 && !self.in_block && self.due.is_empty()
    }

    /// Returns the stream of the DATA frame that the library has read in part.
    pub(super) fn in_data(&self) -> Option<u32> {
        self.data.filter(|_| self.rest > 0)
    }

    /// Says whether nothing waits.
    pub(in crate::edge) fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.due.is_empty()
    }

    /// Returns the streams of malformed requests, which are reset after their response, each once.
    pub(super) fn take_to_reset(&mut self) -> impl Iterator<Item = u32> {
        mem::take(&mut self.to_reset).into_iter()
    }

    /// Returns why the connection must end, once the library has everything that precedes the error.
    pub(super) fn connection_error(&self) -> Option<Http2Error> {
        self.connection_error.filter(|_| self.is_empty())
    }

    /// Returns the states of the streams.
    pub(super) fn states(&mut self) -> &mut StreamStates {
        &mut self.states
    }

    /// Takes what we have to do because of the client's frames, each reaction once.
    pub(super) fn take_reactions(&mut self) -> Vec<Reaction> {
        self.states.take_reactions()
    }

    /// Stores octets of the client.
    pub(in crate::edge) fn keep(&mut self, bytes: &[u8]) {
        if self.connection_error.is_none() {
            self.waiting.extend_from_slice(bytes);
        }
    }

    /// Filters octets of the client where nothing waits before them. Returns how many of them the library
    /// gets now; the others wait.
    pub(in crate::edge) fn pass_on(&mut self, bytes: &[u8]) -> usize {
        let (read, passed) = self.pass(bytes);
        self.keep(bytes.get(read + passed..).unwrap_or_default());
        passed
    }

    /// Forwards as much of what waits as is allowed now. Says whether that was anything.
    pub(in crate::edge) fn give(&mut self, buf: &mut ReadBuf<'_>) -> bool {
        if self.states.holds() && self.rest == 0 && self.preface == 0 && self.connection_error.is_none() {
            self.states.release(&mut self.due);
        }
        while self.cleared == 0 && self.due.is_empty() && !self.waiting.is_empty() {
            let mut waiting = mem::take(&mut self.waiting);
            let (read, passed) = self.pass(&waiting);
            waiting.advance(read);
            if self.connection_error.is_some() {
                waiting.truncate(passed);
            }
            (self.waiting, self.cleared) = (waiting, passed);
            // More may follow what was dropped.
            if read == 0 {
                break;
            }
        }
        let before = buf.remaining();
        if self.cleared > 0 {
            let some = self.cleared.min(buf.remaining());
            buf.put_slice(self.waiting.get(..some).unwrap_or_default());
            self.waiting.advance(some);
            self.cleared -= some;
        } else {
            let due = self.due.get(self.due_at..).unwrap_or_default();
            let some = due.get(..buf.remaining()).unwrap_or(due);
            buf.put_slice(some);
            self.due_at += some.len();
            if self.due_at == self.due.len() {
                self.due.clear();
                self.due.shrink_to(KEPT);
                self.due_at = 0;
            }
        }
        if self.waiting.is_empty() {
            self.waiting = BytesMut::new();
        }
        buf.remaining() < before
    }

    /// Reads on, up to the end of what is consumed here, to such a frame after others, or to a frame of which
    /// the header or the fields are incomplete. Returns how many octets were consumed here, and how many the
    /// library may get unchanged: one of both is 0.
    fn pass(&mut self, bytes: &[u8]) -> (usize, usize) {
        let (mut read, mut at) = (0, 0);
        while self.connection_error.is_none() {
            if self.skip > 0 {
                // Nothing that is forwarded precedes it.
                let some = self.skip.min(bytes.len() - at);
                self.skip -= some;
                at += some;
                read = at;
            }
            let expected = if self.preface > 0 { &mut self.preface } else { &mut self.rest };
            let some = (*expected).min(bytes.len() - at);
            *expected -= some;
            at += some;
            if self.preface > 0 || self.rest > 0 || self.skip > 0 {
                return (read, at - read);
            }
            let Some((header, behind)) =
                bytes.get(at..).and_then(|rest| rest.split_first_chunk::<FRAME_HEADER_BYTES>())
            else {
                return (read, at - read);
            };
            let frame = FrameHeader::parse(header);
            let length = frame.payload_bytes();
            if let Err(error) = check_frame(&frame, self.in_block.then(|| self.head.stream())) {
                self.fail(error);
                break;
            }
            let mut action = if matches!(frame.kind, FrameKind::Headers | FrameKind::Continuation) {
                FrameAction::Inspect
            } else {
                self.states.action(&frame)
            };
            if frame.kind == FrameKind::WindowUpdate && frame.stream != 0 {
                // Section 6.9: an increment of 0 is an error of that stream alone.
                let Some(&increment) = behind.first_chunk() else { return (read, at - read) };
                let increment = u32::from_be_bytes(increment);
                action = self.states.window_update_action(action, frame.stream, increment);
            }
            // What is forwarded unchanged goes first.
            if action != FrameAction::Forward && at > read {
                return (read, at - read);
            }
            if action == FrameAction::Inspect {
                let Some(payload) = behind.get(..length) else { return (read, 0) };
                if frame.kind == FrameKind::Data && read > 0 {
                    return (read, 0);
                }
                if frame.kind != FrameKind::Data {
                    if frame.kind == FrameKind::Headers && self.states.block_must_wait(frame.stream) {
                        return (read, 0);
                    }
                    if let Err(error) = self.read_block(&frame, payload) {
                        self.fail(error);
                    }
                } else if self.states.take_small_data(&frame, payload, &mut self.due) {
                    action = FrameAction::Forward;
                }
            }
            match action {
                FrameAction::Forward => {
                    // What was consumed precedes it, whether it is dropped or due.
                    if read > 0 {
                        return (read, 0);
                    }
                    // What is forwarded before it is judged and not judged again: it goes first, then what is
                    // due, then this frame.
                    if self.states.note_forwarded(&frame, &mut self.due) {
                        return (0, at);
                    }
                    (self.rest, self.data) =
                        (length, (frame.kind == FrameKind::Data).then_some(frame.stream));
                    at += FRAME_HEADER_BYTES;
                    continue;
                }
                FrameAction::Inspect => at += FRAME_HEADER_BYTES + length,
                FrameAction::StreamError(_) if self.states.reset_must_wait(frame.stream) => return (read, 0),
                FrameAction::Drop | FrameAction::StreamError(_) => {
                    self.states.note_dropped(&frame);
                    if let FrameAction::StreamError(error) = action {
                        self.states.reset(frame.stream, error, &mut self.due);
                    }
                    self.skip = length;
                    at += FRAME_HEADER_BYTES;
                }
                FrameAction::ConnectionError(error) => {
                    self.fail(error);
                    break;
                }
            }
            read = at;
            if self.due.len() >= FRAME_BYTES {
                return (read, 0);
            }
        }
        (read, at - read)
    }

    /// Reads one frame of a field block.
    fn read_block(&mut self, frame: &FrameHeader, payload: &[u8]) -> Result<(), Http2Error> {
        let stream = frame.stream;
        let last = frame.flags & END_HEADERS != 0;
        let mut fields = payload;
        if frame.kind == FrameKind::Headers {
            fields = field_block_fragment(frame.flags, payload).map_err(|error| match error {
                PayloadError::TooShort => Http2Error::FrameSize,
                PayloadError::Padding => Http2Error::Protocol,
            })?;
            self.block = self.states.block_kind(stream);
            if self.block == BlockKind::Lower {
                return Err(Http2Error::Protocol);
            }
            self.states.note_block_begun(stream);
            let start = BlockStart {
                stream,
                ends_stream: frame.ends_stream(),
                trailers: self.block != BlockKind::Head,
            };
            if last && self.forward_verbatim(&start, fields) {
                return Ok(());
            }
            self.head.begin(start);
        }
        (self.in_block, self.rewrites) = (!last, true);
        let Self { decoder, head, .. } = self;
        decoder.read(fields, last, |found| head.take(found)).map_err(|_| Http2Error::Compression)?;
        if !last {
            return Ok(());
        }
        let block = self.block;
        self.states.note_block_ended(block, stream, self.head.ends_stream(), &mut self.due);
        if !matches!(block, BlockKind::Head | BlockKind::Trailers) {
            self.head.drop_block();
        } else if self.head.end(self.key, &mut self.due).is_some_and(Malformed::resets) {
            self.to_reset.push(stream);
        }
        Ok(())
    }

    /// Forwards a whole block unchanged, where it is well-formed and the library has seen all blocks before
    /// it. Otherwise nothing has been read.
    fn forward_verbatim(&mut self, start: &BlockStart, fields: &[u8]) -> bool {
        // The library misses what is dropped.
        let is_given = matches!(self.block, BlockKind::Head | BlockKind::Trailers);
        let Self { decoder, verbatim, .. } = self;
        if self.rewrites || !is_given {
            return false;
        }
        self.head.begin_verbatim(start, verbatim);
        let is_fine =
            decoder.scan(fields, |kind, name, value| verbatim.take(kind, name, value)) && verbatim.end();
        // The data that is held precedes its trailers, however these are sent.
        self.states.release_stream(start.stream, &mut self.due);
        let is_forwarded = is_fine && append_verbatim(start, fields, self.key, &mut self.due);
        self.decoder.settle(is_forwarded);
        if is_forwarded {
            self.states.note_block_ended(self.block, start.stream, start.ends_stream, &mut self.due);
        }
        is_forwarded
    }

    /// From here on the library gets nothing more of the client.
    fn fail(&mut self, error: Http2Error) {
        (self.connection_error, self.in_block) = (Some(error), false);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        edge::fuzz::all_of,
        model::{STREAM_FIELD, StreamMark},
        wire::http2::{hpack::Decoded, literal},
    };

    const KEY: u64 = 0xfeed_0000_0000_0001;
    const GET: &[u8] = b"\x82\x87\x84\x41\x01a";
    const READ: &[u8] = b"\0\x07:method\x03GET\0\x07:scheme\x05https\0\x05:path\x01/\0\x0a:authority\x01a";

    fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
        [&FrameHeader::encode(payload.len(), kind, flags, stream), payload].concat()
    }

    /// The field with the number.
    fn mark(stream: u32, malformed: Option<Malformed>) -> Vec<u8> {
        let text = StreamMark { stream, malformed }.text(KEY);
        let text = text.as_bytes();
        [b"\x10\x0doctroi-stream", &[u8::try_from(text.len()).unwrap()][..], text].concat()
    }

    /// A block as the library gets it, with the number behind its fields.
    fn marked(flags: u8, stream: u32, fields: &[&[u8]]) -> Vec<u8> {
        frame(1, flags, stream, &[&fields.concat()[..], &mark(stream, None)].concat())
    }

    fn refused(flags: u8, stream: u32, fields: &[&[u8]], malformed: Malformed) -> Vec<u8> {
        frame(1, flags, stream, &[&fields.concat()[..], &mark(stream, Some(malformed))].concat())
    }

    /// One that writes anew, as behind a first block that is not handed through.
    fn anew(bytes: usize, key: Option<u64>) -> FrameFilter {
        FrameFilter { rewrites: true, ..FrameFilter::new(bytes, 100, key) }
    }

    /// What the library gets of these pieces, in reads of so many octets, where blocks are written anew.
    fn given(pieces: &[&[u8]], room: usize) -> Vec<u8> {
        all_of(&mut anew(1024, Some(KEY)), pieces, room)
    }

    /// The same of one block that opens stream 1; as the first one of its connection it is handed through, or
    /// as good as behind another one.
    fn given_block(block: &[u8]) -> Vec<u8> {
        let said = [vec![0; PREFACE.len()], frame(1, 5, 1, block)].concat();
        let written = given(&[&said], 4096).split_off(PREFACE.len());
        let mut first = FrameFilter::new(1024, 100, Some(KEY));
        let out = all_of(&mut first, &[&said], 4096).split_off(PREFACE.len());
        if first.rewrites {
            assert_eq!(out, written, "{block:x?}");
        } else {
            assert_eq!(out, marked(5, 1, &[block]));
            assert!(written.ends_with(&mark(1, None)), "{block:x?}");
        }
        written
    }

    /// What is left of a connection's blocks behind its first one: whether that was handed through.
    fn is_handed(first: &[u8]) -> bool {
        let mut given = FrameFilter::new(1024, 100, Some(KEY));
        all_of(&mut given, &[&[vec![0; PREFACE.len()], first.to_vec()].concat()], 4096);
        let handed = !given.rewrites;
        let out = all_of(&mut given, &[&frame(1, 5, 9, GET)], 4096);
        assert!(
            given.connection_error().is_some() || out == marked(5, 9, &[if handed { GET } else { READ }]),
            "{first:x?} {out:x?}"
        );
        handed
    }

    #[test]
    fn a_block_that_is_fine_is_handed_through_however_it_is_cut() {
        let preface = [b'p'; PREFACE.len()];
        let text = &b"\x40\x01a\x01b"[..];
        let said = [
            preface.to_vec(),
            frame(4, 0, 0, &[0; 6]),
            // Blocks that follow each other, by the table, padded, with a priority, and with a size of the
            // table before the fields.
            frame(1, 5, 1, &[GET, text].concat()),
            frame(1, 12, 3, &[&b"\x03"[..], GET, b"\xbf", b"\0\0\0"].concat()),
            frame(1, 0x25, 5, &[&b"\0\0\0\x01\x07"[..], GET, b"\xc0"].concat()),
            frame(1, 0x2d, 7, &[&b"\x01\0\0\0\x01\x07"[..], b"\x20\x3f\xe1\x1f", GET, b"\0"].concat()),
            frame(0, 0, 3, &[7; 300]),
            // Trailers.
            frame(1, 5, 3, text),
            frame(6, 0, 0, &[0; 8]),
        ]
        .concat();
        let expected = [
            preface.to_vec(),
            frame(4, 0, 0, &[0; 6]),
            marked(5, 1, &[GET, text]),
            marked(4, 3, &[GET, b"\xbf"]),
            marked(5, 5, &[GET, b"\xc0"]),
            marked(5, 7, &[b"\x20\x3f\xe1\x1f", GET]),
            frame(0, 0, 3, &[7; 300]),
            frame(1, 5, 3, text),
            frame(6, 0, 0, &[0; 8]),
        ]
        .concat();
        let all = |pieces: &[&[u8]], room| all_of(&mut FrameFilter::new(1024, 100, Some(KEY)), pieces, room);
        for room in [1, 9, 64, 4096] {
            assert_eq!(all(&[&said], room), expected, "{room}");
        }
        for cut in 0..said.len() {
            assert_eq!(all(&[&said[..cut], &said[cut..]], 4096), expected, "{cut}");
        }
    }

    #[test]
    fn the_first_block_that_is_not_as_it_should_be_ends_it_for_its_connection() {
        let with = |more: &[u8]| frame(1, 5, 1, &[GET, more].concat());
        for (fields, handed) in [
            (&b""[..], true),
            (b"\x40\x01x\x01a", true),
            (b"\0\x01X\x01a", false),
            (b"\0\x02te\x08trailers", true),
            (b"\0\x02te\x08Trailers", false),
            (b"\0\x04host\x01a", true),
            (b"\0\x04host\x01A", false),
            (b"\0\x04host\x01b", false),
            (b"\0\x04host\x01a\0\x04host\x01a", false),
            (b"\0\x0econtent-length\x010", true),
            (b"\0\x0econtent-length\x011", false),
            (b"\0\x0econtent-length\x010\0\x0econtent-length\x010", false),
            (b"\0\x0dhttp2-settings\x01a", false),
            (b"\0\x0ehttp2-settings\x01a", true),
            (b"\0\x0aconnection\x01a", false),
            (b"\0\x0doctroi-stream\x01a", false),
            (b"\0\x0coctroi-strea\x01a", true),
            (b"\0\x01x\x01a\x84", false),
            (b"\x84", false),
            // A size behind the fields: nobody can read it.
            (b"\x20", false),
        ] {
            assert_eq!(is_handed(&with(fields)), handed, "{fields:x?}");
        }
        let block = |fields: &[u8]| frame(1, 5, 1, fields);
        for (frames, handed) in [
            (block(b"\x02\x07CONNECT\x41\x01a"), true),
            (block(b"\x02\x07CONNECT\x41\x01a\x84"), false),
            (block(b"\x82\x87\x84\0\x04host\x01a"), true),
            (block(b"\x82\x87\x84"), false),
            (block(b"\x82\x84\x41\x01a"), false),
            (block(b"\x82\x87\x04\x04/a#b\x41\x01a"), true),
            // Nobody sees what stands there, but it has to be text.
            (block(b"\x82\x87\x04\x04/a#\xff\x41\x01a"), false),
            // Nobody reads what a stream depends on, be it itself.
            (frame(1, 0x25, 1, &[&b"\0\0\0\x03\x07"[..], GET].concat()), true),
            (frame(1, 0x25, 1, &[&b"\0\0\0\x01\x07"[..], GET].concat()), true),
            (frame(1, 0x25, 1, &[&b"\x80\0\0\x01\x07"[..], GET].concat()), true),
            // Two frames.
            ([frame(1, 1, 1, GET), frame(9, 4, 1, b"")].concat(), false),
            // Trailers.
            ([frame(1, 4, 1, GET), frame(1, 5, 1, b"\0\x04host\x01b")].concat(), true),
            ([frame(1, 4, 1, GET), frame(1, 5, 1, b"\x84")].concat(), false),
        ] {
            assert_eq!(is_handed(&frames), handed, "{frames:x?}");
        }
    }

    #[test]
    fn a_block_is_handed_through_up_to_a_full_frame_and_within_its_room() {
        let long = |octets: usize| {
            let mut value = Vec::new();
            literal(&mut value, &vec![b'v'; octets]);
            [GET, b"\0\x01x", &value].concat()
        };
        // Its length takes three octets.
        let most = FRAME_BYTES - mark(1, None).len() - GET.len() - 6;
        for (octets, handed) in [(most, true), (most + 1, false)] {
            let mut given = FrameFilter::new(32 * 1024, 100, Some(KEY));
            let out = all_of(
                &mut given,
                &[&[vec![0; PREFACE.len()], frame(1, 5, 1, &long(octets))].concat()],
                4096,
            );
            assert_eq!(!given.rewrites, handed);
            assert_eq!(
                out.len() - PREFACE.len(),
                if handed {
                    FRAME_HEADER_BYTES + FRAME_BYTES
                } else {
                    2 * FRAME_HEADER_BYTES + FRAME_BYTES + 1 + READ.len() - GET.len()
                }
            );
        }
        let room = 2048 + 104 * 32 - 320 - (4 * 32 + 39);
        assert!(is_handed(&frame(1, 5, 1, &long(room - 33))));
        assert!(!is_handed(&frame(1, 5, 1, &long(room - 32))));
        // An octet for a field of 1 KiB.
        let mut block = GET.to_vec();
        block.extend_from_slice(b"\x40\x01x\x7f\x81\x07");
        block.extend_from_slice(&[b'v'; 1024]);
        assert!(is_handed(&frame(1, 5, 1, &[&block[..], &[0xbe; 3]].concat())));
        assert!(!is_handed(&frame(1, 5, 1, &[&block[..], &[0xbe; 4]].concat())));
    }

    #[test]
    fn each_head_is_read_and_ends_with_its_number_however_it_is_cut() {
        let preface = [b'p'; PREFACE.len()];
        let text = &b"\x40\x01a\x01b"[..];
        let said = [
            preface.to_vec(),
            frame(4, 0, 0, &[0; 6]),
            frame(1, 5, 1, &[GET, text].concat()),
            // By the table now, over three frames that end within fields, and padded.
            frame(1, 8, 3, &[&b"\x03"[..], GET, b"\x40\x03x-", b"\0\0\0"].concat()),
            frame(9, 0, 3, b""),
            frame(9, 4, 3, b"a\x02bc\xc0"),
            frame(0, 0, 3, &[7; 300]),
            // Trailers.
            frame(1, 5, 3, b"\xc0"),
            frame(1, 0x25, 7, &[&b"\0\0\0\x01\x07"[..], GET].concat()),
            frame(6, 0, 0, &[0; 8]),
        ]
        .concat();
        let written = &b"\0\x01a\x01b"[..];
        let expected = [
            preface.to_vec(),
            frame(4, 0, 0, &[0; 6]),
            marked(5, 1, &[READ, written]),
            marked(4, 3, &[READ, b"\0\x03x-a\x02bc", written]),
            frame(0, 0, 3, &[7; 300]),
            frame(1, 5, 3, written),
            marked(5, 7, &[READ]),
            frame(6, 0, 0, &[0; 8]),
        ]
        .concat();
        for room in [1, 9, 64, 4096] {
            assert_eq!(given(&[&said], room), expected, "{room}");
        }
        for cut in 0..said.len() {
            assert_eq!(given(&[&said[..cut], &said[cut..]], 4096), expected, "{cut}");
        }
        let octets: Vec<&[u8]> = said.chunks(1).collect();
        assert_eq!(given(&octets, 4096), expected);
    }

    #[test]
    fn one_bad_field_is_left_out_and_named_and_never_comes_back_by_the_table() {
        let first = [GET, b"\x40\x03x-a\x03a\x01b\x40\x01c\x01d"].concat();
        let second = [GET, b"\xbf"].concat();
        let said = [vec![0; PREFACE.len()], frame(1, 5, 1, &first), frame(1, 5, 3, &second)].concat();
        // Behind this one's authority stand `c`, `x-a` and the first one's.
        let expected = [
            vec![0; PREFACE.len()],
            refused(5, 1, &[READ, b"\0\x01c\x01d"], Malformed::FieldOctet),
            marked(5, 3, &[READ, b"\0\x01c\x01d"]),
        ]
        .concat();
        assert_eq!(given(&[&said], 4096), expected);

        let again = [GET, b"\xc0"].concat();
        let said = [vec![0; PREFACE.len()], frame(1, 5, 1, &first), frame(1, 5, 3, &again)].concat();
        let expected = [
            vec![0; PREFACE.len()],
            refused(5, 1, &[READ, b"\0\x01c\x01d"], Malformed::FieldOctet),
            refused(5, 3, &[READ], Malformed::FieldOctet),
        ]
        .concat();
        assert_eq!(given(&[&said], 4096), expected);
    }

    #[test]
    fn what_is_malformed_is_told_apart_and_the_library_gets_a_whole_request() {
        let plain = |fields: &[(&str, &str)]| {
            let mut block = Vec::new();
            for (name, value) in fields {
                block.push(0);
                literal(&mut block, name.as_bytes());
                literal(&mut block, value.as_bytes());
            }
            block
        };
        let request = |path: &str, authority: &str| {
            [(":method", "GET"), (":scheme", "https"), (":path", path), (":authority", authority)]
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
        };
        let with = |more: &[(&str, &str)]| {
            let owned = request("/", "a");
            let all: Vec<_> =
                owned.iter().map(|(name, value)| (&**name, &**value)).chain(more.iter().copied()).collect();
            plain(&all)
        };
        for (field, why) in [
            (("X", "a"), Malformed::FieldName),
            (("", "a"), Malformed::FieldName),
            (("a b", "a"), Malformed::FieldName),
            (("x", "a\u{1}b"), Malformed::FieldOctet),
            (("x", "a\r\nb"), Malformed::FieldLine),
            (("x", " a"), Malformed::FieldBlank),
            (("connection", "close"), Malformed::ConnectionField),
            (("upgrade", "h2c"), Malformed::ConnectionField),
            (("transfer-encoding", "chunked"), Malformed::TransferEncoding),
            (("te", "gzip"), Malformed::Te),
            (("content-length", "+5"), Malformed::Length),
            // The stream ends with the head.
            (("content-length", "5"), Malformed::Length),
            (("host", "b"), Malformed::AuthorityConflict),
            (("host", "u@a"), Malformed::AuthoritySyntax),
            ((":path", "/"), Malformed::PseudoTwice),
            ((":status", "200"), Malformed::PseudoUnknown),
            ((":protocol", "websocket"), Malformed::PseudoUnknown),
            ((":x", "a"), Malformed::PseudoUnknown),
        ] {
            assert_eq!(given_block(&with(&[field])), refused(5, 1, &[READ], why), "{field:?}");
        }
        assert_eq!(
            given_block(&with(&[("x", ""), (":path", "/")])),
            refused(5, 1, &[READ, b"\0\x01x\0"], Malformed::PseudoLate)
        );
        for (field, written) in [
            (("x", ""), &b"\0\x01x\0"[..]),
            (("x", "a\tb"), b"\0\x01x\x03a\tb"),
            (("x", "\u{e9}"), b"\0\x01x\x02\xc3\xa9"),
            (("te", "Trailers"), b"\0\x02te\x08trailers"),
            (("content-length", "0"), b"\0\x0econtent-length\x010"),
            (("host", "a"), b"\0\x04host\x01a"),
            (("host", "A"), b""),
            (("octroi-stream", "feed000000000001-7"), b""),
        ] {
            assert_eq!(given_block(&with(&[field])), marked(5, 1, &[READ, written]), "{field:?}");
        }
        // Without one of them, and with one that is none.
        for (missing, why) in [
            (0, Malformed::PseudoMissing),
            (1, Malformed::PseudoMissing),
            (2, Malformed::PseudoMissing),
            (3, Malformed::AuthorityMissing),
        ] {
            let mut fields = request("/", "a").to_vec();
            fields.remove(missing);
            let fields: Vec<_> = fields.iter().map(|(name, value)| (&**name, &**value)).collect();
            let host = if missing == 3 { &b"\x0eoctroi.invalid"[..] } else { b"\x01a" };
            let read = [&READ[..READ.len() - 2], host].concat();
            assert_eq!(given_block(&plain(&fields)), refused(5, 1, &[&read], why), "{missing}");
        }
        for (path, authority, shown, host, why) in [
            ("/a?b=\"<>", "a", "/a?b=%22%3C%3E", "a", Malformed::PathOctet),
            ("/a\u{1}", "a", "/a%01", "a", Malformed::PathOctet),
            ("", "a", "/", "a", Malformed::PathForm),
            ("a", "a", "/", "a", Malformed::PathForm),
            ("/", "u@a", "/", "octroi.invalid", Malformed::AuthoritySyntax),
            ("/", "", "/", "octroi.invalid", Malformed::AuthorityMissing),
        ] {
            let fields = request(path, authority);
            let fields: Vec<_> = fields.iter().map(|(name, value)| (&**name, &**value)).collect();
            let expected =
                plain(&[(":method", "GET"), (":scheme", "https"), (":path", shown), (":authority", host)]);
            assert_eq!(given_block(&plain(&fields)), refused(5, 1, &[&expected], why), "{path} {authority}");
        }
        // CONNECT has neither.
        let connect = [(":method", "CONNECT"), (":authority", "a:1")];
        assert_eq!(given_block(&plain(&connect)), marked(5, 1, &[&plain(&connect)]));
        assert_eq!(
            given_block(&plain(&[&connect[..], &[(":path", "/")]].concat())),
            refused(5, 1, &[&plain(&connect)], Malformed::PseudoUnknown)
        );
    }

    #[test]
    fn malformed_trailers_become_what_the_library_resets_their_stream_for() {
        for (fields, fine) in [
            (&b"\0\x01a\x01b"[..], true),
            (b"\x84", false),
            (b"\0\x01A\x01b", false),
            (b"\0\x01a\x02 b", false),
        ] {
            let said = [vec![0; PREFACE.len()], frame(1, 4, 1, GET), frame(1, 5, 1, fields)].concat();
            let trailers =
                if fine { frame(1, 5, 1, fields) } else { frame(1, 5, 1, b"\0\x0aconnection\x05close") };
            assert_eq!(
                given(&[&said], 4096),
                [vec![0; PREFACE.len()], marked(4, 1, &[READ]), trailers].concat(),
                "{fields:x?}"
            );
        }
    }

    #[test]
    fn trailers_are_few_and_small_or_their_stream_is_reset() {
        // One octet stands for a field of 3,900.
        let large = [&b"\x40\x01x"[..], &{
            let mut value = Vec::new();
            literal(&mut value, &[b'v'; 3900]);
            value
        }];
        let reset = &b"\0\x0aconnection\x05close"[..];
        let one = &b"\0\x01a\x01b"[..];
        for (fields, fits) in [
            ([large.concat(), vec![0xbe]].concat(), true),
            ([large.concat(), vec![0xbe; 2]].concat(), false),
            (one.repeat(64), true),
            (one.repeat(65), false),
        ] {
            let mut first = FrameFilter::new(64 * 1024, 100, Some(KEY));
            let mut given = anew(64 * 1024, Some(KEY));
            let said =
                [vec![0; PREFACE.len()], frame(1, 4, 1, GET), frame(1, 5, 1, &fields), frame(1, 5, 3, GET)]
                    .concat();
            all_of(&mut first, &[&said], 4096);
            assert_eq!(!first.rewrites, fits);
            let out = all_of(&mut given, &[&said], 4096);
            assert_eq!(out.ends_with(&[frame(1, 5, 1, reset), marked(5, 3, &[READ])].concat()), !fits);
            assert!(given.connection_error().is_none() && out.len() < PREFACE.len() + 8600);
        }
    }

    #[test]
    fn what_has_no_room_is_left_out_and_the_table_stays_whole() {
        // 2 * 1024 + 104 * 32 are the library's, 320 of them ours.
        let room = 2048 + 104 * 32 - 320 - (4 * 32 + 39);
        let field = |octets: usize| {
            let mut block = b"\0\x01x".to_vec();
            literal(&mut block, &vec![b'v'; octets]);
            block
        };
        let fits = given_block(&[GET, &field(room - 33)].concat());
        assert_eq!(fits, marked(5, 1, &[READ, &field(room - 33)]));
        let over = [GET, b"\x40\x01a\x01b", &field(room), b"\x40\x01c\x01d"].concat();
        let said = [vec![0; PREFACE.len()], frame(1, 5, 1, &over), frame(1, 5, 3, &[GET, b"\xbf"].concat())]
            .concat();
        let expected = [
            vec![0; PREFACE.len()],
            refused(5, 1, &[READ, b"\0\x01a\x01b"], Malformed::TooLarge),
            marked(5, 3, &[READ, b"\0\x01c\x01d"]),
        ]
        .concat();
        assert_eq!(given(&[&said], 4096), expected);
    }

    #[test]
    fn a_large_head_is_given_in_frames_that_the_library_takes() {
        let mut said = vec![0; PREFACE.len()];
        let mut value = Vec::new();
        literal(&mut value, &[b'v'; 12_000]);
        let field = [&b"\0\x01x"[..], &value].concat();
        said.extend(frame(1, 1, 1, &[GET, &field].concat()));
        said.extend(frame(9, 0, 1, &field));
        said.extend(frame(9, 4, 1, &field));
        let all = [READ, &field, &field, &field, &mark(1, None)].concat();

        let out = all_of(&mut anew(32 * 1024, Some(KEY)), &[&said], 4096);

        let (first, rest) = all.split_at(FRAME_BYTES);
        let (second, third) = rest.split_at(FRAME_BYTES);
        assert_eq!(
            out[PREFACE.len()..],
            [frame(1, 1, 1, first), frame(9, 0, 1, second), frame(9, 4, 1, third)].concat()
        );
    }

    /// What the library gets of this behind its preface, and why nothing behind it is read.
    fn ends(said: &[u8]) -> (Vec<u8>, Option<Http2Error>) {
        let mut given = FrameFilter::new(1024, 100, Some(KEY));
        let said = [&[0; PREFACE.len()][..], said, &frame(1, 5, 9, GET)].concat();
        let out = all_of(&mut given, &[&said], 4096).split_off(PREFACE.len());
        // However it is cut.
        let mut cut = FrameFilter::new(1024, 100, Some(KEY));
        assert_eq!(all_of(&mut cut, &said.chunks(1).collect::<Vec<_>>(), 7).split_off(PREFACE.len()), out);
        assert_eq!(
            (cut.connection_error(), cut.waiting.len()),
            (given.connection_error(), given.waiting.len())
        );
        (out, given.connection_error())
    }

    #[test]
    fn of_what_nobody_can_follow_the_library_gets_nothing() {
        for block in [
            &b"\x20\x20\x3f\xe1\x1f\x82"[..],
            b"\x82\x20",
            b"\x80",
            b"\x10\x04x-sw\x93",
            b"\x40",
            b"\x7f",
            b"\xff\x80",
            b"\x00\x81\xff\x00",
        ] {
            assert_eq!(
                ends(&frame(1, 5, 1, block)),
                (Vec::new(), Some(Http2Error::Compression)),
                "{block:x?}"
            );
        }
        for (flags, payload, error) in [
            (0xd, &b"\x05\x82"[..], Http2Error::Protocol),
            (0xd, b"", Http2Error::FrameSize),
            (0x25, b"abcd", Http2Error::FrameSize),
            (0x2d, b"\x01abcde", Http2Error::Protocol),
        ] {
            assert_eq!(ends(&frame(1, flags, 1, payload)), (Vec::new(), Some(error)), "{payload:?}");
        }
        // Another frame within a block, be it of a kind that nobody knows, and one that is on another stream
        // or on none.
        let begun = |stream| frame(1, 1, stream, &GET[..2]);
        for (stream, other) in [
            (1, frame(0, 0, 1, b"abc")),
            (1, frame(99, 0, 1, b"abc")),
            (1, frame(9, 4, 3, &GET[2..])),
            (1, frame(9, 4, 0, &GET[2..])),
            (1, frame(1, 5, 1, GET)),
            (1, frame(1, 5, 3, GET)),
            (0, frame(9, 4, 1, &GET[2..])),
            (0, frame(9, 4, 0, &GET[2..])),
            (2, frame(9, 4, 2, &GET[2..])),
        ] {
            assert_eq!(ends(&[begun(stream), other].concat()), (Vec::new(), Some(Http2Error::Protocol)));
        }
        for (alone, error) in [
            (frame(9, 4, 1, GET), Some(Http2Error::Protocol)),
            (frame(1, 5, 0, GET), Some(Http2Error::Protocol)),
            (frame(1, 5, 2, GET), Some(Http2Error::Protocol)),
            (frame(5, 4, 1, &[b"\0\0\0\x02", GET].concat()), Some(Http2Error::Protocol)),
            (frame(1, 5, 1, &vec![0x82; FRAME_BYTES + 1]), Some(Http2Error::FrameSize)),
            (frame(0, 0, 1, &vec![0; FRAME_BYTES + 1]), Some(Http2Error::FrameSize)),
            (frame(0, 0, 1, &vec![0; FRAME_BYTES]), None),
            (frame(2, 0, 0, &[0; 5]), Some(Http2Error::Protocol)),
            (frame(2, 0, 3, &[0; 4]), Some(Http2Error::FrameSize)),
            (frame(99, 0, 1, &vec![0; FRAME_BYTES + 1]), Some(Http2Error::FrameSize)),
            (frame(3, 0, 1, b"abc"), Some(Http2Error::FrameSize)),
            (frame(4, 0, 0, &[0; 7]), Some(Http2Error::FrameSize)),
            (frame(4, 1, 0, &[0; 6]), Some(Http2Error::FrameSize)),
            (frame(6, 0, 0, &[0; 9]), Some(Http2Error::FrameSize)),
            (frame(8, 0, 0, &[1; 3]), Some(Http2Error::FrameSize)),
            (frame(8, 0, 0, &[1; 4]), None),
        ] {
            let last = marked(5, 9, &[GET]);
            let expected = if error.is_none() { [&alone[..], &last].concat() } else { Vec::new() };
            assert_eq!(ends(&alone), (expected, error), "{:x?}", alone.first_chunk::<9>());
        }
        // What came before it is given.
        let ping = frame(6, 0, 0, &[0; 8]);
        let said = [frame(1, 5, 1, GET), ping.clone(), frame(9, 4, 1, b"")].concat();
        assert_eq!(ends(&said), ([marked(5, 1, &[GET]), ping].concat(), Some(Http2Error::Protocol)));
    }

    #[test]
    fn trailers_of_a_stream_that_we_have_reset_are_read_and_dropped() {
        let text = &b"\x40\x01a\x01b"[..];
        let data = frame(0, 0, 3, b"abc");
        let whole = frame(1, 5, 1, &[text, b"\xbe"].concat());
        let cut = [frame(1, 1, 1, text), frame(9, 4, 1, b"\xbe")].concat();
        for (room, dropped) in [(1, &whole), (4096, &whole), (1, &cut), (4096, &cut)] {
            let mut given = FrameFilter::new(1024, 100, Some(KEY));
            let begun = [vec![0; PREFACE.len()], frame(1, 4, 1, GET), frame(1, 4, 3, GET)].concat();
            all_of(&mut given, &[&begun], room);
            given.states().note_reset(1);
            // Those of the other one are not, and the table has all of them.
            let said = [&dropped[..], &data, &frame(1, 5, 3, b"\xbe")].concat();
            let expected = [&data[..], &frame(1, 5, 3, b"\0\x01a\x01b")].concat();
            assert_eq!(all_of(&mut given, &[&said], room), expected);
            assert_eq!((given.connection_error(), given.is_between()), (None, true));
        }
    }

    #[test]
    fn frames_of_ours_come_between_frames_and_outside_of_heads() {
        let mut given = FrameFilter::new(1024, 100, Some(KEY));
        let give = |given: &mut FrameFilter, bytes: &[u8]| all_of(given, &[bytes], 4096);
        give(&mut given, &[0; PREFACE.len()]);
        assert!(given.is_between());
        assert!(give(&mut given, &frame(1, 0, 1, b"\x82")).is_empty() && !given.is_between());
        assert_eq!(given.pass_on(&frame(9, 4, 1, &GET[1..])), 0);
        assert!(!given.is_between());
        assert!(!give(&mut given, b"").is_empty() && given.is_between());
        give(&mut given, &frame(0, 0, 1, &[7; 300])[..10]);
        assert_eq!((given.is_between(), given.in_data()), (false, Some(1)));
    }

    #[test]
    fn without_a_key_nothing_is_added_and_what_is_malformed_is_reset() {
        for (block, read) in
            [(GET.to_vec(), READ), ([GET, b"\0\x01X\0"].concat(), &b"\0\x0aconnection\x05close"[..])]
        {
            let said = [vec![0; PREFACE.len()], frame(1, 5, 1, &block)].concat();
            let out = all_of(&mut anew(1024, None), &[&said], 4096);
            let first = all_of(&mut FrameFilter::new(1024, 100, None), &[&said], 4096);
            assert_eq!(first, if block == GET { said.clone() } else { out.clone() });
            assert_eq!(out, [vec![0; PREFACE.len()], frame(1, 5, 1, read)].concat());
            assert!(!out.windows(STREAM_FIELD.len()).any(|window| window == STREAM_FIELD.as_bytes()));
        }
    }

    #[test]
    fn only_what_is_malformed_is_reset_behind_its_answer() {
        let mut given = FrameFilter::new(1024, 100, Some(KEY));
        let block = |more: &[u8]| [GET, more].concat();
        let said = [
            vec![0; PREFACE.len()],
            frame(1, 5, 1, &block(b"")),
            frame(1, 5, 3, &block(b"\0\x01X\0")),
            frame(1, 5, 5, b"\x82\x87\x04\x02/<\x41\x01a"),
            frame(1, 5, 7, &block(b"\0\x01x\x02\r\n")),
        ];
        all_of(&mut given, &[&said.concat()], 4096);
        assert_eq!(given.take_to_reset().collect::<Vec<_>>(), [3, 7]);
        assert_eq!(given.take_to_reset().count(), 0);
    }

    /// A request as one connection of h2, which the library is built on, reads it: its method, its URI, and
    /// its fields by their names.
    type Read = (String, String, Vec<(String, Vec<u8>)>);

    /// What it takes of these octets, up to so many, and whether it ends.
    fn read_by_the_library(bytes: &[u8], most: usize) -> (Vec<Read>, bool) {
        use tokio::io::AsyncWriteExt;
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        let list = u32::try_from(crate::model::field_list_bytes(1024, 100)).unwrap();
        runtime.block_on(async {
            let (mut client, server) = tokio::io::duplex(1 << 20);
            client.write_all(bytes).await.unwrap();
            let mut builder = h2::server::Builder::new();
            builder.max_header_list_size(list).max_local_error_reset_streams(None);
            builder.header_table_size(u32::try_from(FIELD_TABLE_BYTES).unwrap());
            let mut connection = builder.handshake::<_, bytes::Bytes>(server).await.unwrap();
            let (mut taken, mut open) = (Vec::new(), Vec::new());
            while taken.len() < most {
                // A stream that it resets by itself is the only thing to wait for; the clock goes on when
                // nothing else does.
                match tokio::time::timeout(std::time::Duration::from_secs(5), connection.accept()).await {
                    Ok(Some(Ok(request))) => {
                        let head = &request.0;
                        let marks: Vec<_> = head.headers().get_all(STREAM_FIELD).iter().collect();
                        let key = format!("{KEY:016x}-");
                        assert!(
                            marks.len() == 1 && marks[0].as_bytes().starts_with(key.as_bytes()),
                            "{request:?}"
                        );
                        let fields = head
                            .headers()
                            .iter()
                            .map(|(name, value)| (name.to_string(), value.as_bytes().to_vec()));
                        taken.push((
                            head.method().to_string(),
                            head.uri().to_string(),
                            sorted(fields.collect()),
                        ));
                        open.push(request);
                    }
                    Ok(Some(Err(_)) | None) => return (taken, true),
                    Err(_) => return (taken, false),
                }
            }
            (taken, false)
        })
    }

    /// How many blocks these frames have.
    fn heads_in(mut out: &[u8]) -> usize {
        let mut heads = 0;
        out = &out[PREFACE.len()..];
        while let Some((&[_, a, b, kind, ..], rest)) = out.split_first_chunk::<FRAME_HEADER_BYTES>() {
            heads += usize::from(kind == 1);
            out = &rest[usize::from(a) * 256 + usize::from(b)..];
        }
        heads
    }

    #[test]
    fn no_sequence_of_frames_makes_the_library_read_a_head_without_its_mark() {
        let mut random = random(11);
        let (mut read, mut lost) = (0, 0);
        for round in 0..1500 {
            let mut said = vec![b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(), frame(4, 0, 0, b"")];
            let (mut open, mut next) = (None, 1);
            for _ in 0..=random(12) {
                // Mostly what a client sends: the rest of a block that has begun, or a new one.
                let odd = random(5) == 0;
                let stream = if odd { u32::try_from(random(8)).unwrap() } else { open.unwrap_or(next) };
                let kind = match (odd, open) {
                    (true, _) => [0, 1, 1, 2, 3, 4, 5, 6, 8, 9, 9, 99][random(12)],
                    (false, Some(_)) => 9,
                    (false, None) => 1,
                };
                let flags = [5, 4, 1, 0, 5, 0xd, 0x25, 0xff][random(8)];
                let fields =
                    [GET, READ, &GET[..3], b"", b"\xbe", b"\x40\x01a\x01b", b"\0\x0doctroi-stream\x01a"]
                        [random(7)];
                let around = [b"", &b"\0"[..], b"\0\0\0\0\x07", b"\0\0\0\0\0\x07", b"\x01"]
                    [if odd { random(5) } else { 0 }];
                said.push(frame(
                    kind,
                    if odd { flags } else { flags & 5 },
                    stream,
                    &[around, fields].concat(),
                ));
                open = (flags & END_HEADERS == 0).then_some(stream);
                next = next.max(stream | 1) + 2 * u32::from(open.is_none());
            }
            let mut given = FrameFilter::new(1024, 100, Some(KEY));
            let out = all_of(&mut given, &[&said.concat()], 4096);
            let (taken, _) = read_by_the_library(&out, usize::MAX);
            read += taken.len();
            lost += usize::from(given.connection_error().is_some());
            assert!(taken.len() <= heads_in(&out), "{round} {said:x?}");
        }
        assert!(read > 500 && lost > 200 && lost < 1400, "{read} {lost}");
    }

    /// By their names; those of one name stay in their order.
    fn sorted(mut fields: Vec<(String, Vec<u8>)>) -> Vec<(String, Vec<u8>)> {
        fields.sort_by(|(one, _), (other, _)| one.cmp(other));
        fields
    }

    /// Numbers below a bound: SplitMix64.
    fn random(mut state: u64) -> impl FnMut(usize) -> usize {
        move |below| {
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut z = state;
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            usize::try_from((z ^ (z >> 31)) % u64::try_from(below).unwrap()).unwrap()
        }
    }

    /// Pieces of blocks that are mostly malformed.
    const BAD: [&[u8]; 27] = [
        b"\x82",
        b"\x83",
        b"\x84",
        b"\x85",
        b"\x86",
        b"\x87",
        b"\x88",
        b"\xbe",
        b"\xbf",
        b"\xc0",
        b"\x41\x01a",
        b"\x41\x03a@b",
        b"\x04\x04/a?\"",
        b"\x04\x02/<",
        b"\x04\x03/#\xff",
        b"\x40\x01X\x01a",
        b"\x40\x01x\x02a\x01",
        b"\x40\x01x\x01\n",
        b"\x7a\x8b\xff\xff",
        b"\x0f\x17\x02 a",
        b"\x40\x0aconnection\x01a",
        b"\x66\x01b",
        b"\x5c\x02+1",
        b"\x40\x02:x\x00",
        b"\x40\x84\x94\x9c\x61\x7f\x81\x07",
        b"\x40\x02te\x08Trailers",
        b"\x40\x0doctroi-stream\x01a",
    ];

    /// Pieces that are fine where each of them stands: literals with and without the table, in Huffman code
    /// too.
    const FINE: [&[u8]; 10] = [
        b"\x40\x01x\x01a",
        b"\x40\x03x-a\x03b,c",
        b"\0\x01y\x02yy",
        b"\x10\x01z\x01z",
        b"\x60\x03k=v",
        b"\x58\x86\xa8\xeb\x10\x64\x9c\xbf",
        b"\x40\x88\x25\xa8\x49\xe9\x5b\xa9\x7d\x7f\x89\x25\xa8\x49\xe9\x5b\xb8\xe8\xb4\xbf",
        b"\x40\x02te\x08trailers",
        b"\x90",
        b"\x53\x03*/*",
    ];

    #[test]
    fn whatever_can_be_read_the_library_takes_as_a_request_and_goes_on() {
        let mut random = random(7);
        let (mut refused, mut lost) = (0, 0);
        for round in 0..400 {
            let mut said = vec![b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(), frame(4, 0, 0, b"")];
            for request in 0..8_u32 {
                let mut block = if random(4) == 0 { Vec::new() } else { GET.to_vec() };
                for _ in 0..random(5) {
                    block.extend_from_slice(BAD[random(BAD.len())]);
                }
                if random(12) == 0 && !block.is_empty() {
                    let at = random(block.len());
                    block[at] = u8::try_from(random(256)).unwrap();
                }
                said.push(frame(1, 5, 2 * request + 1, &block));
            }
            let mut given = FrameFilter::new(1024, 100, Some(KEY));
            let out = all_of(&mut given, &[&said.concat()], 4096);
            let (taken, ended) = read_by_the_library(&out, heads_in(&out));
            refused += given.take_to_reset().count();
            lost += usize::from(given.connection_error().is_some());
            assert!(!ended, "{round} {said:x?}");
            if given.connection_error().is_none() {
                assert_eq!(taken.len(), 8, "{round} {said:x?} {out:x?}");
            }
        }
        assert!(refused > 400 && lost > 10 && lost < 300, "{refused} {lost}");
    }

    /// A client's own table, as far as its next block may name something of it.
    #[derive(Default)]
    struct Own {
        /// Whether each of the newest entries is a pseudo-field, which may stand only at the head of a block.
        newest: Vec<bool>,
        /// Whether there is room for two of them only.
        is_small: bool,
    }

    impl Own {
        /// Writes a piece of a block.
        fn put(&mut self, block: &mut Vec<u8>, piece: &[u8]) {
            block.extend_from_slice(piece);
            if piece[0] & 0xc0 == 0x40 {
                self.newest.insert(0, matches!(piece[0], 0x41..=0x47));
                self.newest.truncate(if self.is_small { 2 } else { 5 });
            }
        }
    }

    /// One request of a connection whose requests are mostly fine, as frames.
    fn some_request(random: &mut impl FnMut(usize) -> usize, own: &mut Own, stream: u32) -> Vec<u8> {
        let mut block = Vec::new();
        if random(12) == 0 {
            let is_small = random(2) == 0;
            block.extend_from_slice(if is_small { b"\x20\x3f\x61" } else { b"\x20\x3f\xe1\x1f" });
            *own = Own { newest: Vec::new(), is_small };
        }
        own.put(&mut block, [&b"\x82\x87"[..], b"\x83\x87", b"\x42\x03PUT\x87"][random(3)]);
        own.put(&mut block, [&b"\x84"[..], b"\x44\x03/a?", b"\x04\x05/\xc3\xa9#b", b"\x14\x02/c"][random(4)]);
        let www = b"\x41\x8c\xf1\xe3\xc2\xe5\xf2\x3a\x6b\xa0\xab\x90\xf4\xff";
        own.put(&mut block, [&b"\x41\x01a"[..], b"\x01\x01b", www][random(3)]);
        for _ in 0..random(6) {
            own.put(&mut block, FINE[random(FINE.len())]);
        }
        if random(6) == 0 && !own.is_small {
            // It takes others out of the table.
            own.put(&mut block, &[&b"\x40\x04x-it\x7f\x81\x04"[..], &[b'v'; 640]].concat());
        }
        for _ in 0..random(4) {
            let at = random(3);
            // A pseudo-field stands too late there.
            if own.newest.get(at).is_some_and(|is_pseudo| !is_pseudo || random(40) == 0) {
                block.push(u8::try_from(0xbe + at).unwrap());
            }
        }
        if random(25) == 0 {
            own.put(&mut block, BAD[random(BAD.len())]);
        }
        let priority = [&b"\0\0\0\0\x07"[..], b""][random(5).min(1)];
        let flags = if priority.is_empty() { 1 } else { 0x21 };
        let payload = [priority, &block].concat();
        match random(60) {
            0 => {
                let (first, rest) = payload.split_at(priority.len() + random(block.len()));
                [frame(1, flags, stream, first), frame(9, 4, stream, rest)].concat()
            }
            1..5 => frame(1, flags | 0xc, stream, &[&b"\x02"[..], &payload, b"\0\0"].concat()),
            _ => frame(1, flags | 4, stream, &payload),
        }
    }

    #[test]
    fn what_the_library_reads_is_what_our_decoder_says_before_and_behind_a_bad_head() {
        let mut random = random(11);
        let (mut handed, mut switched, mut behind, mut lost) = (0, 0, 0, 0);
        for round in 0..600 {
            let mut said = vec![b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(), frame(4, 0, 0, b"")];
            let mut own = Own::default();
            for request in 0..12_u32 {
                let stream = 2 * request + 1;
                let mut frames = some_request(&mut random, &mut own, stream);
                if random(10) == 0 {
                    // With trailers, which enter the table too.
                    frames[4] &= !1;
                    let mut trailers = Vec::new();
                    own.put(
                        &mut trailers,
                        [&b"\x40\x03x-t\x02\nt"[..], b"\x84", b"\x40\x03x-t\x01t"][random(30).min(2)],
                    );
                    frames.extend(frame(1, 5, stream, &trailers));
                }
                said.push(frames);
            }
            let said = said.concat();
            let mut given = FrameFilter::new(1024, 100, Some(KEY));
            let mut written = anew(1024, Some(KEY));
            let out = all_of(&mut given, &[&said], 4096);
            let (taken, ended) = read_by_the_library(&out, heads_in(&out));
            // The same connection with every block written anew, of literals: it says the same, faults and
            // all.
            let (expected, _) = read_by_the_library(&all_of(&mut written, &[&said], 4096), heads_in(&out));
            assert_eq!(taken, expected, "{round} {said:x?}");
            assert!(!ended);
            assert_eq!(
                (given.connection_error(), given.take_to_reset().collect::<Vec<_>>()),
                (written.connection_error(), written.take_to_reset().collect())
            );
            lost += usize::from(given.connection_error().is_some());
            handed += usize::from(!given.rewrites);
            if given.connection_error().is_none() {
                assert_eq!(taken.len(), 12, "{round}");
            }
            if given.rewrites && given.connection_error().is_none() {
                let faults = taken.iter().map(|(.., fields)| {
                    let (_, mark) = fields.iter().find(|(name, _)| name == STREAM_FIELD).unwrap();
                    mark.iter().filter(|octet| **octet == b'-').count() == 2
                });
                let first = faults.clone().position(|is_bad| is_bad);
                switched += usize::from(first.is_some_and(|at| at > 0));
                behind += first.map_or(0, |at| faults.skip(at).filter(|is_bad| !is_bad).count());
            }
            read_by_our_decoder(&said, &taken);
        }
        assert!(
            handed > 60 && switched > 100 && behind > 400 && lost < 100,
            "{handed} {switched} {behind} {lost}"
        );
    }

    /// Compares each request that nothing is wrong with to what a decoder of its own says.
    fn read_by_our_decoder(said: &[u8], taken: &[Read]) {
        let mut decoder = Decoder::new(FIELD_TABLE_BYTES, 1024);
        let (mut rest, mut highest, mut fields) = (&said[PREFACE.len()..], 0, Vec::new());
        let mut taken = taken.iter();
        while let Some((&[_, b, c, kind, flags, .., stream], behind)) =
            rest.split_first_chunk::<FRAME_HEADER_BYTES>()
        {
            let (payload, behind) = behind.split_at(usize::from(u16::from_be_bytes([b, c])));
            rest = behind;
            if kind == 4 {
                continue;
            }
            let (mut begin, mut end) = (0, payload.len());
            if kind == 1 && flags & 8 != 0 {
                (begin, end) = (1, end - usize::from(payload[0]));
            }
            begin += if kind == 1 && flags & 0x20 != 0 { 5 } else { 0 };
            let mut each = |found: Decoded<'_>| {
                if let Decoded::Field(name, value) = found {
                    fields.push((String::from_utf8_lossy(name).into_owned(), value.to_vec()));
                }
            };
            if decoder.read(&payload[begin..end], flags & 4 != 0, &mut each).is_err() {
                return;
            }
            if flags & 4 == 0 {
                continue;
            }
            let all = std::mem::take(&mut fields);
            if stream <= highest {
                continue;
            }
            highest = stream;
            let Some((method, uri, read)) = taken.next() else { return };
            let mark = mark(stream.into(), None);
            let at = read.iter().position(|(name, _)| name == STREAM_FIELD).unwrap();
            if !mark.ends_with(&read[at].1) {
                continue;
            }
            let said = |name: &str| {
                all.iter()
                    .find(|(other, _)| other == name)
                    .map(|(_, value)| String::from_utf8(value.clone()).unwrap())
            };
            let path = said(":path").unwrap();
            let path = path.split('#').next().unwrap();
            let expected = format!("{}://{}{path}", said(":scheme").unwrap(), said(":authority").unwrap());
            assert_eq!((method, uri), (&said(":method").unwrap(), &expected));
            let mut read = read.clone();
            read.remove(at);
            let others = all.into_iter().filter(|(name, _)| !name.starts_with(':') && name != STREAM_FIELD);
            let others = others
                .map(|(name, value)| if name == "te" { (name, b"trailers".to_vec()) } else { (name, value) });
            assert_eq!(read, sorted(others.collect()));
        }
    }
}
