//! Why edge ended a connection or a body.

/// Why edge ended a connection, its reading side, or one body on it: because a deadline passed or the client
/// is banned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CutReason {
    /// No byte of the first request came within `header_timeout`.
    NoRequest,
    /// The head was not complete within `header_timeout`; the client got a 408.
    HeadTimeout,
    /// No further request came within `idle_timeout`.
    Idle,
    /// The body came slower than `body_min_rate`.
    BodyTooSlow,
    /// The tunnel was silent for too long.
    TunnelIdle,
    /// The client read nothing of what was sent within `write_stall`.
    WriteStall,
    /// The client read what was sent more slowly than `write_min_rate`.
    WriteTooSlow,
    /// The client was banned after the connection was accepted.
    Banned,
}

impl CutReason {
    /// Every reason.
    pub const ALL: &'static [Self] = &[
        Self::NoRequest,
        Self::HeadTimeout,
        Self::Idle,
        Self::BodyTooSlow,
        Self::TunnelIdle,
        Self::WriteStall,
        Self::WriteTooSlow,
        Self::Banned,
    ];

    /// Returns the code in logs and metrics.
    pub const fn code(self) -> &'static str {
        match self {
            Self::NoRequest => "timeout_no_request",
            Self::HeadTimeout => "timeout_head",
            Self::Idle => "timeout_idle",
            Self::BodyTooSlow => "timeout_body",
            Self::TunnelIdle => "timeout_tunnel",
            Self::WriteStall => "timeout_write",
            Self::WriteTooSlow => "timeout_write_rate",
            Self::Banned => "banned",
        }
    }
}
