//! The live exchanges: those that go on for long.
//!
//! A tunnel lives for days, an upload or an answer that streams for hours. Each is revalidated as soon as
//! anything has changed that could end it (a session was ended, here or on another node; the rules were
//! reloaded), and every few seconds for what only time changes: the absolute end of a session, a revocation
//! for a later date, a range or a certificate that expires. One task looks at all of them
//! (`watch_live_exchanges`), and an exchange only waits for its own end. So a silent one ends too, and many
//! revocations cost no more than one look every [`MIN_INTERVAL`].

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::sync::Notify;

use super::budget::LEAST;
use crate::{
    model::{ClientPrefix, Connection, Deny, Reason, Tick},
    pipeline::Permit,
};

/// The longest time between two looks, while nothing changes.
const MAX_INTERVAL: Duration = Duration::from_secs(5);
/// The shortest time between two looks at all of them.
const MIN_INTERVAL: Duration = Duration::from_millis(50);
/// Exchanges begin and end on every thread, so one lock would be contended.
const SHARDS: usize = 16;
/// The least time between two preemptions.
const PREEMPT_INTERVAL: Duration = Duration::from_millis(100);
/// How many are judged before the task yields.
pub(crate) const BATCH: usize = 64;

/// How often an exchange that waits looks again for others to preempt: they become preemptible over time.
pub(super) const LOOK_AGAIN: Duration = Duration::from_millis(250);
/// The most exchanges that are preempted at a time.
pub(super) const WANTED: usize = 32;

/// All live exchanges. Bounded by the connections and by their streams.
#[derive(Debug, Default)]
pub struct LiveExchanges {
    shards: [Mutex<HashMap<u64, Arc<LiveExchange>, ahash::RandomState>>; SHARDS],
    next: AtomicU64,
    changes: AtomicU64,
    changed: Notify,
    /// When exchanges were last preempted.
    preempted: AtomicU64,
}

/// One of them.
#[derive(Debug)]
pub(crate) struct LiveExchange {
    permit: Permit,
    connection: Arc<Connection>,
    ended: OnceLock<Deny>,
    wake: Notify,
    /// The number of the budget that it holds something of which others may wait for; 0 is none.
    holds: AtomicUsize,
    /// From when on it may be preempted, in nanoseconds of the clock: by then its client has sent nothing, or
    /// read nothing, for too long. 0 is never.
    preemptible_from: AtomicU64,
}

/// The registration of one exchange; it ends with the exchange.
#[derive(Debug)]
pub(crate) struct Registration {
    live_exchanges: Arc<LiveExchanges>,
    id: u64,
    exchange: Arc<LiveExchange>,
}

impl LiveExchanges {
    /// Announces a change that may end exchanges. Cheap, from any thread. The change must be visible to
    /// readers before.
    pub fn change(&self) {
        self.changes.fetch_add(1, Ordering::SeqCst);
        self.changed.notify_one();
    }

    /// Returns the count of changes.
    pub(crate) fn changes(&self) -> u64 {
        self.changes.load(Ordering::SeqCst)
    }

    /// Registers an exchange. The caller must judge what has changed before.
    pub(crate) fn register(self: &Arc<Self>, permit: &Permit, connection: &Arc<Connection>) -> Registration {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let exchange = LiveExchange {
            permit: permit.clone(),
            connection: Arc::clone(connection),
            ended: OnceLock::new(),
            wake: Notify::new(),
            holds: AtomicUsize::new(0),
            preemptible_from: AtomicU64::new(0),
        };
        let exchange = Arc::new(exchange);
        self.with_shard(id, |shard| shard.insert(id, Arc::clone(&exchange)));
        Registration { live_exchanges: Arc::clone(self), id, exchange }
    }

    /// Preempts at most `wanted` exchanges that hold something of a budget and whose clients leave them idle,
    /// the longest idle first. It ends only exchanges of a client that holds more than the guaranteed
    /// minimum, or of a tenant that holds more than half. It scans at most ten times a second.
    pub(crate) fn preempt(&self, number: usize, wanted: usize, now: Tick) {
        let (nanos, every) = (now.as_nanos(), u64::try_from(PREEMPT_INTERVAL.as_nanos()).unwrap_or(u64::MAX));
        let due = |last: u64| (nanos.saturating_sub(last) >= every).then_some(nanos);
        if self.preempted.fetch_update(Ordering::AcqRel, Ordering::Acquire, due).is_err() {
            return;
        }
        let (mut all, mut of_client, mut of_tenant) = (Vec::new(), HashMap::new(), HashMap::new());
        for shard in &self.shards {
            let shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
            let holding = shard
                .values()
                .filter(|exchange| exchange.holds.load(Ordering::Relaxed) == number && !exchange.has_ended());
            all.extend(holding.cloned());
        }
        for exchange in &all {
            *of_client.entry(exchange.client()).or_insert(0_usize) += 1;
            *of_tenant.entry(exchange.permit.acting_tenant().name.clone()).or_insert(0_usize) += 1;
        }
        let half = all.len() / 2;
        all.retain(|exchange| (1..=nanos).contains(&exchange.preemptible_from.load(Ordering::Relaxed)));
        all.sort_unstable_by_key(|exchange| exchange.preemptible_from.load(Ordering::Relaxed));
        let mut left = wanted;
        for exchange in all {
            let (Some(client), Some(tenant)) = (
                of_client.get_mut(&exchange.client()),
                of_tenant.get_mut(&exchange.permit.acting_tenant().name),
            ) else {
                continue;
            };
            if left == 0 {
                return;
            }
            if *client <= LEAST && *tenant <= half.max(LEAST) {
                continue;
            }
            let deny = Deny::new(
                Reason::UpstreamYielded,
                "its client let it rest while others waited for what it held",
            );
            if exchange.end(deny) {
                (*client, *tenant, left) = (*client - 1, *tenant - 1, left - 1);
            }
        }
    }

    /// Waits until something has changed, or for the longest time between two looks at all exchanges.
    pub(crate) async fn wait_for_change(&self) {
        tokio::select! {
            () = self.changed.notified() => {}
            () = tokio::time::sleep(MAX_INTERVAL) => {}
        }
    }

    /// Waits for the least time between two looks.
    pub(crate) async fn pause(&self) {
        tokio::time::sleep(MIN_INTERVAL).await;
    }

    /// Returns all exchanges, one shard at a time, each as it is when it is asked for.
    pub(crate) fn shards(&self) -> impl Iterator<Item = Vec<Arc<LiveExchange>>> {
        self.shards
            .iter()
            .map(|shard| shard.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect())
    }

    fn with_shard<T>(
        &self,
        id: u64,
        act: impl FnOnce(&mut HashMap<u64, Arc<LiveExchange>, ahash::RandomState>) -> T,
    ) -> Option<T> {
        let at = usize::try_from(id).unwrap_or(0) % SHARDS;
        Some(act(&mut self.shards.get(at)?.lock().unwrap_or_else(PoisonError::into_inner)))
    }
}

impl LiveExchange {
    /// Returns its permit.
    pub(crate) fn permit(&self) -> &Permit {
        &self.permit
    }

    /// Returns its client's connection.
    pub(crate) fn connection(&self) -> &Connection {
        &self.connection
    }

    /// Returns whether it was told to end.
    pub(crate) fn has_ended(&self) -> bool {
        self.ended.get().is_some()
    }

    /// Tells it to end, and why. Returns whether it was not told before.
    pub(crate) fn end(&self, deny: Deny) -> bool {
        let is_first = self.ended.set(deny).is_ok();
        if is_first {
            self.wake.notify_one();
        }
        is_first
    }

    fn client(&self) -> ClientPrefix {
        self.permit.client().prefix()
    }
}

/// An owned part of a registration; see [`Registration::handle`].
#[derive(Debug)]
pub(crate) struct Handle(Arc<LiveExchange>);

impl Handle {
    /// Notes that the exchange no longer holds anything of a budget.
    pub(crate) fn released_budget(&self) {
        self.0.holds.store(0, Ordering::Relaxed);
    }
}

impl Registration {
    /// Returns a handle that can report the release of the budget while the registration is borrowed
    /// elsewhere.
    pub(crate) fn handle(&self) -> Handle {
        Handle(Arc::clone(&self.exchange))
    }

    /// Notes which budget the exchange holds something of; 0 is none.
    pub(crate) fn holds_budget(&self, number: usize) {
        self.exchange.holds.store(number, Ordering::Relaxed);
    }

    /// Sets from when on the exchange may be preempted, if it may.
    pub(crate) fn set_preemptible(&self, from: Option<Tick>) {
        self.exchange.preemptible_from.store(from.map_or(0, Tick::as_nanos), Ordering::Relaxed);
    }

    /// Waits until the exchange may not go on, and returns why.
    pub(crate) async fn ended(&self) -> Deny {
        loop {
            if let Some(deny) = self.exchange.ended.get() {
                return deny.clone();
            }
            // `notify_one` stores a permit, so an early wake-up is not lost.
            self.exchange.wake.notified().await;
        }
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.live_exchanges.with_shard(self.id, |shard| shard.remove(&self.id));
    }
}

/// Waits until an exchange may not go on, and returns why; for ever where it is not registered.
pub(crate) async fn cancelled(registration: Option<&Registration>) -> Deny {
    match registration {
        Some(registration) => registration.ended().await,
        None => std::future::pending().await,
    }
}
