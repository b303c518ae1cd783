//! What a pair that octroi keeps itself, chain and key in one file, is for.

use std::path::Path;

use super::{
    TlsError,
    certificate::LoadedCertificate,
    content::Files,
    setup::provider,
    x509::{not_after, not_before, parse},
};
use crate::model::{Host, HostPattern, UnixTime};

/// The hosts that a pair covers, and its validity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredPair {
    /// The hosts.
    pub names: Vec<HostPattern>,
    /// Its first second.
    pub not_before: UnixTime,
    /// Its last second.
    pub not_after: UnixTime,
}

impl StoredPair {
    /// Reads a file with a chain and its key, and validates it like every other pair. Blocks.
    pub fn judge(path: &Path, now: UnixTime) -> Result<Self, TlsError> {
        let loaded = LoadedCertificate::from_files(Files::of_one(path.to_owned()), &provider(), now)?;
        // It stays in use, but another one must be obtained.
        if let Some(why) = loaded.out_of_date(now) {
            return Err(why);
        }
        let Some(leaf) = loaded.key.cert.first() else {
            return Err(TlsError::Empty { path: path.to_owned() });
        };
        let parsed = parse(leaf, path)?;
        Ok(Self { names: loaded.names, not_before: not_before(&parsed), not_after: not_after(&parsed) })
    }

    /// Says whether it names a host.
    pub fn is_for(&self, host: &Host) -> bool {
        self.names.iter().any(|name| matches!(name, HostPattern::Exact(name) if name == host))
    }
}
