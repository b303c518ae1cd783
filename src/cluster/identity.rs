//! The identity of a node towards the others, and its channels.

use std::time::Duration;

/// The identity of a node.
#[derive(Clone, Debug)]
pub struct NodeIdentity {
    /// The node's name: the same for two processes if one hands over to the other, and unique among nodes.
    pub node: String,
    /// A unique name of the process: 1 to 32 letters and digits.
    pub process: String,
    /// The number of the database, which is part of the names of channels.
    pub database: u16,
    /// How long the knowledge of other nodes' revocations holds.
    pub stale_after: Duration,
}

impl NodeIdentity {
    /// Returns the channel on which every node receives the revocations of the others.
    pub(super) fn news_channel(&self) -> String {
        format!("octroi:{}:news", self.database)
    }

    /// Returns the channel on which a process receives confirmations that its revocations are in force
    /// elsewhere.
    pub(super) fn heard_channel(&self, process: &str) -> String {
        format!("octroi:{}:heard:{process}", self.database)
    }
    /// Returns the channel on which nodes announce that a newer token was presented.
    pub(super) fn turns_channel(&self) -> String {
        format!("octroi:{}:turns", self.database)
    }
}
