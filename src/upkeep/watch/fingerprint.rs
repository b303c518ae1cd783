//! Says which files are not what they were.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use sha2::{Digest, Sha256};

use super::Group;
use crate::{files, model::UnixTime};

/// A file that was touched later than this before it was read may be touched again though its times stay:
/// some file systems keep whole seconds.
const RACY_SECONDS: u64 = 2;
/// What lies behind this much of a file is not looked at; no file that octroi reads may be so large.
const MAX_BYTES: u64 = 256 << 20;

/// What the files were at the last look.
#[derive(Debug, Default)]
pub(super) struct Fingerprints(BTreeMap<PathBuf, Fingerprint>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Fingerprint {
    /// Nothing where it could not be read.
    stamp: Option<Stamp>,
    content: Content,
}

/// What the system says of a file without reading it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    mode: u32,
    modified: (i64, i64),
    changed: (i64, i64),
    /// Whether the times were too fresh to be relied on.
    racy: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Content {
    /// Its bytes, or what stands in a folder, by digest, and who may read them.
    Read {
        digest: [u8; 32],
        mode: u32,
        owner: u32,
    },
    Unreadable(io::ErrorKind),
}

impl Fingerprints {
    /// Returns the groups with a file that has changed since the last look, that is gone or back, or that was
    /// not named then.
    ///
    /// Blocks on files. A file is read again only where its size, times or place say that it may have
    /// changed.
    pub(super) fn look(&mut self, files: &[(Group, PathBuf)], now: UnixTime) -> BTreeSet<Group> {
        let before = std::mem::take(&mut self.0);
        let mut changed = BTreeSet::new();
        for (group, path) in files {
            let found = match self.0.get(path) {
                Some(seen) => seen.clone(),
                None => fingerprint(path, before.get(path), now),
            };
            if before.get(path).is_none_or(|old| old.content != found.content) {
                changed.insert(*group);
            }
            self.0.insert(path.clone(), found);
        }
        changed
    }
}

fn fingerprint(path: &Path, before: Option<&Fingerprint>, now: UnixTime) -> Fingerprint {
    let stamp = stamp(path, now);
    if let (Some(stamp), Some(before)) = (&stamp, before)
        && before.stamp.as_ref() == Some(stamp)
        && !stamp.racy
    {
        return before.clone();
    }
    match read(path) {
        Ok(content) => Fingerprint { stamp, content },
        Err(error) => Fingerprint { stamp: None, content: Content::Unreadable(error.kind()) },
    }
}

fn read(path: &Path) -> io::Result<Content> {
    let metadata = fs::metadata(path)?;
    if metadata.is_dir() {
        let digest = digest_folder(path)?;
        return Ok(Content::Read { digest, mode: metadata.mode(), owner: metadata.uid() });
    }
    let (digest, metadata) = files::digest(path, MAX_BYTES)?;
    Ok(Content::Read { digest, mode: metadata.mode(), owner: metadata.uid() })
}

/// Digests what stands in a folder: each name, and what the system says of the file without reading it.
fn digest_folder(path: &Path) -> io::Result<[u8; 32]> {
    let names =
        fs::read_dir(path)?.map(|entry| Ok(entry?.file_name())).collect::<io::Result<BTreeSet<_>>>()?;
    let mut digest = Sha256::new();
    for name in names {
        digest.update(name.as_encoded_bytes());
        digest.update([0]);
        // One that vanished meanwhile is a change of the next look.
        if let Ok(file) = fs::metadata(path.join(&name)) {
            let places = [file.dev(), file.ino(), file.size(), u64::from(file.mode())];
            let times = [file.mtime(), file.mtime_nsec(), file.ctime(), file.ctime_nsec()];
            places.iter().for_each(|number| digest.update(number.to_be_bytes()));
            times.iter().for_each(|number| digest.update(number.to_be_bytes()));
        }
    }
    Ok(digest.finalize().into())
}

fn stamp(path: &Path, now: UnixTime) -> Option<Stamp> {
    let metadata = fs::metadata(path).ok()?;
    let changed = (metadata.ctime(), metadata.ctime_nsec());
    Some(Stamp {
        device: metadata.dev(),
        inode: metadata.ino(),
        size: metadata.size(),
        mode: metadata.mode(),
        modified: (metadata.mtime(), metadata.mtime_nsec()),
        changed,
        // A folder's own times do not tell of what its files hold.
        racy: metadata.is_dir()
            || now.as_secs().saturating_sub(u64::try_from(changed.0).unwrap_or(0)) <= RACY_SECONDS,
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;
    use crate::model::{Clock, SystemClock};

    struct Files {
        dir: tempfile::TempDir,
        fingerprints: Fingerprints,
    }

    impl Files {
        fn new() -> Self {
            Self { dir: tempfile::tempdir().unwrap(), fingerprints: Fingerprints::default() }
        }

        fn path(&self) -> PathBuf {
            self.dir.path().join("a.pem")
        }

        fn changed(&mut self) -> bool {
            let files = [(Group::Tls, self.path())];
            !self.fingerprints.look(&files, SystemClock::new().now()).is_empty()
        }
    }

    #[test]
    fn only_what_another_content_has_counts() {
        let mut files = Files::new();

        assert!(files.changed(), "named for the first time");
        assert!(!files.changed(), "still not there");
        fs::write(files.path(), "one").unwrap();
        assert!(files.changed(), "there");
        fs::write(files.path(), "one").unwrap();
        assert!(!files.changed(), "written anew, with the same content");
        fs::write(files.path(), "two").unwrap();
        assert!(files.changed(), "the same length");
        fs::write(files.dir.path().join("new"), "six").unwrap();
        fs::rename(files.dir.path().join("new"), files.path()).unwrap();
        assert!(files.changed(), "renamed over");
        fs::remove_file(files.path()).unwrap();
        assert!(files.changed(), "gone");
    }

    #[test]
    fn who_may_read_a_file_is_part_of_it() {
        let mut files = Files::new();
        fs::write(files.path(), "key").unwrap();
        files.changed();

        fs::set_permissions(files.path(), fs::Permissions::from_mode(0o604)).unwrap();

        assert!(files.changed());
        assert!(!files.changed());
    }

    #[test]
    fn a_folder_is_what_stands_in_it() {
        let files = Files::new();
        let folder = [(Group::SessionKeys, files.dir.path().to_owned())];
        let mut fingerprints = Fingerprints::default();
        let mut changed = || !fingerprints.look(&folder, SystemClock::new().now()).is_empty();

        assert!(changed(), "named for the first time");
        assert!(!changed());
        fs::write(files.dir.path().join("2.open.key"), "").unwrap();
        assert!(changed(), "a file came");
        fs::rename(files.dir.path().join("2.open.key"), files.dir.path().join("2.key")).unwrap();
        assert!(changed(), "it has another name");
        fs::write(files.dir.path().join("2.key"), "longer").unwrap();
        assert!(changed(), "it holds something else");
        assert!(!changed());
        fs::remove_file(files.dir.path().join("2.key")).unwrap();
        assert!(changed(), "it is gone");
    }

    #[test]
    fn a_link_that_leads_elsewhere_is_a_change() {
        let mut files = Files::new();
        for (name, text) in [("one", "1"), ("two", "2")] {
            fs::write(files.dir.path().join(name), text).unwrap();
        }
        symlink("one", files.path()).unwrap();
        files.changed();

        symlink("two", files.dir.path().join("new")).unwrap();
        fs::rename(files.dir.path().join("new"), files.path()).unwrap();

        assert!(files.changed());
    }

    #[test]
    fn what_has_rested_is_not_read_again() {
        let mut files = Files::new();
        fs::write(files.path(), "one").unwrap();
        let later = SystemClock::new().now().plus(std::time::Duration::from_secs(10));
        let named = [(Group::Tls, files.path())];

        files.fingerprints.look(&named, later);
        let known = files.fingerprints.0.get_mut(&named[0].1).unwrap();
        known.content = Content::Unreadable(io::ErrorKind::Other);

        assert!(files.fingerprints.look(&named, later).is_empty(), "the content was not compared");
    }
}
