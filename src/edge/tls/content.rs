//! What the files of a certificate hold, read once: what is judged is what is used.

use std::{
    fs::{self, File},
    io::{self, Read},
    os::unix::fs::PermissionsExt,
    path::Path,
};

use sha2::{Digest, Sha256};

use super::{TlsError, certificate::file, source::Files};
use crate::model::Secret;
use crate::policy::TicketSecrets;

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
        Ok(Self { cert, key: Secret::new(key), exposed: is_open_to_all(mode) })
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
    if is_open_to_all(mode) {
        return Err(TlsError::Exposed { path: path.to_owned() });
    }
    let text = std::str::from_utf8(bytes.expose()).map_err(|error| file(path, io::Error::other(error)))?;
    TicketSecrets::parse(text).map_err(|source| TlsError::TicketKeys { path: path.to_owned(), source })
}

/// Says whether any account of the machine may read or change a file of this mode.
const fn is_open_to_all(mode: u32) -> bool {
    mode & 0o007 != 0
}

/// Reads a whole file. Its permissions are asked of the open file, so that nobody exchanges it in between.
pub(super) fn read(path: &Path) -> Result<(Vec<u8>, u32), TlsError> {
    let failed = |source| file(path, source);
    // Opening a pipe would wait for its other end.
    if !fs::metadata(path).map_err(failed)?.is_file() {
        return Err(failed(io::Error::other("it is not a regular file")));
    }
    let opened = File::open(path).map_err(failed)?;
    let mode = opened.metadata().map_err(failed)?.permissions().mode();
    let mut bytes = Vec::new();
    opened.take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(failed)?;
    if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > MAX_BYTES {
        return Err(failed(io::Error::other(format!("it is larger than {} MiB", MAX_BYTES >> 20))));
    }
    Ok((bytes, mode))
}
