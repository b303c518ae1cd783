//! Why edge ended something: by a deadline, or because of who it is.

/// Why edge ended a connection, the reading of one, or one body on it: by a deadline, or because of who it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cut {
    /// Not one byte of a first request came within `header_timeout`.
    NoRequest,
    /// The head was not whole within `header_timeout`; the client was told 408.
    HeadTimeout,
    /// No further request came within `idle_timeout`.
    Idle,
    /// The body came slower than `body_min_rate`.
    BodyTooSlow,
    /// The tunnel was silent for too long.
    TunnelIdle,
    /// The other side took nothing of what was sent within `write_stall`.
    WriteStall,
    /// The other side took what was sent slower than `write_min_rate`.
    WriteTooSlow,
    /// The client is banned since the connection was taken.
    Banned,
}

impl Cut {
    /// Every cut.
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

    /// Returns the code that logs and metrics say.
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
