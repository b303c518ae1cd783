//! A request as it leaves for a server, and the client that makes it.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Uri, header};

use super::{
    downstream::Downstream,
    failure::Ended,
    http1::After,
    pool::{Pool, ServerAttempt},
    unread_bodies::expects_body,
};
use crate::{
    model::{Deny, Reason},
    policy::Protocol,
};

/// A request as it leaves.
pub(crate) enum Request {
    /// Over HTTP/1.1: its head, and what becomes of the connection.
    Http1(Bytes, After),
    /// Over HTTP/2.
    Http2(http::Request<()>),
}

/// How the body of a request leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    /// There is none.
    Absent,
    /// As long as its Content-Length says.
    Counted,
    /// Until its end comes: in chunks over HTTP/1.1.
    Open,
}

impl Framing {
    /// Says in the fields of a request how its body leaves.
    pub(crate) fn state(self, headers: &mut HeaderMap, method: &Method, protocol: Protocol) {
        // No body leaves as no body; but a POST says so, and some servers ask it for its length (RFC 9110,
        // sections 8.6 and 15.5.12).
        if self == Self::Absent {
            let said = headers.remove(header::CONTENT_LENGTH).is_some() || protocol == Protocol::Http1;
            if said && expects_body(method) {
                headers.insert(header::CONTENT_LENGTH, HeaderValue::from_static("0"));
            }
        }
        if self == Self::Open && protocol == Protocol::Http1 {
            headers.insert(header::TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
        }
    }

    /// Decides whether a connection of HTTP/1.1 may serve another exchange behind the request.
    pub(crate) fn connection_after(self, method: &Method, pool: &Pool) -> After {
        let closes = self != Self::Absent && pool.bodies().closes(method);
        let closes = closes || (*method == Method::HEAD && pool.bodies().may_say_more());
        if closes { After::Told } else { After::Kept }
    }
}

/// Makes a request as it leaves over HTTP/2. It refuses a target that HTTP/2 cannot carry to the octet: what
/// is forwarded is what was judged.
pub(crate) fn http2_request(
    method: &Method,
    scheme: &str,
    target: &str,
    mut headers: HeaderMap,
) -> Result<http::Request<()>, Deny> {
    // What HTTP/1.1 says as Host, and once only (RFC 9113, section 8.3.1).
    let host = headers.remove(header::HOST);
    let authority = host.as_ref().map_or(&[][..], HeaderValue::as_bytes);
    let uri = Uri::builder().scheme(scheme).authority(authority).path_and_query(target).build().ok();
    let same = |uri: &Uri| uri.path_and_query().is_some_and(|said| said.as_str() == target);
    let Some(uri) = uri.filter(same) else {
        return Err(Deny::new(Reason::PathEncoding, "the target has a character that HTTP/2 cannot carry"));
    };
    let mut made = http::Request::new(());
    *made.method_mut() = method.clone();
    *made.uri_mut() = uri;
    *made.version_mut() = http::Version::HTTP_2;
    *made.headers_mut() = headers;
    Ok(made)
}

/// The client of an exchange, before anything of its request has left.
pub(crate) trait Requester: Downstream {
    /// Makes the request as it leaves, by the permit as it is now. Attempts begin anew with it.
    fn request(&mut self, pool: &Pool) -> Result<Request, Ended<Self::Error>>;

    /// Notes that a server is asked, for the record.
    fn note_attempt(&mut self, attempt: ServerAttempt);

    /// Judges whether the request may leave now, which holds something of the budget with this number.
    /// Returns whether its session has ended, so that it has to be made anew.
    fn before_send(&mut self, budget: usize) -> Result<bool, Ended<Self::Error>>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_body_is_stated_where_servers_expect_one() {
        let stated = |framing: Framing, method: Method, protocol| {
            let mut headers = HeaderMap::new();
            framing.state(&mut headers, &method, protocol);
            headers
                .iter()
                .map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()))
                .collect::<Vec<_>>()
        };

        assert_eq!(stated(Framing::Absent, Method::POST, Protocol::Http1), ["content-length: 0"]);
        assert_eq!(stated(Framing::Absent, Method::GET, Protocol::Http1), [""; 0]);
        assert_eq!(stated(Framing::Absent, Method::POST, Protocol::Http2), [""; 0]);
        assert_eq!(stated(Framing::Open, Method::POST, Protocol::Http1), ["transfer-encoding: chunked"]);
        assert_eq!(stated(Framing::Open, Method::POST, Protocol::Http2), [""; 0]);
        assert_eq!(stated(Framing::Counted, Method::POST, Protocol::Http1), [""; 0]);
    }

    #[test]
    fn what_leaves_over_http2_is_what_was_judged_to_the_octet() {
        let made = |target: &str| {
            let headers = [(header::HOST, HeaderValue::from_static("acme.test"))].into_iter().collect();
            http2_request(&Method::GET, "https", target, headers)
        };

        let request = made("/a?b=%20").unwrap();
        assert_eq!(request.uri(), "https://acme.test/a?b=%20");
        assert!(!request.headers().contains_key(header::HOST));
        for bad in ["/a#b", "/a b", "a", "/\u{7f}"] {
            assert_eq!(made(bad).map_err(|deny| deny.reason).err(), Some(Reason::PathEncoding), "{bad:?}");
        }
    }
}
