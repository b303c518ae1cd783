//! What the ledger shares with other nodes: records that come in, and those that go out.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use super::{
    SessionLedger, StoreError,
    journal::Writers,
    peers::{AckLevel, AckReport, Merge, Peers, ends, is_now, shared_form},
    record::Record,
    registry::SessionEntry,
};
use crate::{
    append_log::Codec,
    model::{SessionId, TenantName, UnixTime},
    session::Newest,
};

impl SessionLedger {
    /// Shares revocations with other nodes from now on; the first ones stay. Nothing is known of theirs yet.
    pub(crate) fn share_with(&self, peers: Arc<dyn Peers>) {
        if self.peers.set(peers).is_ok() {
            self.set_fresh_until(UnixTime::default());
        }
    }

    /// Says whether what other nodes ended is known up to now.
    pub fn is_fresh(&self, now: UnixTime) -> bool {
        now.as_millis() <= self.fresh_until.load(Ordering::Relaxed)
    }

    /// Returns for how long what other nodes ended is known; zero where nobody shares it.
    pub fn fresh_for(&self, now: UnixTime) -> Duration {
        match self.peers.get() {
            Some(_) => UnixTime::from_millis(self.fresh_until.load(Ordering::Relaxed)).since(now),
            None => Duration::ZERO,
        }
    }

    /// What other nodes ended is known, and holds until a time. A process that drains behind this one is
    /// told.
    pub(crate) fn renew(&self, until: UnixTime) {
        self.set_fresh_until(until);
        let mut writers = self.writers();
        if let Some(follower) = &writers.follower {
            let mut bytes = Vec::new();
            Record::Fresh { until }.encode(&mut bytes);
            writers.told = follower.tell(&bytes);
        }
    }

    pub(crate) fn set_fresh_until(&self, until: UnixTime) {
        self.fresh_until.store(until.as_millis(), Ordering::Relaxed);
    }

    /// Takes in what other nodes ended: in force on return, to be made durable by [`SessionLedger::keep`].
    ///
    /// An epoch that begins within a minute begins now: the clock of the node that made it may be ahead.
    pub(crate) fn learn(&self, records: impl IntoIterator<Item = Record>, now: UnixTime) -> Merge {
        let mut learnt = Merge::default();
        let mut writers = self.writers();
        for record in records {
            if self.index.covers(&record) {
                continue;
            }
            learnt.news += 1;
            let begins = match &record {
                Record::Raise { tenant, at, .. } if *at > now && is_now(*at, now) => {
                    Some((tenant.clone(), *at))
                }
                Record::Raise { .. } | Record::Session { .. } | Record::User { .. } => None,
                Record::Fold { .. } | Record::Tenant { .. } | Record::Fresh { .. } => None,
                Record::Granted(_) | Record::Presented { .. } => None,
            };
            if !self.has_file(&writers) {
                // Who has the file now learns it, too.
                self.index.apply(&mut writers.counts, record);
                self.hasten(&writers, begins);
                continue;
            }
            // What is put to make room is news to the others; the record itself is not.
            match self.admit(&mut writers, record) {
                Ok(record) => {
                    let own = std::mem::take(&mut writers.news);
                    self.put(&mut writers, record);
                    writers.news = own;
                    self.hasten(&writers, begins);
                }
                Err(_) => learnt.refused += 1,
            }
        }
        learnt.own = std::mem::take(&mut writers.news);
        learnt
    }

    fn hasten(&self, writers: &Writers, begins: Option<(TenantName, UnixTime)>) {
        if let Some((tenant, at)) = begins {
            self.index.settle_tenant(&writers.counts, tenant, at);
        }
    }

    /// Makes everything that was put durable. Blocks.
    pub(crate) fn keep(&self) -> Result<(), StoreError> {
        let writers = self.writers();
        if self.has_file(&writers) { self.commit_and_tell(writers) } else { Ok(()) }
    }

    /// Takes in which token of a session another node saw, as far as the session is known here. It is written
    /// with the next notes.
    pub(crate) fn learn_turn(&self, id: &SessionId, newest: Newest) {
        if !self.index.registry.learn(id, newest) {
            return;
        }
        let Some(known) = self.known(id) else { return };
        let record = Record::Presented {
            id: *id,
            generation: newest.generation,
            since: newest.since,
            seen: known.seen(),
        };
        let mut writers = self.writers();
        if self.has_file(&writers) {
            self.put(&mut writers, record);
        }
    }

    pub(crate) fn known(&self, id: &SessionId) -> Option<Arc<SessionEntry>> {
        self.index.registry.find(id)
    }

    pub(crate) fn known_ids(&self) -> Vec<SessionId> {
        self.index.registry.ids()
    }

    /// Returns the epoch of a tenant that began, or begins, at a time or soonest behind it.
    pub(crate) fn raise_at(&self, tenant: &TenantName, at: UnixTime) -> Option<Record> {
        let epoch = self.index.epoch(tenant, at);
        (epoch > 0).then(|| Record::Raise { tenant: tenant.clone(), at, epoch: Some(epoch) })
    }

    /// Hands everything on that other nodes must know, but what ends by itself until `now`.
    pub(crate) fn each_shared(&self, now: UnixTime, mut each: impl FnMut(Record)) {
        let tenants = self.index.tenants(&self.writers().counts);
        shared_form(tenants).into_iter().for_each(&mut each);
        let Ok(()) = self.index.each_record(|record| {
            if ends(&record).is_none_or(|end| end > now) {
                each(record);
            }
            Ok::<(), std::convert::Infallible>(())
        });
    }

    /// Hands on what others must know of records that were put here, and waits for them.
    pub(super) async fn spread(&self, news: Vec<Record>, level: AckLevel) -> Result<AckReport, StoreError> {
        match self.peers.get() {
            Some(peers) => peers.spread(shared_form(news), level).await,
            None => Ok(AckReport::default()),
        }
    }

    pub(crate) fn spread_later(&self, news: Vec<Record>) {
        if let Some(peers) = self.peers.get() {
            peers.spread_later(shared_form(news));
        }
    }

    /// The smallest number of an epoch that begins at a time. Without other nodes epochs are counted.
    pub(crate) fn floor(&self, at: UnixTime) -> u32 {
        if self.peers.get().is_some() { u32::try_from(at.as_secs()).unwrap_or(u32::MAX) } else { 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::super::RevocationStore;
    use super::*;
    use crate::sessions::SessionRef;
    use crate::{
        model::{BoxFuture, RevocationAnswer, RevocationTarget, UserId},
        session::{Admission, UserLimit},
        sessions::{GrantRecord, ListError, RemoteSession},
    };

    const NOW: UnixTime = UnixTime::from_secs(1_000);

    struct Nobody;

    impl Peers for Nobody {
        fn spread(&self, _: Vec<Record>, _: AckLevel) -> BoxFuture<'_, Result<AckReport, StoreError>> {
            Box::pin(async { Err(StoreError::NotShared("there is nobody".to_owned())) })
        }

        fn spread_later(&self, _news: Vec<Record>) {}

        fn count<'a>(
            &'a self,
            _: &'a GrantRecord,
            _: UserLimit,
            _: Duration,
            _: Option<SessionId>,
        ) -> BoxFuture<'a, Result<Admission, StoreError>> {
            Box::pin(async { Err(StoreError::Uncounted("there is nobody".to_owned())) })
        }

        fn sessions_of<'a>(
            &'a self,
            _: &'a TenantName,
            _: &'a UserId,
            _: Duration,
        ) -> BoxFuture<'a, Result<Vec<RemoteSession>, ListError>> {
            Box::pin(async { Err(ListError("there is nobody".to_owned())) })
        }

        fn counted_alone(&self) {}

        fn noted(&self, _id: &SessionId) {}
    }

    fn acme() -> TenantName {
        "acme".parse().unwrap()
    }

    fn raise(at: u64, epoch: u32) -> Record {
        Record::Raise { tenant: acme(), at: UnixTime::from_secs(at), epoch: Some(epoch) }
    }

    fn journal(dir: &tempfile::TempDir) -> SessionLedger {
        let journal = SessionLedger::open(dir.path(), NOW).unwrap();
        journal.share_with(Arc::new(Nobody));
        journal
    }

    #[test]
    fn an_epoch_of_a_clock_that_is_ahead_begins_now_and_only_once() {
        let dir = tempfile::tempdir().unwrap();
        let journal = journal(&dir);

        assert_eq!(journal.learn([raise(1_030, 1_030)], NOW).news, 1);
        assert_eq!(journal.epoch(&acme(), NOW), 1_030);
        // Read again later, as often as everything is compared.
        for now in [1_000, 1_030, 2_000] {
            assert_eq!(journal.learn([raise(1_030, 1_030)], UnixTime::from_secs(now)).news, 0, "{now}");
        }
        assert_eq!(journal.learn([raise(5_000, 5_000)], NOW).news, 1);
        assert_eq!(
            [1_030, 4_999, 5_000].map(|now| journal.epoch(&acme(), UnixTime::from_secs(now))),
            [1_030, 1_030, 5_000],
            "a date"
        );
    }

    #[test]
    fn what_is_learnt_survives_a_restart_once_it_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        let journal = journal(&dir);
        let id = SessionId::new([7; 16]);
        let ended =
            Record::Session { id, at: NOW, keep_until: UnixTime::from_secs(9_000), tenant: Some(acme()) };

        journal.learn([ended, raise(1_000, 1_000)], NOW);
        journal.keep().unwrap();
        drop(journal);

        let journal = SessionLedger::open(dir.path(), NOW).unwrap();
        assert_eq!(
            journal.lookup(
                SessionRef {
                    tenant: &acme(),
                    user: &"u".parse().unwrap(),
                    id: &id,
                    auth_time: NOW,
                    epoch: 1_000
                },
                NOW
            ),
            RevocationAnswer::Session
        );
        assert_eq!(journal.epoch(&acme(), NOW), 1_000);
    }

    #[test]
    fn who_shares_knows_nothing_until_it_is_told_and_no_longer_than_it_holds() {
        let dir = tempfile::tempdir().unwrap();
        let journal = journal(&dir);
        let ask = |secs| {
            journal.lookup(
                SessionRef {
                    tenant: &acme(),
                    user: &"u".parse().unwrap(),
                    id: &SessionId::new([1; 16]),
                    auth_time: NOW,
                    epoch: 0,
                },
                UnixTime::from_secs(secs),
            )
        };

        assert_eq!(ask(1_000), RevocationAnswer::Stale);
        journal.renew(UnixTime::from_secs(1_030));
        assert_eq!([1_030, 1_031].map(ask), [RevocationAnswer::Live, RevocationAnswer::Stale]);
        assert!(matches!(
            journal.revoke(&RevocationTarget::Tenant(acme()), NOW, NOW),
            Err(StoreError::NotShared(_))
        ));
        assert!(
            matches!(ask(1_000), RevocationAnswer::Tenant { epoch: 1_000 }),
            "it is ended here all the same"
        );
    }
}
