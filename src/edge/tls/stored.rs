//! A pair that octroi keeps itself, chain and key in one file: what there is to know of it.

use std::path::Path;

use super::{
    TlsError,
    certificate::{Loaded, not_after, not_before, parse},
    setup::provider,
    source::Files,
};
use crate::model::{Host, HostPattern, UnixTime};

/// What a pair is for, and for how long.
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
    /// Reads a file with a chain and its key, and judges it as every other pair is judged. Blocks.
    pub fn judge(path: &Path, now: UnixTime) -> Result<Self, TlsError> {
        let loaded = Loaded::from_files(Files::of_one(path.to_owned()), &provider(), now)?;
        // It is served on, and another one is to be had.
        if let Some(why) = loaded.out_of_date(now) {
            return Err(why);
        }
        let Some(leaf) = loaded.key.cert.first() else { return Err(TlsError::Empty { path: path.to_owned() }) };
        let parsed = parse(leaf, path)?;
        Ok(Self { names: loaded.names, not_before: not_before(&parsed), not_after: not_after(&parsed) })
    }

    /// Says whether it names a host.
    pub fn is_for(&self, host: &Host) -> bool {
        self.names.iter().any(|name| matches!(name, HostPattern::Exact(name) if name == host))
    }
}
