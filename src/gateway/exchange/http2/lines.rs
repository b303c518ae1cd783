//! The connections to one server that many exchanges share.

use std::{
    collections::VecDeque,
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
    gateway::exchange::Failed,
    model::{TenantName, Tick},
};

/// How many connections to one server there are at the most.
const MOST: usize = 64;
/// How many exchanges share one at the most, however many the server would take: what one of them loses, all lose.
pub(super) const MOST_STREAMS: usize = 100;
/// How many exchanges wait for a place at the most.
const MOST_WAITING: usize = 1024;
/// How long a connection rests, as those of HTTP/1.1 do.
const LONGEST_REST: Duration = Duration::from_secs(60);

/// The connections to one server.
#[derive(Debug, Default)]
pub(in crate::gateway) struct Lines {
    state: Mutex<State>,
    /// Told when there may be a place.
    freed: Notify,
}

#[derive(Default)]
struct State {
    lines: Vec<Line>,
    next: u64,
    waiting: usize,
    /// The last that could not be opened, by their numbers, and why: for those who waited for them.
    failed: VecDeque<(u64, Failed)>,
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("State").field("lines", &self.lines).field("waiting", &self.waiting).finish_non_exhaustive()
    }
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
}

/// Where an exchange may go.
pub(super) struct Taken {
    pub(super) sender: SendRequest<Bytes>,
    pub(super) place: Place,
    /// Whether the connection carried others before.
    pub(super) reused: bool,
}

/// Why it can go nowhere.
pub(super) enum NoPlace {
    /// There is no connection.
    Closed(Failed),
    /// There is none yet, and it was waited for long enough.
    Late,
    /// All connections carry what they can.
    Busy,
}

enum Next {
    Taken(Taken),
    Open(u64),
    /// For the connection of this number that is being opened, or for a place on those that are.
    Wait(Option<u64>),
}

impl Lines {
    /// Takes a place on a connection that has one, else opens one more, else waits for as long as connecting may take. One opens at a
    /// time for those who could share it, and they share its failure too: each may go to another server then.
    pub(super) async fn take(
        self: &Arc<Self>,
        apart: Option<&TenantName>,
        within: Duration,
        open: impl Future<Output = Result<Opened, Failed>>,
    ) -> Result<Taken, NoPlace> {
        let by = Instant::now() + within;
        let (mut waiting, mut opening) = (None, None);
        loop {
            let mut freed = pin!(self.freed.notified());
            // Before the look: what becomes free behind it is not missed.
            freed.as_mut().enable();
            if let Some(failed) = opening.and_then(|id| self.failure_of(id)) {
                return Err(NoPlace::Closed(failed));
            }
            match self.next(apart) {
                Next::Taken(taken) => return Ok(taken),
                Next::Open(id) => {
                    // Given up with this exchange, if it is, and those who waited for it look again.
                    let place = Place { lines: Arc::clone(self), id };
                    let opened = open.await.map_err(|failed| {
                        self.fail(id, &failed);
                        NoPlace::Closed(failed)
                    })?;
                    let sender = opened.sender.clone();
                    self.fill(id, opened);
                    return Ok(Taken { sender, place, reused: false });
                }
                Next::Wait(until_opened) => {
                    opening = until_opened;
                    if waiting.is_none() {
                        waiting = Some(Waiting::new(self).ok_or(NoPlace::Busy)?);
                    }
                    let late = || if opening.is_some() { NoPlace::Late } else { NoPlace::Busy };
                    timeout_at(by, freed).await.map_err(|_| late())?;
                }
            }
        }
    }

    fn next(self: &Arc<Self>, apart: Option<&TenantName>) -> Next {
        let mut state = self.state();
        for line in &mut state.lines {
            line.over |= line.opened.as_mut().is_some_and(Opened::is_over);
        }
        state.lines.retain(|line| !(line.over && line.open == 0));
        // The first one that has room: those behind it may then rest.
        let fits = |line: &&mut Line| line.apart.as_ref() == apart && !line.over;
        let room = |line: &&mut Line| line.opened.as_ref().is_some_and(|opened| line.open < opened.most());
        if let Some(line) = state.lines.iter_mut().filter(fits).find(room)
            && let Some(opened) = &line.opened
        {
            let (sender, id, reused) = (opened.sender.clone(), line.id, line.used);
            line.open += 1;
            line.used = true;
            line.rests = None;
            return Next::Taken(Taken { sender, place: Place { lines: Arc::clone(self), id }, reused });
        }
        if let Some(line) = state.lines.iter_mut().filter(fits).find(|line| line.opened.is_none()) {
            return Next::Wait(Some(line.id));
        }
        if state.lines.len() >= MOST {
            // One of another tenant that rests makes room.
            let Some(at) = state.lines.iter().position(|line| line.open == 0) else { return Next::Wait(None) };
            state.lines.remove(at);
        }
        let id = state.next;
        state.next += 1;
        state.lines.push(Line { id, apart: apart.cloned(), opened: None, open: 1, used: true, over: false, rests: None });
        Next::Open(id)
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

    /// Closes what has rested for too long, and what its server has closed.
    pub(in crate::gateway) fn sweep(&self, now: Tick) {
        self.state().lines.retain_mut(|line| {
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
        self.with_line(|line| {
            line.open -= 1;
            // It was not opened.
            line.over |= line.opened.is_none();
        });
        self.lines.look_again();
    }
}

/// One who waits for a place.
struct Waiting<'a>(&'a Lines);

impl<'a> Waiting<'a> {
    fn new(lines: &'a Lines) -> Option<Self> {
        let mut state = lines.state();
        (state.waiting < MOST_WAITING).then(|| {
            state.waiting += 1;
            Self(lines)
        })
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.state().waiting -= 1;
    }
}
