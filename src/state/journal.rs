//! Revocations of one node: in memory for the readers, in an append-only file for the next start.

use std::{
    path::Path,
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
};

pub use super::log::Torn;
use super::{
    RevocationStore, StoreError,
    log::Log,
    marks::{Ledger, Marks},
    record::Record,
};
use crate::model::{RevocationAnswer, Revoked, SessionId, TenantName, UnixTime, UserId};

/// How many sessions and users may be marked at once, unless the caller says otherwise: about 100 MiB.
pub const DEFAULT_BOUND: usize = 1_000_000;

/// How many records that no longer matter the file may hold beside those that do, before it is written anew.
const SLACK: usize = 4096;

/// The revocation store of one node.
///
/// A revocation is in force in memory before it is written, and durable when [`Journal::revoke`] returns: it survives `kill -9` and a
/// loss of power. Readers look into maps that no writer locks. Writers that come while a commit runs share the next one: one
/// `fdatasync` serves all of them, on the thread of whoever came first. What could not be written stays in force in memory, and the next
/// commit writes the whole file anew, so a full disk that has room again loses nothing.
///
/// # Bounds
///
/// Sessions leave when no token of theirs can live any more. Should more than `bound` sessions and users be marked at once, the tenant
/// with the most sessions enters its next epoch: all its sessions end, and the single ones are forgotten. Sessions whose tenant the
/// caller did not name cannot be folded so; where nothing else is left, a user's revocation becomes its tenant's, and a session's is
/// refused with [`StoreError::Full`].
pub struct Journal {
    marks: Marks,
    writers: Mutex<Writers>,
    turn: Condvar,
    log: Mutex<Log>,
    bound: usize,
    slack: usize,
    torn: Option<Torn>,
}

/// What writers take turns on. Marks change only under this lock, in the order in which their records are queued.
#[derive(Default)]
struct Writers {
    ledger: Ledger,
    /// Records that no commit has taken yet.
    queue: Vec<u8>,
    /// How many records were ever queued, how many of them are durable, and up to which one a commit failed.
    queued: u64,
    durable: u64,
    failed: Option<(u64, StoreError)>,
    /// Whether a writer commits right now.
    busy: bool,
    /// Whether the end of the file is unknown, so that the next commit writes all of it.
    broken: bool,
    /// Records in the file, those that no longer matter too.
    written: u64,
    commits: u64,
}

impl Journal {
    /// Opens the journal of a state directory, or begins one; no other process may have it.
    pub fn open(dir: &Path, now: UnixTime) -> Result<Self, StoreError> {
        Self::open_with(dir, now, DEFAULT_BOUND)
    }

    /// Opens it with another bound on the sessions and users that may be marked at once.
    pub fn open_with(dir: &Path, now: UnixTime, bound: usize) -> Result<Self, StoreError> {
        let (marks, mut writers) = (Marks::default(), Writers::default());
        let (log, torn) = Log::open(dir, |record| {
            writers.written += 1;
            marks.apply(&mut writers.ledger, record);
        })?;
        let journal = Self { marks, writers: Mutex::new(writers), turn: Condvar::new(), log: Mutex::new(log), bound, slack: SLACK, torn };
        journal.sweep(now)?;
        Ok(journal)
    }

    /// Returns what was cut off when the journal was opened: a commit that a crash interrupted. Worth a warning.
    pub fn torn(&self) -> Option<Torn> {
        self.torn
    }

    /// Ends sessions at a time; durable on return, in force at once or from `at` on if that lies ahead. Blocks for a commit.
    ///
    /// `keep_until` is when the last token that it ends reaches its absolute end; a tenant's revocation is kept for good. Where the
    /// session's tenant is known, [`Journal::revoke_session`] says more. An error means that it is in force, but would not survive a
    /// restart; only after [`StoreError::Full`] it is not in force.
    pub fn revoke(&self, whose: &Revoked, at: UnixTime, keep_until: UnixTime) -> Result<(), StoreError> {
        let keep_until = keep_until.max(at);
        self.write(match whose {
            Revoked::Session(id) => Record::Session { id: *id, at, keep_until, tenant: None },
            Revoked::User(tenant, user) => Record::User { tenant: tenant.clone(), user: user.clone(), from: at, at, keep_until },
            Revoked::Tenant(tenant) => Record::Raise { tenant: tenant.clone(), at },
        })
    }

    /// Ends one session of a tenant, as [`Journal::revoke`] does.
    pub fn revoke_session(&self, tenant: &TenantName, id: &SessionId, at: UnixTime, keep_until: UnixTime) -> Result<(), StoreError> {
        self.write(Record::Session { id: *id, at, keep_until: keep_until.max(at), tenant: Some(tenant.clone()) })
    }

    /// Notes which tenants the policy has. One that went away enters its next epoch, so that its old tokens stay dead should it come back.
    pub fn settle_tenants<'a>(&self, names: impl Iterator<Item = &'a TenantName>, now: UnixTime) -> Result<(), StoreError> {
        let mut writers = self.writers();
        for record in self.marks.settle(&writers.ledger, names, now) {
            self.put(&mut writers, record);
        }
        let ticket = writers.queued;
        self.commit(writers, ticket)
    }

    /// Forgets what no token can have any more, and writes the file anew where most of it no longer matters. To be called now and then.
    pub fn sweep(&self, now: UnixTime) -> Result<(), StoreError> {
        // In small bites, so that writers get their turn between them.
        for past in self.marks.past(now).chunks(1024) {
            self.marks.forget(&mut self.writers().ledger, past, now);
        }
        let mut writers = self.writers();
        self.marks.settle_dates(&mut writers.ledger, now);
        while writers.busy {
            writers = self.turn.wait(writers).unwrap_or_else(PoisonError::into_inner);
        }
        let live = self.marks.live();
        let most = live.saturating_mul(2).saturating_add(self.slack);
        if writers.broken || writers.written > u64::try_from(most).unwrap_or(u64::MAX) {
            let ticket = writers.queued;
            writers.broken = true;
            writers = self.lead(writers);
            return self.outcome(&writers, ticket).unwrap_or(Ok(()));
        }
        Ok(())
    }

    /// Returns how many sessions and users are marked.
    pub fn len(&self) -> usize {
        self.marks.len()
    }

    /// Says whether no session and no user is marked.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns how many commits were made: fewer than revocations where several shared one.
    pub fn commits(&self) -> u64 {
        self.writers().commits
    }

    fn writers(&self) -> MutexGuard<'_, Writers> {
        self.writers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self, record: Record) -> Result<(), StoreError> {
        let mut writers = self.writers();
        let record = self.admit(&mut writers, record)?;
        self.put(&mut writers, record);
        let ticket = writers.queued;
        self.commit(writers, ticket)
    }

    /// Makes room for one more mark.
    fn admit(&self, writers: &mut Writers, record: Record) -> Result<Record, StoreError> {
        if self.marks.len() < self.bound || self.marks.knows(&record) {
            return Ok(record);
        }
        if let Some(tenant) = writers.ledger.fullest().cloned() {
            self.put(writers, Record::Fold { tenant });
            return Ok(record);
        }
        match record {
            Record::User { tenant, at, .. } => Ok(Record::Raise { tenant, at }),
            Record::Session { .. } => Err(StoreError::Full(self.bound)),
            Record::Raise { .. } | Record::Fold { .. } | Record::Tenant { .. } => Ok(record),
        }
    }

    fn put(&self, writers: &mut Writers, record: Record) {
        record.encode(&mut writers.queue);
        self.marks.apply(&mut writers.ledger, record);
        writers.queued += 1;
    }

    /// Waits until the records up to `ticket` are durable, or commits them if nobody else does.
    fn commit<'a>(&'a self, mut writers: MutexGuard<'a, Writers>, ticket: u64) -> Result<(), StoreError> {
        loop {
            if let Some(outcome) = self.outcome(&writers, ticket) {
                return outcome;
            }
            writers = if writers.busy { self.turn.wait(writers).unwrap_or_else(PoisonError::into_inner) } else { self.lead(writers) };
        }
    }

    /// What became of the records up to `ticket`, if that is known.
    fn outcome(&self, writers: &Writers, ticket: u64) -> Option<Result<(), StoreError>> {
        if writers.durable >= ticket {
            return Some(Ok(()));
        }
        writers.failed.as_ref().filter(|(failed, _)| *failed >= ticket).map(|(_, error)| Err(error.clone()))
    }

    /// Makes one commit of all that is queued. Others queue on meanwhile.
    fn lead<'a>(&'a self, mut writers: MutexGuard<'a, Writers>) -> MutexGuard<'a, Writers> {
        writers.busy = true;
        let ticket = writers.queued;
        let queue = std::mem::take(&mut writers.queue);
        // Taken together with the queue: what is queued later is not in it and is appended later.
        let tenants = writers.broken.then(|| self.marks.tenants(&writers.ledger));
        drop(writers);

        let mut log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        let result = match tenants {
            None => log.append(&queue).map(|()| None),
            // The marks hold what is queued already.
            Some(tenants) => {
                let mut written = u64::try_from(tenants.len()).unwrap_or(u64::MAX);
                let fill = |put: &mut dyn FnMut(Record) -> std::io::Result<()>| {
                    self.marks.each_record(|record| {
                        written = written.saturating_add(1);
                        put(record)
                    })
                };
                log.rewrite(tenants, fill).map(|()| Some(written))
            }
        };
        drop(log);

        let mut writers = self.writers();
        writers.busy = false;
        writers.commits += 1;
        match result {
            Ok(rewritten) => {
                let appended = ticket.saturating_sub(writers.durable);
                writers.written = rewritten.unwrap_or(writers.written.saturating_add(appended));
                writers.durable = ticket;
                writers.broken = false;
            }
            Err(error) => {
                writers.failed = Some((ticket, error));
                writers.broken = true;
            }
        }
        self.turn.notify_all();
        writers
    }
}

impl RevocationStore for Journal {
    fn lookup(
        &self,
        tenant: &TenantName,
        user: &UserId,
        session: &SessionId,
        auth_time: UnixTime,
        epoch: u32,
        now: UnixTime,
    ) -> RevocationAnswer {
        self.marks.lookup(tenant, user, session, auth_time, epoch, now)
    }

    fn epoch(&self, tenant: &TenantName, now: UnixTime) -> u32 {
        self.marks.epoch(tenant, now)
    }
}
