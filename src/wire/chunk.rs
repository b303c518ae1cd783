//! Checks the chunked coding of a body octet by octet (RFC 9112, section 7.1).
//!
//! The HTTP library reads a missing size as 0, allows white space after a size and accepts any octets as an
//! extension. A proxy in front of us may find another end of the body in such bytes, and so another next
//! request. That is request smuggling, so the bytes are checked as received, before the library sees them.

use super::token::is_token;

/// The longest line of a size with its extensions. Extensions have no use, and skipping them costs work.
const MAX_LINE_BYTES: u16 = 256;
/// The most bytes of trailer fields.
const MAX_TRAILER_BYTES: u16 = 8 * 1024;
/// 60 bits, so that no recipient's integer overflows.
const MAX_DIGITS: u8 = 15;

/// Tracks the chunks of one body. It stops at the first malformed octet, or at the end of the body.
#[derive(Clone, Debug)]
pub struct ChunkTracker {
    state: State,
    /// Bytes of the current size line, or of the trailer section.
    spent: u16,
    size: u64,
    /// Bytes of data so far.
    data: u64,
}

/// What is expected next. An extension follows the size in its line: `; name`, `; name=token`, `;
/// name="text"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// A digit of the size; holds the number of digits so far.
    Size(u8),
    /// After white space: the semicolon of another extension.
    Semicolon,
    Name,
    NameRest,
    /// After the white space that follows a name.
    Equals,
    Value,
    ValueRest,
    Quoted,
    Escaped,
    QuotedEnd,
    SizeLf,
    /// This many bytes of data.
    Data(u64),
    DataCr,
    DataLf,
    TrailerLine,
    TrailerName,
    TrailerValue,
    TrailerLf,
    EndLf,
    End,
    Malformed,
}

impl Default for ChunkTracker {
    /// Expects the first chunk.
    fn default() -> Self {
        Self { state: State::Size(0), spent: 0, size: 0, data: 0 }
    }
}

impl ChunkTracker {
    /// Consumes the next bytes. Returns how many belong to the body, or `None` where they are malformed.
    pub fn read(&mut self, bytes: &[u8]) -> Option<usize> {
        let all = bytes.len();
        self.read_on(bytes).map(|rest| all - rest)
    }

    /// Returns how many bytes of data have arrived, without their framing.
    pub const fn data(&self) -> u64 {
        self.data
    }

    /// Says whether the body has ended.
    pub fn has_ended(&self) -> bool {
        self.state == State::End
    }

    /// Consumes the next bytes and returns how many follow the end.
    fn read_on(&mut self, mut bytes: &[u8]) -> Option<usize> {
        while let Some((&byte, rest)) = bytes.split_first() {
            if let State::Data(left) = self.state {
                let some = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len());
                bytes = bytes.get(some..).unwrap_or_default();
                let some = u64::try_from(some).unwrap_or(u64::MAX);
                let left = left.saturating_sub(some);
                self.data = self.data.saturating_add(some);
                self.state = if left == 0 { State::DataCr } else { State::Data(left) };
                continue;
            }
            if matches!(self.state, State::End | State::Malformed) {
                break;
            }
            self.state = self.after(byte);
            bytes = rest;
        }
        (self.state != State::Malformed).then_some(bytes.len())
    }

    fn after(&mut self, byte: u8) -> State {
        self.spent = self.spent.saturating_add(1);
        let trailer = matches!(
            self.state,
            State::TrailerLine | State::TrailerName | State::TrailerValue | State::TrailerLf | State::EndLf
        );
        if self.spent > if trailer { MAX_TRAILER_BYTES } else { MAX_LINE_BYTES } {
            return State::Malformed;
        }
        match (self.state, byte) {
            (State::Size(digits), _) if digits < MAX_DIGITS && byte.is_ascii_hexdigit() => {
                let digit = char::from(byte).to_digit(16).map_or(0, u64::from);
                self.size = (self.size << 4) | digit;
                State::Size(digits + 1)
            }
            // A size has at least one digit.
            (State::Size(0), _) => State::Malformed,
            (
                State::Size(_)
                | State::Semicolon
                | State::NameRest
                | State::Equals
                | State::ValueRest
                | State::QuotedEnd,
                b';',
            ) => State::Name,
            (State::Size(_) | State::NameRest | State::ValueRest | State::QuotedEnd, b'\r') => State::SizeLf,
            (State::Size(_) | State::Semicolon | State::ValueRest | State::QuotedEnd, b' ' | b'\t') => {
                State::Semicolon
            }
            (State::Name, b' ' | b'\t') => State::Name,
            (State::Name | State::NameRest, _) if is_token(byte) => State::NameRest,
            (State::NameRest | State::Equals, b' ' | b'\t') => State::Equals,
            (State::NameRest | State::Equals, b'=') => State::Value,
            (State::Value, b' ' | b'\t') => State::Value,
            (State::Value, b'"') | (State::Escaped, b'\t' | b' '..=b'~') => State::Quoted,
            (State::Value | State::ValueRest, _) if is_token(byte) => State::ValueRest,
            (State::Quoted, b'"') => State::QuotedEnd,
            (State::Quoted, b'\\') => State::Escaped,
            (State::Quoted, b'\t' | b' '..=b'~') => State::Quoted,
            (State::SizeLf, b'\n') => {
                self.spent = 0;
                if self.size == 0 { State::TrailerLine } else { State::Data(self.size) }
            }
            (State::DataCr, b'\r') => State::DataLf,
            (State::DataLf, b'\n') => {
                (self.spent, self.size) = (0, 0);
                State::Size(0)
            }
            (State::TrailerLine, b'\r') => State::EndLf,
            (State::TrailerLine | State::TrailerName, _) if is_token(byte) => State::TrailerName,
            (State::TrailerName, b':') => State::TrailerValue,
            (State::TrailerValue, b'\r') => State::TrailerLf,
            (State::TrailerValue, b'\t' | b' '..=b'~' | 0x80..) => State::TrailerValue,
            (State::TrailerLf, b'\n') => State::TrailerLine,
            (State::EndLf, b'\n') => State::End,
            (_, _) => State::Malformed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the final state, which must not depend on how the bytes are split.
    fn end(body: &[u8]) -> State {
        let mut whole = ChunkTracker::default();
        whole.read(body);
        let mut pieces = ChunkTracker::default();
        for byte in body.chunks(1) {
            pieces.read(byte);
        }
        assert_eq!(whole.state, pieces.state);
        whole.state
    }

    #[test]
    fn well_formed_bodies_end_where_they_end() {
        for body in [
            &b"0\r\n\r\n"[..],
            b"5\r\nhello\r\n6\r\n world\r\n000\r\n\r\n",
            b"00a\r\n0123456789\r\n0\r\n\r\nGET / HTTP/1.1\r\n\r\n",
            b"5; some; parameters=stuff\r\nhello\r\n0\r\n\r\n",
            b"5 ;a = b ; c=\"d;\\\" \t\" ;e\r\nhello\r\n0\r\n\r\n",
            b"1E\r\nall your base are belong to us\r\n0\r\nVary: *\r\nX-A:\r\n\r\n",
        ] {
            assert_eq!(end(body), State::End, "{}", String::from_utf8_lossy(body));
        }
    }

    #[test]
    fn what_stands_behind_the_end_is_not_the_body_s() {
        let body = b"5\r\nhello\r\n0\r\nA: b\r\n\r\n";
        for split in 0..=body.len() {
            let mut chunks = ChunkTracker::default();
            assert_eq!(chunks.read(&body[..split]), Some(split));
            assert_eq!(chunks.has_ended(), split == body.len(), "{split}");
            assert_eq!(chunks.read(&[&body[split..], b"GET"].concat()), Some(body.len() - split), "{split}");
            assert!(chunks.has_ended());
        }
        assert_eq!(ChunkTracker::default().read(b"x"), None);
    }

    #[test]
    fn what_readers_could_take_for_different_sizes_is_wrong() {
        for body in [
            &b"\r\nhello\r\n0\r\n\r\n"[..],
            b" ;foo=bar\r\n",
            b" 5\r\n",
            b"5 \r\n",
            b"0 \r\n\r\n",
            b"5;\r\n",
            b"5; \r\n",
            b"5;a=\r\n",
            b"5;a \r\n",
            b"5;a=b\nhello",
            b"5;a=\"b\nhello",
            b"5;a=\"b\"c\r\n",
            b"5\nhello",
            b"5\r\r\n",
            b"+5\r\n",
            b"-1\r\n",
            b"0x5\r\n",
            b"6_0\r\n",
            b"0000000000000000\r\n",
            b"5\r\nhello0\r\n",
            b"5\r\nhello\n0\r\n",
            b"0\r\n folded\r\n",
            b"0\r\nA : b\r\n",
            b"0\r\nno colon\r\n",
            b"0\r\nA: b\n",
            b"0\r\nA: \0\r\n",
        ] {
            assert_eq!(end(body), State::Malformed, "{}", String::from_utf8_lossy(body));
        }
    }

    #[test]
    fn extensions_and_trailers_are_bounded() {
        let line = |bytes: usize| format!("1;{}\r\na\r\n0\r\n\r\n", "a".repeat(bytes - 4));
        assert_eq!(end(line(256).as_bytes()), State::End);
        assert_eq!(end(line(257).as_bytes()), State::Malformed);

        let trailer = |bytes: usize| format!("0\r\nA:{}\r\n\r\n", "a".repeat(bytes - 6));
        assert_eq!(end(trailer(8192).as_bytes()), State::End);
        assert_eq!(end(trailer(8193).as_bytes()), State::Malformed);
    }
}
