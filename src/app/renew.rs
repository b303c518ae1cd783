//! Files that were renewed on disk: taken into force, without a reload.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use super::control::App;
use crate::{config::read_deny_file, edge::TlsState};

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

/// Reads the files of denied ranges again. One that does not hold is refused as a whole: what it held before stays in force.
pub(super) async fn deny_files(app: &App) {
    let _no_reload_meanwhile = app.reloading.lock().await;
    let policy = Arc::clone(&app.shared.snapshot.load().policy);
    let files = policy.listeners.iter().flat_map(|listener| &listener.deny.files);
    let paths: BTreeSet<PathBuf> = files.map(|file| file.path.clone()).collect();
    let read = || paths.into_iter().map(|path| (read_deny_file(&path), path)).collect::<Vec<_>>();
    let read = match tokio::task::spawn_blocking(read).await {
        Ok(read) => read,
        Err(error) => return tracing::error!(%error, "the files of denied ranges could not be read again"),
    };
    let mut lists = BTreeMap::new();
    let mut refused = 0;
    for (outcome, path) in read {
        match outcome {
            Ok(ranges) => {
                if ranges.is_empty() {
                    tracing::warn!(file = %path.display(), "the file of denied ranges holds none, so it drops nobody");
                }
                lists.insert(path, Arc::new(ranges));
            }
            Err(error) => {
                refused += 1;
                tracing::error!(%error, "a file of denied ranges is refused; what it held before stays in force");
            }
        }
    }
    app.doors.deny(&|path| lists.get(path).cloned());
    app.shared.metrics.deny_files_refused(refused);
}
