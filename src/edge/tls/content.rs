//! The contents of a certificate's files, read once: what is validated is what is used.

use std::{
    io,
    path::{Path, PathBuf},
};

use sha2::{Digest, Sha256};

use super::{TlsError, error::file};
use crate::{
    files,
    model::{Secret, encoding_fault},
    policy::TicketSecrets,
};

/// The largest file. The largest legitimate one is a bundle of all public CAs: 250 KiB.
const MAX_BYTES: u64 = 4 << 20;

/// The files of one certificate.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Files {
    /// The chain, leaf first.
    pub(super) cert: PathBuf,
    pub(super) key: PathBuf,
    /// An OCSP response to staple.
    pub(super) ocsp: Option<PathBuf>,
}

impl Files {
    /// Chain and key in one file.
    pub(super) fn of_one(path: PathBuf) -> Self {
        Self { cert: path.clone(), key: path, ocsp: None }
    }
}

/// The bytes of a pair.
pub(super) struct Content {
    pub(super) cert: Vec<u8>,
    pub(super) key: Secret<Vec<u8>>,
    /// Whether any account of the machine may read or change the key.
    pub(super) exposed: bool,
}

impl Content {
    /// Reads the pair. Blocks.
    pub(super) fn read(files: &Files) -> Result<Self, TlsError> {
        let (cert, _) = read(&files.cert)?;
        let (key, mode) = read(&files.key)?;
        Ok(Self { cert, key: Secret::new(key), exposed: files::is_open_to_all(mode) })
    }

    /// Returns a digest of everything.
    pub(super) fn digest(&self) -> [u8; 32] {
        let mut digest = Sha256::new();
        for part in [&self.cert, self.key.expose()] {
            digest.update(part.len().to_be_bytes());
            digest.update(part);
        }
        digest.update([u8::from(self.exposed)]);
        digest.finalize().into()
    }
}

/// Reads a file of ticket secrets. Blocks.
pub(super) fn ticket_secrets(path: &Path) -> Result<TicketSecrets, TlsError> {
    let (bytes, mode) = read(path)?;
    let bytes = Secret::new(bytes);
    if files::is_open_to_all(mode) {
        return Err(TlsError::Exposed { path: path.to_owned() });
    }
    if let Some(fault) = encoding_fault(bytes.expose()) {
        return Err(file(path, io::Error::other(fault.to_string())));
    }
    let text = std::str::from_utf8(bytes.expose()).map_err(|error| file(path, io::Error::other(error)))?;
    TicketSecrets::parse(text).map_err(|source| TlsError::TicketKeys { path: path.to_owned(), source })
}

/// Reads a whole file without waiting, and returns its mode.
pub(super) fn read(path: &Path) -> Result<(Vec<u8>, u32), TlsError> {
    let files::Contents { bytes, mode } =
        files::read(path, MAX_BYTES).map_err(|source| file(path, source))?;
    Ok((bytes, mode))
}
