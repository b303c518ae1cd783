//! Where the body of an answer ends (RFC 9112, section 6.3).

use bytes::{Buf, Bytes, BytesMut};
use http::{HeaderValue, StatusCode, header};

use super::head::Head;

/// The longest line with the size of a chunk, extensions included.
const MAX_SIZE_LINE: usize = 1024;
/// The most octets of trailers. They are dropped: they were not announced to the client.
const MAX_TRAILERS: usize = 16 * 1024;

/// Says whether an answer has no body because of its status, whatever its head announces (RFC 9112, section
/// 6.3). RFC 9110, section
/// 15.3.6, leaves it to the framing that 205 has none: some clients look for none all the same.
pub(crate) fn has_none(status: StatusCode) -> bool {
    matches!(status, StatusCode::NO_CONTENT | StatusCode::RESET_CONTENT | StatusCode::NOT_MODIFIED)
}

/// Says whether an answer without a body announces one of which octets may follow. (304 and answers to HEAD
/// may state the length of another answer.) The end of such a body is uncertain (RFC 9112, section 6.1; RFC
/// 9110, section 8.6).
pub(crate) fn is_announced_in_vain(head: &Head) -> bool {
    let announces = |length: &HeaderValue| length != "0";
    let headers = &head.headers;
    let chunked = headers.contains_key(header::TRANSFER_ENCODING);
    match head.status {
        // Without a length, it ends with its connection.
        StatusCode::RESET_CONTENT => headers.get(header::CONTENT_LENGTH).is_none_or(announces) || chunked,
        status if status == StatusCode::NO_CONTENT || status.is_informational() => {
            headers.get_all(header::CONTENT_LENGTH).iter().any(announces) || chunked
        }
        _ => false,
    }
}

/// Says whether a server frames an answer without a body as one that has a body, whatever length it tells of:
/// a 304 with a length, even 0, and any 205, which ends by its length alone (RFC 9110, section 15.3.6). A
/// handler that is not aware of the status may yet send one.
pub(crate) fn is_framed_without_a_body(head: &Head) -> bool {
    let is_framed = || {
        [header::TRANSFER_ENCODING, header::CONTENT_LENGTH].iter().any(|name| head.headers.contains_key(name))
    };
    head.status == StatusCode::RESET_CONTENT || (head.status == StatusCode::NOT_MODIFIED && is_framed())
}

/// Removes the framing fields of an answer without a body. The length in a 304 is that of another answer.
pub(crate) fn remove_framing(head: &mut Head) {
    if matches!(head.status, StatusCode::NO_CONTENT | StatusCode::RESET_CONTENT) {
        head.headers.remove(header::TRANSFER_ENCODING);
        head.headers.remove(header::CONTENT_LENGTH);
    }
    if head.status == StatusCode::RESET_CONTENT {
        head.headers.insert(header::CONTENT_LENGTH, HeaderValue::from_static("0"));
    }
}

/// A body on its way.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Body {
    /// It is over.
    Over,
    /// This many octets are still to come.
    Counted(u64),
    /// Chunks.
    Chunked(Chunked),
    /// Everything until the server closes.
    UntilClosed,
    /// The server closed, which was the end.
    Closed,
}

/// Where the reading of chunks stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Chunked {
    /// The line with the size of the next one.
    Size,
    /// This many octets of it are still to come.
    Data(u64),
    /// The line end behind its data.
    DataEnd,
    /// Trailers; this many octets of them have come.
    Trailers(usize),
}

impl Body {
    /// Reads off the head where the body ends. The head has passed `response_headers::framing`: one length,
    /// or `chunked`, or neither.
    pub(crate) fn of(head: &Head, without_body: bool) -> Result<Self, &'static str> {
        if without_body {
            return Ok(Self::Over);
        }
        if head.headers.contains_key(header::TRANSFER_ENCODING) {
            return Ok(Self::Chunked(Chunked::Size));
        }
        let Some(length) = head.headers.get(header::CONTENT_LENGTH) else { return Ok(Self::UntilClosed) };
        match length.to_str().ok().and_then(|digits| digits.parse().ok()) {
            Some(0) => Ok(Self::Over),
            Some(length) => Ok(Self::Counted(length)),
            None => Err("the Content-Length of the answer is no length"),
        }
    }

    /// Says whether nothing more is to come.
    pub(crate) const fn is_over(&self) -> bool {
        matches!(self, Self::Over | Self::Closed)
    }

    /// Returns how much is to come, where that is known.
    pub(crate) const fn left(&self) -> Option<u64> {
        match self {
            Self::Over | Self::Closed => Some(0),
            Self::Counted(left) => Some(*left),
            Self::Chunked(_) | Self::UntilClosed => None,
        }
    }

    /// Takes the next piece off the front of the unread octets. `None` means that more is needed, or that the
    /// body has ended.
    pub(crate) fn next(&mut self, unread: &mut BytesMut) -> Result<Option<Bytes>, &'static str> {
        match self {
            Self::Over | Self::Closed => Ok(None),
            Self::UntilClosed => Ok((!unread.is_empty()).then(|| unread.split().freeze())),
            Self::Counted(left) => {
                let piece = take(unread, left);
                if *left == 0 {
                    *self = Self::Over;
                }
                Ok(piece)
            }
            Self::Chunked(state) => {
                let piece = state.next(unread)?;
                if piece.is_none() && *state == Chunked::OVER {
                    *self = Self::Over;
                }
                Ok(piece)
            }
        }
    }

    /// Notes that the server closed, which is an error where the body is incomplete.
    pub(crate) fn closed(&mut self) -> Result<(), &'static str> {
        match self {
            Self::UntilClosed => {
                *self = Self::Closed;
                Ok(())
            }
            Self::Over | Self::Closed => Ok(()),
            Self::Counted(_) | Self::Chunked(_) => Err("the upstream closed within the body"),
        }
    }
}

impl Chunked {
    /// Behind the last line.
    const OVER: Self = Self::Trailers(usize::MAX);

    fn next(&mut self, unread: &mut BytesMut) -> Result<Option<Bytes>, &'static str> {
        loop {
            match self {
                Self::Size => {
                    let Some(line) = line(unread, MAX_SIZE_LINE)? else { return Ok(None) };
                    *self = match size(&line)? {
                        0 => Self::Trailers(0),
                        size => Self::Data(size),
                    };
                }
                Self::Data(left) => {
                    let piece = take(unread, left);
                    if *left == 0 {
                        *self = Self::DataEnd;
                    }
                    return Ok(piece);
                }
                Self::DataEnd => {
                    let Some(end) = unread.get(..2) else { return Ok(None) };
                    if end != b"\r\n" {
                        return Err("a chunk of the answer is longer than it says");
                    }
                    unread.advance(2);
                    *self = Self::Size;
                }
                Self::Trailers(usize::MAX) => return Ok(None),
                Self::Trailers(seen) => {
                    let Some(line) = line(unread, MAX_TRAILERS)? else { return Ok(None) };
                    *seen += line.len() + 2;
                    if line.is_empty() {
                        *self = Self::OVER;
                    } else if *seen > MAX_TRAILERS {
                        return Err("the trailers of the answer are too long");
                    }
                }
            }
        }
    }
}

/// Takes as much as is there and belongs to the body.
fn take(unread: &mut BytesMut, left: &mut u64) -> Option<Bytes> {
    let there = usize::try_from(*left).unwrap_or(usize::MAX).min(unread.len());
    *left -= u64::try_from(there).unwrap_or(0);
    (there > 0).then(|| unread.split_to(there).freeze())
}

/// Takes a line that ends in CR LF.
fn line(unread: &mut BytesMut, most: usize) -> Result<Option<Bytes>, &'static str> {
    match memchr::memchr(b'\n', unread) {
        Some(end) if end <= most => {
            let mut line = unread.split_to(end + 1).freeze();
            if !line.ends_with(b"\r\n") {
                return Err("a line of the answer's chunks ends without CR");
            }
            line.truncate(end - 1);
            Ok(Some(line))
        }
        None if unread.len() <= most => Ok(None),
        Some(_) | None => Err("a line of the answer's chunks is too long"),
    }
}

/// Reads the size of a chunk. What an app puts behind it (`;name=value`) says nothing about the framing.
fn size(line: &[u8]) -> Result<u64, &'static str> {
    let bad = "the size of a chunk of the answer is malformed";
    let digits = line.split(|&byte| byte == b';').next().unwrap_or_default().trim_ascii_end();
    if !(1..=16).contains(&digits.len()) || !digits.iter().all(u8::is_ascii_hexdigit) || line.contains(&b'\r')
    {
        return Err(bad);
    }
    std::str::from_utf8(digits).ok().and_then(|digits| u64::from_str_radix(digits, 16).ok()).ok_or(bad)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Feeds the octets in pieces of a size; returns the body, and what was left unread behind it.
    fn read(mut body: Body, bytes: &[u8], pieces: usize) -> Result<(Vec<u8>, usize), &'static str> {
        let (mut unread, mut got) = (BytesMut::new(), Vec::new());
        let mut rest = bytes.chunks(pieces);
        loop {
            match body.next(&mut unread)? {
                Some(piece) => got.extend_from_slice(&piece),
                None if body.is_over() => {
                    return Ok((got, unread.len() + rest.map(<[u8]>::len).sum::<usize>()));
                }
                None => match rest.next() {
                    Some(piece) => unread.extend_from_slice(piece),
                    None => body.closed()?,
                },
            }
        }
    }

    fn chunked(bytes: &[u8]) -> Result<(Vec<u8>, usize), &'static str> {
        let whole = read(Body::Chunked(Chunked::Size), bytes, bytes.len().max(1));
        for pieces in 1..4 {
            assert_eq!(
                read(Body::Chunked(Chunked::Size), bytes, pieces),
                whole,
                "{:?}",
                String::from_utf8_lossy(bytes)
            );
        }
        whole
    }

    #[test]
    fn an_answer_without_a_body_leaves_no_doubt_about_one() {
        let answer = |status: u16, fields: &[(&'static str, &'static str)]| {
            let mut head =
                Head { status: StatusCode::from_u16(status).unwrap(), headers: http::HeaderMap::new() };
            for &(name, value) in fields {
                head.headers.append(name, HeaderValue::from_static(value));
            }
            let in_vain = is_announced_in_vain(&head);
            remove_framing(&mut head);
            let left = ["content-length", "transfer-encoding"]
                .map(|name| head.headers.get(name).map(|value| value.to_str().unwrap().to_owned()));
            (in_vain, left[0].clone(), left[1].is_some())
        };
        let zero = || Some("0".to_owned());

        assert_eq!(answer(204, &[]), (false, None, false));
        assert_eq!(answer(204, &[("content-length", "0")]), (false, None, false));
        assert_eq!(answer(204, &[("content-length", "5")]), (true, None, false));
        assert_eq!(answer(204, &[("transfer-encoding", "chunked")]), (true, None, false));
        assert_eq!(answer(205, &[("content-length", "0")]), (false, zero(), false));
        assert_eq!(answer(205, &[("content-length", "5")]), (true, zero(), false));
        assert_eq!(answer(205, &[("transfer-encoding", "chunked")]), (true, zero(), false));
        assert_eq!(answer(205, &[]), (true, zero(), false));
        assert_eq!(answer(304, &[("content-length", "5")]), (false, Some("5".to_owned()), false));
        assert_eq!(answer(304, &[("transfer-encoding", "chunked")]), (false, None, true));
        assert!(answer(103, &[("content-length", "5")]).0);
        assert!(answer(103, &[("transfer-encoding", "chunked")]).0);
        assert_eq!(answer(200, &[("transfer-encoding", "chunked")]), (false, None, true));
    }

    #[test]
    fn a_counted_body_ends_where_it_says() {
        assert_eq!(read(Body::Counted(3), b"abcde", 2), Ok((b"abc".to_vec(), 2)));
        assert_eq!(read(Body::Counted(3), b"ab", 2), Err("the upstream closed within the body"));
        assert_eq!(read(Body::UntilClosed, b"abc", 2), Ok((b"abc".to_vec(), 0)));
    }

    #[test]
    fn chunks_are_put_together_whatever_the_reads() {
        assert_eq!(
            chunked(b"3\r\nabc\r\n0A;x=\"y\"\r\n0123456789\r\n0\r\n\r\nnext"),
            Ok((b"abc0123456789".to_vec(), 4))
        );
        assert_eq!(chunked(b"1 \r\na\r\n000\r\nTrailer: x\r\nOther: y\r\n\r\n"), Ok((b"a".to_vec(), 0)));
    }

    #[test]
    fn malformed_chunks_are_refused() {
        for bad in [
            &b"3\nabc\r\n0\r\n\r\n"[..],
            b"3\r\nabcd\r\n0\r\n\r\n",
            b"+3\r\nabc\r\n0\r\n\r\n",
            b"0x3\r\nabc\r\n0\r\n\r\n",
            b"\r\nabc",
            b"11111111111111111\r\n",
            b"3;a\rb\r\nabc\r\n0\r\n\r\n",
            b"0\r\nTrailer: x\n\r\n",
        ] {
            assert!(chunked(bad).is_err(), "{:?}", String::from_utf8_lossy(bad));
        }
        assert!(read(Body::Chunked(Chunked::Size), &[b'1'; 2000], 100).is_err());
        let endless = [&b"0\r\n"[..], &b"a: b\r\n".repeat(5000)].concat();
        assert_eq!(
            read(Body::Chunked(Chunked::Size), &endless, 4000),
            Err("the trailers of the answer are too long")
        );
    }

    proptest::proptest! {
        #[test]
        fn any_octets_end_somewhere(bytes in proptest::collection::vec(proptest::sample::select(&b"012a;\r\n:x"[..]), 0..60), pieces in 1_usize..9) {
            let once = read(Body::Chunked(Chunked::Size), &bytes, bytes.len().max(1));
            proptest::prop_assert_eq!(read(Body::Chunked(Chunked::Size), &bytes, pieces), once);
        }
    }
}
