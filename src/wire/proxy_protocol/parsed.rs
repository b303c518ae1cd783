//! The result of parsing.

use std::net::SocketAddr;

/// The longest header: version 2 with 520 bytes of addresses and TLVs. Real senders need far less.
pub const MAX_HEADER_BYTES: usize = 536;

/// What the first bytes of a connection are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Parsed {
    /// A header that is incomplete so far.
    NeedMore,
    /// A complete header.
    Header {
        /// The client. `None` where the sender connected on its own behalf (`LOCAL`, `UNKNOWN`) or names no
        /// IP address.
        source: Option<SocketAddr>,
        /// The length of the header; what follows is the payload of the connection.
        bytes: usize,
    },
    /// No header, or one that violates the specification; says why.
    Malformed(&'static str),
}
