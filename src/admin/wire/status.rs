//! How the running octroi is: `GET /v1/status`.

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
    /// What the last reload said; absent: it was well.
    pub reload_error: Option<String>,
    /// Files of TLS on disk that cannot be used; what was read before them is in force.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tls_refused: Vec<String>,
    /// Certificates that cannot be used while nothing is in force in their place: hosts are not served.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tls_out: Vec<String>,
    /// Certificates in force that end within 14 days.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tls_ending: Vec<String>,
    /// Files of denied ranges that are refused as they are; what they held before is in force.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub deny_refused: Vec<String>,
    /// CAs and revocation lists of client certificates that have ended, by tenant, and certificates of ours:
    /// whom they concern is shut out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lapsed: Vec<String>,
    /// What is odd about the chains that certificates are shown with.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub chains: Vec<String>,
    /// How the wall clock was set; absent: it is believed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clock: Option<ClockBody>,
    /// Tenants in force.
    pub tenants: usize,
    /// Who was there before a start with patterns of tenant files that fitted nothing; absent: nobody, or
    /// somebody has confirmed it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenants_missing: Option<MissingTenantsBody>,
    /// Connections open now.
    pub connections: u64,
    /// Revocations in force.
    pub revocations: usize,
    /// When it was found that the revocation journal was lost; absent: it is whole, an operator accepted
    /// that, or no session from before can live any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revocations_lost: Option<String>,
    /// From when on no session from before a loss can live; absent: nothing is lost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revocations_lost_until: Option<String>,
    /// What is ended in memory and not on the disk; absent: all of it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revocations_unkept: Option<UnkeptBody>,
    /// Logs that fail or lose lines, each with the reason.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub logs_failing: Vec<String>,
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
    /// Upstreams with which something is wrong.
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

/// A process that has handed over, and drains.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DrainingBody {
    /// The process.
    pub pid: u32,
    /// Connections that it still has.
    pub connections: u64,
}

/// Tenants that a start did not find, because a pattern of tenant files fitted nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MissingTenantsBody {
    /// The patterns.
    pub patterns: Vec<String>,
    /// When it started so.
    pub since: String,
    /// How many were there before; 0: as far as is known, nobody.
    pub count: usize,
    /// The first of them, for people.
    pub named: String,
}

/// Revocations that are in force in memory and not on the disk: a restart forgets them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnkeptBody {
    /// How many; 0: the journal cannot be written, and nothing is lost by it yet.
    pub count: u64,
    /// Why.
    pub error: String,
}

/// A wall clock that was set and is not believed: nobody signs in. Times are those that are believed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ClockBody {
    /// What the wall clock is ahead, in seconds; behind, if it is negative.
    pub step_seconds: f64,
    /// The time that is believed.
    pub now: String,
    /// When it was set, as far as it was seen.
    pub since: String,
    /// When it is believed by itself, unless it is set once more.
    pub until: String,
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

impl AcmeBody {
    /// Says whether every host has a certificate, or one that was not tried yet is on its way.
    pub fn is_healthy(&self) -> bool {
        !self.troubles.iter().any(|one| one.missing && one.error.is_some())
    }
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
