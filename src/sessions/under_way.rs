//! Counts grants and ends in progress, so that a stop can wait for them.

use tokio::sync::watch;

/// The number of grants and ends in progress.
#[derive(Default)]
pub(super) struct UnderWay(watch::Sender<usize>);

/// One of them; dropping it counts it as ended.
pub(super) struct OneUnderWay(watch::Sender<usize>);

impl UnderWay {
    /// Counts one more.
    pub(super) fn begin(&self) -> OneUnderWay {
        self.0.send_modify(|count| *count = count.saturating_add(1));
        OneUnderWay(self.0.clone())
    }

    /// Waits until none is left.
    pub(super) async fn none_left(&self) {
        // The sender lives as long as this borrow.
        let _ = self.0.subscribe().wait_for(|count| *count == 0).await;
    }
}

impl Drop for OneUnderWay {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count = count.saturating_sub(1));
    }
}
