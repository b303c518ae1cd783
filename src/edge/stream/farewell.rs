//! How a connection is ended by us: the answer, the TLS close, and a moment for the other side to read it.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncWrite, ReadBuf},
    time::Instant,
};

use super::{alarm::Alarm, inner::Inner};

/// A farewell takes no longer than this, whatever the other side does.
const LONGEST: Duration = Duration::from_secs(1);
/// What the other side still sends is thrown away up to here.
const MOST_DISCARDED: usize = 256 * 1024;

/// An ending under way.
#[derive(Debug)]
pub(super) struct Farewell {
    answer: Vec<u8>,
    at: usize,
    step: Step,
    by: Instant,
    discarded: usize,
    linger: bool,
    swallow: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Answer,
    Close,
    Linger,
    Over,
}

impl Farewell {
    /// Ends with an answer in place of the library's, whose own bytes are swallowed.
    pub(super) fn with_answer(answer: Vec<u8>, now: Instant) -> Self {
        Self { answer, at: 0, step: Step::Answer, by: now + LONGEST, discarded: 0, linger: true, swallow: true }
    }

    /// Ends without a word.
    ///
    /// With `linger`, waits for the other side's end: a close with unread bytes sends a reset, which may destroy an answer on its
    /// way (RFC 9112, section 9.6).
    pub(super) fn silent(linger: bool, now: Instant) -> Self {
        Self { answer: Vec::new(), at: 0, step: Step::Close, by: now + LONGEST, discarded: 0, linger, swallow: false }
    }

    /// Says whether the library's own bytes are to be taken as written.
    pub(super) fn swallows(&self) -> bool {
        self.swallow
    }

    /// Goes on until it is over. Errors end it: nobody is left to tell.
    pub(super) fn poll(&mut self, inner: &mut Inner, alarm: &mut Alarm, cx: &mut Context<'_>) -> Poll<()> {
        if self.step == Step::Over {
            return Poll::Ready(());
        }
        let step = self.poll_steps(inner, cx);
        if step.is_pending() {
            ready!(alarm.poll_due(self.by, cx));
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
                    self.step = if closed.is_ok() && self.linger { Step::Linger } else { Step::Over };
                }
                Step::Linger => {
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
