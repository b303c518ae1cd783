//! The status of an upstream and its servers.

use crate::model::{UnixTime, UpstreamName};

/// The state of an upstream, as far as requests have found out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpstreamStatus {
    /// Its name.
    pub name: UpstreamName,
    /// Whether octets came behind the answer to a request with a body, which shows that the app does not read
    /// bodies.
    pub bodies_unread: bool,
    /// Its servers.
    pub servers: Vec<ServerStatus>,
}

impl UpstreamStatus {
    /// Says whether no problem is known.
    pub fn is_healthy(&self) -> bool {
        !self.bodies_unread
            && self.servers.iter().all(|server| server.aside.is_none() && server.failing.is_none())
    }

    /// Says whether none of its servers accepts connections.
    pub fn is_down(&self) -> bool {
        !self.servers.is_empty()
            && self.servers.iter().all(|server| server.aside.is_some() || server.failing.is_some())
    }
}

/// The state of one server of an upstream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerStatus {
    /// Its address.
    pub address: String,
    /// The server is not tried for now.
    pub aside: Option<AsideStatus>,
    /// The server fails, but is the only one and therefore always tried.
    pub failing: Option<FailingStatus>,
}

/// The only server of an upstream, while it accepts no connections. Every request tries it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FailingStatus {
    /// Since when it fails.
    pub since: UnixTime,
    /// When a request tried it last; its state since then is unknown.
    pub last: UnixTime,
    /// How many attempts failed.
    pub failures: u32,
    /// The error of the last attempt.
    pub error: String,
}

/// A server that is not tried for now because it accepts no connections.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AsideStatus {
    /// Since when it fails.
    pub since: UnixTime,
    /// When a request tries it again.
    pub next: UnixTime,
    /// How many attempts failed.
    pub failures: u32,
    /// The error of the last attempt.
    pub error: String,
}
