//! Is it one unambiguous, bounded request?
//!
//! HTTP/1 is checked by its head as received ([`lint`]), because the HTTP library repairs what it parses;
//! HTTP/2 is checked by its fields.

mod authority;
mod body;
mod connection;
mod field;
mod head;

use std::str;

use crate::{
    model::{Deny, Host, HttpVersion, Path, PathError, Reason, RequestView, Verdict},
    policy::Limits,
};

pub use body::Body;
pub use head::lint;

/// What hygiene proved about a request.
#[derive(Clone, Debug)]
pub struct Clean<'a> {
    /// The method: upper case, and none of CONNECT, TRACE and TRACK.
    pub method: &'a str,
    /// The requested host, in canonical form.
    pub host: Host,
    /// The port beside it.
    pub port: Option<u16>,
    /// The path.
    pub path: Path<'a>,
    /// The query, without its `?`.
    pub query: Option<&'a str>,
    /// Path and query as received: visible ASCII, beginning with `/`.
    pub target: &'a str,
    /// The announced body.
    pub body: Body,
}

/// Proves that the request is unambiguous and within bounds.
pub fn check<'a>(view: &RequestView<'a>, limits: &Limits) -> Verdict<Clean<'a>> {
    let (received, body) = match view.version {
        HttpVersion::Http10 | HttpVersion::Http11 => head::agree(view, limits)?,
        HttpVersion::Http2 => (view.target, field::check(view, limits)?),
    };
    connection::check(view)?;
    field::cookies(view)?;
    method(view.method)?;
    if received.len() > limits.uri_bytes {
        return Err(Deny::new(
            Reason::UriTooLong,
            format!("the target has {} bytes, {} are allowed", received.len(), limits.uri_bytes),
        ));
    }
    let (target, target_authority) = authority::split(received)?;
    let (host, port) = authority::check(view, target_authority)?;
    let (path, query) = match target.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (target, None),
    };
    if path.len() > limits.path_bytes {
        return Err(Deny::new(
            Reason::UriTooLong,
            format!("the path has {} bytes, {} are allowed", path.len(), limits.path_bytes),
        ));
    }
    let path = Path::parse(path.as_bytes()).map_err(|error| deny_path(&error))?;
    Ok(Clean { method: view.method, host, port, path, query, target, body })
}

/// Converts a fault in a path to a refusal.
pub(super) fn deny_path(error: &PathError) -> Deny {
    let reason = match error {
        PathError::NoSlash => Reason::TargetForm,
        PathError::Octet
        | PathError::Utf8
        | PathError::Escape
        | PathError::DoubleEncoding
        | PathError::Backslash
        | PathError::Ambiguous => Reason::PathEncoding,
        PathError::DotSegment => Reason::PathDotSegment,
        PathError::EncodedSlash => Reason::PathEncodedSlash,
        PathError::Parameter => Reason::PathParameter,
        PathError::EmptySegment => Reason::PathEmptySegment,
    };
    Deny::new(reason, error.to_string())
}

/// Refuses methods that no route can list: tunnels, echoes, and text that only looks like a method.
fn method(method: &str) -> Verdict {
    let is_upper =
        |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'_');
    let written_well = !method.is_empty() && method.len() <= MAX_METHOD_BYTES && method.bytes().all(is_upper);
    if !written_well || matches!(method, "CONNECT" | "TRACE" | "TRACK") {
        let shown: String = method.chars().take(MAX_METHOD_BYTES).collect();
        return Err(Deny::new(Reason::MethodUnknown, format!("method `{shown}`")));
    }
    Ok(())
}

/// The longest method in use, rounded up; `UPDATEREDIRECTREF` has 17.
const MAX_METHOD_BYTES: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    fn reason(text: &str) -> Option<Reason> {
        method(text).err().map(|deny| deny.reason)
    }

    #[test]
    fn tunnels_echoes_and_lower_case_are_no_methods() {
        for text in ["CONNECT", "TRACE", "TRACK", "get", "Get", "", "G@T", &"A".repeat(33)] {
            assert_eq!(reason(text), Some(Reason::MethodUnknown), "{text}");
        }
        for text in ["GET", "PROPFIND", "M-SEARCH", "VERSION-CONTROL"] {
            assert_eq!(reason(text), None, "{text}");
        }
    }
}
