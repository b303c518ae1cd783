//! The names of a log's files, its lock, and putting a new file in place.

use std::{
    fs::{self, DirBuilder, File},
    io,
    marker::PhantomData,
    os::unix::fs::{DirBuilderExt, MetadataExt},
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{AppendLogError, Codec};
use crate::files;

/// The folder of a log.
pub(super) struct Place<C> {
    pub(super) dir: PathBuf,
    codec: PhantomData<C>,
}

impl<C: Codec> Place<C> {
    pub(super) fn new(dir: &Path) -> Self {
        Self { dir: dir.into(), codec: PhantomData }
    }

    /// Returns the path of the log.
    pub(super) fn path(&self) -> PathBuf {
        self.dir.join(C::FILE)
    }

    /// Returns the path of the file that is written before it replaces the log.
    pub(super) fn temporary(&self) -> PathBuf {
        self.dir.join(format!("{}.new", C::FILE))
    }

    /// Returns the path under which a file is kept that was found in the log's place.
    pub(super) fn aside(&self, number: u32) -> PathBuf {
        self.dir.join(format!("{}.aside-{number}", C::FILE))
    }

    /// Returns the path of the mark.
    pub(super) fn mark(&self) -> PathBuf {
        self.dir.join(C::MARK)
    }

    /// Returns the path of the lock.
    pub(super) fn lock_path(&self) -> PathBuf {
        self.dir.join(C::LOCK)
    }

    /// Takes the lock.
    pub(super) fn lock(&self) -> Result<File, AppendLogError> {
        let dir = &self.dir;
        DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(failed("creating", dir))?;
        let path = self.lock_path();
        let file = files::open_or_make(&path).map_err(|error| unopened(&path, error))?;
        match file.try_lock() {
            Ok(()) => Ok(file),
            Err(fs::TryLockError::WouldBlock) => Err(AppendLogError::Locked(self.path())),
            Err(fs::TryLockError::Error(error)) => Err(failed("locking", &path)(error)),
        }
    }

    /// Puts the temporary file in place of the log.
    pub(super) fn replace(&self) -> Result<(), AppendLogError> {
        let path = self.path();
        fs::rename(self.temporary(), &path).map_err(failed("putting in place", &path))?;
        // The new name is durable only once its directory is.
        files::sync_folder(&self.dir).map_err(failed("syncing", &self.dir))
    }
}

/// Says whether two handles are of one file.
pub(super) fn is_same(one: &fs::Metadata, other: &fs::Metadata) -> bool {
    (one.dev(), one.ino()) == (other.dev(), other.ino())
}

/// Says whether nothing has a name, not even a dangling link.
pub(super) fn is_away(path: &Path) -> bool {
    fs::symlink_metadata(path).is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
}

/// Says what lies there instead of a file, where that is why it cannot be opened.
pub(super) fn unopened(path: &Path, error: io::Error) -> AppendLogError {
    match files::kind(path) {
        Some(what) => AppendLogError::NotAFile { path: path.into(), what },
        None => failed("opening", path)(error),
    }
}

/// Makes an error of what the system refused.
pub(super) fn failed(doing: &'static str, path: &Path) -> impl Fn(io::Error) -> AppendLogError {
    let path = path.to_path_buf();
    move |source| AppendLogError::Io { doing, path: path.clone(), source: Arc::new(source) }
}
