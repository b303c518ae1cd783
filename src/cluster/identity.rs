//! Who a node is to the others, and where it listens.

use std::time::Duration;

/// Who shares.
#[derive(Clone, Debug)]
pub struct NodeIdentity {
    /// The node's name: the same for two processes of which one hands over to the other, another for every
    /// other node.
    pub node: String,
    /// A name that no other process has: 1 to 32 letters and digits.
    pub process: String,
    /// The database, for the names of channels.
    pub database: u16,
    /// How long what was heard holds.
    pub stale_after: Duration,
}

impl NodeIdentity {
    /// Returns the channel on which every node hears what the others ended.
    pub(super) fn news_channel(&self) -> String {
        format!("octroi:{}:news", self.database)
    }

    /// Returns the channel on which a process hears that what it ended is in force elsewhere.
    pub(super) fn heard_channel(&self, process: &str) -> String {
        format!("octroi:{}:heard:{process}", self.database)
    }
    /// Returns the channel on which nodes say that a newer token was presented.
    pub(super) fn turns_channel(&self) -> String {
        format!("octroi:{}:turns", self.database)
    }
}
