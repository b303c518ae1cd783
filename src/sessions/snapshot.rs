//! What a journal's file says, read without taking it: for commands beside a running octroi.

use std::path::Path;

use super::{
    Beginning, RevocationStore, SessionRef, StoreError,
    completeness::covers,
    record::Record,
    revocation_index::{RevocationIndex, TenantCounts},
};
use crate::{
    append_log::AppendLog,
    model::{ClientPrefix, RevocationAnswer, TenantName, UnixTime},
    session::{Claims, TokenOrder},
};

/// The revocations that were durable when the file was read. It changes nothing and locks nobody out.
pub struct JournalSnapshot {
    index: RevocationIndex,
    beginning: Beginning,
}

impl JournalSnapshot {
    /// Reads the journal of a state directory; a directory without one has ended nobody. A commit that is
    /// being written right now counts as not yet made.
    pub fn read(dir: &Path) -> Result<Self, StoreError> {
        let (index, mut counts) = (RevocationIndex::default(), TenantCounts::default());
        AppendLog::peek(dir, |record| index.apply(&mut counts, record))?;
        Ok(Self { index, beginning: AppendLog::<Record>::beginning(dir) })
    }
}

impl RevocationStore for JournalSnapshot {
    fn lookup(&self, session: SessionRef<'_>, now: UnixTime) -> RevocationAnswer {
        self.index.lookup(session, now)
    }

    fn epoch(&self, tenant: &TenantName, now: UnixTime) -> u32 {
        self.index.epoch(tenant, now)
    }

    fn epoch_of(&self, tenant: &TenantName, auth_time: UnixTime, now: UnixTime) -> u32 {
        self.index.epoch_of(tenant, auth_time, now)
    }

    fn remembers(&self, auth_time: UnixTime, is_foreign: bool) -> bool {
        covers(self.beginning, auth_time, is_foreign)
    }

    /// Takes nothing for presented: whoever reads changes nothing.
    fn present(&self, claims: &Claims, _client: ClientPrefix, now: UnixTime) -> TokenOrder {
        self.index.registry.judge(&claims.id, claims.generation, now).unwrap_or(TokenOrder::Same)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        model::{RevocationTarget, SessionId},
        sessions::SessionLedger,
    };

    #[test]
    fn a_journal_in_use_can_be_read() {
        let dir = tempfile::tempdir().unwrap();
        let now = UnixTime::from_secs(1_000);
        let journal = SessionLedger::open(dir.path(), now).unwrap();
        let (tenant, user, session) =
            ("acme".parse().unwrap(), "u_1".parse().unwrap(), SessionId::new([7; 16]));
        journal.revoke(&RevocationTarget::Session(session), now, UnixTime::from_secs(2_000)).unwrap();

        let ended = JournalSnapshot::read(dir.path()).unwrap();

        assert_eq!(
            ended.lookup(
                SessionRef { tenant: &tenant, user: &user, id: &session, auth_time: now, epoch: 0 },
                now
            ),
            RevocationAnswer::Session
        );
        assert_eq!(
            ended.lookup(
                SessionRef {
                    tenant: &tenant,
                    user: &user,
                    id: &SessionId::new([8; 16]),
                    auth_time: now,
                    epoch: 0
                },
                now
            ),
            RevocationAnswer::Live
        );
    }

    #[test]
    fn a_directory_without_a_journal_has_ended_nobody() {
        let dir = tempfile::tempdir().unwrap();

        let ended = JournalSnapshot::read(dir.path()).unwrap();

        assert_eq!(ended.epoch(&"acme".parse().unwrap(), UnixTime::default()), 0);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}
