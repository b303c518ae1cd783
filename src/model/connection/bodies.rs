//! The bodies that are to come over a connection, and how fast they must.

use std::sync::{
    Mutex, PoisonError,
    atomic::{AtomicU32, AtomicU64, Ordering},
};

/// The rates of the bodies that are to come: over HTTP/2 there are many at once.
#[derive(Debug, Default)]
pub(super) struct Bodies {
    rates: Mutex<Vec<u64>>,
    lowest: AtomicU64,
    slow: AtomicU32,
}

impl Bodies {
    /// Adds one.
    pub(super) fn begin(&self, bytes_per_second: u64) {
        self.change(|rates| rates.push(bytes_per_second));
    }

    /// Takes one away that began with the same rate.
    pub(super) fn end(&self, bytes_per_second: u64) {
        self.change(|rates| {
            if let Some(at) = rates.iter().position(|rate| *rate == bytes_per_second) {
                rates.swap_remove(at);
            }
        });
    }

    /// Over HTTP/2 many bodies come at once, and the stream does not know which of them is which request's. So the lowest of their
    /// rates holds for all of them.
    fn change(&self, change: impl FnOnce(&mut Vec<u64>)) {
        let mut rates = self.rates.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut rates);
        self.lowest.store(rates.iter().copied().min().unwrap_or(0), Ordering::Relaxed);
    }

    /// Returns the lowest rate; 0 is no bound.
    pub(super) fn lowest(&self) -> u64 {
        self.lowest.load(Ordering::Relaxed)
    }

    /// No bound any more, for the one body of HTTP/1.
    pub(super) fn unbound(&self) {
        self.lowest.store(0, Ordering::Relaxed);
    }

    /// Notes that one is too slow.
    pub(super) fn note_slow(&self) {
        self.slow.fetch_add(1, Ordering::Release);
    }

    /// Takes such a note away, if there is one.
    pub(super) fn take_slow(&self) -> bool {
        self.slow.fetch_update(Ordering::AcqRel, Ordering::Acquire, |slow| slow.checked_sub(1)).is_ok()
    }
}
