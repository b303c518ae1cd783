//! What the tasks of one node share.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, atomic::AtomicU64},
    time::Duration,
};

use tokio::sync::{Notify, mpsc, watch};

use super::{identity::NodeIdentity, nodes::Nodes, script::Scripts, session_sync::SessionSync};
use crate::{
    model::{Clock, TenantName, Tick, UnixTime},
    redis::Redis,
    sessions::{Merge, Peers, SessionLedger},
};

/// The interval of the visits to Redis.
pub(super) const SYNC_EVERY: Duration = Duration::from_secs(1);

/// How long a message may arrive after the visit that showed its number.
pub(super) const IN_FLIGHT: Duration = Duration::from_millis(200);

/// The shortest interval between two log lines about foreign data. All of it is counted.
const FOREIGN_DATA_EVERY: Duration = Duration::from_secs(10);

/// Observes replication. It must not wait.
pub trait SyncObserver: Send + Sync {
    /// A revocation was written to Redis, or could not be.
    fn shared(&self, took: Duration, is_done: bool);
    /// A full comparison succeeded or failed.
    fn compared(&self, took: Duration, is_done: bool);
    /// Data in Redis was rejected, because no node writes such data.
    fn foreign_data(&self, count: u64);
    /// From now on the revocations of the other nodes are known, or not known any more.
    fn fresh(&self, is_fresh: bool);
    /// The sessions of a user were counted on all nodes, or could not be.
    fn counted(&self, is_done: bool);
    /// They could not be, so this node counted only those that it knows.
    fn counted_alone(&self);
    /// So many sessions were announced to other nodes, and so many others will not be before they are used
    /// again.
    fn notes(&self, told: u64, dropped: u64);
}

/// The state of replication.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SyncStatus {
    /// Whether there is a connection.
    pub is_connected: bool,
    /// When the revocations of the other nodes were last known.
    pub synced: Option<UnixTime>,
    /// Revocations of this node that Redis may not have yet.
    pub pending: u64,
}

/// Shares the revocations of a ledger with the other nodes.
pub struct Replication {
    pub(super) redis: Redis,
    pub(super) ledger: Arc<SessionLedger>,
    pub(super) identity: NodeIdentity,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) observer: Arc<dyn SyncObserver>,
    pub(super) scripts: Scripts,
    pub(super) sessions: SessionSync,
    pub(super) state: Mutex<State>,
    pub(super) nodes: Mutex<Nodes>,
    /// Revocations that Redis did not accept.
    pub(super) pending: AtomicU64,
    /// Wakes the sync loop for a full comparison.
    pub(super) wake: Notify,
    /// Wakes the task that makes received revocations durable.
    pub(super) learnt: Notify,
    pub(super) synced: watch::Sender<Option<UnixTime>>,
    /// Until when the knowledge from a predecessor holds.
    pub(super) inherited: OnceLock<Tick>,
}

/// The state that the tasks share.
#[derive(Default)]
pub(super) struct State {
    /// Which messages were received.
    pub(super) cursor: Cursor,
    /// Tenants that were revoked here while Redis could not number the epoch.
    pub(super) unnumbered: HashMap<TenantName, UnixTime>,
    /// The revocations that wait for confirmations, by token.
    pub(super) waiting: HashMap<String, mpsc::Sender<String>>,
    pub(super) tokens: u64,
    /// When foreign data was last logged.
    logged_foreign_data: Option<Tick>,
}

/// Which messages were received: all up to a number, unless one is missing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Cursor {
    /// The name of the data in the Redis that they came from.
    pub(super) id: String,
    /// The last one that was received.
    pub(super) number: u64,
    /// The last one that a visit showed.
    pub(super) visited: u64,
    pub(super) is_missing: bool,
}

impl Cursor {
    pub(super) fn hear(&mut self, number: u64) {
        if number > self.number {
            self.is_missing |= number > self.number.saturating_add(1);
            self.number = number;
        }
    }
}

impl Replication {
    pub(super) fn nodes(&self) -> MutexGuard<'_, Nodes> {
        self.nodes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks after what was learnt.
    pub(super) fn took(&self, learnt: Merge) {
        if learnt.news > 0 {
            self.learnt.notify_one();
        }
        if learnt.refused > 0 {
            self.foreign_data(
                u64::try_from(learnt.refused).unwrap_or(u64::MAX),
                "the journal is full of sessions that belong to nobody known",
            );
        }
        if !learnt.own.is_empty() {
            self.spread_later(learnt.own);
        }
    }

    pub(super) fn foreign_data(&self, count: u64, what: &'static str) {
        self.observer.foreign_data(count);
        let now = self.clock.tick();
        {
            let mut state = self.state();
            if state.logged_foreign_data.is_some_and(|told| now.since(told) < FOREIGN_DATA_EVERY) {
                return;
            }
            state.logged_foreign_data = Some(now);
        }
        tracing::error!(
            event = "redis_strange",
            count,
            what,
            "Redis holds what no octroi wrote there; it is left out"
        );
    }
}

impl std::fmt::Debug for Replication {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Replication").field("identity", &self.identity).finish_non_exhaustive()
    }
}
