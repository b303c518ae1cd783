//! One timer per connection, armed lazily.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use tokio::time::{Instant, Sleep, sleep_until};

/// A timer for whichever deadline is next.
///
/// It is only moved to an earlier time. A deadline that moves away leaves it where it is; when it then fires
/// too early, it is armed again. So a kept-alive connection touches the timer wheel about once per timeout
/// and not once per request.
#[derive(Debug, Default)]
pub(super) struct DeadlineTimer(Option<Pin<Box<Sleep>>>);

impl DeadlineTimer {
    /// Is ready once the time has come. Until then the task is woken at that time, or earlier.
    pub(super) fn poll_due(&mut self, by: Instant, cx: &mut Context<'_>) -> Poll<()> {
        let sleep = self.0.get_or_insert_with(|| Box::pin(sleep_until(by)));
        if sleep.deadline() > by {
            sleep.as_mut().reset(by);
        }
        while sleep.as_mut().poll(cx).is_ready() {
            if Instant::now() >= by {
                return Poll::Ready(());
            }
            sleep.as_mut().reset(by);
        }
        Poll::Pending
    }
}
