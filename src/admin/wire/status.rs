//! The status of the running octroi: `GET /v1/status`.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{redis::RedisBody, upstream::UpstreamBody, write_time};
use crate::model::{AcmeStatus, ClockStatus, KeySetStatus, MissingTenants, Status, UnkeptRevocations};

/// `GET /v1/status`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
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
    /// The error of the last reload; absent if it succeeded.
    pub reload_error: Option<String>,
    /// TLS files that cannot be used; the versions read before are in force.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tls_refused: Vec<String>,
    /// Certificates that cannot be used and have no replacement in force: their hosts are not served.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tls_out: Vec<String>,
    /// Certificates in force that expire within 14 days.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tls_ending: Vec<String>,
    /// Files of denied ranges that are refused; their previous content is in force.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub deny_refused: Vec<String>,
    /// Expired client CAs and revocation lists, by tenant, and expired server certificates: the clients
    /// concerned are shut out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lapsed: Vec<String>,
    /// Faults in the certificates' chains.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub chains: Vec<String>,
    /// How the wall clock was set; absent while it is believed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clock: Option<ClockBody>,
    /// Tenants in force.
    pub tenants: usize,
    /// Tenants from before a start whose patterns of tenant files matched nothing; absent if there were
    /// none, or an operator confirmed their removal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenants_missing: Option<MissingTenantsBody>,
    /// Connections open now.
    pub connections: u64,
    /// Revocations in force.
    pub revocations: usize,
    /// When the loss of the revocation journal was found; absent if it is whole, an operator accepted the
    /// loss, or every session from before has expired.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revocations_lost: Option<String>,
    /// When every session from before the loss has expired; absent if nothing is lost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revocations_lost_until: Option<String>,
    /// Revocations that are in memory and not on the disk; absent if all are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revocations_unkept: Option<UnkeptBody>,
    /// Logs that fail or lose lines, each with the reason.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub logs_failing: Vec<String>,
    /// Whether it is draining.
    pub draining: bool,
    /// The listeners.
    pub listeners: Vec<ListenerBody>,
    /// How many processes have served since the last start without a predecessor, this one included.
    #[serde(default)]
    pub generation: u32,
    /// The predecessor, while it drains.
    #[serde(default)]
    pub predecessor: Option<DrainingBody>,
    /// The process that is waiting to take over.
    #[serde(default)]
    pub successor: Option<u32>,
    /// The state of certificates from ACME; absent if none is wanted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acme: Option<AcmeBody>,
    /// The state of the shared store; absent if there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub redis: Option<RedisBody>,
    /// The state of the issuers' key sets.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub key_sets: Vec<KeySetBody>,
    /// Upstreams with a fault.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub upstreams: Vec<UpstreamBody>,
}

/// One listener of a status.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListenerBody {
    /// Its name.
    pub name: String,
    /// The address it is bound to.
    pub address: String,
}

/// A process that has handed over and is draining.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DrainingBody {
    /// The process.
    pub pid: u32,
    /// Its open connections.
    pub connections: u64,
}

/// Tenants that a start did not find, because a pattern of tenant files matched nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MissingTenantsBody {
    /// The patterns.
    pub patterns: Vec<String>,
    /// When that start was.
    pub since: String,
    /// How many there were before; 0 if none is known.
    pub count: usize,
    /// The first of them, for people.
    pub named: String,
}

/// Revocations that are in memory and not on the disk: a restart loses them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnkeptBody {
    /// How many; 0 if the journal cannot be written but nothing depends on it yet.
    pub count: u64,
    /// Why.
    pub error: String,
}

/// A wall clock that was set and is not believed: nobody can sign in. The times here are octroi's own.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ClockBody {
    /// How far the wall clock is ahead, in seconds; negative if it is behind.
    pub step_seconds: f64,
    /// The time that octroi goes by.
    pub now: String,
    /// When it was set, as far as octroi noticed.
    pub since: String,
    /// When it will be believed without an operator, unless it is set again.
    pub until: String,
}

/// The state of certificates from ACME.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AcmeBody {
    /// How many are wanted.
    pub wanted: usize,
    /// How many of them are missing.
    pub missing: usize,
    /// How many failed at the last attempt.
    pub failing: usize,
    /// When the next order is due.
    pub next: String,
    /// The first that are missing or failed.
    pub troubles: Vec<AcmeTroubleBody>,
}

impl AcmeBody {
    /// Says whether every host has a certificate, or one whose first order is still due.
    pub fn is_healthy(&self) -> bool {
        !self.troubles.iter().any(|one| one.missing && one.error.is_some())
    }
}

/// A certificate from ACME that is missing or failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AcmeTroubleBody {
    /// Its name.
    pub certificate: String,
    /// Whether none is in use.
    pub missing: bool,
    /// The last error.
    pub error: Option<String>,
    /// When it is tried again.
    pub next: String,
}

/// The state of an issuer's key set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeySetBody {
    /// Its name in the configuration.
    pub set: String,
    /// How many keys are in force; with none, the issuer's tokens are refused.
    pub keys: usize,
    /// How many keys of the set cannot be used.
    pub ignored: usize,
    /// When it was last fetched.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fetched: Option<String>,
    /// The last error.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// When it is fetched again.
    pub next: String,
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
            tls_out: status.tls_out,
            tls_ending: status.tls_ending,
            deny_refused: status.deny_refused,
            lapsed: status.lapsed,
            chains: status.chains,
            clock: status.clock.map(ClockBody::from),
            tenants: status.tenants,
            tenants_missing: status.tenants_missing.map(MissingTenantsBody::from),
            connections: status.connections,
            revocations: status.revocations,
            revocations_lost: status.revocations_lost.map(|lost| write_time(lost.found)),
            revocations_lost_until: status.revocations_lost.map(|lost| write_time(lost.until)),
            revocations_unkept: status
                .revocations_unkept
                .map(|UnkeptRevocations { count, error }| UnkeptBody { count, error }),
            logs_failing: status.logs_failing,
            draining: status.draining,
            listeners: status
                .listeners
                .into_iter()
                .map(|(name, address)| ListenerBody { name, address })
                .collect(),
            generation: status.generation,
            predecessor: status
                .predecessor
                .map(|draining| DrainingBody { pid: draining.pid, connections: draining.connections }),
            successor: status.successor,
            acme: status.acme.map(AcmeBody::from),
            redis: status.redis.map(RedisBody::from),
            key_sets: status.key_sets.into_iter().map(KeySetBody::from).collect(),
            upstreams: status.upstreams.into_iter().map(UpstreamBody::from).collect(),
        }
    }
}

impl From<MissingTenants> for MissingTenantsBody {
    fn from(missing: MissingTenants) -> Self {
        let MissingTenants { patterns, since, count, named } = missing;
        Self { patterns, since: write_time(since), count, named }
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

impl From<ClockStatus> for ClockBody {
    fn from(status: ClockStatus) -> Self {
        let ahead = Duration::from_millis(status.step_millis.unsigned_abs()).as_secs_f64();
        Self {
            step_seconds: if status.step_millis < 0 { -ahead } else { ahead },
            now: write_time(status.now),
            since: write_time(status.since),
            until: write_time(status.until),
        }
    }
}

impl From<KeySetStatus> for KeySetBody {
    fn from(status: KeySetStatus) -> Self {
        let KeySetStatus { set, keys, ignored, fetched, error, next } = status;
        Self { set, keys, ignored, fetched: fetched.map(write_time), error, next: write_time(next) }
    }
}
