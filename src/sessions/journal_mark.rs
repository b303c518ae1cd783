//! The mark beside the journal: kept while this process writes the journal, and what it says of a loss.

use std::sync::PoisonError;

use super::{
    SessionLedger, StoreError,
    completeness::{Begun, covers},
    record::Record,
};
use crate::{
    append_log::{AppendLog, Beginning},
    model::UnixTime,
};

impl SessionLedger {
    /// Begins to keep the mark beside the journal, once this process is the one that serves. `accept` is an
    /// operator's word that sessions from before a loss count; it changes nothing where nothing is lost.
    /// Blocks.
    pub fn begin_mark(&self, accept: bool, now: UnixTime) -> Result<Begun, StoreError> {
        let found = self.completeness.begin(accept, now);
        self.note_mark(now)?;
        if found == Begun::Accepted {
            self.index.changed.notify();
        }
        Ok(found)
    }

    /// Writes down what the journal holds now. To be called every ten seconds and at the stop. Blocks.
    pub fn note_mark(&self, now: UnixTime) -> Result<(), StoreError> {
        self.completeness.tick(now);
        let written = self.look_after().and_then(|()| {
            match self.log.lock().unwrap_or_else(PoisonError::into_inner).as_mut() {
                Some(log) => self.mark(log),
                // The process that has the journal now keeps the mark, too.
                None => Ok(()),
            }
        });
        self.completeness.set_trouble(written.as_ref().err().cloned());
        written
    }

    pub(super) fn mark(&self, log: &mut AppendLog<Record>) -> Result<(), StoreError> {
        if !self.completeness.is_kept() {
            return Ok(());
        }
        log.note(|mark| self.completeness.fill(mark)).map_err(StoreError::from)
    }

    /// Says whether it would be known had somebody ended a session of a sign-in.
    ///
    /// Where revocations are shared and nobody could ask the other nodes yet, the rule for their silence
    /// applies instead.
    pub(super) fn knows_of(&self, auth_time: UnixTime, is_foreign: bool) -> bool {
        covers(self.completeness.beginning(), auth_time, is_foreign)
            || (self.peers.get().is_some() && !self.has_agreed())
    }

    /// Returns since when it is known who was ended.
    pub fn beginning(&self) -> Beginning {
        self.completeness.beginning()
    }

    /// Says whether the mark beside the journal tells of more than the journal held when it was opened.
    pub fn has_lost_records(&self) -> bool {
        self.completeness.has_lost_records()
    }

    /// Says whether that was settled with the other nodes.
    pub(crate) fn has_agreed(&self) -> bool {
        self.completeness.has_agreed()
    }

    /// Takes over since when all nodes together know who was ended. Says whether a loss is over.
    #[cfg(any(feature = "gateway", test))]
    pub(crate) fn agree(&self, theirs: Beginning) -> bool {
        let agreed = self.completeness.agree(theirs);
        if agreed.is_change {
            self.index.changed.notify();
        }
        agreed.is_recovery
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path, sync::Arc};

    use super::*;
    use crate::append_log::AppendLogError;
    use crate::sessions::SessionRef;
    use crate::{
        model::{BoxFuture, RevocationTarget, TenantName},
        sessions::{
            JournalSnapshot, RevocationStore,
            grant_record::GrantRecord,
            peers::{AckLevel, AckReport, Peers},
            record::Record,
        },
    };

    fn at(secs: u64) -> UnixTime {
        UnixTime::from_secs(secs)
    }

    fn acme() -> TenantName {
        "acme".parse().unwrap()
    }

    fn open(dir: &Path, now: u64) -> SessionLedger {
        SessionLedger::open(dir, at(now)).unwrap()
    }

    /// Opens it, begins the mark, and says how it was found.
    fn begin(dir: &Path, accept: bool, now: u64) -> (SessionLedger, Begun) {
        let journal = open(dir, now);
        let begun = journal.begin_mark(accept, at(now)).unwrap();
        (journal, begun)
    }

    fn end(journal: &SessionLedger, now: u64) {
        journal.revoke(&RevocationTarget::User(acme(), "u_1".parse().unwrap()), at(now), at(99_999)).unwrap();
    }

    /// Whether sessions of octroi from each of these times would be known, and one of the app's from the
    /// first.
    fn knows(journal: &SessionLedger, times: [u64; 2]) -> ([bool; 2], bool) {
        (times.map(|time| journal.remembers(at(time), false)), journal.remembers(at(times[0]), true))
    }

    fn file(dir: &Path, name: &str) -> std::path::PathBuf {
        dir.join(format!("revocations.{name}"))
    }

    #[test]
    fn a_first_start_knows_nobody_from_before_but_of_the_app() {
        let dir = tempfile::tempdir().unwrap();

        let (journal, begun) = begin(dir.path(), false, 100);
        assert_eq!((begun, knows(&journal, [99, 100])), (Begun::First, ([false, true], true)));
        drop(journal);

        let (journal, begun) = begin(dir.path(), true, 200);
        assert_eq!(
            (begun, knows(&journal, [99, 100])),
            (Begun::Whole, ([false, true], true)),
            "accepting does nothing"
        );
    }

    #[test]
    fn a_journal_of_an_earlier_version_counts_as_whole_and_has_no_mark_before_it_is_served() {
        let dir = tempfile::tempdir().unwrap();
        let earlier = open(dir.path(), 100);
        end(&earlier, 100);
        drop(earlier);
        assert!(!file(dir.path(), "began").exists());

        let (journal, begun) = begin(dir.path(), false, 200);

        assert_eq!((begun, knows(&journal, [1, 200])), (Begun::Unmarked, ([true, true], true)));
        assert!(file(dir.path(), "began").exists());
    }

    #[test]
    fn a_journal_that_is_gone_shorter_or_another_is_lost_until_that_is_accepted() {
        let found = |spoil: &dyn Fn(&Path)| {
            let dir = tempfile::tempdir().unwrap();
            let (journal, _) = begin(dir.path(), false, 100);
            end(&journal, 110);
            journal.note_mark(at(120)).unwrap();
            drop(journal);
            spoil(dir.path());
            (begin(dir.path(), false, 500), dir)
        };
        let earlier = |dir: &Path| {
            let (other, _) = begin(&dir.join("other"), false, 100);
            end(&other, 111);
            drop(other);
            fs::copy(file(&dir.join("other"), "journal"), file(dir, "journal")).unwrap();
        };
        let empty = |dir: &Path| {
            drop(open(&dir.join("empty"), 100));
            fs::copy(file(&dir.join("empty"), "journal"), file(dir, "journal")).unwrap();
        };
        let gone: &dyn Fn(&Path) = &|dir| fs::remove_file(file(dir, "journal")).unwrap();
        let unreadable = |dir: &Path| fs::write(file(dir, "began"), "{").unwrap();
        let spoilt = [
            ("gone", gone),
            ("another file", &earlier),
            ("shorter", &empty),
            ("cannot be read", &unreadable),
        ];

        for (word, spoil) in spoilt {
            let ((journal, begun), dir) = found(spoil);
            assert!(matches!(begun, Begun::Lost { why } if why.contains(word)), "{word}: {begun:?}");
            assert_eq!(knows(&journal, [499, 500]), ([false, true], false), "{word}");
            let read = JournalSnapshot::read(dir.path()).unwrap();
            assert_eq!(
                [499, 500].map(|time| read.remembers(at(time), false)),
                [false, true],
                "a command beside it says the same"
            );
            assert!(!journal.remembers(at(499), true) && journal.remembers(at(500), true), "{word}");
            drop(journal);

            // It stays lost, whoever restarts it, until somebody says otherwise.
            let (journal, begun) = begin(dir.path(), false, 600);
            assert_eq!(
                (begun, knows(&journal, [499, 500])),
                (Begun::StillLost, ([false, true], false)),
                "{word}"
            );
            drop(journal);
            let (journal, begun) = begin(dir.path(), true, 700);
            assert_eq!((begun, knows(&journal, [1, 700])), (Begun::Accepted, ([true, true], true)), "{word}");
            drop(journal);
            let (journal, begun) = begin(dir.path(), false, 800);
            assert_eq!((begun, knows(&journal, [1, 800])), (Begun::Whole, ([true, true], true)), "{word}");
        }
    }

    #[test]
    fn what_grew_or_was_torn_behind_the_mark_is_no_loss() {
        let dir = tempfile::tempdir().unwrap();
        let (journal, _) = begin(dir.path(), false, 100);
        end(&journal, 110);
        journal.note_mark(at(120)).unwrap();
        let marked = fs::metadata(file(dir.path(), "journal")).unwrap().len();
        end(&journal, 130);
        drop(journal);
        let whole = fs::read(file(dir.path(), "journal")).unwrap();
        assert!(marked < u64::try_from(whole.len()).unwrap());

        for length in usize::try_from(marked).unwrap()..=whole.len() {
            fs::write(file(dir.path(), "journal"), &whole[..length]).unwrap();
            assert_eq!(open(dir.path(), 200).begin_mark(false, at(200)).map(|_| ()).ok(), Some(()));
            // The mark now says what is there.
            fs::write(file(dir.path(), "journal"), &whole[..length]).unwrap();
            let (_, begun) = begin(dir.path(), false, 200);
            assert_eq!(begun, Begun::Whole, "cut at {length}");
            // And would not fit what was longer, were it another file.
            fs::remove_file(file(dir.path(), "began")).unwrap();
            fs::write(file(dir.path(), "journal"), &whole[..usize::try_from(marked).unwrap()]).unwrap();
            drop(begin(dir.path(), false, 200));
        }
        fs::write(file(dir.path(), "journal"), &whole[..usize::try_from(marked).unwrap() - 1]).unwrap();
        assert!(
            matches!(begin(dir.path(), false, 200).1, Begun::Lost { .. }),
            "one byte less than the mark says"
        );
    }

    #[test]
    fn a_journal_that_is_cut_anywhere_before_its_mark_is_lost_and_keeps_what_is_left() {
        for is_settled in [false, true] {
            let dir = tempfile::tempdir().unwrap();
            let (journal, _) = begin(dir.path(), false, 100);
            end(&journal, 110);
            if is_settled {
                journal.writers().queue.request_rewrite();
                journal.sweep(at(111)).unwrap();
            }
            journal.note_mark(at(120)).unwrap();
            drop(journal);
            let (whole, mark) = (
                fs::read(file(dir.path(), "journal")).unwrap(),
                fs::read(file(dir.path(), "began")).unwrap(),
            );
            let ended = |journal: &SessionLedger| {
                let (user, session) = ("u_1".parse().unwrap(), crate::model::SessionId::new([7; 16]));
                journal.lookup(
                    SessionRef { tenant: &acme(), user: &user, id: &session, auth_time: at(1), epoch: 0 },
                    at(900),
                ) != crate::model::RevocationAnswer::Live
            };

            for length in 0..whole.len() {
                fs::write(file(dir.path(), "journal"), &whole[..length]).unwrap();
                fs::write(file(dir.path(), "began"), &mark).unwrap();
                assert!(JournalSnapshot::read(dir.path()).is_ok(), "a command beside it, cut at {length}");
                // Opened and left again, as a successor that fails does: the loss is not forgotten.
                drop(open(dir.path(), 400));

                let (journal, begun) = begin(dir.path(), false, 500);
                assert!(matches!(begun, Begun::Lost { .. }), "cut at {length}: {begun:?}");
                assert_eq!(knows(&journal, [499, 500]), ([false, true], false), "cut at {length}");
                end(&journal, 510);
                assert!(ended(&journal));
                drop(journal);
                let (journal, begun) = begin(dir.path(), false, 600);
                assert_eq!((begun, ended(&journal)), (Begun::StillLost, true), "cut at {length}");
            }
        }
    }

    #[test]
    fn a_journal_that_is_written_anew_is_whole_whichever_of_the_two_a_kill_leaves() {
        let dir = tempfile::tempdir().unwrap();
        let (journal, _) = begin(dir.path(), false, 100);
        end(&journal, 110);
        journal.note_mark(at(120)).unwrap();
        let before = fs::read(file(dir.path(), "journal")).unwrap();

        // Written anew, and no mark since.
        journal.writers().queue.request_rewrite();
        journal.sweep(at(130)).unwrap();
        end(&journal, 140);
        drop(journal);
        let after = fs::read(file(dir.path(), "journal")).unwrap();
        assert_ne!(before, after[..before.len().min(after.len())]);

        for left in [&before, &after] {
            let copy = tempfile::tempdir().unwrap();
            fs::copy(file(dir.path(), "began"), file(copy.path(), "began")).unwrap();
            fs::write(file(copy.path(), "journal"), left).unwrap();
            assert_eq!(begin(copy.path(), false, 200).1, Begun::Whole);
            // From then on it is the only one.
            fs::write(file(copy.path(), "journal"), if left == &before { &after } else { &before }).unwrap();
            assert!(matches!(begin(copy.path(), false, 300).1, Begun::Lost { .. }));
        }
    }

    #[test]
    fn a_journal_that_cannot_be_marked_is_not_written_anew() {
        let dir = tempfile::tempdir().unwrap();
        let (journal, _) = begin(dir.path(), false, 100);
        end(&journal, 110);
        let before = fs::read(file(dir.path(), "journal")).unwrap();
        // Where the mark is written first.
        fs::create_dir(file(dir.path(), "began.new")).unwrap();

        journal.writers().queue.request_rewrite();

        let refused = journal.revoke(&RevocationTarget::Tenant(acme()), at(130), at(900));
        assert!(
            matches!(refused, Err(StoreError::Log(AppendLogError::Io { doing: "writing", .. }))),
            "{refused:?}"
        );
        assert_eq!(fs::read(file(dir.path(), "journal")).unwrap(), before);
        fs::remove_dir(file(dir.path(), "began.new")).unwrap();
        journal.sweep(at(130)).unwrap();
        assert_ne!(fs::read(file(dir.path(), "journal")).unwrap(), before);
    }

    #[test]
    fn whoever_has_the_journal_keeps_the_mark() {
        let dir = tempfile::tempdir().unwrap();
        let (old, _) = begin(dir.path(), false, 100);
        end(&old, 110);

        old.release().unwrap();
        let new = open(dir.path(), 200);
        assert_eq!(knows(&new, [99, 100]), ([false, true], true), "before it serves");
        let mark = fs::read(file(dir.path(), "began")).unwrap();
        old.note_mark(at(210)).unwrap();
        end(&new, 220);
        new.note_mark(at(220)).unwrap();
        assert_eq!(fs::read(file(dir.path(), "began")).unwrap(), mark, "neither writes it yet");
        drop(new);

        // The successor failed: its predecessor goes on, and what it writes anew is marked.
        old.take_back().unwrap();
        old.writers().queue.request_rewrite();
        old.sweep(at(230)).unwrap();
        assert_ne!(fs::read(file(dir.path(), "began")).unwrap(), mark);
        drop(old);
        assert_eq!(begin(dir.path(), false, 300).1, Begun::Whole);
    }

    #[test]
    fn a_clock_that_was_ahead_at_a_loss_keeps_nobody_out_once_it_is_set_back() {
        let dir = tempfile::tempdir().unwrap();
        drop(begin(dir.path(), false, 100));
        fs::remove_file(file(dir.path(), "journal")).unwrap();
        let (journal, _) = begin(dir.path(), false, 90_000);
        assert_eq!(knows(&journal, [200, 201]), ([false, false], false));

        journal.note_mark(at(89_990)).unwrap();
        assert_eq!(knows(&journal, [200, 201]), ([false, false], false), "a little is no step");
        journal.note_mark(at(201)).unwrap();
        assert_eq!(knows(&journal, [200, 201]), ([false, true], false));
    }

    #[test]
    fn a_mark_that_cannot_be_written_is_told_until_it_can() {
        let dir = tempfile::tempdir().unwrap();
        let (journal, _) = begin(dir.path(), false, 100);
        assert!(journal.unkept().is_none());
        // What lies in its way cannot be removed as a file.
        fs::create_dir(file(dir.path(), "began.new")).unwrap();
        end(&journal, 110);
        assert!(journal.note_mark(at(120)).is_err());

        let unkept = journal.unkept().unwrap();
        assert!(
            unkept.count == 0
                && matches!(unkept.error, StoreError::Log(AppendLogError::Io { doing: "writing", .. })),
            "{unkept:?}"
        );
        end(&journal, 130);
        assert!(journal.unkept().is_some(), "a revocation that is kept says nothing of the mark");

        fs::remove_dir(file(dir.path(), "began.new")).unwrap();
        journal.note_mark(at(140)).unwrap();
        assert!(journal.unkept().is_none());
    }

    struct Nobody;

    impl Peers for Nobody {
        fn spread(&self, _: Vec<Record>, _: AckLevel) -> BoxFuture<'_, Result<AckReport, StoreError>> {
            Box::pin(async { Ok(AckReport::default()) })
        }
        fn spread_later(&self, _: Vec<Record>) {}
        fn count<'a>(
            &'a self,
            _: &'a GrantRecord,
            _: crate::session::UserLimit,
            _: std::time::Duration,
            _: Option<crate::model::SessionId>,
        ) -> BoxFuture<'a, Result<crate::session::Admission, StoreError>> {
            Box::pin(async { Err(StoreError::RegistryFull) })
        }
        fn sessions_of<'a>(
            &'a self,
            _: &'a crate::model::TenantName,
            _: &'a crate::model::UserId,
            _: std::time::Duration,
        ) -> BoxFuture<'a, Result<Vec<crate::sessions::RemoteSession>, crate::sessions::ListError>> {
            Box::pin(async { Err(crate::sessions::ListError("there is nobody".to_owned())) })
        }
        fn counted_alone(&self) {}
        fn noted(&self, _: &crate::model::SessionId) {}
    }

    #[test]
    fn what_all_nodes_know_together_counts_once_they_were_asked() {
        let lost = |now: u64| Beginning { began: at(now), lost: Some(at(now)) };
        let shared = || {
            let dir = tempfile::tempdir().unwrap();
            drop(begin(dir.path(), false, 100));
            fs::remove_file(file(dir.path(), "journal")).unwrap();
            let (journal, _) = begin(dir.path(), false, 500);
            journal.share_with(Arc::new(Nobody));
            (journal, dir)
        };
        let (journal, dir) = shared();
        assert_eq!(
            knows(&journal, [1, 499]),
            ([true, true], true),
            "nobody could ask yet: the rule for silence holds"
        );

        // The others know since 50: nothing is lost.
        assert!(journal.agree(Beginning { began: at(50), lost: None }));
        assert_eq!(knows(&journal, [49, 50]), ([false, true], true));
        journal.note_mark(at(510)).unwrap();
        drop(journal);
        assert_eq!(begin(dir.path(), false, 600).1, Begun::Whole);

        // They know no more than this one, or have lost it too.
        let (journal, _dir) = shared();
        assert!(!journal.agree(lost(500)));
        assert_eq!(knows(&journal, [499, 500]), ([false, true], false));
        assert!(!journal.agree(lost(400)));
        assert_eq!(knows(&journal, [399, 400]), ([false, true], false));
    }
}
