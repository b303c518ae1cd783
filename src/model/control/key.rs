//! The session keys in force, and their use.

use crate::model::UnixTime;

/// A session key of the key ring, and its use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyStatus {
    /// The key number in tokens.
    pub id: u16,
    /// Its role now.
    pub role: KeyRole,
    /// Its file in the key folder; `None` if it is listed in the configuration.
    pub file: Option<String>,
    /// A check value: nodes with the same secret show the same one, and it reveals nothing about the secret.
    pub check: String,
    /// Since when this node knows the key.
    pub since: UnixTime,
    /// When it was last the minting key here.
    pub minted: Option<UnixTime>,
    /// When it last opened a valid session here.
    pub opened: Option<UnixTime>,
    /// How many requests that was, since the process started.
    pub uses: u64,
    /// From when on no session that it sealed can be valid, as far as this node knows; `None` while it mints.
    pub retire_from: Option<UnixTime>,
}

/// The role of a session key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyRole {
    /// It seals new tokens, and opens.
    Mints,
    /// It only opens existing tokens.
    Opens,
    /// It opens, is newer than the minting key, and replaces it: at this time, or when an operator says so.
    Waits(Option<UnixTime>),
}

impl KeyRole {
    /// Returns the word in output.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Mints => "mints",
            Self::Opens => "opens",
            Self::Waits(_) => "waits",
        }
    }
}
