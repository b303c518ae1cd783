//! The ring of master keys.

use crate::model::Secret;

/// One master key of the ring.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MasterKey {
    /// The number that tokens carry, 1 to 65535.
    pub id: u16,
    /// The 32 random bytes.
    pub secret: Secret<[u8; 32]>,
    /// Whether it only opens.
    pub open_only: bool,
}

/// The master keys, newest first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ring(Vec<MasterKey>);

impl Ring {
    /// Takes the keys, newest first.
    pub fn new(keys: Vec<MasterKey>) -> Self {
        Self(keys)
    }

    /// Returns the keys, newest first.
    pub fn keys(&self) -> &[MasterKey] {
        &self.0
    }

    /// Returns the key that mints: the first that does not only open.
    pub fn minting(&self) -> Option<&MasterKey> {
        self.0.iter().find(|key| !key.open_only)
    }
}
