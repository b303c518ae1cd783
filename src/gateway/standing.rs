//! Exchanges that go on for long, and whether they still may.
//!
//! A tunnel lives for days, an upload or an answer that streams for hours. Each of them is judged again as soon as anything has changed
//! that could end it (a session was ended, here or elsewhere; the rules were loaded again), and every few seconds for what only time
//! changes: the absolute end of a session, an end for a later date, a range or a certificate that expires. One task looks at all of
//! them, and an exchange only waits for its own end: so a silent one is ended too, and many revocations cost no more than one look
//! every [`BREATH`].

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use pingora::{Error, ErrorType};
use tokio::sync::Notify;

use super::{guard, proxy::Context, share::LEAST, shared::Shared};
use crate::{
    model::{ClientPrefix, Connection, Deny, Reason, Tick, UnixTime, Verdict},
    pipeline::{self, Permit},
};

/// How often all are judged again while nothing changes.
const EVERY: Duration = Duration::from_secs(5);
/// How long the task rests between two looks.
const BREATH: Duration = Duration::from_millis(50);
/// Exchanges come and go on every thread.
const SHARDS: usize = 16;
/// How often exchanges are asked to make room for others.
const RELIEF: Duration = Duration::from_millis(100);
/// How many are judged before others get their turn.
const BITE: usize = 64;

/// The exchanges that go on for long. Bounded by the connections and by their streams.
#[derive(Debug, Default)]
pub struct Standing {
    shards: [Mutex<HashMap<u64, Arc<Held>, ahash::RandomState>>; SHARDS],
    next: AtomicU64,
    changes: AtomicU64,
    changed: Notify,
    /// When exchanges were last asked to make room.
    relieved: AtomicU64,
}

/// One of them.
#[derive(Debug)]
struct Held {
    permit: Permit,
    connection: Arc<Connection>,
    ended: OnceLock<Deny>,
    wake: Notify,
    /// The number of the budget that it holds something of which others may wait for; 0 is none.
    holds: AtomicUsize,
    /// From when on it may be ended for others, in nanoseconds of the clock: its client has nothing to say, or takes nothing, for too long
    /// then. 0 is never.
    yields: AtomicU64,
}

/// The place of one exchange; it is given up with the exchange.
#[derive(Debug)]
pub(super) struct Seat {
    standing: Arc<Standing>,
    id: u64,
    held: Arc<Held>,
}

impl Standing {
    /// Tells that something has changed that may end exchanges. Cheap, from any thread; the change is there for every reader before.
    pub fn change(&self) {
        self.changes.fetch_add(1, Ordering::SeqCst);
        self.changed.notify_one();
    }

    /// Returns a number that is another one after each change.
    pub(super) fn changes(&self) -> u64 {
        self.changes.load(Ordering::SeqCst)
    }

    /// Takes an exchange in. What has changed before is the caller's to judge.
    pub(super) fn seat(self: &Arc<Self>, permit: &Permit, connection: &Arc<Connection>) -> Seat {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let held = Held {
            permit: permit.clone(),
            connection: Arc::clone(connection),
            ended: OnceLock::new(),
            wake: Notify::new(),
            holds: AtomicUsize::new(0),
            yields: AtomicU64::new(0),
        };
        let held = Arc::new(held);
        self.with_shard(id, |shard| shard.insert(id, Arc::clone(&held)));
        Seat { standing: Arc::clone(self), id, held }
    }

    /// Ends exchanges that hold something of a budget which others wait for, and whose clients let them rest: of a client that holds more
    /// than anybody may have however little there is, or of a tenant that holds more than half, the one that rested longest first, and no
    /// more than are wanted. The look at all of them is taken at most ten times in a second.
    pub(super) fn relieve(&self, number: usize, wanted: usize, now: Tick) {
        let (nanos, every) = (now.as_nanos(), u64::try_from(RELIEF.as_nanos()).unwrap_or(u64::MAX));
        let due = |last: u64| (nanos.saturating_sub(last) >= every).then_some(nanos);
        if self.relieved.fetch_update(Ordering::AcqRel, Ordering::Acquire, due).is_err() {
            return;
        }
        let (mut all, mut of_client, mut of_tenant) = (Vec::new(), HashMap::new(), HashMap::new());
        for shard in &self.shards {
            let shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
            let holding = shard.values().filter(|held| held.holds.load(Ordering::Relaxed) == number && held.ended.get().is_none());
            all.extend(holding.cloned());
        }
        for held in &all {
            *of_client.entry(held.client()).or_insert(0_usize) += 1;
            *of_tenant.entry(held.permit.acting_tenant().name.clone()).or_insert(0_usize) += 1;
        }
        let half = all.len() / 2;
        all.retain(|held| (1..=nanos).contains(&held.yields.load(Ordering::Relaxed)));
        all.sort_unstable_by_key(|held| held.yields.load(Ordering::Relaxed));
        let mut left = wanted;
        for held in all {
            let (Some(client), Some(tenant)) = (of_client.get_mut(&held.client()), of_tenant.get_mut(&held.permit.acting_tenant().name))
            else {
                continue;
            };
            if left == 0 {
                return;
            }
            if *client <= LEAST && *tenant <= half.max(LEAST) {
                continue;
            }
            let deny = Deny::new(Reason::UpstreamYielded, "its client let it rest while others waited for what it held");
            if held.ended.set(deny).is_ok() {
                held.wake.notify_one();
                (*client, *tenant, left) = (*client - 1, *tenant - 1, left - 1);
            }
        }
    }

    fn with_shard<T>(&self, id: u64, act: impl FnOnce(&mut HashMap<u64, Arc<Held>, ahash::RandomState>) -> T) -> Option<T> {
        let at = usize::try_from(id).unwrap_or(0) % SHARDS;
        Some(act(&mut self.shards.get(at)?.lock().unwrap_or_else(PoisonError::into_inner)))
    }
}

impl Held {
    fn client(&self) -> ClientPrefix {
        self.permit.client().prefix()
    }
}

/// See [`Seat::handle`].
#[derive(Debug)]
pub(super) struct Handle(Arc<Held>);

impl Handle {
    /// Notes that the exchange holds nothing any more that others may wait for.
    pub(super) fn holds_nothing(&self) {
        self.0.holds.store(0, Ordering::Relaxed);
    }
}

impl Seat {
    /// Returns what can be told that the exchange holds nothing any more, whoever has the seat meanwhile.
    pub(super) fn handle(&self) -> Handle {
        Handle(Arc::clone(&self.held))
    }

    /// Notes which budget the exchange holds something of; 0 is none.
    pub(super) fn holds(&self, number: usize) {
        self.held.holds.store(number, Ordering::Relaxed);
    }

    /// Notes from when on the exchange may be ended for others, if it may.
    pub(super) fn yields(&self, from: Option<Tick>) {
        self.held.yields.store(from.map_or(0, Tick::as_nanos), Ordering::Relaxed);
    }

    /// Waits until the exchange may not go on, and says why.
    pub(super) async fn ended(&self) -> Deny {
        loop {
            if let Some(deny) = self.held.ended.get() {
                return deny.clone();
            }
            // Who is told before waiting is not told in vain: the note is kept for one.
            self.held.wake.notified().await;
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.standing.with_shard(self.id, |shard| shard.remove(&self.id));
    }
}

/// Judges those who passed by the rules as they are now.
pub(super) fn judge(shared: &Shared, permit: &Permit, connection: &Connection, now: UnixTime) -> Verdict {
    let policy = &shared.snapshot.load().policy;
    // One that panics does not go on, and the others are judged all the same.
    guard::done(|| pipeline::judge_again(permit, connection.presented(now).as_ref(), policy, &*shared.revocations, now))?
}

/// Notes that an exchange may not go on, and why.
pub(super) fn ended(ctx: &mut Context, deny: Deny) -> Box<Error> {
    ctx.ended = true;
    ctx.deny = Some(deny);
    Error::explain(ErrorType::InternalError, "the exchange may not go on")
}

/// Looks at every exchange after each change and every few seconds, for ever.
pub async fn watch(shared: Arc<Shared>) {
    loop {
        tokio::select! {
            () = shared.standing.changed.notified() => {}
            () = tokio::time::sleep(EVERY) => {}
        }
        look(&shared).await;
        tokio::time::sleep(BREATH).await;
    }
}

async fn look(shared: &Shared) {
    for shard in &shared.standing.shards {
        let all: Vec<Arc<Held>> = shard.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect();
        for bite in all.chunks(BITE) {
            let now = shared.clock.now();
            for held in bite.iter().filter(|held| held.ended.get().is_none()) {
                if let Err(deny) = judge(shared, &held.permit, &held.connection, now)
                    && held.ended.set(deny).is_ok()
                {
                    held.wake.notify_one();
                }
            }
            tokio::task::yield_now().await;
        }
    }
}
