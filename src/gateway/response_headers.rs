//! Which fields of an upstream's answer reach the client, and which are added (`security.md` 2.4).

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};

use crate::model::{Deny, Reason, Verdict};

/// Two years, subdomains too: what SSL Labs asks for A+ is half a year.
pub(super) const HSTS: &str = "max-age=63072000; includeSubDomains";

/// The field in which an upstream grants a session.
pub(super) const GRANT: HeaderName = HeaderName::from_static("octroi-session-grant");
/// The field in which an upstream ends sessions.
pub(super) const REVOKE: HeaderName = HeaderName::from_static("octroi-session-revoke");

/// The field that names the request.
pub(super) const REQUEST_ID: HeaderName = HeaderName::from_static("octroi-request-id");

/// Says whether a field of the answer stays between upstream and gateway, or tells strangers about the upstream. `Trailer` would
/// announce what the library does not hand on.
pub(super) fn is_hidden(name: &str) -> bool {
    ["octroi-", "x-octroi-", "x-aspnet"].iter().any(|prefix| name.starts_with(prefix))
        || matches!(name, "server" | "x-powered-by" | "x-aspnetmvc-version" | "proxy-connection" | "keep-alive" | "trailer")
}

/// Takes out what is hidden, and what belongs to the upstream's own connection (RFC 9110, section 7.6.1).
pub(super) fn hide(headers: &mut HeaderMap, status: StatusCode) {
    let hidden: Vec<_> = headers.keys().filter(|name| is_hidden(name.as_str())).cloned().collect();
    for name in hidden {
        headers.remove(name);
    }
    // A change of protocols is said with these.
    if matches!(status, StatusCode::SWITCHING_PROTOCOLS | StatusCode::UPGRADE_REQUIRED) {
        return;
    }
    let lines = headers.get_all(header::CONNECTION).iter().flat_map(|line| line.as_bytes().split(|&byte| byte == b','));
    let nominated: Vec<_> = lines.filter_map(|name| HeaderName::from_bytes(name.trim_ascii()).ok()).collect();
    for name in nominated.iter().filter(|name| ![header::CONTENT_LENGTH, header::TRANSFER_ENCODING].contains(name)) {
        headers.remove(name);
    }
    for name in [header::UPGRADE, header::TE, header::TRAILER] {
        headers.remove(name);
    }
}

/// Proves that everybody finds the same end of an upstream's answer, and that its head is bounded.
pub(super) fn framing(headers: &HeaderMap) -> Verdict {
    let refuse = |detail| Err(Deny::new(Reason::UpstreamProtocol, detail));
    let bytes: usize = headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
    if bytes > MAX_HEAD_BYTES {
        return refuse("the head of the answer has over 64 KiB");
    }
    let (length, coding) = (headers.get(header::CONTENT_LENGTH), headers.get(header::TRANSFER_ENCODING));
    if headers.get_all(header::CONTENT_LENGTH).iter().nth(1).is_some() || headers.get_all(header::TRANSFER_ENCODING).iter().nth(1).is_some()
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

/// The largest head of an answer (`security.md` 2.10).
const MAX_HEAD_BYTES: usize = 64 * 1024;

/// Forbids every cache to keep an answer: whoever keeps it keeps a session.
pub(super) fn keep_out_of_caches(headers: &mut HeaderMap) {
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    // RFC 9213 and its forerunner: these would be obeyed before Cache-Control.
    let targeted: Vec<_> = headers.keys().filter(|name| is_for_a_cache(name.as_str())).cloned().collect();
    for name in targeted {
        headers.remove(name);
    }
}

fn is_for_a_cache(name: &str) -> bool {
    name == "surrogate-control" || name.ends_with("cdn-cache-control")
}

/// Adds the fields that the app did not set and that every answer should have.
pub(super) fn complete(headers: &mut HeaderMap, tls: bool) {
    let mut add = |name: HeaderName, value: &'static str| {
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    };
    if tls {
        add(header::STRICT_TRANSPORT_SECURITY, HSTS);
    }
    add(header::X_CONTENT_TYPE_OPTIONS, "nosniff");
    add(header::REFERRER_POLICY, "strict-origin-when-cross-origin");
    // Framing is the app's to allow: it is forbidden only where the app says nothing at all about it.
    if !headers.contains_key(header::CONTENT_SECURITY_POLICY) && !headers.contains_key(header::X_FRAME_OPTIONS) {
        headers.insert(header::X_FRAME_OPTIONS, HeaderValue::from_static("deny"));
        headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static("frame-ancestors 'none'"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_fields_never_reach_the_client() {
        for name in ["octroi-session-grant", "octroi-session-revoke", "x-octroi-x", "server", "x-powered-by", "x-aspnet-version"] {
            assert!(is_hidden(name), "{name}");
        }
        assert!(!is_hidden("content-type"));
    }

    #[test]
    fn what_the_app_says_about_framing_stands() {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static("frame-ancestors 'self'"));

        complete(&mut headers, true);

        assert!(headers.contains_key(header::STRICT_TRANSPORT_SECURITY));
        assert!(!headers.contains_key(header::X_FRAME_OPTIONS));
        assert_eq!(headers[header::CONTENT_SECURITY_POLICY], "frame-ancestors 'self'");
    }

    #[test]
    fn plain_answers_have_no_hsts() {
        let mut headers = HeaderMap::new();

        complete(&mut headers, false);

        assert!(!headers.contains_key(header::STRICT_TRANSPORT_SECURITY));
    }

    fn map(fields: &[(&'static str, &'static str)]) -> HeaderMap {
        fields.iter().map(|&(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value))).collect()
    }

    #[test]
    fn an_answer_has_one_end_only() {
        let reason = |fields: &[(&'static str, &'static str)]| framing(&map(fields)).err().map(|deny| deny.reason);

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
