//! What the gateway reports about the answers on an HTTP/2 connection.

use std::sync::Arc;

use super::Connection;

/// A part of an answer that waits until this is dropped.
#[derive(Debug)]
pub struct PendingAnswer(Arc<Connection>);

impl Connection {
    /// Notes that a part of an answer waits for the client.
    pub fn answer_pending(self: &Arc<Self>) -> PendingAnswer {
        self.answers.wait();
        PendingAnswer(Arc::clone(self))
    }

    /// Notes that an answer was handed to the library, which sends it when it can and reports nothing.
    pub fn leave_answer_to_library(&self) {
        self.answers.leave_to_library();
    }

    /// Says whether a part of an answer waits for the client, or may wait.
    pub fn has_pending_answers(&self) -> bool {
        self.answers.are_pending()
    }

    /// Notes that an answer was ended because its client reads too slowly. An answer that was handed to the
    /// library is not counted.
    pub fn note_unread(&self) {
        self.answers.note_unread();
    }

    /// Takes one such note, if there is one.
    pub fn take_unread(&self) -> bool {
        self.answers.take_unread()
    }
}

impl Drop for PendingAnswer {
    fn drop(&mut self) {
        self.0.answers.end_wait();
    }
}
