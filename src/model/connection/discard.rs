//! The rest of a request that has its answer: it is taken in and thrown away, so that a client that reads only when it has sent all gets
//! that answer (RFC 9112, section 9.6).

use std::{
    sync::{
        OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

/// How much of the rest is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Discard {
    /// So many octets more have the time that any body has: as long as they keep `body_min_rate`. Behind them a fixed time is left.
    pub octets: u64,
    /// How long the first of them may take. One that asked whether it may send, and was refused, sends nothing as a rule.
    pub first: Duration,
}

/// What gateway and stream tell each other about it.
#[derive(Debug, Default)]
pub(super) struct Discarding {
    bounds: OnceLock<Discard>,
    stopped: AtomicBool,
}

impl Discarding {
    pub(super) fn begin(&self, bounds: Discard) {
        // The first bounds stay: there is one such request in the life of a connection.
        let _ = self.bounds.set(bounds);
    }

    pub(super) fn bounds(&self) -> Option<Discard> {
        self.bounds.get().copied().filter(|_| !self.stopped.load(Ordering::Acquire))
    }

    pub(super) fn stop(&self) {
        self.stopped.store(true, Ordering::Release);
    }
}
