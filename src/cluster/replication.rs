//! Replicates revocations between nodes through Redis: sent at once, taken in at once, and compared in full
//! whenever one may be missing.
//!
//! Every second a node visits Redis: it reports that it lives, and reads how many messages were published. If
//! it has received all of them, it knows the revocations of the others. If not, or after a new connection, or
//! if Redis holds other data than before (it was emptied or replaced), and in any case at intervals, both
//! sides are compared in full and each gets what only the other had.

use std::{
    sync::{
        Arc, Mutex, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::{Notify, watch},
    time::timeout,
};

use super::{
    announce,
    identity::NodeIdentity,
    message::{self, News},
    node::{Replication, SyncObserver, SyncStatus},
    nodes::Nodes,
    script::{NODES, Scripts},
    session_sync::SessionSync,
    sync_loop,
};
use crate::{
    model::{Clock, NodeStatus, Tick, UnixTime, error_chain},
    redis::{Inbox, Redis},
    sessions::SessionLedger,
};

/// How many messages and how many confirmations may wait. One that does not fit is lost, which leads to a
/// full comparison.
const INBOX: usize = 4096;

/// The inboxes that [`Replication::run`] reads.
pub struct Inboxes {
    news: Inbox,
    heard: Inbox,
    turns: Inbox,
}

impl Replication {
    /// Replicates a ledger from now on. Nothing is known about other nodes before the first full comparison
    /// of [`Replication::run`].
    pub fn begin(
        redis: Redis,
        ledger: Arc<SessionLedger>,
        identity: NodeIdentity,
        clock: Arc<dyn Clock>,
        observer: Arc<dyn SyncObserver>,
    ) -> (Arc<Self>, Inboxes) {
        let inboxes = Inboxes {
            news: redis.subscribe(&identity.news_channel(), INBOX),
            heard: redis.subscribe(&identity.heard_channel(&identity.process), INBOX),
            turns: redis.subscribe(&identity.turns_channel(), INBOX),
        };
        let now = clock.now();
        let replication = Arc::new(Self {
            redis,
            ledger,
            identity,
            clock,
            observer,
            scripts: Scripts::new(),
            sessions: SessionSync::default(),
            state: Mutex::default(),
            nodes: Mutex::new(Nodes::new(now)),
            pending: AtomicU64::new(0),
            wake: Notify::new(),
            learnt: Notify::new(),
            synced: watch::Sender::new(None),
            inherited: OnceLock::new(),
        });
        replication.ledger.share_with(replication.clone());
        (replication, inboxes)
    }

    /// Takes over from a predecessor that the ledger holds every revocation of other nodes up to a time. The
    /// first call counts.
    pub fn inherit(&self, fresh_to: Tick) {
        if self.inherited.set(fresh_to).is_ok() {
            self.ledger.renew(self.clock.now().plus(fresh_to.since(self.clock.tick())));
        }
    }

    /// Replicates, for ever.
    pub async fn run(self: Arc<Self>, inboxes: Inboxes) {
        let Inboxes { news, heard, turns } = inboxes;
        let sessions = async { tokio::join!(announce::announce(&self), announce::hear(&self, turns)) };
        tokio::join!(
            self.hear_news(news),
            self.hear_answers(heard),
            self.keep_learnt(),
            sync_loop::run(&self),
            sessions
        );
    }

    /// Waits until the revocations of other nodes are known, up to a limit. Returns whether they are.
    pub async fn synced_within(&self, limit: Duration) -> bool {
        let mut synced = self.synced.subscribe();
        timeout(limit, synced.wait_for(Option::is_some)).await.is_ok_and(|synced| synced.is_ok())
    }

    /// Returns the state of replication.
    pub fn standing(&self) -> SyncStatus {
        SyncStatus {
            is_connected: self.redis.connection() != 0,
            synced: *self.synced.borrow(),
            pending: self.pending.load(Ordering::Relaxed),
        }
    }

    /// Returns the nodes that were seen, since when it is unknown which of them live, and whether another
    /// process uses this node's name.
    pub fn others(&self) -> (Vec<NodeStatus>, Option<UnixTime>, bool) {
        let nodes = self.nodes();
        let unknown = if self.redis.connection() == 0 {
            Some(nodes.asked())
        } else {
            nodes.unknown_since(self.clock.now())
        };
        (nodes.list(), unknown, nodes.is_namesake)
    }

    /// Tells the others not to wait for this node any more.
    pub async fn leave(&self) {
        let mut leave = self.scripts.leave.key(NODES);
        leave.arg(&self.identity.node).arg(&self.identity.process);
        // A node that could not do this counts as gone after some seconds.
        let _ = self.redis.run::<i64>(&leave).await;
    }

    async fn hear_news(&self, mut news: Inbox) {
        let mut lost = 0;
        while let Some(message) = news.next().await {
            let now = self.clock.now();
            if news.lost() > lost {
                lost = news.lost();
                self.state().cursor.is_missing = true;
            }
            let Some(News { number, process, token, records }) = message::read(&message) else {
                self.foreign_data(1, "a message cannot be read");
                continue;
            };
            self.state().cursor.hear(number);
            if process == self.identity.process {
                continue;
            }
            let (records, is_whole) = message::records(records, now);
            let learnt = self.ledger.learn(records, now);
            let is_in_force = is_whole && learnt.refused == 0;
            self.took(learnt);
            if !is_whole {
                self.foreign_data(1, "a message holds what is no revocation");
            }
            if let (Some(token), true) = (token, is_in_force) {
                self.answer(process, token).await;
            }
        }
    }

    /// Confirms that a revocation is in force here.
    async fn answer(&self, process: &str, token: &str) {
        let mut publish = redis::cmd("PUBLISH");
        publish.arg(self.identity.heard_channel(process)).arg(format!("{token} {}", self.identity.node));
        // If the confirmation is lost, the sender reports that this node is silent.
        let _ = self.redis.call::<i64>(&publish).await;
    }

    async fn hear_answers(&self, mut heard: Inbox) {
        while let Some(message) = heard.next().await {
            let text = std::str::from_utf8(&message).ok().filter(|text| text.len() <= 128);
            let Some((token, node)) = text.and_then(|text| text.split_once(' ')) else { continue };
            if let Some(waiting) = self.state().waiting.get(token) {
                // The waiter is gone, or its queue is full, which has room for more nodes than there are.
                let _ = waiting.try_send(node.to_owned());
            }
        }
    }

    async fn keep_learnt(&self) {
        loop {
            self.learnt.notified().await;
            let ledger = Arc::clone(&self.ledger);
            if let Ok(Err(error)) = tokio::task::spawn_blocking(move || ledger.keep()).await {
                tracing::error!(error = %error_chain(&error), "revocations of other nodes are in force and cannot be written down");
            }
        }
    }
}
