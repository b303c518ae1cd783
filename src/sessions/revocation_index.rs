//! Who was ended, in memory: exact maps that readers never wait for.

use std::collections::HashMap as Counts;

use papaya::{Equivalent, HashMap};

use super::{
    SessionRef,
    change_notifier::ChangeNotifier,
    epoch::UserCutoffs,
    epochs::{Epochs, map},
    record::Record,
    registry::Registry,
};
use crate::{
    model::{RevocationAnswer, SessionId, TenantName, UnixTime, UserId},
    session::Newest,
};

/// The marks that lookups read. Writers take turns: who changes a mark holds the [`TenantCounts`].
///
/// Marks only merge: a record read twice, or after a later one, does no harm. Only a tenant's next
/// epoch without a number is read once, in order: [`RevocationIndex::numbered`] gives it one before it is
/// written or told.
pub(crate) struct RevocationIndex {
    sessions: HashMap<SessionId, EndedSession, ahash::RandomState>,
    users: HashMap<Whose, UserCutoffs, ahash::RandomState>,
    epochs: Epochs,
    /// Rings behind every record that was merged in.
    pub(crate) changed: ChangeNotifier,
    /// The sessions that users have.
    pub(crate) registry: Registry,
}

/// How many sessions of each known tenant are marked.
#[derive(Default)]
pub(crate) struct TenantCounts(Counts<TenantName, usize>);

/// A session ended at `at`; no token of it lives beyond `keep_until`.
#[derive(Clone)]
struct EndedSession {
    at: UnixTime,
    keep_until: UnixTime,
    tenant: Option<TenantName>,
}

#[derive(Clone, PartialEq, Eq, Hash)]
struct Whose {
    tenant: TenantName,
    user: UserId,
}

/// [`Whose`], borrowed: derived alike, so that both have one hash.
#[derive(Hash)]
struct WhoseRef<'a> {
    tenant: &'a TenantName,
    user: &'a UserId,
}

impl Equivalent<Whose> for WhoseRef<'_> {
    fn equivalent(&self, key: &Whose) -> bool {
        *self.user == key.user && *self.tenant == key.tenant
    }
}

impl Default for RevocationIndex {
    fn default() -> Self {
        Self {
            sessions: map(),
            users: map(),
            epochs: Epochs::default(),
            changed: ChangeNotifier::default(),
            registry: Registry::default(),
        }
    }
}

impl RevocationIndex {
    /// Answers [`RevocationStore::lookup`](super::RevocationStore::lookup).
    pub(crate) fn lookup(&self, session: SessionRef<'_>, now: UnixTime) -> RevocationAnswer {
        let SessionRef { tenant, user, id, auth_time, epoch } = session;
        if self.sessions.pin().get(id).is_some_and(|ended| ended.at <= now) {
            return RevocationAnswer::Session;
        }
        if let Some(at) =
            self.users.pin().get(&WhoseRef { tenant, user }).and_then(|signed| signed.ended(auth_time, now))
        {
            return RevocationAnswer::User(at);
        }
        match self.epoch(tenant, now) {
            current if epoch < current => RevocationAnswer::Tenant { epoch: current },
            _ => RevocationAnswer::Live,
        }
    }

    /// Returns a tenant's epoch at a time.
    pub(crate) fn epoch(&self, tenant: &TenantName, now: UnixTime) -> u32 {
        self.epochs.at(tenant, now)
    }

    /// Answers [`RevocationStore::epoch_of`](super::RevocationStore::epoch_of).
    pub(crate) fn epoch_of(&self, tenant: &TenantName, auth_time: UnixTime, now: UnixTime) -> u32 {
        self.epochs.of(tenant, auth_time, now)
    }

    /// Returns how many sessions and users are marked.
    pub(crate) fn len(&self) -> usize {
        self.sessions.len().saturating_add(self.users.len())
    }

    /// Returns how many records the index yields.
    pub(crate) fn live(&self) -> usize {
        self.len().saturating_add(self.epochs.len()).saturating_add(self.registry.len().saturating_mul(2))
    }

    /// Returns when the marked sessions of a tenant ended, of those that did up to a time, and when the next
    /// of the others will.
    pub(crate) fn ends_of(&self, tenant: &TenantName, now: UnixTime) -> (Option<UnixTime>, Option<UnixTime>) {
        let sessions = self.sessions.pin();
        let ends = || {
            sessions
                .iter()
                .filter(|(_, ended)| ended.tenant.as_ref() == Some(tenant))
                .map(|(_, ended)| ended.at)
        };
        (ends().filter(|at| *at <= now).max(), ends().filter(|at| *at > now).min())
    }

    /// Says whether a session or user has a mark already, which a new one would only change.
    pub(crate) fn knows(&self, record: &Record) -> bool {
        match record {
            Record::Session { id, .. } => self.sessions.pin().contains_key(id),
            Record::User { tenant, user, .. } => self.users.pin().contains_key(&WhoseRef { tenant, user }),
            Record::Raise { .. } | Record::Fold { .. } | Record::Tenant { .. } | Record::Fresh { .. } => true,
            Record::Granted(_) | Record::Presented { .. } => true,
        }
    }

    /// Says whether a record would change nothing.
    pub(crate) fn covers(&self, record: &Record) -> bool {
        match record {
            Record::Session { id, at, keep_until, tenant } => {
                self.sessions.pin().get(id).is_some_and(|kept| {
                    kept.at <= *at
                        && kept.keep_until >= *keep_until
                        && (kept.tenant.is_some() || tenant.is_none())
                })
            }
            Record::User { tenant, user, from, at, keep_until } => {
                self.users.pin().get(&WhoseRef { tenant, user }).is_some_and(|kept| {
                    kept.keep_until >= *keep_until
                        && kept.cutoffs.iter().any(|mark| mark.0 <= *from && mark.1 >= *at)
                })
            }
            Record::Raise { tenant, at, epoch: Some(epoch) } => self.epochs.includes(tenant, *at, *epoch),
            Record::Raise { epoch: None, .. }
            | Record::Fold { .. }
            | Record::Tenant { .. }
            | Record::Fresh { .. } => false,
            Record::Granted(_) | Record::Presented { .. } => false,
        }
    }

    /// Gives a tenant's next epoch its number, at least `floor`. Whoever has the turn calls it, and applies
    /// what comes back at once.
    pub(crate) fn numbered(
        &self,
        _counts: &TenantCounts,
        record: Record,
        floor: impl Fn(UnixTime) -> u32,
    ) -> Record {
        let next = |tenant: &TenantName, at: UnixTime| self.epochs.next(tenant, at).max(floor(at));
        match record {
            Record::Raise { tenant, at, epoch: None } => {
                Record::Raise { epoch: Some(next(&tenant, at)), tenant, at }
            }
            Record::Fold { tenant, at, epoch: None } => {
                Record::Fold { epoch: Some(next(&tenant, at)), tenant, at }
            }
            Record::Raise { .. } | Record::Fold { .. } | Record::Session { .. } | Record::User { .. } => {
                record
            }
            Record::Tenant { .. } | Record::Fresh { .. } | Record::Granted(_) | Record::Presented { .. } => {
                record
            }
        }
    }

    /// Merges a record in.
    pub(crate) fn apply(&self, counts: &mut TenantCounts, record: Record) {
        match record {
            Record::Session { id, at, keep_until, tenant } => {
                self.end_session(counts, id, EndedSession { at, keep_until, tenant })
            }
            Record::User { tenant, user, from, at, keep_until } => {
                let (users, whose) = (self.users.pin(), Whose { tenant, user });
                let mut signed =
                    users.get(&whose).cloned().unwrap_or(UserCutoffs { cutoffs: Vec::new(), keep_until });
                signed.add(from, at, keep_until);
                users.insert(whose, signed);
            }
            Record::Raise { tenant, at, epoch } => {
                self.epochs.change(tenant, |kept| kept.raise(at, epoch.unwrap_or_else(|| kept.next(at))))
            }
            Record::Fold { tenant, at, epoch } => {
                let sessions = self.sessions.pin();
                sessions.retain(|_, ended| ended.tenant.as_ref() != Some(&tenant));
                counts.0.remove(&tenant);
                self.epochs.change(tenant, |kept| {
                    kept.begin(at, epoch.unwrap_or_else(|| kept.base.saturating_add(1)))
                });
            }
            Record::Tenant { tenant, epoch, present, since, raises } => self.epochs.change(tenant, |kept| {
                kept.present = present;
                kept.begin(since, epoch);
                raises.iter().for_each(|(from, epoch)| kept.raise(*from, *epoch));
            }),
            Record::Fresh { .. } => return,
            // They end nobody.
            Record::Granted(granted) => return self.registry.note(granted.0),
            Record::Presented { id, generation, since, seen } => {
                return self.registry.presented(&id, Newest { generation, since }, seen);
            }
        }
        self.changed.notify();
    }

    fn end_session(&self, counts: &mut TenantCounts, id: SessionId, mut new: EndedSession) {
        let sessions = self.sessions.pin();
        let known = match sessions.get(&id) {
            Some(kept) => {
                new.at = new.at.min(kept.at);
                new.keep_until = new.keep_until.max(kept.keep_until);
                new.tenant = kept.tenant.clone().or(new.tenant);
                kept.tenant.is_some()
            }
            None => false,
        };
        if let (false, Some(tenant)) = (known, &new.tenant) {
            *counts.0.entry(tenant.clone()).or_default() += 1;
        }
        sessions.insert(id, new);
    }

    /// Has the epochs of a tenant up to a time be in force whatever the time is.
    pub(crate) fn settle_tenant(&self, _counts: &TenantCounts, tenant: TenantName, at: UnixTime) {
        self.epochs.change(tenant, |kept| kept.settle(at));
        self.changed.notify();
    }

    /// Says what must be written so that exactly the tenants in `names` are present: one that went away is
    /// raised, to at least `floor`, one that is there is noted.
    pub(crate) fn settle<'a>(
        &self,
        _counts: &TenantCounts,
        names: impl Iterator<Item = &'a TenantName>,
        now: UnixTime,
        floor: impl Fn(UnixTime) -> u32,
    ) -> Vec<Record> {
        self.epochs.settle_presence(names, now, floor)
    }

    /// Returns the tenants that are there.
    pub(crate) fn present(&self) -> Vec<TenantName> {
        self.epochs.present()
    }

    /// Returns the tenants as they stand.
    pub(crate) fn tenants(&self, _counts: &TenantCounts) -> Vec<Record> {
        self.epochs.records()
    }

    /// Hands every session's and user's mark on, as records.
    pub(crate) fn each_record<E>(&self, mut each: impl FnMut(Record) -> Result<(), E>) -> Result<(), E> {
        for (id, ended) in &self.sessions.pin() {
            each(Record::Session {
                id: *id,
                at: ended.at,
                keep_until: ended.keep_until,
                tenant: ended.tenant.clone(),
            })?;
        }
        for (whose, signed) in &self.users.pin() {
            for (from, at) in &signed.cutoffs {
                each(Record::User {
                    tenant: whose.tenant.clone(),
                    user: whose.user.clone(),
                    from: *from,
                    at: *at,
                    keep_until: signed.keep_until,
                })?;
            }
        }
        Ok(())
    }

    /// Returns sessions that no token can have any more. Needs no turn.
    pub(crate) fn past(&self, now: UnixTime) -> Vec<SessionId> {
        self.sessions.pin().iter().filter(|(_, ended)| ended.keep_until <= now).map(|(id, _)| *id).collect()
    }

    /// Forgets those of the sessions that are still past.
    pub(crate) fn forget(&self, counts: &mut TenantCounts, past: &[SessionId], now: UnixTime) {
        let sessions = self.sessions.pin();
        for id in past {
            let Some(ended) = sessions.get(id).filter(|ended| ended.keep_until <= now) else { continue };
            if let Some(tenant) = &ended.tenant {
                counts.take_off(tenant);
            }
            sessions.remove(id);
        }
    }

    /// Forgets users that no token can have any more, and joins dates that are past.
    pub(crate) fn settle_dates(&self, _counts: &mut TenantCounts, now: UnixTime) {
        let users = self.users.pin();
        for (whose, signed) in &users {
            if signed.keep_until <= now {
                users.remove(whose);
            } else if signed.cutoffs.get(1).is_some_and(|(from, _)| *from <= now) {
                let mut signed = signed.clone();
                signed.settle(now);
                users.insert(whose.clone(), signed);
            }
        }
        self.epochs.settle_dates(now);
    }
}

impl TenantCounts {
    /// Returns the tenant with the most sessions marked.
    pub(crate) fn fullest(&self) -> Option<&TenantName> {
        self.0.iter().max_by_key(|(_, count)| **count).map(|(tenant, _)| tenant)
    }

    fn take_off(&mut self, tenant: &TenantName) {
        if let Some(count) = self.0.get_mut(tenant) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.0.remove(tenant);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{super::epoch::MAX_DATES, *};

    fn at(millis: u64) -> UnixTime {
        UnixTime::from_millis(millis)
    }

    fn tenant() -> TenantName {
        "acme".parse().unwrap()
    }

    fn user() -> UserId {
        "u_1".parse().unwrap()
    }

    fn ask(marks: &RevocationIndex, auth_time: u64, epoch: u32, now: u64) -> RevocationAnswer {
        marks.lookup(
            SessionRef {
                tenant: &tenant(),
                user: &user(),
                id: &SessionId::new([1; 16]),
                auth_time: at(auth_time),
                epoch,
            },
            at(now),
        )
    }

    fn user_mark(from: u64) -> Record {
        Record::User { tenant: tenant(), user: user(), from: at(from), at: at(from), keep_until: at(1000) }
    }

    #[test]
    fn many_dates_of_one_user_are_joined_to_the_stricter_side() {
        let (marks, mut counts) = (RevocationIndex::default(), TenantCounts::default());

        (1..=20).for_each(|date| marks.apply(&mut counts, user_mark(date * 10)));

        assert_eq!(
            marks.users.pin().get(&WhoseRef { tenant: &tenant(), user: &user() }).unwrap().cutoffs.len(),
            MAX_DATES
        );
        assert_eq!(ask(&marks, 5, 0, 9), RevocationAnswer::Live);
        assert_eq!(ask(&marks, 50, 0, 10), RevocationAnswer::User(at(50)));
        assert_eq!(ask(&marks, 60, 0, 59), RevocationAnswer::Live);
        assert_eq!(ask(&marks, 200, 0, 200), RevocationAnswer::User(at(200)));
    }

    #[test]
    fn many_dates_of_one_tenant_are_joined_to_the_stricter_side() {
        let (marks, mut counts) = (RevocationIndex::default(), TenantCounts::default());

        (1..=20).for_each(|date| {
            marks.apply(&mut counts, Record::Raise { tenant: tenant(), at: at(date * 10), epoch: None })
        });

        assert_eq!(marks.epoch(&tenant(), at(0)), 4);
        assert_eq!(marks.epoch(&tenant(), at(50)), 5);
        assert_eq!(marks.epoch(&tenant(), at(200)), 20);
    }

    #[test]
    fn a_ledger_counts_each_session_once() {
        let (marks, mut counts) = (RevocationIndex::default(), TenantCounts::default());
        let session = |byte, tenant: Option<&str>| Record::Session {
            id: SessionId::new([byte; 16]),
            at: at(1),
            keep_until: at(10 + u64::from(byte)),
            tenant: tenant.map(|name| name.parse().unwrap()),
        };
        for record in [
            session(1, Some("a")),
            session(1, Some("a")),
            session(2, None),
            session(2, Some("b")),
            session(3, Some("b")),
        ] {
            marks.apply(&mut counts, record);
        }

        assert_eq!(
            (counts.0[&"a".parse::<TenantName>().unwrap()], counts.0[&"b".parse::<TenantName>().unwrap()]),
            (1, 2)
        );
        assert_eq!(counts.fullest().map(TenantName::as_str), Some("b"));

        marks.forget(&mut counts, &marks.past(at(13)), at(13));
        assert_eq!((counts.0.len(), marks.len()), (0, 0));
    }

    #[derive(Clone, Debug)]
    enum Act {
        Session(u64),
        User(u64),
        Tenant(u64),
        Settle,
    }

    fn any_act() -> impl Strategy<Value = Act> {
        prop_oneof![
            (0_u64..40).prop_map(Act::Session),
            (0_u64..40).prop_map(Act::User),
            (0_u64..40).prop_map(Act::Tenant),
            Just(Act::Settle)
        ]
    }

    proptest! {
        /// Whatever was merged and joined, the marks answer as the plain list of everything that was ever
        /// asked for. A session is of the epoch that its tenant was in when it was made.
        #[test]
        fn marks_answer_as_a_list_would(acts in prop::collection::vec(any_act(), 0..16), asks in prop::collection::vec((0_u64..45, 0_u64..5, 0_u64..5), 8)) {
            let (marks, mut counts) = (RevocationIndex::default(), TenantCounts::default());
            let mut clock = 0;
            for act in &acts {
                match *act {
                    Act::Session(time) => marks.apply(&mut counts, Record::Session { id: SessionId::new([1; 16]), at: at(time), keep_until: at(1000), tenant: None }),
                    Act::User(time) => marks.apply(&mut counts, user_mark(time)),
                    Act::Tenant(time) => marks.apply(&mut counts, Record::Raise { tenant: tenant(), at: at(time), epoch: None }),
                    Act::Settle => {
                        clock += 7;
                        marks.settle_dates(&mut counts, at(clock));
                    }
                }
            }
            for (auth_time, made, later) in asks {
                let (made, now) = (clock + made * 9, clock + made * 9 + later * 9);
                let epoch = marks.epoch(&tenant(), at(made));
                let times = |pick: fn(&Act) -> Option<u64>| acts.iter().filter_map(pick).filter(|time| *time <= now).collect::<Vec<_>>();
                let sessions = times(|act| if let Act::Session(time) = act { Some(*time) } else { None });
                let users = times(|act| if let Act::User(time) = act { Some(*time) } else { None });
                let raised = times(|act| if let Act::Tenant(time) = act { Some(*time) } else { None }).iter().any(|time| *time > made);

                let expected = if !sessions.is_empty() {
                    RevocationAnswer::Session
                } else if let Some(last) = users.iter().max().filter(|last| auth_time <= **last) {
                    RevocationAnswer::User(at(*last))
                } else if raised {
                    RevocationAnswer::Tenant { epoch: marks.epoch(&tenant(), at(now)) }
                } else {
                    RevocationAnswer::Live
                };
                prop_assert_eq!(ask(&marks, auth_time, epoch, now), expected);
            }
        }
    }
}
