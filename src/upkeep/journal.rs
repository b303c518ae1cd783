//! Writes down what the revocation journal is told in passing: notes of sessions, and the mark that says what
//! it holds.

use std::{sync::Arc, time::Duration};

use tokio::time::timeout;

use crate::{
    gateway::Shared,
    model::{LostRevocations, error_chain},
};

/// How often notes of sessions are written down, at most.
const NOTES: Duration = Duration::from_secs(1);
/// How often the mark beside the revocation journal is written.
const MARK: Duration = Duration::from_secs(10);
/// The message once no session from before a loss can live.
pub(crate) const LOSS_OVER: &str = "the loss of the revocation journal is over by itself: every session from before it has reached its absolute end";
/// How long the process waits for the disk when it stops.
const LAST_WRITES: Duration = Duration::from_secs(5);

/// Writes down notes of sessions that no request waits for, for ever.
pub(crate) async fn write_notes(shared: Arc<Shared>) {
    let mut has_failed = false;
    loop {
        // A retry writes all of it anew: not every second to a disk that takes nothing.
        tokio::time::sleep(if has_failed { NOTES * 10 } else { NOTES }).await;
        let journal = Arc::clone(&shared.revocations);
        match tokio::task::spawn_blocking(move || journal.write_pending()).await {
            Ok(Ok(())) => has_failed = false,
            Ok(Err(error)) if !has_failed => {
                has_failed = true;
                tracing::error!(event = "journal_failed", error = %error_chain(&error), "what is noted of sessions cannot be written down");
            }
            Ok(Err(_)) | Err(_) => {}
        }
    }
}

/// Writes the mark beside the revocation journal, for ever. It tells a journal that was lost from one that is
/// whole.
pub(crate) async fn write_marks(shared: Arc<Shared>) {
    let mut has_failed = false;
    let mut was_lost = lost(&shared).is_some();
    loop {
        tokio::time::sleep(MARK).await;
        if std::mem::replace(&mut was_lost, lost(&shared).is_some())
            && !was_lost
            && shared.revocations.beginning().lost.is_some()
        {
            tracing::warn!(event = "revocations_lost_over", "{LOSS_OVER}");
        }
        let (journal, now) = (Arc::clone(&shared.revocations), shared.clock.now());
        match tokio::task::spawn_blocking(move || journal.note_mark(now)).await {
            Ok(Ok(())) => {
                if std::mem::take(&mut has_failed) {
                    tracing::warn!(
                        event = "journal_mark_back",
                        "what the revocation journal holds is marked again"
                    );
                }
            }
            Ok(Err(error)) if !has_failed => {
                has_failed = true;
                tracing::error!(event = "journal_failed", error = %error_chain(&error), "what the revocation journal holds cannot be marked");
            }
            Ok(Err(_)) | Err(_) => {}
        }
    }
}

/// Writes the last notes down, or hands them to a successor.
pub(crate) async fn write_last_notes(shared: &Shared) {
    let (journal, now) = (Arc::clone(&shared.revocations), shared.clock.now());
    let writing =
        tokio::task::spawn_blocking(move || journal.write_pending().and_then(|()| journal.note_mark(now)));
    match timeout(LAST_WRITES, writing).await {
        Ok(Ok(Ok(()))) | Ok(Err(_)) => {}
        Ok(Ok(Err(error))) => {
            tracing::warn!(error = %error_chain(&error), "what was noted last of sessions is not written down")
        }
        Err(_) => {
            tracing::warn!("what was noted last of sessions is not written down: the disk does not answer")
        }
    }
}

/// Returns when the journal was found to be lost, as long as a session from before the loss could be
/// presented.
///
/// After that nothing is in doubt: each of them has reached its absolute end. They stay refused, should a
/// policy lengthen it later.
pub(crate) fn lost(shared: &Shared) -> Option<LostRevocations> {
    let found = shared.revocations.beginning().lost?;
    // A clock that was set ahead by mistake ends nothing.
    LostRevocations::of(found, shared.snapshot.load().policy.longest_session(), shared.clock.lasting())
}
