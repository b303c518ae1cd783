//! How a session is let in where its user's are counted: by this node alone, over all nodes, or by the process that has the file.
//!
//! Over nodes the store that they share counts, in one step ([`Peers::count`](super::peers::Peers::count)), and the file is written all the
//! same: it is what a node counts by where the others cannot be asked and the rule lets it.

use std::time::Duration;

use super::{
    Journal, StoreError,
    record::Record,
    registry::{Note, Terms},
};
use crate::{
    model::{SessionId, UnixTime},
    policy::OnStale,
    session::{Admission, Held, UserLimit, admit},
};

impl Journal {
    /// Notes a session that is about to begin, and says which of its user's must end before its token leaves; `replaces` ends with it.
    ///
    /// Durable on return where the user's sessions are limited. Blocks. A refused one is not noted.
    pub fn grant(&self, note: Note, terms: Terms, replaces: Option<SessionId>, now: UnixTime) -> Result<Admission, StoreError> {
        let Some(writers) = self.turn_of_ours() else { return self.grant_elsewhere(note, terms, replaces) };
        if !self.marks.known.has_room(&note.tenant) {
            // Nobody could say later how many there are.
            return if terms.limit.is_some() { Err(StoreError::RegistryFull) } else { Ok(Admission::Granted(Vec::new())) };
        }
        drop(writers);
        let over_nodes = match (terms.limit, self.peers.get()) {
            (Some(limit), Some(peers)) => match peers.count(&note, limit, terms.idle, replaces) {
                Ok(refused @ Admission::Refused(_)) => return Ok(refused),
                Ok(admission) => Some(admission),
                Err(StoreError::Uncounted(_)) if terms.on_stale == OnStale::Allow => {
                    peers.counted_alone();
                    None
                }
                Err(error) => return Err(error),
            },
            (None, _) | (_, None) => None,
        };
        let Some(mut writers) = self.turn_of_ours() else {
            // It was handed over meanwhile. What was counted over nodes is counted.
            return match over_nodes {
                Some(admission) => {
                    self.note_for_heir(note_of(note));
                    Ok(admission)
                }
                None => self.grant_elsewhere(note, terms, replaces),
            };
        };
        let admission = match (over_nodes, terms.limit) {
            (Some(admission), _) => admission,
            (None, Some(limit)) => self.count_alone(&note, limit, terms, replaces, now),
            (None, None) => Admission::Granted(Vec::new()),
        };
        if let Admission::Refused(_) = admission {
            return Ok(admission);
        }
        self.put(&mut writers, note_of(note));
        if terms.limit.is_some() {
            self.commit_and_tell(writers)?;
        }
        Ok(admission)
    }

    /// Judges by the sessions that are known here. The caller has the turn, so that of two at once the second counts the first.
    fn count_alone(&self, note: &Note, limit: UserLimit, terms: Terms, replaces: Option<SessionId>, now: UnixTime) -> Admission {
        let held = self.living(&note.tenant, &note.user, terms.idle, now);
        let held = held.iter().filter(|known| known.note.id != note.id && Some(known.note.id) != replaces);
        let mut held: Vec<Held> =
            held.map(|known| Held { granted: known.note.granted, id: known.note.id, ends: known.note.ends }).collect();
        admit(&mut held, limit)
    }

    /// Has whoever has the file judge, and end what is one too many: it counts what both granted.
    fn grant_elsewhere(&self, note: Note, terms: Terms, replaces: Option<SessionId>) -> Result<Admission, StoreError> {
        if terms.limit.is_none() {
            self.note_for_heir(note_of(note));
            return Ok(Admission::Granted(Vec::new()));
        }
        let wish = Wish { note, terms, replaces }.encode();
        match self.ask_holder(wish) {
            Ok(()) => Ok(Admission::Granted(Vec::new())),
            Err(StoreError::TooMany(count)) => Ok(Admission::Refused(count)),
            Err(error) => Err(error),
        }
    }

    /// Grants for a predecessor: what must end for it is ended here.
    pub(super) fn grant_for(&self, wish: Wish) -> Result<(), StoreError> {
        let Wish { note, terms, replaces } = wish;
        let (tenant, now) = (note.tenant.clone(), note.granted);
        match self.grant(note, terms, replaces, now)? {
            Admission::Refused(count) => Err(StoreError::TooMany(count)),
            Admission::Granted(surplus) => surplus.iter().try_for_each(|held| {
                let keep_until = held.ends.max(now.plus(terms.absolute));
                self.revoke_session(&tenant, &held.id, now, keep_until)
            }),
        }
    }
}

/// The terms are for whoever judges; they stand in no file.
pub(super) fn note_of(note: Note) -> Record {
    Record::Granted(Box::new((note, Terms::default())))
}

/// A grant that another process is to judge.
///
/// Its bytes: the record of the session with its terms, then `absolute` u64 in milliseconds, what to do where others cannot be asked (0:
/// deny, 1: allow), and the identifier that is replaced, or nothing.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Wish {
    pub(super) note: Note,
    pub(super) terms: Terms,
    pub(super) replaces: Option<SessionId>,
}

impl Wish {
    pub(super) fn encode(self) -> Vec<u8> {
        let mut out = Vec::new();
        Record::Granted(Box::new((self.note, self.terms))).encode(&mut out);
        out.extend_from_slice(&u64::try_from(self.terms.absolute.as_millis()).unwrap_or(u64::MAX).to_be_bytes());
        out.push(match self.terms.on_stale {
            OnStale::Deny => 0,
            OnStale::Allow => 1,
        });
        out.extend(self.replaces.iter().flat_map(SessionId::as_bytes));
        out
    }

    /// Reads what stands behind the record.
    pub(super) fn decode(note: Note, terms: Terms, rest: &[u8]) -> Option<Self> {
        let (absolute, rest) = rest.split_first_chunk()?;
        let (on_stale, rest) = rest.split_first()?;
        let on_stale = match on_stale {
            0 => OnStale::Deny,
            1 => OnStale::Allow,
            _ => return None,
        };
        let replaces = if rest.is_empty() { None } else { Some(SessionId::new(rest.try_into().ok()?)) };
        let absolute = Duration::from_millis(u64::from_be_bytes(*absolute));
        Some(Self { note, terms: Terms { absolute, on_stale, ..terms }, replaces })
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU8;

    use proptest::prelude::*;

    use super::*;
    use crate::{model::ClientPrefix, session::Over};

    proptest! {
        #[test]
        fn a_wish_reads_back(absolute in any::<u64>(), allows in any::<bool>(), replaces in prop::option::of(any::<[u8; 16]>()), cut in 1_usize..30) {
            let limit = UserLimit { limit: NonZeroU8::MIN, over: Over::Refuse };
            let wish = || Wish {
                note: Note {
                    id: SessionId::new([7; 16]),
                    tenant: "acme".parse().unwrap(),
                    user: "u_1".parse().unwrap(),
                    granted: UnixTime::from_secs(1),
                    ends: UnixTime::from_secs(2),
                    epoch: 3,
                    client: ClientPrefix(4),
                },
                terms: Terms {
                    limit: Some(limit),
                    idle: Duration::from_secs(5),
                    absolute: Duration::from_millis(absolute),
                    on_stale: if allows { OnStale::Allow } else { OnStale::Deny },
                },
                replaces: replaces.map(SessionId::new),
            };
            let bytes = wish().encode();
            let read = |mut bytes: &[u8]| {
                let Record::Granted(granted) = Record::decode(&mut bytes)? else { return None };
                Wish::decode(granted.0, granted.1, bytes)
            };

            prop_assert_eq!(read(&bytes), Some(wish()));
            // Without the identifier it is a whole one, too.
            if !(replaces.is_some() && cut == 16) {
                prop_assert_eq!(read(&bytes[..bytes.len() - cut]), None);
            }
        }
    }
}
