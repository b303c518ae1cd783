//! What the ledger of one node holds, and how it is opened.

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicBool, AtomicU64},
    },
};

use super::{
    StoreError,
    commit_queue::CommitQueue,
    completeness::Completeness,
    peers::Peers,
    record::Record,
    revocation_index::{RevocationIndex, TenantCounts},
    under_way::UnderWay,
    writer::{Follower, Writer},
};
use crate::{
    append_log::{AppendLog, Opened, Torn},
    model::UnixTime,
};

/// How many sessions and users may be marked at once, unless the caller says otherwise: about 100 MiB.
pub const DEFAULT_BOUND: usize = 1_000_000;

/// How many records that no longer matter the file may hold beside those that do, before it is written anew.
const SLACK: usize = 4096;

/// The sessions of one node: in memory for the readers, in a journal for the next start.
///
/// A revocation is in force in memory before it is written, and durable when the call
/// returns: it survives `kill -9` and a loss of power. Readers look into maps that no writer locks. Writers
/// that come while a commit runs share the next one: one `fdatasync` serves all of them, on the thread of
/// whoever came first. What could not be written stays in force in memory, and the next commit writes the
/// whole file anew, so a full disk that has room again loses nothing.
///
/// # Bounds
///
/// Sessions leave when no token of theirs can live any more. Should more than `bound` sessions and users be
/// marked at once, the tenant with the most sessions enters its next epoch: all its sessions end, and the
/// single ones are forgotten. Sessions whose tenant the caller did not name cannot be folded so; where
/// nothing else is left, a user's revocation becomes its tenant's, and a session's is refused with
/// [`StoreError::Full`].
///
/// # Other nodes
///
/// Where it is shared, a revocation is handed to the other nodes behind its commit, and what they end comes
/// in; see `peers`.
///
/// # Succession
///
/// One process writes the file at any time. [`SessionLedger::release`] gives it up for a successor, and
/// [`SessionLedger::take_back`] takes it again should that one fail; see `writer_hand_over`.
pub struct SessionLedger {
    pub(super) dir: PathBuf,
    pub(super) index: RevocationIndex,
    pub(super) writers: Mutex<Writers>,
    pub(super) turn: Condvar,
    /// Nothing, as long as another process has it.
    pub(super) log: Mutex<Option<AppendLog<Record>>>,
    /// Whether this process no longer learns who is ended.
    pub(super) lost_writer: AtomicBool,
    /// The other nodes, where there are any.
    pub(super) peers: OnceLock<Arc<dyn Peers>>,
    /// Until when what the other nodes ended is known, in milliseconds since 1970; without other nodes, for
    /// ever.
    pub(super) fresh_until: AtomicU64,
    /// Grants and ends that have begun.
    pub(super) under_way: UnderWay,
    pub(super) bound: usize,
    pub(super) slack: usize,
    torn: Option<Torn>,
    /// Since when it knows who was ended.
    pub(super) completeness: Completeness,
}

/// What is ended in memory and not on the disk: a restart would forget it.
#[derive(Clone, Debug)]
pub struct Unkept {
    /// How many revocations of this process that concerns; 0: the file cannot be written, and nothing is lost
    /// by it yet.
    pub count: u64,
    /// Why.
    pub error: StoreError,
}

/// What writers take turns on. The index changes only under this lock, in the order in which records are
/// queued.
#[derive(Default)]
pub(super) struct Writers {
    /// The latest time that anybody said it is.
    pub(super) now: UnixTime,
    pub(super) counts: TenantCounts,
    pub(super) queue: CommitQueue,
    /// Who has the file.
    pub(super) writer: Writer,
    /// A process that drains and must know what is known here.
    pub(super) follower: Option<Arc<dyn Follower>>,
    /// The last that the follower was told.
    pub(super) told: u64,
    /// What was put and no other node was told yet, where there are others. Whoever put it takes it within
    /// the same turn.
    pub(super) news: Vec<Record>,
    /// What was noted of sessions and is to be handed on to whoever has the file.
    pub(super) pending_writes: Vec<Record>,
}

impl SessionLedger {
    /// Opens the journal of a state directory, or begins one; no other process may have it.
    pub fn open(dir: &Path, now: UnixTime) -> Result<Self, StoreError> {
        Self::open_with(dir, now, DEFAULT_BOUND)
    }

    /// Opens it with another bound on the sessions and users that may be marked at once.
    pub fn open_with(dir: &Path, now: UnixTime, bound: usize) -> Result<Self, StoreError> {
        let (index, mut writers, mut in_file) = (RevocationIndex::default(), Writers::default(), 0);
        let Opened { log, torn, is_cut, past } = AppendLog::open(dir, |record| {
            in_file += 1;
            index.apply(&mut writers.counts, record);
        })?;
        // What is left is written as a whole below, before anything is appended.
        writers.queue.opened(in_file, is_cut);
        index.registry.begin(now);
        let journal = Self {
            dir: dir.into(),
            index,
            writers: Mutex::new(writers),
            turn: Condvar::new(),
            log: Mutex::new(Some(log)),
            lost_writer: AtomicBool::new(false),
            peers: OnceLock::new(),
            fresh_until: AtomicU64::new(u64::MAX),
            bound,
            slack: SLACK,
            under_way: UnderWay::default(),
            torn,
            completeness: Completeness::new(past, now),
        };
        journal.sweep(now)?;
        Ok(journal)
    }

    /// Returns what was cut off when the journal was opened: a commit that a crash interrupted. Worth a
    /// warning.
    pub fn torn(&self) -> Option<Torn> {
        self.torn
    }

    /// Has `listener` called behind every change of what a lookup may answer, wherever it
    /// came from: a command, the upstream, another node or process. Under the writers' lock, so it must not
    /// block. The first listener stays.
    pub fn when_changed(&self, listener: impl Fn() + Send + Sync + 'static) {
        self.index.changed.listen(Arc::new(listener));
    }

    /// Returns how many sessions and users are marked.
    pub fn len(&self) -> usize {
        self.index.len()
    }

    /// Says whether no session and no user is marked.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns what this process could not write down; nothing where all of it is on the disk, or another
    /// process has the file.
    pub fn unkept(&self) -> Option<Unkept> {
        let writers = self.writers();
        if !self.has_file(&writers) {
            return None;
        }
        let error = writers.queue.trouble().cloned().or_else(|| self.completeness.trouble())?;
        Some(Unkept { count: writers.queue.unkept(), error })
    }

    /// Returns how many commits were made: fewer than revocations where several shared one.
    pub fn commits(&self) -> u64 {
        self.writers().queue.commits()
    }

    /// Says whether this process has the file.
    pub(super) fn has_file(&self, writers: &Writers) -> bool {
        matches!(writers.writer, Writer::Ours)
    }

    pub(super) fn writers(&self) -> MutexGuard<'_, Writers> {
        self.writers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use crate::sessions::SessionRef;
    use std::fs;

    use super::{super::RevocationStore, *};
    use crate::{
        append_log::AppendLogError,
        model::{RevocationAnswer, RevocationTarget, SessionId, TenantName, UserId},
    };

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

    fn open(dir: &Path) -> SessionLedger {
        SessionLedger::open(dir, at(100)).unwrap()
    }

    fn session(journal: &SessionLedger, number: u64, now: u64) -> RevocationAnswer {
        journal.lookup(
            SessionRef {
                tenant: &name("acme"),
                user: &user("u"),
                id: &id(number),
                auth_time: at(50),
                epoch: u32::MAX,
            },
            at(now),
        )
    }

    fn of_user(
        journal: &SessionLedger,
        tenant: &str,
        who: &str,
        auth_time: UnixTime,
        now: u64,
    ) -> RevocationAnswer {
        journal.lookup(
            SessionRef {
                tenant: &name(tenant),
                user: &user(who),
                id: &id(u64::MAX),
                auth_time,
                epoch: u32::MAX,
            },
            at(now),
        )
    }

    #[test]
    fn a_folder_that_others_may_write_to_is_refused_before_anything_is_written() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(SessionLedger::judge_folder(&dir.path().join("none")).unwrap(), None);
        for (mode, is_open) in [(0o700, false), (0o755, false), (0o720, true), (0o702, true), (0o1777, true)]
        {
            fs::set_permissions(dir.path(), fs::Permissions::from_mode(mode)).unwrap();
            assert_eq!(
                matches!(SessionLedger::judge_folder(dir.path()), Err(StoreError::OpenFolder { .. })),
                is_open,
                "{mode:o}"
            );
        }
        let file = dir.path().join("file");
        fs::write(&file, "").unwrap();
        assert!(SessionLedger::judge_folder(&file).is_err() && !SessionLedger::is_begun(dir.path()));
    }

    #[test]
    fn a_revoked_session_stays_revoked() {
        let dir = tempfile::tempdir().unwrap();
        let journal = open(dir.path());
        journal.revoke(&RevocationTarget::Session(id(1)), at(100), at(900)).unwrap();
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
    fn open_again(dir: &Path) -> SessionLedger {
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
        journal.revoke(&RevocationTarget::User(name("acme"), user("u_1")), end, at(900)).unwrap();

        for journal in [journal, open_again(dir.path())] {
            assert_eq!(of_user(&journal, "acme", "u_1", end, 101), RevocationAnswer::User(end));
            assert_eq!(
                of_user(&journal, "acme", "u_1", UnixTime::from_millis(100_501), 101),
                RevocationAnswer::Live
            );
            assert_eq!(of_user(&journal, "acme", "u_2", end, 101), RevocationAnswer::Live);
            assert_eq!(of_user(&journal, "globex", "u_1", end, 101), RevocationAnswer::Live);
        }
    }

    #[test]
    fn a_tenant_enters_its_next_epoch() {
        let dir = tempfile::tempdir().unwrap();
        let journal = open(dir.path());
        let ask = |journal: &SessionLedger, epoch| {
            journal.lookup(
                SessionRef { tenant: &name("acme"), user: &user("u"), id: &id(1), auth_time: at(1), epoch },
                at(100),
            )
        };
        assert_eq!(ask(&journal, 0), RevocationAnswer::Live);

        journal.revoke(&RevocationTarget::Tenant(name("acme")), at(100), at(900)).unwrap();
        journal.revoke(&RevocationTarget::Tenant(name("acme")), at(100), at(900)).unwrap();

        for journal in [journal, open_again(dir.path())] {
            assert_eq!(journal.epoch(&name("acme"), at(100)), 2);
            assert_eq!(journal.epoch(&name("globex"), at(100)), 0);
            assert_eq!(
                [0, 1, 2].map(|epoch| ask(&journal, epoch)),
                [
                    RevocationAnswer::Tenant { epoch: 2 },
                    RevocationAnswer::Tenant { epoch: 2 },
                    RevocationAnswer::Live
                ]
            );
        }
    }

    #[test]
    fn a_date_ahead_counts_from_that_date_on() {
        let dir = tempfile::tempdir().unwrap();
        let journal = open(dir.path());
        journal.revoke(&RevocationTarget::Session(id(1)), at(200), at(900)).unwrap();
        journal.revoke(&RevocationTarget::User(name("acme"), user("u_1")), at(200), at(900)).unwrap();
        journal.revoke(&RevocationTarget::Tenant(name("globex")), at(200), at(900)).unwrap();

        for journal in [journal, open_again(dir.path())] {
            let answers = |now: u64| {
                (
                    session(&journal, 1, now),
                    of_user(&journal, "acme", "u_1", at(150), now),
                    journal.epoch(&name("globex"), at(now)),
                )
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
            journal.revoke(&RevocationTarget::Session(id(1)), at(date), at(900)).unwrap();
            journal.revoke(&RevocationTarget::User(name("acme"), user("u_1")), at(date), at(900)).unwrap();
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
        journal.revoke(&RevocationTarget::Session(id(1)), at(100), at(200)).unwrap();
        journal.revoke(&RevocationTarget::User(name("acme"), user("u_1")), at(100), at(300)).unwrap();
        journal.revoke(&RevocationTarget::Session(id(2)), at(400), at(1)).unwrap();

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
        let settle = |journal: &SessionLedger, names: &[&TenantName]| {
            journal.settle_tenants(names.iter().copied(), at(100)).unwrap()
        };
        let epochs = |journal: &SessionLedger| [&acme, &globex].map(|tenant| journal.epoch(tenant, at(100)));

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
        journal.revoke(&RevocationTarget::Tenant(acme.clone()), at(200), at(900)).unwrap();

        journal.settle_tenants([&acme].into_iter(), at(100)).unwrap();

        for journal in [journal, open_again(dir.path())] {
            assert_eq!([100, 200].map(|now| journal.epoch(&acme, at(now))), [0, 1]);
        }
    }

    #[test]
    fn too_many_sessions_are_folded_into_the_epoch_of_the_fullest_tenant() {
        let dir = tempfile::tempdir().unwrap();
        let journal = SessionLedger::open_with(dir.path(), at(100), 4).unwrap();
        let (acme, globex) = (name("acme"), name("globex"));
        for number in 0..3 {
            journal.revoke_session(&acme, &id(number), at(100), at(900)).unwrap();
        }
        journal.revoke_session(&globex, &id(3), at(100), at(900)).unwrap();
        journal.revoke_session(&globex, &id(3), at(100), at(900)).unwrap();
        assert_eq!(
            ([&acme, &globex].map(|tenant| journal.epoch(tenant, at(100))), journal.len()),
            ([0, 0], 4)
        );

        journal.revoke_session(&globex, &id(4), at(100), at(900)).unwrap();

        for journal in [journal, open_again(dir.path())] {
            assert_eq!(
                ([&acme, &globex].map(|tenant| journal.epoch(tenant, at(100))), journal.len()),
                ([1, 0], 2)
            );
            assert_eq!([3, 4].map(|number| session(&journal, number, 100)), [RevocationAnswer::Session; 2]);
            assert_eq!(
                journal.lookup(
                    SessionRef { tenant: &acme, user: &user("u"), id: &id(0), auth_time: at(50), epoch: 0 },
                    at(100)
                ),
                RevocationAnswer::Tenant { epoch: 1 },
                "the forgotten ones are dead by their epoch"
            );
        }
    }

    #[test]
    fn a_session_without_an_epoch_is_of_the_one_that_it_began_in() {
        let dir = tempfile::tempdir().unwrap();
        let (journal, acme) = (open(dir.path()), name("acme"));
        let alive = |journal: &SessionLedger, auth_time: u64, now: u64| {
            let epoch = journal.epoch_of(&acme, at(auth_time), at(now));
            journal.lookup(
                SessionRef { tenant: &acme, user: &user("u"), id: &id(1), auth_time: at(auth_time), epoch },
                at(now),
            ) == RevocationAnswer::Live
        };
        assert!(alive(&journal, 0, 100) && alive(&journal, 100, 100));

        journal.revoke(&RevocationTarget::Tenant(acme.clone()), at(100), at(900)).unwrap();
        journal.revoke(&RevocationTarget::Tenant(acme.clone()), at(300), at(900)).unwrap();

        for journal in [journal, open_again(dir.path())] {
            for _ in 0..2 {
                assert_eq!(
                    [50, 100, 101].map(|auth_time| alive(&journal, auth_time, 299)),
                    [false, false, true]
                );
                assert_eq!(
                    [101, 300, 301].map(|auth_time| alive(&journal, auth_time, 300)),
                    [false, false, true]
                );
                // Written anew, it says the same.
                journal.sweep(at(200)).unwrap();
            }
        }
    }

    #[test]
    fn a_session_without_an_epoch_is_dead_where_its_mark_was_folded_or_its_tenant_went_away() {
        let dir = tempfile::tempdir().unwrap();
        let journal = SessionLedger::open_with(dir.path(), at(1_000), 2).unwrap();
        let acme = name("acme");
        let alive = |journal: &SessionLedger, auth_time: u64, now: u64| {
            let epoch = journal.epoch_of(&acme, at(auth_time), at(now));
            journal.lookup(
                SessionRef { tenant: &acme, user: &user("u"), id: &id(9), auth_time: at(auth_time), epoch },
                at(now),
            ) == RevocationAnswer::Live
        };
        journal.revoke_session(&acme, &id(1), at(1_050), at(9_000_000)).unwrap();
        journal.revoke_session(&acme, &id(2), at(8_000_000), at(9_000_000)).unwrap();

        journal.revoke_session(&name("globex"), &id(3), at(1_300), at(9_000_000)).unwrap();

        for journal in [journal, open_again(dir.path())] {
            assert_eq!([1_050, 1_051].map(|auth_time| alive(&journal, auth_time, 2_000)), [false, true]);
            assert!(!alive(&journal, 1_051, 8_000_000), "what was to end later ends then");
            journal.settle_tenants([&acme].into_iter(), at(8_100_000)).unwrap();
            journal.settle_tenants([].into_iter(), at(8_200_000)).unwrap();
            assert_eq!(
                [8_200_000, 8_200_001].map(|auth_time| alive(&journal, auth_time, 8_300_000)),
                [false, true]
            );
        }
    }

    #[test]
    fn where_nothing_can_be_folded_more_ends_or_the_wish_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let journal = SessionLedger::open_with(dir.path(), at(100), 1).unwrap();
        journal.revoke(&RevocationTarget::Session(id(1)), at(100), at(900)).unwrap();

        let refused = journal.revoke(&RevocationTarget::Session(id(2)), at(100), at(900));
        journal.revoke(&RevocationTarget::User(name("acme"), user("u_1")), at(100), at(900)).unwrap();

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
                scope.spawn(move || {
                    journal.revoke(&RevocationTarget::Session(id(number)), at(100), at(900)).unwrap()
                });
            }
            // The first is held at the file; once all have queued, one more commit serves the rest.
            while journal.writers().queue.ticket() < 16 {
                std::thread::yield_now();
            }
            assert_eq!(
                session(&journal, 15, 100),
                RevocationAnswer::Session,
                "in force before it is durable, and readers do not wait"
            );
            drop(held);
        });

        assert_eq!(journal.commits() - before, 2);
        assert_eq!(open_again(dir.path()).len(), 16);
    }

    #[test]
    fn writers_and_sweepers_at_once_lose_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let journal = SessionLedger { slack: 0, ..open(dir.path()) };

        std::thread::scope(|scope| {
            for thread in 0..4_u64 {
                let journal = &journal;
                scope.spawn(move || {
                    for number in (thread * 100)..(thread * 100 + 50) {
                        journal.revoke(&RevocationTarget::Session(id(number)), at(100), at(900)).unwrap();
                        journal
                            .revoke(&RevocationTarget::Session(id(number + 5000)), at(100), at(101))
                            .unwrap();
                        journal.revoke(&RevocationTarget::Tenant(name("acme")), at(100), at(900)).unwrap();
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
        let journal = SessionLedger { slack: 0, ..open(dir.path()) };
        let size = || fs::metadata(dir.path().join("revocations.journal")).unwrap().len();
        journal.revoke(&RevocationTarget::User(name("acme"), user("u_1")), at(100), at(900)).unwrap();
        journal.revoke(&RevocationTarget::Tenant(name("acme")), at(500), at(900)).unwrap();
        for number in 0..20 {
            journal.revoke(&RevocationTarget::Session(id(number)), at(100), at(200)).unwrap();
        }
        let before = size();

        journal.sweep(at(200)).unwrap();
        assert!(size() < before / 4, "{} of {before}", size());
        let commits = journal.commits();
        journal.sweep(at(200)).unwrap();
        assert_eq!(journal.commits(), commits, "once is enough");

        journal.revoke(&RevocationTarget::Session(id(99)), at(200), at(900)).unwrap();
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
        journal.revoke(&RevocationTarget::Session(id(1)), at(100), at(900)).unwrap();
        journal.log.lock().unwrap().as_mut().unwrap().break_it();

        let refused = journal.revoke(&RevocationTarget::Session(id(2)), at(100), at(900));
        assert!(matches!(refused, Err(StoreError::Log(AppendLogError::Io { doing: "writing", .. }))));
        assert_eq!(session(&journal, 2, 100), RevocationAnswer::Session);
        assert_eq!(open_again(dir.path()).len(), 1);
        assert!(matches!(
            journal.unkept(),
            Some(Unkept { count: 1, error: StoreError::Log(AppendLogError::Io { doing: "writing", .. }) })
        ));

        journal.revoke(&RevocationTarget::Session(id(3)), at(100), at(900)).unwrap();
        assert!(journal.unkept().is_none());
        assert_eq!(open_again(dir.path()).len(), 3);
    }

    #[test]
    fn a_journal_cut_anywhere_keeps_what_was_durable_before() {
        let dir = tempfile::tempdir().unwrap();
        let journal = open(dir.path());
        let path = dir.path().join("revocations.journal");
        journal.revoke(&RevocationTarget::Session(id(1)), at(100), at(900)).unwrap();
        let first = fs::metadata(&path).unwrap().len();
        journal.revoke(&RevocationTarget::Session(id(2)), at(100), at(900)).unwrap();
        drop(journal);
        let whole = fs::read(&path).unwrap();

        for length in first..u64::try_from(whole.len()).unwrap() {
            fs::write(&path, &whole[..usize::try_from(length).unwrap()]).unwrap();
            let journal = open(dir.path());

            assert_eq!(
                [1, 2].map(|number| session(&journal, number, 100)),
                [RevocationAnswer::Session, RevocationAnswer::Live]
            );
            assert_eq!(journal.torn().is_some(), length > first);
        }
    }

    #[test]
    fn a_second_process_is_kept_out() {
        let dir = tempfile::tempdir().unwrap();
        let _held = open(dir.path());

        assert!(matches!(
            SessionLedger::open(dir.path(), at(100)),
            Err(StoreError::Log(AppendLogError::Locked(_)))
        ));
    }
}
