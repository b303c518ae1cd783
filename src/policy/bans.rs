//! When a client is banned for a while.

use std::{num::NonZeroU16, time::Duration};

/// How much a client (an IPv4 address or an IPv6 /64) may break the protocol, and how long it is refused after that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BanRules {
    /// The offence that brings the ban, counted from 1.
    pub after: NonZeroU16,
    /// For how long an offence counts.
    pub within: Duration,
    /// How long the ban lasts.
    pub lasts: Duration,
}
