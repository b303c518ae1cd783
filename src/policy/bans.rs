//! When a client is banned.

use std::{num::NonZeroU16, time::Duration};

/// How often a client (an IPv4 address or an IPv6 /64) may break the protocol, and how long it is refused
/// after that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BanRules {
    /// The number of the offence that causes the ban, counted from 1.
    pub after: NonZeroU16,
    /// How long an offence counts.
    pub within: Duration,
    /// How long the ban lasts.
    pub lasts: Duration,
}
