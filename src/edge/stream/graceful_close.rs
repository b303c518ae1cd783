//! Closes a connection: the response, the TLS close, and a moment for the peer to read them.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncWrite, ReadBuf},
    time::Instant,
};

use super::{deadline_timer::DeadlineTimer, inner::Inner};

/// The longest time for a close, whatever the peer does.
const LONGEST: Duration = Duration::from_secs(1);
/// How much of what the peer still sends is discarded.
const MOST_DISCARDED: usize = 256 * 1024;

/// A close in progress.
#[derive(Debug)]
pub(super) struct GracefulClose {
    answer: Vec<u8>,
    at: usize,
    step: Step,
    by: Instant,
    discarded: usize,
    await_peer: bool,
    discard_writes: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Answer,
    Close,
    AwaitPeer,
    Over,
}

impl GracefulClose {
    /// Closes after a response in place of the library's, whose own bytes are discarded.
    pub(super) fn with_answer(answer: Vec<u8>, now: Instant) -> Self {
        Self {
            answer,
            at: 0,
            step: Step::Answer,
            by: now + LONGEST,
            discarded: 0,
            await_peer: true,
            discard_writes: true,
        }
    }

    /// Closes without a response.
    ///
    /// With `await_peer` it waits for the peer to close: a close with unread bytes sends a reset, which may
    /// destroy a response in flight (RFC 9112, section 9.6).
    pub(super) fn without_answer(await_peer: bool, now: Instant) -> Self {
        Self {
            answer: Vec::new(),
            at: 0,
            step: Step::Close,
            by: now + LONGEST,
            discarded: 0,
            await_peer,
            discard_writes: false,
        }
    }

    /// Says whether the library's own bytes are discarded, as if they were written.
    pub(super) fn discards_writes(&self) -> bool {
        self.discard_writes
    }

    /// Continues until the close is complete. An error completes it: nobody is left to be told.
    pub(super) fn poll(
        &mut self,
        inner: &mut Inner,
        deadline_timer: &mut DeadlineTimer,
        cx: &mut Context<'_>,
    ) -> Poll<()> {
        if self.step == Step::Over {
            return Poll::Ready(());
        }
        let step = self.poll_steps(inner, cx);
        if step.is_pending() {
            ready!(deadline_timer.poll_due(self.by, cx));
        }
        self.step = Step::Over;
        self.answer = Vec::new();
        Poll::Ready(())
    }

    fn poll_steps(&mut self, inner: &mut Inner, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            match self.step {
                Step::Answer => {
                    let rest = self.answer.get(self.at..).unwrap_or_default();
                    if rest.is_empty() {
                        self.step = Step::Close;
                        continue;
                    }
                    match ready!(Pin::new(&mut *inner).poll_write(cx, rest)) {
                        Ok(0) | Err(_) => self.step = Step::Over,
                        Ok(written) => self.at += written,
                    }
                }
                Step::Close => {
                    let closed = ready!(Pin::new(&mut *inner).poll_shutdown(cx));
                    self.step = if closed.is_ok() && self.await_peer { Step::AwaitPeer } else { Step::Over };
                }
                Step::AwaitPeer => {
                    let mut space = [0; 4096];
                    let mut buf = ReadBuf::new(&mut space);
                    let read = ready!(inner.poll_discard(cx, &mut buf));
                    self.discarded += buf.filled().len();
                    if read.is_err() || buf.filled().is_empty() || self.discarded > MOST_DISCARDED {
                        self.step = Step::Over;
                    }
                }
                Step::Over => return Poll::Ready(()),
            }
        }
    }
}
