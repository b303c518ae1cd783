//! The rest of a request that already has its answer. It is read and discarded, so that a client that reads
//! only once it has sent everything gets that answer (RFC 9112, section 9.6).

use std::{
    sync::{
        OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

/// How much of the rest is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Discard {
    /// This many octets have as long as any body has, if they keep `body_min_rate`. Behind them a fixed time
    /// is left.
    pub octets: u64,
    /// How long the first of them may take. A client that asked whether it may send (`Expect: 100-continue`)
    /// and was refused usually sends nothing.
    pub first: Duration,
}

/// The gateway's order to discard, and its withdrawal, for the stream.
#[derive(Debug, Default)]
pub(super) struct Discarding {
    bounds: OnceLock<Discard>,
    stopped: AtomicBool,
}

impl Discarding {
    pub(super) fn begin(&self, bounds: Discard) {
        // The first bounds stay: a connection has one such request in its life.
        let _ = self.bounds.set(bounds);
    }

    pub(super) fn bounds(&self) -> Option<Discard> {
        self.bounds.get().copied().filter(|_| !self.stopped.load(Ordering::Acquire))
    }

    pub(super) fn stop(&self) {
        self.stopped.store(true, Ordering::Release);
    }
}
