//! A folder of session keys: which there are, and what they hold.

use std::{
    fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use super::{history::History, input, reader::without_newline};
use crate::{
    files,
    model::{KeyError, PemFault, Secret, encoding_fault},
    session::{KeyFile, KeyFileError},
};

/// The most keys of a folder. Three are many: one that retires, one that mints, one that is coming.
pub(super) const MOST: usize = 64;

/// How often a folder is listed until two lists agree: a name that changes meanwhile may stand in a list
/// twice or not at all.
const LOOKS: usize = 10;

/// How large a key's file may be; base64 of 32 bytes is 44 characters.
const FILE_BYTES: u64 = 1024;

/// Why a folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyFolderError {
    /// The system refused.
    #[error("cannot read {}: {}", .path.display(), files::reason(.source))]
    Io {
        /// The folder or file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Any account may put a key into it.
    #[error("any account of this machine may put keys into {} (mode {mode:04o})", .path.display())]
    OpenToAll {
        /// The folder.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// A key that any account may read.
    #[error("{} is open to every account of this machine (mode {mode})", .path.display())]
    FileOpenToAll {
        /// The file.
        path: PathBuf,
        /// Its mode.
        mode: String,
    },
    /// A file that is no key's.
    #[error("{}: {source}", .path.display())]
    Name {
        /// The file.
        path: PathBuf,
        /// What names there are.
        #[source]
        source: KeyFileError,
    },
    /// Two files of one key.
    #[error("{} holds two files of the key {id}", .path.display())]
    Twice {
        /// The folder.
        path: PathBuf,
        /// The key.
        id: u16,
    },
    /// More than are ever needed.
    #[error("{} holds more than {MOST} keys", .0.display())]
    TooMany(PathBuf),
    /// Somebody keeps renaming.
    #[error("the names in {} do not stop changing", .0.display())]
    Unsteady(PathBuf),
    /// A file that an editor gave another encoding.
    #[error("{}:1: {fault}", .path.display())]
    Encoding {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        fault: PemFault,
    },
    /// A file without a key.
    #[error("{}: {why}", .path.display())]
    Key {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        #[source]
        why: KeyError,
    },
}

/// A key of a folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FolderKey {
    /// What its file is called.
    pub file: KeyFile,
    /// What it holds.
    pub secret: Secret<[u8; 32]>,
}

impl KeyFolderError {
    /// Says what would help.
    pub(super) fn hint(&self, history: History) -> Option<String> {
        match self {
            Self::Io { path, .. } => Some(
                history.unread(path, history.secret("`octroi keys init` makes the folder and its first key")),
            ),
            Self::OpenToAll { path, .. } => Some(format!("chmod o-w {}", path.display())),
            Self::FileOpenToAll { path, .. } => Some(format!("chmod 0600 {}", path.display())),
            Self::Name { .. }
            | Self::Twice { .. }
            | Self::TooMany(_)
            | Self::Unsteady(_)
            | Self::Encoding { .. }
            | Self::Key { .. } => None,
        }
    }
}

/// Reads the keys of a folder, the highest number first. Blocks.
pub fn read_key_folder(folder: &Path) -> Result<Vec<FolderKey>, KeyFolderError> {
    let read = |file: KeyFile| {
        let path = folder.join(file.to_string());
        let held = input::read(&path, FILE_BYTES)
            .map_err(|source| KeyFolderError::Io { path: path.clone(), source })?;
        if held.is_open_to_all() {
            return Err(KeyFolderError::FileOpenToAll { mode: held.mode(), path });
        }
        if let Some(fault) = encoding_fault(held.bytes.expose()) {
            return Err(KeyFolderError::Encoding { path, fault });
        }
        let text = std::str::from_utf8(held.bytes.expose()).unwrap_or("");
        let secret =
            Secret::from_base64(without_newline(text)).map_err(|why| KeyFolderError::Key { path, why })?;
        Ok(FolderKey { file, secret })
    };
    list(folder)?.into_iter().map(read).collect()
}

/// Lists the keys of a folder, the highest number first. What begins with a dot is passed over: files that
/// are being written, and the links of Kubernetes' volumes.
pub(super) fn list(folder: &Path) -> Result<Vec<KeyFile>, KeyFolderError> {
    let mode =
        fs::metadata(folder).map_err(|source| KeyFolderError::Io { path: folder.to_owned(), source })?.mode();
    if mode & 0o002 != 0 {
        return Err(KeyFolderError::OpenToAll { path: folder.to_owned(), mode: mode & 0o7777 });
    }
    let mut before = names(folder)?;
    for _ in 0..LOOKS {
        let now = names(folder)?;
        if now == before {
            return keys(folder, &now);
        }
        before = now;
    }
    Err(KeyFolderError::Unsteady(folder.to_owned()))
}

fn names(folder: &Path) -> Result<Vec<String>, KeyFolderError> {
    let failed = |source| KeyFolderError::Io { path: folder.to_owned(), source };
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).map_err(failed)? {
        let name = entry.map_err(failed)?.file_name().to_string_lossy().into_owned();
        if name.starts_with('.') {
            continue;
        }
        if names.len() >= MOST {
            return Err(KeyFolderError::TooMany(folder.to_owned()));
        }
        names.push(name);
    }
    names.sort_unstable();
    Ok(names)
}

fn keys(folder: &Path, names: &[String]) -> Result<Vec<KeyFile>, KeyFolderError> {
    let parse = |name: &String| {
        name.parse::<KeyFile>().map_err(|source| KeyFolderError::Name { path: folder.join(name), source })
    };
    let mut keys = names.iter().map(parse).collect::<Result<Vec<_>, _>>()?;
    keys.sort_unstable_by_key(|key| std::cmp::Reverse(key.id));
    let twice = keys.iter().zip(keys.iter().skip(1)).find(|(one, other)| one.id == other.id);
    match twice {
        Some((key, _)) => Err(KeyFolderError::Twice { path: folder.to_owned(), id: key.id }),
        None => Ok(keys),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use base64::{Engine, engine::general_purpose::STANDARD};
    use sha2::{Digest, Sha256};

    use super::*;
    use crate::session::KeyState;

    struct Folder(tempfile::TempDir);

    impl Folder {
        fn new() -> Self {
            Self(tempfile::tempdir().unwrap())
        }

        fn put(&self, name: &str, text: &str, mode: u32) -> &Self {
            let path = self.0.path().join(name);
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            self
        }

        fn key(&self, name: &str) -> &Self {
            self.put(
                name,
                &format!("{}\n", STANDARD.encode(Sha256::digest(format!("a test's {name}")))),
                0o600,
            )
        }

        fn wrong(&self) -> String {
            let text = read_key_folder(self.0.path()).unwrap_err().to_string();
            text.replace(self.0.path().to_str().unwrap(), "DIR")
        }
    }

    #[test]
    fn keys_come_with_the_highest_number_first() {
        let folder = Folder::new();
        folder.key("2.key").key("10.open.key").key("1.key").put(".3.key.new", "half", 0o600);

        let read = read_key_folder(folder.0.path()).unwrap();

        let key = |id, state| KeyFile { id, state };
        let found: Vec<_> = read.iter().map(|key| key.file).collect();
        assert_eq!(found, [key(10, KeyState::Open), key(2, KeyState::Mint), key(1, KeyState::Mint)]);
        assert_ne!(read[0].secret, read[1].secret);
        assert!(read_key_folder(Folder::new().0.path()).unwrap().is_empty());
    }

    #[test]
    fn what_is_no_key_is_refused_by_name() {
        assert_eq!(
            Folder::new().key("2.key").key("2.kye").wrong(),
            "DIR/2.kye: a key's file is called `N.key`, `N.open.key` or `N.from-YYYYMMDDTHHMMSSZ.key`, with N from 1 to 65535"
        );
        assert_eq!(Folder::new().key("2.key").key("2.open.key").wrong(), "DIR holds two files of the key 2");
        assert_eq!(Folder::new().put("2.key", "short", 0o600).wrong(), "DIR/2.key: the key is not base64");
        assert_eq!(
            Folder::new().put("2.key", &STANDARD.encode([7; 32]), 0o604).wrong(),
            "DIR/2.key is open to every account of this machine (mode 0604)"
        );
        assert_eq!(
            Folder::new().put("2.key", &STANDARD.encode([7; 32]), 0o400).wrong(),
            "DIR/2.key: the key is not random"
        );
        let many = Folder::new();
        for id in 1..=MOST + 1 {
            many.key(&format!("{id}.key"));
        }
        assert_eq!(many.wrong(), "DIR holds more than 64 keys");
    }

    #[test]
    fn a_folder_that_any_account_may_write_is_refused() {
        let folder = Folder::new();
        fs::set_permissions(folder.0.path(), fs::Permissions::from_mode(0o1777)).unwrap();

        assert_eq!(
            folder.key("1.key").wrong(),
            "any account of this machine may put keys into DIR (mode 1777)"
        );
        fs::remove_dir_all(folder.0.path()).unwrap();
        assert_eq!(folder.wrong(), "cannot read DIR: it does not exist");
    }
}
