//! Notes on sessions (grants, presented tokens) of a process that does not have the file.
//!
//! No caller waits for them. They are queued and sent to the process that has the file in batches.

use super::{SessionLedger, StoreError, journal::Writers, record::Record, writer::Writer};
use crate::append_log::Codec;

/// How many notes may be queued. Notes beyond that are not sent: only this process knows them, until it has
/// drained.
const MOST_NOTES: usize = 16_384;

/// The size of a batch, in bytes.
const BATCH_BYTES: usize = 32 * 1024;

impl SessionLedger {
    /// Queues a note for the process that has the file.
    pub(super) fn queue_for_writer(&self, record: Record) {
        self.queue_pending_write(&mut self.writers(), record);
    }

    pub(super) fn queue_pending_write(&self, writers: &mut Writers, record: Record) {
        if writers.pending_writes.len() < MOST_NOTES {
            writers.pending_writes.push(record.clone());
        }
        self.index.apply(&mut writers.counts, record);
    }

    /// Sends notes to the process that has the file. During a hand-over they stay queued. If this process
    /// takes the file back, it writes the whole file anew, notes included.
    pub(super) fn send_pending_writes(&self, writes: Vec<Record>) -> Result<(), StoreError> {
        let writer = self.writers().writer.clone();
        let successor = match writer {
            Writer::Successor(successor) => successor,
            Writer::HandingOver => {
                let mut writers = self.writers();
                let later = std::mem::replace(&mut writers.pending_writes, writes);
                writers.pending_writes.extend(later);
                return Ok(());
            }
            Writer::Ours | Writer::Lost => return Ok(()),
        };
        let mut piece = Vec::new();
        for note in writes {
            note.encode(&mut piece);
            if piece.len() >= BATCH_BYTES {
                successor.write(std::mem::take(&mut piece))?;
            }
        }
        if piece.is_empty() { Ok(()) } else { successor.write(piece) }
    }

    /// Applies a predecessor's notes. They are durable with the next commit.
    pub(super) fn take_pending_writes(&self, first: Record, mut rest: &[u8]) -> Result<(), StoreError> {
        let unreadable = || StoreError::Successor("the record cannot be read".to_owned());
        let mut next = Some(first);
        loop {
            match next {
                Some(Record::Granted(granted)) if granted.1.limit.is_some() => return Err(unreadable()),
                Some(note @ (Record::Granted(_) | Record::Presented { .. })) => self.take_pending_write(note),
                Some(
                    Record::Session { .. } | Record::User { .. } | Record::Raise { .. } | Record::Fold { .. },
                ) => return Err(unreadable()),
                Some(Record::Tenant { .. } | Record::Fresh { .. }) | None => return Err(unreadable()),
            }
            if rest.is_empty() {
                return Ok(());
            }
            next = Record::decode(&mut rest);
        }
    }

    fn take_pending_write(&self, note: Record) {
        let mut writers = self.writers();
        if self.has_file(&writers) {
            self.put(&mut writers, note);
        } else {
            self.queue_pending_write(&mut writers, note);
        }
    }
}
