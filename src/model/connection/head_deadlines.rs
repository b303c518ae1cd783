//! The deadlines and bounds of request heads.

use std::time::Duration;

use crate::model::Http2Limits;

/// The deadlines and bounds of a head, from the limits of the policy that was in force when the connection
/// was accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeadDeadlines {
    /// How long a head may take from its first byte; the first head from the end of the handshake.
    pub header_timeout: Duration,
    /// How long a keep-alive connection may wait for the next head.
    pub idle_timeout: Duration,
    /// How large a head may be.
    pub header_bytes: usize,
    /// How many fields a head may have.
    pub header_count: usize,
    /// How long the client may read nothing of what we send.
    pub write_stall: Duration,
    /// How many bytes per second it must read while we wait for it; 0 means no bound.
    pub write_min_rate: u64,
    /// Whether the peer is a trusted proxy that sends the requests of many clients.
    pub many_clients: bool,
    /// The bounds of HTTP/2.
    pub http2: Http2Limits,
}
