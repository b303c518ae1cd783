//! One request, as the checks see it.

use http::{HeaderMap, HeaderValue, header};

use super::{Facts, Presented, Tick, UnixTime};

/// The HTTP version of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HttpVersion {
    /// HTTP/1.0.
    Http10,
    /// HTTP/1.1.
    Http11,
    /// HTTP/2.
    Http2,
}

impl HttpVersion {
    /// Returns the name in logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Http10 => "HTTP/1.0",
            Self::Http11 => "HTTP/1.1",
            Self::Http2 => "HTTP/2",
        }
    }
}

/// What a check may know about a request. It borrows everything and offers no way to act.
#[derive(Clone, Copy, Debug)]
pub struct RequestView<'a> {
    /// The connection of the request.
    pub connection: &'a Facts,
    /// The client certificate of the connection, verified under the current rules.
    pub certificate: Option<&'a Presented>,
    /// The HTTP version.
    pub version: HttpVersion,
    /// The method as received.
    pub method: &'a str,
    /// The request target: in HTTP/1 as received, in HTTP/2 `:path`.
    pub target: &'a [u8],
    /// `:authority` in HTTP/2. HTTP/1 has its host in the header.
    pub authority: Option<&'a str>,
    /// The fields, names in lower case.
    pub headers: &'a HeaderMap,
    /// The head as received, from the request line through the empty line; HTTP/1 only.
    pub head: Option<&'a [u8]>,
    /// The wall clock when the request was read.
    pub now: UnixTime,
    /// The monotonic clock when the request was read.
    pub tick: Tick,
}

impl<'a> RequestView<'a> {
    /// Returns the values of the Cookie fields.
    pub fn cookies(&self) -> impl Iterator<Item = &'a [u8]> {
        self.headers.get_all(header::COOKIE).iter().map(HeaderValue::as_bytes)
    }
}
