//! How long each step of asking others may take.

use std::time::Duration;

/// How long each step may take, and all of them together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deadlines {
    /// Finding the address of a name.
    pub resolve: Duration,
    /// Connecting, all addresses together.
    pub connect: Duration,
    /// The TLS handshake.
    pub handshake: Duration,
    /// All of it, from the name to the last byte of the answer.
    pub total: Duration,
}
