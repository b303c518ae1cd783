//! Why a store cannot do what was asked.

use std::{path::PathBuf, time::Duration};

use crate::append_log::AppendLogError;

/// Why the journal cannot be opened or written.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    /// The file cannot be opened or written.
    #[error(transparent)]
    Log(#[from] AppendLogError),
    /// Others than its owner may write to the state directory, and so could put a journal of their own there,
    /// or a control socket.
    #[error("others may write to the state directory {} (mode {mode:03o}); `chmod go-w {}`", path.display(), path.display())]
    OpenFolder {
        /// The state directory.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// So many revocations are in force that no more fit, and no tenant's could be folded into an epoch.
    #[error("{0} revocations are in force and no more fit; revoke the tenant instead")]
    Full(usize),
    /// So many sessions are known that nobody could say how many a user has.
    #[error("more sessions are in use than are kept count of, so a limit on a user's cannot be judged")]
    RegistryFull,
    /// The sessions of a user on other nodes cannot be counted.
    #[error("the sessions on other nodes cannot be counted: {0}")]
    Uncounted(String),
    /// The user has so many sessions that one more is refused.
    #[error("the user has {0} sessions")]
    TooMany(usize),
    /// It is in force and written down here, and the other nodes were not told yet.
    #[error("other nodes do not know it yet: {0}; they learn it as soon as Redis can be reached")]
    NotShared(String),
    /// Another process has taken the journal over.
    #[error("the journal was handed over to another process{0}")]
    HandedOver(&'static str),
    /// The disk takes nothing. Whoever waits for it goes; what is to be written stays queued.
    #[error("the disk of the revocation journal has not answered for {} s", .0.as_secs())]
    Slow(Duration),
    /// The work broke off.
    #[error("{0}")]
    BrokenOff(String),
    /// The successor could not write it.
    #[error("the successor says: {0}")]
    Successor(String),
}

impl StoreError {
    /// Says whether the file system itself is the cause, whoever asks: a folder where a file belongs.
    pub fn is_of_the_place(&self) -> bool {
        matches!(self, Self::Log(error) if error.is_of_the_place())
    }
}
