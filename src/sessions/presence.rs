//! The sessions of users, as the journal keeps them.
//!
//! A session is written down before its first token leaves where its user's sessions are limited, so that a
//! restart or `kill -9` does not reset the count; otherwise with the next commit, at most a second later. A
//! session that was lost in that second, or that an operator made by command, is noted when it is first
//! presented. Which token was presented last is also written with the next commit; losing it never causes a
//! false reuse report.
//!
//! While a predecessor drains, what it grants is written, and its limits are judged, by its successor; what
//! it sees reaches the successor with the next notes.

use std::{sync::Arc, time::Duration};

use super::{
    SessionLedger, SessionRef, StoreError,
    grant_record::GrantRecord,
    grant_request::note_of,
    record::Record,
    registry::{Presentation, SessionEntry},
    session_list::LocalSession,
};
use crate::{
    model::{ClientPrefix, RevocationAnswer, TenantName, UnixTime, UserId},
    session::{Claims, Newest, TokenOrder},
};

impl SessionLedger {
    /// Returns the sessions of a user that are known and live, the oldest first. Those of apps with a login
    /// of their own are not, nor Bearer tokens.
    pub fn sessions_of(
        &self,
        tenant: &TenantName,
        user: &UserId,
        idle: Duration,
        now: UnixTime,
    ) -> Vec<LocalSession> {
        let living = self.living(tenant, user, idle, now);
        let listed = |known: &Arc<SessionEntry>| LocalSession {
            note: known.note.clone(),
            seen: known.seen(),
            generation: known.newest().generation,
        };
        let mut all: Vec<LocalSession> = living.iter().map(listed).collect();
        all.sort_by_key(|listed| (listed.note.granted, *listed.note.id.as_bytes()));
        all
    }

    /// Returns how many sessions are known.
    pub fn known_sessions(&self) -> usize {
        self.index.registry.len()
    }

    /// Writes down what was noted since the last commit. Blocks for one, if there is anything; a predecessor
    /// hands it on.
    pub fn write_pending(&self) -> Result<(), StoreError> {
        let mut writers = self.writers();
        if !self.has_file(&writers) {
            let notes = std::mem::take(&mut writers.pending_writes);
            drop(writers);
            return self.send_pending_writes(notes);
        }
        if writers.queue.is_durable() {
            return Ok(());
        }
        self.commit_and_tell(writers)
    }

    pub(crate) fn living(
        &self,
        tenant: &TenantName,
        user: &UserId,
        idle: Duration,
        now: UnixTime,
    ) -> Vec<Arc<SessionEntry>> {
        let mut all = self.index.registry.of_user(tenant, user, idle, now);
        all.retain(|known| self.is_live(&known.note, now));
        all
    }

    /// Says whether a session has not been ended.
    pub(crate) fn is_live(&self, note: &GrantRecord, now: UnixTime) -> bool {
        self.index.lookup(
            SessionRef {
                tenant: &note.tenant,
                user: &note.user,
                id: &note.id,
                auth_time: note.granted,
                epoch: note.epoch,
            },
            now,
        ) == RevocationAnswer::Live
    }

    /// Compares a token with the newest one of its session that was presented, and records it as presented.
    pub(super) fn take_token(&self, claims: &Claims, client: ClientPrefix, now: UnixTime) -> TokenOrder {
        let presentation = self.index.registry.see(&claims.id, claims.generation, now);
        match presentation {
            Some(Presentation {
                turn: turn @ (TokenOrder::Same | TokenOrder::Late | TokenOrder::Reused),
                is_news,
            }) => {
                if is_news && let Some(peers) = self.peers.get() {
                    peers.noted(&claims.id);
                }
                return turn;
            }
            None if !self.index.registry.has_room(&claims.tenant) => return TokenOrder::Same,
            Some(Presentation { turn: TokenOrder::Newer, .. }) | None => {}
        }
        let mut writers = self.writers();
        let has_file = self.has_file(&writers);
        let mut put = |record: Record| {
            if has_file {
                self.put(&mut writers, record);
            } else {
                self.queue_pending_write(&mut writers, record);
            }
        };
        if presentation.is_none() {
            let note = GrantRecord {
                id: claims.id,
                tenant: claims.tenant.clone(),
                user: claims.user.clone(),
                granted: claims.auth_time,
                ends: claims.absolute_end,
                epoch: claims.epoch,
                client,
            };
            put(note_of(note));
        }
        let newest = Newest { generation: claims.generation, since: now };
        put(Record::Presented {
            id: claims.id,
            generation: newest.generation,
            since: newest.since,
            seen: now,
        });
        presentation.map_or(TokenOrder::Same, |presentation| presentation.turn)
    }

    /// Forgets sessions that ended, in small batches, so that writers get their turn in between.
    pub(super) fn sweep_known(&self, now: UnixTime) {
        let over = self.index.registry.over(|note| note.ends <= now || !self.is_live(note, now));
        for bite in over.chunks(1024) {
            // The registry changes only under the writers' lock.
            let _writers = self.writers();
            bite.iter().for_each(|id| self.index.registry.forget(id));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{num::NonZeroU8, path::Path};

    use super::*;
    use crate::{
        model::{RevocationTarget, SessionId},
        session::{Admission, LimitAction, UserLimit},
        sessions::{GrantLimits, GrantRecord, RevocationStore},
    };

    fn at(secs: u64) -> UnixTime {
        UnixTime::from_secs(secs)
    }

    fn id(number: u8) -> SessionId {
        SessionId::new([number; 16])
    }

    fn note(number: u8, granted: u64) -> GrantRecord {
        let (tenant, user) = ("acme".parse().unwrap(), "u_1".parse().unwrap());
        GrantRecord {
            id: id(number),
            tenant,
            user,
            granted: at(granted),
            ends: at(50_000),
            epoch: 0,
            client: ClientPrefix::default(),
        }
    }

    fn terms(limit: u8, over: LimitAction) -> GrantLimits {
        let limit = UserLimit { limit: NonZeroU8::new(limit).unwrap(), over };
        GrantLimits { limit: Some(limit), idle: IDLE, ..GrantLimits::default() }
    }

    const IDLE: Duration = Duration::from_secs(1_800);

    fn claims(number: u8, generation: u32) -> Claims {
        let GrantRecord { id, tenant, user, granted, ends, epoch, .. } = note(number, 1_000);
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

    fn listed(journal: &SessionLedger, now: u64) -> Vec<SessionId> {
        let all = journal.sessions_of(&"acme".parse().unwrap(), &"u_1".parse().unwrap(), IDLE, at(now));
        all.into_iter().map(|listed| listed.note.id).collect()
    }

    fn open(dir: &Path, now: u64) -> SessionLedger {
        SessionLedger::open(dir, at(now)).unwrap()
    }

    fn take(journal: &SessionLedger, number: u8, generation: u32, now: u64) -> TokenOrder {
        journal.present(&claims(number, generation), ClientPrefix::default(), at(now))
    }

    #[test]
    fn a_limit_holds_and_survives_a_kill() {
        let dir = tempfile::tempdir().unwrap();
        let journal = open(dir.path(), 1_000);
        for number in 1..=3 {
            let admission = journal
                .grant_now(
                    note(number, 1_000 + u64::from(number)),
                    terms(2, LimitAction::Oldest),
                    None,
                    at(1_003),
                )
                .unwrap();
            let Admission::Granted(surplus) = admission else { panic!("refused") };
            assert_eq!(
                surplus.iter().map(|held| held.id).collect::<Vec<_>>(),
                if number == 3 { vec![id(1)] } else { vec![] }
            );
        }
        journal.revoke_session(&"acme".parse().unwrap(), &id(1), at(1_003), at(50_000)).unwrap();
        // As `kill -9` leaves it: nothing is closed.
        std::fs::create_dir(dir.path().join("copy")).unwrap();
        std::fs::copy(dir.path().join("revocations.journal"), dir.path().join("copy/revocations.journal"))
            .unwrap();

        for journal in [&journal, &open(&dir.path().join("copy"), 1_004)] {
            assert_eq!(listed(journal, 1_004), [id(2), id(3)]);
            let refused =
                journal.grant_now(note(4, 1_004), terms(2, LimitAction::Refuse), None, at(1_004)).unwrap();
            assert_eq!(refused, Admission::Refused(2));
            let replaced = journal
                .grant_now(note(4, 1_004), terms(2, LimitAction::Refuse), Some(id(3)), at(1_004))
                .unwrap();
            assert_eq!(replaced, Admission::Granted(vec![]));
        }
    }

    #[test]
    fn who_was_ended_in_any_way_does_not_count() {
        let dir = tempfile::tempdir().unwrap();
        let journal = open(dir.path(), 1_000);
        let (tenant, user): (TenantName, UserId) = ("acme".parse().unwrap(), "u_1".parse().unwrap());
        journal.grant_now(note(1, 1_000), GrantLimits::default(), None, at(1_000)).unwrap();
        journal.revoke(&RevocationTarget::User(tenant.clone(), user), at(1_001), at(50_000)).unwrap();
        journal.grant_now(note(2, 1_002), GrantLimits::default(), None, at(1_002)).unwrap();
        assert_eq!(listed(&journal, 1_002), [id(2)]);

        journal.revoke(&RevocationTarget::Tenant(tenant), at(1_003), at(50_000)).unwrap();
        assert_eq!(listed(&journal, 1_003), []);
        journal.sweep(at(1_003)).unwrap();
        assert_eq!(journal.known_sessions(), 0);
    }

    #[test]
    fn an_old_token_is_told_from_a_late_one_also_after_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let journal = open(dir.path(), 1_000);
        journal.grant_now(note(1, 1_000), GrantLimits::default(), None, at(1_000)).unwrap();
        assert_eq!(
            [take(&journal, 1, 0, 1_010), take(&journal, 1, 2, 2_000), take(&journal, 1, 0, 2_030)],
            [TokenOrder::Same, TokenOrder::Newer, TokenOrder::Late]
        );
        journal.write_pending().unwrap();
        drop(journal);

        let journal = open(dir.path(), 2_031);
        assert_eq!(
            [take(&journal, 1, 2, 2_031), take(&journal, 1, 1, 2_031)],
            [TokenOrder::Same, TokenOrder::Reused]
        );
        let listed = journal.sessions_of(&"acme".parse().unwrap(), &"u_1".parse().unwrap(), IDLE, at(2_031));
        assert_eq!((listed[0].generation, listed[0].seen), (2, at(2_031)));
    }

    #[test]
    fn a_session_that_nobody_noted_is_noted_when_it_comes() {
        let dir = tempfile::tempdir().unwrap();
        let journal = open(dir.path(), 1_000);

        assert_eq!(take(&journal, 7, 3, 1_500), TokenOrder::Same);

        assert_eq!(listed(&journal, 1_500), [id(7)]);
        assert_eq!(take(&journal, 7, 2, 1_531), TokenOrder::Reused);
    }

    #[test]
    fn notes_are_written_anew_with_the_rest() {
        let dir = tempfile::tempdir().unwrap();
        let journal = open(dir.path(), 1_000);
        journal.grant_now(note(1, 1_000), GrantLimits::default(), None, at(1_000)).unwrap();
        for generation in 1..5_000 {
            take(&journal, 1, generation, 1_001);
        }
        journal.write_pending().unwrap();
        let size = || std::fs::metadata(dir.path().join("revocations.journal")).unwrap().len();
        let before = size();

        journal.sweep(at(1_001)).unwrap();

        assert!(size() < before / 100, "{} of {before}", size());
        drop(journal);
        let journal = open(dir.path(), 1_002);
        assert_eq!(take(&journal, 1, 4_998, 2_000), TokenOrder::Reused);
    }
}
