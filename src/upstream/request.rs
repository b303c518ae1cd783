//! A request as it leaves for a server.

use bytes::Bytes;

use super::http1::After;

/// A request as it leaves.
pub(crate) enum Request {
    /// Over HTTP/1.1: its head, and what becomes of the connection.
    Http1(Bytes, After),
    /// Over HTTP/2.
    Http2(http::Request<()>),
}
