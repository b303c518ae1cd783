//! The Redis that nodes share, as a status shows it.

use serde::{Deserialize, Serialize};

use super::write_time;
use crate::model::{NodeStatus, RedisStatus};

/// How the store that nodes share does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RedisBody {
    /// Whether there is a connection.
    pub connected: bool,
    /// Why there is none, or what it refuses; absent: all is well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trouble: Option<String>,
    /// Whether revocations are shared through it.
    pub shared: bool,
    /// Whether it is known what other nodes revoked.
    pub fresh: bool,
    /// When that was last known; absent: not since the start.
    pub synced: Option<String>,
    /// Revocations of this node that it may not have yet.
    pub pending: u64,
    /// Which nodes were seen there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub nodes: Vec<NodeBody>,
    /// Since when it is not known which of them live: what is said of them is from then. Absent: Redis was
    /// asked just now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nodes_unknown_since: Option<String>,
    /// How many there should be, where the configuration says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replicas: Option<u32>,
    /// Whether another process shares under this node's name.
    #[serde(default)]
    pub namesake: bool,
}

impl RedisBody {
    /// Says whether it can be relied on: what other nodes revoked is known, there are as many as there should
    /// be, each of its own name.
    pub fn is_healthy(&self) -> bool {
        !self.shared || (self.fresh && !self.namesake && !self.misses_nodes())
    }

    /// Says whether fewer nodes live than there should be, as far as Redis was asked.
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
    /// When it was last heard of.
    pub heard: String,
    /// Whether it lived when Redis was last asked.
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
