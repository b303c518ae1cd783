//! Certificates that were renewed on disk: taken into force, without a reload.

use std::{sync::Arc, time::Duration};

use super::control::App;
use crate::edge::TlsState;

/// Reads the certificates again. New connections see what was renewed; those that are open go on. Says when to ask again.
pub(super) async fn certificates(app: &App) -> Option<Duration> {
    let _no_reload_meanwhile = app.reloading.lock().await;
    let policy = Arc::clone(&app.shared.snapshot.load().policy);
    let now = app.shared.clock.now();
    match tokio::task::spawn_blocking(move || TlsState::build(&policy, now)).await {
        Ok(Ok(built)) => {
            app.shared.metrics.certificates(super::witness::expiries(&built).iter().map(|(name, not_after)| (name.as_str(), *not_after)));
            app.tls.store(built.or_keep(&app.tls.load_full()));
        }
        Ok(Err(errors)) => {
            for error in errors {
                tracing::error!(%error, "a certificate on disk is refused; the old ones stay in force");
            }
        }
        Err(error) => tracing::error!(%error, "the certificates could not be read again"),
    }
    None
}
