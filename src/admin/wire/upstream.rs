//! Upstreams with a fault, as a status shows them.

use serde::{Deserialize, Serialize};

use super::write_time;
use crate::model::UpstreamStatus;

/// An upstream with a fault.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpstreamBody {
    /// Its name.
    pub name: String,
    /// Whether bytes followed its answer to a request with a body, so it does not read bodies.
    pub bodies_unread: bool,
    /// Servers that accept no connections and are left aside.
    pub aside: Vec<AsideBody>,
    /// Whether none of its servers accepts connections.
    #[serde(default)]
    pub down: bool,
    /// Its only server, if that accepts none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failing: Option<FailingBody>,
}

/// The only server of an upstream, while it accepts no connections. Each request tries it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailingBody {
    /// Its address.
    pub server: String,
    /// Since when.
    pub since: String,
    /// When a request last tried it; an older octroi does not send this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last: Option<String>,
    /// How many attempts failed.
    pub failures: u32,
    /// The last error.
    pub error: String,
}

/// A server that is left aside.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AsideBody {
    /// Its address.
    pub server: String,
    /// Since when.
    pub since: String,
    /// When a request tries it again.
    pub next: String,
    /// How many attempts failed.
    pub failures: u32,
    /// The last error.
    pub error: String,
}

impl From<UpstreamStatus> for UpstreamBody {
    fn from(status: UpstreamStatus) -> Self {
        let down = status.is_down();
        let failing = status.servers.iter().find_map(|server| {
            let failing = server.failing.as_ref()?;
            Some(FailingBody {
                server: server.address.clone(),
                since: write_time(failing.since),
                last: Some(write_time(failing.last)),
                failures: failing.failures,
                error: failing.error.clone(),
            })
        });
        let aside = status.servers.into_iter().filter_map(|server| {
            let aside = server.aside?;
            Some(AsideBody {
                server: server.address,
                since: write_time(aside.since),
                next: write_time(aside.next),
                failures: aside.failures,
                error: aside.error,
            })
        });
        Self {
            name: status.name.to_string(),
            bodies_unread: status.bodies_unread,
            aside: aside.collect(),
            down,
            failing,
        }
    }
}
