//! Loads the policy again when something in it expires.

use std::{sync::Arc, time::Duration};

use super::reload::Reload;
use crate::{gateway::Shared, model::UnixTime, process::PolicySubscriber};

/// The longest sleep: the wall clock may be set meanwhile.
const LONGEST_SLEEP: Duration = Duration::from_secs(30);
/// How long to wait after a reload at an expiry failed.
const RETRY: Duration = Duration::from_secs(60);

/// Loads the policy again when a range or principal in it expires, for ever.
pub(crate) async fn reload_at_expiry(
    shared: Arc<Shared>,
    reload: Arc<dyn Reload>,
    mut changes: PolicySubscriber,
) {
    let mut tried: Option<UnixTime> = None;
    loop {
        let due = shared.snapshot.load().policy.next_expiry;
        let now = shared.clock.now();
        let wait = match due {
            Some(due) if due > now => due.since(now).min(LONGEST_SLEEP),
            Some(due) if tried != Some(due) => {
                tried = Some(due);
                tracing::info!("a range or principal expires; loading the configuration again");
                // The reload itself logs a refusal. It is tried again.
                let _ = reload.reload().await;
                Duration::ZERO
            }
            Some(_) => {
                tried = None;
                RETRY
            }
            None => LONGEST_SLEEP,
        };
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            // Another policy may have another expiry.
            () = changes.changed() => {}
        }
    }
}
