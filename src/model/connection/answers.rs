//! Counts the answers on an HTTP/2 connection that wait for their client to read.
//!
//! The stream sees a closed window, but not whether there is anything to send: a client that has read all of
//! an event stream owes nothing while its app is silent. So the gateway reports when something waits.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

#[derive(Debug, Default)]
pub(super) struct Answers {
    waiting: AtomicU32,
    /// Whether an answer was handed to the library as a whole.
    left: AtomicBool,
    unread: AtomicU32,
}

impl Answers {
    /// Notes that a part of an answer waits for the client.
    pub(super) fn wait(&self) {
        self.waiting.fetch_add(1, Ordering::Relaxed);
    }

    /// Notes that such a part waits no more.
    pub(super) fn end_wait(&self) {
        self.waiting.fetch_sub(1, Ordering::Relaxed);
    }

    /// Notes that an answer was handed to the library, which sends it when it can and reports nothing.
    pub(super) fn leave_to_library(&self) {
        self.left.store(true, Ordering::Relaxed);
    }

    /// Says whether a part of an answer waits for the client, or may wait.
    pub(super) fn are_pending(&self) -> bool {
        self.waiting.load(Ordering::Relaxed) > 0 || self.left.load(Ordering::Relaxed)
    }

    /// Notes that an answer was ended because its client reads too slowly. An answer that was handed to the
    /// library is not counted.
    pub(super) fn note_unread(&self) {
        if self.waiting.load(Ordering::Relaxed) > 0 {
            self.unread.fetch_add(1, Ordering::Release);
        }
    }

    /// Takes one such note, if there is one.
    pub(super) fn take_unread(&self) -> bool {
        self.unread.fetch_update(Ordering::AcqRel, Ordering::Acquire, |unread| unread.checked_sub(1)).is_ok()
    }
}
