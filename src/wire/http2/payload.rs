//! The payloads of DATA and HEADERS without what surrounds the data (RFC 9113, sections 6.1 and 6.2).

use super::frame_header::{PADDED, PRIORITY};

/// The length of the deprecated priority fields in HEADERS.
const PRIORITY_BYTES: usize = 5;

/// Why a payload cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PayloadError {
    /// It has no room for the fields that its flags announce.
    TooShort,
    /// The padding is longer than what follows.
    Padding,
}

/// Returns the payload of a DATA frame without its padding.
pub fn without_padding(flags: u8, payload: &[u8]) -> Result<&[u8], PayloadError> {
    let (padding, rest) = split_pad_length(flags, payload)?;
    strip(padding, rest)
}

/// Returns the fragment of a field block that a HEADERS frame carries, without padding and priority.
pub fn field_block_fragment(flags: u8, payload: &[u8]) -> Result<&[u8], PayloadError> {
    let (padding, mut rest) = split_pad_length(flags, payload)?;
    if flags & PRIORITY != 0 {
        rest = rest.get(PRIORITY_BYTES..).ok_or(PayloadError::TooShort)?;
    }
    strip(padding, rest)
}

fn split_pad_length(flags: u8, payload: &[u8]) -> Result<(usize, &[u8]), PayloadError> {
    if flags & PADDED == 0 {
        return Ok((0, payload));
    }
    let (padding, rest) = payload.split_first().ok_or(PayloadError::TooShort)?;
    Ok((usize::from(*padding), rest))
}

fn strip(padding: usize, rest: &[u8]) -> Result<&[u8], PayloadError> {
    let length = rest.len().checked_sub(padding).ok_or(PayloadError::Padding)?;
    rest.get(..length).ok_or(PayloadError::Padding)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn padding_and_priority_are_taken_off() {
        assert_eq!(without_padding(0, b"data"), Ok(&b"data"[..]));
        assert_eq!(without_padding(PADDED, b"\x02data\0\0"), Ok(&b"data"[..]));
        assert_eq!(without_padding(PADDED, b"\x02\0\0"), Ok(&b""[..]));
        assert_eq!(without_padding(PADDED, b"\x03\0\0"), Err(PayloadError::Padding));
        assert_eq!(without_padding(PADDED, b""), Err(PayloadError::TooShort));

        assert_eq!(field_block_fragment(PADDED | PRIORITY, b"\x01\0\0\0\0\0ab\0"), Ok(&b"ab"[..]));
        assert_eq!(field_block_fragment(PRIORITY, b"\0\0\0\0"), Err(PayloadError::TooShort));
        assert_eq!(field_block_fragment(PADDED | PRIORITY, b"\x01\0\0\0\0\0"), Err(PayloadError::Padding));
    }
}
