//! The Redis that the nodes share, as a status shows it.

use serde::{Deserialize, Serialize};

use super::write_time;
use crate::model::{NodeStatus, RedisStatus};

/// The state of the shared store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RedisBody {
    /// Whether there is a connection.
    pub connected: bool,
    /// Why there is no connection, or what Redis refuses; absent if all is well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trouble: Option<String>,
    /// Whether revocations are shared through it.
    pub shared: bool,
    /// Whether the revocations of other nodes are known up to `stale_after`.
    pub fresh: bool,
    /// When they were last known; absent if never since the start.
    pub synced: Option<String>,
    /// Revocations of this node that may not have reached Redis yet.
    pub pending: u64,
    /// The nodes seen there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub nodes: Vec<NodeBody>,
    /// Since when it is unknown which of them are alive; their state is from that time. Absent if Redis was
    /// asked just now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nodes_unknown_since: Option<String>,
    /// How many nodes are expected, where the configuration says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replicas: Option<u32>,
    /// Whether another process uses this node's name.
    #[serde(default)]
    pub namesake: bool,
}

impl RedisBody {
    /// Says whether it is healthy: the revocations of other nodes are known, all expected nodes are alive,
    /// and each has its own name.
    pub fn is_healthy(&self) -> bool {
        !self.shared || (self.fresh && !self.namesake && !self.misses_nodes())
    }

    /// Says whether fewer nodes are alive than expected, by Redis's last answer.
    pub fn misses_nodes(&self) -> bool {
        let living = self.nodes.iter().filter(|node| node.lives).count();
        !self.nodes.is_empty()
            && self
                .replicas
                .is_some_and(|replicas| usize::try_from(replicas).is_ok_and(|replicas| living < replicas))
    }
}

/// A node that shares revocations.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeBody {
    /// Its name.
    pub name: String,
    /// When it was last seen.
    pub heard: String,
    /// Whether it was alive when Redis was last asked.
    pub lives: bool,
}

impl From<RedisStatus> for RedisBody {
    fn from(status: RedisStatus) -> Self {
        Self {
            connected: status.is_connected,
            trouble: status.trouble,
            shared: status.is_shared,
            fresh: status.is_fresh,
            synced: status.synced.map(write_time),
            pending: status.pending,
            nodes: status
                .nodes
                .into_iter()
                .map(|NodeStatus { name, heard, lives }| NodeBody { name, heard: write_time(heard), lives })
                .collect(),
            nodes_unknown_since: status.nodes_unknown.map(write_time),
            replicas: status.replicas,
            namesake: status.is_namesake,
        }
    }
}
