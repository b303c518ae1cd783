//! The request bodies that a connection still has to receive, and how fast they must come.

use std::sync::{
    Mutex, PoisonError,
    atomic::{AtomicU32, AtomicU64, Ordering},
};

/// The minimum rates of the bodies that are still to come: HTTP/2 has many at once.
#[derive(Debug, Default)]
pub(super) struct Bodies {
    rates: Mutex<Vec<u64>>,
    lowest: AtomicU64,
    slow: AtomicU32,
}

impl Bodies {
    /// Adds a body.
    pub(super) fn begin(&self, bytes_per_second: u64) {
        self.change(|rates| rates.push(bytes_per_second));
    }

    /// Removes a body that was added with the same rate.
    pub(super) fn end(&self, bytes_per_second: u64) {
        self.change(|rates| {
            if let Some(at) = rates.iter().position(|rate| *rate == bytes_per_second) {
                rates.swap_remove(at);
            }
        });
    }

    /// Over HTTP/2 many bodies come at once, and the stream does not know which of them belongs to which
    /// request. So the lowest of their rates applies to all of them.
    fn change(&self, change: impl FnOnce(&mut Vec<u64>)) {
        let mut rates = self.rates.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut rates);
        self.lowest.store(rates.iter().copied().min().unwrap_or(0), Ordering::Relaxed);
    }

    /// Returns the lowest rate; 0 means no bound.
    pub(super) fn lowest(&self) -> u64 {
        self.lowest.load(Ordering::Relaxed)
    }

    /// Lifts the bound; for HTTP/1, which has one body at a time.
    pub(super) fn unbound(&self) {
        self.lowest.store(0, Ordering::Relaxed);
    }

    /// Notes that a body is too slow.
    pub(super) fn note_slow(&self) {
        self.slow.fetch_add(1, Ordering::Release);
    }

    /// Takes this note, if there is one.
    pub(super) fn take_slow(&self) -> bool {
        self.slow.fetch_update(Ordering::AcqRel, Ordering::Acquire, |slow| slow.checked_sub(1)).is_ok()
    }
}
