//! The store that nodes share: the connection, and what goes over it.

use std::{
    num::NonZeroU32,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use super::upgrade::Legacy;
use crate::{
    gateway::Shared,
    model::{Clock, RedisStatus, Tick},
    outbound::OutboundError,
    policy::{Policy, RedisPlace},
    state::{
        Journal,
        redis::{Inboxes, Link, Redis, RedisFault, RedisWitness, Sharer, Sharing, SharingWitness},
    },
    telemetry::Metrics,
};

/// How long a process waits, before it serves, to know what other nodes ended. Behind that the rule for silence holds.
pub(super) const FIRST_SYNC: Duration = Duration::from_secs(2);

/// How long to try to tell the others that this node ends.
const LEAVING: Duration = Duration::from_millis(500);

/// The connection, not yet made, and who shares over it.
pub(super) struct Store {
    pub(super) redis: Redis,
    link: Link,
}

/// What shares the journal; its inboxes are taken by the task that runs it.
pub(super) struct Shares {
    pub(super) sharing: Arc<Sharing>,
    inboxes: Inboxes,
}

/// Prepares the connection that the policy asks for.
pub(super) fn prepare(policy: &Policy, metrics: &Arc<Metrics>, clock: &Arc<dyn Clock>) -> Result<Option<Store>, OutboundError> {
    let Some(rules) = &policy.redis else { return Ok(None) };
    let (link, redis) = Link::new(rules, Arc::clone(clock), Arc::new(Counter::of(metrics)))?;
    Ok(Some(Store { redis, link }))
}

/// Has the journal share its revocations, where the policy says so.
///
/// Up to `fresh_to` it is known from a predecessor what other nodes ended.
pub(super) fn share(policy: &Policy, store: &Store, journal: &Arc<Journal>, shared: &Shared, fresh_to: Option<Tick>) -> Option<Shares> {
    let rules = policy.sessions.as_ref().map(|sessions| sessions.revocation).filter(|rules| rules.is_shared)?;
    let database = policy.redis.as_ref().map_or(0, |redis| redis.database);
    let process = shared.request_id().as_str().to_owned();
    let sharer = Sharer { node: policy.node.clone(), process, database, stale_after: rules.stale_after };
    let witness = Arc::new(Counter::of(&shared.metrics));
    let (sharing, inboxes) = Sharing::begin(store.redis.clone(), Arc::clone(journal), sharer, Arc::clone(&shared.clock), witness);
    if let Some(fresh_to) = fresh_to {
        sharing.inherit(fresh_to);
    }
    Some(Shares { sharing, inboxes })
}

/// Names the Redis of a policy, so that two processes can tell whether they share through the same; nothing where none is shared through.
pub(super) fn name(policy: &Policy) -> String {
    let is_shared = policy.sessions.as_ref().is_some_and(|sessions| sessions.revocation.is_shared);
    match policy.redis.as_ref().filter(|_| is_shared) {
        None => String::new(),
        Some(redis) => match &redis.place {
            RedisPlace::Tcp { host, port, .. } => format!("{host}:{port}/{}", redis.database),
            RedisPlace::Unix(path) => format!("{}/{}", path.display(), redis.database),
        },
    }
}

/// Returns until when what a predecessor knew of other nodes holds here; nothing where it knew it of others.
pub(super) fn inherited(policy: &Policy, legacy: &Legacy, now: Tick) -> Option<Tick> {
    let stale_after = policy.sessions.as_ref()?.revocation.stale_after;
    let own = name(policy);
    (!own.is_empty() && own == legacy.redis).then(|| now.plus(legacy.fresh.min(stale_after)))
}

/// Keeps the connection and shares over it, for ever.
pub(super) async fn run(store: Store, shares: Option<Shares>) {
    let share = async {
        if let Some(Shares { sharing, inboxes }) = shares {
            sharing.run(inboxes).await;
        }
    };
    tokio::join!(store.link.run(), share);
}

/// Tells the others that this node ends, if that can be done at once.
pub(super) async fn leave(sharing: &Sharing) {
    let _ = tokio::time::timeout(LEAVING, sharing.leave()).await;
}

/// Tells how the store does.
pub(super) fn status(shared: &Shared, sharing: Option<&Arc<Sharing>>) -> Option<RedisStatus> {
    let redis = shared.redis.as_ref()?;
    let standing = sharing.map(|sharing| sharing.standing()).unwrap_or_default();
    let (nodes, is_namesake) = sharing.map(|sharing| sharing.others()).unwrap_or_default();
    let policy = Arc::clone(&shared.snapshot.load().policy);
    Some(RedisStatus {
        nodes,
        is_namesake,
        replicas: policy.redis.as_ref().filter(|_| sharing.is_some()).and_then(|redis| redis.replicas).map(NonZeroU32::get),
        is_connected: redis.connection() != 0,
        trouble: redis.trouble(),
        is_shared: sharing.is_some(),
        is_fresh: shared.revocations.is_fresh(shared.clock.now()),
        synced: standing.synced,
        pending: standing.pending,
    })
}

/// Says in one line how it does.
pub(super) fn remark(status: &RedisStatus) -> String {
    let state = if status.is_connected { "connected" } else { "away" };
    match (status.is_shared, status.is_fresh) {
        (false, _) => format!("redis: {state}"),
        (true, true) => format!("redis: {state}, revocations in sync, {} pending", status.pending),
        (true, false) => format!("redis: {state}, revocations stale, {} pending", status.pending),
    }
}

/// Counts, and writes changes down.
struct Counter {
    metrics: Arc<Metrics>,
    was_fresh: AtomicBool,
}

impl Counter {
    fn of(metrics: &Arc<Metrics>) -> Self {
        Self { metrics: Arc::clone(metrics), was_fresh: AtomicBool::new(false) }
    }
}

impl RedisWitness for Counter {
    fn command(&self, took: Duration, outcome: Result<(), &RedisFault>) {
        self.metrics.redis.command(took, outcome.err().map_or("ok", RedisFault::as_str));
    }

    fn connected(&self, is_connected: bool) {
        self.metrics.redis.connected(is_connected);
    }
}

impl SharingWitness for Counter {
    fn shared(&self, took: Duration, is_done: bool) {
        self.metrics.redis.shared(took, is_done);
    }

    fn compared(&self, took: Duration, is_done: bool) {
        self.metrics.redis.compared(took, is_done);
    }

    fn strange(&self, count: u64) {
        self.metrics.redis.strange(count);
    }

    fn counted(&self, is_done: bool) {
        self.metrics.redis.counted(if is_done { "success" } else { "failure" });
    }

    fn counted_alone(&self) {
        self.metrics.redis.counted("alone");
        tracing::warn!(
            event = "sessions_counted_alone",
            "the sessions of a user on other nodes could not be counted; `on_stale` allows it"
        );
    }

    fn notes(&self, told: u64, dropped: u64) {
        self.metrics.redis.notes(told, dropped);
    }

    fn fresh(&self, is_fresh: bool) {
        self.metrics.redis.fresh(is_fresh);
        let had_been = self.was_fresh.swap(is_fresh, Ordering::Relaxed);
        if is_fresh {
            tracing::info!(event = "revocation_fresh", "what other nodes revoked is known");
        } else if had_been {
            tracing::error!(
                event = "revocation_stale",
                "what other nodes revoked is not known any more; `on_stale` says what becomes of sessions"
            );
        }
    }
}
