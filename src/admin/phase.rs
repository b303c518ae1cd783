//! How far a connection has come: those that keep others out for nothing are the first to go.

use std::sync::{
    Arc,
    atomic::{AtomicU8, Ordering},
};

/// How far a connection has come. Clones tell of the same one.
#[derive(Clone, Debug, Default)]
pub struct Phase(Arc<AtomicU8>);

/// Nothing whole was heard of it.
const SILENT: u8 = 0;
/// What it asked for is being done.
const WORKS: u8 = 1;
/// The answer waits for it.
const ANSWERED: u8 = 2;

impl Phase {
    /// Notes that a request is there.
    pub(super) fn works(&self) {
        self.0.store(WORKS, Ordering::Relaxed);
    }

    /// Notes that its answer is there.
    pub(super) fn answered(&self) {
        self.0.store(ANSWERED, Ordering::Relaxed);
    }

    /// Says how soon it has to make room for others: 0 first; never while what it asked for is being done.
    pub(super) fn rank(&self) -> Option<u8> {
        match self.0.load(Ordering::Relaxed) {
            SILENT => Some(0),
            WORKS => None,
            _ => Some(1),
        }
    }
}
