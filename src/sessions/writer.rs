//! Which process writes the journal, and the calls between two processes during a hand-over.

use std::sync::Arc;

use super::StoreError;

/// The process that has the journal's file now.
pub trait RemoteWriter: Send + Sync {
    /// Sends one encoded request: write a record, count a session, or take in notes. Returns once it is
    /// durable. Notes are the exception: they become durable with the next commit.
    fn write(&self, record: Vec<u8>) -> Result<(), StoreError>;
}

/// A draining process, whose memory is a replica of this one's.
pub trait Follower: Send + Sync {
    /// Sends encoded records. The order of the calls is the order of the changes. Must not block. Returns the
    /// position to wait for.
    fn tell(&self, records: &[u8]) -> u64;
    /// Waits a short time until it has applied the records up to a position. A follower that has not is
    /// disconnected, and then fails closed.
    fn wait(&self, told: u64);
}

/// Who has the journal's file.
#[derive(Clone, Default)]
pub(super) enum Writer {
    /// This process.
    #[default]
    Ours,
    /// A hand-over is in progress: writes wait.
    HandingOver,
    /// The successor.
    Successor(Arc<dyn RemoteWriter>),
    /// No process that this one can reach.
    Lost,
}
