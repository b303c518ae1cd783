//! Wakes the tasks that have to look again when another policy comes into force.

use tokio::sync::watch;

/// The sending end, for whoever puts a policy into force.
#[derive(Debug)]
pub(crate) struct PolicyChanges(watch::Sender<()>);

impl Default for PolicyChanges {
    fn default() -> Self {
        Self(watch::Sender::new(()))
    }
}

impl PolicyChanges {
    /// Wakes every subscriber.
    pub(crate) fn announce(&self) {
        self.0.send_replace(());
    }

    /// Makes an end for one task. It misses no change from now on, even one that comes while the task is
    /// busy.
    pub(crate) fn subscribe(&self) -> PolicySubscriber {
        PolicySubscriber(self.0.subscribe())
    }
}

/// The end of one task.
#[derive(Debug)]
pub(crate) struct PolicySubscriber(watch::Receiver<()>);

impl PolicySubscriber {
    /// Waits for a policy that came into force since the last call. Several count as one.
    pub(crate) async fn changed(&mut self) {
        // Without a sender no policy comes into force any more.
        if self.0.changed().await.is_err() {
            std::future::pending().await
        }
    }
}
