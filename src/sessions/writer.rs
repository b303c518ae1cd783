//! Which process writes the journal, and how two processes talk about it while one hands over to the other.

use std::sync::Arc;

use super::StoreError;

/// The process that has the journal's file now.
pub trait RemoteWriter: Send + Sync {
    /// Has one encoded record written there, a session counted, or notes taken in. Returns once it is
    /// durable; notes soon are.
    fn write(&self, record: Vec<u8>) -> Result<(), StoreError>;
}

/// A process that drains, and whose memory follows this one.
pub trait Follower: Send + Sync {
    /// Tells it encoded records; the order of the calls is the order of the changes. Must not block. Returns
    /// what to wait for.
    fn tell(&self, records: &[u8]) -> u64;
    /// Waits until it has taken in what it was told so far, for a short time; one that does not is cut off,
    /// and fails closed by itself.
    fn wait(&self, told: u64);
}

/// Who has the journal's file.
#[derive(Clone, Default)]
pub(super) enum Writer {
    /// This process.
    #[default]
    Ours,
    /// It is on its way: writes wait.
    HandingOver,
    /// The successor.
    Successor(Arc<dyn RemoteWriter>),
    /// Nobody whom this process could ask.
    Lost,
}
