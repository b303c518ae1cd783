//! Revocations that nodes share: what goes out to the other nodes, and what comes in from them.
//!
//! A revocation is in force and durable here before another node is told of it, and who asked for it is answered when the store that the
//! nodes share has it. Everything that goes either way merges, so it may come twice, late, or in another order:
//!
//! * a session's end, and a user's with the time up to which a sign-in is ended, by the earlier and the later time;
//! * a tenant's end by the number of its epoch ([`Epoch`](super::date::Epoch)). A session carries the epoch that its tenant was in where it
//!   was made, and is ended by any later one, so no clock of another node is compared with its times. The next number is at least the
//!   seconds since 1970: a node that lost what it knew does not begin at 1 again, below epochs that others have. The store gives out no
//!   number twice ([`Peers::spread`]), so of two nodes that end a tenant in the same second each ends what the other had let in.
//!
//! What that cannot do: a node that could not reach the store ended a tenant, was started anew before it could, and its clock is behind
//! the others': then a session that another node made meanwhile, in an epoch with a larger number, outlives it.
//!
//! # Freshness
//!
//! Whoever brings in what others ended says until when that holds ([`Journal::renew`]). Behind that time a session that is not known to
//! be ended is [`RevocationAnswer::Stale`](crate::model::RevocationAnswer::Stale), and the policy says what that means.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use super::{
    Journal, StoreError,
    journal::Writers,
    marks::Marks,
    record::Record,
    registry::{Known, Note},
};
use crate::{
    model::{Revoked, SessionId, TenantName, UnixTime},
    session::{Admission, Newest, UserLimit},
};

/// The other nodes.
pub(super) trait Peers: Send + Sync {
    /// Hands records to them, and waits until the store that they share has them, or longer. Blocks, for a bounded time.
    ///
    /// After an error the records are with the store later, or already.
    fn spread(&self, news: Vec<Record>, hearing: Hearing) -> Result<Spread, StoreError>;
    /// Hands records to them when it can be done. Does not block.
    fn spread_later(&self, news: Vec<Record>);
    /// Counts a session that is about to begin among those that its user has on all nodes. Blocks, for a bounded time.
    ///
    /// Where it may begin it is counted from then on, and what is one too many is until it has ended. [`StoreError::Uncounted`] says that
    /// nobody can tell how many there are.
    fn count(&self, note: &Note, limit: UserLimit, idle: Duration, replaces: Option<SessionId>) -> Result<Admission, StoreError>;
    /// Hears that it could not be asked, and that this node counted by what it knows.
    fn counted_alone(&self);
    /// Hears that a session began, was seen or ended, and tells the other nodes when it can be done. Does not block.
    fn noted(&self, id: &SessionId);
}

/// What a revocation waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hearing {
    /// The store has it.
    Store,
    /// Every node that lives has it in force, or did not say so in time.
    Nodes,
}

/// How far a revocation has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spread {
    /// On how many nodes it is in force, this one counted.
    pub nodes: u32,
    /// Nodes that live and did not say in time that it is in force there.
    pub silent: Vec<String>,
}

impl Default for Spread {
    fn default() -> Self {
        Self { nodes: 1, silent: Vec::new() }
    }
}

impl Journal {
    /// Shares revocations with other nodes from now on; the first ones stay. Nothing is known of theirs yet.
    pub(super) fn share_with(&self, peers: Arc<dyn Peers>) {
        if self.peers.set(peers).is_ok() {
            self.set_fresh_until(UnixTime::default());
        }
    }

    /// Ends sessions as [`Journal::revoke`] does, and waits a little for every node that lives to have it in force.
    pub fn revoke_everywhere(&self, whose: &Revoked, at: UnixTime, keep_until: UnixTime) -> Result<Spread, StoreError> {
        self.write_and_spread(Self::record_of(whose, at, keep_until), Hearing::Nodes)
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

    /// What other nodes ended is known, and holds until a time. A process that drains behind this one is told.
    pub(super) fn renew(&self, until: UnixTime) {
        self.set_fresh_until(until);
        let mut writers = self.writers();
        if let Some(follower) = &writers.follower {
            let mut bytes = Vec::new();
            Record::Fresh { until }.encode(&mut bytes);
            writers.told = follower.tell(&bytes);
        }
    }

    pub(super) fn set_fresh_until(&self, until: UnixTime) {
        self.fresh_until.store(until.as_millis(), Ordering::Relaxed);
    }

    /// Takes in what other nodes ended: in force on return, to be made durable by [`Journal::keep`].
    ///
    /// An epoch that begins within a minute begins now: the clock of the node that made it may be ahead.
    pub(super) fn learn(&self, records: impl IntoIterator<Item = Record>, now: UnixTime) -> Learnt {
        let mut learnt = Learnt::default();
        let mut writers = self.writers();
        for record in records {
            if self.marks.covers(&record) {
                continue;
            }
            learnt.news += 1;
            let begins = match &record {
                Record::Raise { tenant, at, .. } if *at > now && is_now(*at, now) => Some((tenant.clone(), *at)),
                Record::Raise { .. } | Record::Session { .. } | Record::User { .. } => None,
                Record::Fold { .. } | Record::Tenant { .. } | Record::Fresh { .. } => None,
                Record::Granted(_) | Record::Presented { .. } => None,
            };
            if !self.has_file(&writers) {
                // Who has the file now learns it, too.
                self.marks.apply(&mut writers.ledger, record);
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
            self.marks.settle_tenant(&writers.ledger, tenant, at);
        }
    }

    /// Makes everything that was put durable. Blocks.
    pub(super) fn keep(&self) -> Result<(), StoreError> {
        let writers = self.writers();
        if self.has_file(&writers) { self.commit_and_tell(writers) } else { Ok(()) }
    }

    /// Takes in which token of a session another node saw, as far as the session is known here. It is written with the next notes.
    pub(super) fn learn_turn(&self, id: &SessionId, newest: Newest) {
        if !self.marks.known.learn(id, newest) {
            return;
        }
        let Some(known) = self.known(id) else { return };
        let record = Record::Presented { id: *id, generation: newest.generation, since: newest.since, seen: known.seen() };
        let mut writers = self.writers();
        if self.has_file(&writers) {
            self.put(&mut writers, record);
        }
    }

    pub(super) fn known(&self, id: &SessionId) -> Option<Arc<Known>> {
        self.marks.known.find(id)
    }

    pub(super) fn known_ids(&self) -> Vec<SessionId> {
        self.marks.known.ids()
    }

    /// Returns the epoch of a tenant that began, or begins, at a time or soonest behind it.
    pub(super) fn raise_at(&self, tenant: &TenantName, at: UnixTime) -> Option<Record> {
        let epoch = self.marks.epoch(tenant, at);
        (epoch > 0).then(|| Record::Raise { tenant: tenant.clone(), at, epoch: Some(epoch) })
    }

    /// Hands everything on that other nodes must know, but what ends by itself until `now`.
    pub(super) fn each_shared(&self, now: UnixTime, mut each: impl FnMut(Record)) {
        let tenants = self.marks.tenants(&self.writers().ledger);
        told(tenants).into_iter().for_each(&mut each);
        let Ok(()) = self.marks.each_record(|record| {
            if ends(&record).is_none_or(|end| end > now) {
                each(record);
            }
            Ok::<(), std::convert::Infallible>(())
        });
    }

    /// Hands on what others must know of records that were put here.
    pub(super) fn spread(&self, news: Vec<Record>, hearing: Hearing) -> Result<Spread, StoreError> {
        match self.peers.get() {
            Some(peers) => peers.spread(told(news), hearing),
            None => Ok(Spread::default()),
        }
    }

    pub(super) fn spread_later(&self, news: Vec<Record>) {
        if let Some(peers) = self.peers.get() {
            peers.spread_later(told(news));
        }
    }

    /// The smallest number of an epoch that begins at a time. Without other nodes epochs are counted.
    pub(super) fn floor(&self, at: UnixTime) -> u32 {
        if self.peers.get().is_some() { u32::try_from(at.as_secs()).unwrap_or(u32::MAX) } else { 0 }
    }
}

/// How far clocks of nodes may differ.
pub(super) const CLOCKS_DIFFER: Duration = Duration::from_secs(60);

/// Says whether a time that another node wrote may be its now, though it lies ahead of ours.
pub(super) fn is_now(at: UnixTime, now: UnixTime) -> bool {
    at <= now.plus(CLOCKS_DIFFER)
}

/// What came of taking records in.
#[derive(Debug, Default)]
pub(super) struct Learnt {
    /// How many said something new.
    pub(super) news: usize,
    /// How many of them did not fit.
    pub(super) refused: usize,
    /// What was put to make room, which the others must know.
    pub(super) own: Vec<Record>,
}

/// Returns when a record no longer matters; nothing for one that is kept for good.
pub(super) fn ends(record: &Record) -> Option<UnixTime> {
    match record {
        Record::Session { keep_until, .. } | Record::User { keep_until, .. } => Some(*keep_until),
        Record::Raise { .. } | Record::Fold { .. } | Record::Tenant { .. } | Record::Fresh { .. } => None,
        Record::Granted(_) | Record::Presented { .. } => None,
    }
}

/// Puts records into the form that is shared: the ends of sessions and users, and tenants' epochs.
fn told(news: Vec<Record>) -> Vec<Record> {
    let each = |record: Record| match record {
        Record::Session { .. } | Record::User { .. } | Record::Raise { .. } => vec![record],
        Record::Fold { tenant, at, epoch } => vec![Record::Raise { tenant, at, epoch }],
        Record::Tenant { tenant, epoch, since, raises, present: _ } => Marks::epochs(&tenant, since, epoch, &raises),
        Record::Fresh { .. } | Record::Granted(_) | Record::Presented { .. } => Vec::new(),
    };
    news.into_iter().flat_map(each).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{model::RevocationAnswer, state::RevocationStore};

    const NOW: UnixTime = UnixTime::from_secs(1_000);

    struct Nobody;

    impl Peers for Nobody {
        fn spread(&self, _news: Vec<Record>, _hearing: Hearing) -> Result<Spread, StoreError> {
            Err(StoreError::NotShared("there is nobody".to_owned()))
        }

        fn spread_later(&self, _news: Vec<Record>) {}

        fn count(&self, _: &Note, _: UserLimit, _: Duration, _: Option<SessionId>) -> Result<Admission, StoreError> {
            Err(StoreError::Uncounted("there is nobody".to_owned()))
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

    fn journal(dir: &tempfile::TempDir) -> Journal {
        let journal = Journal::open(dir.path(), NOW).unwrap();
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
        assert_eq!([1_030, 4_999, 5_000].map(|now| journal.epoch(&acme(), UnixTime::from_secs(now))), [1_030, 1_030, 5_000], "a date");
    }

    #[test]
    fn what_is_learnt_survives_a_restart_once_it_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        let journal = journal(&dir);
        let id = SessionId::new([7; 16]);
        let ended = Record::Session { id, at: NOW, keep_until: UnixTime::from_secs(9_000), tenant: Some(acme()) };

        journal.learn([ended, raise(1_000, 1_000)], NOW);
        journal.keep().unwrap();
        drop(journal);

        let journal = Journal::open(dir.path(), NOW).unwrap();
        assert_eq!(journal.lookup(&acme(), &"u".parse().unwrap(), &id, NOW, 1_000, NOW), RevocationAnswer::Session);
        assert_eq!(journal.epoch(&acme(), NOW), 1_000);
    }

    #[test]
    fn who_shares_knows_nothing_until_it_is_told_and_no_longer_than_it_holds() {
        let dir = tempfile::tempdir().unwrap();
        let journal = journal(&dir);
        let ask = |secs| journal.lookup(&acme(), &"u".parse().unwrap(), &SessionId::new([1; 16]), NOW, 0, UnixTime::from_secs(secs));

        assert_eq!(ask(1_000), RevocationAnswer::Stale);
        journal.renew(UnixTime::from_secs(1_030));
        assert_eq!([1_030, 1_031].map(ask), [RevocationAnswer::Live, RevocationAnswer::Stale]);
        assert!(matches!(journal.revoke(&Revoked::Tenant(acme()), NOW, NOW), Err(StoreError::NotShared(_))));
        assert!(matches!(ask(1_000), RevocationAnswer::Tenant { epoch: 1_000 }), "it is ended here all the same");
    }
}
