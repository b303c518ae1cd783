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
    script::{ENDED, EPOCHS, FOR_GOOD, NODES, STATE, Scripts},
    sessions::Sessions,
    telling,
};
use crate::{
    model::{Clock, SessionId, TenantName, Tick, UnixTime, told},
    session::{Admission, UserLimit},
    state::{
        Beginning, Journal, Note, StoreError,
        peers::{Hearing, Learnt, Peers, Spread, ends},
        record::Record,
    },
};

/// How often Redis is visited.
pub(super) const ROUND: Duration = Duration::from_secs(1);

/// How long a revocation waits for nodes that live.
const HEARING: Duration = Duration::from_secs(1);

/// How long a message may take to come behind the visit that showed its number.
pub(super) const IN_FLIGHT: Duration = Duration::from_millis(200);

/// How many messages may wait to be taken in, and how many answers. One that does not fit is missed, and everything compared.
const INBOX: usize = 4096;

/// How many answers may wait for one revocation.
const ANSWERS: usize = 1024;

/// How often what is strange is written down, at most; it is counted always.
const STRANGE_EVERY: Duration = Duration::from_secs(10);

/// How often a tenant's epoch is numbered anew, because others take the number at the same moment.
const TRIES: usize = 8;

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

/// Who shares.
#[derive(Clone, Debug)]
pub struct Sharer {
    /// The node's name: the same for two processes of which one hands over to the other, another for every other node.
    pub node: String,
    /// A name that no other process has: 1 to 32 letters and digits.
    pub process: String,
    /// The database, for the names of channels.
    pub database: u16,
    /// How long what was heard holds.
    pub stale_after: Duration,
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
    runtime: Handle,
    pub(super) state: Mutex<State>,
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
    waiting: HashMap<String, mpsc::Sender<String>>,
    tokens: u64,
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
            news: redis.subscribe(&news_channel(&sharer), INBOX),
            heard: redis.subscribe(&heard_channel(&sharer, &sharer.process), INBOX),
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
        publish.arg(heard_channel(&self.sharer, process)).arg(format!("{token} {}", self.sharer.node));
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

    /// Puts records into Redis, each tenant's epoch above all others. The records come back with the numbers that they have now.
    pub(super) async fn put_strictly(&self, news: &mut [Record], token: Option<&str>) -> Result<(), RedisFault> {
        for _ in 0..TRIES {
            let (answer, largest): (i64, u64) = self.redis.run(&self.putting(news, "strict", token)).await?;
            if answer >= 0 {
                return Ok(());
            }
            let now = self.clock.now();
            for record in news.iter_mut() {
                let Record::Raise { tenant, at, epoch: Some(epoch) } = record else { continue };
                let next = u32::try_from(largest.saturating_add(1)).unwrap_or(u32::MAX);
                let raised = Record::Raise { tenant: tenant.clone(), at: *at, epoch: Some(next) };
                // A number that nobody could outdo is none that a node gave out.
                if *epoch < next && message::record(&message::bytes(&raised), now).is_ok() {
                    *record = raised;
                } else if *epoch < next {
                    self.strange(1, "an epoch is far ahead of the time");
                    return self.put(news, token).await.map(|_| ());
                }
            }
            let learnt = self.journal.learn(news.iter().cloned(), now);
            self.took(learnt);
        }
        self.put(news, token).await.map(|_| ())
    }

    /// Puts records into Redis that are not there yet. Returns how many were not.
    pub(super) async fn put(&self, news: &[Record], token: Option<&str>) -> Result<u64, RedisFault> {
        let (_, new): (i64, u64) = self.redis.run_bulk(&self.putting(news, "merge", token)).await?;
        Ok(new)
    }

    fn putting(&self, news: &[Record], how: &str, token: Option<&str>) -> redis::ScriptInvocation<'_> {
        let mut put = self.scripts.put.key(ENDED);
        put.key(EPOCHS).key(STATE);
        put.arg(news_channel(&self.sharer)).arg(message::head(&self.sharer.process, token)).arg(how);
        for record in news {
            put.arg(ends(record).map_or(FOR_GOOD, |end| end.as_millis().min(FOR_GOOD))).arg(message::bytes(record));
            match record {
                Record::Raise { tenant, epoch: Some(epoch), .. } => put.arg(tenant.as_str()).arg(*epoch),
                Record::Raise { .. } | Record::Session { .. } | Record::User { .. } => put.arg("").arg(""),
                Record::Fold { .. } | Record::Tenant { .. } | Record::Fresh { .. } => put.arg("").arg(""),
                Record::Granted(_) | Record::Presented { .. } => put.arg("").arg(""),
            };
        }
        put
    }

    async fn spread_now(&self, mut news: Vec<Record>, hearing: Hearing) -> Result<Spread, StoreError> {
        if news.is_empty() {
            return Ok(Spread::default());
        }
        let began = self.clock.tick();
        let (token, mut answers) = self.wait_for_answers(hearing);
        let (put, lives) = tokio::join!(self.put_strictly(&mut news, token.as_deref()), self.lives(hearing));
        self.witness.shared(self.clock.tick().since(began), put.is_ok());
        let outcome = match put {
            Ok(()) => Ok(self.heard(&mut answers, lives).await),
            Err(fault) => {
                self.remember(&news);
                Err(StoreError::NotShared(told(&fault)))
            }
        };
        if let Some(token) = token {
            self.state().waiting.remove(&token);
        }
        outcome
    }

    /// Notes what Redis may not have.
    fn remember(&self, news: &[Record]) {
        self.pending.fetch_add(u64::try_from(news.len()).unwrap_or(u64::MAX), Ordering::Relaxed);
        let mut state = self.state();
        for record in news {
            if let Record::Raise { tenant, at, .. } = record {
                let latest = state.unnumbered.entry(tenant.clone()).or_insert(*at);
                *latest = (*latest).max(*at);
            }
        }
        drop(state);
        self.wake.notify_one();
    }

    fn wait_for_answers(&self, hearing: Hearing) -> (Option<String>, mpsc::Receiver<String>) {
        let (sender, answers) = mpsc::channel(ANSWERS);
        match hearing {
            Hearing::Store => (None, answers),
            Hearing::Nodes => {
                let mut state = self.state();
                state.tokens = state.tokens.saturating_add(1);
                let token = format!("{:x}", state.tokens);
                state.waiting.insert(token.clone(), sender);
                (Some(token), answers)
            }
        }
    }

    /// Returns the other nodes that live.
    async fn lives(&self, hearing: Hearing) -> Vec<String> {
        match hearing {
            Hearing::Store => Vec::new(),
            // Who they are is not known then; whether it was put is what counts.
            Hearing::Nodes => self.redis.run(&self.scripts.who.key(NODES)).await.unwrap_or_default(),
        }
    }

    /// Waits until the nodes that live have said that it is in force there.
    async fn heard(&self, answers: &mut mpsc::Receiver<String>, lives: Vec<String>) -> Spread {
        let mut silent: Vec<String> = lives.into_iter().filter(|node| *node != self.sharer.node).collect();
        silent.sort_unstable();
        let mut heard = std::collections::BTreeSet::new();
        let all = async {
            while !silent.is_empty() {
                let Some(node) = answers.recv().await else { break };
                silent.retain(|other| *other != node);
                heard.insert(node);
            }
        };
        // Those that are silent then are named.
        let _ = timeout(HEARING, all).await;
        while let Ok(node) = answers.try_recv() {
            heard.insert(node);
        }
        heard.remove(&self.sharer.node);
        Spread { nodes: u32::try_from(heard.len()).unwrap_or(u32::MAX).saturating_add(1), silent }
    }
}

impl Peers for Sharing {
    fn spread(&self, news: Vec<Record>, hearing: Hearing) -> Result<Spread, StoreError> {
        self.runtime.block_on(self.spread_now(news, hearing))
    }

    fn spread_later(&self, news: Vec<Record>) {
        if news.is_empty() {
            return;
        }
        // The next comparison finds what only this node has.
        self.remember(&news);
    }

    fn count(&self, note: &Note, limit: UserLimit, idle: Duration, replaces: Option<SessionId>) -> Result<Admission, StoreError> {
        self.runtime.block_on(self.count_now(note, limit, idle, replaces))
    }

    fn counted_alone(&self) {
        self.witness.counted_alone();
    }

    fn noted(&self, id: &SessionId) {
        self.sessions.untold.add(*id);
    }
}

fn news_channel(sharer: &Sharer) -> String {
    format!("octroi:{}:news", sharer.database)
}

fn heard_channel(sharer: &Sharer, process: &str) -> String {
    format!("octroi:{}:heard:{process}", sharer.database)
}

impl std::fmt::Debug for Sharing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sharing").field("sharer", &self.sharer).finish_non_exhaustive()
    }
}
