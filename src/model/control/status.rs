//! The status of a running octroi, part by part.

use std::time::Duration;

use super::upstream::UpstreamStatus;
use crate::model::UnixTime;

/// A process that has handed over and drains.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Draining {
    /// Its process id.
    pub pid: u32,
    /// How many connections it still has.
    pub connections: u64,
}

/// The status of a running octroi.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// The program's version.
    pub version: &'static str,
    /// The node's name.
    pub node: String,
    /// The process id.
    pub pid: u32,
    /// When it started.
    pub started: UnixTime,
    /// The policy's revision: a digest of its files.
    pub revision: String,
    /// When that policy was loaded.
    pub loaded: UnixTime,
    /// Why the last reload failed, if it did.
    pub reload_error: Option<String>,
    /// TLS files on disk that cannot be used, each with the reason; what was read before stays in force.
    pub tls_refused: Vec<String>,
    /// Certificates that cannot be used and have no replacement in force, each with the reason and the hosts
    /// that are not served.
    pub tls_out: Vec<String>,
    /// Certificates in force that expire soon, one message each.
    pub tls_ending: Vec<String>,
    /// Files of denied ranges that are invalid, each with the reason; what they held before stays in force.
    pub deny_refused: Vec<String>,
    /// Expired CAs and revocation lists of client certificates, by tenant, and expired certificates of ours:
    /// the clients concerned are locked out.
    pub lapsed: Vec<String>,
    /// Faults in the chains of our certificates.
    pub chains: Vec<String>,
    /// The step of the wall clock, while octroi does not trust it.
    pub clock: Option<ClockStatus>,
    /// How many tenants are in force.
    pub tenants: usize,
    /// The tenants from before a start at which patterns of tenant files matched nothing, until an operator
    /// confirms that they are gone.
    pub tenants_missing: Option<MissingTenants>,
    /// Connections open now.
    pub connections: u64,
    /// How many revocations are in force.
    pub revocations: usize,
    /// The loss of the revocation journal, while no operator has accepted it and a session from before could
    /// still be valid.
    pub revocations_lost: Option<LostRevocations>,
    /// Revocations of this process that could not be written to disk.
    pub revocations_unkept: Option<UnkeptRevocations>,
    /// Logs that fail or lose lines, each with the reason.
    pub logs_failing: Vec<String>,
    /// Whether it drains.
    pub draining: bool,
    /// The listeners, by name and bound address.
    pub listeners: Vec<(String, String)>,
    /// How many processes have handed over to the next, including this one.
    pub generation: u32,
    /// The predecessor, while it drains.
    pub predecessor: Option<Draining>,
    /// The process id of a successor that waits to take over.
    pub successor: Option<u32>,
    /// The state of certificates by ACME, if any are configured.
    pub acme: Option<AcmeStatus>,
    /// The state of the shared store, if there is one.
    pub redis: Option<RedisStatus>,
    /// The state of the key sets that issuers publish.
    pub key_sets: Vec<KeySetStatus>,
    /// Upstreams with problems.
    pub upstreams: Vec<UpstreamStatus>,
}

/// Tenants that a start did not find, because a pattern of tenant files matched nothing.
///
/// They are not served, and keep their sessions until an operator confirms that they are gone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MissingTenants {
    /// The patterns that matched nothing.
    pub patterns: Vec<String>,
    /// When octroi started without them.
    pub since: UnixTime,
    /// How many tenants there were before.
    pub count: usize,
    /// The first of their names, for display.
    pub named: String,
}

/// A lost revocation journal: sessions from before the loss are refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LostRevocations {
    /// When the loss was found.
    pub found: UnixTime,
    /// From when on no session from before can be valid, whatever revocation was lost.
    pub until: UnixTime,
}

impl LostRevocations {
    /// Evaluates a loss; `None` once no session that began before it can be valid, the longest lifetime
    /// considered.
    pub fn of(found: UnixTime, longest: Duration, now: UnixTime) -> Option<Self> {
        let until = found.plus(longest);
        (now < until).then_some(Self { found, until })
    }
}

/// Revocations that are in force in memory but not on disk: a restart loses them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnkeptRevocations {
    /// How many; 0 means that the journal cannot be written, but nothing is lost yet.
    pub count: u64,
    /// Why.
    pub error: String,
}

/// A wall clock that was set and is not trusted: nobody can sign in. All times here are by the clock that
/// octroi trusts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClockStatus {
    /// How far the wall clock is ahead, in milliseconds; negative if it is behind.
    pub step_millis: i64,
    /// The trusted time.
    pub now: UnixTime,
    /// When the wall clock was set, as far as octroi noticed.
    pub since: UnixTime,
    /// When the wall clock is trusted again, unless it is set once more.
    pub until: UnixTime,
}

/// The state of the store that nodes share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RedisStatus {
    /// Whether there is a connection.
    pub is_connected: bool,
    /// Why there is no connection, or what Redis refuses.
    pub trouble: Option<String>,
    /// Whether revocations are shared through it.
    pub is_shared: bool,
    /// Whether this node is up to date with the revocations of other nodes.
    pub is_fresh: bool,
    /// When it was last up to date.
    pub synced: Option<UnixTime>,
    /// How many revocations of this node may not have reached it yet.
    pub pending: u64,
    /// The nodes seen there since the process started.
    pub nodes: Vec<NodeStatus>,
    /// Since when it is unknown which of them are alive; `None` where Redis has just been asked.
    pub nodes_unknown: Option<UnixTime>,
    /// How many nodes the configuration expects, if it says so.
    pub replicas: Option<u32>,
    /// Whether another process uses this node's name.
    pub is_namesake: bool,
}

impl RedisStatus {
    /// Returns how many expected nodes were not alive when Redis was last asked.
    pub fn missing_nodes(&self) -> u32 {
        let living = self.nodes.iter().filter(|node| node.lives).count();
        let living = u32::try_from(living).unwrap_or(u32::MAX);
        self.replicas.filter(|_| !self.nodes.is_empty()).map_or(0, |replicas| replicas.saturating_sub(living))
    }
}

/// A node that shares revocations.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeStatus {
    /// Its name.
    pub name: String,
    /// When it was last seen.
    pub heard: UnixTime,
    /// Whether it was alive when Redis was last asked.
    pub lives: bool,
}

/// The state of a key set that an issuer publishes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeySetStatus {
    /// Its name in the configuration.
    pub set: String,
    /// How many keys are usable now; with none, tokens of this issuer are refused.
    pub keys: usize,
    /// How many of the set's keys are unusable.
    pub ignored: usize,
    /// When it was last fetched.
    pub fetched: Option<UnixTime>,
    /// Why the last fetch failed, if it did.
    pub error: Option<String>,
    /// When it is fetched again.
    pub next: UnixTime,
}

/// The state of certificates by ACME.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AcmeStatus {
    /// How many certificates are configured.
    pub wanted: usize,
    /// How many of them do not exist yet.
    pub missing: usize,
    /// For how many the last order failed.
    pub failing: usize,
    /// When the next order is due.
    pub next: UnixTime,
    /// The first of the certificates that are missing or whose order failed.
    pub troubles: Vec<AcmeTrouble>,
}

/// A certificate by ACME that is missing, or whose last order failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AcmeTrouble {
    /// Its name in logs and in the state directory.
    pub certificate: String,
    /// Whether there is none to use.
    pub missing: bool,
    /// Why the last order failed; `None` if there was none yet.
    pub error: Option<String>,
    /// When it is tried again.
    pub next: UnixTime,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loss_is_over_when_the_longest_session_from_before_has_ended() {
        let (at, longest) = (UnixTime::from_secs, Duration::from_secs(60));
        let lost = Some(LostRevocations { found: at(100), until: at(160) });

        assert_eq!(
            [100, 159, 160].map(|now| LostRevocations::of(at(100), longest, at(now))),
            [lost, lost, None]
        );
        assert_eq!(LostRevocations::of(at(100), longest, at(50)), lost, "a clock that was set back");
    }

    #[test]
    fn nodes_that_live_are_counted_against_those_that_there_should_be() {
        let status = |replicas, lives: &[bool]| RedisStatus {
            is_connected: true,
            trouble: None,
            is_shared: true,
            is_fresh: true,
            synced: None,
            pending: 0,
            nodes: lives
                .iter()
                .map(|&lives| NodeStatus { name: "edge".to_owned(), heard: UnixTime::default(), lives })
                .collect(),
            nodes_unknown: None,
            replicas,
            is_namesake: false,
        };

        assert_eq!(status(Some(2), &[true, true]).missing_nodes(), 0);
        assert_eq!(status(Some(3), &[true, false]).missing_nodes(), 2);
        assert_eq!(status(None, &[true, false]).missing_nodes(), 0, "nobody said how many there should be");
        assert_eq!(status(Some(2), &[]).missing_nodes(), 0, "Redis was never asked");
        assert_eq!(status(Some(1), &[true, true]).missing_nodes(), 0, "more than there should be");
    }
}
