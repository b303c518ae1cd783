//! The JSON of the admin API, as it is sent; the command line reads it with the same types.

use serde::{Deserialize, Serialize};

use crate::model::{
    AcmeStatus, Ban, BanCause, KeyRole, KeySetStatus, KeyStatus, RedisStatus, RevocationReport, SessionStatus, SessionsOfUser, Status,
    UnixTime,
};

/// `GET /v1/status`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatusBody {
    /// The program's version.
    pub version: String,
    /// The node's name.
    pub node: String,
    /// The process.
    pub pid: u32,
    /// When it started.
    pub started: String,
    /// The policy's revision.
    pub revision: String,
    /// When the policy was loaded.
    pub loaded: String,
    /// What the last reload said; absent: it was well.
    pub reload_error: Option<String>,
    /// Files of TLS on disk that cannot be used; what was read before them is in force.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tls_refused: Vec<String>,
    /// CAs and revocation lists of client certificates that have ended, by tenant: what they concern is refused.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lapsed: Vec<String>,
    /// Tenants in force.
    pub tenants: usize,
    /// Connections open now.
    pub connections: u64,
    /// Revocations in force.
    pub revocations: usize,
    /// Whether it is draining.
    pub draining: bool,
    /// The listeners.
    pub listeners: Vec<ListenerBody>,
    /// How many processes have served since one was started without a predecessor, this one counted.
    #[serde(default)]
    pub generation: u32,
    /// The predecessor, while it drains.
    #[serde(default)]
    pub predecessor: Option<DrainingBody>,
    /// The process that waits to take over.
    #[serde(default)]
    pub successor: Option<u32>,
    /// Where certificates by ACME stand; absent: none is wanted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acme: Option<AcmeBody>,
    /// How the store that nodes share does; absent: there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub redis: Option<RedisBody>,
    /// Where the keys that issuers publish stand.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub key_sets: Vec<KeySetBody>,
}

/// Where the keys stand that an issuer publishes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeySetBody {
    /// Its name in the configuration.
    pub set: String,
    /// How many keys count now; none: tokens of this issuer are refused.
    pub keys: usize,
    /// How many of the set's keys are of no use.
    pub ignored: usize,
    /// When it was last had.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fetched: Option<String>,
    /// Why it could not be had the last time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// When it is fetched again.
    pub next: String,
}

/// A process that has handed over, and drains.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DrainingBody {
    /// The process.
    pub pid: u32,
    /// Connections that it still has.
    pub connections: u64,
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

/// Where certificates by ACME stand.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AcmeBody {
    /// How many are wanted.
    pub wanted: usize,
    /// How many of them are not there.
    pub missing: usize,
    /// How many could not be had the last time.
    pub failing: usize,
    /// When the next order is due.
    pub next: String,
    /// The first of those that are missing or could not be had.
    pub troubles: Vec<AcmeTroubleBody>,
}

/// A certificate by ACME that is missing, or could not be had.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AcmeTroubleBody {
    /// What it is called.
    pub certificate: String,
    /// Whether none is in use.
    pub missing: bool,
    /// What went wrong the last time.
    pub error: Option<String>,
    /// When it is tried again.
    pub next: String,
}

/// One listener of a status.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListenerBody {
    /// Its name.
    pub name: String,
    /// The address it is bound to.
    pub address: String,
}

/// `GET /v1/tenants/NAME`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TenantBody {
    /// The tenant.
    pub name: String,
    /// The epoch that its sessions are minted in.
    pub epoch: u32,
}

/// The answer to `POST /v1/reload`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReloadedBody {
    /// The revision in force.
    pub revision: String,
}

/// What `POST /v1/sessions/revoke` takes: a session, or a tenant, or a tenant and a user.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RevokeBody {
    /// 32 hexadecimal digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<String>,
    /// The tenant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    /// The user of the tenant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// When, as RFC 3339; absent: now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<String>,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// The answer to `POST /v1/sessions/revoke`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RevokedBody {
    /// How many nodes follow it.
    pub nodes: u32,
    /// How long it took until it was in force and durable, in milliseconds.
    pub took_ms: f64,
    /// When it takes effect.
    pub at: String,
    /// Nodes that live and did not say in time that it is in force there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub silent: Vec<String>,
    /// How many nodes there should be, where the configuration says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replicas: Option<u32>,
}

impl From<RevocationReport> for RevokedBody {
    fn from(report: RevocationReport) -> Self {
        Self {
            nodes: report.nodes,
            took_ms: report.took.as_secs_f64() * 1000.0,
            at: write_time(report.at),
            silent: report.silent,
            replicas: report.replicas,
        }
    }
}

/// How the store that nodes share does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RedisBody {
    /// Whether there is a connection.
    pub connected: bool,
    /// Whether revocations are shared through it.
    pub shared: bool,
    /// Whether it is known what other nodes revoked.
    pub fresh: bool,
    /// When that was last known; absent: not since the start.
    pub synced: Option<String>,
    /// Revocations of this node that it may not have yet.
    pub pending: u64,
}

/// `POST /v1/sessions/list`: whose. A user's name stands in no path, and so in no log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ListSessionsBody {
    /// The tenant.
    pub tenant: String,
    /// Its user.
    pub user: String,
}

/// The answer to `POST /v1/sessions/list`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionsBody {
    /// The sessions that are known, the oldest first.
    pub sessions: Vec<SessionBody>,
    /// Whether those of other nodes are among them.
    pub all_nodes: bool,
    /// Why they are not; absent where they are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub silence: Option<String>,
    /// What no store knows, in words.
    pub unknown: Vec<String>,
}

/// One session of a user.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionBody {
    /// Its identifier, which `/v1/sessions/revoke` takes.
    pub session: String,
    /// When it was granted.
    pub granted: String,
    /// When it was last seen.
    pub seen: String,
    /// When it ends in any case.
    pub ends: String,
    /// From where it was granted: an IPv4 address or an IPv6 /64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client: Option<String>,
    /// How often its token was renewed.
    pub generation: u32,
    /// The node that saw it last.
    pub node: String,
}

impl From<SessionsOfUser> for SessionsBody {
    fn from(known: SessionsOfUser) -> Self {
        let session = |session: SessionStatus| SessionBody {
            session: session.id.to_hex(),
            granted: write_time(session.granted),
            seen: write_time(session.seen),
            ends: write_time(session.ends),
            client: session.client.map(|client| client.to_string()),
            generation: session.generation,
            node: session.node,
        };
        let mut unknown = vec!["Bearer tokens".to_owned()];
        if known.has_foreign {
            unknown.push("sessions of apps with a login of their own".to_owned());
        }
        Self {
            sessions: known.sessions.into_iter().map(session).collect(),
            all_nodes: known.silence.is_none(),
            silence: known.silence,
            unknown,
        }
    }
}

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
    /// From when on one that waits mints by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mints_from: Option<String>,
    /// Its file in the key folder; absent: it is listed in the configuration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// Digits that nodes with the same secret share.
    pub check: String,
    /// Since when this node knows it; absent: nobody was asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
    /// When it last minted here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub minted: Option<String>,
    /// When it last opened a session here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub opened: Option<String>,
    /// For how many requests, since the start of the process; absent: nobody was asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uses: Option<u64>,
    /// From when on it may be retired.
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

/// `GET /v1/bans`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BansBody {
    /// The bans, those that end last first, at most [`LISTED_BANS`].
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
    /// What the client did last, by its code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Why, in the operator's words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
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
    /// As of [`MakeBanBody`].
    pub client: String,
}

/// The answer to `POST /v1/bans` and `POST /v1/bans/remove`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientBody {
    /// Who it is about: an IPv4 address or an IPv6 /64.
    pub client: String,
}

impl BansBody {
    /// Puts bans into words; `now` is what they still last from.
    pub fn new(bans: Vec<Ban>, now: UnixTime) -> Self {
        let more = bans.len().saturating_sub(LISTED_BANS);
        let one = |ban: Ban| {
            let (cause, reason, note) = match ban.cause {
                BanCause::Protocol(reason) => ("protocol", Some(reason.to_owned()), None),
                BanCause::Operator(note) => ("operator", None, note),
            };
            BanBody { client: ban.client.to_string(), until: write_time(now.plus(ban.left)), cause: cause.to_owned(), reason, note }
        };
        Self { bans: bans.into_iter().take(LISTED_BANS).map(one).collect(), more }
    }
}

/// Every answer that is none.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorBody {
    /// What is wrong.
    pub error: ErrorDetail,
}

/// What is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorDetail {
    /// One of a closed set, for programs.
    pub code: String,
    /// For people.
    pub message: String,
}

impl From<Status> for StatusBody {
    fn from(status: Status) -> Self {
        Self {
            version: status.version.to_owned(),
            node: status.node,
            pid: status.pid,
            started: write_time(status.started),
            revision: status.revision,
            loaded: write_time(status.loaded),
            reload_error: status.reload_error,
            tls_refused: status.tls_refused,
            lapsed: status.lapsed,
            tenants: status.tenants,
            connections: status.connections,
            revocations: status.revocations,
            draining: status.draining,
            listeners: status.listeners.into_iter().map(|(name, address)| ListenerBody { name, address }).collect(),
            generation: status.generation,
            predecessor: status.predecessor.map(|draining| DrainingBody { pid: draining.pid, connections: draining.connections }),
            successor: status.successor,
            acme: status.acme.map(AcmeBody::from),
            redis: status.redis.map(RedisBody::from),
            key_sets: status.key_sets.into_iter().map(KeySetBody::from).collect(),
        }
    }
}

impl From<RedisStatus> for RedisBody {
    fn from(status: RedisStatus) -> Self {
        Self {
            connected: status.is_connected,
            shared: status.is_shared,
            fresh: status.is_fresh,
            synced: status.synced.map(write_time),
            pending: status.pending,
        }
    }
}

impl From<KeySetStatus> for KeySetBody {
    fn from(status: KeySetStatus) -> Self {
        let KeySetStatus { set, keys, ignored, fetched, error, next } = status;
        Self { set, keys, ignored, fetched: fetched.map(write_time), error, next: write_time(next) }
    }
}

impl From<AcmeStatus> for AcmeBody {
    fn from(status: AcmeStatus) -> Self {
        let troubles = status.troubles.into_iter().map(|one| AcmeTroubleBody {
            certificate: one.certificate,
            missing: one.missing,
            error: one.error,
            next: write_time(one.next),
        });
        Self {
            wanted: status.wanted,
            missing: status.missing,
            failing: status.failing,
            next: write_time(status.next),
            troubles: troubles.collect(),
        }
    }
}

/// Writes a time as RFC 3339 in UTC.
pub fn write_time(time: UnixTime) -> String {
    let millis = i64::try_from(time.as_millis()).ok();
    millis.and_then(|millis| jiff::Timestamp::from_millisecond(millis).ok()).map_or_else(|| "never".to_owned(), |time| time.to_string())
}

/// Reads an RFC 3339 time, of any offset. Times before 1970 are none.
pub fn read_time(text: &str) -> Option<UnixTime> {
    let time: jiff::Timestamp = text.parse().ok()?;
    u64::try_from(time.as_millisecond()).ok().map(UnixTime::from_millis)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_with_their_offset() {
        assert_eq!(read_time("2026-11-23T17:00:00-05:00"), Some(UnixTime::from_secs(1_795_471_200)));
        assert_eq!(write_time(UnixTime::from_secs(1_795_471_200)), "2026-11-23T22:00:00Z");
        assert_eq!(read_time("2026-11-23"), None);
        assert_eq!(read_time("1969-12-31T23:59:59Z"), None);
    }
}
