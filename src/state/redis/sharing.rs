//! Revocations between nodes, through Redis: out at once, in at once, and everything compared whenever something may be missing.
//!
//! Every second a node visits Redis: it says that it lives, and sees how many messages were published. Where it has heard all of them, it
//! knows what the others ended. Where it has not, where the connection was made anew, where Redis holds something else than before (it was
//! emptied, or replaced), and in any case every so often, both sides are read through and each gets what only the other had.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{
    runtime::Handle,
    sync::{Notify, mpsc, watch},
    time::timeout,
};

use super::{
    Inbox, Redis, RedisFault,
    message::{self, News},
    node::Sharer,
    nodes::Nodes,
    script::{NODES, STATE, Scripts},
    sessions::Sessions,
    telling,
};
use crate::{
    model::{Clock, NodeStatus, TenantName, Tick, UnixTime, told},
    state::{
        Beginning, Journal,
        peers::{Learnt, Peers},
    },
};

/// How often Redis is visited.
pub(super) const ROUND: Duration = Duration::from_secs(1);

/// How long a message may take to come behind the visit that showed its number.
pub(super) const IN_FLIGHT: Duration = Duration::from_millis(200);

/// How many messages may wait to be taken in, and how many answers. One that does not fit is missed, and everything compared.
const INBOX: usize = 4096;

/// How often what is strange is written down, at most; it is counted always.
const STRANGE_EVERY: Duration = Duration::from_secs(10);

/// Is told how sharing does. It must not wait.
pub trait SharingWitness: Send + Sync {
    /// A revocation was handed to Redis, or could not be.
    fn shared(&self, took: Duration, is_done: bool);
    /// Everything was compared, or could not be.
    fn compared(&self, took: Duration, is_done: bool);
    /// What others wrote cannot be taken in.
    fn strange(&self, count: u64);
    /// What other nodes ended is known from now on, or no longer.
    fn fresh(&self, is_fresh: bool);
    /// The sessions of a user on all nodes were counted, or could not be.
    fn counted(&self, is_done: bool);
    /// They could not be, and this node counted by what it knows.
    fn counted_alone(&self);
    /// Other nodes were told of so many sessions, and will not be of so many others before they are seen again.
    fn notes(&self, told: u64, dropped: u64);
}

/// How sharing stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// Whether there is a connection.
    pub is_connected: bool,
    /// When it was last known what the other nodes ended.
    pub synced: Option<UnixTime>,
    /// Revocations of this node that Redis may not have yet.
    pub pending: u64,
}

/// Shares the revocations of a journal.
pub struct Sharing {
    pub(super) redis: Redis,
    pub(super) journal: Arc<Journal>,
    pub(super) sharer: Sharer,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) witness: Arc<dyn SharingWitness>,
    pub(super) scripts: Scripts,
    pub(super) sessions: Sessions,
    pub(super) runtime: Handle,
    pub(super) state: Mutex<State>,
    nodes: Mutex<Nodes>,
    /// Revocations that Redis did not take.
    pub(super) pending: AtomicU64,
    /// Wakes the rounds: something is to be compared.
    pub(super) wake: Notify,
    /// Wakes who writes down what was learnt.
    learnt: Notify,
    pub(super) synced: watch::Sender<Option<UnixTime>>,
    /// Until when what was taken over from a predecessor holds.
    pub(super) inherited: OnceLock<Tick>,
}

/// What tasks share.
#[derive(Default)]
pub(super) struct State {
    /// Which messages were heard.
    pub(super) seen: Seen,
    /// Tenants that were ended here while Redis could not number it.
    pub(super) unnumbered: HashMap<TenantName, UnixTime>,
    /// Who waits for answers, by token.
    pub(super) waiting: HashMap<String, mpsc::Sender<String>>,
    pub(super) tokens: u64,
    /// When what is strange was last written down.
    told_strange: Option<Tick>,
}

/// Which messages were heard: all up to a number, unless one is missing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Seen {
    /// What the Redis that they came from holds, by its name.
    pub(super) id: String,
    /// The last that was heard.
    pub(super) number: u64,
    /// The last that a visit showed.
    pub(super) visited: u64,
    pub(super) is_missing: bool,
}

impl Seen {
    fn hear(&mut self, number: u64) {
        if number > self.number {
            self.is_missing |= number > self.number.saturating_add(1);
            self.number = number;
        }
    }
}

/// What [`Sharing::run`] reads.
pub struct Inboxes {
    news: Inbox,
    heard: Inbox,
    turns: Inbox,
}

impl Sharing {
    /// Has a journal share from now on. Nothing is known of other nodes before [`Sharing::run`] has compared everything once.
    pub fn begin(
        redis: Redis,
        journal: Arc<Journal>,
        sharer: Sharer,
        clock: Arc<dyn Clock>,
        witness: Arc<dyn SharingWitness>,
    ) -> (Arc<Self>, Inboxes) {
        let inboxes = Inboxes {
            news: redis.subscribe(&sharer.news_channel(), INBOX),
            heard: redis.subscribe(&sharer.heard_channel(&sharer.process), INBOX),
            turns: redis.subscribe(&telling::channel(&sharer), INBOX),
        };
        let sharing = Arc::new(Self {
            redis,
            journal,
            sharer,
            clock,
            witness,
            scripts: Scripts::new(),
            sessions: Sessions::default(),
            runtime: Handle::current(),
            state: Mutex::default(),
            nodes: Mutex::default(),
            pending: AtomicU64::new(0),
            wake: Notify::new(),
            learnt: Notify::new(),
            synced: watch::Sender::new(None),
            inherited: OnceLock::new(),
        });
        sharing.journal.share_with(sharing.clone());
        (sharing, inboxes)
    }

    /// Takes over from a predecessor that what other nodes ended is known up to a moment: all of it stands in the journal. The first
    /// moment stays.
    pub fn inherit(&self, fresh_to: Tick) {
        if self.inherited.set(fresh_to).is_ok() {
            self.journal.renew(self.clock.now().plus(fresh_to.since(self.clock.tick())));
        }
    }

    /// Shares, for ever.
    pub async fn run(self: Arc<Self>, inboxes: Inboxes) {
        let Inboxes { news, heard, turns } = inboxes;
        let sessions = async { tokio::join!(telling::tell(&self), telling::hear(&self, turns)) };
        tokio::join!(self.hear_news(news), self.hear_answers(heard), self.keep_learnt(), super::round::rounds(&self), sessions);
    }

    /// Waits until it is known what other nodes ended, or for so long. Says whether it is.
    pub async fn synced_within(&self, limit: Duration) -> bool {
        let mut synced = self.synced.subscribe();
        timeout(limit, synced.wait_for(Option::is_some)).await.is_ok_and(|synced| synced.is_ok())
    }

    /// Tells how it stands.
    pub fn standing(&self) -> Standing {
        Standing {
            is_connected: self.redis.connection() != 0,
            synced: *self.synced.borrow(),
            pending: self.pending.load(Ordering::Relaxed),
        }
    }

    /// Lists the nodes that were seen, and says whether another process shares under this one's name.
    pub fn others(&self) -> (Vec<NodeStatus>, bool) {
        let nodes = self.nodes();
        (nodes.list(), nodes.is_namesake)
    }

    pub(super) fn nodes(&self) -> MutexGuard<'_, Nodes> {
        self.nodes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells the others that nobody need wait for this node any more.
    pub async fn leave(&self) {
        let mut leave = self.scripts.leave.key(NODES);
        leave.arg(&self.sharer.node).arg(&self.sharer.process);
        // Who could not say so is missed after some seconds.
        let _ = self.redis.run::<i64>(&leave).await;
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn hear_news(&self, mut news: Inbox) {
        let mut lost = 0;
        while let Some(message) = news.next().await {
            let now = self.clock.now();
            if news.lost() > lost {
                lost = news.lost();
                self.state().seen.is_missing = true;
            }
            let Some(News { number, process, token, records }) = message::read(&message) else {
                self.strange(1, "a message cannot be read");
                continue;
            };
            self.state().seen.hear(number);
            if process == self.sharer.process {
                continue;
            }
            let (records, is_whole) = message::records(records, now);
            let learnt = self.journal.learn(records, now);
            let is_in_force = is_whole && learnt.refused == 0;
            self.took(learnt);
            if !is_whole {
                self.strange(1, "a message holds what is no revocation");
            }
            if let (Some(token), true) = (token, is_in_force) {
                self.answer(process, token).await;
            }
        }
    }

    /// Says that what somebody waits for is in force here.
    async fn answer(&self, process: &str, token: &str) {
        let mut publish = redis::cmd("PUBLISH");
        publish.arg(self.sharer.heard_channel(process)).arg(format!("{token} {}", self.sharer.node));
        // Who does not hear it says that this node is silent.
        let _ = self.redis.call::<i64>(&publish).await;
    }

    async fn hear_answers(&self, mut heard: Inbox) {
        while let Some(message) = heard.next().await {
            let text = std::str::from_utf8(&message).ok().filter(|text| text.len() <= 128);
            let Some((token, node)) = text.and_then(|text| text.split_once(' ')) else { continue };
            if let Some(waiting) = self.state().waiting.get(token) {
                // Who no longer waits is gone, and more nodes than these there are not.
                let _ = waiting.try_send(node.to_owned());
            }
        }
    }

    async fn keep_learnt(&self) {
        loop {
            self.learnt.notified().await;
            let journal = Arc::clone(&self.journal);
            if let Ok(Err(error)) = tokio::task::spawn_blocking(move || journal.keep()).await {
                tracing::error!(error = %told(&error), "revocations of other nodes are in force and cannot be written down");
            }
        }
    }

    /// Looks after what was learnt.
    pub(super) fn took(&self, learnt: Learnt) {
        if learnt.news > 0 {
            self.learnt.notify_one();
        }
        if learnt.refused > 0 {
            self.strange(u64::try_from(learnt.refused).unwrap_or(u64::MAX), "the journal is full of sessions that belong to nobody known");
        }
        if !learnt.own.is_empty() {
            self.spread_later(learnt.own);
        }
    }

    /// Settles with the other nodes since when all of them together know who was ended. What a visit found before everything was compared
    /// is `began` and how many messages had been published then.
    ///
    /// A Redis that holds messages and no beginning is from nodes of an earlier version: it counts as whole, as their journals do.
    pub(super) async fn agree_on_the_beginning(&self, began: &str, published: u64) -> Result<(), RedisFault> {
        // Only at the first time: a Redis that is emptied while this process runs is filled by nodes of this version.
        let is_earlier = began.is_empty() && published > 0 && !self.journal.has_agreed();
        let own = if is_earlier { Beginning::default() } else { self.journal.beginning() };
        let mut settle = self.scripts.began.key(STATE);
        settle.arg(own.began.as_millis()).arg(own.lost.map_or(0, UnixTime::as_millis));
        let (began, lost): (u64, u64) = self.redis.run(&settle).await?;
        let theirs =
            Beginning { began: UnixTime::from_millis(began), lost: Some(lost).filter(|lost| *lost > 0).map(UnixTime::from_millis) };
        if self.journal.agree(theirs) {
            tracing::warn!(
                event = "revocations_found",
                "what the revocation journal had lost was read from Redis; no session is refused for it"
            );
        }
        Ok(())
    }

    pub(super) fn strange(&self, count: u64, what: &'static str) {
        self.witness.strange(count);
        let now = self.clock.tick();
        {
            let mut state = self.state();
            if state.told_strange.is_some_and(|told| now.since(told) < STRANGE_EVERY) {
                return;
            }
            state.told_strange = Some(now);
        }
        tracing::error!(event = "redis_strange", count, what, "Redis holds what no octroi wrote there; it is left out");
    }
}

impl std::fmt::Debug for Sharing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sharing").field("sharer", &self.sharer).finish_non_exhaustive()
    }
}
