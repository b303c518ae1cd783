//! Streams that the library has reset and on which nobody has begun a request yet.
//!
//! The library takes up a request in its own time, also one whose stream it has reset by then: the gateway tells of that in full, with
//! what was asked and by whom. Only where it never does is the bare line ours to write, after a while or with the end of the connection.

use std::{collections::VecDeque, time::Duration};

use tokio::time::Instant;

/// How long a request may take to begin: much longer than a task waits for its turn.
const TIME_TO_BEGIN: Duration = Duration::from_secs(5);

/// The streams in the order in which they were reset. There are no more than [`Connection::note_reset`] takes.
///
/// [`Connection::note_reset`]: crate::model::Connection::note_reset
#[derive(Debug, Default)]
pub(super) struct Untold(VecDeque<(Instant, u32)>);

impl Untold {
    pub(super) fn note(&mut self, stream: u32, now: Instant) {
        self.0.push_back((now + TIME_TO_BEGIN, stream));
    }

    /// Returns when the first of them is due.
    pub(super) fn due(&self) -> Option<Instant> {
        self.0.front().map(|(by, _)| *by)
    }

    /// Takes the next one that is due by now.
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
        let (mut untold, start) = (Untold::default(), Instant::now());
        untold.note(1, start);
        untold.note(3, start + TIME_TO_BEGIN / 2);

        assert_eq!((untold.due(), untold.take(start + TIME_TO_BEGIN / 2)), (Some(start + TIME_TO_BEGIN), None));
        assert_eq!((untold.take(start + TIME_TO_BEGIN), untold.take(start + TIME_TO_BEGIN)), (Some(1), None));
        assert_eq!((untold.take(start + 2 * TIME_TO_BEGIN), untold.due()), (Some(3), None));
    }
}
