//! Which fields of an upstream's answer reach the client, and which are added (`security.md` 2.4).

use http::{HeaderMap, HeaderName, HeaderValue, header};

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

/// Takes out what is hidden.
pub(super) fn hide(headers: &mut HeaderMap) {
    let hidden: Vec<_> = headers.keys().filter(|name| is_hidden(name.as_str())).cloned().collect();
    for name in hidden {
        headers.remove(name);
    }
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

/// What happens to a `Set-Cookie` of the app.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CookieFate {
    /// It passes.
    Keep,
    /// It would shadow the session cookie.
    Session,
    /// The tenant's `cookies.allow` does not list it.
    Unlisted,
}

/// Decides about one `Set-Cookie` value. `allow: None` lets every name pass but the session cookie's own.
pub(super) fn cookie_fate(value: &[u8], session_cookie: &str, allow: Option<&[Box<str>]>) -> CookieFate {
    let name = value.split(|&byte| byte == b'=' || byte == b';').next().unwrap_or(value).trim_ascii();
    // Browsers trim and compare prefixes without case (draft-ietf-httpbis-rfc6265bis, section 5.7): so do we.
    if name.eq_ignore_ascii_case(session_cookie.as_bytes()) {
        return CookieFate::Session;
    }
    match allow {
        Some(allow) if !allow.iter().any(|allowed| allowed.as_bytes() == name) => CookieFate::Unlisted,
        Some(_) | None => CookieFate::Keep,
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

    #[test]
    fn the_app_cannot_set_the_session_cookie_nor_one_that_is_not_listed() {
        let allow: Box<[Box<str>]> = Box::new(["lang".into()]);
        let fate = |value: &str, allow| cookie_fate(value.as_bytes(), "__Host-octroi", allow);

        assert_eq!(fate("__Host-octroi=x; Path=/", None), CookieFate::Session);
        assert_eq!(fate(" __host-OCTROI =x", None), CookieFate::Session);
        assert_eq!(fate("lang=fr", Some(&allow)), CookieFate::Keep);
        assert_eq!(fate("track=1", Some(&allow)), CookieFate::Unlisted);
        assert_eq!(fate("track=1", None), CookieFate::Keep);
    }
}
