//! The sessions of users, as the journal keeps them.
//!
//! A session is written down before its first token leaves where its user's sessions are limited, so that a restart or `kill -9` frees
//! nobody of the limit; otherwise with the next commit, a second later at most. One that got lost so, or that an operator made by command,
//! is noted when it is first presented. Which token was presented last is written with the next commit as well: what is lost of that
//! accuses nobody.
//!
//! While a predecessor drains, what it grants is written, and its limits are judged, by its successor.

use std::sync::Arc;

use super::{
    Journal, StoreError,
    record::Record,
    registry::{Known, Note, Terms},
};
use crate::{
    model::{ClientPrefix, RevocationAnswer, SessionId, TenantName, UnixTime, UserId},
    session::{Admission, Claims, Held, Newest, Turn, admit},
};

/// A session that is known, for whoever asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// What was noted when it began.
    pub note: Note,
    /// When it was last seen here.
    pub seen: UnixTime,
    /// The newest of its tokens that was presented.
    pub generation: u32,
}

impl Journal {
    /// Notes a session that is about to begin, and says which of its user's must end before its token leaves; `replaces` ends with it.
    ///
    /// Durable on return where the user's sessions are limited. Blocks. A refused one is not noted.
    pub fn grant(&self, note: Note, terms: Terms, replaces: Option<SessionId>, now: UnixTime) -> Result<Admission, StoreError> {
        let Some(mut writers) = self.turn_of_ours() else {
            let admission = self.judge_grant(&note, terms, replaces, now);
            if let Admission::Granted(_) = admission {
                // Whoever has the file judges again, by what both granted.
                self.write_elsewhere(Record::Granted(Box::new((note, terms))))?;
            }
            return Ok(admission);
        };
        let admission = self.judge_grant(&note, terms, replaces, now);
        if let Admission::Refused(_) = admission {
            return Ok(admission);
        }
        if !self.marks.known.has_room(&note.tenant) {
            // Nobody could say later how many there are.
            return if terms.limit.is_some() { Err(StoreError::RegistryFull) } else { Ok(admission) };
        }
        self.put(&mut writers, Record::Granted(Box::new((note, terms))));
        if terms.limit.is_some() {
            self.commit_and_tell(writers)?;
        }
        Ok(admission)
    }

    fn judge_grant(&self, note: &Note, terms: Terms, replaces: Option<SessionId>, now: UnixTime) -> Admission {
        let Some(limit) = terms.limit else { return Admission::Granted(Vec::new()) };
        let held = self.living(&note.tenant, &note.user, terms, now);
        let held = held.iter().filter(|known| known.note.id != note.id && Some(known.note.id) != replaces);
        let mut held: Vec<Held> = held.map(|known| Held { granted: known.note.granted, id: known.note.id }).collect();
        admit(&mut held, limit)
    }

    /// Grants for a predecessor: what must end for it is ended here.
    pub(super) fn grant_for(&self, note: Note, terms: Terms) -> Result<(), StoreError> {
        let (tenant, now) = (note.tenant.clone(), note.granted);
        match self.grant(note, terms, None, now)? {
            Admission::Refused(count) => Err(StoreError::Successor(format!("the user has {count} sessions"))),
            Admission::Granted(surplus) => surplus.iter().try_for_each(|id| {
                let ends = self.marks.known.ends(id).unwrap_or(now);
                self.revoke_session(&tenant, id, now, ends)
            }),
        }
    }

    /// Returns when a session that is known reaches its absolute end.
    pub fn ends(&self, id: &SessionId) -> Option<UnixTime> {
        self.marks.known.ends(id)
    }

    /// Returns the sessions of a user that are known and live, the oldest first. Those of apps with a login of their own are not, nor
    /// Bearer tokens.
    pub fn sessions_of(&self, tenant: &TenantName, user: &UserId, terms: Terms, now: UnixTime) -> Vec<Listed> {
        let living = self.living(tenant, user, terms, now);
        let listed = |known: &Arc<Known>| Listed { note: known.note.clone(), seen: known.seen(), generation: known.newest().generation };
        let mut all: Vec<Listed> = living.iter().map(listed).collect();
        all.sort_by_key(|listed| (listed.note.granted, *listed.note.id.as_bytes()));
        all
    }

    /// Returns how many sessions are known.
    pub fn known_sessions(&self) -> usize {
        self.marks.known.len()
    }

    /// Writes down what was noted since the last commit. Blocks for one, if there is anything.
    pub fn write_notes(&self) -> Result<(), StoreError> {
        let writers = self.writers();
        if !self.has_file(&writers) || writers.queued == writers.durable {
            return Ok(());
        }
        self.commit_and_tell(writers)
    }

    fn living(&self, tenant: &TenantName, user: &UserId, terms: Terms, now: UnixTime) -> Vec<Arc<Known>> {
        let mut all = self.marks.known.of_user(tenant, user, terms.idle, now);
        all.retain(|known| self.is_live(&known.note, now));
        all
    }

    fn is_live(&self, note: &Note, now: UnixTime) -> bool {
        self.marks.lookup(&note.tenant, &note.user, &note.id, note.granted, note.epoch, now) == RevocationAnswer::Live
    }

    /// Says what a token is beside the newest one of its session that was presented, and takes it for presented.
    pub(super) fn take_token(&self, claims: &Claims, client: ClientPrefix, now: UnixTime) -> Turn {
        let turn = self.marks.known.see(&claims.id, claims.generation, now);
        match turn {
            Some(turn @ (Turn::Same | Turn::Late | Turn::Reused)) => return turn,
            None if !self.marks.known.has_room(&claims.tenant) => return Turn::Same,
            Some(Turn::Newer) | None => {}
        }
        let mut writers = self.writers();
        let has_file = self.has_file(&writers);
        let mut put = |record| {
            if has_file {
                self.put(&mut writers, record);
            } else {
                // It is on its way, or with a successor, who sees the session for itself.
                self.marks.apply(&mut writers.ledger, record);
            }
        };
        if turn.is_none() {
            let note = Note {
                id: claims.id,
                tenant: claims.tenant.clone(),
                user: claims.user.clone(),
                granted: claims.auth_time,
                ends: claims.absolute_end,
                epoch: claims.epoch,
                client,
            };
            put(Record::Granted(Box::new((note, Terms::default()))));
        }
        let newest = Newest { generation: claims.generation, since: now };
        put(Record::Presented { id: claims.id, generation: newest.generation, since: newest.since, seen: now });
        turn.unwrap_or(Turn::Same)
    }

    /// Forgets sessions that ended, in small bites.
    pub(super) fn sweep_known(&self, now: UnixTime) {
        let over = self.marks.known.over(|note| note.ends <= now || !self.is_live(note, now));
        for bite in over.chunks(1024) {
            // Who changes what is known has the turn.
            let _writers = self.writers();
            bite.iter().for_each(|id| self.marks.known.forget(id));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{num::NonZeroU8, path::Path, time::Duration};

    use super::*;
    use crate::{
        model::Revoked,
        session::{Over, UserLimit},
        state::RevocationStore,
    };

    fn at(secs: u64) -> UnixTime {
        UnixTime::from_secs(secs)
    }

    fn id(number: u8) -> SessionId {
        SessionId::new([number; 16])
    }

    fn note(number: u8, granted: u64) -> Note {
        let (tenant, user) = ("acme".parse().unwrap(), "u_1".parse().unwrap());
        Note { id: id(number), tenant, user, granted: at(granted), ends: at(50_000), epoch: 0, client: ClientPrefix::default() }
    }

    fn terms(limit: u8, over: Over) -> Terms {
        let limit = UserLimit { limit: NonZeroU8::new(limit).unwrap(), over };
        Terms { limit: Some(limit), idle: Duration::from_secs(1_800) }
    }

    const IDLE: Terms = Terms { limit: None, idle: Duration::from_secs(1_800) };

    fn claims(number: u8, generation: u32) -> Claims {
        let Note { id, tenant, user, granted, ends, epoch, .. } = note(number, 1_000);
        Claims {
            id,
            tenant,
            user,
            roles: crate::session::Roles::default(),
            issued: granted,
            auth_time: granted,
            not_before: granted,
            idle_end: ends,
            absolute_end: ends,
            generation,
            epoch,
            binding: None,
        }
    }

    fn listed(journal: &Journal, now: u64) -> Vec<SessionId> {
        let all = journal.sessions_of(&"acme".parse().unwrap(), &"u_1".parse().unwrap(), IDLE, at(now));
        all.into_iter().map(|listed| listed.note.id).collect()
    }

    fn open(dir: &Path, now: u64) -> Journal {
        Journal::open(dir, at(now)).unwrap()
    }

    fn take(journal: &Journal, number: u8, generation: u32, now: u64) -> Turn {
        journal.present(&claims(number, generation), ClientPrefix::default(), at(now))
    }

    #[test]
    fn a_limit_holds_and_survives_a_kill() {
        let dir = tempfile::tempdir().unwrap();
        let journal = open(dir.path(), 1_000);
        for number in 1..=3 {
            let admission = journal.grant(note(number, 1_000 + u64::from(number)), terms(2, Over::Oldest), None, at(1_003)).unwrap();
            let expected = if number == 3 { vec![id(1)] } else { vec![] };
            assert_eq!(admission, Admission::Granted(expected));
        }
        journal.revoke_session(&"acme".parse().unwrap(), &id(1), at(1_003), at(50_000)).unwrap();
        // As `kill -9` leaves it: nothing is closed.
        std::fs::create_dir(dir.path().join("copy")).unwrap();
        std::fs::copy(dir.path().join("revocations.journal"), dir.path().join("copy/revocations.journal")).unwrap();

        for journal in [&journal, &open(&dir.path().join("copy"), 1_004)] {
            assert_eq!(listed(journal, 1_004), [id(2), id(3)]);
            let refused = journal.grant(note(4, 1_004), terms(2, Over::Refuse), None, at(1_004)).unwrap();
            assert_eq!(refused, Admission::Refused(2));
            let replaced = journal.grant(note(4, 1_004), terms(2, Over::Refuse), Some(id(3)), at(1_004)).unwrap();
            assert_eq!(replaced, Admission::Granted(vec![]));
        }
    }

    #[test]
    fn who_was_ended_in_any_way_does_not_count() {
        let dir = tempfile::tempdir().unwrap();
        let journal = open(dir.path(), 1_000);
        let (tenant, user): (TenantName, UserId) = ("acme".parse().unwrap(), "u_1".parse().unwrap());
        journal.grant(note(1, 1_000), IDLE, None, at(1_000)).unwrap();
        journal.revoke(&Revoked::User(tenant.clone(), user), at(1_001), at(50_000)).unwrap();
        journal.grant(note(2, 1_002), IDLE, None, at(1_002)).unwrap();
        assert_eq!(listed(&journal, 1_002), [id(2)]);

        journal.revoke(&Revoked::Tenant(tenant), at(1_003), at(50_000)).unwrap();
        assert_eq!(listed(&journal, 1_003), []);
        journal.sweep(at(1_003)).unwrap();
        assert_eq!(journal.known_sessions(), 0);
    }

    #[test]
    fn an_old_token_is_told_from_a_late_one_also_after_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let journal = open(dir.path(), 1_000);
        journal.grant(note(1, 1_000), IDLE, None, at(1_000)).unwrap();
        assert_eq!(
            [take(&journal, 1, 0, 1_010), take(&journal, 1, 2, 2_000), take(&journal, 1, 0, 2_030)],
            [Turn::Same, Turn::Newer, Turn::Late]
        );
        journal.write_notes().unwrap();
        drop(journal);

        let journal = open(dir.path(), 2_031);
        assert_eq!([take(&journal, 1, 2, 2_031), take(&journal, 1, 1, 2_031)], [Turn::Same, Turn::Reused]);
        let listed = journal.sessions_of(&"acme".parse().unwrap(), &"u_1".parse().unwrap(), IDLE, at(2_031));
        assert_eq!((listed[0].generation, listed[0].seen), (2, at(2_031)));
    }

    #[test]
    fn a_session_that_nobody_noted_is_noted_when_it_comes() {
        let dir = tempfile::tempdir().unwrap();
        let journal = open(dir.path(), 1_000);

        assert_eq!(take(&journal, 7, 3, 1_500), Turn::Same);

        assert_eq!(listed(&journal, 1_500), [id(7)]);
        assert_eq!(take(&journal, 7, 2, 1_531), Turn::Reused);
    }

    #[test]
    fn notes_are_written_anew_with_the_rest() {
        let dir = tempfile::tempdir().unwrap();
        let journal = open(dir.path(), 1_000);
        journal.grant(note(1, 1_000), IDLE, None, at(1_000)).unwrap();
        for generation in 1..5_000 {
            take(&journal, 1, generation, 1_001);
        }
        journal.write_notes().unwrap();
        let size = || std::fs::metadata(dir.path().join("revocations.journal")).unwrap().len();
        let before = size();

        journal.sweep(at(1_001)).unwrap();

        assert!(size() < before / 100, "{} of {before}", size());
        drop(journal);
        let journal = open(dir.path(), 1_002);
        assert_eq!(take(&journal, 1, 4_998, 2_000), Turn::Reused);
    }
}
