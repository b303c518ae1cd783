//! A block of fields as the library gets it: judged, and written anew without compression.
//!
//! The library answers a field that its types refuse with the end of the connection, which is malformed in one request only (RFC 9113,
//! section 8.1.1). So what is wrong is left out here, and a field of our own says what it was; the gateway refuses the request for it.
//! Trailers have nobody to be told: their stream is reset.

use std::{mem, ops::Range};

use super::{field, hpack::Found};
use crate::model::{FIELD_OVERHEAD, FRAME_BYTES, Malformed, NO_HOST, STREAM_FIELD, StreamMark, field_list_bytes, literal};

const HEADERS: u8 = 1;
const CONTINUATION: u8 = 9;
pub(super) const END_STREAM: u8 = 1;
pub(super) const END_HEADERS: u8 = 4;
pub(super) const PRIORITY: u8 = 0x20;
/// The head of a frame.
pub(super) const HEAD: usize = 9;
/// What stands before the fields of a HEADERS frame with PRIORITY.
pub(super) const PRIORITY_BYTES: usize = 5;
/// The most that is counted for what is ours: the field, and what stands for what is missing.
const OURS: usize = 320;
/// So many octets of a path that no URL has are shown, for the line.
const SHOWN_PATH: usize = 1024;
/// The most that trailers take, and so many they are at the most. No share is taken for them (as `room_for_head` does for heads), and they
/// wait as long as an upstream takes nothing: an octet can stand for a field of 4 KiB there too. Those of gRPC have less than 1 KiB.
const TRAILERS: usize = 8 * 1024;
const MOST_TRAILERS: usize = 64;
/// What is kept between two heads of what one needed.
const KEPT: usize = 2048;

/// A literal that no table keeps, with a name of its own, and of one that must not be indexed (RFC 7541, section 6.2).
const LITERAL: u8 = 0;
const NEVER_INDEXED: u8 = 0x10;

/// The frame that a block begins with.
#[derive(Clone, Copy, Debug)]
pub(super) struct Opening {
    pub(super) stream: u32,
    pub(super) flags: u8,
    pub(super) priority: [u8; PRIORITY_BYTES],
    /// Whether the stream was there before: then these are trailers.
    pub(super) trailers: bool,
}

/// A block in hand.
#[derive(Debug)]
pub(super) struct Head {
    opening: Opening,
    /// The most that the library reads of one.
    most: usize,
    /// How much of that no cookie takes: a head that they make too large is answered by what else there is.
    reserve: usize,
    /// Its first frame, with all fields in it.
    out: Vec<u8>,
    seen: Seen,
}

/// What has been seen of a block.
#[derive(Debug, Default)]
struct Seen {
    /// How much room is left.
    room: usize,
    fault: Option<Malformed>,
    /// Whether nothing more is looked at.
    full: bool,
    /// Where in `out` the pseudo-fields end.
    pseudo_end: usize,
    /// Where the value of each pseudo-field stands; nowhere where it is of no use.
    method: Option<Range<usize>>,
    scheme: Option<Range<usize>>,
    authority: Option<Range<usize>>,
    path: Option<Range<usize>>,
    has_fields: bool,
    has_host: bool,
    host_is_written: bool,
    has_length: bool,
}

impl Head {
    /// Begins with nothing in hand.
    pub(super) fn new(header_bytes: usize, header_count: usize) -> Self {
        let most = field_list_bytes(header_bytes, header_count).saturating_sub(OURS);
        let opening = Opening { stream: 0, flags: 0, priority: [0; PRIORITY_BYTES], trailers: false };
        Self { opening, most, reserve: header_bytes / 2, out: Vec::new(), seen: Seen::default() }
    }

    /// Begins a block.
    pub(super) fn begin(&mut self, opening: Opening) {
        self.opening = opening;
        self.out.clear();
        self.out.extend_from_slice(&[0; HEAD]);
        if opening.flags & PRIORITY != 0 {
            self.out.extend_from_slice(&opening.priority);
        }
        let room = if opening.trailers { self.most.min(TRAILERS) } else { self.most };
        self.seen = Seen { room, pseudo_end: self.out.len(), ..Seen::default() };
    }

    /// Returns the stream of the block in hand.
    pub(super) fn stream(&self) -> u32 {
        self.opening.stream
    }

    /// Says whether that ends a request which has begun.
    pub(super) fn is_trailers(&self) -> bool {
        self.opening.trailers
    }

    /// Forgets the block in hand.
    pub(super) fn drop_block(&mut self) {
        self.out.clear();
        self.out.shrink_to(KEPT);
    }

    /// Takes in what stands in it. Beyond its room nothing is looked at: an octet can stand for a field of 4 KiB (RFC 7541, section 6.1).
    pub(super) fn take(&mut self, found: Found<'_>) {
        if self.seen.full {
            return;
        }
        let (name, value) = match found {
            Found::Field(name, value) => (name, value),
            Found::TooLong(name) => {
                self.fault(match name {
                    Some(b":path") => Malformed::PathTooLong,
                    Some(b"cookie") => Malformed::CookieTooLarge,
                    Some(_) | None => Malformed::TooLarge,
                });
                self.seen.has_fields |= !name.is_some_and(|name| name.starts_with(b":"));
                return;
            }
        };
        let size = name.len() + value.len() + FIELD_OVERHEAD;
        let size = if self.opening.trailers { size.max(TRAILERS / MOST_TRAILERS) } else { size };
        let reserve = if name == b"cookie" { self.reserve } else { 0 };
        let Some(room) = self.seen.room.checked_sub(size).filter(|room| *room >= reserve) else {
            // Some browsers send other fields behind their cookies.
            self.seen.full = reserve == 0;
            self.fault(Malformed::TooLarge);
            return;
        };
        self.seen.room = room;
        if name.first() == Some(&b':') { self.pseudo(name, value) } else { self.field(name, value) }
    }

    /// Notes what is wrong; the first of it counts.
    fn fault(&mut self, fault: Malformed) {
        self.seen.fault.get_or_insert(fault);
    }

    fn pseudo(&mut self, name: &[u8], value: &[u8]) {
        if self.opening.trailers || !matches!(name, b":method" | b":scheme" | b":authority" | b":path") {
            return self.fault(Malformed::PseudoUnknown);
        }
        if self.seen.has_fields {
            return self.fault(Malformed::PseudoLate);
        }
        let seen = match name {
            b":method" => &self.seen.method,
            b":scheme" => &self.seen.scheme,
            b":authority" => &self.seen.authority,
            _ => &self.seen.path,
        };
        if seen.is_some() {
            return self.fault(Malformed::PseudoTwice);
        }
        if field::has_line(value) {
            self.fault(Malformed::FieldLine);
        }
        match name {
            b":method" if field::is_method(value) => self.seen.method = Some(self.write_pseudo(name, value)),
            b":method" => self.seen.method = Some(self.stand_in(Malformed::Method)),
            b":scheme" if field::is_scheme(value) => self.seen.scheme = Some(self.write_pseudo(name, value)),
            b":scheme" => self.seen.scheme = Some(self.stand_in(Malformed::Scheme)),
            b":authority" if field::is_authority(value) => self.seen.authority = Some(self.write_pseudo(name, value)),
            b":authority" if value.is_empty() => self.seen.authority = Some(self.stand_in(Malformed::AuthorityMissing)),
            b":authority" => self.seen.authority = Some(self.stand_in(Malformed::AuthoritySyntax)),
            _ => match field::path(value) {
                Ok(()) => self.seen.path = Some(self.write_pseudo(name, value)),
                Err(Malformed::PathOctet) => {
                    self.fault(Malformed::PathOctet);
                    let shown = shown(value);
                    self.seen.room = self.seen.room.saturating_sub(shown.len());
                    self.seen.path = Some(self.write_pseudo(name, &shown));
                }
                Err(fault) => self.seen.path = Some(self.stand_in(fault)),
            },
        }
    }

    /// Notes a pseudo-field that is there and of no use: it stands nowhere.
    fn stand_in(&mut self, fault: Malformed) -> Range<usize> {
        self.fault(fault);
        0..0
    }

    fn field(&mut self, name: &[u8], value: &[u8]) {
        self.seen.has_fields = true;
        if !field::is_name(name) {
            return self.fault(Malformed::FieldName);
        }
        if let Err(fault) = field::value(value) {
            return self.fault(fault);
        }
        match name {
            // RFC 9113, section 8.2.2. `http2-settings` is refused by the gateway, which has seen it from browsers.
            b"connection" | b"keep-alive" | b"proxy-connection" | b"upgrade" => self.fault(Malformed::ConnectionField),
            b"transfer-encoding" => self.fault(Malformed::TransferEncoding),
            // The library knows it in lower case only.
            b"te" if value.eq_ignore_ascii_case(b"trailers") => self.write(LITERAL, name, b"trailers"),
            b"te" => self.fault(Malformed::Te),
            // Nobody but us says it.
            _ if name == STREAM_FIELD.as_bytes() => {}
            b"content-length" if !self.opening.trailers => self.length(name, value),
            b"host" if !self.opening.trailers => self.host(name, value),
            _ => self.write(LITERAL, name, value),
        }
    }

    fn length(&mut self, name: &[u8], value: &[u8]) {
        let is_number = (1..=18).contains(&value.len()) && value.iter().all(u8::is_ascii_digit);
        // RFC 9113, section 8.1.1: no octet follows.
        let is_none = self.opening.flags & END_STREAM != 0 && value.iter().any(|digit| *digit != b'0');
        if !is_number || is_none || mem::replace(&mut self.seen.has_length, true) {
            return self.fault(Malformed::Length);
        }
        self.write(LITERAL, name, value);
    }

    fn host(&mut self, name: &[u8], value: &[u8]) {
        if mem::replace(&mut self.seen.has_host, true) {
            return self.fault(Malformed::HostTwice);
        }
        if value.contains(&b'@') {
            return self.fault(Malformed::AuthoritySyntax);
        }
        match self.seen.authority.clone().filter(|at| !at.is_empty()).and_then(|at| self.out.get(at)) {
            Some(authority) if authority != value && !authority.eq_ignore_ascii_case(value) => self.fault(Malformed::AuthorityConflict),
            // The same host (RFC 9113, section 8.3.1), which the library compares by its octets.
            Some(authority) if authority != value => {}
            Some(_) | None => {
                self.seen.host_is_written = true;
                self.write(LITERAL, name, value);
            }
        }
    }

    /// Writes a field without compression.
    fn write(&mut self, kind: u8, name: &[u8], value: &[u8]) {
        self.out.push(kind);
        literal(&mut self.out, name);
        literal(&mut self.out, value);
    }

    fn write_pseudo(&mut self, name: &[u8], value: &[u8]) -> Range<usize> {
        self.write(LITERAL, name, value);
        self.seen.pseudo_end = self.out.len();
        self.out.len() - value.len()..self.out.len()
    }

    /// Ends the block. What the library reads is in `out`; returns what is wrong with it.
    ///
    /// Without a key nobody could be told: then the library gets what it resets the stream for.
    pub(super) fn end(&mut self, key: Option<u64>, out: &mut Vec<u8>) -> Option<Malformed> {
        if !self.opening.trailers {
            self.complete();
        }
        match key.filter(|_| !self.opening.trailers) {
            Some(key) => {
                let mark = StreamMark { stream: self.opening.stream, malformed: self.seen.fault }.text(key);
                self.write(NEVER_INDEXED, STREAM_FIELD.as_bytes(), mark.as_bytes());
            }
            None if self.seen.fault.is_some() => {
                self.out.truncate(HEAD + if self.opening.flags & PRIORITY == 0 { 0 } else { PRIORITY_BYTES });
                // Such a field makes it malformed for the library, and breaks nothing else.
                self.write(LITERAL, b"connection", b"close");
            }
            None => {}
        }
        self.frames(out);
        self.seen.fault.filter(|_| !self.opening.trailers)
    }

    /// Says what is missing. Where something is wrong, the library gets a request that is whole, with what could be read of it.
    fn complete(&mut self) {
        let connects = self.seen.method.clone().and_then(|at| self.out.get(at)).is_some_and(|method| method == b"CONNECT");
        match (connects, &self.seen.method, &self.seen.scheme, &self.seen.path) {
            // RFC 9113, section 8.5.
            (true, _, None, None) | (false, Some(_), Some(_), Some(_)) => {}
            (true, ..) => self.fault(Malformed::PseudoUnknown),
            (false, ..) => self.fault(Malformed::PseudoMissing),
        }
        if self.seen.authority.is_none() && !self.seen.has_host {
            self.fault(Malformed::AuthorityMissing);
        }
        if self.seen.fault.is_none() {
            return;
        }
        let begin = HEAD + if self.opening.flags & PRIORITY == 0 { 0 } else { PRIORITY_BYTES };
        let rest = self.out.split_off(self.seen.pseudo_end);
        let read = mem::take(&mut self.out);
        let said = |at: &Option<Range<usize>>| at.clone().and_then(|at| read.get(at)).filter(|value| !value.is_empty());
        self.out.extend_from_slice(read.get(..begin).unwrap_or_default());
        let no_host = (!self.seen.host_is_written).then_some(NO_HOST.as_bytes());
        let (method, path) = (said(&self.seen.method).unwrap_or(b"GET"), said(&self.seen.path).unwrap_or(b"/"));
        self.write(LITERAL, b":method", method);
        if !connects {
            self.write(LITERAL, b":scheme", said(&self.seen.scheme).unwrap_or(b"https"));
            self.write(LITERAL, b":path", path);
        }
        if let Some(authority) = said(&self.seen.authority).or(no_host) {
            self.write(LITERAL, b":authority", authority);
        }
        self.out.extend_from_slice(&rest);
    }

    /// Cuts what was written into frames.
    fn frames(&mut self, out: &mut Vec<u8>) {
        let flags = self.opening.flags & (END_STREAM | PRIORITY);
        let fields = self.out.len() - HEAD;
        if fields <= FRAME_BYTES {
            let head = frame_head(fields, HEADERS, flags | END_HEADERS, self.opening.stream);
            self.out.iter_mut().zip(head).for_each(|(octet, head)| *octet = head);
            if out.is_empty() {
                mem::swap(out, &mut self.out);
            } else {
                out.extend_from_slice(&self.out);
            }
        } else {
            let mut pieces = self.out.get(HEAD..).unwrap_or_default().chunks(FRAME_BYTES).peekable();
            let (mut kind, mut flags) = (HEADERS, flags);
            while let Some(piece) = pieces.next() {
                flags |= if pieces.peek().is_none() { END_HEADERS } else { 0 };
                out.extend_from_slice(&frame_head(piece.len(), kind, flags, self.opening.stream));
                out.extend_from_slice(piece);
                (kind, flags) = (CONTINUATION, 0);
            }
        }
        self.drop_block();
    }
}

/// The head of a frame (RFC 9113, section 4.1).
pub(super) fn frame_head(length: usize, kind: u8, flags: u8, stream: u32) -> [u8; HEAD] {
    let [_, a, b, c] = u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes();
    let [d, e, f, g] = stream.to_be_bytes();
    [a, b, c, kind, flags, d, e, f, g]
}

/// Writes a path as it should have been written, as far as it is shown.
fn shown(path: &[u8]) -> Vec<u8> {
    let told = path.split(|&octet| octet == b'#').next().unwrap_or_default();
    let mut text = Vec::new();
    for &octet in told.iter().take(SHOWN_PATH) {
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
