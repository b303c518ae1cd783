//! How a journal passes from one process to the next, while both serve.
//!
//! ```text
//! predecessor                         successor
//! release: settles, closes the file
//!                                     opens the file
//! pass_on: writes go to the successor      follow_with: tells what changes
//! follow: takes in what it is told
//! ```
//!
//! From then on the successor's file and memory lead. The predecessor's memory is a replica: it applies every
//! change, its own requests included, in the order in which the successor made it, so that a tenant's next
//! epoch has the same number in both. A change without a number (the end of a session, or of a user's
//! sessions) is in force in the predecessor before the successor is asked.

use std::{
    convert::Infallible,
    sync::{Arc, MutexGuard, PoisonError, atomic::Ordering},
    time::Duration,
};

use super::{
    SessionLedger, StoreError,
    grant_request::GrantRequest,
    journal::Writers,
    record::Record,
    revocation_index::{RevocationIndex, TenantCounts},
    writer::{Follower, RemoteWriter, Writer},
};
use crate::append_log::{AppendLog, Codec, Opened};

/// How long a write waits for a hand-over in progress.
const PASSING: Duration = Duration::from_secs(10);

/// A predecessor's request to the process that has the file.
pub(super) enum WriterRequest<'a> {
    /// To end sessions.
    End(Record),
    /// To count a session, and let it begin.
    Grant(GrantRequest),
    /// To apply its notes: the first record, and the bytes of the others.
    Notes(Record, &'a [u8]),
}

impl SessionLedger {
    /// Settles what is queued and closes the file, so that a successor can open it. Writes wait from now on,
    /// for a while.
    ///
    /// After an error everything is as it was.
    pub fn release(&self) -> Result<(), StoreError> {
        // A successor that found none would take all of it for lost.
        self.look_after()?;
        let mut writers = self.writers();
        if !matches!(writers.writer, Writer::Ours) {
            return Err(StoreError::HandedOver(" already"));
        }
        writers.writer = Writer::HandingOver;
        writers = match self.not_busy(writers) {
            Ok(writers) => writers,
            Err(error) => {
                self.writers().writer = Writer::Ours;
                self.turn.notify_all();
                return Err(error);
            }
        };
        if writers.queue.needs_rewrite() || !writers.queue.is_durable() {
            let ticket = writers.queue.ticket();
            writers = self.lead(writers);
            if writers.queue.is_gone() {
                writers = self.lead(writers);
            }
            let failed = writers.queue.outcome(ticket).and_then(Result::err);
            if let Some(error) =
                failed.or_else(|| writers.queue.trouble().cloned().filter(|_| writers.queue.is_gone()))
            {
                writers.writer = Writer::Ours;
                self.turn.notify_all();
                return Err(error);
            }
        }
        drop(writers);
        let mut log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(log) = log.as_mut() {
            // A mark that is older says less, and nothing that is wrong.
            let _ = self.mark(log);
        }
        *log = None;
        Ok(())
    }

    /// Opens the file again after a hand-over that failed. What the successor wrote into it counts here too.
    ///
    /// After an error nothing can be written, and writes fail; it may be tried again.
    pub fn take_back(&self) -> Result<(), StoreError> {
        let (found, mut counts, mut written) = (RevocationIndex::default(), TenantCounts::default(), 0_u64);
        let opened = AppendLog::open(&self.dir, |record| {
            written = written.saturating_add(1);
            found.apply(&mut counts, record);
        });
        let mut writers = self.writers();
        let outcome = match opened {
            Ok(Opened { log, .. }) => {
                for record in found.tenants(&counts) {
                    self.index.apply(&mut writers.counts, record);
                }
                let mut merge = |record| {
                    self.index.apply(&mut writers.counts, record);
                    Ok::<(), Infallible>(())
                };
                let Ok(()) = found.each_record(&mut merge);
                let Ok(()) = found.registry.each_record(merge);
                *self.log.lock().unwrap_or_else(PoisonError::into_inner) = Some(log);
                // What was ended here meanwhile is in memory only.
                writers.queue.opened(written, true);
                writers.pending_writes.clear();
                writers.writer = Writer::Ours;
                Ok(())
            }
            Err(error) => {
                writers.writer = Writer::Lost;
                Err(error.into())
            }
        };
        self.turn.notify_all();
        outcome
    }

    /// Sends writes to the successor from now on.
    pub fn pass_on(&self, successor: Arc<dyn RemoteWriter>) {
        self.writers().writer = Writer::Successor(successor);
        self.turn.notify_all();
    }

    /// The successor is out of reach: nothing can be written, and nobody knows who is ended. Sessions fail
    /// closed from now on.
    pub fn lose_successor(&self) {
        self.lost_writer.store(true, Ordering::Relaxed);
        self.writers().writer = Writer::Lost;
        self.turn.notify_all();
        self.index.changed.notify();
    }

    /// Tells another process of every change from now on; nobody, once it has ended.
    pub fn follow_with(&self, follower: Option<Arc<dyn Follower>>) {
        let mut writers = self.writers();
        writers.told = 0;
        writers.follower = follower;
    }

    /// Takes in changes that the successor made. Says whether they could be read.
    ///
    /// A process that follows this one in turn has been told, and given its time, on return.
    pub fn follow(&self, mut records: &[u8]) -> bool {
        let mut writers = self.writers();
        if let Some(follower) = &writers.follower {
            writers.told = follower.tell(records);
        }
        let whole = loop {
            if records.is_empty() {
                break true;
            }
            match Record::decode(&mut records) {
                Some(Record::Fresh { until }) => self.set_fresh_until(until),
                Some(record) => self.index.apply(&mut writers.counts, record),
                None => break false,
            }
        };
        let (told, follower) = (writers.told, writers.follower.clone());
        drop(writers);
        if let Some(follower) = follower {
            follower.wait(told);
        }
        whole
    }

    /// Reads what a predecessor asks for: the end of a session, of a user's sessions or of a tenant's; a
    /// session that is to be counted; or notes.
    pub(super) fn read_request(mut bytes: &[u8]) -> Result<WriterRequest<'_>, StoreError> {
        let unreadable = || StoreError::Successor("the record cannot be read".to_owned());
        let record = Record::decode(&mut bytes).ok_or_else(unreadable)?;
        match record {
            Record::Session { .. } | Record::User { .. } | Record::Raise { .. } if bytes.is_empty() => {
                Ok(WriterRequest::End(record))
            }
            Record::Granted(granted) if granted.1.limit.is_some() => {
                let request = GrantRequest::decode(granted.0, granted.1, bytes).ok_or_else(unreadable)?;
                Ok(WriterRequest::Grant(request))
            }
            Record::Granted(_) | Record::Presented { .. } => Ok(WriterRequest::Notes(record, bytes)),
            Record::Session { .. } | Record::User { .. } | Record::Raise { .. } => Err(unreadable()),
            Record::Fold { .. } | Record::Tenant { .. } | Record::Fresh { .. } => Err(unreadable()),
        }
    }

    /// Waits for a hand-over that is on its way; returns the turn if the file is ours then.
    pub(super) fn turn_of_ours(&self) -> Option<MutexGuard<'_, Writers>> {
        let writers = self.writers();
        let passing = |writers: &mut Writers| matches!(writers.writer, Writer::HandingOver);
        let (writers, _) =
            self.turn.wait_timeout_while(writers, PASSING, passing).unwrap_or_else(PoisonError::into_inner);
        matches!(writers.writer, Writer::Ours).then_some(writers)
    }

    /// Has a record written by whoever has the file.
    pub(super) fn write_elsewhere(&self, record: Record) -> Result<(), StoreError> {
        let mut bytes = Vec::new();
        record.encode(&mut bytes);
        let mut writers = self.writers();
        match record {
            // A session's and a user's end merge: in force here whatever comes of the rest.
            Record::Session { .. } | Record::User { .. } => self.index.apply(&mut writers.counts, record),
            // Who has the file says which epoch is next: this comes back with its number.
            Record::Raise { .. } | Record::Fold { .. } | Record::Tenant { .. } | Record::Fresh { .. } => {}
            // Those go their own ways.
            Record::Granted(_) | Record::Presented { .. } => {}
        }
        drop(writers);
        self.ask_writer(bytes)
    }

    /// Asks whoever has the file.
    pub(super) fn ask_writer(&self, bytes: Vec<u8>) -> Result<(), StoreError> {
        let writer = self.writers().writer.clone();
        match writer {
            Writer::Successor(successor) => successor.write(bytes),
            Writer::Ours | Writer::HandingOver => {
                Err(StoreError::HandedOver(", which has not opened it in time"))
            }
            Writer::Lost => Err(StoreError::HandedOver(", which is out of reach")),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        num::NonZeroU8,
        path::Path,
        sync::{Mutex, atomic::AtomicUsize},
    };

    use super::*;
    use crate::append_log::AppendLogError;
    use crate::sessions::SessionRef;
    use crate::{
        model::{ClientPrefix, RevocationAnswer, RevocationTarget, SessionId, TenantName, UnixTime, UserId},
        session::{Admission, Claims, LimitAction, TokenOrder, UserLimit},
        sessions::{GrantLimits, GrantRecord, RevocationStore},
    };

    const NOW: UnixTime = UnixTime::from_secs(100);
    const END: UnixTime = UnixTime::from_secs(900);

    fn acme() -> TenantName {
        "acme".parse().unwrap()
    }

    fn user() -> UserId {
        "u_1".parse().unwrap()
    }

    fn id(byte: u8) -> SessionId {
        SessionId::new([byte; 16])
    }

    fn ask(journal: &SessionLedger, byte: u8) -> RevocationAnswer {
        journal.lookup(
            SessionRef { tenant: &acme(), user: &user(), id: &id(byte), auth_time: NOW, epoch: u32::MAX },
            NOW,
        )
    }

    fn end(journal: &SessionLedger, byte: u8) -> Result<(), StoreError> {
        journal.revoke_session(&acme(), &id(byte), NOW, END)
    }

    fn raise(journal: &SessionLedger) -> Result<(), StoreError> {
        journal.revoke(&RevocationTarget::Tenant(acme()), NOW, END)
    }

    fn open(dir: &Path) -> SessionLedger {
        SessionLedger::open(dir, NOW).unwrap()
    }

    /// Both ends of a link, in one process and without delay.
    struct Direct {
        to: Arc<SessionLedger>,
        waits: Mutex<Vec<u64>>,
    }

    impl Direct {
        fn new(to: &Arc<SessionLedger>) -> Arc<Self> {
            Arc::new(Self { to: Arc::clone(to), waits: Mutex::default() })
        }
    }

    impl RemoteWriter for Direct {
        fn write(&self, record: Vec<u8>) -> Result<(), StoreError> {
            self.to.write_now(&record)
        }
    }

    impl Follower for Direct {
        fn tell(&self, records: &[u8]) -> u64 {
            assert!(self.to.follow(records));
            7
        }

        fn wait(&self, told: u64) {
            self.waits.lock().unwrap().push(told);
        }
    }

    /// A journal that was handed over, and the one that has it now.
    fn handed_over(dir: &Path) -> (Arc<SessionLedger>, Arc<SessionLedger>) {
        let old = Arc::new(open(dir));
        end(&old, 1).unwrap();
        raise(&old).unwrap();
        old.release().unwrap();
        let new = Arc::new(open(dir));
        old.pass_on(Direct::new(&new));
        new.follow_with(Some(Direct::new(&old)));
        (old, new)
    }

    #[test]
    fn what_either_ends_is_ended_in_both_and_in_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let (old, new) = handed_over(dir.path());

        end(&old, 2).unwrap();
        end(&new, 3).unwrap();
        raise(&old).unwrap();
        raise(&new).unwrap();

        new.release().unwrap();
        let file = open(dir.path());
        for journal in [&*old, &new, &file] {
            assert_eq!([1, 2, 3].map(|byte| ask(journal, byte)), [RevocationAnswer::Session; 3]);
            assert_eq!((ask(journal, 4), journal.epoch(&acme(), NOW)), (RevocationAnswer::Live, 3));
        }
    }

    #[test]
    fn a_third_generation_is_reached_through_the_second() {
        let dir = tempfile::tempdir().unwrap();
        let (first, second) = handed_over(dir.path());
        second.release().unwrap();
        let third = Arc::new(open(dir.path()));
        second.pass_on(Direct::new(&third));
        third.follow_with(Some(Direct::new(&second)));

        end(&first, 2).unwrap();
        raise(&first).unwrap();
        end(&third, 3).unwrap();

        for journal in [&first, &second, &third] {
            assert_eq!([2, 3].map(|byte| ask(journal, byte)), [RevocationAnswer::Session; 2]);
            assert_eq!(journal.epoch(&acme(), NOW), 2);
        }
    }

    #[test]
    fn a_revocation_waits_for_the_follower() {
        let dir = tempfile::tempdir().unwrap();
        let journal = open(dir.path());
        let elsewhere = tempfile::tempdir().unwrap();
        let link = Direct::new(&Arc::new(open(elsewhere.path())));
        journal.follow_with(Some(link.clone()));

        end(&journal, 1).unwrap();

        assert_eq!(*link.waits.lock().unwrap(), [7]);
    }

    #[test]
    fn every_change_rings_wherever_it_came_from() {
        let dir = tempfile::tempdir().unwrap();
        let (old, new) = handed_over(dir.path());
        let rung = |journal: &SessionLedger| {
            let count = Arc::new(AtomicUsize::new(0));
            let counted = Arc::clone(&count);
            journal.when_changed(move || {
                counted.fetch_add(1, Ordering::Relaxed);
            });
            move || count.swap(0, Ordering::Relaxed) > 0
        };
        let (at_old, at_new) = (rung(&old), rung(&new));

        end(&new, 2).unwrap();
        assert_eq!((at_old(), at_new()), (true, true));
        raise(&old).unwrap();
        assert_eq!((at_old(), at_new()), (true, true));
        assert_eq!(ask(&new, 5), RevocationAnswer::Live);
        assert_eq!((at_old(), at_new()), (false, false));
        old.lose_successor();
        assert_eq!((at_old(), at_new()), (true, false));
    }

    #[test]
    fn two_never_have_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let (old, new) = handed_over(dir.path());

        assert!(matches!(old.release(), Err(StoreError::HandedOver(_))));
        assert!(matches!(old.settle_tenants([acme()].iter(), NOW), Err(StoreError::HandedOver(_))));
        assert!(old.sweep(NOW).is_ok());
        assert!(matches!(
            SessionLedger::open(dir.path(), NOW),
            Err(StoreError::Log(AppendLogError::Locked(_)))
        ));
        drop(new);
    }

    fn note(number: u8) -> GrantRecord {
        let client = ClientPrefix::default();
        GrantRecord {
            id: id(number),
            tenant: acme(),
            user: user(),
            granted: NOW.minus(Duration::from_secs(9 - u64::from(number))),
            ends: END,
            epoch: 0,
            client,
        }
    }

    fn listed(journal: &SessionLedger) -> Vec<SessionId> {
        journal
            .sessions_of(&acme(), &user(), Duration::from_secs(600), NOW)
            .into_iter()
            .map(|listed| listed.note.id)
            .collect()
    }

    #[test]
    fn a_limit_counts_what_either_grants() {
        let dir = tempfile::tempdir().unwrap();
        let old = Arc::new(open(dir.path()));
        old.release().unwrap();
        let new = Arc::new(open(dir.path()));
        old.pass_on(Direct::new(&new));
        new.follow_with(Some(Direct::new(&old)));
        let terms = |over| {
            let limit = UserLimit { limit: NonZeroU8::new(2).unwrap(), over };
            GrantLimits { limit: Some(limit), idle: Duration::from_secs(600), ..GrantLimits::default() }
        };

        old.grant_now(note(1), terms(LimitAction::Oldest), None, NOW).unwrap();
        new.grant_now(note(2), terms(LimitAction::Oldest), None, NOW).unwrap();
        let third = old.grant_now(note(3), terms(LimitAction::Oldest), None, NOW).unwrap();
        let fourth = new.grant_now(note(4), terms(LimitAction::Refuse), None, NOW).unwrap();

        // Who has the file ends what is one too many.
        assert_eq!((third, fourth), (Admission::Granted(vec![]), Admission::Refused(2)));
        assert_eq!(
            old.grant_now(note(4), terms(LimitAction::Refuse), None, NOW).unwrap(),
            Admission::Refused(2)
        );
        assert_eq!(
            old.grant_now(note(4), terms(LimitAction::Refuse), Some(id(3)), NOW).unwrap(),
            Admission::Granted(vec![])
        );
        end(&old, 3).unwrap();
        new.release().unwrap();
        for journal in [&*old, &new, &open(dir.path())] {
            assert_eq!(listed(journal), [id(2), id(4)]);
        }
    }

    #[test]
    fn what_a_predecessor_sees_reaches_the_successor_with_the_next_notes() {
        let dir = tempfile::tempdir().unwrap();
        let (old, new) = handed_over(dir.path());
        let present = |journal: &SessionLedger, generation| {
            journal.present(&claims(generation), ClientPrefix::default(), NOW)
        };

        assert_eq!([present(&old, 0), present(&old, 2)], [TokenOrder::Same, TokenOrder::Newer]);
        old.grant_now(GrantRecord { id: id(6), epoch: 1, ..note(5) }, GrantLimits::default(), None, NOW)
            .unwrap();
        assert!(listed(&new).is_empty());
        old.write_pending().unwrap();

        assert_eq!(listed(&new), [id(5), id(6)]);
        assert_eq!(present(&new, 1), TokenOrder::Late, "of the newer one it has heard");
        new.release().unwrap();
        assert_eq!(listed(&open(dir.path())), [id(5), id(6)]);
    }

    #[test]
    fn over_three_generations_notes_and_refusals_pass_through() {
        let dir = tempfile::tempdir().unwrap();
        let (first, second) = handed_over(dir.path());
        second.release().unwrap();
        let third = Arc::new(open(dir.path()));
        second.pass_on(Direct::new(&third));
        third.follow_with(Some(Direct::new(&second)));
        let limit = UserLimit { limit: NonZeroU8::MIN, over: LimitAction::Refuse };
        let terms =
            GrantLimits { limit: Some(limit), idle: Duration::from_secs(600), ..GrantLimits::default() };

        first.present(&claims(0), ClientPrefix::default(), NOW);
        first.write_pending().unwrap();
        second.write_pending().unwrap();

        assert_eq!(listed(&third), [id(5)]);
        assert_eq!(
            first.grant_now(GrantRecord { epoch: 1, ..note(1) }, terms, None, NOW).unwrap(),
            Admission::Refused(1)
        );
    }

    #[test]
    fn notes_that_came_during_a_hand_over_are_not_lost() {
        let dir = tempfile::tempdir().unwrap();
        let old = Arc::new(open(dir.path()));
        raise(&old).unwrap();
        old.release().unwrap();
        old.present(&claims(0), ClientPrefix::default(), NOW);
        old.write_pending().unwrap();
        let new = Arc::new(open(dir.path()));
        old.pass_on(Direct::new(&new));
        old.write_pending().unwrap();
        assert_eq!(listed(&new), [id(5)]);

        // Or it comes back, and they are written here.
        let dir = tempfile::tempdir().unwrap();
        let old = open(dir.path());
        raise(&old).unwrap();
        old.release().unwrap();
        old.present(&claims(0), ClientPrefix::default(), NOW);
        old.take_back().unwrap();
        old.release().unwrap();
        assert_eq!(listed(&open(dir.path())), [id(5)]);
    }

    fn claims(generation: u32) -> Claims {
        Claims {
            id: id(5),
            tenant: acme(),
            user: user(),
            roles: crate::session::Roles::default(),
            issued: NOW,
            auth_time: note(5).granted,
            not_before: NOW,
            idle_end: END,
            absolute_end: END,
            generation,
            epoch: 1,
            binding: None,
        }
    }

    #[test]
    fn the_successor_refuses_what_the_predecessor_did_not_know_to_be_too_many() {
        let dir = tempfile::tempdir().unwrap();
        let journal = open(dir.path());
        let limit = UserLimit { limit: NonZeroU8::new(1).unwrap(), over: LimitAction::Refuse };
        let terms =
            GrantLimits { limit: Some(limit), idle: Duration::from_secs(600), ..GrantLimits::default() };
        let asked = |number| {
            journal.write_now(&GrantRequest { record: note(number), limits: terms, replaces: None }.encode())
        };

        assert!(asked(1).is_ok());
        assert!(matches!(asked(2), Err(StoreError::TooMany(1))));
        assert_eq!(listed(&journal), [id(1)]);
    }

    #[test]
    fn a_hand_over_that_failed_loses_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let old = Arc::new(open(dir.path()));
        end(&old, 1).unwrap();
        raise(&old).unwrap();
        old.release().unwrap();
        let waiting = {
            let old = Arc::clone(&old);
            std::thread::spawn(move || end(&old, 2))
        };
        // The successor writes, and dies before it serves.
        let new = open(dir.path());
        end(&new, 3).unwrap();
        raise(&new).unwrap();
        assert!(matches!(old.take_back(), Err(StoreError::Log(AppendLogError::Locked(_)))), "it lives");
        drop(new);

        old.take_back().unwrap();

        // It waited for the hand-over, or came while nobody had the file: it is in force either way.
        let _ = waiting.join().unwrap();
        end(&old, 4).unwrap();
        assert_eq!(old.epoch(&acme(), NOW), 2);
        old.release().unwrap();
        for journal in [&*old, &open(dir.path())] {
            assert_eq!([1, 2, 3, 4].map(|byte| ask(journal, byte)), [RevocationAnswer::Session; 4]);
            assert_eq!(journal.epoch(&acme(), NOW), 2);
        }
    }

    #[test]
    fn who_lost_the_successor_believes_no_session() {
        let dir = tempfile::tempdir().unwrap();
        let (old, _new) = handed_over(dir.path());

        old.lose_successor();

        assert_eq!([1, 4].map(|byte| ask(&old, byte)), [RevocationAnswer::Unavailable; 2]);
        assert!(matches!(end(&old, 4), Err(StoreError::HandedOver(_))));
    }

    #[test]
    fn a_predecessor_cannot_say_what_an_epoch_is() {
        let dir = tempfile::tempdir().unwrap();
        let journal = open(dir.path());
        let mut bytes = Vec::new();
        Record::Tenant { tenant: acme(), epoch: 0, present: true, since: NOW, raises: Vec::new() }
            .encode(&mut bytes);

        assert!(matches!(journal.write_now(&bytes), Err(StoreError::Successor(_))));
        assert!(matches!(journal.write_now(&[9]), Err(StoreError::Successor(_))));
        assert!(matches!(journal.write_now(&[]), Err(StoreError::Successor(_))));
        let mut notes = Vec::new();
        Record::Presented { id: id(1), generation: 1, since: NOW, seen: NOW }.encode(&mut notes);
        assert!(journal.write_now(&notes).is_ok());
        assert!(matches!(journal.write_now(&[&notes[..], &bytes].concat()), Err(StoreError::Successor(_))));
    }
}
