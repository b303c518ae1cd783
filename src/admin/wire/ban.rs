//! Bans.

use serde::{Deserialize, Serialize};

use super::write_time;
use crate::model::{Ban, BanCause, UnixTime};

/// `GET /v1/bans`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BansBody {
    /// The bans, the last to end first, at most [`LISTED_BANS`].
    pub bans: Vec<BanBody>,
    /// How many more there are.
    pub more: usize,
}

/// How many bans are listed.
pub const LISTED_BANS: usize = 1000;

/// One ban.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BanBody {
    /// An IPv4 address or an IPv6 /64.
    pub client: String,
    /// When it ends.
    pub until: String,
    /// `protocol` or `operator`.
    pub cause: String,
    /// The code of the client's last offence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The operator's note.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

impl BansBody {
    /// Converts bans; `now` is the time from which their rest counts.
    pub fn new(bans: Vec<Ban>, now: UnixTime) -> Self {
        let more = bans.len().saturating_sub(LISTED_BANS);
        let one = |ban: Ban| {
            let (cause, reason, note) = match ban.cause {
                BanCause::Protocol(reason) => ("protocol", Some(reason.to_owned()), None),
                BanCause::Operator(note) => ("operator", None, note),
            };
            BanBody {
                client: ban.client.to_string(),
                until: write_time(now.plus(ban.left)),
                cause: cause.to_owned(),
                reason,
                note,
            }
        };
        Self { bans: bans.into_iter().take(LISTED_BANS).map(one).collect(), more }
    }
}

/// What `POST /v1/bans` takes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MakeBanBody {
    /// An IPv4 address, an IPv6 address or an IPv6 /64; an IPv6 address stands for its /64.
    pub client: String,
    /// For how long: `10m`.
    pub r#for: String,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// What `POST /v1/bans/remove` takes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LiftBanBody {
    /// As in [`MakeBanBody`].
    pub client: String,
}

/// The answer to `POST /v1/bans` and `POST /v1/bans/remove`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientBody {
    /// The client: an IPv4 address or an IPv6 /64.
    pub client: String,
}
