//! Why a store cannot do what was asked.

use std::{io, path::PathBuf, sync::Arc, time::Duration};

/// Why the journal cannot be opened or written.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    /// The system refused.
    #[error("{doing} {}", .path.display())]
    Io {
        /// What was being done: `writing`.
        doing: &'static str,
        /// To which file.
        path: PathBuf,
        /// What the system said; waiters of one commit share it.
        #[source]
        source: Arc<io::Error>,
    },
    /// Something else lies where the file belongs.
    #[error("{} is {what}, not a file; take it away, octroi makes its own", .path.display())]
    NotAFile {
        /// The path.
        path: PathBuf,
        /// What lies there: `a named pipe`.
        what: &'static str,
    },
    /// Another process has it.
    #[error("{} is held by another process; each octroi needs a state_dir of its own", .0.display())]
    Locked(PathBuf),
    /// Others than its owner may write it, and so could revive ended sessions.
    #[error("{} may be written by others than its owner (mode {mode:03o}); make it 600", .path.display())]
    Permissions {
        /// The file.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// It holds what was never written there. Nothing is guessed: a revocation could be lost.
    #[error("{} is damaged at byte {offset}: {what}; restore it, or move it away and revoke every tenant's sessions again", .path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Where, in bytes from the start.
        offset: u64,
        /// What stands there.
        what: &'static str,
    },
    /// A later octroi wrote it.
    #[error("{} has version {found}; this octroi reads version {known}", .path.display())]
    Version {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: u32,
        /// The version that is read.
        known: u32,
    },
    /// It holds a record that a later octroi wrote.
    #[error("{} has a record of kind {kind} at byte {offset}, which a later octroi wrote; start that one", .path.display())]
    Later {
        /// The file.
        path: PathBuf,
        /// Where its frame begins, in bytes from the start.
        offset: u64,
        /// The kind.
        kind: u8,
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
    /// The successor could not write it.
    #[error("the successor says: {0}")]
    Successor(String),
}
