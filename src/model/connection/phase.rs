//! The phase of an HTTP/1 connection.

/// The phase of an HTTP/1 connection. HTTP/2 connections stay in [`Phase::Multiplexed`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// No byte of the next head has come.
    Idle,
    /// Part of a head has come.
    Head,
    /// The head is complete, but no request has begun yet.
    HeadRead,
    /// More than `header_bytes` came and the head did not end: nothing more is read.
    HeadTooLarge,
    /// A request is being served; what comes now is its body.
    Request,
    /// The request became a tunnel (101).
    Tunnel,
    /// HTTP/2.
    Multiplexed,
    /// No further request is read: where the last one ended is uncertain.
    Over,
}

impl Phase {
    pub(super) const fn number(self) -> u8 {
        match self {
            Self::Idle => 0,
            Self::Head => 1,
            Self::HeadRead => 2,
            Self::HeadTooLarge => 3,
            Self::Request => 4,
            Self::Tunnel => 5,
            Self::Multiplexed => 6,
            Self::Over => 7,
        }
    }

    /// Reads what [`Phase::number`] wrote.
    pub(super) const fn from_number(number: u8) -> Self {
        match number {
            0 => Self::Idle,
            1 => Self::Head,
            2 => Self::HeadRead,
            3 => Self::HeadTooLarge,
            4 => Self::Request,
            5 => Self::Tunnel,
            6 => Self::Multiplexed,
            _ => Self::Over,
        }
    }

    /// Says whether bytes of a head have come for which no request has begun.
    pub const fn is_before_request(self) -> bool {
        matches!(self, Self::Head | Self::HeadRead | Self::HeadTooLarge)
    }
}
