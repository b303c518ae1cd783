//! Commits: one `fdatasync` for everybody who waits, on the thread of whoever came first.

use std::{
    path::PathBuf,
    sync::{MutexGuard, PoisonError},
    time::Duration,
};

use super::{SessionLedger, StoreError, commit_queue::Batch, journal::Writers, record::Record};
use crate::{append_log::AppendLogError, model::error_chain};

/// How long anybody waits for a commit that another makes. Who makes it waits for the disk itself.
pub(super) const DISK: Duration = Duration::from_secs(10);

/// What is said once the file can be written again.
const BACK: &str = "the revocation journal is written again: so many revocations that were only in memory are on the disk, with all others";

/// What is said where the file was taken away.
const GONE: &str =
    "the revocation journal was removed or replaced while octroi runs; it is written anew from memory";

/// What is said of a file that was found in its place.
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
    /// Waits until what was put is durable, and until the follower knows it, or no longer counts.
    pub(super) fn commit_and_tell(&self, writers: MutexGuard<'_, Writers>) -> Result<(), StoreError> {
        let (ticket, told, follower) = (writers.queue.ticket(), writers.told, writers.follower.clone());
        let outcome = self.commit(writers, ticket);
        if let Some(follower) = follower {
            follower.wait(told);
        }
        outcome
    }

    /// Waits until the records up to `ticket` are durable, or commits them if nobody else does.
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

    /// Waits until nobody commits.
    pub(super) fn not_busy<'a>(
        &self,
        writers: MutexGuard<'a, Writers>,
    ) -> Result<MutexGuard<'a, Writers>, StoreError> {
        let busy = |writers: &mut Writers| writers.queue.is_busy();
        let (writers, waited) =
            self.turn.wait_timeout_while(writers, DISK, busy).unwrap_or_else(PoisonError::into_inner);
        if waited.timed_out() { Err(StoreError::Slow(DISK)) } else { Ok(writers) }
    }

    /// Makes one commit of all that is queued. Others queue on meanwhile.
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
                    // Whoever was told of the trouble is told of its end. Nobody waits for the log.
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
        // Only the process that has the file commits, so this cannot be; were it so, nothing would be lost:
        // all of it is written with the next.
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

    /// Sees whether the file is still there; where it is not, all that is known is written anew. To be called
    /// every ten seconds and before a hand-over. Blocks.
    pub(super) fn look_after(&self) -> Result<(), StoreError> {
        let found = match self.log.lock().unwrap_or_else(PoisonError::into_inner).as_mut() {
            Some(log) => log.look(),
            // Whoever has the journal now looks after it.
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
