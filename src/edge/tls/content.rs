//! What the files of a certificate hold, read once: what is judged is what is used.

use std::{io, path::Path};

use sha2::{Digest, Sha256};

use super::{TlsError, certificate::file, source::Files};
use crate::{
    files,
    model::{Secret, encoding_fault},
    policy::TicketSecrets,
};

/// How large a file may be. The largest honest one is a bundle of every public CA: 250 KiB.
const MAX_BYTES: u64 = 4 << 20;

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

/// Reads a file of secrets for tickets. Blocks.
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

/// Reads a whole file, without waiting; returns its mode too.
pub(super) fn read(path: &Path) -> Result<(Vec<u8>, u32), TlsError> {
    let files::Contents { bytes, mode } = files::read(path, MAX_BYTES).map_err(|source| file(path, source))?;
    Ok((bytes, mode))
}
