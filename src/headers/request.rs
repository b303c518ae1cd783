//! Which fields of a request reach the upstream.

use http::{HeaderMap, HeaderName, header};

use crate::{
    model::CDN_LOOP,
    policy::{HeaderDecision, RequestFields},
};

/// Removes the fields of the client's connection, and those that the client nominates in `Connection` (RFC
/// 9110, section 7.6.1).
///
/// Call it before the gateway adds fields of its own, so that no client can nominate those away
/// (CVE-2024-45410). Fields that say whose the request is, where it goes and where it ends cannot be
/// nominated either.
pub fn leave_client_connection(headers: &mut HeaderMap) {
    let lines = headers
        .get_all(header::CONNECTION)
        .iter()
        .flat_map(|line| line.as_bytes().split(|&byte| byte == b','));
    let nominated: Vec<_> = lines.filter_map(|name| HeaderName::from_bytes(name.trim_ascii()).ok()).collect();
    for name in nominated.iter().filter(|name| !END_TO_END.contains(name)).chain(&HOP_BY_HOP) {
        headers.remove(name);
    }
}

/// Fields that a client cannot nominate.
const END_TO_END: [HeaderName; 5] =
    [header::HOST, header::CONTENT_LENGTH, header::COOKIE, header::AUTHORIZATION, CDN_LOOP];

/// Fields of one connection (RFC 9110, section 7.6.1), and the framing, which the gateway states itself.
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

/// How many fields were dropped, and why.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DroppedFields {
    /// Only a gateway may set them, or the realm has them dropped.
    pub spoofed: u32,
    /// Their names have an underscore, which some apps read as a hyphen.
    pub underscore: u32,
}

/// Removes the fields that only the gateway may state, and those that the realm has dropped. Each name counts
/// once.
pub fn drop_spoofed(headers: &mut HeaderMap, rules: &RequestFields) -> DroppedFields {
    let mut dropped = DroppedFields::default();
    let mut is_dropped = |name: &&HeaderName| match rules.decide(name.as_str()) {
        HeaderDecision::Keep => false,
        HeaderDecision::Drop => {
            dropped.spoofed += 1;
            true
        }
        HeaderDecision::Underscore => {
            dropped.underscore += 1;
            true
        }
    };
    let names: Vec<_> = headers.keys().filter(|name| is_dropped(name)).cloned().collect();
    for name in names {
        headers.remove(name);
    }
    dropped
}

/// Drops trace fields that are malformed or stand twice, and a client's request id that could break a log.
pub fn drop_malformed_trace_fields(headers: &mut HeaderMap) {
    let fits = |name: &HeaderName, is_valid: fn(&[u8]) -> bool| {
        let mut values = headers.get_all(name).iter();
        values.next().is_some_and(|value| is_valid(value.as_bytes())) && values.next().is_none()
    };
    let (id, trace) = (fits(&X_REQUEST_ID, is_request_id), fits(&TRACEPARENT, is_traceparent));
    if !id {
        headers.remove(&X_REQUEST_ID);
    }
    if !trace {
        headers.remove(&TRACEPARENT);
        headers.remove(&TRACESTATE);
    }
}

/// Says whether a client's `X-Request-Id` may pass: `[A-Za-z0-9._-]{1,64}`.
fn is_request_id(value: &[u8]) -> bool {
    (1..=64).contains(&value.len())
        && value.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'))
}

/// Says whether a `traceparent` is one (W3C Trace Context, section 3.2): version 00, not all zero.
fn is_traceparent(value: &[u8]) -> bool {
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

/// A client's own request identifier.
const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// W3C Trace Context.
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
/// W3C Trace Context, the vendor's part: meaningless without a valid `traceparent`.
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// Says whether a client takes trailers (RFC 9110, section 10.1.4).
pub fn takes_trailers(headers: &HeaderMap) -> bool {
    let mut words =
        headers.get_all(header::TE).iter().flat_map(|line| line.as_bytes().split(|&byte| byte == b','));
    words.any(|word| word.trim_ascii().eq_ignore_ascii_case(b"trailers"))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

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
        let mut headers: HeaderMap = fields
            .into_iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
            .collect();

        leave_client_connection(&mut headers);

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
    fn what_is_dropped_is_counted_by_name() {
        let mut headers = HeaderMap::new();
        for (name, value) in [("octroi-user", "a"), ("octroi-user", "b"), ("x_user", "c"), ("accept", "d")] {
            headers.append(HeaderName::from_static(name), HeaderValue::from_static(value));
        }

        let dropped = drop_spoofed(&mut headers, &RequestFields::default());

        assert_eq!(dropped, DroppedFields { spoofed: 1, underscore: 1 });
        assert_eq!(headers.keys().map(HeaderName::as_str).collect::<Vec<_>>(), ["accept"]);
    }
}
