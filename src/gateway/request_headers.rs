//! Which fields of a request reach the upstream, and which are ours to say (`security.md` 2.4).
//!
//! The rules are functions over names and values, not over the HTTP library's types, so that every way to an upstream can
//! share them.

use http::{HeaderMap, HeaderName, HeaderValue, header};

use crate::{
    checks::passes::{CDN_ID, CDN_LOOP},
    model::{ClientIp, append_address},
};

/// Takes out what belongs to the client's connection, and what the client says does (RFC 9110, section 7.6.1).
///
/// It comes before anything of ours is stated, so that nobody can nominate that away (CVE-2024-45410). What says whose the request
/// is, where it goes and where it ends is not the client's to take away either.
pub(super) fn leave_connection(headers: &mut HeaderMap) {
    let lines = headers.get_all(header::CONNECTION).iter().flat_map(|line| line.as_bytes().split(|&byte| byte == b','));
    let nominated: Vec<_> = lines.filter_map(|name| HeaderName::from_bytes(name.trim_ascii()).ok()).collect();
    for name in nominated.iter().filter(|name| !END_TO_END.contains(name)).chain(&HOP_BY_HOP) {
        headers.remove(name);
    }
}

/// What a client cannot call its connection's own.
const END_TO_END: [HeaderName; 5] = [header::HOST, header::CONTENT_LENGTH, header::COOKIE, header::AUTHORIZATION, CDN_LOOP];

/// Fields that belong to one connection (RFC 9110, section 7.6.1), and the framing, which is ours to say.
const HOP_BY_HOP: [HeaderName; 10] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    HeaderName::from_static("http2-settings"),
];

/// Says whether a client's `X-Request-Id` may pass: `[A-Za-z0-9._-]{1,64}`.
pub(super) fn is_request_id(value: &[u8]) -> bool {
    (1..=64).contains(&value.len()) && value.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'))
}

/// Says whether a `traceparent` is one (W3C Trace Context, section 3.2): version 00, not all zero.
pub(super) fn is_traceparent(value: &[u8]) -> bool {
    let lower_hex = |bytes: &[u8]| bytes.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    let mut parts = value.split(|&byte| byte == b'-');
    let (Some(version), Some(trace), Some(parent), Some(flags), None) =
        (parts.next(), parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return false;
    };
    let whole = version == b"00" && trace.len() == 32 && parent.len() == 16 && flags.len() == 2;
    whole
        && [trace, parent, flags].iter().all(|part| lower_hex(part))
        && trace.iter().any(|&byte| byte != b'0')
        && parent.iter().any(|&byte| byte != b'0')
}

/// An IPv4 address has no more octets.
const ADDRESS_BYTES: usize = 15;

/// The facts that the gateway states towards the upstream, one field each.
#[derive(Debug)]
pub(super) struct Stated<'a> {
    pub(super) request_id: &'a str,
    pub(super) realm: &'a str,
    pub(super) tenant: &'a str,
    pub(super) client: ClientIp,
    pub(super) scheme: &'static str,
    pub(super) host: &'a str,
    pub(super) port: u16,
    pub(super) session: Option<StatedSession<'a>>,
    /// The client's certificate, DER, where the tenant accepts it.
    pub(super) certificate: Option<&'a [u8]>,
}

/// The identity part. On anonymous requests none of it is there.
#[derive(Debug)]
pub(super) struct StatedSession<'a> {
    pub(super) user: &'a str,
    /// Sorted.
    pub(super) roles: &'a [&'a str],
    pub(super) hash: &'a str,
    pub(super) auth_time_secs: u64,
    /// The same, signed, where that is configured.
    pub(super) assertion: Option<String>,
}

impl Stated<'_> {
    /// Sets the fields, each exactly once.
    pub(super) fn put_into(&self, headers: &mut HeaderMap) {
        headers.reserve(16);
        // Beside the names of those that it passed before.
        headers.append(CDN_LOOP, HeaderValue::from_static(CDN_ID));
        // Every value is made of checked parts: names, hosts, addresses, visible ASCII. What still does not fit is taken out.
        let mut state = |name: HeaderName, value: Option<HeaderValue>| match value {
            Some(value) => drop(headers.insert(name, value)),
            None => drop(headers.remove(name)),
        };
        let text = |value: &str| HeaderValue::from_str(value).ok();
        let owned = |value: String| HeaderValue::try_from(value).ok();
        let mut client = Vec::with_capacity(ADDRESS_BYTES);
        append_address(&mut client, self.client.addr());
        let (host, client) = (text(self.host), HeaderValue::try_from(client).ok());
        state(header::HOST, host.clone());
        state(X_FORWARDED_HOST, host);
        state(X_FORWARDED_FOR, client.clone());
        state(X_REAL_IP, client);
        state(REQUEST_ID, text(self.request_id));
        state(REALM, text(self.realm));
        state(TENANT, text(self.tenant));
        state(X_FORWARDED_PROTO, Some(HeaderValue::from_static(self.scheme)));
        state(X_FORWARDED_PORT, Some(HeaderValue::from(self.port)));
        if let Some(der) = self.certificate {
            state(CLIENT_CERT, owned(byte_sequence(der)));
        }
        if let Some(session) = &self.session {
            state(USER, text(session.user));
            state(ROLES, owned(session.roles.join(",")));
            state(SESSION, text(session.hash));
            state(AUTH_TIME, Some(HeaderValue::from(session.auth_time_secs)));
            state(ASSERTION, session.assertion.as_deref().and_then(text));
        }
    }
}

/// Writes bytes as a structured field does (RFC 9651, section 3.3.5), which is how RFC 9440, section 2.1 writes a certificate.
fn byte_sequence(bytes: &[u8]) -> String {
    format!(":{}:", base64::Engine::encode(&base64::engine::general_purpose::STANDARD, bytes))
}

const CLIENT_CERT: HeaderName = HeaderName::from_static("octroi-client-cert");
const REQUEST_ID: HeaderName = HeaderName::from_static("octroi-request-id");
const REALM: HeaderName = HeaderName::from_static("octroi-realm");
const TENANT: HeaderName = HeaderName::from_static("octroi-tenant");
const USER: HeaderName = HeaderName::from_static("octroi-user");
const ROLES: HeaderName = HeaderName::from_static("octroi-roles");
const SESSION: HeaderName = HeaderName::from_static("octroi-session");
const AUTH_TIME: HeaderName = HeaderName::from_static("octroi-auth-time");
const ASSERTION: HeaderName = HeaderName::from_static("octroi-assertion");
const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_FORWARDED_PORT: HeaderName = HeaderName::from_static("x-forwarded-port");
const X_REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");
/// The field that a client's own request identifier comes in.
pub(super) const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// W3C Trace Context.
pub(super) const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
/// W3C Trace Context, the vendor's part: worth nothing without a valid `traceparent`.
pub(super) const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_takes_its_own_fields_with_it_and_no_others() {
        let fields = [
            ("connection", "keep-alive, X-Own, cookie, Authorization, host, content-length, bad name"),
            ("x-own", "1"),
            ("te", "trailers"),
            ("cookie", "a=b"),
            ("authorization", "Bearer x"),
            ("host", "a.test"),
            ("content-length", "3"),
            ("x-other", "1"),
        ];
        let mut headers: HeaderMap =
            fields.into_iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value))).collect();

        leave_connection(&mut headers);

        let left: std::collections::BTreeSet<_> = headers.keys().map(HeaderName::as_str).collect();
        assert_eq!(left, ["authorization", "content-length", "cookie", "host", "x-other"].into());
    }

    #[test]
    fn request_ids_of_clients_are_bounded() {
        assert!(is_request_id(b"abc-1.2_3"));
        assert!(!is_request_id(b""));
        assert!(!is_request_id(&[b'a'; 65]));
        assert!(!is_request_id(b"a b"));
    }

    #[test]
    fn traceparents_are_whole_or_nothing() {
        assert!(is_traceparent(b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"));
        assert!(!is_traceparent(b"00-00000000000000000000000000000000-00f067aa0ba902b7-01"));
        assert!(!is_traceparent(b"00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01"));
        assert!(!is_traceparent(b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-x"));
    }

    #[test]
    fn a_certificate_is_written_as_rfc_9440_does() {
        assert_eq!(byte_sequence(&[0x30, 0x82, 0x01, 0xa8, 0x30]), ":MIIBqDA=:");
    }

    #[test]
    fn an_anonymous_request_has_no_identity_fields() {
        let client = ClientIp::from(std::net::IpAddr::from([192, 0, 2, 1]));
        let (realm, port) = ("acme", 443);
        let stated = Stated {
            request_id: "r",
            realm,
            tenant: realm,
            client,
            scheme: "https",
            host: "a.test",
            port,
            session: None,
            certificate: None,
        };
        let mut headers = HeaderMap::new();

        stated.put_into(&mut headers);

        assert_eq!(headers.len(), 10);
        assert!([USER, ROLES, SESSION, AUTH_TIME, ASSERTION].iter().all(|name| !headers.contains_key(name)));
    }
}
