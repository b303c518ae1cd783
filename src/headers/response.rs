//! Which fields of an upstream's answer reach the client.

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};

use crate::model::{Deny, Reason, Verdict};

/// The field in which an upstream grants a session.
pub const GRANT: HeaderName = HeaderName::from_static("octroi-session-grant");
/// The field in which an upstream ends sessions.
pub const REVOKE: HeaderName = HeaderName::from_static("octroi-session-revoke");

/// The field that tells the client the request's identifier.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("octroi-request-id");

/// Says whether a field stays between upstream and gateway, or tells strangers about the upstream. `Trailer`
/// would announce trailers that the library does not forward.
pub(super) fn is_hidden(name: &str) -> bool {
    ["octroi-", "x-octroi-", "x-aspnet"].iter().any(|prefix| name.starts_with(prefix))
        || matches!(
            name,
            "server" | "x-powered-by" | "x-aspnetmvc-version" | "proxy-connection" | "keep-alive" | "trailer"
        )
}

/// Removes hidden fields, and those of the upstream's own connection (RFC 9110, section 7.6.1).
pub fn hide(headers: &mut HeaderMap, status: StatusCode) {
    let hidden: Vec<_> = headers.keys().filter(|name| is_hidden(name.as_str())).cloned().collect();
    for name in hidden {
        headers.remove(name);
    }
    // These announce a change of protocols.
    if matches!(status, StatusCode::SWITCHING_PROTOCOLS | StatusCode::UPGRADE_REQUIRED) {
        return;
    }
    let lines = headers
        .get_all(header::CONNECTION)
        .iter()
        .flat_map(|line| line.as_bytes().split(|&byte| byte == b','));
    let nominated: Vec<_> = lines.filter_map(|name| HeaderName::from_bytes(name.trim_ascii()).ok()).collect();
    for name in
        nominated.iter().filter(|name| ![header::CONTENT_LENGTH, header::TRANSFER_ENCODING].contains(name))
    {
        headers.remove(name);
    }
    for name in [header::UPGRADE, header::TE, header::TRAILER] {
        headers.remove(name);
    }
}

/// Removes from an interim answer what has no use there. The library removes the fields of one connection
/// from final answers only (RFC 9110, section 7.6.1).
pub fn prepare_interim(headers: &mut HeaderMap, status: StatusCode) {
    // A cookie in an interim answer would escape every rule about cookies.
    headers.remove(header::SET_COOKIE);
    // No length stands where no body does (RFC 9110, section 8.6).
    headers.remove(header::CONTENT_LENGTH);
    headers.remove(header::TRANSFER_ENCODING);
    if status != StatusCode::SWITCHING_PROTOCOLS {
        for name in [
            header::CONNECTION,
            header::PROXY_AUTHENTICATE,
            HeaderName::from_static("proxy-authentication-info"),
        ] {
            headers.remove(name);
        }
    }
}

/// Proves that every reader finds the same end of an upstream's answer, and that its head is bounded.
pub fn check_framing(headers: &HeaderMap) -> Verdict {
    let refuse = |detail| Err(Deny::new(Reason::UpstreamProtocol, detail));
    let bytes: usize = headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
    if bytes > MAX_HEAD_BYTES {
        return refuse("the head of the answer has over 64 KiB");
    }
    let (length, coding) = (headers.get(header::CONTENT_LENGTH), headers.get(header::TRANSFER_ENCODING));
    if headers.get_all(header::CONTENT_LENGTH).iter().nth(1).is_some()
        || headers.get_all(header::TRANSFER_ENCODING).iter().nth(1).is_some()
    {
        return refuse("Content-Length or Transfer-Encoding stands twice in the answer");
    }
    if length.is_some() && coding.is_some() {
        return refuse("Content-Length and Transfer-Encoding in the answer");
    }
    if length.is_some_and(|length| length.is_empty() || !length.as_bytes().iter().all(u8::is_ascii_digit)) {
        return refuse("the Content-Length of the answer is not a number");
    }
    if coding.is_some_and(|coding| !coding.as_bytes().eq_ignore_ascii_case(b"chunked")) {
        return refuse("the Transfer-Encoding of the answer is not `chunked`");
    }
    Ok(())
}

/// The largest head of an answer, in bytes as HTTP/1.1 writes it.
const MAX_HEAD_BYTES: usize = 64 * 1024;

/// Says whether an answer ends sessions and begins none.
pub fn signs_out(headers: &HeaderMap) -> bool {
    headers.contains_key(REVOKE) && !headers.contains_key(GRANT)
}

/// Forbids every cache to keep an answer: it holds a session.
pub fn forbid_caching(headers: &mut HeaderMap) {
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    // RFC 9213 and its predecessor: caches obey these before Cache-Control.
    let targeted: Vec<_> = headers.keys().filter(|name| is_for_a_cache(name.as_str())).cloned().collect();
    for name in targeted {
        headers.remove(name);
    }
}

pub(super) fn is_for_a_cache(name: &str) -> bool {
    name == "surrogate-control" || name.ends_with("cdn-cache-control")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_fields_never_reach_the_client() {
        for name in [
            "octroi-session-grant",
            "octroi-session-revoke",
            "x-octroi-x",
            "server",
            "x-powered-by",
            "x-aspnet-version",
        ] {
            assert!(is_hidden(name), "{name}");
        }
        assert!(!is_hidden("content-type"));
    }

    fn map(fields: &[(&'static str, &'static str)]) -> HeaderMap {
        fields
            .iter()
            .map(|&(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
            .collect()
    }

    #[test]
    fn an_answer_has_one_end_only() {
        let reason = |fields: &[(&'static str, &'static str)]| {
            check_framing(&map(fields)).err().map(|deny| deny.reason)
        };

        for good in [&[][..], &[("content-length", "12")], &[("transfer-encoding", "Chunked")]] {
            assert_eq!(reason(good), None, "{good:?}");
        }
        for bad in [
            &[("content-length", "1"), ("content-length", "1")][..],
            &[("content-length", "1, 1")],
            &[("content-length", "+1")],
            &[("content-length", "")],
            &[("content-length", "1"), ("transfer-encoding", "chunked")],
            &[("transfer-encoding", "gzip, chunked")],
            &[("transfer-encoding", "chunked"), ("transfer-encoding", "chunked")],
            &[("transfer-encoding", "identity")],
        ] {
            assert_eq!(reason(bad), Some(Reason::UpstreamProtocol), "{bad:?}");
        }
    }

    #[test]
    fn the_fields_of_the_upstreams_connection_stay_there() {
        let mut headers = map(&[
            ("connection", "close, X-Internal, content-length"),
            ("x-internal", "1"),
            ("content-length", "2"),
            ("upgrade", "h2c"),
            ("trailer", "x"),
            ("etag", "1"),
        ]);

        hide(&mut headers, StatusCode::OK);

        let left: std::collections::BTreeSet<_> = headers.keys().map(HeaderName::as_str).collect();
        assert_eq!(left, ["connection", "content-length", "etag"].into());
    }
}
