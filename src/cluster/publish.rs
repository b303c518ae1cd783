//! Publishes the revocations of this node: writes them to Redis, sends them to the other nodes and, for a
//! command, waits for their confirmations.

use std::{sync::atomic::Ordering, time::Duration};

use tokio::{sync::mpsc, time::timeout};

use super::{
    message,
    node::Replication,
    script::{ENDED, EPOCHS, FOR_GOOD, NODES, STATE},
};
use crate::{
    model::{BoxFuture, SessionId, TenantName, UserId, error_chain},
    redis::RedisFault,
    session::{Admission, UserLimit},
    sessions::{AckLevel, AckReport, GrantRecord, ListError, Peers, Record, RemoteSession, StoreError, ends},
};

/// How long a revocation waits for live nodes.
const HEARING: Duration = Duration::from_secs(1);

/// How many confirmations may wait for one revocation.
const ANSWERS: usize = 1024;

/// How often a tenant's epoch is numbered again because another node took the number at the same moment.
const TRIES: usize = 8;

impl Replication {
    /// Writes records to Redis, with each tenant's epoch above all its others. Returns the records with their
    /// final numbers.
    pub(super) async fn put_strictly(
        &self,
        news: &mut [Record],
        token: Option<&str>,
    ) -> Result<(), RedisFault> {
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
                // No node assigns a number that no other could exceed.
                if *epoch < next && message::record(&message::bytes(&raised), now).is_ok() {
                    *record = raised;
                } else if *epoch < next {
                    self.foreign_data(1, "an epoch is far ahead of the time");
                    return self.put(news, token).await.map(|_| ());
                }
            }
            let learnt = self.ledger.learn(news.iter().cloned(), now);
            self.took(learnt);
        }
        self.put(news, token).await.map(|_| ())
    }

    /// Writes records to Redis that are not there yet. Returns how many were not.
    pub(super) async fn put(&self, news: &[Record], token: Option<&str>) -> Result<u64, RedisFault> {
        let (_, new): (i64, u64) = self.redis.run_bulk(&self.putting(news, "merge", token)).await?;
        Ok(new)
    }

    fn putting(&self, news: &[Record], how: &str, token: Option<&str>) -> redis::ScriptInvocation<'_> {
        let mut put = self.scripts.put.key(ENDED);
        put.key(EPOCHS).key(STATE);
        put.arg(self.identity.news_channel()).arg(message::head(&self.identity.process, token)).arg(how);
        for record in news {
            put.arg(ends(record).map_or(FOR_GOOD, |end| end.as_millis().min(FOR_GOOD)))
                .arg(message::bytes(record));
            match record {
                Record::Raise { tenant, epoch: Some(epoch), .. } => put.arg(tenant.as_str()).arg(*epoch),
                Record::Raise { .. } | Record::Session { .. } | Record::User { .. } => put.arg("").arg(""),
                Record::Fold { .. } | Record::Tenant { .. } | Record::Fresh { .. } => put.arg("").arg(""),
                Record::Granted(_) | Record::Presented { .. } => put.arg("").arg(""),
            };
        }
        put
    }

    async fn spread_now(&self, mut news: Vec<Record>, hearing: AckLevel) -> Result<AckReport, StoreError> {
        if news.is_empty() {
            return Ok(AckReport::default());
        }
        let began = self.clock.tick();
        let (token, mut answers) = self.wait_for_answers(hearing);
        let (put, lives) = tokio::join!(self.put_strictly(&mut news, token.as_deref()), self.lives(hearing));
        self.observer.shared(self.clock.tick().since(began), put.is_ok());
        let outcome = match put {
            Ok(()) => Ok(self.heard(&mut answers, lives).await),
            Err(fault) => {
                self.remember(&news);
                Err(StoreError::NotShared(error_chain(&fault)))
            }
        };
        if let Some(token) = token {
            self.state().waiting.remove(&token);
        }
        outcome
    }

    /// Notes records that Redis may not have.
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

    fn wait_for_answers(&self, hearing: AckLevel) -> (Option<String>, mpsc::Receiver<String>) {
        let (sender, answers) = mpsc::channel(ANSWERS);
        match hearing {
            AckLevel::Store => (None, answers),
            AckLevel::Nodes => {
                let mut state = self.state();
                state.tokens = state.tokens.saturating_add(1);
                let token = format!("{:x}", state.tokens);
                state.waiting.insert(token.clone(), sender);
                (Some(token), answers)
            }
        }
    }

    /// Returns the other live nodes.
    async fn lives(&self, hearing: AckLevel) -> Vec<String> {
        match hearing {
            AckLevel::Store => Vec::new(),
            // Then it is unknown which nodes live; that the records are written is what counts.
            AckLevel::Nodes => self.redis.run(&self.scripts.who.key(NODES)).await.unwrap_or_default(),
        }
    }

    /// Waits until the live nodes have confirmed that the revocation is in force.
    async fn heard(&self, answers: &mut mpsc::Receiver<String>, lives: Vec<String>) -> AckReport {
        let mut silent: Vec<String> = lives.into_iter().filter(|node| *node != self.identity.node).collect();
        silent.sort_unstable();
        let mut heard = std::collections::BTreeSet::new();
        let all = async {
            while !silent.is_empty() {
                let Some(node) = answers.recv().await else { break };
                silent.retain(|other| *other != node);
                heard.insert(node);
            }
        };
        // Nodes that have not confirmed by then are listed.
        let _ = timeout(HEARING, all).await;
        while let Ok(node) = answers.try_recv() {
            heard.insert(node);
        }
        heard.remove(&self.identity.node);
        AckReport { nodes: u32::try_from(heard.len()).unwrap_or(u32::MAX).saturating_add(1), silent }
    }
}

impl Peers for Replication {
    fn spread(&self, news: Vec<Record>, level: AckLevel) -> BoxFuture<'_, Result<AckReport, StoreError>> {
        Box::pin(self.spread_now(news, level))
    }

    fn spread_later(&self, news: Vec<Record>) {
        if news.is_empty() {
            return;
        }
        // The next full comparison finds what only this node has.
        self.remember(&news);
    }

    fn count<'a>(
        &'a self,
        record: &'a GrantRecord,
        limit: UserLimit,
        idle: Duration,
        replaces: Option<SessionId>,
    ) -> BoxFuture<'a, Result<Admission, StoreError>> {
        Box::pin(self.count_now(record, limit, idle, replaces))
    }

    fn sessions_of<'a>(
        &'a self,
        tenant: &'a TenantName,
        user: &'a UserId,
        idle: Duration,
    ) -> BoxFuture<'a, Result<Vec<RemoteSession>, ListError>> {
        Box::pin(async move {
            // The method of the type, which keeps the fault.
            Self::sessions_of(self, tenant, user, idle).await.map_err(|fault| ListError(error_chain(&fault)))
        })
    }

    fn counted_alone(&self) {
        self.observer.counted_alone();
    }

    fn noted(&self, id: &SessionId) {
        self.sessions.outbox.add(*id);
    }
}
