//! A client that is refused for a while.

use std::time::Duration;

use super::{ClientPrefix, Range};

/// A ban in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ban {
    /// Who: an IPv4 address or an IPv6 /64.
    pub client: ClientPrefix,
    /// How long it still lasts.
    pub left: Duration,
    /// Why.
    pub cause: BanCause,
}

/// Why a client is banned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BanCause {
    /// It kept breaking the protocol: the code of what it did last.
    Protocol(&'static str),
    /// An operator said so, and perhaps why.
    Operator(Option<String>),
}

/// An operator's wish to ban a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BanWish {
    /// Whom.
    pub client: ClientPrefix,
    /// How the operator named them: an address, or its IPv6 /64.
    pub named: Range,
    /// For how long.
    pub lasts: Duration,
    /// Why, in the operator's words.
    pub note: Option<String>,
}
