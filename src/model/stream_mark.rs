//! The field that edge puts at the end of each HTTP/2 head, for the gateway: on which stream it came, and what is wrong with it.

use std::io::Write as _;

use super::Malformed;

/// The name of the field. A client's own of that name is dropped.
pub const STREAM_FIELD: &str = "octroi-stream";

/// The host of a request of which no host could be read (RFC 6761, section 6.4); the gateway takes it for none.
pub const NO_HOST: &str = "octroi.invalid";

/// What edge says of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamMark {
    /// Its stream.
    pub stream: u32,
    /// Why it is refused.
    pub malformed: Option<Malformed>,
}

/// The value of the field: the key of the connection, which no client knows, the stream, and the number of what is wrong.
#[derive(Clone, Copy, Debug)]
pub struct StreamText {
    text: [u8; LONGEST],
    length: usize,
}

/// 16 digits of the key, 10 of the stream, 3 of the number, and what stands between them.
const LONGEST: usize = 16 + 1 + 10 + 1 + 3;

impl StreamMark {
    /// Writes the value of the field.
    pub fn text(self, key: u64) -> StreamText {
        let mut text = [0; LONGEST];
        let mut rest = &mut text[..];
        // All that there can be has room.
        let _ = write!(rest, "{key:016x}-{}", self.stream);
        if let Some(malformed) = self.malformed {
            let _ = write!(rest, "-{}", malformed.code());
        }
        let left = rest.len();
        StreamText { text, length: LONGEST - left }
    }

    /// Reads it. Nothing where the key is another: then a client has written it.
    pub(super) fn read(value: &[u8], key: u64) -> Option<Self> {
        let mut parts = std::str::from_utf8(value).ok()?.splitn(3, '-').skip(1);
        let stream = parts.next()?.parse().ok()?;
        let malformed = match parts.next() {
            Some(code) => Some(Malformed::of(code.parse().ok()?)?),
            None => None,
        };
        let mark = Self { stream, malformed };
        let expected = mark.text(key);
        bool::from(subtle::ConstantTimeEq::ct_eq(expected.as_bytes(), value)).then_some(mark)
    }
}

impl StreamText {
    /// Returns the text.
    pub fn as_bytes(&self) -> &[u8] {
        self.text.get(..self.length).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_key_of_the_connection_makes_a_mark() {
        for stream in [0, 1, 4_294_967_295] {
            for malformed in Malformed::ALL.iter().copied().map(Some).chain([None]) {
                let mark = StreamMark { stream, malformed };
                let text = mark.text(u64::MAX);
                assert_eq!(StreamMark::read(text.as_bytes(), u64::MAX), Some(mark));
                assert_eq!(StreamMark::read(text.as_bytes(), u64::MAX - 1), None);
            }
        }
        let written = StreamMark { stream: 5, malformed: None }.text(0xfeed_0000_0000_0001);
        assert_eq!(written.as_bytes(), b"feed000000000001-5");
        for other in [
            "",
            "-",
            "5",
            "feed000000000001-",
            "feed000000000001-05",
            "feed000000000001-5-",
            "feed000000000001-5-250",
            "feed000000000001-5-1-1",
            "FEED000000000001-5",
        ] {
            assert_eq!(StreamMark::read(other.as_bytes(), 0xfeed_0000_0000_0001), None, "{other}");
        }
    }
}
