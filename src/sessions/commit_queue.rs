//! Records on their way to the disk: their bytes, and a ticket for each.

use super::{StoreError, record::Record};
use crate::append_log::Codec;

/// The queue in front of the journal's file. It does no input or output; the writer that makes a commit takes
/// a
/// [`Batch`] and reports what became of it.
#[derive(Default)]
pub(super) struct CommitQueue {
    /// Records that no commit has taken yet.
    bytes: Vec<u8>,
    /// How many records were ever queued, how many of them are durable, and up to which one a commit failed.
    queued: u64,
    durable: u64,
    failed: Option<(u64, StoreError)>,
    /// How many ends of sessions were ever queued, and how many of them are durable.
    ends: u64,
    kept: u64,
    /// Why the file cannot be written, from the first commit that failed to the next one that did not.
    trouble: Option<StoreError>,
    /// Whether a writer commits right now.
    is_busy: bool,
    /// Whether the next commit writes the whole file, because its end is not known.
    needs_rewrite: bool,
    /// Whether the file was removed or replaced under this process, and is not rewritten yet.
    is_gone: bool,
    /// How many records the file holds, with those that no longer matter.
    in_file: u64,
    commits: u64,
}

/// What one commit writes.
pub(super) struct Batch {
    /// Records to append. A rewrite writes everything that is known instead, and these are part of it.
    pub(super) bytes: Vec<u8>,
    /// Whether to write the whole file.
    pub(super) is_rewrite: bool,
    ticket: u64,
    ends: u64,
}

impl CommitQueue {
    /// Begins with what was read from the file; `needs_rewrite` says that its end is not known.
    pub(super) fn opened(&mut self, in_file: u64, needs_rewrite: bool) {
        (self.in_file, self.needs_rewrite) = (in_file, needs_rewrite);
    }

    /// Queues a record, and returns its bytes.
    pub(super) fn push(&mut self, record: &Record) -> &[u8] {
        let start = self.bytes.len();
        record.encode(&mut self.bytes);
        self.queued += 1;
        self.ends += u64::from(match record {
            Record::Session { .. } | Record::User { .. } | Record::Raise { .. } | Record::Fold { .. } => true,
            Record::Tenant { .. } | Record::Fresh { .. } => false,
            Record::Granted(_) | Record::Presented { .. } => false,
        });
        self.bytes.get(start..).unwrap_or_default()
    }

    /// Returns the ticket of the last record that was queued.
    pub(super) const fn ticket(&self) -> u64 {
        self.queued
    }

    /// Says whether all that was queued is durable.
    pub(super) const fn is_durable(&self) -> bool {
        self.queued == self.durable
    }

    /// Says what became of the records up to a ticket, if that is known.
    pub(super) fn outcome(&self, ticket: u64) -> Option<Result<(), StoreError>> {
        if self.durable >= ticket {
            return Some(Ok(()));
        }
        self.failed.as_ref().filter(|(failed, _)| *failed >= ticket).map(|(_, error)| Err(error.clone()))
    }

    /// Says whether a commit is being made.
    pub(super) const fn is_busy(&self) -> bool {
        self.is_busy
    }

    /// Takes all that is queued, for one commit. Nobody else may take before [`CommitQueue::finish`].
    pub(super) fn take(&mut self) -> Batch {
        self.is_busy = true;
        Batch {
            bytes: std::mem::take(&mut self.bytes),
            is_rewrite: self.needs_rewrite,
            ticket: self.queued,
            ends: self.ends,
        }
    }

    /// Takes in that a commit is durable. `rewritten` is how many records the file has where it was written
    /// as a whole. Returns how many revocations became durable where the file could not be written before.
    pub(super) fn committed(&mut self, batch: &Batch, rewritten: Option<u64>) -> Option<u64> {
        self.finish();
        let appended = batch.ticket.saturating_sub(self.durable);
        self.in_file = rewritten.unwrap_or(self.in_file.saturating_add(appended));
        self.durable = batch.ticket;
        let kept = batch.ends.saturating_sub(std::mem::replace(&mut self.kept, batch.ends));
        (self.needs_rewrite, self.is_gone) = (false, false);
        self.trouble.take().map(|_| kept)
    }

    /// Takes in that a commit failed. The next one writes the whole file.
    pub(super) fn failed(&mut self, batch: &Batch, error: StoreError) {
        self.finish();
        self.trouble = Some(error.clone());
        self.failed = Some((batch.ticket, error));
        self.needs_rewrite = true;
    }

    /// Takes in that a commit found no file. Nobody is told that it failed: whoever waits commits again, and
    /// that writes the whole file. Says whether that is news.
    pub(super) fn lost_in_commit(&mut self, error: StoreError) -> bool {
        self.finish();
        self.lost(error)
    }

    /// Takes in that the file is gone: nothing of what this process wrote is on the disk, and the next commit
    /// writes all of it. Says whether that is news.
    pub(super) fn lost(&mut self, error: StoreError) -> bool {
        (self.needs_rewrite, self.kept) = (true, 0);
        self.trouble = Some(error);
        !std::mem::replace(&mut self.is_gone, true)
    }

    fn finish(&mut self) {
        self.is_busy = false;
        self.commits += 1;
    }

    /// Has the next commit write the whole file.
    pub(super) const fn request_rewrite(&mut self) {
        self.needs_rewrite = true;
    }

    /// Says whether the next commit writes the whole file.
    pub(super) const fn needs_rewrite(&self) -> bool {
        self.needs_rewrite
    }

    /// Says whether the file is gone and not rewritten yet.
    pub(super) const fn is_gone(&self) -> bool {
        self.is_gone
    }

    /// Returns how many records the file holds.
    pub(super) const fn in_file(&self) -> u64 {
        self.in_file
    }

    /// Returns why the file cannot be written.
    pub(super) const fn trouble(&self) -> Option<&StoreError> {
        self.trouble.as_ref()
    }

    /// Notes that the disk does not answer.
    pub(super) fn set_trouble(&mut self, error: StoreError) {
        self.trouble = Some(error);
    }

    /// Returns how many ends of sessions are not durable.
    pub(super) const fn unkept(&self) -> u64 {
        self.ends.saturating_sub(self.kept)
    }

    /// Returns how many commits were made.
    pub(super) const fn commits(&self) -> u64 {
        self.commits
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{SessionId, UnixTime};

    fn end() -> Record {
        let at = UnixTime::from_secs(1);
        Record::Session { id: SessionId::new([1; 16]), at, keep_until: at, tenant: None }
    }

    fn seen() -> Record {
        let at = UnixTime::from_secs(1);
        Record::Presented { id: SessionId::new([1; 16]), generation: 1, since: at, seen: at }
    }

    #[test]
    fn a_commit_settles_what_it_took_and_no_more() {
        let mut queue = CommitQueue::default();
        queue.push(&end());
        let batch = queue.take();
        queue.push(&seen());

        assert!(queue.is_busy() && queue.outcome(1).is_none());
        assert_eq!(queue.committed(&batch, None), None);

        assert!(matches!((queue.outcome(1), queue.outcome(2)), (Some(Ok(())), None)));
        assert!(!queue.is_busy() && !queue.is_durable());
        assert_eq!((queue.in_file(), queue.commits(), queue.unkept()), (1, 1, 0));
    }

    #[test]
    fn what_failed_is_known_and_is_kept_by_the_rewrite_that_follows() {
        let mut queue = CommitQueue::default();
        queue.push(&end());
        let batch = queue.take();
        queue.failed(&batch, StoreError::Full(1));
        queue.push(&end());

        assert!(matches!((queue.outcome(1), queue.outcome(2)), (Some(Err(StoreError::Full(1))), None)));
        assert!(queue.trouble().is_some() && queue.unkept() == 2);
        let batch = queue.take();
        assert!(batch.is_rewrite);

        assert_eq!(queue.committed(&batch, Some(7)), Some(2), "the end of the trouble is told");
        assert!(queue.is_durable() && !queue.needs_rewrite() && queue.trouble().is_none());
        assert_eq!((queue.in_file(), queue.unkept()), (7, 0));
    }

    #[test]
    fn a_file_that_is_gone_fails_nobody_and_has_all_written_again() {
        let mut queue = CommitQueue::default();
        queue.push(&end());
        let batch = queue.take();

        assert!(queue.lost_in_commit(StoreError::Full(1)), "it is news once");
        assert!(queue.outcome(1).is_none() && queue.is_gone() && queue.needs_rewrite());
        assert!(!queue.lost(StoreError::Full(1)));
        drop(batch);
        let batch = queue.take();
        queue.committed(&batch, Some(1));
        assert!(!queue.is_gone() && matches!(queue.outcome(1), Some(Ok(()))));
    }
}
