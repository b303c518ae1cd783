//! Bans: clients that are refused for a while.

use std::time::Duration;

use super::{ClientPrefix, Range};

/// A ban in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ban {
    /// The client: an IPv4 address or an IPv6 /64.
    pub client: ClientPrefix,
    /// How much of it is left.
    pub left: Duration,
    /// Why the client is banned.
    pub cause: BanCause,
}

/// Why a client is banned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BanCause {
    /// It kept breaking the protocol; this is the code of its last offence.
    Protocol(&'static str),
    /// An operator banned it, perhaps with a note.
    Operator(Option<String>),
}

/// An operator's request to ban a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BanRequest {
    /// The client to ban.
    pub client: ClientPrefix,
    /// The client as the operator named it: an address, or its IPv6 /64.
    pub named: Range,
    /// How long the ban lasts.
    pub lasts: Duration,
    /// The reason, in the operator's words.
    pub note: Option<String>,
}
