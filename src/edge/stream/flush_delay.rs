//! Delays the flush of a response for a moment, until more of it is written.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use tokio::{io::AsyncWrite, time::Instant};

use super::{deadline_timer::DeadlineTimer, inner::Inner};

/// The delay of data that the library has written and not flushed.
#[derive(Debug, Default)]
pub(super) struct FlushDelay {
    by: Option<Instant>,
    deadline_timer: DeadlineTimer,
}

/// How long the beginning of a response waits for the rest, so that both leave in one write. The library
/// flushes a response with Content-Length only at its end; a server that pauses in the middle must not keep
/// from the client what has arrived.
const FLUSH_DELAY: Duration = Duration::from_millis(5);

impl FlushDelay {
    /// Flushes what has been delayed long enough.
    pub(super) fn flush_due(&mut self, inner: &mut Inner, cx: &mut Context<'_>) -> io::Result<()> {
        if !inner.socket().has_buffered() {
            self.by = None;
            return Ok(());
        }
        let by = *self.by.get_or_insert_with(|| Instant::now() + FLUSH_DELAY);
        if self.deadline_timer.poll_due(by, cx).is_pending() {
            return Ok(());
        }
        match Pin::new(inner).poll_flush(cx) {
            Poll::Ready(outcome) => outcome,
            // The socket wakes us when it accepts more.
            Poll::Pending => Ok(()),
        }
    }
}
