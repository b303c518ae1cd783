//! Tells when something happens in the folders that files lie in.
//!
//! Folders, not files: an editor and most renewers rename a new file over the old one, and Kubernetes swaps a
//! link (`..data`) somewhere on the way to the file. Each folder on that way which holds a link is watched
//! beside the one that holds the file.

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::OsString,
    fs, io,
    os::fd::OwnedFd,
    path::{Component, Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use rustix::{
    fs::inotify::{self, CreateFlags, WatchFlags},
    io::Errno,
};
use tokio::io::{Interest, unix::AsyncFd};

/// How many links may stand on the way to a file: what Linux follows (path_resolution(7)).
const MAX_LINKS: usize = 40;

/// How often the queue of events is read before it counts as empty.
const MAX_READS: usize = 2048;

/// What counts as something. Not each write: only its end, so that logs beside the files wake nobody.
const EVENTS: WatchFlags = WatchFlags::CLOSE_WRITE
    .union(WatchFlags::CREATE)
    .union(WatchFlags::DELETE)
    .union(WatchFlags::MOVED_FROM)
    .union(WatchFlags::MOVED_TO)
    .union(WatchFlags::ATTRIB)
    .union(WatchFlags::DELETE_SELF)
    .union(WatchFlags::MOVE_SELF)
    .union(WatchFlags::ONLYDIR);

/// The watched folders.
pub(super) struct FolderWatcher {
    inotify: Option<AsyncFd<OwnedFd>>,
    watched: Mutex<Watched>,
}

#[derive(Default)]
struct Watched {
    /// The kernel's number of each folder's watch. A folder that was exchanged for another has another
    /// number.
    numbers: BTreeMap<PathBuf, i32>,
    /// Whether the operator has been told that the kernel does not tell.
    warned: bool,
}

impl FolderWatcher {
    /// Opens the kernel's ear. Without one, nothing is told, and who asks must look often.
    pub(super) fn open() -> Self {
        #[expect(
            deprecated,
            reason = "its successor is `unsafe`, for types that do not keep their descriptor open; an `OwnedFd` does"
        )]
        let opened = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC)
            .map_err(io::Error::from)
            .and_then(AsyncFd::new);
        let folders = Self { inotify: None, watched: Mutex::default() };
        match opened {
            Ok(inotify) => Self { inotify: Some(inotify), ..folders },
            Err(error) => {
                folders.warn(&error);
                folders
            }
        }
    }

    /// Watches the folders of these files, and no others. Says whether the kernel tells of all of them.
    ///
    /// Blocks on the file system. It is called again after everything that happened: a folder that was made
    /// anew under an old name is another one to the kernel.
    pub(super) fn cover<'a>(&self, files: impl Iterator<Item = &'a Path>) -> bool {
        let Some(inotify) = &self.inotify else { return false };
        let folders: BTreeSet<PathBuf> = files.flat_map(trail).collect();
        let mut numbers = BTreeMap::new();
        let mut told = true;
        for folder in folders {
            match inotify::add_watch(inotify, &folder, EVENTS) {
                Ok(number) => {
                    numbers.insert(folder, number);
                }
                // It vanished just now. The folder above it is watched next time.
                Err(Errno::NOENT | Errno::NOTDIR) => told = false,
                Err(error) => {
                    told = false;
                    self.warn(&error.into());
                }
            }
        }
        let kept: BTreeSet<i32> = numbers.values().copied().collect();
        let before = {
            let mut watched = self.watched.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::replace(&mut watched.numbers, numbers)
        };
        for gone in before.into_values().filter(|number| !kept.contains(number)) {
            // The kernel has taken it back already where the folder is gone.
            let _ = inotify::remove_watch(inotify, gone);
        }
        told
    }

    /// Waits until something happens in a watched folder.
    pub(super) async fn changed(&self) {
        match &self.inotify {
            // Only an ear that is broken does not get ready; then the regular look remains.
            Some(inotify) if inotify.readable().await.is_ok() => {}
            Some(_) | None => std::future::pending().await,
        }
    }

    /// Forgets everything that has happened so far: whoever calls this looks at the files next.
    pub(super) fn forget(&self) {
        let Some(inotify) = &self.inotify else { return };
        let mut events = [0; 4096];
        let mut read = || {
            inotify.try_io(Interest::READABLE, |inotify| {
                rustix::io::read(inotify, &mut events).map_err(io::Error::from)
            })
        };
        // Until nothing is left, which is an error. The kernel's queue holds 16,384 events of at most 272
        // bytes.
        for _ in 0..MAX_READS {
            if !matches!(read(), Ok(1..)) {
                break;
            }
        }
    }

    fn warn(&self, error: &io::Error) {
        let mut watched = self.watched.lock().unwrap_or_else(PoisonError::into_inner);
        if !std::mem::replace(&mut watched.warned, true) {
            tracing::warn!(
                %error,
                "the kernel does not tell of changed files (inotify), so they are looked at every two seconds; \
                 fs.inotify.max_user_watches and max_user_instances bound it"
            );
        }
    }
}

/// Returns the folders on which it depends what a path leads to: its own, and that of each link on the way.
/// Where a folder is not there, the one above it stands for it.
fn trail(path: &Path) -> Vec<PathBuf> {
    let mut folders = Vec::new();
    let mut at = PathBuf::new();
    let mut ahead = parts(path);
    let mut links = 0;
    while let Some(part) = ahead.pop() {
        let here = at.join(&part);
        if let Ok(target) = fs::read_link(&here) {
            links += 1;
            if links > MAX_LINKS {
                break;
            }
            folders.push(folder(&at));
            if target.is_absolute() {
                at = PathBuf::new();
            }
            ahead.extend(parts(&target));
            continue;
        }
        if ahead.is_empty() || !here.exists() {
            folders.push(folder(&at));
            if here.is_dir() {
                folders.push(here);
            }
            break;
        }
        at = here;
    }
    folders
}

/// Returns the parts of a path, the last one first.
fn parts(path: &Path) -> Vec<OsString> {
    path.components()
        .rev()
        .filter(|part| *part != Component::CurDir)
        .map(|part| part.as_os_str().to_owned())
        .collect()
}

/// The empty path is the folder that we are in.
fn folder(path: &Path) -> PathBuf {
    if path.as_os_str().is_empty() { PathBuf::from(".") } else { path.to_owned() }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn every_folder_with_a_link_on_the_way_is_one_of_the_trail() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        let mount = root.join("mount");
        fs::create_dir_all(mount.join("..2026_01")).unwrap();
        fs::write(mount.join("..2026_01/tls.crt"), "one").unwrap();
        symlink("..2026_01", mount.join("..data")).unwrap();
        symlink("..data/tls.crt", mount.join("tls.crt")).unwrap();
        symlink(mount.join("tls.crt"), root.join("a.pem")).unwrap();

        // a.pem lies in the root, tls.crt and ..data in the mount, the file itself in the folder of its day.
        assert_eq!(
            trail(&root.join("a.pem")),
            [root.clone(), mount.clone(), mount.clone(), mount.join("..2026_01")]
        );
        assert_eq!(trail(&root.join("none/at/all.pem")), std::slice::from_ref(&root));
        assert_eq!(trail(&root.join("none.pem")), [root]);
    }

    #[test]
    fn a_circle_of_links_ends() {
        let dir = tempfile::tempdir().unwrap();
        symlink("b", dir.path().join("a")).unwrap();
        symlink("a", dir.path().join("b")).unwrap();

        assert_eq!(trail(&dir.path().join("a")).len(), MAX_LINKS);
    }

    #[tokio::test]
    async fn a_folder_that_is_made_anew_is_watched_again() {
        let dir = tempfile::tempdir().unwrap();
        let (inner, file) = (dir.path().join("inner"), dir.path().join("inner/a.pem"));
        fs::create_dir(&inner).unwrap();
        let folders = FolderWatcher::open();
        let soon = std::time::Duration::from_secs(5);
        let cover = || folders.cover([file.as_path()].into_iter());

        assert!(cover());
        fs::write(&file, "one").unwrap();
        tokio::time::timeout(soon, folders.changed()).await.unwrap();
        folders.forget();
        fs::remove_dir_all(&inner).unwrap();
        tokio::time::timeout(soon, folders.changed()).await.unwrap();
        folders.forget();
        assert!(cover());
        fs::create_dir(&inner).unwrap();
        tokio::time::timeout(soon, folders.changed()).await.unwrap();
        folders.forget();
        assert!(cover());
        fs::write(&file, "two").unwrap();

        tokio::time::timeout(soon, folders.changed()).await.unwrap();
    }

    #[tokio::test]
    async fn without_an_ear_it_says_so() {
        let folders = FolderWatcher { inotify: None, watched: Mutex::default() };

        assert!(!folders.cover([Path::new("/etc/hosts")].into_iter()));
        assert!(tokio::time::timeout(std::time::Duration::from_millis(50), folders.changed()).await.is_err());
    }
}
