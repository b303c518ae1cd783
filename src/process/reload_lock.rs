//! The lock under which rules and sockets change.

use std::time::Duration;

use tokio::{
    sync::{Mutex, MutexGuard},
    time::timeout,
};

use crate::model::ControlError;

/// How long a reload waits for another one, or for a hand-over that is under way. A hand-over may take
/// longer: its successor prepares.
const LOCK_TIMEOUT: Duration = Duration::from_secs(60);

/// Held by a reload, a renewal of files or a hand-over: one at a time.
#[derive(Debug, Default)]
pub(crate) struct ReloadLock(Mutex<()>);

impl ReloadLock {
    /// Waits for the lock, no longer than [`LOCK_TIMEOUT`].
    pub(crate) async fn acquire(&self) -> Result<MutexGuard<'_, ()>, ControlError> {
        let late = |_| {
            ControlError::Unavailable(
                "another reload or hand-over has not ended in time; try again".to_owned(),
            )
        };
        timeout(LOCK_TIMEOUT, self.0.lock()).await.map_err(late)
    }
}
