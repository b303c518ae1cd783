//! What is asked of the process: to reload, to hand over.

use serde::{Deserialize, Serialize};

/// The answer to `POST /v1/reload`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReloadedBody {
    /// The revision in force.
    pub revision: String,
}

/// What `POST /v1/upgrade` takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UpgradeBody {
    /// Whether a successor is started where none waits.
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
    /// How long it took from the first socket that was handed over until the successor served, in milliseconds.
    pub took_ms: f64,
}
