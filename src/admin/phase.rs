//! The phase of a connection: connections that only occupy a slot are closed first.

use std::sync::{
    Arc,
    atomic::{AtomicU8, Ordering},
};

/// The phase of a connection. Clones share the same state.
#[derive(Clone, Debug, Default)]
pub struct Phase(Arc<AtomicU8>);

/// No complete request has arrived.
const SILENT: u8 = 0;
/// Its request is being carried out.
const WORKS: u8 = 1;
/// The answer is waiting to be read.
const ANSWERED: u8 = 2;

impl Phase {
    /// Records that a request has arrived.
    pub(super) fn works(&self) {
        self.0.store(WORKS, Ordering::Relaxed);
    }

    /// Records that its answer is ready.
    pub(super) fn answered(&self) {
        self.0.store(ANSWERED, Ordering::Relaxed);
    }

    /// Returns the order in which connections are closed to make room, 0 first; `None` while the request is
    /// carried out.
    pub(super) fn rank(&self) -> Option<u8> {
        match self.0.load(Ordering::Relaxed) {
            SILENT => Some(0),
            WORKS => None,
            _ => Some(1),
        }
    }
}
