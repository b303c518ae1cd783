//! Judges a field block and rewrites it for the library, without compression.
//!
//! The library ends the connection for a field that its types reject, though only one request is malformed
//! (RFC 9113, section 8.1.1). So malformed fields are left out here, and a field of ours names the fault; the
//! gateway refuses the request for it. For malformed trailers nobody can be told: their stream is reset.

use std::{mem, ops::Range};

use super::{
    header_block::{BlockStart, MAX_TRAILER_BYTES, MAX_TRAILERS, NEVER_INDEXED},
    verbatim::Verbatim,
};
use crate::{
    model::{Malformed, NO_HOST, STREAM_FIELD, StreamMark, field_list_bytes},
    wire::http2::{
        END_HEADERS, FIELD_OVERHEAD, FRAME_BYTES, FRAME_HEADER_BYTES as HEADER, FrameHeader,
        field::{self, PathFault, ValueFault},
        frame_type,
        hpack::Decoded,
        literal,
    },
};

/// The most that our own additions count for: our field, and the stand-ins for missing pseudo-header fields.
const OWN_FIELDS: usize = 320;
/// How many octets of a malformed path the access line shows.
const SHOWN_PATH: usize = 1024;
/// How much buffer capacity is kept from one head to the next.
const KEPT: usize = 2048;

/// A literal without indexing, with a literal name (RFC 7541, section 6.2.2).
const LITERAL: u8 = 0;

/// Rewrites field blocks, one after the other.
#[derive(Debug)]
pub(super) struct HeadWriter {
    start: BlockStart,
    /// The largest field list that the library accepts.
    max: usize,
    /// How much of that is reserved for fields other than cookies: a head that is too large because of its
    /// cookies is answered from its other fields.
    reserve: usize,
    /// The frame header, and all fields.
    out: Vec<u8>,
    block: BlockState,
}

/// The state of the field block so far.
#[derive(Debug, Default)]
struct BlockState {
    /// How many octets of the field list are left.
    room: usize,
    /// The first fault.
    fault: Option<Malformed>,
    /// Whether the rest of the block is ignored.
    full: bool,
    /// Where in `out` the pseudo-header fields end.
    pseudo_end: usize,
    /// Where in `out` the value of each pseudo-header field is; an empty range where it is unusable.
    method: Option<Range<usize>>,
    scheme: Option<Range<usize>>,
    authority: Option<Range<usize>>,
    path: Option<Range<usize>>,
    has_fields: bool,
    has_host: bool,
    host_is_written: bool,
    has_length: bool,
}

impl HeadWriter {
    /// Begins with the bounds of a head.
    pub(super) fn new(header_bytes: usize, header_count: usize) -> Self {
        let max = field_list_bytes(header_bytes, header_count).saturating_sub(OWN_FIELDS);
        Self {
            start: BlockStart::default(),
            max,
            reserve: header_bytes / 2,
            out: Vec::new(),
            block: BlockState::default(),
        }
    }

    /// Begins a block.
    pub(super) fn begin(&mut self, start: BlockStart) {
        self.start = start;
        self.out.clear();
        self.out.extend_from_slice(&[0; HEADER]);
        let room = if start.trailers { self.max.min(MAX_TRAILER_BYTES) } else { self.max };
        self.block = BlockState { room, pseudo_end: self.out.len(), ..BlockState::default() };
    }

    /// Begins to judge a block that may be forwarded unchanged.
    pub(super) fn begin_verbatim(&self, start: &BlockStart, verbatim: &mut Verbatim) {
        verbatim.begin(start, self.max, self.reserve);
    }

    /// Returns the stream of the current block.
    pub(super) fn stream(&self) -> u32 {
        self.start.stream
    }

    /// Says whether the stream ends with the current block.
    pub(super) fn ends_stream(&self) -> bool {
        self.start.ends_stream
    }

    /// Discards the current block.
    pub(super) fn drop_block(&mut self) {
        self.out.clear();
        self.out.shrink_to(KEPT);
    }

    /// Takes in a field. Once the field list is full the rest is ignored: one octet can stand for a field of
    /// 4 KiB (RFC 7541, section 6.1).
    pub(super) fn take(&mut self, found: Decoded<'_>) {
        if self.block.full {
            return;
        }
        let (name, value) = match found {
            Decoded::Field(name, value) => (name, value),
            Decoded::TooLong(name) => {
                self.fault(match name {
                    Some(b":path") => Malformed::PathTooLong,
                    Some(b"cookie") => Malformed::CookieTooLarge,
                    Some(_) | None => Malformed::TooLarge,
                });
                self.block.has_fields |= !name.is_some_and(|name| name.starts_with(b":"));
                return;
            }
        };
        let size = name.len() + value.len() + FIELD_OVERHEAD;
        let size = if self.start.trailers { size.max(MAX_TRAILER_BYTES / MAX_TRAILERS) } else { size };
        let reserve = if name == b"cookie" { self.reserve } else { 0 };
        let Some(room) = self.block.room.checked_sub(size).filter(|room| *room >= reserve) else {
            // Some browsers send other fields after their cookies.
            self.block.full = reserve == 0;
            self.fault(Malformed::TooLarge);
            return;
        };
        self.block.room = room;
        if name.first() == Some(&b':') { self.pseudo(name, value) } else { self.field(name, value) }
    }

    /// Notes a fault; the first one counts.
    fn fault(&mut self, fault: Malformed) {
        self.block.fault.get_or_insert(fault);
    }

    fn pseudo(&mut self, name: &[u8], value: &[u8]) {
        if self.start.trailers || !matches!(name, b":method" | b":scheme" | b":authority" | b":path") {
            return self.fault(Malformed::PseudoUnknown);
        }
        if self.block.has_fields {
            return self.fault(Malformed::PseudoLate);
        }
        let seen = match name {
            b":method" => &self.block.method,
            b":scheme" => &self.block.scheme,
            b":authority" => &self.block.authority,
            _ => &self.block.path,
        };
        if seen.is_some() {
            return self.fault(Malformed::PseudoTwice);
        }
        if field::has_line_break(value) {
            self.fault(Malformed::FieldLine);
        }
        match name {
            b":method" if field::is_method(value) => self.block.method = Some(self.write_pseudo(name, value)),
            b":method" => self.block.method = Some(self.stand_in(Malformed::Method)),
            b":scheme" if field::is_scheme(value) => self.block.scheme = Some(self.write_pseudo(name, value)),
            b":scheme" => self.block.scheme = Some(self.stand_in(Malformed::Scheme)),
            b":authority" if field::is_authority(value) => {
                self.block.authority = Some(self.write_pseudo(name, value))
            }
            b":authority" if value.is_empty() => {
                self.block.authority = Some(self.stand_in(Malformed::AuthorityMissing))
            }
            b":authority" => self.block.authority = Some(self.stand_in(Malformed::AuthoritySyntax)),
            _ => match field::check_path(value) {
                Ok(()) => self.block.path = Some(self.write_pseudo(name, value)),
                Err(PathFault::Character) => {
                    self.fault(Malformed::PathOctet);
                    let shown = shown(value);
                    self.block.room = self.block.room.saturating_sub(shown.len());
                    self.block.path = Some(self.write_pseudo(name, &shown));
                }
                Err(PathFault::Form) => self.block.path = Some(self.stand_in(Malformed::PathForm)),
                Err(PathFault::TooLong) => self.block.path = Some(self.stand_in(Malformed::PathTooLong)),
            },
        }
    }

    /// Notes a pseudo-header field that is present and unusable.
    fn stand_in(&mut self, fault: Malformed) -> Range<usize> {
        self.fault(fault);
        0..0
    }

    fn field(&mut self, name: &[u8], value: &[u8]) {
        self.block.has_fields = true;
        if !field::is_name(name) {
            return self.fault(Malformed::FieldName);
        }
        if let Err(fault) = field::check_value(value) {
            return self.fault(match fault {
                ValueFault::LineBreak => Malformed::FieldLine,
                ValueFault::Control => Malformed::FieldOctet,
                ValueFault::Blank => Malformed::FieldBlank,
            });
        }
        match name {
            _ if field::is_hop_by_hop(name) => self.fault(Malformed::ConnectionField),
            b"transfer-encoding" => self.fault(Malformed::TransferEncoding),
            // The library accepts it in lower case only.
            b"te" if value.eq_ignore_ascii_case(b"trailers") => self.write(LITERAL, name, b"trailers"),
            b"te" => self.fault(Malformed::Te),
            // Only we may send it.
            _ if name == STREAM_FIELD.as_bytes() => {}
            b"content-length" if !self.start.trailers => self.length(name, value),
            b"host" if !self.start.trailers => self.host(name, value),
            _ => self.write(LITERAL, name, value),
        }
    }

    fn length(&mut self, name: &[u8], value: &[u8]) {
        // RFC 9113, section 8.1.1: the length must match the body, which is empty.
        let is_none = self.start.ends_stream && value.iter().any(|digit| *digit != b'0');
        if !field::is_length(value) || is_none || mem::replace(&mut self.block.has_length, true) {
            return self.fault(Malformed::Length);
        }
        self.write(LITERAL, name, value);
    }

    fn host(&mut self, name: &[u8], value: &[u8]) {
        if mem::replace(&mut self.block.has_host, true) {
            return self.fault(Malformed::HostTwice);
        }
        if value.contains(&b'@') {
            return self.fault(Malformed::AuthoritySyntax);
        }
        match self.block.authority.clone().filter(|at| !at.is_empty()).and_then(|at| self.out.get(at)) {
            Some(authority) if authority != value && !authority.eq_ignore_ascii_case(value) => {
                self.fault(Malformed::AuthorityConflict)
            }
            // The same host (RFC 9113, section 8.3.1) in other letters: the library, which compares octets,
            // would refuse it.
            Some(authority) if authority != value => {}
            Some(_) | None => {
                self.block.host_is_written = true;
                self.write(LITERAL, name, value);
            }
        }
    }

    /// Writes a field as a literal.
    fn write(&mut self, kind: u8, name: &[u8], value: &[u8]) {
        self.out.push(kind);
        literal(&mut self.out, name);
        literal(&mut self.out, value);
    }

    fn write_pseudo(&mut self, name: &[u8], value: &[u8]) -> Range<usize> {
        self.write(LITERAL, name, value);
        self.block.pseudo_end = self.out.len();
        self.out.len() - value.len()..self.out.len()
    }

    /// Ends the block and appends its frames to `out`. Returns the fault of a request.
    ///
    /// Without a key nobody can be told: then the library gets a block for which it resets the stream.
    pub(super) fn end(&mut self, key: Option<u64>, out: &mut Vec<u8>) -> Option<Malformed> {
        if !self.start.trailers {
            self.complete();
        }
        match key.filter(|_| !self.start.trailers) {
            Some(key) => {
                let mark = StreamMark { stream: self.start.stream, malformed: self.block.fault }.text(key);
                self.write(NEVER_INDEXED, STREAM_FIELD.as_bytes(), mark.as_bytes());
            }
            None if self.block.fault.is_some() => {
                self.out.truncate(HEADER);
                // The library takes a block with this field for malformed, and nothing else breaks.
                self.write(LITERAL, b"connection", b"close");
            }
            None => {}
        }
        self.frames(out);
        self.block.fault.filter(|_| !self.start.trailers)
    }

    /// Notes what is missing. Where the head is malformed, the library gets a complete request with what
    /// could be read of it.
    fn complete(&mut self) {
        let connects = self
            .block
            .method
            .clone()
            .and_then(|at| self.out.get(at))
            .is_some_and(|method| method == b"CONNECT");
        match (connects, &self.block.method, &self.block.scheme, &self.block.path) {
            // RFC 9113, section 8.5.
            (true, _, None, None) | (false, Some(_), Some(_), Some(_)) => {}
            (true, ..) => self.fault(Malformed::PseudoUnknown),
            (false, ..) => self.fault(Malformed::PseudoMissing),
        }
        if self.block.authority.is_none() && !self.block.has_host {
            self.fault(Malformed::AuthorityMissing);
        }
        if self.block.fault.is_none() {
            return;
        }
        let rest = self.out.split_off(self.block.pseudo_end);
        let read = mem::take(&mut self.out);
        let said = |at: &Option<Range<usize>>| {
            at.clone().and_then(|at| read.get(at)).filter(|value| !value.is_empty())
        };
        self.out.extend_from_slice(read.get(..HEADER).unwrap_or_default());
        let no_host = (!self.block.host_is_written).then_some(NO_HOST.as_bytes());
        let (method, path) =
            (said(&self.block.method).unwrap_or(b"GET"), said(&self.block.path).unwrap_or(b"/"));
        self.write(LITERAL, b":method", method);
        if !connects {
            self.write(LITERAL, b":scheme", said(&self.block.scheme).unwrap_or(b"https"));
            self.write(LITERAL, b":path", path);
        }
        if let Some(authority) = said(&self.block.authority).or(no_host) {
            self.write(LITERAL, b":authority", authority);
        }
        self.out.extend_from_slice(&rest);
    }

    /// Splits the block into frames.
    fn frames(&mut self, out: &mut Vec<u8>) {
        let flags = self.start.end_stream_flag();
        let fields = self.out.len() - HEADER;
        if fields <= FRAME_BYTES {
            let header =
                FrameHeader::encode(fields, frame_type::HEADERS, flags | END_HEADERS, self.start.stream);
            self.out.iter_mut().zip(header).for_each(|(octet, header)| *octet = header);
            if out.is_empty() {
                mem::swap(out, &mut self.out);
            } else {
                out.extend_from_slice(&self.out);
            }
        } else {
            let mut pieces = self.out.get(HEADER..).unwrap_or_default().chunks(FRAME_BYTES).peekable();
            let (mut kind, mut flags) = (frame_type::HEADERS, flags);
            while let Some(piece) = pieces.next() {
                flags |= if pieces.peek().is_none() { END_HEADERS } else { 0 };
                out.extend_from_slice(&FrameHeader::encode(piece.len(), kind, flags, self.start.stream));
                out.extend_from_slice(piece);
                (kind, flags) = (frame_type::CONTINUATION, 0);
            }
        }
        self.drop_block();
    }
}

/// Percent-encodes a path as the client should have done, as far as it is shown.
fn shown(path: &[u8]) -> Vec<u8> {
    let without_fragment = path.split(|&octet| octet == b'#').next().unwrap_or_default();
    let mut text = Vec::new();
    for &octet in without_fragment.iter().take(SHOWN_PATH) {
        match octet.is_ascii_graphic() && !matches!(octet, b'"' | b'<' | b'>' | b'`') {
            true => text.push(octet),
            false => {
                let digit = |half: u8| b"0123456789ABCDEF".get(usize::from(half)).copied().unwrap_or(b'0');
                text.extend_from_slice(&[b'%', digit(octet >> 4), digit(octet & 0xf)]);
            }
        }
    }
    text
}
