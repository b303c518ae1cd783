//! Calls to the process: reload, hand-over.

use serde::{Deserialize, Serialize};

/// What `POST /v1/reload` takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReloadBody {
    /// Whether many tenants may be removed at once, with their sessions.
    #[serde(default)]
    pub allow_removal: bool,
    /// Whether only to report what a reload would do; nothing is changed.
    #[serde(default)]
    pub dry_run: bool,
}

/// The answer to `POST /v1/reload`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReloadedBody {
    /// The revision in force; for a dry run, the one that would be.
    pub revision: String,
    /// Its warnings.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

/// What `POST /v1/upgrade` takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UpgradeBody {
    /// Whether to start a successor if none is waiting.
    #[serde(default = "yes")]
    pub start: bool,
}

const fn yes() -> bool {
    true
}

/// The answer to `POST /v1/upgrade`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct UpgradedBody {
    /// The process that handed over, and drains.
    pub predecessor: u32,
    /// The process that serves.
    pub successor: u32,
    /// The time from the first socket handed over until the successor served, in milliseconds.
    pub took_ms: f64,
}
