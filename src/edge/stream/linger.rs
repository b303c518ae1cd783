//! What the library has written and not flushed: it waits a moment for the rest of the answer.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use tokio::{io::AsyncWrite, time::Instant};

use super::{alarm::Alarm, inner::Inner};

/// Bytes that the library has written and not flushed, while it waits for more of the answer.
#[derive(Debug, Default)]
pub(super) struct Linger {
    by: Option<Instant>,
    alarm: Alarm,
}

/// How long the beginning of an answer waits for the rest, so that both leave in one write. The library flushes an answer with
/// Content-Length only at its end; a server that pauses in the middle must not keep from the client what is there.
const LINGER: Duration = Duration::from_millis(5);

impl Linger {
    /// Sends what has been kept back for long enough.
    pub(super) fn let_go(&mut self, inner: &mut Inner, cx: &mut Context<'_>) -> io::Result<()> {
        if !inner.wire().holds_back() {
            self.by = None;
            return Ok(());
        }
        let by = *self.by.get_or_insert_with(|| Instant::now() + LINGER);
        if self.alarm.poll_due(by, cx).is_pending() {
            return Ok(());
        }
        match Pin::new(inner).poll_flush(cx) {
            Poll::Ready(outcome) => outcome,
            // The socket wakes us when it takes more.
            Poll::Pending => Ok(()),
        }
    }
}
