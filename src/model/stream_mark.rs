//! The field that edge appends to each HTTP/2 head for the gateway: the stream of the request, and what is
//! wrong with it.

use super::Malformed;

/// The name of the field. A client's own field of that name is dropped.
pub const STREAM_FIELD: &str = "octroi-stream";

/// The host of a request whose own host was unreadable (RFC 6761, section 6.4); the gateway treats it as
/// missing.
pub const NO_HOST: &str = "octroi.invalid";

/// What edge reports about a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamMark {
    /// Its stream.
    pub stream: u32,
    /// Why it is refused.
    pub malformed: Option<Malformed>,
}

/// The value of the field: the connection's key, which no client knows, the stream, and the number of the
/// fault.
#[derive(Clone, Copy, Debug)]
pub struct StreamText {
    text: [u8; LONGEST],
    length: usize,
}

/// 16 digits of the key, 10 of the stream, 3 of the number, and two separators.
const LONGEST: usize = 16 + 1 + 10 + 1 + 3;

impl StreamMark {
    /// Writes the value of the field.
    pub fn text(self, key: u64) -> StreamText {
        // Every request has one, so it is written by hand: `write!` takes several times as long.
        let mut text = StreamText { text: [0; LONGEST], length: 0 };
        for octet in key.to_be_bytes() {
            for half in [octet >> 4, octet & 0xf] {
                text.push(if half < 10 { b'0' + half } else { b'a' - 10 + half });
            }
        }
        text.push(b'-');
        text.number(self.stream);
        if let Some(malformed) = self.malformed {
            text.push(b'-');
            text.number(malformed.code().into());
        }
        text
    }

    /// Reads the field. `None` where the key is wrong: then a client wrote it.
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
    /// The array has room for the longest value.
    fn push(&mut self, octet: u8) {
        if let Some(place) = self.text.get_mut(self.length) {
            *place = octet;
            self.length += 1;
        }
    }

    fn number(&mut self, mut number: u32) {
        let (mut digits, mut count) = ([0; 10], 0);
        for digit in &mut digits {
            *digit = b'0' + u8::try_from(number % 10).unwrap_or(0);
            number /= 10;
            count += 1;
            if number == 0 {
                break;
            }
        }
        digits.iter().take(count).rev().for_each(|digit| self.push(*digit));
    }

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
