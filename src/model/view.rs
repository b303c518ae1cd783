//! One request, as the checks see it.

use http::HeaderMap;

use super::{Facts, Presented, Tick, UnixTime};

/// The version of HTTP a request came in.
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
    /// Returns the name that logs use.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Http10 => "HTTP/1.0",
            Self::Http11 => "HTTP/1.1",
            Self::Http2 => "HTTP/2",
        }
    }
}

/// What a check may know of a request. It borrows everything and holds no way to do anything.
#[derive(Clone, Copy, Debug)]
pub struct RequestView<'a> {
    /// The connection it came on.
    pub connection: &'a Facts,
    /// The client certificate of the connection, judged by the rules in force.
    pub certificate: Option<&'a Presented>,
    /// The HTTP version.
    pub version: HttpVersion,
    /// The method as received.
    pub method: &'a str,
    /// The request target: HTTP/1's as received, HTTP/2's `:path`.
    pub target: &'a [u8],
    /// HTTP/2's `:authority`. HTTP/1 has its host in the header.
    pub authority: Option<&'a str>,
    /// The fields, names in lower case.
    pub headers: &'a HeaderMap,
    /// HTTP/1's head as received, from the request line through the empty line. HTTP/2 has none.
    pub head: Option<&'a [u8]>,
    /// The wall clock at the time of asking.
    pub now: UnixTime,
    /// The monotonic clock at the time of asking.
    pub tick: Tick,
}
