//! The store that nodes share: the connection, and what goes over it.

use std::{num::NonZeroU32, sync::Arc, time::Duration};

use super::observers::MetricsObserver;
use crate::{
    cluster::{Inboxes, NodeIdentity, Replication},
    gateway::Shared,
    hand_over::{InheritedState, redis_name},
    model::{Clock, RedisStatus, Tick},
    outbound::OutboundError,
    policy::Policy,
    redis::{Link, Redis},
    sessions::SessionLedger,
    telemetry::Metrics,
};

/// How long a process waits, before it serves, to know what other nodes ended. Behind that the rule for
/// silence holds.
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
    pub(super) sharing: Arc<Replication>,
    inboxes: Inboxes,
}

/// Prepares the connection that the policy asks for.
pub(super) fn prepare(
    policy: &Policy,
    metrics: &Arc<Metrics>,
    clock: &Arc<dyn Clock>,
) -> Result<Option<Store>, OutboundError> {
    let Some(rules) = &policy.redis else { return Ok(None) };
    let (link, redis) = Link::new(rules, Arc::clone(clock), Arc::new(MetricsObserver::of(metrics)))?;
    Ok(Some(Store { redis, link }))
}

/// Has the journal share its revocations, where the policy says so.
///
/// Up to `fresh_to` it is known from a predecessor what other nodes ended.
pub(super) fn share(
    policy: &Policy,
    store: &Store,
    journal: &Arc<SessionLedger>,
    shared: &Shared,
    fresh_to: Option<Tick>,
) -> Option<Shares> {
    let rules =
        policy.sessions.as_ref().map(|sessions| sessions.revocation).filter(|rules| rules.is_shared)?;
    let database = policy.redis.as_ref().map_or(0, |redis| redis.database);
    let process = shared.request_id().as_str().to_owned();
    let sharer =
        NodeIdentity { node: policy.node.clone(), process, database, stale_after: rules.stale_after };
    let observer = Arc::new(MetricsObserver::of(&shared.metrics));
    let (sharing, inboxes) = Replication::begin(
        store.redis.clone(),
        Arc::clone(journal),
        sharer,
        Arc::clone(&shared.clock),
        observer,
    );
    if let Some(fresh_to) = fresh_to {
        sharing.inherit(fresh_to);
    }
    Some(Shares { sharing, inboxes })
}

/// Returns until when what a predecessor knew of other nodes holds here; nothing where it knew it of others.
pub(super) fn fresh_until(policy: &Policy, state: &InheritedState, now: Tick) -> Option<Tick> {
    let stale_after = policy.sessions.as_ref()?.revocation.stale_after;
    let own = redis_name(policy);
    (!own.is_empty() && own == state.redis).then(|| now.plus(state.fresh.min(stale_after)))
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
pub(super) async fn leave(sharing: &Replication) {
    let _ = tokio::time::timeout(LEAVING, sharing.leave()).await;
}

/// Tells how the store does.
pub(super) fn status(shared: &Shared, sharing: Option<&Arc<Replication>>) -> Option<RedisStatus> {
    let redis = shared.redis.as_ref()?;
    let standing = sharing.map(|sharing| sharing.standing()).unwrap_or_default();
    let (nodes, nodes_unknown, is_namesake) = sharing.map(|sharing| sharing.others()).unwrap_or_default();
    let policy = Arc::clone(&shared.snapshot.load().policy);
    Some(RedisStatus {
        nodes,
        nodes_unknown,
        is_namesake,
        replicas: policy
            .redis
            .as_ref()
            .filter(|_| sharing.is_some())
            .and_then(|redis| redis.replicas)
            .map(NonZeroU32::get),
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
