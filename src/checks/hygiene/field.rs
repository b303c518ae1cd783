//! The fields of an HTTP/2 request, within the bounds and rules that the raw head has in HTTP/1; cookies of
//! both.

use http::{HeaderName, header};

use super::{
    body::Body,
    head::{content_length, expectation},
};
use crate::{
    model::{Deny, Reason, RequestView, Verdict},
    policy::Limits,
};

/// Checks the fields of an HTTP/2 request.
pub(super) fn check(view: &RequestView<'_>, limits: &Limits) -> Verdict<Body> {
    if view.headers.len() > limits.header_count {
        return Err(Deny::new(
            Reason::TooManyFields,
            format!("{} fields, {} are allowed", view.headers.len(), limits.header_count),
        ));
    }
    let mut bytes = view.target.len() + view.authority.map_or(0, str::len) + view.method.len();
    for (name, value) in view.headers {
        let field = name.as_str().len() + value.len();
        if field > limits.field_bytes {
            return Err(Deny::new(
                Reason::FieldTooLarge,
                format!("a field of {field} bytes, {} are allowed", limits.field_bytes),
            ));
        }
        bytes += field;
        if is_of_connection(name) {
            // The only one of these that a browser lets a page set.
            let honest = name == "http2-settings";
            return Err(Deny::new(Reason::ConnectionField, format!("{name} in HTTP/2")).honest(honest));
        }
        if name == header::TRANSFER_ENCODING {
            return Err(Deny::new(Reason::FramingTe, "Transfer-Encoding in HTTP/2"));
        }
        if name == header::TE && !value.as_bytes().eq_ignore_ascii_case(b"trailers") {
            return Err(Deny::new(Reason::ConnectionField, "te other than `trailers` in HTTP/2"));
        }
    }
    if bytes > limits.header_bytes {
        return Err(Deny::new(
            Reason::HeadTooLarge,
            format!("the head has {bytes} bytes, {} are allowed", limits.header_bytes),
        ));
    }
    once(view, &header::AUTHORIZATION, Reason::HeadDuplicate)?;
    if let Some(expect) = once(view, &header::EXPECT, Reason::Expect)? {
        expectation(expect)?;
    }
    match once(view, &header::CONTENT_LENGTH, Reason::FramingCl)?.map(content_length).transpose()? {
        Some(0) => Ok(Body::Absent),
        Some(length) => Ok(Body::Length(length)),
        None => Ok(Body::Unknown),
    }
}

/// Bounds the cookies, because the next parser may be slow. RFC 9113, section 8.2.3, allows HTTP/2 to spread
/// them over lines.
pub(super) fn cookies(view: &RequestView<'_>) -> Verdict {
    let (mut pairs, mut bytes) = (0, 0);
    for line in view.headers.get_all(header::COOKIE) {
        pairs += 1 + memchr::memchr_iter(b';', line.as_bytes()).count();
        bytes += line.len();
    }
    if pairs > MAX_COOKIES || bytes > MAX_COOKIE_BYTES {
        return Err(Deny::new(Reason::CookieTooLarge, format!("{pairs} cookies of {bytes} bytes")));
    }
    Ok(())
}

/// Returns the value of a field that may occur once.
fn once<'a>(view: &RequestView<'a>, name: &HeaderName, twice: Reason) -> Verdict<Option<&'a [u8]>> {
    let mut values = view.headers.get_all(name).iter();
    let first = values.next();
    if values.next().is_some() {
        return Err(Deny::new(twice, format!("{name} stands twice")));
    }
    Ok(first.map(http::HeaderValue::as_bytes))
}

/// Says whether a field is specific to an HTTP/1 connection (RFC 9113, section 8.2.2).
fn is_of_connection(name: &HeaderName) -> bool {
    name == header::CONNECTION
        || name == header::UPGRADE
        || matches!(name.as_str(), "keep-alive" | "proxy-connection" | "http2-settings")
}

/// The most cookies.
const MAX_COOKIES: usize = 100;
/// The most bytes of cookies.
const MAX_COOKIE_BYTES: usize = 16 * 1024;
