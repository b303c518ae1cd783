//! Why an append-only log cannot be opened or written.

use std::{io, path::PathBuf, sync::Arc};

/// Why an append-only log cannot be opened or written.
#[derive(Clone, Debug, thiserror::Error)]
pub enum AppendLogError {
    /// The system refused.
    #[error("{doing} {}", .path.display())]
    Io {
        /// What was being done: `writing`.
        doing: &'static str,
        /// To which file.
        path: PathBuf,
        /// What the system said; everybody who waits for the same commit shares it.
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
    /// The file was removed, renamed or replaced while this process writes it.
    #[error("{} {what}; what was written to it is in memory, and is written anew", .path.display())]
    Gone {
        /// The file.
        path: PathBuf,
        /// What was found: `is gone`.
        what: &'static str,
    },
    /// Another process has it open.
    #[error("{} is held by another process; each octroi needs a state_dir of its own", .0.display())]
    Locked(PathBuf),
    /// Other users may write it, and so could take records out.
    #[error("{} may be written by others than its owner (mode {mode:03o}); make it 600", .path.display())]
    Permissions {
        /// The file.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// The file holds bytes that were never written there. Nothing is guessed: a record could be lost.
    #[error("{} is damaged at byte {offset}: {what}; {remedy}", .path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Where, in bytes from the start.
        offset: u64,
        /// What stands there.
        what: &'static str,
        /// What an operator can do.
        remedy: &'static str,
    },
    /// A later octroi wrote the file.
    #[error("{} has version {found}; this octroi reads version {known}", .path.display())]
    Version {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: u32,
        /// The version that is read.
        known: u32,
    },
    /// The file holds a record that a later octroi wrote.
    #[error("{} has a record of kind {kind} at byte {offset}, which a later octroi wrote; start that one", .path.display())]
    Later {
        /// The file.
        path: PathBuf,
        /// Where its frame begins, in bytes from the start.
        offset: u64,
        /// The kind.
        kind: u8,
    },
}

impl AppendLogError {
    /// Says whether the file system itself is the cause, whoever asks: a folder where a file belongs.
    pub fn is_of_the_place(&self) -> bool {
        matches!(self, Self::Io { source, .. } if matches!(source.kind(), io::ErrorKind::IsADirectory | io::ErrorKind::NotADirectory))
    }
}
