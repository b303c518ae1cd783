//! The head of an HTTP/1 request as it was received.

use super::{authority, body::Body};
use crate::{
    model::{Deny, HttpVersion, Reason, RequestView, Verdict},
    policy::Limits,
    wire::token::{is_token, trim},
};

/// Checks a raw head, from the request line through the empty line.
///
/// Nothing is repaired: what two parsers might read differently is refused. One pass over the bytes, no
/// allocation on the way to `Ok`.
pub fn lint(head: &[u8], limits: &Limits) -> Verdict {
    let head = read(head, limits)?;
    let authority = match authority::split(head.target) {
        Ok((_, authority)) => authority,
        Err(deny) if deny.reason == Reason::PathEncoding => return Err(deny),
        // The library says which forms there are.
        Err(_) => None,
    };
    if authority
        .zip(head.host)
        .is_some_and(|(authority, host)| !authority.as_bytes().eq_ignore_ascii_case(host))
    {
        return Err(authority::conflict());
    }
    Ok(())
}

/// Checks the raw head of a request, and that the HTTP library parsed the very same request.
///
/// The library escapes illegal targets and drops Content-Length beside Transfer-Encoding before we see them.
/// What it returns is forwarded, so both must agree.
///
/// Returns the target as received with the body: the absolute form still has its authority there.
pub(super) fn agree<'a>(view: &RequestView<'a>, limits: &Limits) -> Verdict<(&'a [u8], Body)> {
    let Some(raw) = view.head else { return Err(mismatch("the head as received is not there")) };
    let head = read(raw, limits)?;
    let (length, coding) =
        (field(view, &http::header::CONTENT_LENGTH), field(view, &http::header::TRANSFER_ENCODING));
    if head.version != view.version {
        return Err(mismatch("the version differs"));
    }
    if head.method != view.method.as_bytes() {
        return Err(mismatch("the method differs"));
    }
    // The library returns an absolute target whole or from its path on.
    if head.target != view.target && authority::split(head.target)?.0.as_bytes() != view.target {
        return Err(mismatch("the target differs"));
    }
    if head.fields != view.headers.len() {
        return Err(mismatch("the number of fields differs"));
    }
    if head.host != field(view, &http::header::HOST) {
        return Err(mismatch("Host differs"));
    }
    if head.length != length || head.chunked != coding.is_some() {
        return Err(mismatch("the length of the body differs"));
    }
    Ok((head.target, head.body))
}

/// What a head says about itself.
#[derive(Debug, PartialEq, Eq)]
struct Head<'a> {
    method: &'a [u8],
    target: &'a [u8],
    version: HttpVersion,
    fields: usize,
    host: Option<&'a [u8]>,
    length: Option<&'a [u8]>,
    chunked: bool,
    body: Body,
}

fn read<'a>(head: &'a [u8], limits: &Limits) -> Verdict<Head<'a>> {
    bounded(head, limits)?;
    let (line, mut rest) = line(head).map_err(|deny| deny.honest(!begins_http(head)))?;
    let (method, target, version) = request_line(line).map_err(|deny| deny.honest(true))?;
    if target.len() > limits.uri_bytes {
        return Err(too_long(target.len(), limits));
    }
    let mut once = Once::default();
    let mut fields = 0;
    loop {
        let (text, after) = self::line(rest)?;
        rest = after;
        if text.is_empty() {
            break;
        }
        fields += 1;
        if fields > limits.header_count {
            return Err(Deny::new(
                Reason::TooManyFields,
                format!("more than {} fields", limits.header_count),
            ));
        }
        if text.len() > limits.field_bytes {
            return Err(Deny::new(
                Reason::FieldTooLarge,
                format!("a field of {} bytes, {} are allowed", text.len(), limits.field_bytes),
            ));
        }
        once.take(text)?;
    }
    if !rest.is_empty() {
        return Err(Deny::new(Reason::HeadSyntax, "bytes after the end of the head"));
    }
    let body = once.body(version)?;
    Ok(Head {
        method,
        target,
        version,
        fields,
        host: once.host,
        length: once.length,
        chunked: once.coding.is_some(),
        body,
    })
}

/// Refuses a head over the limit; by its target if that alone is too long.
fn bounded(head: &[u8], limits: &Limits) -> Verdict {
    if head.len() <= limits.header_bytes {
        return Ok(());
    }
    let target = head
        .split(|&byte| byte == b'\n')
        .next()
        .and_then(|line| line.split(|&byte| byte == b' ').nth(1))
        .map_or(0, <[u8]>::len);
    if target > limits.uri_bytes {
        return Err(too_long(target, limits));
    }
    Err(Deny::new(Reason::HeadTooLarge, format!("the head has over {} bytes", limits.header_bytes)))
}

fn too_long(bytes: usize, limits: &Limits) -> Deny {
    Deny::new(Reason::UriTooLong, format!("the target has {bytes} bytes, {} are allowed", limits.uri_bytes))
}

/// Splits off one line. It must end in CR LF and have no control character other than TAB.
fn line(bytes: &[u8]) -> Verdict<(&[u8], &[u8])> {
    let Some((text, rest)) = memchr::memchr(b'\n', bytes).and_then(|end| bytes.split_at_checked(end)) else {
        return Err(Deny::new(Reason::HeadSyntax, "the head is not complete").honest(true));
    };
    let Some(text) = text.strip_suffix(b"\r") else {
        return Err(Deny::new(Reason::HeadOctet, "a line ends in LF without CR"));
    };
    // Without an early exit the compiler examines 16 bytes at once.
    let controls =
        text.iter().fold(false, |seen, &byte| seen | (byte < 0x20 && byte != b'\t') | (byte == 0x7f));
    if controls {
        // A page may set a value with any other control character (Fetch, section 2.2.2).
        let honest = !text.iter().any(|byte| matches!(byte, b'\0' | b'\r'));
        return Err(Deny::new(Reason::HeadOctet, "a control character in a line").honest(honest));
    }
    Ok((text, rest.get(1..).unwrap_or_default()))
}

/// Reads `method SP target SP HTTP/1.x` (RFC 9112, section 3, without its leniency).
fn request_line(line: &[u8]) -> Verdict<(&[u8], &[u8], HttpVersion)> {
    let syntax = |detail| Deny::new(Reason::HeadSyntax, detail);
    if line.is_empty() {
        return Err(syntax("an empty line before the request line"));
    }
    let mut words = line.split(|&byte| byte == b' ');
    let (Some(method), Some(target), Some(version), None) =
        (words.next(), words.next(), words.next(), words.next())
    else {
        return Err(syntax("the request line is not `method target version` with single spaces"));
    };
    if method.is_empty() || !method.iter().all(|&byte| is_token(byte)) {
        return Err(syntax("the method is not a token"));
    }
    if target.is_empty() {
        return Err(syntax("the target is empty"));
    }
    if !target.iter().all(u8::is_ascii_graphic) {
        return Err(Deny::new(Reason::HeadOctet, "the target has bytes that are not visible ASCII"));
    }
    let version = match version {
        b"HTTP/1.1" => HttpVersion::Http11,
        b"HTTP/1.0" => HttpVersion::Http10,
        _ => return Err(syntax("the version is neither HTTP/1.1 nor HTTP/1.0")),
    };
    Ok((method, target, version))
}

/// The fields that may occur once.
#[derive(Default)]
struct Once<'a> {
    host: Option<&'a [u8]>,
    length: Option<&'a [u8]>,
    coding: Option<&'a [u8]>,
    expect: Option<&'a [u8]>,
    authorization: Option<&'a [u8]>,
}

impl<'a> Once<'a> {
    /// Reads one field line.
    fn take(&mut self, line: &'a [u8]) -> Verdict {
        let syntax = |detail| Deny::new(Reason::HeadSyntax, detail);
        if matches!(line.first(), Some(b' ' | b'\t')) {
            return Err(syntax(
                "a line begins with white space: it would continue the one before (obs-fold)",
            ));
        }
        let Some((name, value)) = memchr::memchr(b':', line).and_then(|colon| line.split_at_checked(colon))
        else {
            return Err(syntax("a field line without a colon"));
        };
        if name.is_empty() || !name.iter().all(|&byte| is_token(byte)) {
            return Err(syntax("the name of a field is not a token"));
        }
        let place = match name.len() {
            4 if name.eq_ignore_ascii_case(b"host") => (&mut self.host, Reason::HeadDuplicate),
            6 if name.eq_ignore_ascii_case(b"expect") => (&mut self.expect, Reason::Expect),
            13 if name.eq_ignore_ascii_case(b"authorization") => {
                (&mut self.authorization, Reason::HeadDuplicate)
            }
            14 if name.eq_ignore_ascii_case(b"content-length") => (&mut self.length, Reason::FramingCl),
            17 if name.eq_ignore_ascii_case(b"transfer-encoding") => (&mut self.coding, Reason::FramingTe),
            _ => return Ok(()),
        };
        match place.0.replace(trim(value.get(1..).unwrap_or_default())) {
            Some(_) => Err(Deny::new(place.1, format!("{} stands twice", String::from_utf8_lossy(name)))),
            None => Ok(()),
        }
    }

    /// Checks these fields together: which body do they announce? (RFC 9112, section 6.3, without its
    /// leniency.)
    fn body(&self, version: HttpVersion) -> Verdict<Body> {
        if self.length.is_some() && self.coding.is_some() {
            return Err(Deny::new(Reason::FramingClTe, "Content-Length and Transfer-Encoding"));
        }
        if let Some(expect) = self.expect {
            expectation(expect)?;
        }
        if let Some(coding) = self.coding {
            if version == HttpVersion::Http10 {
                return Err(Deny::new(Reason::FramingTe, "Transfer-Encoding in HTTP/1.0"));
            }
            if !coding.eq_ignore_ascii_case(b"chunked") {
                return Err(Deny::new(Reason::FramingTe, "Transfer-Encoding is not `chunked`")
                    .honest(is_correct_coding(coding)));
            }
            return Ok(Body::Unknown);
        }
        let Some(length) = self.length else { return Ok(Body::Absent) };
        match content_length(length)? {
            0 => Ok(Body::Absent),
            length => Ok(Body::Length(length)),
        }
    }
}

/// Says whether the first line is a request line of HTTP, apart from its ending. Anything else is another
/// protocol.
fn begins_http(head: &[u8]) -> bool {
    let line = head.split(|&byte| matches!(byte, b'\r' | b'\n')).next().unwrap_or_default();
    request_line(line).is_ok()
}

/// Says whether these are codings that a correct client may use, although we support only the last one (RFC
/// 9112, section 7).
fn is_correct_coding(value: &[u8]) -> bool {
    let mut codings = value.split(|&byte| byte == b',').map(trim).peekable();
    while let Some(coding) = codings.next() {
        let last = codings.peek().is_none();
        let known: &[&[u8]] = &[b"gzip", b"x-gzip", b"deflate", b"compress", b"x-compress", b"identity"];
        if !(known.iter().any(|known| coding.eq_ignore_ascii_case(known))
            || (last && coding.eq_ignore_ascii_case(b"chunked")))
        {
            return false;
        }
    }
    true
}

/// Reads 1 to 18 digits, which always fit into 64 bits.
pub(super) fn content_length(value: &[u8]) -> Verdict<u64> {
    let digits =
        Some(value).filter(|value| (1..=18).contains(&value.len()) && value.iter().all(u8::is_ascii_digit));
    let number = digits.and_then(|value| std::str::from_utf8(value).ok()?.parse().ok());
    number.ok_or_else(|| Deny::new(Reason::FramingCl, "Content-Length is not 1 to 18 digits"))
}

/// Accepts `100-continue`, in any case: there is no other expectation (RFC 9110, section 10.1.1).
pub(super) fn expectation(value: &[u8]) -> Verdict {
    if value.eq_ignore_ascii_case(b"100-continue") {
        Ok(())
    } else {
        Err(Deny::new(Reason::Expect, "Expect is not `100-continue`"))
    }
}

fn field<'a>(view: &RequestView<'a>, name: &http::HeaderName) -> Option<&'a [u8]> {
    view.headers.get(name).map(|value| trim(value.as_bytes()))
}

fn mismatch(detail: &'static str) -> Deny {
    Deny::new(Reason::HeadMismatch, detail)
}
