//! The folder of session keys: each file is created, renamed and removed atomically.

use std::{
    fs::{self, DirBuilder},
    os::unix::fs::{DirBuilderExt, MetadataExt, chown},
    path::{Path, PathBuf},
};

use anyhow::Context;
use base64::Engine;

use crate::{
    config,
    edge::dev,
    files,
    model::Secret,
    session::{KeyFile, KeyState},
};

/// Writes 32 random bytes in base64 into a new file that only its owner can read.
pub(super) fn write_random(path: &Path) -> anyhow::Result<()> {
    let mut random = Secret::new([0_u8; 32]);
    random
        .fill(aws_lc_rs::rand::fill)
        .map_err(|_| anyhow::anyhow!("the system's random generator does not work"))?;
    let text = Secret::new(base64::engine::general_purpose::STANDARD.encode(random.expose()) + "\n");
    dev::write_secret(path, text.expose().as_bytes()).with_context(|| format!("making {}", path.display()))
}

/// Creates a missing folder, and a key where it holds none: its number is one above the listed keys. Returns
/// what was created.
pub(super) fn first_key(folder: &Path, listed: Option<u16>) -> anyhow::Result<Option<PathBuf>> {
    if !folder.try_exists().with_context(|| format!("looking for {}", folder.display()))? {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)
            .with_context(|| format!("making {}", folder.display()))?;
    }
    if !config::read_key_folder(folder)?.is_empty() {
        return Ok(None);
    }
    // Beside listed keys, the folder's first key must reach every node before it mints, like every new key.
    let state = if listed.is_some() { KeyState::Open } else { KeyState::Mint };
    let id = listed.unwrap_or(0).checked_add(1).context("no number is left for another key")?;
    add(folder, KeyFile { id, state }).map(Some)
}

/// Creates a key under this name. Readers see the whole file or none; an existing file is an error.
pub(super) fn add(folder: &Path, file: KeyFile) -> anyhow::Result<PathBuf> {
    let (path, beside) = (folder.join(file.to_string()), folder.join(format!(".{}.new", file.id)));
    let making = || format!("making {}", path.display());
    // A file that a crash left behind was never in use as a key.
    let _ = fs::remove_file(&beside);
    write_random(&beside)?;
    let owner = fs::metadata(folder).with_context(making)?;
    // Root creates it for the owner of the folder: octroi's own account.
    if rustix::process::geteuid().is_root() && owner.uid() != 0 {
        chown(&beside, Some(owner.uid()), Some(owner.gid())).with_context(making)?;
    }
    // Unlike a rename, a link fails where the name is taken.
    let linked = fs::hard_link(&beside, &path).with_context(making);
    let _ = fs::remove_file(&beside);
    linked.and_then(|()| sync(folder)).map(|()| path)
}

/// Renames a key to its new state.
pub(super) fn change(folder: &Path, from: KeyFile, to: KeyFile) -> anyhow::Result<PathBuf> {
    let (old, new) = (folder.join(from.to_string()), folder.join(to.to_string()));
    fs::rename(&old, &new).with_context(|| format!("renaming {} to {}", old.display(), new.display()))?;
    sync(folder).map(|()| new)
}

/// Destroys a key.
pub(super) fn remove(folder: &Path, file: KeyFile) -> anyhow::Result<PathBuf> {
    let path = folder.join(file.to_string());
    fs::remove_file(&path).with_context(|| format!("removing {}", path.display()))?;
    sync(folder).map(|()| path)
}

/// A name is durable once its folder is synced.
fn sync(folder: &Path) -> anyhow::Result<()> {
    files::sync_folder(folder).with_context(|| format!("writing {} through", folder.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        config::read_key_folder(folder).unwrap().iter().map(|key| key.file.to_string()).collect()
    }

    #[test]
    fn a_key_comes_changes_and_goes() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("new/keys");
        let (waits, mints) =
            (KeyFile { id: 2, state: KeyState::Open }, KeyFile { id: 2, state: KeyState::Mint });

        assert_eq!(first_key(&folder, None).unwrap(), Some(folder.join("1.key")));
        assert_eq!(first_key(&folder, None).unwrap(), None);
        add(&folder, waits).unwrap();
        assert!(add(&folder, waits).is_err(), "it is there");
        assert_eq!(names(&folder), ["2.open.key", "1.key"]);
        change(&folder, waits, mints).unwrap();
        remove(&folder, KeyFile { id: 1, state: KeyState::Mint }).unwrap();

        assert_eq!(names(&folder), ["2.key"]);
        assert_eq!(fs::metadata(folder.join("2.key")).unwrap().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 1, "nothing is left over");
    }

    #[test]
    fn the_first_key_beside_listed_ones_waits() {
        let dir = tempfile::tempdir().unwrap();

        first_key(dir.path(), Some(4)).unwrap();

        assert_eq!(names(dir.path()), ["5.open.key"]);
    }
}
