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

use super::line::Opened;
use crate::{
    gateway::{
        exchange::{
            failed::Failed,
            room::{LOOK_AGAIN, WANTED},
        },
        share::{LEAST, Share, Shares, Short},
        shared::Shared,
    },
    model::{TenantName, Tick},
    pipeline::Permit,
};

/// How many connections to one server there are at the most; where tenants are kept apart, for each of them.
const MOST: usize = 64;
/// How many exchanges share one at the most, however many the server would take: what one of them loses, all lose.
pub(super) const MOST_STREAMS: usize = 100;
/// How many exchanges wait for a place at the most.
const MOST_WAITING: usize = 1024;
/// How long a connection rests, as those of HTTP/1.1 do.
const LONGEST_REST: Duration = Duration::from_secs(60);

/// The connections to one server.
#[derive(Debug)]
pub(in crate::gateway) struct Lines {
    state: Mutex<State>,
    /// The places on connections that all tenants share.
    places: Arc<Shares>,
    /// Those who wait for a place.
    waiting: Arc<Shares>,
    /// Told when there may be a place.
    freed: Notify,
}

#[derive(Default)]
struct State {
    lines: Vec<Line>,
    next: u64,
    /// The last that could not be opened, by their numbers, and why: for those who waited for them.
    failed: VecDeque<(u64, Failed)>,
    /// The places of tenants that are kept apart. There are no more of them than tenants.
    apart: HashMap<TenantName, Arc<Shares>, ahash::RandomState>,
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("State").field("lines", &self.lines).finish_non_exhaustive()
    }
}

/// Who wants a place.
#[derive(Clone, Copy)]
pub(super) struct Asker<'a> {
    pub(super) shared: &'a Shared,
    pub(super) permit: &'a Permit,
    /// The only tenant that the connection may serve, where they are kept apart.
    pub(super) apart: Option<&'a TenantName>,
}

#[derive(Debug)]
struct Line {
    id: u64,
    /// The only tenant that it serves, where they are kept apart.
    apart: Option<TenantName>,
    /// Nothing while it is being opened.
    opened: Option<Opened>,
    /// How many exchanges it carries.
    open: usize,
    /// Whether it carried one before.
    used: bool,
    /// Whether it takes no further one.
    over: bool,
    /// Since when it carries none, as the sweep has seen it.
    rests: Option<Tick>,
}

/// A place on a connection; it is given up with the exchange.
#[derive(Debug)]
pub(super) struct Place {
    lines: Arc<Lines>,
    id: u64,
    share: Option<Share>,
}

/// Where an exchange may go.
pub(super) struct Taken {
    pub(super) sender: SendRequest<Bytes>,
    pub(super) place: Place,
    /// The number of the budget that the place is of.
    pub(super) number: usize,
    /// Whether the connection carried others before.
    pub(super) reused: bool,
}

/// Why it can go nowhere.
pub(super) enum NoPlace {
    /// There is no connection.
    Closed(Failed),
    /// There is none yet, and it was waited for long enough.
    Late,
    /// All connections carry what they can, or the asker has its share.
    Busy(Short),
}

enum Next {
    Taken(Taken),
    Open(Place, usize),
    /// For the connection of this number that is being opened, or for a place on those that are, and why there is none.
    Wait(Option<u64>, Short),
}

impl Default for Lines {
    fn default() -> Self {
        Self { state: Mutex::default(), places: Shares::new(LEAST), waiting: Shares::new(LEAST), freed: Notify::new() }
    }
}

impl Lines {
    /// Takes a place on a connection that has one, else opens one more, else waits for as long as connecting may take. One opens at a
    /// time for those who could share it, and they share its failure too: each may go to another server then.
    pub(super) async fn take<F: Future<Output = Result<Opened, Failed>>>(
        self: &Arc<Self>,
        asker: Asker<'_>,
        within: Duration,
        open: impl FnOnce() -> F,
    ) -> Result<Taken, NoPlace> {
        let by = Instant::now() + within;
        let (mut waiting, mut opening) = (None, None);
        let shares = self.shares(asker.apart);
        loop {
            let mut freed = pin!(self.freed.notified());
            // Before the look: what becomes free behind it is not missed.
            freed.as_mut().enable();
            if let Some(failed) = opening.and_then(|id| self.failure_of(id)) {
                return Err(NoPlace::Closed(failed));
            }
            let now = asker.shared.clock.tick();
            match self.next(asker, &shares, now) {
                Next::Taken(taken) => return Ok(taken),
                Next::Open(place, number) => {
                    // Given up with this exchange, if it is, and those who waited for it look again.
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
                        waiting = Some(self.waiting.take(owner, 1, MOST_WAITING, now).map_err(NoPlace::Busy)?);
                    }
                    if opening.is_none() {
                        asker.shared.standing.relieve(shares.number(), WANTED, now);
                    }
                    // Some exchanges rest long enough to make room only then.
                    let look_again = by.min(Instant::now() + LOOK_AGAIN);
                    if timeout_at(look_again, freed).await.is_err() && look_again == by {
                        return Err(if opening.is_some() { NoPlace::Late } else { NoPlace::Busy(short) });
                    }
                }
            }
        }
    }

    /// Returns the budget of places that an exchange takes from.
    fn shares(&self, apart: Option<&TenantName>) -> Arc<Shares> {
        let Some(tenant) = apart else { return Arc::clone(&self.places) };
        let mut state = self.state();
        if let Some(shares) = state.apart.get(tenant) {
            return Arc::clone(shares);
        }
        let shares = Shares::new(LEAST);
        state.apart.insert(tenant.clone(), Arc::clone(&shares));
        shares
    }

    fn next(self: &Arc<Self>, asker: Asker<'_>, shares: &Arc<Shares>, now: Tick) -> Next {
        let apart = asker.apart;
        let mut state = self.state();
        for line in &mut state.lines {
            line.over |= line.opened.as_mut().is_some_and(Opened::is_over);
        }
        state.lines.retain(|line| !(line.over && line.open == 0));
        // The first one that has room: those behind it may then rest.
        let fits = |line: &&mut Line| line.apart.as_ref() == apart && !line.over;
        let each = state.lines.iter().filter(|line| line.apart.as_ref() == apart).filter_map(|line| line.opened.as_ref().map(Opened::most));
        let most = MOST * each.max().unwrap_or(MOST_STREAMS).max(1);
        let share = match shares.take(shares.owner_of(asker.permit), 1, most, now) {
            Ok(share) => Some(share),
            Err(short) => return Next::Wait(None, short),
        };
        let number = shares.number();
        let room = |line: &&mut Line| line.opened.as_ref().is_some_and(|opened| line.open < opened.most());
        if let Some(line) = state.lines.iter_mut().filter(fits).find(room)
            && let Some(opened) = &line.opened
        {
            let (sender, id, reused) = (opened.sender.clone(), line.id, line.used);
            line.open += 1;
            line.used = true;
            line.rests = None;
            return Next::Taken(Taken { sender, place: Place { lines: Arc::clone(self), id, share }, number, reused });
        }
        if let Some(line) = state.lines.iter_mut().filter(fits).find(|line| line.opened.is_none()) {
            return Next::Wait(Some(line.id), Short::All);
        }
        // Those of other tenants, where they are kept apart, are theirs: how many there are in all is bounded by the descriptors.
        if state.lines.iter().filter(|line| line.apart.as_ref() == apart).count() >= MOST {
            return Next::Wait(None, Short::All);
        }
        let id = state.next;
        state.next += 1;
        state.lines.push(Line { id, apart: apart.cloned(), opened: None, open: 1, used: true, over: false, rests: None });
        Next::Open(Place { lines: Arc::clone(self), id, share }, number)
    }

    /// Keeps why a connection could not be opened. Those who wait for it look once its place is given up.
    fn fail(&self, id: u64, failed: &Failed) {
        let mut state = self.state();
        if state.failed.len() >= MOST {
            state.failed.pop_front();
        }
        state.failed.push_back((id, failed.shared()));
    }

    fn failure_of(&self, id: u64) -> Option<Failed> {
        self.state().failed.iter().find(|(failed, _)| *failed == id).map(|(_, failed)| failed.shared())
    }

    fn fill(&self, id: u64, opened: Opened) {
        if let Some(line) = self.state().lines.iter_mut().find(|line| line.id == id) {
            line.opened = Some(opened);
        }
        self.look_again();
    }

    /// Tells those who wait that there may be a place.
    pub(super) fn look_again(&self) {
        self.freed.notify_waiters();
    }

    /// Closes one that rests. Says whether there was one.
    pub(in crate::gateway) fn close_one_at_rest(&self) -> bool {
        let mut state = self.state();
        let at = state.lines.iter().position(|line| line.open == 0);
        at.is_some_and(|at| state.lines.remove(at).open == 0)
    }

    /// Closes what has rested for too long, and what its server has closed.
    pub(in crate::gateway) fn sweep(&self, now: Tick) {
        let mut state = self.state();
        state.apart.retain(|_, shares| Arc::strong_count(shares) > 1);
        state.lines.retain_mut(|line| {
            if line.open > 0 {
                line.rests = None;
                return true;
            }
            let since = *line.rests.get_or_insert(now);
            now.since(since) < LONGEST_REST && !line.opened.as_mut().is_some_and(Opened::is_over)
        });
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    /// Sends nothing further over this connection: nobody knows whether its server is still there.
    pub(super) fn retire(&self) {
        self.with_line(|line| line.over = true);
    }

    fn with_line(&self, act: impl FnOnce(&mut Line)) {
        if let Some(line) = self.lines.state().lines.iter_mut().find(|line| line.id == self.id) {
            act(line);
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // Before those who wait are told.
        self.share = None;
        self.with_line(|line| {
            line.open -= 1;
            // It was not opened.
            line.over |= line.opened.is_none();
        });
        self.lines.look_again();
    }
}
