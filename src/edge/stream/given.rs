//! What the library is given of an HTTP/2 client: its frames, and behind each head that opens a stream a field with the stream's number.
//!
//! The library tells nobody the numbers of its streams, and drops every interim answer. With the number the gateway can have an
//! interim answer said on the right stream ([`Connection::say_interim`]), and the stream knows which requests have begun. The field
//! stands in a CONTINUATION of our own (RFC 9113, section 6.10), last in its block: the client cannot put one behind it. It is a
//! literal that no table keeps (RFC 7541, section 6.2.2), so nothing that either side knows of the tables changes.
//!
//! [`Connection::say_interim`]: crate::model::Connection::say_interim

use bytes::{Buf, BytesMut};
use tokio::io::ReadBuf;

use crate::model::STREAM_FIELD;

const PREFACE: usize = 24;
const HEAD: usize = 9;
const HEADERS: u8 = 1;
const CONTINUATION: u8 = 9;
const END_HEADERS: u8 = 4;
/// A head in more frames than these is given as it is: the library takes few more.
const MOST_CONTINUATIONS: u8 = 3;

/// What has come and was not given yet, and where the library stands.
#[derive(Debug)]
pub(super) struct Given {
    preface: usize,
    /// Octets of the payload that are to come.
    rest: usize,
    /// The stream of a DATA frame whose rest that is.
    data: Option<u32>,
    block: Option<Block>,
    highest: u32,
    /// The stream whose number is due before anything else.
    due: Option<u32>,
    waiting: BytesMut,
    /// How much of that may be given.
    cleared: usize,
}

/// A block of fields that has not ended.
#[derive(Clone, Copy, Debug)]
struct Block {
    stream: u32,
    opens: bool,
    continuations: u8,
}

impl Given {
    pub(super) fn new() -> Self {
        Self { preface: PREFACE, rest: 0, data: None, block: None, highest: 0, due: None, waiting: BytesMut::new(), cleared: 0 }
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

    /// Takes the frame that is due, where it may come now.
    pub(super) fn take_due(&mut self) -> Option<Vec<u8>> {
        if self.cleared > 0 || self.rest > 0 {
            return None;
        }
        self.due.take().map(number)
    }

    /// Reads on, and opens a block for the number that is to end it. Returns how much may be given before that number, or before a head
    /// of a frame that is not whole.
    fn pass(&mut self, bytes: &mut [u8]) -> usize {
        let mut at = 0;
        loop {
            let left = bytes.len() - at;
            let skipped = if self.preface > 0 { &mut self.preface } else { &mut self.rest };
            let some = left.min(*skipped);
            *skipped -= some;
            at += some;
            if self.preface > 0 || self.rest > 0 || self.due.is_some() {
                return at;
            }
            let Some(head) = bytes.get_mut(at..).and_then(|rest| rest.first_chunk_mut::<HEAD>()) else { return at };
            self.frame(head);
            at += HEAD;
        }
    }

    fn frame(&mut self, head: &mut [u8; HEAD]) {
        let [a, b, c, kind, flags, d, e, f, g] = head;
        let stream = u32::from_be_bytes([*d, *e, *f, *g]) & 0x7fff_ffff;
        self.rest = usize::try_from(u32::from_be_bytes([0, *a, *b, *c])).unwrap_or(usize::MAX);
        self.data = (*kind == 0).then_some(stream);
        match *kind {
            HEADERS => {
                self.block = Some(Block { stream, opens: stream > self.highest, continuations: 0 });
                self.highest = self.highest.max(stream);
            }
            CONTINUATION => {
                if let Some(block) = &mut self.block {
                    block.continuations = block.continuations.saturating_add(1);
                }
            }
            _ => return,
        }
        if *flags & END_HEADERS == 0 {
            return;
        }
        let marked = self.block.take().filter(|block| block.opens && block.stream == stream && block.continuations <= MOST_CONTINUATIONS);
        if marked.is_some() {
            *flags &= !END_HEADERS;
            self.due = Some(stream);
        }
    }
}

/// The end of a block of fields: the number of its stream.
fn number(stream: u32) -> Vec<u8> {
    let value = stream.to_string();
    let octet = |length: usize| u8::try_from(length).unwrap_or(0);
    let fields = [&[0x10, octet(STREAM_FIELD.len())], STREAM_FIELD.as_bytes(), &[octet(value.len())], value.as_bytes()].concat();
    [&[0, 0, octet(fields.len()), CONTINUATION, END_HEADERS][..], &stream.to_be_bytes(), &fields].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
    }

    /// What the library gets of these pieces, in reads of so many octets.
    fn given(pieces: &[&[u8]], room: usize) -> Vec<u8> {
        let (mut given, mut all) = (Given::new(), Vec::new());
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
    fn each_head_that_opens_a_stream_has_its_number_behind_it_however_it_is_cut() {
        let preface = [b'p'; PREFACE];
        let said = [
            preface.to_vec(),
            frame(4, 0, 0, &[0; 6]),
            frame(1, 5, 1, b"head"),
            frame(1, 0, 3, b"he"),
            frame(9, 4, 3, b"ad"),
            frame(0, 0, 3, &[7; 300]),
            // Trailers.
            frame(1, 5, 3, b"end"),
            frame(1, 5, 5, b""),
            frame(6, 0, 0, &[0; 8]),
        ]
        .concat();
        let expected = [
            preface.to_vec(),
            frame(4, 0, 0, &[0; 6]),
            frame(1, 1, 1, b"head"),
            frame(9, 4, 1, b"\x10\x0doctroi-stream\x011"),
            frame(1, 0, 3, b"he"),
            frame(9, 0, 3, b"ad"),
            frame(9, 4, 3, b"\x10\x0doctroi-stream\x013"),
            frame(0, 0, 3, &[7; 300]),
            frame(1, 5, 3, b"end"),
            frame(1, 1, 5, b""),
            frame(9, 4, 5, b"\x10\x0doctroi-stream\x015"),
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
    fn a_head_in_many_frames_is_given_as_it_is() {
        let head =
            |count: usize| [vec![0; PREFACE], frame(1, 0, 1, b"a"), frame(9, 0, 1, b"b").repeat(count - 1), frame(9, 4, 1, b"c")].concat();

        assert_ne!(given(&[&head(3)], 4096), head(3));
        assert_eq!(given(&[&head(4)], 4096), head(4));
    }

    #[test]
    fn frames_of_ours_come_between_frames_and_outside_of_heads() {
        let mut given = Given::new();
        let mut bytes = [vec![0; PREFACE], frame(1, 0, 1, b"a")].concat();
        assert_eq!(given.pass_on(&mut bytes), bytes.len());
        assert!(!given.is_between());
        let mut bytes = frame(9, 4, 1, b"b");
        given.pass_on(&mut bytes);
        assert!(!given.is_between());
        assert!(given.take_due().is_some() && given.is_between());
        let mut bytes = frame(0, 0, 1, b"abc")[..10].to_vec();
        given.pass_on(&mut bytes);
        assert_eq!((given.is_between(), given.in_data()), (false, Some(1)));
    }
}
