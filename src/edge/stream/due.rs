//! What is due on an HTTP/2 connection at a deadline, or because of what its client sent.

use super::stream_deadlines::End;
use crate::{
    model::{Abuse, CutReason, Http2Error},
    wire::http2::error_code,
};

/// What is due on the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Due {
    /// The connection ends: a deadline has passed.
    Cut(CutReason),
    /// The connection ends: the client exceeded its limits.
    Abuse(Abuse),
    /// The connection ends: the client does not speak HTTP/2. The library would close it without reporting
    /// it.
    NoPreface,
    /// The connection ends: its frames have become ambiguous.
    ConnectionError(Http2Error),
    /// One stream ends.
    Stream(u32, End),
    /// The connection ends: everything is answered, and the client should reconnect with another certificate.
    Drained,
}

impl Due {
    /// Returns the error code of the GOAWAY that ends the connection.
    pub(super) fn goaway_code(self) -> u32 {
        match self {
            Self::Cut(CutReason::NoRequest | CutReason::Idle) | Self::Drained => error_code::NO_ERROR,
            Self::NoPreface => error_code::PROTOCOL_ERROR,
            Self::ConnectionError(error) => error.code(),
            Self::Cut(_) | Self::Abuse(_) | Self::Stream(..) => error_code::ENHANCE_YOUR_CALM,
        }
    }
}
