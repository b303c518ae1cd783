//! Revocations of one node: in memory for the readers, in an append-only file for the next start.

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

pub use super::log::Torn;
use super::{
    RevocationStore, StoreError,
    log::{Log, Opened},
    marks::{Ledger, Marks},
    notes,
    peers::{Hearing, Peers, Spread},
    record::Record,
    succession::{Follower, Holder},
    whole::Whole,
};
use crate::{
    model::{ClientPrefix, RevocationAnswer, Revoked, SessionId, TenantName, UnixTime, UserId},
    session::{Claims, Turn},
};

/// How many sessions and users may be marked at once, unless the caller says otherwise: about 100 MiB.
pub const DEFAULT_BOUND: usize = 1_000_000;

/// How many records that no longer matter the file may hold beside those that do, before it is written anew.
const SLACK: usize = 4096;

/// How long anybody waits for a commit that another makes. Who makes it waits for the disk itself.
pub(super) const DISK: Duration = Duration::from_secs(10);

/// By how much the time that writers know may be behind, at most: [`Journal::sweep`] tells them, and is called far more often.
const SWEPT_EVERY: Duration = Duration::from_secs(120);

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
///
/// # Other nodes
///
/// Where it is shared, a revocation is handed to the other nodes behind its commit, and what they end comes in; see `peers`.
///
/// # Succession
///
/// One process writes the file at any time. [`Journal::release`] gives it up for a successor, and [`Journal::take_back`] takes it again
/// should that one fail; see `succession`.
pub struct Journal {
    pub(super) dir: PathBuf,
    pub(super) marks: Marks,
    pub(super) writers: Mutex<Writers>,
    pub(super) turn: Condvar,
    /// Nothing, as long as another process has it.
    pub(super) log: Mutex<Option<Log>>,
    /// Whether this process no longer learns who is ended.
    pub(super) blind: AtomicBool,
    /// The other nodes, where there are any.
    pub(super) peers: OnceLock<Arc<dyn Peers>>,
    /// Until when what the other nodes ended is known, in milliseconds since 1970; without other nodes, for ever.
    pub(super) fresh_until: AtomicU64,
    bound: usize,
    slack: usize,
    torn: Option<Torn>,
    /// Since when it knows who was ended.
    pub(super) whole: Whole,
}

/// What is ended in memory and not on the disk: a restart would forget it.
#[derive(Clone, Debug)]
pub struct Unkept {
    /// How many revocations of this process that concerns; 0: the file cannot be written, and nothing is lost by it yet.
    pub count: u64,
    /// Why.
    pub error: StoreError,
}

/// What writers take turns on. Marks change only under this lock, in the order in which their records are queued.
#[derive(Default)]
pub(super) struct Writers {
    /// The latest time that anybody said it is.
    now: UnixTime,
    pub(super) ledger: Ledger,
    /// Records that no commit has taken yet.
    queue: Vec<u8>,
    /// How many records were ever queued, how many of them are durable, and up to which one a commit failed.
    pub(super) queued: u64,
    pub(super) durable: u64,
    failed: Option<(u64, StoreError)>,
    /// How many ends of sessions were ever put, and how many of them are durable.
    ends: u64,
    kept: u64,
    /// Why the file cannot be written, from the first commit that failed to the next one that did not.
    trouble: Option<StoreError>,
    /// Whether a writer commits right now.
    pub(super) busy: bool,
    /// Whether the end of the file is unknown, so that the next commit writes all of it.
    pub(super) broken: bool,
    /// Records in the file, those that no longer matter too.
    pub(super) written: u64,
    commits: u64,
    /// Who has the file.
    pub(super) holder: Holder,
    /// A process that drains and must know what is known here.
    pub(super) follower: Option<Arc<dyn Follower>>,
    /// The last that the follower was told.
    pub(super) told: u64,
    /// What was put and no other node was told yet, where there are others. Whoever put it takes it within the same turn.
    pub(super) news: Vec<Record>,
    /// What was noted of sessions and is to be handed on to whoever has the file.
    pub(super) notes: Vec<Record>,
}

impl Journal {
    /// Opens the journal of a state directory, or begins one; no other process may have it.
    pub fn open(dir: &Path, now: UnixTime) -> Result<Self, StoreError> {
        Self::open_with(dir, now, DEFAULT_BOUND)
    }

    /// Opens it with another bound on the sessions and users that may be marked at once.
    pub fn open_with(dir: &Path, now: UnixTime, bound: usize) -> Result<Self, StoreError> {
        let (marks, mut writers) = (Marks::default(), Writers::default());
        let Opened { log, torn, is_cut, past } = Log::open(dir, |record| {
            writers.written += 1;
            marks.apply(&mut writers.ledger, record);
        })?;
        // What is left is written as a whole below, before anything is appended.
        writers.broken = is_cut;
        marks.known.begin(now);
        let journal = Self {
            dir: dir.into(),
            marks,
            writers: Mutex::new(writers),
            turn: Condvar::new(),
            log: Mutex::new(Some(log)),
            blind: AtomicBool::new(false),
            peers: OnceLock::new(),
            fresh_until: AtomicU64::new(u64::MAX),
            bound,
            slack: SLACK,
            torn,
            whole: Whole::new(past, now),
        };
        journal.sweep(now)?;
        Ok(journal)
    }

    /// Returns what was cut off when the journal was opened: a commit that a crash interrupted. Worth a warning.
    pub fn torn(&self) -> Option<Torn> {
        self.torn
    }

    /// Has `listener` called behind every change of what [`RevocationStore::lookup`] may answer, wherever it came from: a command, the
    /// upstream, another node or process. Under the writers' lock, so it must not block. The first listener stays.
    pub fn when_changed(&self, listener: impl Fn() + Send + Sync + 'static) {
        self.marks.bell.hang(Arc::new(listener));
    }

    /// Ends sessions at a time; durable on return, in force at once or from `at` on if that lies ahead. Blocks for a commit.
    ///
    /// `keep_until` is when the last token that it ends reaches its absolute end; a tenant's revocation is kept for good. Where the
    /// session's tenant is known, [`Journal::revoke_session`] says more. An error means that it is in force, but would not survive a
    /// restart; only after [`StoreError::Full`] it is not in force.
    pub fn revoke(&self, whose: &Revoked, at: UnixTime, keep_until: UnixTime) -> Result<(), StoreError> {
        self.write(Self::record_of(whose, at, keep_until))
    }

    pub(super) fn record_of(whose: &Revoked, at: UnixTime, keep_until: UnixTime) -> Record {
        let keep_until = keep_until.max(at);
        match whose {
            Revoked::Session(id) => Record::Session { id: *id, at, keep_until, tenant: None },
            Revoked::User(tenant, user) => Record::User { tenant: tenant.clone(), user: user.clone(), from: at, at, keep_until },
            Revoked::Tenant(tenant) => Record::Raise { tenant: tenant.clone(), at, epoch: None },
        }
    }

    /// Ends one session of a tenant, as [`Journal::revoke`] does.
    pub fn revoke_session(&self, tenant: &TenantName, id: &SessionId, at: UnixTime, keep_until: UnixTime) -> Result<(), StoreError> {
        self.write(Record::Session { id: *id, at, keep_until: keep_until.max(at), tenant: Some(tenant.clone()) })
    }

    /// Returns the tenants that the policy had when it was last noted.
    pub fn tenants(&self) -> Vec<TenantName> {
        self.marks.present()
    }

    /// Notes which tenants the policy has. One that went away enters its next epoch, so that its old tokens stay dead should it come back.
    pub fn settle_tenants<'a>(&self, names: impl Iterator<Item = &'a TenantName>, now: UnixTime) -> Result<(), StoreError> {
        let mut writers = self.writers();
        if !matches!(writers.holder, Holder::Ours) {
            return Err(StoreError::HandedOver(""));
        }
        for record in self.marks.settle(&writers.ledger, names, now, |at| self.floor(at)) {
            self.put(&mut writers, record);
        }
        let news = std::mem::take(&mut writers.news);
        let written = self.commit_and_tell(writers);
        // Nobody waits for it: what Redis does not have yet it gets with the next exchange.
        self.spread_later(news);
        written
    }

    /// Forgets what no token can have any more, and writes the file anew where most of it no longer matters. To be called now and then.
    pub fn sweep(&self, now: UnixTime) -> Result<(), StoreError> {
        // In small bites, so that writers get their turn between them.
        for past in self.marks.past(now).chunks(1024) {
            self.marks.forget(&mut self.writers().ledger, past, now);
        }
        self.sweep_known(now);
        let mut writers = self.writers();
        writers.now = writers.now.max(now);
        self.marks.settle_dates(&mut writers.ledger, now);
        writers = self.not_busy(writers).inspect_err(|error| {
            let mut writers = self.writers();
            if writers.busy {
                writers.trouble = Some(error.clone());
            }
        })?;
        if !matches!(writers.holder, Holder::Ours) {
            return Ok(());
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

    /// Returns what this process could not write down; nothing where all of it is on the disk, or another process has the file.
    pub fn unkept(&self) -> Option<Unkept> {
        let writers = self.writers();
        let error = writers.trouble.clone().filter(|_| self.has_file(&writers))?;
        Some(Unkept { count: writers.ends.saturating_sub(writers.kept), error })
    }

    /// Returns how many commits were made: fewer than revocations where several shared one.
    pub fn commits(&self) -> u64 {
        self.writers().commits
    }

    /// Says whether this process has the file.
    pub(super) fn has_file(&self, writers: &Writers) -> bool {
        matches!(writers.holder, Holder::Ours)
    }

    pub(super) fn writers(&self) -> MutexGuard<'_, Writers> {
        self.writers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn write(&self, record: Record) -> Result<(), StoreError> {
        self.write_and_spread(record, Hearing::Store).map(|_| ())
    }

    /// Writes a record, hands it to the other nodes, and says what came of that.
    pub(super) fn write_and_spread(&self, record: Record, hearing: Hearing) -> Result<Spread, StoreError> {
        let Some(mut writers) = self.turn_of_ours() else { return self.write_elsewhere(record).map(|()| Spread::default()) };
        let record = self.admit(&mut writers, record)?;
        self.put(&mut writers, record);
        let news = std::mem::take(&mut writers.news);
        let written = self.commit_and_tell(writers);
        // Others learn of it even if it could not be written here.
        let spread = self.spread(news, hearing);
        written.and(spread)
    }

    /// Waits until what was put is durable, and until the follower knows it, or no longer counts.
    pub(super) fn commit_and_tell(&self, writers: MutexGuard<'_, Writers>) -> Result<(), StoreError> {
        let (ticket, told, follower) = (writers.queued, writers.told, writers.follower.clone());
        let outcome = self.commit(writers, ticket);
        if let Some(follower) = follower {
            follower.wait(told);
        }
        outcome
    }

    /// Makes room for one more mark.
    pub(super) fn admit(&self, writers: &mut Writers, record: Record) -> Result<Record, StoreError> {
        if self.marks.len() < self.bound || self.marks.knows(&record) {
            return Ok(record);
        }
        if let Some(tenant) = writers.ledger.fullest().cloned() {
            // Sessions that carry no epoch are told by the time of their sign-in, which lies before their end. Those that were to end
            // later end with all of their tenant's, then.
            let (past, later) = self.marks.ends_of(&tenant, writers.now.plus(SWEPT_EVERY));
            self.put(writers, Record::Fold { tenant: tenant.clone(), at: past.unwrap_or_default().max(writers.now), epoch: None });
            if let Some(at) = later {
                self.put(writers, Record::Raise { tenant, at, epoch: None });
            }
            return Ok(record);
        }
        match record {
            Record::User { tenant, at, .. } => Ok(Record::Raise { tenant, at, epoch: None }),
            Record::Session { .. } => Err(StoreError::Full(self.bound)),
            Record::Raise { .. } | Record::Fold { .. } | Record::Tenant { .. } | Record::Fresh { .. } => Ok(record),
            Record::Granted(_) | Record::Presented { .. } => Ok(record),
        }
    }

    pub(super) fn put(&self, writers: &mut Writers, record: Record) {
        let record = self.marks.numbered(&writers.ledger, record, |at| self.floor(at));
        if self.peers.get().is_some() && !matches!(record, Record::Granted(_) | Record::Presented { .. }) {
            writers.news.push(record.clone());
        }
        let start = writers.queue.len();
        record.encode(&mut writers.queue);
        if let (Some(follower), Some(bytes)) = (&writers.follower, writers.queue.get(start..)) {
            writers.told = follower.tell(bytes);
        }
        writers.ends += match record {
            Record::Session { .. } | Record::User { .. } | Record::Raise { .. } | Record::Fold { .. } => 1,
            Record::Tenant { .. } | Record::Fresh { .. } | Record::Granted(_) | Record::Presented { .. } => 0,
        };
        let session = notes::session_of(&record);
        self.marks.apply(&mut writers.ledger, record);
        writers.queued += 1;
        if let (Some(id), Some(peers)) = (session, self.peers.get()) {
            peers.noted(&id);
        }
    }

    /// Waits until the records up to `ticket` are durable, or commits them if nobody else does.
    fn commit<'a>(&'a self, mut writers: MutexGuard<'a, Writers>, ticket: u64) -> Result<(), StoreError> {
        loop {
            if let Some(outcome) = self.outcome(&writers, ticket) {
                return outcome;
            }
            writers = if writers.busy {
                let (mut writers, waited) = self.turn.wait_timeout(writers, DISK).unwrap_or_else(PoisonError::into_inner);
                if waited.timed_out() && self.outcome(&writers, ticket).is_none() {
                    writers.trouble = Some(StoreError::Slow(DISK));
                    return Err(StoreError::Slow(DISK));
                }
                writers
            } else {
                self.lead(writers)
            };
        }
    }

    /// Waits until nobody commits.
    pub(super) fn not_busy<'a>(&self, writers: MutexGuard<'a, Writers>) -> Result<MutexGuard<'a, Writers>, StoreError> {
        let busy = |writers: &mut Writers| writers.busy;
        let (writers, waited) = self.turn.wait_timeout_while(writers, DISK, busy).unwrap_or_else(PoisonError::into_inner);
        if waited.timed_out() { Err(StoreError::Slow(DISK)) } else { Ok(writers) }
    }

    /// What became of the records up to `ticket`, if that is known.
    pub(super) fn outcome(&self, writers: &Writers, ticket: u64) -> Option<Result<(), StoreError>> {
        if writers.durable >= ticket {
            return Some(Ok(()));
        }
        writers.failed.as_ref().filter(|(failed, _)| *failed >= ticket).map(|(_, error)| Err(error.clone()))
    }

    /// Makes one commit of all that is queued. Others queue on meanwhile.
    pub(super) fn lead<'a>(&'a self, mut writers: MutexGuard<'a, Writers>) -> MutexGuard<'a, Writers> {
        writers.busy = true;
        let (ticket, ends) = (writers.queued, writers.ends);
        let queue = std::mem::take(&mut writers.queue);
        // Taken together with the queue: what is queued later is not in it and is appended later.
        let tenants = writers.broken.then(|| self.marks.tenants(&writers.ledger));
        drop(writers);

        let mut log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        let result = match (log.as_mut(), tenants) {
            // Only who has the file leads, so this cannot be; were it so, nothing would be lost: all of it is written with the next.
            (None, _) => Err(StoreError::HandedOver("")),
            (Some(log), None) => log.append(&queue).map(|()| None),
            // The marks hold what is queued already.
            (Some(log), Some(tenants)) => {
                let mut written = u64::try_from(tenants.len()).unwrap_or(u64::MAX);
                let fill = |put: &mut dyn FnMut(Record) -> std::io::Result<()>| {
                    let mut put = |record| {
                        written = written.saturating_add(1);
                        put(record)
                    };
                    self.marks.each_record(&mut put)?;
                    self.marks.known.each_record(&mut put)
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
                writers.kept = ends;
                writers.trouble = None;
                writers.broken = false;
            }
            Err(error) => {
                writers.trouble = Some(error.clone());
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
        if self.blind.load(Ordering::Relaxed) {
            return RevocationAnswer::Unavailable;
        }
        let answer = self.marks.lookup(tenant, user, session, auth_time, epoch, now);
        if answer == RevocationAnswer::Live && !self.is_fresh(now) { RevocationAnswer::Stale } else { answer }
    }

    fn epoch(&self, tenant: &TenantName, now: UnixTime) -> u32 {
        self.marks.epoch(tenant, now)
    }

    fn epoch_of(&self, tenant: &TenantName, auth_time: UnixTime, now: UnixTime) -> u32 {
        self.marks.epoch_of(tenant, auth_time, now)
    }

    fn remembers(&self, auth_time: UnixTime, is_foreign: bool) -> bool {
        self.knows_of(auth_time, is_foreign)
    }

    fn present(&self, claims: &Claims, client: ClientPrefix, now: UnixTime) -> Turn {
        self.take_token(claims, client, now)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn at(secs: u64) -> UnixTime {
        UnixTime::from_secs(secs)
    }

    fn name(text: &str) -> TenantName {
        text.parse().unwrap()
    }

    fn id(number: u64) -> SessionId {
        SessionId::new((u128::from(number) + 1).to_be_bytes())
    }

    fn user(text: &str) -> UserId {
        text.parse().unwrap()
    }

    fn open(dir: &Path) -> Journal {
        Journal::open(dir, at(100)).unwrap()
    }

    fn session(journal: &Journal, number: u64, now: u64) -> RevocationAnswer {
        journal.lookup(&name("acme"), &user("u"), &id(number), at(50), u32::MAX, at(now))
    }

    fn of_user(journal: &Journal, tenant: &str, who: &str, auth_time: UnixTime, now: u64) -> RevocationAnswer {
        journal.lookup(&name(tenant), &user(who), &id(u64::MAX), auth_time, u32::MAX, at(now))
    }

    #[test]
    fn a_revoked_session_stays_revoked() {
        let dir = tempfile::tempdir().unwrap();
        let journal = open(dir.path());
        journal.revoke(&Revoked::Session(id(1)), at(100), at(900)).unwrap();
        journal.revoke_session(&name("acme"), &id(2), at(100), at(900)).unwrap();

        for journal in [journal, { open_again(dir.path()) }] {
            assert_eq!(
                [1, 2, 3].map(|number| session(&journal, number, 100)),
                [RevocationAnswer::Session, RevocationAnswer::Session, RevocationAnswer::Live]
            );
            assert_eq!(journal.len(), 2);
        }
    }

    /// Opens a copy of the journal as it lies on the disk right now, as after `kill -9`.
    fn open_again(dir: &Path) -> Journal {
        let copy = dir.join("copy");
        let _ = fs::remove_dir_all(&copy);
        fs::create_dir(&copy).unwrap();
        fs::copy(dir.join("revocations.journal"), copy.join("revocations.journal")).unwrap();
        open(&copy)
    }

    #[test]
    fn a_user_is_judged_by_the_sign_in_to_the_millisecond() {
        let dir = tempfile::tempdir().unwrap();
        let journal = open(dir.path());
        let end = UnixTime::from_millis(100_500);
        journal.revoke(&Revoked::User(name("acme"), user("u_1")), end, at(900)).unwrap();

        for journal in [journal, open_again(dir.path())] {
            assert_eq!(of_user(&journal, "acme", "u_1", end, 101), RevocationAnswer::User(end));
            assert_eq!(of_user(&journal, "acme", "u_1", UnixTime::from_millis(100_501), 101), RevocationAnswer::Live);
            assert_eq!(of_user(&journal, "acme", "u_2", end, 101), RevocationAnswer::Live);
            assert_eq!(of_user(&journal, "globex", "u_1", end, 101), RevocationAnswer::Live);
        }
    }

    #[test]
    fn a_tenant_enters_its_next_epoch() {
        let dir = tempfile::tempdir().unwrap();
        let journal = open(dir.path());
        let ask = |journal: &Journal, epoch| journal.lookup(&name("acme"), &user("u"), &id(1), at(1), epoch, at(100));
        assert_eq!(ask(&journal, 0), RevocationAnswer::Live);

        journal.revoke(&Revoked::Tenant(name("acme")), at(100), at(900)).unwrap();
        journal.revoke(&Revoked::Tenant(name("acme")), at(100), at(900)).unwrap();

        for journal in [journal, open_again(dir.path())] {
            assert_eq!(journal.epoch(&name("acme"), at(100)), 2);
            assert_eq!(journal.epoch(&name("globex"), at(100)), 0);
            assert_eq!(
                [0, 1, 2].map(|epoch| ask(&journal, epoch)),
                [RevocationAnswer::Tenant { epoch: 2 }, RevocationAnswer::Tenant { epoch: 2 }, RevocationAnswer::Live]
            );
        }
    }

    #[test]
    fn a_date_ahead_counts_from_that_date_on() {
        let dir = tempfile::tempdir().unwrap();
        let journal = open(dir.path());
        journal.revoke(&Revoked::Session(id(1)), at(200), at(900)).unwrap();
        journal.revoke(&Revoked::User(name("acme"), user("u_1")), at(200), at(900)).unwrap();
        journal.revoke(&Revoked::Tenant(name("globex")), at(200), at(900)).unwrap();

        for journal in [journal, open_again(dir.path())] {
            let answers = |now: u64| {
                (session(&journal, 1, now), of_user(&journal, "acme", "u_1", at(150), now), journal.epoch(&name("globex"), at(now)))
            };

            assert_eq!(answers(199), (RevocationAnswer::Live, RevocationAnswer::Live, 0));
            assert_eq!(answers(200), (RevocationAnswer::Session, RevocationAnswer::User(at(200)), 1));
        }
    }

    #[test]
    fn a_later_wish_takes_nothing_back() {
        let dir = tempfile::tempdir().unwrap();
        let journal = open(dir.path());
        for date in [150, 300] {
            journal.revoke(&Revoked::Session(id(1)), at(date), at(900)).unwrap();
            journal.revoke(&Revoked::User(name("acme"), user("u_1")), at(date), at(900)).unwrap();
        }

        for journal in [journal, open_again(dir.path())] {
            assert_eq!(session(&journal, 1, 150), RevocationAnswer::Session);
            assert_eq!(of_user(&journal, "acme", "u_1", at(120), 160), RevocationAnswer::User(at(150)));
            assert_eq!(of_user(&journal, "acme", "u_1", at(200), 160), RevocationAnswer::Live);
            assert_eq!(of_user(&journal, "acme", "u_1", at(200), 300), RevocationAnswer::User(at(300)));
        }
    }

    #[test]
    fn marks_leave_when_no_token_can_live() {
        let dir = tempfile::tempdir().unwrap();
        let journal = open(dir.path());
        journal.revoke(&Revoked::Session(id(1)), at(100), at(200)).unwrap();
        journal.revoke(&Revoked::User(name("acme"), user("u_1")), at(100), at(300)).unwrap();
        journal.revoke(&Revoked::Session(id(2)), at(400), at(1)).unwrap();

        let lengths = [199, 200, 300, 399, 400].map(|now| {
            journal.sweep(at(now)).unwrap();
            journal.len()
        });

        assert_eq!(lengths, [3, 2, 1, 1, 0]);
    }

    #[test]
    fn a_tenant_that_went_away_comes_back_in_a_later_epoch() {
        let dir = tempfile::tempdir().unwrap();
        let journal = open(dir.path());
        let (acme, globex) = (name("acme"), name("globex"));
        let settle = |journal: &Journal, names: &[&TenantName]| journal.settle_tenants(names.iter().copied(), at(100)).unwrap();
        let epochs = |journal: &Journal| [&acme, &globex].map(|tenant| journal.epoch(tenant, at(100)));

        settle(&journal, &[&acme, &globex]);
        settle(&journal, &[&acme, &globex]);
        assert_eq!(epochs(&journal), [0, 0]);

        let journal = { open_again(dir.path()) };
        settle(&journal, &[&globex]);
        settle(&journal, &[&globex, &acme]);
        assert_eq!(epochs(&journal), [1, 0]);
        assert_eq!(epochs(&open_again(&dir.path().join("copy"))), [1, 0]);
    }

    #[test]
    fn a_tenant_that_is_settled_keeps_its_dates() {
        let dir = tempfile::tempdir().unwrap();
        let (journal, acme) = (open(dir.path()), name("acme"));
        journal.revoke(&Revoked::Tenant(acme.clone()), at(200), at(900)).unwrap();

        journal.settle_tenants([&acme].into_iter(), at(100)).unwrap();

        for journal in [journal, open_again(dir.path())] {
            assert_eq!([100, 200].map(|now| journal.epoch(&acme, at(now))), [0, 1]);
        }
    }

    #[test]
    fn too_many_sessions_are_folded_into_the_epoch_of_the_fullest_tenant() {
        let dir = tempfile::tempdir().unwrap();
        let journal = Journal::open_with(dir.path(), at(100), 4).unwrap();
        let (acme, globex) = (name("acme"), name("globex"));
        for number in 0..3 {
            journal.revoke_session(&acme, &id(number), at(100), at(900)).unwrap();
        }
        journal.revoke_session(&globex, &id(3), at(100), at(900)).unwrap();
        journal.revoke_session(&globex, &id(3), at(100), at(900)).unwrap();
        assert_eq!(([&acme, &globex].map(|tenant| journal.epoch(tenant, at(100))), journal.len()), ([0, 0], 4));

        journal.revoke_session(&globex, &id(4), at(100), at(900)).unwrap();

        for journal in [journal, open_again(dir.path())] {
            assert_eq!(([&acme, &globex].map(|tenant| journal.epoch(tenant, at(100))), journal.len()), ([1, 0], 2));
            assert_eq!([3, 4].map(|number| session(&journal, number, 100)), [RevocationAnswer::Session; 2]);
            assert_eq!(
                journal.lookup(&acme, &user("u"), &id(0), at(50), 0, at(100)),
                RevocationAnswer::Tenant { epoch: 1 },
                "the forgotten ones are dead by their epoch"
            );
        }
    }

    #[test]
    fn a_session_without_an_epoch_is_of_the_one_that_it_began_in() {
        let dir = tempfile::tempdir().unwrap();
        let (journal, acme) = (open(dir.path()), name("acme"));
        let alive = |journal: &Journal, auth_time: u64, now: u64| {
            let epoch = journal.epoch_of(&acme, at(auth_time), at(now));
            journal.lookup(&acme, &user("u"), &id(1), at(auth_time), epoch, at(now)) == RevocationAnswer::Live
        };
        assert!(alive(&journal, 0, 100) && alive(&journal, 100, 100));

        journal.revoke(&Revoked::Tenant(acme.clone()), at(100), at(900)).unwrap();
        journal.revoke(&Revoked::Tenant(acme.clone()), at(300), at(900)).unwrap();

        for journal in [journal, open_again(dir.path())] {
            for _ in 0..2 {
                assert_eq!([50, 100, 101].map(|auth_time| alive(&journal, auth_time, 299)), [false, false, true]);
                assert_eq!([101, 300, 301].map(|auth_time| alive(&journal, auth_time, 300)), [false, false, true]);
                // Written anew, it says the same.
                journal.sweep(at(200)).unwrap();
            }
        }
    }

    #[test]
    fn a_session_without_an_epoch_is_dead_where_its_mark_was_folded_or_its_tenant_went_away() {
        let dir = tempfile::tempdir().unwrap();
        let journal = Journal::open_with(dir.path(), at(1_000), 2).unwrap();
        let acme = name("acme");
        let alive = |journal: &Journal, auth_time: u64, now: u64| {
            let epoch = journal.epoch_of(&acme, at(auth_time), at(now));
            journal.lookup(&acme, &user("u"), &id(9), at(auth_time), epoch, at(now)) == RevocationAnswer::Live
        };
        journal.revoke_session(&acme, &id(1), at(1_050), at(9_000_000)).unwrap();
        journal.revoke_session(&acme, &id(2), at(8_000_000), at(9_000_000)).unwrap();

        journal.revoke_session(&name("globex"), &id(3), at(1_300), at(9_000_000)).unwrap();

        for journal in [journal, open_again(dir.path())] {
            assert_eq!([1_050, 1_051].map(|auth_time| alive(&journal, auth_time, 2_000)), [false, true]);
            assert!(!alive(&journal, 1_051, 8_000_000), "what was to end later ends then");
            journal.settle_tenants([&acme].into_iter(), at(8_100_000)).unwrap();
            journal.settle_tenants([].into_iter(), at(8_200_000)).unwrap();
            assert_eq!([8_200_000, 8_200_001].map(|auth_time| alive(&journal, auth_time, 8_300_000)), [false, true]);
        }
    }

    #[test]
    fn where_nothing_can_be_folded_more_ends_or_the_wish_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let journal = Journal::open_with(dir.path(), at(100), 1).unwrap();
        journal.revoke(&Revoked::Session(id(1)), at(100), at(900)).unwrap();

        let refused = journal.revoke(&Revoked::Session(id(2)), at(100), at(900));
        journal.revoke(&Revoked::User(name("acme"), user("u_1")), at(100), at(900)).unwrap();

        assert!(matches!(refused, Err(StoreError::Full(1))));
        assert_eq!((journal.len(), journal.epoch(&name("acme"), at(100))), (1, 1));
        assert_eq!(session(&journal, 1, 100), RevocationAnswer::Session);
    }

    #[test]
    fn one_commit_serves_all_who_wait() {
        let dir = tempfile::tempdir().unwrap();
        let journal = open(dir.path());
        let before = journal.commits();

        std::thread::scope(|scope| {
            let held = journal.log.lock().unwrap();
            for number in 0..16 {
                let journal = &journal;
                scope.spawn(move || journal.revoke(&Revoked::Session(id(number)), at(100), at(900)).unwrap());
            }
            // The first is held at the file; once all have queued, one more commit serves the rest.
            while journal.writers().queued < 16 {
                std::thread::yield_now();
            }
            assert_eq!(session(&journal, 15, 100), RevocationAnswer::Session, "in force before it is durable, and readers do not wait");
            drop(held);
        });

        assert_eq!(journal.commits() - before, 2);
        assert_eq!(open_again(dir.path()).len(), 16);
    }

    #[test]
    fn writers_and_sweepers_at_once_lose_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let journal = Journal { slack: 0, ..open(dir.path()) };

        std::thread::scope(|scope| {
            for thread in 0..4_u64 {
                let journal = &journal;
                scope.spawn(move || {
                    for number in (thread * 100)..(thread * 100 + 50) {
                        journal.revoke(&Revoked::Session(id(number)), at(100), at(900)).unwrap();
                        journal.revoke(&Revoked::Session(id(number + 5000)), at(100), at(101)).unwrap();
                        journal.revoke(&Revoked::Tenant(name("acme")), at(100), at(900)).unwrap();
                        if number % 10 == thread {
                            journal.sweep(at(101)).unwrap();
                        }
                    }
                });
            }
        });
        journal.sweep(at(101)).unwrap();

        for journal in [journal, open_again(dir.path())] {
            journal.sweep(at(101)).unwrap();
            assert_eq!((journal.len(), journal.epoch(&name("acme"), at(100))), (200, 200));
        }
    }

    #[test]
    fn a_journal_of_dead_records_is_written_anew() {
        let dir = tempfile::tempdir().unwrap();
        let journal = Journal { slack: 0, ..open(dir.path()) };
        let size = || fs::metadata(dir.path().join("revocations.journal")).unwrap().len();
        journal.revoke(&Revoked::User(name("acme"), user("u_1")), at(100), at(900)).unwrap();
        journal.revoke(&Revoked::Tenant(name("acme")), at(500), at(900)).unwrap();
        for number in 0..20 {
            journal.revoke(&Revoked::Session(id(number)), at(100), at(200)).unwrap();
        }
        let before = size();

        journal.sweep(at(200)).unwrap();
        assert!(size() < before / 4, "{} of {before}", size());
        let commits = journal.commits();
        journal.sweep(at(200)).unwrap();
        assert_eq!(journal.commits(), commits, "once is enough");

        journal.revoke(&Revoked::Session(id(99)), at(200), at(900)).unwrap();
        for journal in [journal, open_again(dir.path())] {
            assert_eq!(journal.len(), 2);
            assert_eq!(of_user(&journal, "acme", "u_1", at(100), 200), RevocationAnswer::User(at(100)));
            assert_eq!([499, 500].map(|now| journal.epoch(&name("acme"), at(now))), [0, 1]);
            assert_eq!(session(&journal, 99, 200), RevocationAnswer::Session);
        }
    }

    #[test]
    fn what_could_not_be_written_is_in_force_and_written_later() {
        let dir = tempfile::tempdir().unwrap();
        let journal = open(dir.path());
        journal.revoke(&Revoked::Session(id(1)), at(100), at(900)).unwrap();
        journal.log.lock().unwrap().as_mut().unwrap().break_it();

        let refused = journal.revoke(&Revoked::Session(id(2)), at(100), at(900));
        assert!(matches!(refused, Err(StoreError::Io { doing: "writing", .. })));
        assert_eq!(session(&journal, 2, 100), RevocationAnswer::Session);
        assert_eq!(open_again(dir.path()).len(), 1);
        assert!(matches!(journal.unkept(), Some(Unkept { count: 1, error: StoreError::Io { doing: "writing", .. } })));

        journal.revoke(&Revoked::Session(id(3)), at(100), at(900)).unwrap();
        assert!(journal.unkept().is_none());
        assert_eq!(open_again(dir.path()).len(), 3);
    }

    #[test]
    fn a_journal_cut_anywhere_keeps_what_was_durable_before() {
        let dir = tempfile::tempdir().unwrap();
        let journal = open(dir.path());
        let path = dir.path().join("revocations.journal");
        journal.revoke(&Revoked::Session(id(1)), at(100), at(900)).unwrap();
        let first = fs::metadata(&path).unwrap().len();
        journal.revoke(&Revoked::Session(id(2)), at(100), at(900)).unwrap();
        drop(journal);
        let whole = fs::read(&path).unwrap();

        for length in first..u64::try_from(whole.len()).unwrap() {
            fs::write(&path, &whole[..usize::try_from(length).unwrap()]).unwrap();
            let journal = open(dir.path());

            assert_eq!([1, 2].map(|number| session(&journal, number, 100)), [RevocationAnswer::Session, RevocationAnswer::Live]);
            assert_eq!(journal.torn().is_some(), length > first);
        }
    }

    #[test]
    fn a_second_process_is_kept_out() {
        let dir = tempfile::tempdir().unwrap();
        let _held = open(dir.path());

        assert!(matches!(Journal::open(dir.path(), at(100)), Err(StoreError::Locked(_))));
    }
}
