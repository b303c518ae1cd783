//! Bounds of connections and requests.

use std::time::Duration;

use crate::model::Http2Limits;

/// Bounds that apply before the tenant is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// How long a TLS handshake may take.
    pub handshake_timeout: Duration,
    /// How long a request head may take from its first byte to its last.
    pub header_timeout: Duration,
    /// How many bytes a head may have.
    pub header_bytes: usize,
    /// How many fields a head may have.
    pub header_count: usize,
    /// How many bytes one field, name and value, may have.
    pub field_bytes: usize,
    /// How many bytes a path may have.
    pub path_bytes: usize,
    /// How many bytes a request target may have.
    pub uri_bytes: usize,
    /// How long a keep-alive connection may wait for its next request.
    pub idle_timeout: Duration,
    /// How long a client may read nothing of the answer.
    pub write_stall: Duration,
    /// How many bytes of the answer per second a client must read, on average over each `write_stall` in
    /// which we waited for it.
    pub write_min_rate: u64,
    /// What an HTTP/2 connection may do.
    pub http2: Http2Limits,
}

/// Bounds of one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestLimits {
    /// How many bytes a body may have.
    pub body_bytes: u64,
    /// How many bytes of a body must come per second, on average after the first ten seconds.
    pub body_min_rate: u64,
    /// How long a WebSocket may be silent.
    pub websocket_idle: Duration,
}
