//! The sessions that must still be announced to other nodes.

use std::{
    collections::HashSet,
    sync::{Mutex, MutexGuard, PoisonError},
};

use tokio::sync::Notify;

use crate::model::SessionId;

/// How many may wait. After an overflow, all known sessions are announced once.
const MOST: usize = 1 << 16;

/// How many that never began may wait for removal. The others count until their idle time is over.
const MOST_VOID: usize = 1 << 10;

/// How many are announced at once.
pub(super) const BATCH: usize = 128;

/// The sessions that must still be announced to other nodes.
#[derive(Default)]
pub(super) struct Outbox {
    waiting: Mutex<Waiting>,
    pub(super) changed: Notify,
}

#[derive(Default)]
struct Waiting {
    fresh: HashSet<SessionId, ahash::RandomState>,
    /// The rest of all known sessions.
    all: Vec<SessionId>,
    /// Whether all known sessions must be announced.
    is_all: bool,
    void: Vec<(String, SessionId)>,
}

/// Sessions that are announced together.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Batch {
    pub(super) sessions: Vec<SessionId>,
    /// Sessions that never began, by key.
    pub(super) void: Vec<(String, SessionId)>,
    /// Whether the batch is not urgent.
    pub(super) has_time: bool,
}

impl Batch {
    pub(super) fn is_empty(&self) -> bool {
        self.sessions.is_empty() && self.void.is_empty()
    }
}

impl Outbox {
    /// Adds a session that changed. Does not block for long.
    pub(super) fn add(&self, id: SessionId) {
        let mut waiting = self.waiting();
        if waiting.is_all {
            return;
        }
        if waiting.fresh.len() >= MOST && !waiting.fresh.contains(&id) {
            (waiting.is_all, waiting.fresh) = (true, HashSet::default());
        } else {
            waiting.fresh.insert(id);
        }
        drop(waiting);
        self.changed.notify_one();
    }

    /// Adds all known sessions, because possibly no other node knows them.
    pub(super) fn add_all(&self) {
        self.waiting().is_all = true;
        self.changed.notify_one();
    }

    /// Adds a session that may have been counted but did not begin.
    pub(super) fn void(&self, key: String, id: SessionId) {
        let mut waiting = self.waiting();
        if waiting.void.len() < MOST_VOID {
            waiting.void.push((key, id));
        }
        drop(waiting);
        self.changed.notify_one();
    }

    /// Returns, once, whether all known sessions must be announced.
    pub(super) fn take_all(&self) -> bool {
        std::mem::take(&mut self.waiting().is_all)
    }

    pub(super) fn fill(&self, all: Vec<SessionId>) {
        self.waiting().all = all;
    }

    /// Takes the next batch.
    pub(super) fn next(&self) -> Batch {
        let mut waiting = self.waiting();
        let mut sessions: Vec<SessionId> = waiting.fresh.iter().take(BATCH).copied().collect();
        for id in &sessions {
            waiting.fresh.remove(id);
        }
        let has_time = sessions.is_empty();
        if has_time {
            let rest = waiting.all.len().saturating_sub(BATCH);
            sessions = waiting.all.split_off(rest);
        }
        let rest = waiting.void.len().saturating_sub(BATCH);
        Batch { sessions, void: waiting.void.split_off(rest), has_time }
    }

    /// Puts back a batch that could not be announced.
    pub(super) fn give_back(&self, batch: Batch) {
        let mut waiting = self.waiting();
        if batch.has_time {
            waiting.all.extend(batch.sessions);
        } else if waiting.fresh.len() < MOST {
            waiting.fresh.extend(batch.sessions);
        } else {
            waiting.is_all = true;
        }
        let room = MOST_VOID.saturating_sub(waiting.void.len());
        waiting.void.extend(batch.void.into_iter().take(room));
        drop(waiting);
        self.changed.notify_one();
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: usize) -> SessionId {
        SessionId::new(u128::try_from(number).unwrap().to_be_bytes())
    }

    #[test]
    fn each_is_told_of_once_however_often_it_changed() {
        let outbox = Outbox::default();
        for _ in 0..3 {
            outbox.add(id(1));
        }

        assert_eq!(outbox.next(), Batch { sessions: vec![id(1)], ..Batch::default() });
        assert!(outbox.next().is_empty());
    }

    #[test]
    fn too_many_are_all_that_are_known() {
        let outbox = Outbox::default();
        (0..MOST).for_each(|number| outbox.add(id(number)));
        outbox.add(id(0));
        assert!(!outbox.take_all(), "it waited already");

        outbox.add(id(MOST));

        assert!(outbox.take_all());
        assert!(!outbox.take_all());
        assert!(outbox.next().is_empty());
    }

    #[test]
    fn who_waits_goes_before_all_and_nothing_is_lost_by_a_failure() {
        let outbox = Outbox::default();
        outbox.fill((0..200).map(id).collect());
        outbox.add(id(500));

        let first = outbox.next();
        assert_eq!((first.sessions.as_slice(), first.has_time), (&[id(500)][..], false));
        outbox.give_back(first);
        let (first, second) = (outbox.next(), outbox.next());
        assert_eq!((first.sessions.len(), second.sessions.len(), second.has_time), (1, BATCH, true));
        outbox.give_back(second);
        let rest: Vec<SessionId> =
            [outbox.next(), outbox.next()].into_iter().flat_map(|batch| batch.sessions).collect();
        assert_eq!(rest.len(), 200);
    }

    #[test]
    fn those_that_never_began_are_bounded() {
        let outbox = Outbox::default();
        (0..MOST_VOID + 10).for_each(|number| outbox.void("key".to_owned(), id(number)));

        let taken: usize = std::iter::from_fn(|| Some(outbox.next()).filter(|batch| !batch.is_empty()))
            .map(|batch| batch.void.len())
            .sum();

        assert_eq!(taken, MOST_VOID);
    }
}
