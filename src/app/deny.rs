//! Files of denied ranges that changed on disk: taken into force without a reload.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    sync::Arc,
};

use super::{
    control::App,
    reload::{read as within, turn},
};
use crate::config::read_deny_file;

/// Reads the files again. One that does not hold is refused as a whole: what it held before stays in force.
pub(super) async fn read_again(app: &App) {
    // A reload that is under way for so long reads them itself.
    let Ok(_no_reload_meanwhile) = turn(app).await else { return };
    let policy = Arc::clone(&app.shared.snapshot.load().policy);
    let files = policy.listeners.iter().flat_map(|listener| &listener.deny.files);
    let paths: BTreeSet<PathBuf> = files.map(|file| file.path.clone()).collect();
    let read = || paths.into_iter().map(|path| (read_deny_file(&path), path)).collect::<Vec<_>>();
    let read = match within(app, read).await {
        Ok(read) => read,
        Err(error) => return tracing::error!(error, "the files of denied ranges could not be read again"),
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
