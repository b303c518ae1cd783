//! What a process notes of sessions while another has the file: which began, and which tokens were presented.
//!
//! Nobody waits for it. It is kept here for a moment, and handed on in one piece.

use super::{Journal, StoreError, journal::Writers, record::Record, succession::Holder};
use crate::model::SessionId;

/// How many notes may wait to be handed on. Of more the newest are known here only, for as long as this process drains.
const MOST_NOTES: usize = 16_384;

/// How many bytes of notes are handed on at once.
const BATCH_BYTES: usize = 32 * 1024;

impl Journal {
    /// Notes what whoever has the file is to be told.
    pub(super) fn note_for_heir(&self, record: Record) {
        self.note_here(&mut self.writers(), record);
    }

    pub(super) fn note_here(&self, writers: &mut Writers, record: Record) {
        if writers.notes.len() < MOST_NOTES {
            writers.notes.push(record.clone());
        }
        self.marks.apply(&mut writers.ledger, record);
    }

    /// Hands notes on to whoever has the file. While nobody can be asked they wait; should the file come back, it is written as a whole.
    pub(super) fn hand_notes_on(&self, notes: Vec<Record>) -> Result<(), StoreError> {
        let holder = self.writers().holder.clone();
        let heir = match holder {
            Holder::Heir(heir) => heir,
            Holder::Passing => {
                let mut writers = self.writers();
                let later = std::mem::replace(&mut writers.notes, notes);
                writers.notes.extend(later);
                return Ok(());
            }
            Holder::Ours | Holder::Nobody => return Ok(()),
        };
        let mut piece = Vec::new();
        for note in notes {
            note.encode(&mut piece);
            if piece.len() >= BATCH_BYTES {
                heir.write(std::mem::take(&mut piece))?;
            }
        }
        if piece.is_empty() { Ok(()) } else { heir.write(piece) }
    }

    /// Takes notes of a predecessor in; says whether they could be read. They are durable with the next commit.
    pub(super) fn take_notes(&self, first: Record, mut rest: &[u8]) -> bool {
        let mut next = Some(first);
        loop {
            match next {
                Some(Record::Granted(granted)) if granted.1.limit.is_some() => return false,
                Some(note @ (Record::Granted(_) | Record::Presented { .. })) => self.take_note(note),
                Some(Record::Session { .. } | Record::User { .. } | Record::Raise { .. } | Record::Fold { .. }) => return false,
                Some(Record::Tenant { .. } | Record::Fresh { .. }) | None => return false,
            }
            if rest.is_empty() {
                return true;
            }
            next = Record::decode(&mut rest);
        }
    }

    fn take_note(&self, note: Record) {
        let mut writers = self.writers();
        if self.has_file(&writers) {
            self.put(&mut writers, note);
        } else {
            self.note_here(&mut writers, note);
        }
    }
}

/// Returns the session that a record is about, if it is one.
pub(super) fn session_of(record: &Record) -> Option<SessionId> {
    match record {
        Record::Session { id, .. } | Record::Presented { id, .. } => Some(*id),
        Record::Granted(granted) => Some(granted.0.id),
        Record::User { .. } | Record::Raise { .. } | Record::Fold { .. } | Record::Tenant { .. } | Record::Fresh { .. } => None,
    }
}
