//! What the library is given of an HTTP/2 client: its frames, and in each head that opens a stream a field with the stream's number.
//!
//! The library tells nobody the numbers of its streams, and drops every interim answer. With the number the gateway can have an
//! interim answer said on the right stream ([`Connection::say_interim`]), and the stream knows which requests have begun.
//!
//! The field ends the last frame of its block, which grows by it: no frame is added, so a malformed head is the error of its stream that
//! it is without us (RFC 9113, section 8.1.1). It is a literal that no table keeps (RFC 7541, section 6.2.2), so nothing that either side
//! knows of the tables changes. It carries the key of its connection, which never leaves the process, so a client can name no stream. And the
//! client's own fields are followed to their end: in a block that ends within one, what stands behind it would be read as a part of
//! that field. Such a block is a COMPRESSION_ERROR, and stays one.
//!
//! [`Connection::say_interim`]: crate::model::Connection::say_interim

use bytes::{Buf, BytesMut};
use tokio::io::ReadBuf;

use super::block::Fields;
use crate::model::{STREAM_FIELD, stream_value};

const PREFACE: usize = 24;
const HEAD: usize = 9;
const HEADERS: u8 = 1;
const CONTINUATION: u8 = 9;
const END_HEADERS: u8 = 4;
const PADDED: u8 = 8;
const PRIORITY: u8 = 0x20;
/// What stands before the fields of a HEADERS frame with that flag.
const PRIORITY_BYTES: usize = 5;
/// The most octets of a frame that the library takes (RFC 9113, section 6.5.2).
const MOST_OCTETS: usize = 16 * 1024;

/// What has come and was not given yet, and where the library stands.
#[derive(Debug)]
pub(super) struct Given {
    /// What the field with the number says before it; without one, no number is given.
    key: Option<u64>,
    preface: usize,
    /// Octets of the payload that are to come.
    rest: usize,
    /// So many of them stand before the fields.
    prelude: usize,
    /// The stream of a DATA frame whose rest that is.
    data: Option<u32>,
    block: Option<Block>,
    highest: u32,
    /// What ends the frame in hand, before anything else is given.
    due: Option<Vec<u8>>,
    waiting: BytesMut,
    /// How much of that may be given.
    cleared: usize,
}

/// A block of fields that has not ended.
#[derive(Debug)]
struct Block {
    stream: u32,
    /// Where its fields stand, as long as a number is to end it.
    fields: Option<Fields>,
    /// Whether the frame in hand is the last one.
    last: bool,
    /// The field that ends that frame.
    number: Option<Vec<u8>>,
}

impl Given {
    /// Begins with the key of its connection.
    pub(super) fn new(key: Option<u64>) -> Self {
        Self {
            key,
            preface: PREFACE,
            rest: 0,
            prelude: 0,
            data: None,
            block: None,
            highest: 0,
            due: None,
            waiting: BytesMut::new(),
            cleared: 0,
        }
    }

    /// Says whether the library stands between two frames, and in no block of fields, so that a frame of ours may come.
    pub(super) fn is_between(&self) -> bool {
        self.cleared == 0 && self.preface == 0 && self.rest == 0 && self.block.is_none() && self.due.is_none()
    }

    /// Returns the stream in whose DATA frame the library stands.
    pub(super) fn in_data(&self) -> Option<u32> {
        self.data.filter(|_| self.rest > 0)
    }

    /// Says whether nothing waits.
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Keeps what came.
    pub(super) fn keep(&mut self, bytes: &[u8]) {
        self.waiting.extend_from_slice(bytes);
    }

    /// Lets through what came, where nothing waits before it. Returns how much of it the library gets now; the rest waits.
    pub(super) fn pass_on(&mut self, bytes: &mut [u8]) -> usize {
        let passed = self.pass(bytes);
        self.waiting.extend_from_slice(bytes.get(passed..).unwrap_or_default());
        passed
    }

    /// Gives what waits, as much as may be given now. Says whether that was anything.
    pub(super) fn give(&mut self, buf: &mut ReadBuf<'_>) -> bool {
        if self.cleared == 0 {
            let mut waiting = std::mem::take(&mut self.waiting);
            self.cleared = self.pass(&mut waiting);
            self.waiting = waiting;
        }
        let some = self.cleared.min(buf.remaining());
        buf.put_slice(self.waiting.get(..some).unwrap_or_default());
        self.waiting.advance(some);
        self.cleared -= some;
        if self.waiting.is_empty() {
            self.waiting = BytesMut::new();
        }
        some > 0
    }

    /// Takes what is due, where it may come now.
    pub(super) fn take_due(&mut self) -> Option<Vec<u8>> {
        if self.cleared > 0 { None } else { self.due.take() }
    }

    /// Reads on, and makes room in the last frame of a block for the number that is to end it. Returns how much may be given before that
    /// number, or before a head of a frame that is not whole.
    fn pass(&mut self, bytes: &mut [u8]) -> usize {
        let mut at = 0;
        loop {
            let left = bytes.len() - at;
            if self.preface > 0 {
                let some = left.min(self.preface);
                self.preface -= some;
                at += some;
            } else {
                let some = left.min(self.rest);
                self.payload(bytes.get(at..at + some).unwrap_or_default());
                at += some;
            }
            if self.preface > 0 || self.rest > 0 || self.due.is_some() {
                return at;
            }
            if self.ends() {
                return at;
            }
            let Some(head) = bytes.get_mut(at..).and_then(|rest| rest.first_chunk_mut::<HEAD>()) else { return at };
            self.frame(head);
            at += HEAD;
        }
    }

    /// Follows the payload of the frame in hand.
    fn payload(&mut self, mut bytes: &[u8]) {
        self.rest -= bytes.len();
        let before = self.prelude.min(bytes.len());
        self.prelude -= before;
        bytes = bytes.get(before..).unwrap_or_default();
        if let Some(fields) = self.block.as_mut().and_then(|block| block.fields.as_mut()) {
            fields.follow(bytes);
        }
    }

    /// Ends the block in hand, where its last frame has come. Says whether something is due.
    fn ends(&mut self) -> bool {
        let Some(block) = self.block.take_if(|block| block.last) else { return false };
        let Some((fields, number)) = block.fields.zip(block.number) else { return false };
        self.due = Some(if fields.are_whole() { number } else { fields.spoil(number.len()) });
        true
    }

    fn frame(&mut self, head: &mut [u8; HEAD]) {
        let &mut [a, b, c, kind, flags, d, e, f, g] = head;
        let stream = u32::from_be_bytes([d, e, f, g]) & 0x7fff_ffff;
        self.rest = usize::try_from(u32::from_be_bytes([0, a, b, c])).unwrap_or(usize::MAX);
        self.prelude = 0;
        self.data = (kind == 0).then_some(stream);
        let key = self.key;
        let last = flags & END_HEADERS != 0;
        match kind {
            HEADERS => {
                let prelude = if flags & PRIORITY == 0 { 0 } else { PRIORITY_BYTES };
                // What pads a head stands behind its fields; hardly anybody does it. A frame that is too short must stay so.
                let fits = flags & PADDED == 0 && self.rest >= prelude;
                let fields = (stream > self.highest && fits && key.is_some()).then(Fields::default);
                self.prelude = prelude;
                self.highest = self.highest.max(stream);
                self.block = Some(Block { stream, fields, last, number: None });
            }
            CONTINUATION => match &mut self.block {
                Some(block) if block.stream == stream => block.last = last,
                // A connection error (RFC 9113, section 6.10).
                _ => self.block = None,
            },
            // Nothing may stand within a block, either.
            _ => {
                self.block = None;
                return;
            }
        }
        let Some(block) = self.block.as_mut().filter(|block| block.last && block.fields.is_some()) else { return };
        let number = number(key.unwrap_or_default(), stream);
        let length = self.rest.saturating_add(number.len());
        // Where it does not fit, it is left out.
        match u32::try_from(length).ok().filter(|_| length <= MOST_OCTETS) {
            Some(length) => {
                let [_, grown @ ..] = length.to_be_bytes();
                head.iter_mut().zip(grown).for_each(|(octet, grown)| *octet = grown);
                block.number = Some(number);
            }
            None => block.fields = None,
        }
    }
}

/// The field with the number of a stream.
fn number(key: u64, stream: u32) -> Vec<u8> {
    let value = stream_value(key, stream);
    let octet = |length: usize| u8::try_from(length).unwrap_or(0);
    [&[0x10, octet(STREAM_FIELD.len())], STREAM_FIELD.as_bytes(), &[octet(value.len())], value.as_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: u64 = 0xfeed_0000_0000_0001;

    fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
    }

    /// The same with the number behind the fields.
    fn marked(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
        let field = [b"\x10\x0doctroi-stream\x12feed000000000001-", stream.to_string().as_bytes()].concat();
        frame(kind, flags, stream, &[payload, &field].concat())
    }

    /// What the library gets of these pieces, in reads of so many octets.
    fn given(pieces: &[&[u8]], room: usize) -> Vec<u8> {
        let (mut given, mut all) = (Given::new(Some(KEY)), Vec::new());
        for piece in pieces {
            let mut bytes = piece.to_vec();
            if given.is_empty() {
                let passed = given.pass_on(&mut bytes);
                all.extend_from_slice(&bytes[..passed]);
            } else {
                given.keep(&bytes);
            }
            loop {
                if let Some(due) = given.take_due() {
                    all.extend(due);
                    continue;
                }
                let mut space = vec![0; room];
                let mut buf = ReadBuf::new(&mut space);
                if !given.give(&mut buf) {
                    break;
                }
                all.extend_from_slice(buf.filled());
            }
        }
        all
    }

    #[test]
    fn each_head_that_opens_a_stream_ends_with_its_number_however_it_is_cut() {
        let preface = [b'p'; PREFACE];
        // GET, a literal, a part of another one.
        let (get, text, part) = (&b"\x82"[..], &b"\x00\x01a\x01b"[..], &b"\x40\x03x-"[..]);
        let with_priority = [&[0; 5], get].concat();
        let said = [
            preface.to_vec(),
            frame(4, 0, 0, &[0; 6]),
            frame(1, 5, 1, &[get, text].concat()),
            frame(1, 0, 3, &[get, part].concat()),
            frame(9, 4, 3, b"a\x02bc"),
            frame(0, 0, 3, &[7; 300]),
            // Trailers.
            frame(1, 5, 3, text),
            frame(1, 5, 5, b""),
            frame(1, 0x25, 7, &with_priority),
            // Padded, and too short for its priority: as they are.
            frame(1, 0xd, 9, b"\x01\x82\x00"),
            frame(1, 0x25, 11, b"abcd"),
            frame(6, 0, 0, &[0; 8]),
        ]
        .concat();
        let expected = [
            preface.to_vec(),
            frame(4, 0, 0, &[0; 6]),
            marked(1, 5, 1, &[get, text].concat()),
            frame(1, 0, 3, &[get, part].concat()),
            marked(9, 4, 3, b"a\x02bc"),
            frame(0, 0, 3, &[7; 300]),
            frame(1, 5, 3, text),
            marked(1, 5, 5, b""),
            marked(1, 0x25, 7, &with_priority),
            frame(1, 0xd, 9, b"\x01\x82\x00"),
            frame(1, 0x25, 11, b"abcd"),
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
    fn a_number_that_does_not_fit_is_left_out() {
        let field = marked(1, 4, 1, b"").len() - HEAD;
        for (room, fits) in [(field, true), (field - 1, false)] {
            let said = [vec![0; PREFACE], frame(1, 4, 1, &vec![0x82; MOST_OCTETS - room])].concat();
            let out = given(&[&said], 100_000);
            assert_eq!((out == said, out.len()), (!fits, said.len() + if fits { field } else { 0 }), "{room}");
        }
    }

    #[test]
    fn a_block_that_ends_within_a_field_takes_no_number_for_the_rest_of_it() {
        for part in [&b"\x10\x04x-sw\x93"[..], b"\x10\x04x-sw\x28", b"\x40", b"\x7f", b"\xff\x80", b"\x10\x7f\x80", b"\x04"] {
            let said = [vec![0; PREFACE], frame(1, 5, 1, part)].concat();
            let out = given(&[&said], 4096);
            assert!(!out.windows(STREAM_FIELD.len()).any(|window| window == STREAM_FIELD.as_bytes()), "{part:x?}");
            assert_eq!(out.len(), said.len() + marked(1, 5, 1, b"").len() - HEAD);
        }
    }

    #[test]
    fn frames_of_ours_come_between_frames_and_outside_of_heads() {
        let mut given = Given::new(Some(KEY));
        let mut bytes = [vec![0; PREFACE], frame(1, 0, 1, b"\x82")].concat();
        assert_eq!(given.pass_on(&mut bytes), bytes.len());
        assert!(!given.is_between());
        let mut bytes = frame(9, 4, 1, b"\x84");
        given.pass_on(&mut bytes);
        assert!(!given.is_between());
        assert!(given.take_due().is_some() && given.is_between());
        let mut bytes = frame(0, 0, 1, b"abc")[..10].to_vec();
        given.pass_on(&mut bytes);
        assert_eq!((given.is_between(), given.in_data()), (false, Some(1)));
    }

    #[test]
    fn without_a_key_nothing_is_added() {
        let mut given = Given::new(None);
        let said = [vec![0; PREFACE], frame(1, 5, 1, b"\x82")].concat();
        let mut bytes = said.clone();
        assert_eq!((given.pass_on(&mut bytes), bytes == said, given.take_due()), (said.len(), true, None));
    }
}
