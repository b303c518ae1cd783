//! Group commit: one `fdatasync` for all waiting writers, on the thread of the first.

use std::{
    path::PathBuf,
    sync::{MutexGuard, PoisonError},
    time::Duration,
};

use super::{SessionLedger, StoreError, commit_queue::Batch, journal::Writers, record::Record};
use crate::{append_log::AppendLogError, model::error_chain};

/// How long a writer waits for another thread's commit. The committing thread waits for the disk without a
/// bound.
pub(super) const DISK: Duration = Duration::from_secs(10);

/// Logged once the file can be written again.
const BACK: &str = "the revocation journal is written again: so many revocations that were only in memory are on the disk, with all others";

/// Logged if the file was removed or replaced.
const GONE: &str =
    "the revocation journal was removed or replaced while octroi runs; it is written anew from memory";

/// Logged for a file that was found in its place.
const ASIDE: &str = "a file that somebody put in the place of the revocation journal counts for nothing and is kept under this name; \
    to put a journal back, stop octroi first";

/// What a commit did to the file.
struct Written {
    /// How many records the file has, where it was written as a whole.
    rewritten: Option<u64>,
    /// Under which name a file is kept that was found in the journal's place.
    aside: Option<PathBuf>,
}

impl SessionLedger {
    /// Waits until the queued records are durable, and until the follower has them or was disconnected.
    pub(super) fn commit_and_tell(&self, writers: MutexGuard<'_, Writers>) -> Result<(), StoreError> {
        let (ticket, told, follower) = (writers.queue.ticket(), writers.told, writers.follower.clone());
        let outcome = self.commit(writers, ticket);
        if let Some(follower) = follower {
            follower.wait(told);
        }
        outcome
    }

    /// Waits until the records up to `ticket` are durable; commits them if no other thread does.
    fn commit<'a>(&'a self, mut writers: MutexGuard<'a, Writers>, ticket: u64) -> Result<(), StoreError> {
        loop {
            if let Some(outcome) = writers.queue.outcome(ticket) {
                return outcome;
            }
            writers = if writers.queue.is_busy() {
                let (mut writers, waited) =
                    self.turn.wait_timeout(writers, DISK).unwrap_or_else(PoisonError::into_inner);
                if waited.timed_out() && writers.queue.outcome(ticket).is_none() {
                    writers.queue.set_trouble(StoreError::Slow(DISK));
                    return Err(StoreError::Slow(DISK));
                }
                writers
            } else {
                self.lead(writers)
            };
        }
    }

    /// Waits until no commit runs.
    pub(super) fn not_busy<'a>(
        &self,
        writers: MutexGuard<'a, Writers>,
    ) -> Result<MutexGuard<'a, Writers>, StoreError> {
        let busy = |writers: &mut Writers| writers.queue.is_busy();
        let (writers, waited) =
            self.turn.wait_timeout_while(writers, DISK, busy).unwrap_or_else(PoisonError::into_inner);
        if waited.timed_out() { Err(StoreError::Slow(DISK)) } else { Ok(writers) }
    }

    /// Commits everything in the queue. Other writers may add to the queue meanwhile.
    pub(super) fn lead<'a>(&'a self, mut writers: MutexGuard<'a, Writers>) -> MutexGuard<'a, Writers> {
        let batch = writers.queue.take();
        // Taken together with the queue: what is queued later is not in it and is appended later.
        let tenants = batch.is_rewrite.then(|| self.index.tenants(&writers.counts));
        drop(writers);

        let written = self.write_batch(&batch, tenants);

        let mut writers = self.writers();
        match written {
            Ok(Written { rewritten, aside }) => {
                if let Some(aside) = aside {
                    tracing::error!(event = "journal_set_aside", path = %aside.display(), "{ASIDE}");
                }
                if let Some(kept) = writers.queue.committed(&batch, rewritten) {
                    // The trouble was logged, so its end is, too.
                    tracing::warn!(event = "journal_back", revocations = kept, "{BACK}");
                }
            }
            Err(error @ StoreError::Log(AppendLogError::Gone { .. })) => {
                let text = error_chain(&error);
                if writers.queue.lost_in_commit(error) {
                    tracing::error!(event = "journal_gone", error = %text, "{GONE}");
                }
            }
            Err(error) => writers.queue.failed(&batch, error),
        }
        self.turn.notify_all();
        writers
    }

    /// Writes a batch to the file, and waits for the disk.
    fn write_batch(&self, batch: &Batch, tenants: Option<Vec<Record>>) -> Result<Written, StoreError> {
        let mut log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        // Only the process that has the file commits, so this cannot happen. If it did, nothing would be
        // lost: the next commit writes everything.
        let log = log.as_mut().ok_or(StoreError::HandedOver(""))?;
        let Some(tenants) = tenants else {
            log.append(&batch.bytes)?;
            return Ok(Written { rewritten: None, aside: None });
        };
        // The index holds what is queued already.
        let mut count = u64::try_from(tenants.len()).unwrap_or(u64::MAX);
        let fill = |put: &mut dyn FnMut(Record) -> std::io::Result<()>| {
            let mut put = |record| {
                count = count.saturating_add(1);
                put(record)
            };
            self.index.each_record(&mut put)?;
            self.index.registry.each_record(&mut put)
        };
        let aside = log.rewrite(tenants, fill)?;
        Ok(Written { rewritten: Some(count), aside })
    }

    /// Checks that the file is still in place; if not, writes it anew from memory. To be called every ten
    /// seconds and before a hand-over. Blocks.
    pub(super) fn look_after(&self) -> Result<(), StoreError> {
        let found = match self.log.lock().unwrap_or_else(PoisonError::into_inner).as_mut() {
            Some(log) => log.look(),
            // The process that has the journal now does this.
            None => return Ok(()),
        };
        let gone = match found {
            Err(error @ AppendLogError::Gone { .. }) => StoreError::from(error),
            other => return other.map_err(StoreError::from),
        };
        let mut writers = self.not_busy(self.writers())?;
        if !self.has_file(&writers) {
            return Ok(());
        }
        let text = error_chain(&gone);
        if writers.queue.lost(gone) {
            tracing::error!(event = "journal_gone", error = %text, "{GONE}");
        }
        writers = self.lead(writers);
        writers.queue.trouble().cloned().map_or(Ok(()), Err)
    }
}
