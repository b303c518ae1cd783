//! Which fields of an upstream's answer reach the client, and which are added (`security.md` 2.4).

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};

use crate::model::{Deny, Reason, Verdict};

/// Fields that an answer of the app has unless the app, or `headers.response` of the tenant, says otherwise: name, value, where.
pub static DEFAULT_FIELDS: [(HeaderName, &str, &str); 5] = [
    // Two years: what SSL Labs asks for A+ is half a year. Whose the hosts below are only the tenant knows.
    (header::STRICT_TRANSPORT_SECURITY, "max-age=63072000", "the client came over TLS"),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff", "always"),
    (header::REFERRER_POLICY, "strict-origin-when-cross-origin", "always"),
    (header::X_FRAME_OPTIONS, "deny", "neither the app nor the tenant says who may frame it"),
    (header::CONTENT_SECURITY_POLICY, "frame-ancestors 'none'", "the same; beside a policy that the app has"),
];

/// Fields of octroi's own refusals, redirects and error pages. `headers.response` of the tenant holds for them too, but not for how they are
/// cached.
pub const OWN_FIELDS: [(&str, &str, &str); 6] = [
    ("cache-control", "no-store", "always, whatever the tenant says"),
    ("content-security-policy", "default-src 'none'; frame-ancestors 'none'", "always"),
    ("x-content-type-options", "nosniff", "always"),
    ("referrer-policy", "no-referrer", "always"),
    ("x-frame-options", "deny", "always"),
    ("strict-transport-security", "max-age=63072000", "the client came over TLS, and the tenant is known"),
];

/// What a tenant says of the fields of its answers; an empty value takes a field away.
pub(super) type Words = [(HeaderName, HeaderValue)];

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

/// Takes out what is of one connection and what ends it: the library says that of final answers only (RFC 9110, section 7.6.1).
pub(super) fn leave_connection(headers: &mut HeaderMap) {
    for name in [header::CONNECTION, header::PROXY_AUTHENTICATE, HeaderName::from_static("proxy-authentication-info")] {
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

/// Puts in what the tenant says, and then the fields that every answer should have where neither it nor the app says anything about them.
/// `secure` says whether the client came over TLS.
pub(super) fn complete(headers: &mut HeaderMap, secure: bool, words: &Words) {
    for (name, value) in words {
        if value.is_empty() || !may_say(name, secure) {
            headers.remove(name);
        } else {
            headers.insert(name.clone(), value.clone());
        }
    }
    let framed = says_who_may_frame(headers);
    for &(ref name, value, _) in &DEFAULT_FIELDS {
        // Browsers obey every policy, so that one more takes nothing from the app's own.
        let adds = name == header::CONTENT_SECURITY_POLICY;
        let by_app = if adds || name == header::X_FRAME_OPTIONS { framed } else { headers.contains_key(name) };
        let said = by_app || words.iter().any(|(own, _)| own == name);
        if !said && may_say(name, secure) {
            headers.append(name.clone(), HeaderValue::from_static(value));
        }
    }
}

/// Says whether a field may be said at all: HSTS is for answers over TLS only (RFC 6797, section 7.2).
pub(super) fn may_say(name: &HeaderName, secure: bool) -> bool {
    secure || name != header::STRICT_TRANSPORT_SECURITY
}

/// Says whether an answer has a word about who may frame it. A policy that only reports forbids nothing, and one without
/// `frame-ancestors` allows everybody: no other directive stands for it (CSP3, section 6.4.2).
fn says_who_may_frame(headers: &HeaderMap) -> bool {
    let policies = headers.get_all(header::CONTENT_SECURITY_POLICY).iter();
    let mut directives = policies.flat_map(|line| line.as_bytes().split(|&byte| matches!(byte, b',' | b';')));
    let is_about_framing = |directive: &[u8]| {
        let name = directive.trim_ascii_start().split(u8::is_ascii_whitespace).next();
        name.is_some_and(|name| name.eq_ignore_ascii_case(b"frame-ancestors"))
    };
    headers.contains_key(header::X_FRAME_OPTIONS) || directives.any(is_about_framing)
}

/// Says whether a field of a refusal tells what it is, how it is kept or what the client does next: no tenant has a word about that.
pub(super) fn is_of_the_refusal(name: &HeaderName) -> bool {
    is_for_a_cache(name.as_str())
        || matches!(
            name.as_str(),
            "accept-ranges"
                | "age"
                | "allow"
                | "cache-control"
                | "content-disposition"
                | "content-encoding"
                | "content-language"
                | "content-location"
                | "content-range"
                | "content-type"
                | "date"
                | "etag"
                | "expires"
                | "last-modified"
                | "location"
                | "pragma"
                | "ratelimit"
                | "ratelimit-policy"
                | "refresh"
                | "retry-after"
                | "vary"
                | "www-authenticate"
        )
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

    /// What an answer with these fields says, by name.
    fn completed(fields: &[(&'static str, &'static str)], words: &[(&'static str, &'static str)], name: &HeaderName) -> Vec<String> {
        let mut headers = map(fields);
        let words: Vec<_> = words.iter().map(|&(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value))).collect();
        complete(&mut headers, true, &words);
        headers.get_all(name).iter().map(|value| value.to_str().unwrap().to_owned()).collect()
    }

    #[test]
    fn what_the_app_says_about_framing_stands_and_what_it_does_not_say_is_said() {
        const CSP: HeaderName = header::CONTENT_SECURITY_POLICY;
        const XFO: HeaderName = header::X_FRAME_OPTIONS;
        let csp = "content-security-policy";

        for said in [
            "frame-ancestors 'self'",
            "default-src 'self'; Frame-Ancestors https://a.test",
            "default-src 'self' ,\tframe-ancestors *",
            "frame-ancestors",
        ] {
            assert_eq!(completed(&[(csp, said)], &[], &CSP), [said]);
            assert_eq!(completed(&[(csp, said)], &[], &XFO), [""; 0], "{said}");
            assert_eq!(completed(&[(csp, "default-src *"), (csp, said)], &[], &CSP), ["default-src *", said]);
        }
        for silent in ["default-src 'self'", "frame-src 'none'", "x-frame-ancestors *", "script-src a; child-src frame-ancestors", ""] {
            assert_eq!(completed(&[(csp, silent)], &[], &CSP), [silent, "frame-ancestors 'none'"]);
            assert_eq!(completed(&[(csp, silent)], &[], &XFO), ["deny"], "{silent}");
        }
        let reports = [("content-security-policy-report-only", "frame-ancestors *")];
        assert_eq!(
            (completed(&reports, &[], &CSP), completed(&reports, &[], &XFO)),
            (vec!["frame-ancestors 'none'".to_owned()], vec!["deny".to_owned()])
        );
        let own = [("x-frame-options", "SAMEORIGIN"), (csp, "default-src *")];
        assert_eq!(completed(&own, &[], &XFO), ["SAMEORIGIN"]);
        assert_eq!(completed(&own, &[], &CSP), ["default-src *"]);
    }

    #[test]
    fn what_the_tenant_says_of_a_default_field_is_not_said_again() {
        const CSP: HeaderName = header::CONTENT_SECURITY_POLICY;
        const XFO: HeaderName = header::X_FRAME_OPTIONS;

        let partner = [("content-security-policy", "frame-ancestors https://partner.test")];
        assert_eq!((completed(&[], &partner, &CSP).len(), completed(&[], &partner, &XFO).len()), (1, 0));
        let own = [("content-security-policy", "default-src 'self'")];
        assert_eq!(completed(&[("content-security-policy", "frame-ancestors *")], &own, &CSP), ["default-src 'self'"]);
        assert_eq!(completed(&[], &own, &XFO), ["deny"]);
        assert_eq!(completed(&[], &[("x-frame-options", "")], &CSP), ["frame-ancestors 'none'"]);
        let nothing = [("x-frame-options", ""), ("content-security-policy", ""), ("strict-transport-security", "")];
        for (name, _, _) in &DEFAULT_FIELDS {
            let left = usize::from(!nothing.iter().any(|(own, _)| *own == name));
            assert_eq!(completed(&[], &nothing, name).len(), left, "{name}");
        }
    }

    #[test]
    fn plain_answers_have_no_hsts() {
        let asked = [(header::STRICT_TRANSPORT_SECURITY, HeaderValue::from_static("max-age=1; includeSubDomains"))];
        for words in [&asked[..], &[]] {
            let mut headers = HeaderMap::new();
            complete(&mut headers, false, words);
            assert!(!headers.contains_key(header::STRICT_TRANSPORT_SECURITY));
        }
        assert_eq!(completed(&[], &[], &header::STRICT_TRANSPORT_SECURITY), ["max-age=63072000"]);
        let asked = [("strict-transport-security", "max-age=1; includeSubDomains")];
        assert_eq!(completed(&[], &asked, &header::STRICT_TRANSPORT_SECURITY), ["max-age=1; includeSubDomains"]);
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
