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

/// How often Redis is visited.
pub(super) const SYNC_EVERY: Duration = Duration::from_secs(1);

/// How long a message may take to come behind the visit that showed its number.
pub(super) const IN_FLIGHT: Duration = Duration::from_millis(200);

/// How often what is strange is written down, at most; it is counted always.
const FOREIGN_DATA_EVERY: Duration = Duration::from_secs(10);

/// Observes replication. It must not wait.
pub trait SyncObserver: Send + Sync {
    /// A revocation was handed to Redis, or could not be.
    fn shared(&self, took: Duration, is_done: bool);
    /// Everything was compared, or could not be.
    fn compared(&self, took: Duration, is_done: bool);
    /// What others wrote cannot be taken in.
    fn foreign_data(&self, count: u64);
    /// What other nodes ended is known from now on, or no longer.
    fn fresh(&self, is_fresh: bool);
    /// The sessions of a user on all nodes were counted, or could not be.
    fn counted(&self, is_done: bool);
    /// They could not be, and this node counted by what it knows.
    fn counted_alone(&self);
    /// Other nodes were told of so many sessions, and will not be of so many others before they are seen
    /// again.
    fn notes(&self, told: u64, dropped: u64);
}

/// How replication stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SyncStatus {
    /// Whether there is a connection.
    pub is_connected: bool,
    /// When it was last known what the other nodes ended.
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
    /// Revocations that Redis did not take.
    pub(super) pending: AtomicU64,
    /// Wakes the rounds: something is to be compared.
    pub(super) wake: Notify,
    /// Wakes who writes down what was learnt.
    pub(super) learnt: Notify,
    pub(super) synced: watch::Sender<Option<UnixTime>>,
    /// Until when what was taken over from a predecessor holds.
    pub(super) inherited: OnceLock<Tick>,
}

/// What tasks share.
#[derive(Default)]
pub(super) struct State {
    /// Which messages were heard.
    pub(super) cursor: Cursor,
    /// Tenants that were ended here while Redis could not number it.
    pub(super) unnumbered: HashMap<TenantName, UnixTime>,
    /// Who waits for answers, by token.
    pub(super) waiting: HashMap<String, mpsc::Sender<String>>,
    pub(super) tokens: u64,
    /// When what is strange was last written down.
    logged_foreign_data: Option<Tick>,
}

/// Which messages were heard: all up to a number, unless one is missing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Cursor {
    /// What the Redis that they came from holds, by its name.
    pub(super) id: String,
    /// The last that was heard.
    pub(super) number: u64,
    /// The last that a visit showed.
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
