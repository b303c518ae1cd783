//! What is asked of a state directory before its journal is opened.

use std::{os::unix::fs::MetadataExt, path::Path, sync::Arc};

use super::{SessionLedger, StoreError, completeness::reason, record::Record};
use crate::{
    append_log::{AppendLog, AppendLogError},
    model::{BEGAN, JOURNAL},
};

impl SessionLedger {
    /// Judges a state directory before anything is written there: nobody but its owner writes to it, for
    /// whoever does could put a journal of their own there. Returns the owner, where that is neither this
    /// process's user nor root: they may open it again any time. One that is missing is made later, for its
    /// owner alone.
    pub fn judge_folder(dir: &Path) -> Result<Option<u32>, StoreError> {
        let failed = |source| {
            StoreError::from(AppendLogError::Io {
                doing: "looking at",
                path: dir.into(),
                source: Arc::new(source),
            })
        };
        let found = match std::fs::metadata(dir) {
            Ok(found) => found,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed(error)),
        };
        if !found.is_dir() {
            return Err(failed(std::io::ErrorKind::NotADirectory.into()));
        }
        let mode = found.mode() & 0o7777;
        if mode & 0o022 != 0 {
            return Err(StoreError::OpenFolder { path: dir.into(), mode });
        }
        Ok(Some(found.uid()).filter(|owner| *owner != 0 && *owner != rustix::process::geteuid().as_raw()))
    }

    /// Judges what lies in a state directory as [`SessionLedger::open`] would, and changes nothing; to be
    /// asked while no process has it. Returns why the journal counts as lost, where it does. Blocks: it reads
    /// all of it, up to a gigabyte.
    pub fn inspect(dir: &Path) -> Result<Option<&'static str>, StoreError> {
        Self::judge_folder(dir)?;
        Ok(AppendLog::<Record>::inspect(dir)?.map(reason))
    }

    /// Says whether a state directory holds a journal or what is left of one: then it says, too, whether
    /// another octroi has it.
    pub fn is_begun(dir: &Path) -> bool {
        [JOURNAL, BEGAN].iter().any(|name| std::fs::symlink_metadata(dir.join(name)).is_ok())
    }
}
