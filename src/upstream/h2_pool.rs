//! The connections to one server that many exchanges share.

use std::{
    collections::{HashMap, VecDeque},
    fmt,
    pin::pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use h2::client::SendRequest;
use tokio::{
    sync::Notify,
    time::{Instant, timeout_at},
};

use super::{
    budget::{Budget, BudgetGuard, Exhausted, LEAST},
    failure::Failure,
    h2_connection::Opened,
    live_exchanges::{LOOK_AGAIN, LiveExchanges, WANTED},
};
use crate::{
    model::{Clock, TenantName, Tick},
    pipeline::Permit,
};

/// The most connections to one server; where tenants are kept apart, for each of them.
const MOST: usize = 64;
/// The most exchanges on one connection, whatever the server allows: a lost connection ends all of them.
pub(crate) const MOST_STREAMS: usize = 100;
/// The most exchanges that wait for a place.
const MOST_WAITING: usize = 1024;
/// How long a connection may be idle, as those of HTTP/1.1.
const LONGEST_REST: Duration = Duration::from_secs(60);

/// The connections to one server.
#[derive(Debug)]
pub(crate) struct H2Pool {
    state: Mutex<State>,
    /// The places on connections that all tenants share.
    places: Arc<Budget>,
    /// Exchanges that wait for a place.
    waiting: Arc<Budget>,
    /// Notified when there may be a place.
    freed: Notify,
}

#[derive(Default)]
struct State {
    slots: Vec<Slot>,
    next: u64,
    /// The last connections that could not be opened, by number, and why: for the exchanges that waited for
    /// them.
    failed: VecDeque<(u64, Failure)>,
    /// The places of tenants that are kept apart: one entry per tenant at most.
    partitions: HashMap<TenantName, Arc<Budget>, ahash::RandomState>,
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("State").field("slots", &self.slots).finish_non_exhaustive()
    }
}

/// An exchange that wants a place.
#[derive(Clone, Copy)]
pub(crate) struct Asker<'a> {
    pub(crate) clock: &'a dyn Clock,
    pub(crate) live_exchanges: &'a LiveExchanges,
    pub(crate) permit: &'a Permit,
    /// The only tenant that the connection may serve, where they are kept apart.
    pub(crate) partition: Option<&'a TenantName>,
}

#[derive(Debug)]
struct Slot {
    id: u64,
    /// The only tenant that it serves, where they are kept apart.
    partition: Option<TenantName>,
    /// `None` while it is being opened.
    opened: Option<Opened>,
    /// How many exchanges it carries.
    open: usize,
    /// Whether it carried one before.
    used: bool,
    /// Whether it takes no further exchange.
    over: bool,
    /// Since when it is idle, as the sweep has seen it.
    rests: Option<Tick>,
}

/// A place on a connection; it is given up with the exchange.
#[derive(Debug)]
pub(crate) struct Place {
    pool: Arc<H2Pool>,
    id: u64,
    share: Option<BudgetGuard>,
}

/// A place that an exchange got.
pub(crate) struct Taken {
    pub(crate) sender: SendRequest<Bytes>,
    pub(crate) place: Place,
    /// The number of the budget that the place is of.
    pub(crate) number: usize,
    /// Whether the connection carried others before.
    pub(crate) reused: bool,
}

/// Why an exchange gets no place.
pub(crate) enum NoPlace {
    /// No connection could be opened.
    Closed(Failure),
    /// The connection was not open in time.
    Late,
    /// All connections carry what they can, or the asker has its share.
    Busy(Exhausted),
}

enum Next {
    Taken(Taken),
    Open(Place, usize),
    /// Wait for the connection with this number, which is being opened, or for a place on an open one; and
    /// why there is none.
    Wait(Option<u64>, Exhausted),
}

impl Default for H2Pool {
    fn default() -> Self {
        Self {
            state: Mutex::default(),
            places: Budget::new(LEAST),
            waiting: Budget::new(LEAST),
            freed: Notify::new(),
        }
    }
}

impl H2Pool {
    /// Takes a place on a connection that has one, else opens another connection, else waits as long as
    /// connecting may take. Exchanges that could share a connection open one at a time, and share its
    /// failure: each may then go to another server.
    pub(crate) async fn take<F: Future<Output = Result<Opened, Failure>>>(
        self: &Arc<Self>,
        asker: Asker<'_>,
        within: Duration,
        open: impl FnOnce() -> F,
    ) -> Result<Taken, NoPlace> {
        let by = Instant::now() + within;
        let (mut waiting, mut opening) = (None, None);
        let budget = self.budget(asker.partition);
        loop {
            let mut freed = pin!(self.freed.notified());
            // Registered before the check, so that a place given back after it is not missed.
            freed.as_mut().enable();
            if let Some(failed) = opening.and_then(|id| self.failure_of(id)) {
                return Err(NoPlace::Closed(failed));
            }
            let now = asker.clock.tick();
            match self.next(asker, &budget, now) {
                Next::Taken(taken) => return Ok(taken),
                Next::Open(place, number) => {
                    // If this exchange is dropped, the attempt is given up, and the others look again.
                    // Boxed: it is seldom, and large.
                    let opened = Box::pin(open()).await.map_err(|failed| {
                        self.fail(place.id, &failed);
                        NoPlace::Closed(failed)
                    })?;
                    let sender = opened.sender.clone();
                    self.fill(place.id, opened);
                    return Ok(Taken { sender, place, number, reused: false });
                }
                Next::Wait(until_opened, short) => {
                    opening = until_opened;
                    if waiting.is_none() {
                        let owner = self.waiting.owner_of(asker.permit);
                        waiting =
                            Some(self.waiting.take(owner, 1, MOST_WAITING, now).map_err(NoPlace::Busy)?);
                    }
                    if opening.is_none() {
                        asker.live_exchanges.preempt(budget.number(), WANTED, now);
                    }
                    // Some exchanges can be preempted only after a while.
                    let look_again = by.min(Instant::now() + LOOK_AGAIN);
                    if timeout_at(look_again, freed).await.is_err() && look_again == by {
                        return Err(if opening.is_some() { NoPlace::Late } else { NoPlace::Busy(short) });
                    }
                }
            }
        }
    }

    /// Returns the budget of places that an exchange takes from.
    fn budget(&self, partition: Option<&TenantName>) -> Arc<Budget> {
        let Some(tenant) = partition else { return Arc::clone(&self.places) };
        let mut state = self.state();
        if let Some(budget) = state.partitions.get(tenant) {
            return Arc::clone(budget);
        }
        let budget = Budget::new(LEAST);
        state.partitions.insert(tenant.clone(), Arc::clone(&budget));
        budget
    }

    fn next(self: &Arc<Self>, asker: Asker<'_>, budget: &Arc<Budget>, now: Tick) -> Next {
        let partition = asker.partition;
        let mut state = self.state();
        for slot in &mut state.slots {
            slot.over |= slot.opened.as_mut().is_some_and(Opened::is_over);
        }
        state.slots.retain(|slot| !(slot.over && slot.open == 0));
        // The first one that has room, so that the later ones can become idle.
        let fits = |slot: &&mut Slot| slot.partition.as_ref() == partition && !slot.over;
        let each = state
            .slots
            .iter()
            .filter(|slot| slot.partition.as_ref() == partition)
            .filter_map(|slot| slot.opened.as_ref().map(Opened::most));
        let most = MOST * each.max().unwrap_or(MOST_STREAMS).max(1);
        let share = match budget.take(budget.owner_of(asker.permit), 1, most, now) {
            Ok(share) => Some(share),
            Err(short) => return Next::Wait(None, short),
        };
        let number = budget.number();
        let room = |slot: &&mut Slot| slot.opened.as_ref().is_some_and(|opened| slot.open < opened.most());
        if let Some(slot) = state.slots.iter_mut().filter(fits).find(room)
            && let Some(opened) = &slot.opened
        {
            let (sender, id, reused) = (opened.sender.clone(), slot.id, slot.used);
            slot.open += 1;
            slot.used = true;
            slot.rests = None;
            return Next::Taken(Taken {
                sender,
                place: Place { pool: Arc::clone(self), id, share },
                number,
                reused,
            });
        }
        if let Some(slot) = state.slots.iter_mut().filter(fits).find(|slot| slot.opened.is_none()) {
            return Next::Wait(Some(slot.id), Exhausted::All);
        }
        // Connections of other tenants do not count where tenants are kept apart: the descriptors bound their
        // total.
        if state.slots.iter().filter(|slot| slot.partition.as_ref() == partition).count() >= MOST {
            return Next::Wait(None, Exhausted::All);
        }
        let id = state.next;
        state.next += 1;
        state.slots.push(Slot {
            id,
            partition: partition.cloned(),
            opened: None,
            open: 1,
            used: true,
            over: false,
            rests: None,
        });
        Next::Open(Place { pool: Arc::clone(self), id, share }, number)
    }

    /// Keeps why a connection could not be opened. The exchanges that wait for it look when its place is
    /// given up.
    fn fail(&self, id: u64, failed: &Failure) {
        let mut state = self.state();
        if state.failed.len() >= MOST {
            state.failed.pop_front();
        }
        state.failed.push_back((id, failed.clone()));
    }

    fn failure_of(&self, id: u64) -> Option<Failure> {
        self.state().failed.iter().find(|(failed, _)| *failed == id).map(|(_, failed)| failed.clone())
    }

    fn fill(&self, id: u64, opened: Opened) {
        if let Some(slot) = self.state().slots.iter_mut().find(|slot| slot.id == id) {
            slot.opened = Some(opened);
        }
        self.look_again();
    }

    /// Returns a callback that wakes waiting exchanges, as long as the pool exists.
    pub(crate) fn look_again_later(self: &Arc<Self>) -> impl Fn() + Send + Sync + 'static {
        let pool = Arc::downgrade(self);
        move || pool.upgrade().into_iter().for_each(|pool| pool.look_again())
    }

    /// Wakes the exchanges that wait for a place.
    fn look_again(&self) {
        self.freed.notify_waiters();
    }

    /// Closes an idle connection. Says whether there was one.
    pub(crate) fn close_one_at_rest(&self) -> bool {
        let mut state = self.state();
        let at = state.slots.iter().position(|slot| slot.open == 0);
        at.is_some_and(|at| state.slots.remove(at).open == 0)
    }

    /// Closes connections that were idle for too long, and those that their server has closed.
    pub(crate) fn sweep(&self, now: Tick) {
        let mut state = self.state();
        state.partitions.retain(|_, budget| Arc::strong_count(budget) > 1);
        state.slots.retain_mut(|slot| {
            if slot.open > 0 {
                slot.rests = None;
                return true;
            }
            let since = *slot.rests.get_or_insert(now);
            now.since(since) < LONGEST_REST && !slot.opened.as_mut().is_some_and(Opened::is_over)
        });
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    /// Starts no further exchange on this connection: its server may be unreachable.
    pub(crate) fn retire(&self) {
        self.with_slot(|slot| slot.over = true);
    }

    fn with_slot(&self, act: impl FnOnce(&mut Slot)) {
        if let Some(slot) = self.pool.state().slots.iter_mut().find(|slot| slot.id == self.id) {
            act(slot);
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // Before the waiting exchanges are woken.
        self.share = None;
        self.with_slot(|slot| {
            slot.open -= 1;
            // It never opened.
            slot.over |= slot.opened.is_none();
        });
        self.pool.look_again();
    }
}
