//! The head of a request as it leaves, and of an answer as it comes.

use bytes::{Buf, Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};

/// The largest head of an answer, over HTTP/1.1 and HTTP/2.
pub(crate) const MAX_HEAD_BYTES: usize = 64 * 1024;
/// How many fields an answer has at the most.
const MAX_FIELDS: usize = 256;
/// A usual head fits into this.
const USUAL_BYTES: usize = 1024;

/// Writes the head of a request. Names and values are those of the map, so no line can hold another; the
/// target is judged here again.
///
/// Nothing where the target is not a path.
pub(crate) fn request(method: &Method, target: &str, headers: &HeaderMap) -> Option<Bytes> {
    if !target.starts_with('/') || !target.bytes().all(|byte| byte.is_ascii_graphic()) {
        return None;
    }
    let mut out = Vec::with_capacity(USUAL_BYTES);
    for part in [method.as_str(), " ", target, " HTTP/1.1\r\n"] {
        out.extend_from_slice(part.as_bytes());
    }
    for (name, value) in headers {
        out.extend_from_slice(name.as_str().as_bytes());
        out.extend_from_slice(b": ");
        out.extend_from_slice(value.as_bytes());
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(b"\r\n");
    Some(Bytes::from(out))
}

/// The head of an answer.
#[derive(Debug)]
pub(crate) struct Head {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
}

/// Reads a head off the front of what has come, if it is whole, and whether the connection may serve another
/// exchange (RFC 9112, section 9.3). `known` octets were looked at before and held no end.
pub(crate) fn parse(unread: &mut BytesMut, known: usize) -> Result<Option<(Head, bool)>, &'static str> {
    // A long head that comes in drops is parsed once, at its end.
    let from = known.saturating_sub(3);
    if unread.get(from..).is_none_or(|rest| !has_end(rest)) {
        return Ok(None);
    }
    let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
    let mut answer = httparse::Response::new(&mut fields);
    let mut parser = httparse::ParserConfig::default();
    // RFC 9112, section 5.1: a proxy takes such white space out of an answer.
    parser.allow_spaces_after_header_name_in_responses(true);
    let end = match parser.parse_response(&mut answer, unread) {
        Ok(httparse::Status::Complete(end)) => end,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(httparse::Error::TooManyHeaders) => return Err("the answer has over 256 fields"),
        Err(_) => return Err("the head of the answer is malformed"),
    };
    if end > MAX_HEAD_BYTES {
        return Err("the head of the answer has over 64 KiB");
    }
    let malformed = "the head of the answer is malformed";
    let status = answer.code.and_then(|code| StatusCode::from_u16(code).ok()).ok_or(malformed)?;
    let is_http11 = answer.version == Some(1);
    let mut headers = HeaderMap::with_capacity(answer.headers.len() + 8);
    for field in answer.headers.iter() {
        let name = HeaderName::from_bytes(field.name.as_bytes()).map_err(|_| malformed)?;
        headers.append(name, HeaderValue::from_bytes(field.value).map_err(|_| malformed)?);
    }
    // Framing that HTTP/1.0 does not know (RFC 9112, section 6.1).
    if !is_http11 && headers.contains_key(header::TRANSFER_ENCODING) {
        return Err("Transfer-Encoding in an answer of HTTP/1.0");
    }
    let keeps = is_http11 && !says_close(&headers);
    unread.advance(end);
    Ok(Some((Head { status, headers }, keeps)))
}

fn has_end(bytes: &[u8]) -> bool {
    memchr::memchr_iter(b'\n', bytes)
        .any(|at| matches!(bytes.get(at + 1..), Some([b'\n', ..] | [b'\r', b'\n', ..])))
}

fn says_close(headers: &HeaderMap) -> bool {
    let words = headers
        .get_all(header::CONNECTION)
        .iter()
        .flat_map(|line| line.as_bytes().split(|&byte| byte == b','));
    words.into_iter().any(|word| word.trim_ascii().eq_ignore_ascii_case(b"close"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8]) -> Result<Option<(u16, bool, usize)>, &'static str> {
        let mut unread = BytesMut::from(bytes);
        let head = parse(&mut unread, 0)?;
        Ok(head.map(|(head, keeps)| (head.status.as_u16(), keeps, unread.len())))
    }

    #[test]
    fn a_request_is_written_as_it_is_read() {
        let mut headers = HeaderMap::new();
        headers.append(header::HOST, HeaderValue::from_static("a.test"));
        headers.append("x-a", HeaderValue::from_static("1"));
        headers.append("x-a", HeaderValue::from_static("2"));

        let head = request(&Method::GET, "/a?b=c", &headers).unwrap();

        assert_eq!(head, "GET /a?b=c HTTP/1.1\r\nhost: a.test\r\nx-a: 1\r\nx-a: 2\r\n\r\n");
        for bad in ["", "a", "/a b", "/\r\nX: 1", "/\u{e9}", "//a\0"] {
            assert!(request(&Method::GET, bad, &headers).is_none(), "{bad:?}");
        }
    }

    #[test]
    fn an_answer_says_whether_its_connection_stays() {
        assert_eq!(read(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx"), Ok(Some((200, true, 1))));
        assert_eq!(
            read(b"HTTP/1.1 204 No Content\r\nConnection: foo, Close\r\n\r\n"),
            Ok(Some((204, false, 0)))
        );
        assert_eq!(read(b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n\r\n"), Ok(Some((200, false, 0))));
    }

    #[test]
    fn a_head_is_whole_or_none() {
        let whole = b"HTTP/1.1 200 OK\r\nA: b\r\n\r\n";

        for end in 0..whole.len() {
            assert_eq!(read(&whole[..end]), Ok(None), "{end}");
        }
    }

    #[test]
    fn what_two_readers_may_read_differently_is_refused() {
        for bad in [
            &b"HTTP/1.1 200 OK\r\nA: b\r\n c\r\n\r\n"[..],
            b"HTTP/1.1 200 OK\r\nA b\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nA: b\0\r\n\r\n",
            b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
            b"HTTP/2 200\r\n\r\n",
            b"SSH-2.0-x\r\n\r\n",
            b"HTTP/1.1 99 x\r\n\r\n",
        ] {
            assert!(read(bad).is_err(), "{:?}", String::from_utf8_lossy(bad));
        }
        let many = [&b"HTTP/1.1 200 OK\r\n"[..], &b"a: b\r\n".repeat(257), b"\r\n"].concat();
        assert_eq!(read(&many), Err("the answer has over 256 fields"));
    }
}
