//! Are the chunks of a body what RFC 9112, section 7.1, says, octet by octet?
//!
//! The HTTP library takes a missing size for 0, lets white space follow a size and reads any octets as an extension. Whoever
//! stands in front of us may find another end of the body in such bytes, and with it another next request. So the bytes are
//! judged as they were received, before the library sees them.

/// The longest line of a size with its extensions: extensions have no use, and cost whoever skips them.
const MAX_LINE_BYTES: u16 = 256;
/// The most bytes of trailer fields.
const MAX_TRAILER_BYTES: u16 = 8 * 1024;
/// 60 bits, so that no reader's integer overflows.
const MAX_DIGITS: u8 = 15;

/// Follows the chunks of one body. It stops at the first octet that is wrong, or at the body's end.
#[derive(Clone, Debug)]
pub(super) struct Chunks {
    at: At,
    /// Bytes of this size line, or of the trailer.
    spent: u16,
    size: u64,
    /// Bytes of data that have come.
    data: u64,
}

/// What comes next. What stands in a size line after the size is an extension: `; name`, `; name=token`, `; name="text"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    /// A digit of the size; so many have come.
    Size(u8),
    /// After white space: another extension.
    Semicolon,
    Name,
    NameRest,
    /// After the white space behind a name.
    Equals,
    Value,
    ValueRest,
    Quoted,
    Escaped,
    QuotedEnd,
    SizeLf,
    /// So many bytes of data.
    Data(u64),
    DataCr,
    DataLf,
    TrailerLine,
    TrailerName,
    TrailerValue,
    TrailerLf,
    EndLf,
    End,
    Wrong,
}

impl Chunks {
    pub(super) const fn new() -> Self {
        Self { at: At::Size(0), spent: 0, size: 0, data: 0 }
    }

    /// Reads on. Returns how many of the bytes belong to the body, which are all until its end, or nothing if they are not well formed.
    pub(super) fn read(&mut self, bytes: &[u8]) -> Option<usize> {
        let all = bytes.len();
        self.read_on(bytes).map(|rest| all - rest)
    }

    /// Returns how many bytes of data have come, without what frames them.
    pub(super) const fn data(&self) -> u64 {
        self.data
    }

    /// Says whether the body has ended.
    pub(super) fn have_ended(&self) -> bool {
        self.at == At::End
    }

    /// Reads on, and returns how many bytes stand behind the end.
    fn read_on(&mut self, mut bytes: &[u8]) -> Option<usize> {
        while let Some((&byte, rest)) = bytes.split_first() {
            if let At::Data(left) = self.at {
                let some = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len());
                bytes = bytes.get(some..).unwrap_or_default();
                let some = u64::try_from(some).unwrap_or(u64::MAX);
                let left = left.saturating_sub(some);
                self.data = self.data.saturating_add(some);
                self.at = if left == 0 { At::DataCr } else { At::Data(left) };
                continue;
            }
            if matches!(self.at, At::End | At::Wrong) {
                break;
            }
            self.at = self.after(byte);
            bytes = rest;
        }
        (self.at != At::Wrong).then_some(bytes.len())
    }

    fn after(&mut self, byte: u8) -> At {
        self.spent = self.spent.saturating_add(1);
        let trailer = matches!(self.at, At::TrailerLine | At::TrailerName | At::TrailerValue | At::TrailerLf | At::EndLf);
        if self.spent > if trailer { MAX_TRAILER_BYTES } else { MAX_LINE_BYTES } {
            return At::Wrong;
        }
        match (self.at, byte) {
            (At::Size(digits), _) if digits < MAX_DIGITS && byte.is_ascii_hexdigit() => {
                let digit = char::from(byte).to_digit(16).map_or(0, u64::from);
                self.size = (self.size << 4) | digit;
                At::Size(digits + 1)
            }
            // Without a digit there is no size.
            (At::Size(0), _) => At::Wrong,
            (At::Size(_) | At::Semicolon | At::NameRest | At::Equals | At::ValueRest | At::QuotedEnd, b';') => At::Name,
            (At::Size(_) | At::NameRest | At::ValueRest | At::QuotedEnd, b'\r') => At::SizeLf,
            (At::Size(_) | At::Semicolon | At::ValueRest | At::QuotedEnd, b' ' | b'\t') => At::Semicolon,
            (At::Name, b' ' | b'\t') => At::Name,
            (At::Name | At::NameRest, _) if is_token(byte) => At::NameRest,
            (At::NameRest | At::Equals, b' ' | b'\t') => At::Equals,
            (At::NameRest | At::Equals, b'=') => At::Value,
            (At::Value, b' ' | b'\t') => At::Value,
            (At::Value, b'"') | (At::Escaped, b'\t' | b' '..=b'~') => At::Quoted,
            (At::Value | At::ValueRest, _) if is_token(byte) => At::ValueRest,
            (At::Quoted, b'"') => At::QuotedEnd,
            (At::Quoted, b'\\') => At::Escaped,
            (At::Quoted, b'\t' | b' '..=b'~') => At::Quoted,
            (At::SizeLf, b'\n') => {
                self.spent = 0;
                if self.size == 0 { At::TrailerLine } else { At::Data(self.size) }
            }
            (At::DataCr, b'\r') => At::DataLf,
            (At::DataLf, b'\n') => {
                (self.spent, self.size) = (0, 0);
                At::Size(0)
            }
            (At::TrailerLine, b'\r') => At::EndLf,
            (At::TrailerLine | At::TrailerName, _) if is_token(byte) => At::TrailerName,
            (At::TrailerName, b':') => At::TrailerValue,
            (At::TrailerValue, b'\r') => At::TrailerLf,
            (At::TrailerValue, b'\t' | b' '..=b'~' | 0x80..) => At::TrailerValue,
            (At::TrailerLf, b'\n') => At::TrailerLine,
            (At::EndLf, b'\n') => At::End,
            (_, _) => At::Wrong,
        }
    }
}

/// `tchar` of RFC 9110, section 5.6.2.
const fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(byte, b'!' | b'#' | b'$' | b'%' | b'&' | b'\'' | b'*' | b'+' | b'-' | b'.' | b'^' | b'_' | b'`' | b'|' | b'~')
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is found when the bytes come in one piece; it must not depend on that.
    fn end(body: &[u8]) -> At {
        let mut whole = Chunks::new();
        whole.read(body);
        let mut pieces = Chunks::new();
        for byte in body.chunks(1) {
            pieces.read(byte);
        }
        assert_eq!(whole.at, pieces.at);
        whole.at
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
            assert_eq!(end(body), At::End, "{}", String::from_utf8_lossy(body));
        }
    }

    #[test]
    fn what_stands_behind_the_end_is_not_the_body_s() {
        let body = b"5\r\nhello\r\n0\r\nA: b\r\n\r\n";
        for split in 0..=body.len() {
            let mut chunks = Chunks::new();
            assert_eq!(chunks.read(&body[..split]), Some(split));
            assert_eq!(chunks.have_ended(), split == body.len(), "{split}");
            assert_eq!(chunks.read(&[&body[split..], b"GET"].concat()), Some(body.len() - split), "{split}");
            assert!(chunks.have_ended());
        }
        assert_eq!(Chunks::new().read(b"x"), None);
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
            assert_eq!(end(body), At::Wrong, "{}", String::from_utf8_lossy(body));
        }
    }

    #[test]
    fn extensions_and_trailers_are_bounded() {
        let line = |bytes: usize| format!("1;{}\r\na\r\n0\r\n\r\n", "a".repeat(bytes - 4));
        assert_eq!(end(line(256).as_bytes()), At::End);
        assert_eq!(end(line(257).as_bytes()), At::Wrong);

        let trailer = |bytes: usize| format!("0\r\nA:{}\r\n\r\n", "a".repeat(bytes - 6));
        assert_eq!(end(trailer(8192).as_bytes()), At::End);
        assert_eq!(end(trailer(8193).as_bytes()), At::Wrong);
    }
}
