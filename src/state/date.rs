//! Dates of revocations: when the sessions of a user or tenant end, now or later.

use crate::model::UnixTime;

/// A user's marks: from the first time on, sessions signed in up to the second are ended. Sorted by the first.
#[derive(Clone)]
pub(super) struct Signed {
    pub(super) marks: Vec<(UnixTime, UnixTime)>,
    pub(super) keep_until: UnixTime,
}

/// A tenant's epoch, and when its next ones begin. Sorted.
#[derive(Clone, Default)]
pub(super) struct Epoch {
    pub(super) base: u32,
    pub(super) present: bool,
    pub(super) raises: Vec<UnixTime>,
    /// When the last of the epochs in `base` began, as far as that is known: sessions that carry no epoch are judged by it.
    pub(super) since: UnixTime,
}

/// Most dates that are kept apart for one user or tenant. Of more, the two earliest become one that holds from the first on and ends
/// what either ends: exact where both are past, stricter where they are not.
pub(super) const MAX_DATES: usize = 16;

impl Signed {
    pub(super) fn ended(&self, auth_time: UnixTime, now: UnixTime) -> Option<UnixTime> {
        self.marks.iter().filter(|(from, at)| *from <= now && auth_time <= *at).map(|(_, at)| *at).max()
    }

    pub(super) fn add(&mut self, from: UnixTime, at: UnixTime, keep_until: UnixTime) {
        self.keep_until = self.keep_until.max(keep_until);
        // A mark that begins no later and ends no less says it all already.
        if self.marks.iter().any(|mark| mark.0 <= from && mark.1 >= at) {
            return;
        }
        self.marks.retain(|mark| mark.0 < from || mark.1 > at);
        let place = self.marks.partition_point(|mark| mark.0 <= from);
        self.marks.insert(place, (from, at));
        if self.marks.len() > MAX_DATES {
            self.join_first_two();
        }
    }

    pub(super) fn settle(&mut self, now: UnixTime) {
        while self.marks.get(1).is_some_and(|(from, _)| *from <= now) {
            self.join_first_two();
        }
    }

    fn join_first_two(&mut self) {
        let [first, second, rest @ ..] = self.marks.as_slice() else { return };
        let joined = (first.0, first.1.max(second.1));
        self.marks = std::iter::once(joined).chain(rest.iter().copied()).collect();
    }
}

impl Epoch {
    pub(super) fn at(&self, now: UnixTime) -> u32 {
        let begun = self.raises.partition_point(|at| *at <= now);
        self.base.saturating_add(u32::try_from(begun).unwrap_or(u32::MAX))
    }

    /// The epoch of a session that carries none: the current one if the user signed in behind its beginning.
    pub(super) fn of(&self, auth_time: UnixTime, now: UnixTime) -> u32 {
        let current = self.at(now);
        if auth_time > self.began(now) { current } else { current.saturating_sub(1) }
    }

    fn began(&self, now: UnixTime) -> UnixTime {
        let last = self.raises.iter().rev().find(|at| **at <= now);
        last.map_or(self.since, |at| self.since.max(*at))
    }

    pub(super) fn raise(&mut self, at: UnixTime) {
        self.raises.insert(self.raises.partition_point(|kept| *kept <= at), at);
        if self.raises.len() > MAX_DATES {
            self.since = self.since.max(self.raises.remove(0));
            self.base = self.base.saturating_add(1);
        }
    }

    pub(super) fn settle(&mut self, now: UnixTime) {
        self.base = self.at(now);
        self.since = self.began(now);
        self.raises.retain(|at| *at > now);
    }
}
