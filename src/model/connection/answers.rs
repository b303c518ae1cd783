//! The answers that wait for the client of an HTTP/2 connection to take more of them.
//!
//! The stream sees a window that is shut, and not whether anything would go through it: a client that has taken all of an event stream
//! owes nothing while its app is silent. So the gateway says while something waits.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU32, Ordering},
};

use super::Connection;

#[derive(Debug, Default)]
pub(super) struct Answers {
    waiting: AtomicU32,
    /// Whether answers were left to the library whole.
    left: AtomicBool,
    unread: AtomicU32,
}

/// A part of an answer that waits, until it is dropped.
#[derive(Debug)]
pub struct AnswerWaits(Arc<Connection>);

impl Connection {
    /// Notes that a part of an answer waits for the client.
    pub fn answer_waits(self: &Arc<Self>) -> AnswerWaits {
        self.answers.waiting.fetch_add(1, Ordering::Relaxed);
        AnswerWaits(Arc::clone(self))
    }

    /// Notes that an answer was left to the library, which sends it when it can: nobody says when that is.
    pub fn answer_is_left(&self) {
        self.answers.left.store(true, Ordering::Relaxed);
    }

    /// Says whether anything of an answer waits for the client, or may.
    pub fn answers_wait(&self) -> bool {
        self.answers.waiting.load(Ordering::Relaxed) > 0 || self.answers.left.load(Ordering::Relaxed)
    }

    /// Notes that an answer was ended because its client takes it too slowly; for one that was left to the library nobody asks.
    pub fn note_unread(&self) {
        if self.answers.waiting.load(Ordering::Relaxed) > 0 {
            self.answers.unread.fetch_add(1, Ordering::Release);
        }
    }

    /// Takes such a note away, if there is one.
    pub fn take_unread(&self) -> bool {
        self.answers.unread.fetch_update(Ordering::AcqRel, Ordering::Acquire, |unread| unread.checked_sub(1)).is_ok()
    }
}

impl Drop for AnswerWaits {
    fn drop(&mut self) {
        self.0.answers.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}
