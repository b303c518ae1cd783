//! The session keys: `GET /v1/keys`.

use serde::{Deserialize, Serialize};

use super::write_time;
use crate::model::{KeyRole, KeyStatus};

/// `GET /v1/keys`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeysBody {
    /// The session keys, in the order of the ring.
    pub keys: Vec<KeyBody>,
}

/// One session key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyBody {
    /// The number that tokens carry.
    pub id: u16,
    /// `mints`, `opens` or `waits`.
    pub state: String,
    /// When a waiting key mints by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mints_from: Option<String>,
    /// Its file in the key folder; absent if the configuration lists the key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// A check value: nodes with the same secret show the same.
    pub check: String,
    /// Since when this node has known it; absent if no process was asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
    /// When it last minted here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub minted: Option<String>,
    /// When it last opened a session here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub opened: Option<String>,
    /// How many requests used it since the start of the process; absent if no process was asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uses: Option<u64>,
    /// When it may be retired.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retire_from: Option<String>,
}

impl From<KeyStatus> for KeyBody {
    fn from(key: KeyStatus) -> Self {
        let mints_from = match key.role {
            KeyRole::Waits(from) => from.map(write_time),
            KeyRole::Mints | KeyRole::Opens => None,
        };
        Self {
            id: key.id,
            state: key.role.as_str().to_owned(),
            mints_from,
            file: key.file,
            check: key.check,
            since: Some(write_time(key.since)),
            minted: key.minted.map(write_time),
            opened: key.opened.map(write_time),
            uses: Some(key.uses),
            retire_from: key.retire_from.map(write_time),
        }
    }
}
