//! The outcome of the last load of the configuration.

use crate::model::UnixTime;

/// The outcome of the last load of the configuration.
#[derive(Clone, Debug, Default)]
pub(super) struct LastReload {
    pub(super) at: UnixTime,
    pub(super) error: Option<String>,
    /// What a restart would do with the same files, where that is known.
    pub(super) restart: Option<&'static str>,
}

impl LastReload {
    /// Returns what was wrong, and what a restart would do.
    pub(super) fn message(self) -> Option<String> {
        let error = self.error?;
        Some(self.restart.map_or_else(|| error.clone(), |restart| format!("{}\n{restart}", error.trim_end())))
    }
}
