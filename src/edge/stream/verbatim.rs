//! Decides whether a field block may be forwarded to the library unchanged.
//!
//! It may where it is well-formed and nothing in it must be changed. The rules are those of
//! [`head`](super::head), which names the fault. Both count the same size, so whatever is forwarded is a
//! field list that the library accepts.

use super::header_block::{BlockStart, MAX_TRAILER_BYTES, MAX_TRAILERS, NEVER_INDEXED};
use crate::{
    model::{STREAM_FIELD, StreamMark},
    wire::http2::{
        END_HEADERS, FIELD_OVERHEAD, FRAME_BYTES, FRAME_HEADER_BYTES, FrameHeader, field::FieldKind,
        frame_type, literal,
    },
};

/// How much buffer capacity is kept from one head to the next.
const KEPT: usize = 256;

const METHOD: u8 = 1;
const CONNECT: u8 = 2;
const SCHEME: u8 = 4;
const AUTHORITY: u8 = 8;
const PATH: u8 = 16;
/// Any field that is not a pseudo-header field.
const FIELDS: u8 = 32;
const HOST: u8 = 64;
const LENGTH: u8 = 128;

/// What was seen of a block that is well-formed so far.
#[derive(Debug, Default)]
pub(super) struct Verbatim {
    /// How many octets of the field list are left.
    room: usize,
    /// How many of these are reserved for fields other than cookies.
    reserve: usize,
    trailers: bool,
    /// Whether the stream ends with the block.
    ends_stream: bool,
    seen: u8,
    authority: Vec<u8>,
}

impl Verbatim {
    /// Begins a block with these bounds.
    pub(super) fn begin(&mut self, start: &BlockStart, room: usize, reserve: usize) {
        self.room = if start.trailers { room.min(MAX_TRAILER_BYTES) } else { room };
        self.reserve = reserve;
        (self.trailers, self.ends_stream) = (start.trailers, start.ends_stream);
        self.seen = 0;
        self.authority.clear();
    }

    /// Takes in a field. Says whether the block is well-formed so far.
    pub(super) fn take(&mut self, kind: FieldKind, name: &[u8], value: &[u8]) -> bool {
        let reserve = if kind == FieldKind::Cookie { self.reserve } else { 0 };
        let size = name.len() + value.len() + FIELD_OVERHEAD;
        let size = if self.trailers { size.max(MAX_TRAILER_BYTES / MAX_TRAILERS) } else { size };
        match self.room.checked_sub(size) {
            Some(room) if room >= reserve => self.room = room,
            Some(_) | None => return false,
        }
        match kind {
            FieldKind::Invalid => false,
            // Only we may send it.
            FieldKind::Regular if name == STREAM_FIELD.as_bytes() => false,
            FieldKind::Regular | FieldKind::Cookie => {
                self.seen |= FIELDS;
                true
            }
            FieldKind::Host | FieldKind::Length if self.trailers => {
                self.seen |= FIELDS;
                true
            }
            // The library compares Host and `:authority` octet by octet; other differences are judged in
            // `head` (RFC 9113, section 8.3.1).
            FieldKind::Host => (self.authority.is_empty() || self.authority == value) && self.field(HOST),
            // RFC 9113, section 8.1.1: the length must match the body, which is empty.
            FieldKind::Length => {
                !(self.ends_stream && value.iter().any(|digit| *digit != b'0')) && self.field(LENGTH)
            }
            FieldKind::Method => self.pseudo(METHOD),
            FieldKind::Connect => self.pseudo(METHOD | CONNECT),
            FieldKind::Scheme => self.pseudo(SCHEME),
            FieldKind::Path => self.pseudo(PATH),
            FieldKind::Authority => {
                self.authority.extend_from_slice(value);
                self.pseudo(AUTHORITY)
            }
        }
    }

    /// Notes a field that may occur once.
    fn field(&mut self, bit: u8) -> bool {
        let is_first = self.seen & bit == 0;
        self.seen |= bit | FIELDS;
        is_first
    }

    /// Notes a pseudo-header field, which may occur once, before all other fields, and not in trailers.
    fn pseudo(&mut self, bits: u8) -> bool {
        let fits = !self.trailers && self.seen & (bits | FIELDS) == 0;
        self.seen |= bits;
        fits
    }

    /// Ends the block. Says whether it has everything that a request needs (RFC 9113, sections 8.3.1 and
    /// 8.5).
    pub(super) fn end(&mut self) -> bool {
        if self.authority.capacity() > KEPT {
            self.authority = Vec::new();
        }
        let has = |bits: u8| self.seen & bits == bits;
        let is_whole =
            if has(CONNECT) { self.seen & (SCHEME | PATH) == 0 } else { has(METHOD | SCHEME | PATH) };
        self.trailers || (is_whole && self.seen & (AUTHORITY | HOST) != 0)
    }
}

/// Forwards a block unchanged, in one frame, with our field at its end. That field is never indexed, so the
/// tables of both sides do not change. Returns false where the frame would be too large.
pub(super) fn append_verbatim(
    start: &BlockStart,
    fields: &[u8],
    key: Option<u64>,
    out: &mut Vec<u8>,
) -> bool {
    let mark = key
        .filter(|_| !start.trailers)
        .map(|key| StreamMark { stream: start.stream, malformed: None }.text(key));
    let mark = mark.as_ref().map_or(&[][..], |mark| mark.as_bytes());
    let ours = if mark.is_empty() { 0 } else { 1 + 1 + STREAM_FIELD.len() + 1 + mark.len() };
    let length = fields.len() + ours;
    if length > FRAME_BYTES {
        return false;
    }
    out.reserve(FRAME_HEADER_BYTES + length);
    let flags = start.end_stream_flag() | END_HEADERS;
    out.extend_from_slice(&FrameHeader::encode(length, frame_type::HEADERS, flags, start.stream));
    out.extend_from_slice(fields);
    if ours > 0 {
        out.push(NEVER_INDEXED);
        literal(out, STREAM_FIELD.as_bytes());
        literal(out, mark);
    }
    true
}
