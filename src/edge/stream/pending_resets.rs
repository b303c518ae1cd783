//! Streams that the library has reset and whose request has not begun yet.
//!
//! The library hands out a request in its own time, even if it has reset the stream meanwhile: then the
//! gateway writes the full access line. Only if it never does, the short line is ours to write, after a while
//! or at the end of the connection.

use std::{collections::VecDeque, time::Duration};

use tokio::time::Instant;

/// How long a request may take to begin: much longer than a task waits to be scheduled.
const TIME_TO_BEGIN: Duration = Duration::from_secs(5);

/// The streams in the order of their resets. [`Connection::note_reset`] bounds their number.
///
/// [`Connection::note_reset`]: crate::model::Connection::note_reset
#[derive(Debug, Default)]
pub(super) struct PendingResets(VecDeque<(Instant, u32)>);

impl PendingResets {
    pub(super) fn note(&mut self, stream: u32, now: Instant) {
        self.0.push_back((now + TIME_TO_BEGIN, stream));
    }

    /// Returns when the first of them is due.
    pub(super) fn due(&self) -> Option<Instant> {
        self.0.front().map(|(by, _)| *by)
    }

    /// Takes the next one that is due.
    pub(super) fn take(&mut self, now: Instant) -> Option<u32> {
        let due = self.due().is_some_and(|by| by <= now);
        let next = if due { self.0.pop_front() } else { None };
        if self.0.is_empty() {
            self.0 = VecDeque::new();
        }
        next.map(|(_, stream)| stream)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_due_after_its_own_while() {
        let (mut pending_resets, start) = (PendingResets::default(), Instant::now());
        pending_resets.note(1, start);
        pending_resets.note(3, start + TIME_TO_BEGIN / 2);

        assert_eq!(
            (pending_resets.due(), pending_resets.take(start + TIME_TO_BEGIN / 2)),
            (Some(start + TIME_TO_BEGIN), None)
        );
        assert_eq!(
            (pending_resets.take(start + TIME_TO_BEGIN), pending_resets.take(start + TIME_TO_BEGIN)),
            (Some(1), None)
        );
        assert_eq!((pending_resets.take(start + 2 * TIME_TO_BEGIN), pending_resets.due()), (Some(3), None));
    }
}
