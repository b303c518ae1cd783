//! Files of denied ranges that changed on disk: taken into force without a reload.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

use crate::{
    config::read_deny_file,
    gateway::Shared,
    model::error_chain,
    process::{Blocking, Listeners, ReloadLock, RereadError},
};

/// The files of denied ranges of all listeners.
pub(crate) struct DenyFiles {
    shared: Arc<Shared>,
    listeners: Arc<Listeners>,
    reading: Blocking,
    reload_lock: Arc<ReloadLock>,
    /// Files that are refused as they are, each with the reason.
    refused: Mutex<Vec<String>>,
}

impl DenyFiles {
    /// Makes the handle; nothing is refused yet.
    pub(crate) fn new(
        shared: Arc<Shared>,
        listeners: Arc<Listeners>,
        reading: Blocking,
        reload_lock: Arc<ReloadLock>,
    ) -> Self {
        Self { shared, listeners, reading, reload_lock, refused: Mutex::default() }
    }

    /// Returns the files that are refused as they are, each with the reason.
    pub(crate) fn refused(&self) -> Vec<String> {
        self.refused.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Forgets refusals: a reload has read every file, and accepted it.
    pub(crate) fn accept_all(&self) {
        self.refused.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// Reads the files again. One that is invalid is refused as a whole: what it held before stays in force.
    pub(super) async fn read_again(&self) -> Result<(), RereadError> {
        let Ok(_no_reload_meanwhile) = self.reload_lock.acquire().await else { return Err(RereadError) };
        let policy = Arc::clone(&self.shared.snapshot.load().policy);
        let files = policy.listeners.iter().flat_map(|listener| &listener.deny.files);
        let paths: BTreeSet<PathBuf> = files.map(|file| file.path.clone()).collect();
        let read = || paths.into_iter().map(|path| (read_deny_file(&path), path)).collect::<Vec<_>>();
        let read = match self.reading.run(read).await {
            Ok(read) => read,
            Err(error) => {
                tracing::error!(error = %error_chain(&error), "the files of denied ranges could not be read again");
                return Err(RereadError);
            }
        };
        let mut lists = BTreeMap::new();
        let mut refused = Vec::new();
        for (outcome, path) in read {
            match outcome {
                Ok(ranges) => {
                    if ranges.is_empty() {
                        tracing::warn!(file = %path.display(), "the file of denied ranges holds none, so it drops nobody");
                    }
                    lists.insert(path, Arc::new(ranges));
                }
                Err(error) => {
                    refused.push(format!("{error}; what it held before stays in force"));
                    tracing::error!(%error, "a file of denied ranges is refused; what it held before stays in force");
                }
            }
        }
        self.listeners.deny(&|path| lists.get(path).cloned());
        *self.refused.lock().unwrap_or_else(PoisonError::into_inner) = refused;
        Ok(())
    }
}
