//! What a load reads beside YAML: variables, and the files that scalars name. Each is read once and is part
//! of the revision.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    io,
    path::{Path, PathBuf},
    rc::Rc,
};

use sha2::{Digest, Sha256};

use super::{parse::ScalarError, redaction::Redactor, substitute};
use crate::{files, model::Secret};

/// How large a key, certificate or substituted file may be. The largest honest one is a bundle of every
/// public CA: 250 KiB.
const MAX_BYTES: u64 = 4 << 20;

/// Variables that say where the service manager put something (systemd.exec(5)). `octroi check`, which no
/// service manager starts, finds the same revision as the service.
const PLACES: [&str; 6] = [
    "CACHE_DIRECTORY",
    "CONFIGURATION_DIRECTORY",
    "CREDENTIALS_DIRECTORY",
    "LOGS_DIRECTORY",
    "RUNTIME_DIRECTORY",
    "STATE_DIRECTORY",
];

/// A file that was read.
#[derive(Debug)]
pub(super) struct InputFile {
    /// What it holds.
    pub(super) bytes: Secret<Vec<u8>>,
    /// Its permission bits.
    mode: u32,
}

impl InputFile {
    /// Says whether any account of the machine may read or change it.
    pub(super) fn is_open_to_all(&self) -> bool {
        files::is_open_to_all(self.mode)
    }

    /// Returns the permission bits as they are written: `0644`.
    pub(super) fn mode(&self) -> String {
        format!("{:04o}", self.mode & 0o7777)
    }
}

/// Variables and files, remembered.
pub(super) struct Inputs<'e> {
    env: &'e dyn Fn(&str) -> Option<String>,
    files: RefCell<BTreeMap<PathBuf, Result<Rc<InputFile>, String>>>,
    variables: RefCell<BTreeMap<String, [u8; 32]>>,
    revision_notes: RefCell<BTreeSet<String>>,
    redactor: Rc<Redactor>,
}

impl<'e> Inputs<'e> {
    /// Starts with nothing read.
    pub(super) fn new(env: &'e dyn Fn(&str) -> Option<String>) -> Self {
        Self {
            env,
            files: RefCell::default(),
            variables: RefCell::default(),
            revision_notes: RefCell::default(),
            redactor: Rc::default(),
        }
    }

    /// Returns what must not be shown: everything that a reference has stood for.
    pub(super) fn redactor(&self) -> Rc<Redactor> {
        Rc::clone(&self.redactor)
    }

    /// Looks a variable up that a reference names.
    pub(super) fn variable(&self, name: &str) -> Option<String> {
        let value = self.environment(name)?;
        self.redactor.variable(name, &value);
        if PLACES.contains(&name) {
            return Some(value);
        }
        self.variables.borrow_mut().insert(name.to_owned(), Sha256::digest(value.as_bytes()).into());
        Some(value)
    }

    /// Looks a variable up that stands where nodes differ by design. What it stands for is no part of the
    /// revision, so that nodes with the same files have the same; where the variable stands elsewhere too, it
    /// is.
    pub(super) fn of_node(&self, name: &str) -> Option<String> {
        let value = self.environment(name)?;
        self.redactor.variable(name, &value);
        Some(value)
    }

    /// Puts the variables into the path of a file. They say where it lies, which is no part of the revision:
    /// its text is.
    pub(super) fn path(&self, text: &str) -> Result<String, ScalarError> {
        substitute::path(text, |name| self.of_node(name))
    }

    /// Looks up what the service manager says of this machine, which is no part of the revision.
    pub(super) fn environment(&self, name: &str) -> Option<String> {
        (self.env)(name)
    }

    /// Reads a file, or says why it cannot be read.
    pub(super) fn file(&self, path: &Path) -> Result<Rc<InputFile>, String> {
        if let Some(known) = self.files.borrow().get(path) {
            return known.clone();
        }
        let read = read(path, MAX_BYTES).map(Rc::new).map_err(|error| files::reason(&error));
        self.files.borrow_mut().insert(path.to_path_buf(), read.clone());
        read
    }

    /// Notes what was learnt otherwise than by reading, as a part of the revision.
    pub(super) fn add_to_revision(&self, text: &str) {
        self.revision_notes.borrow_mut().insert(text.to_owned());
    }

    /// Adds everything that was read to a digest, in an order that does not depend on the order of reading.
    ///
    /// Contents only, no paths: nodes that keep the same files in other places have the same revision.
    pub(super) fn digest(&self, digest: &mut Sha256) {
        for (name, value) in self.variables.borrow().iter() {
            digest.update(name.as_bytes());
            digest.update([0]);
            digest.update(value);
        }
        for note in self.revision_notes.borrow().iter() {
            digest.update(note.as_bytes());
            digest.update([0]);
        }
        let mut contents: Vec<[u8; 32]> = self
            .files
            .borrow()
            .values()
            .flatten()
            .map(|file| Sha256::digest(file.bytes.expose().as_slice()).into())
            .collect();
        contents.sort_unstable();
        contents.iter().for_each(|content| digest.update(content));
    }
}

/// Reads a whole regular file, without waiting.
pub(super) fn read(path: &Path, max: u64) -> io::Result<InputFile> {
    let files::Contents { bytes, mode } = files::read(path, max)?;
    Ok(InputFile { bytes: Secret::new(bytes), mode })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_changed_secret_is_another_revision() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.key");
        let digest = |text: &str| {
            std::fs::write(&path, text).unwrap();
            let inputs = Inputs::new(&|_| None);
            inputs.file(&path).unwrap();
            let mut digest = Sha256::new();
            inputs.digest(&mut digest);
            digest.finalize()
        };

        assert_eq!(digest("one"), digest("one"));
        assert_ne!(digest("one"), digest("two"));
    }

    #[test]
    fn where_a_secret_lies_is_no_part_of_the_revision() {
        let digest = |name: &str, value: &str| {
            let env = |_: &str| Some(value.to_owned());
            let inputs = Inputs::new(&env);
            inputs.variable(name);
            inputs.path(&format!("${{{name}}}/a.key")).unwrap();
            let mut digest = Sha256::new();
            inputs.digest(&mut digest);
            digest.finalize()
        };

        assert_eq!(digest("CREDENTIALS_DIRECTORY", "/run/a"), digest("CREDENTIALS_DIRECTORY", "/run/b"));
        assert_ne!(digest("PORT", "1"), digest("PORT", "2"));
    }

    #[test]
    fn what_cannot_be_read_says_why() {
        let folder = tempfile::tempdir().unwrap();
        let inputs = Inputs::new(&|_| None);

        assert_eq!(inputs.file(&folder.path().join("none")).unwrap_err(), "it does not exist");
        assert_eq!(inputs.file(folder.path()).unwrap_err(), "it is not a regular file");
    }
}
