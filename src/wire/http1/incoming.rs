//! The request that is being received over HTTP/1: its head as received, and how much of the rest belongs to
//! it.

use super::{
    super::chunk::ChunkTracker,
    head::{announced, end_of_head},
};

/// How many empty lines before a request line are skipped: old clients send one behind a body (RFC 9112,
/// section 2.2).
const MOST_EMPTY_LINES: u8 = 4;

/// Fewer pieces than this, or larger ones, may come from a slow link.
const MOST_PIECES: usize = 5;
const SMALL_PIECE: usize = 64;

/// The request that is being received.
#[derive(Debug, Default)]
pub struct Incoming {
    /// Its head, without empty lines before it.
    pub head: Vec<u8>,
    /// In how many pieces the head came, and how many octets these had.
    pieces: usize,
    octets: usize,
    empty_lines: u8,
    /// Whether a CR came that may begin an empty line.
    cr: bool,
    rest: Rest,
    /// How many octets of a body without chunks have come.
    came: u64,
    /// Whether it asks for another protocol: the rest may be that protocol, not a request.
    upgrade: bool,
    /// Whether more than the request has come.
    surplus: bool,
}

/// What is still to come of a request behind its head.
#[derive(Debug)]
enum Rest {
    /// This many octets of a body.
    Octets(u64),
    /// Chunks.
    Chunks(Box<ChunkTracker>),
    /// Ambiguous; such a request is refused.
    Unclear,
}

impl Default for Rest {
    fn default() -> Self {
        Self::Octets(0)
    }
}

/// How far a head has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// None of it has come.
    Empty,
    /// It has begun.
    Begun,
    /// It is complete.
    Whole,
    /// The bytes before it cannot precede a request; they stand in the place of the head.
    Malformed,
    /// It has more octets than allowed, and no end.
    TooLarge,
}

/// The chunks are malformed.
pub struct Malformed;

impl Incoming {
    /// Reads more of the head. Returns how many octets were empty lines before it, and how many belong to it.
    pub fn head(&mut self, bytes: &[u8], most: usize) -> (Progress, usize, usize) {
        let skipped = if self.head.is_empty() { self.empty_lines(bytes) } else { Some(0) };
        let Some(skipped) = skipped else {
            // Kept so that the fault can be reported.
            self.head = if self.cr { [b"\r", bytes].concat() } else { b"\r\n".to_vec() };
            self.rest = Rest::Unclear;
            return (Progress::Malformed, bytes.len(), 0);
        };
        let bytes = bytes.get(skipped..).unwrap_or_default();
        if bytes.is_empty() {
            return (if self.head.is_empty() { Progress::Empty } else { Progress::Begun }, skipped, 0);
        }
        self.pieces += 1;
        self.octets = self.octets.saturating_add(bytes.len());
        let known = self.head.len();
        self.head.extend_from_slice(bytes);
        match end_of_head(&self.head, known.saturating_sub(3)) {
            Some(end) => {
                self.head.truncate(end);
                let says = announced(&self.head);
                self.upgrade = says.upgrade;
                self.rest = match says.length {
                    _ if says.chunks => Rest::Chunks(Box::default()),
                    None => Rest::Octets(0),
                    Some(Ok(length)) => Rest::Octets(length),
                    Some(Err(())) => Rest::Unclear,
                };
                (Progress::Whole, skipped, end.saturating_sub(known))
            }
            None if self.head.len() > most => (Progress::TooLarge, skipped, bytes.len()),
            None => (Progress::Begun, skipped, bytes.len()),
        }
    }

    /// Says whether the head comes in so many and such small pieces that it must be deliberate. No network
    /// cuts segments that small.
    pub fn is_dripped(&self) -> bool {
        self.pieces >= MOST_PIECES && self.octets < self.pieces.saturating_mul(SMALL_PIECE)
    }

    /// Reads what follows the head. Returns how many of the octets belong to the request.
    pub fn body(&mut self, bytes: &[u8]) -> Result<usize, Malformed> {
        let own = match &mut self.rest {
            Rest::Octets(left) => {
                let own = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len());
                let octets = u64::try_from(own).unwrap_or(u64::MAX);
                *left = left.saturating_sub(octets);
                self.came = self.came.saturating_add(octets);
                own
            }
            Rest::Chunks(chunks) => chunks.read(bytes).ok_or(Malformed)?,
            Rest::Unclear => 0,
        };
        self.surplus |= own < bytes.len();
        Ok(own)
    }

    /// Returns how many octets of the body have come, without the framing.
    pub fn body_octets(&self) -> u64 {
        if let Rest::Chunks(chunks) = &self.rest { chunks.data() } else { self.came }
    }

    /// Returns how long the body is, where a Content-Length says so.
    pub fn length(&self) -> Option<u64> {
        if let Rest::Octets(left) = &self.rest { Some(self.came.saturating_add(*left)) } else { None }
    }

    /// Says whether the request has been received completely, or the rest of it would not be read anyway.
    pub fn is_whole(&self) -> bool {
        match &self.rest {
            Rest::Octets(left) => *left == 0,
            Rest::Chunks(chunks) => chunks.has_ended(),
            Rest::Unclear => true,
        }
    }

    /// Says whether the bytes behind the request may be something other than a request.
    pub fn has_doubtful_surplus(&self) -> bool {
        self.upgrade && self.surplus
    }

    /// Ends the request. Says whether another request can follow.
    pub fn end(&mut self) -> bool {
        let certain = self.is_whole() && !matches!(self.rest, Rest::Unclear) && !self.has_doubtful_surplus();
        *self = Self::default();
        certain
    }

    /// Counts the octets of empty lines at the beginning; `None` if there are too many, or one of them is
    /// malformed.
    fn empty_lines(&mut self, bytes: &[u8]) -> Option<usize> {
        let mut skipped = 0;
        for &byte in bytes {
            match (byte, self.cr) {
                (b'\r', false) => self.cr = true,
                (b'\n', true) if self.empty_lines < MOST_EMPTY_LINES => {
                    self.cr = false;
                    self.empty_lines += 1;
                }
                (b'\n', true) => {
                    self.cr = false;
                    return None;
                }
                (_, true) => return None,
                (_, false) => break,
            }
            skipped += 1;
        }
        Some(skipped)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GET: &[u8] = b"GET / HTTP/1.1\r\n\r\n";

    /// Reads a head in these pieces. Returns its progress, and how much of the last piece belongs to it.
    fn pieces(pieces: &[&[u8]]) -> (Progress, usize, usize) {
        let mut incoming = Incoming::default();
        pieces.iter().fold((Progress::Empty, 0, 0), |_, piece| incoming.head(piece, 64))
    }

    #[test]
    fn four_empty_lines_are_passed_over_and_no_fifth() {
        let lines = |count: usize| [&b"\r\n".repeat(count), GET].concat();

        for count in 0..=4 {
            assert_eq!(pieces(&[&lines(count)]), (Progress::Whole, 2 * count, GET.len()), "{count}");
        }
        assert_eq!(pieces(&[&lines(5)]).0, Progress::Malformed);
        assert_eq!(pieces(&[b"\r\n\r\n\r", b"\n\r\n\r\n"]).0, Progress::Malformed);
        assert_eq!(pieces(&[b"\r", b"\n\r", b"\n"]), (Progress::Empty, 1, 0));
        assert_eq!(pieces(&[b"\r", b"\n", GET]), (Progress::Whole, 0, GET.len()));
    }

    #[test]
    fn a_head_is_dripped_if_it_comes_in_many_small_pieces() {
        let dripped = |pieces: usize, bytes: usize| {
            let mut incoming = Incoming::default();
            for _ in 0..pieces {
                incoming.head(&vec![b'a'; bytes], 10_000);
            }
            incoming.is_dripped()
        };

        assert!(dripped(5, 1) && dripped(5, 63));
        assert!(!dripped(4, 1) && !dripped(5, 64) && !dripped(1, 20) && !dripped(0, 0));
    }

    #[test]
    fn a_cr_without_its_lf_is_no_empty_line() {
        let mut incoming = Incoming::default();
        incoming.head(b"\r", 64);

        assert_eq!(incoming.head(GET, 64).0, Progress::Malformed);
        assert_eq!(incoming.head, [b"\r", GET].concat());
        assert!(!incoming.end());
        assert_eq!(pieces(&[b"\r\rGET"]).0, Progress::Malformed);
        // The head check reports a bare LF.
        assert_eq!(pieces(&[b"\nGET"]), (Progress::Begun, 0, 4));
    }

    #[test]
    fn what_follows_a_request_is_not_its_own() {
        for (head, body, behind) in [
            ("", &b""[..], true),
            ("Content-Length: 5\r\n", b"hello", true),
            ("Transfer-Encoding: chunked\r\n", b"1\r\na\r\n0\r\n\r\n", true),
            ("Upgrade: websocket\r\n", b"", false),
            ("Content-Length: 5\r\nContent-Length: 5\r\n", b"", false),
        ] {
            let mut incoming = Incoming::default();
            let head = format!("POST / HTTP/1.1\r\n{head}\r\n");
            let all = [head.as_bytes(), body, GET].concat();
            let (progress, _, own) = incoming.head(&all, 1024);

            assert_eq!((progress, own), (Progress::Whole, head.len()));
            assert_eq!(incoming.body(&all[own..]).ok(), Some(body.len()), "{head}");
            assert!(incoming.is_whole(), "{head}");
            assert_eq!(incoming.end(), behind, "{head}");
        }
    }

    #[test]
    fn a_request_whose_body_did_not_come_is_followed_by_none() {
        let mut incoming = Incoming::default();
        incoming.head(b"POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\n", 64);
        assert_eq!(incoming.body(b"hell").ok(), Some(4));

        assert!(!incoming.is_whole());
        assert!(!incoming.end());
        // A request may follow an upgrade request if no bytes came behind that one.
        incoming.head(b"GET / HTTP/1.1\r\nUpgrade: h2c\r\n\r\n", 64);
        assert!(incoming.end());
    }
}
