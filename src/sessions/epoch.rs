//! Dates of revocations: when the sessions of a user or tenant end, now or later.

use crate::model::UnixTime;

/// A user's marks: from the first time on, sessions signed in up to the second are ended. Sorted by the
/// first.
#[derive(Clone)]
pub(super) struct UserCutoffs {
    pub(super) cutoffs: Vec<(UnixTime, UnixTime)>,
    pub(super) keep_until: UnixTime,
}

/// A tenant's epochs: the one in force, and when later ones begin.
///
/// An epoch is a number that begins at a time, and one that begins later is larger. So what several nodes
/// know merges: of two numbers the larger counts, and one that begins behind a larger one is raised above it.
/// Counting how often a tenant was ended would not merge: two nodes that end it while they cannot hear each
/// other would both count one more.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Epoch {
    pub(super) base: u32,
    pub(super) present: bool,
    /// When each of the next ones begins, and its number. Both rise.
    pub(super) raises: Vec<(UnixTime, u32)>,
    /// When the last of the epochs up to `base` began, as far as that is known: sessions that carry no epoch
    /// are judged by it.
    pub(super) since: UnixTime,
}

/// Most dates that are kept apart for one user or tenant. Of more, the two earliest become one that holds
/// from the first on and ends what either ends: exact where both are past, stricter where they are not.
pub(super) const MAX_DATES: usize = 16;

impl UserCutoffs {
    pub(super) fn ended(&self, auth_time: UnixTime, now: UnixTime) -> Option<UnixTime> {
        self.cutoffs.iter().filter(|(from, at)| *from <= now && auth_time <= *at).map(|(_, at)| *at).max()
    }

    pub(super) fn add(&mut self, from: UnixTime, at: UnixTime, keep_until: UnixTime) {
        self.keep_until = self.keep_until.max(keep_until);
        // A mark that begins no later and ends no less says it all already.
        if self.cutoffs.iter().any(|mark| mark.0 <= from && mark.1 >= at) {
            return;
        }
        self.cutoffs.retain(|mark| mark.0 < from || mark.1 > at);
        let place = self.cutoffs.partition_point(|mark| mark.0 <= from);
        self.cutoffs.insert(place, (from, at));
        if self.cutoffs.len() > MAX_DATES {
            self.join_first_two();
        }
    }

    pub(super) fn settle(&mut self, now: UnixTime) {
        while self.cutoffs.get(1).is_some_and(|(from, _)| *from <= now) {
            self.join_first_two();
        }
    }

    fn join_first_two(&mut self) {
        let [first, second, rest @ ..] = self.cutoffs.as_slice() else { return };
        let joined = (first.0, first.1.max(second.1));
        self.cutoffs = std::iter::once(joined).chain(rest.iter().copied()).collect();
    }
}

impl Epoch {
    pub(super) fn at(&self, now: UnixTime) -> u32 {
        self.begun(now).map_or(self.base, |(_, epoch)| self.base.max(*epoch))
    }

    /// The epoch of a session that carries none: the current one if the user signed in behind its beginning.
    pub(super) fn of(&self, auth_time: UnixTime, now: UnixTime) -> u32 {
        let current = self.at(now);
        if auth_time > self.began(now) { current } else { current.saturating_sub(1) }
    }

    fn began(&self, now: UnixTime) -> UnixTime {
        self.begun(now).map_or(self.since, |(from, _)| self.since.max(*from))
    }

    fn begun(&self, now: UnixTime) -> Option<&(UnixTime, u32)> {
        self.raises.iter().rev().find(|(from, _)| *from <= now)
    }

    /// The number of an epoch that begins at a time and ends all that began before.
    pub(super) fn next(&self, from: UnixTime) -> u32 {
        self.at(from).saturating_add(1)
    }

    /// Merges an epoch in. One that is known already changes nothing.
    pub(super) fn raise(&mut self, from: UnixTime, epoch: u32) {
        if from <= self.since {
            self.base = self.base.max(epoch);
        } else {
            let place = self.raises.partition_point(|(kept, _)| *kept < from);
            match self.raises.get_mut(place).filter(|(kept, _)| *kept == from) {
                Some((_, kept)) => *kept = epoch.max(*kept),
                None => self.raises.insert(place, (from, epoch)),
            }
        }
        self.order();
        if self.raises.len() > MAX_DATES {
            let (from, epoch) = self.raises.remove(0);
            self.since = self.since.max(from);
            self.base = self.base.max(epoch);
        }
    }

    /// Has the epoch begin whatever the time is.
    pub(super) fn begin(&mut self, since: UnixTime, epoch: u32) {
        self.base = self.base.max(epoch);
        self.since = self.since.max(since);
        self.order();
    }

    /// Raises each number above those that begin before.
    fn order(&mut self) {
        let mut floor = self.base;
        for (_, epoch) in &mut self.raises {
            *epoch = floor.saturating_add(1).max(*epoch);
            floor = *epoch;
        }
    }

    pub(super) fn settle(&mut self, now: UnixTime) {
        self.base = self.at(now);
        self.since = self.began(now);
        self.raises.retain(|(from, _)| *from > now);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn epoch(raises: &[(u64, u32)]) -> Epoch {
        let mut epoch = Epoch::default();
        raises.iter().for_each(|(from, number)| epoch.raise(UnixTime::from_millis(*from), *number));
        epoch
    }

    #[test]
    fn two_that_did_not_hear_of_each_other_end_what_began_before_either() {
        let mut both = epoch(&[(10, 7), (20, 7)]);
        assert_eq!([9, 10, 19, 20].map(|now| both.at(UnixTime::from_millis(now))), [0, 7, 7, 8]);

        both.settle(UnixTime::from_millis(20));
        both.raise(UnixTime::from_millis(10), 7);
        both.raise(UnixTime::from_millis(20), 7);

        assert_eq!(both.at(UnixTime::from_millis(20)), 8, "what is known already changes nothing");
    }

    proptest! {
        /// In whatever order and however often nodes hear of epochs, and hear of what the others made of
        /// them: in the end they agree, and every epoch ended what had begun before it.
        #[test]
        fn nodes_agree(raises in prop::collection::vec((1_u64..40, 1_u32..6), 1..6), seed in any::<prop::sample::Index>(), settled in 0_u64..40) {
            let mut a = epoch(&raises);
            let mut other = raises.clone();
            let length = other.len();
            other.rotate_left(seed.index(length));
            let mut b = Epoch::default();
            for (from, number) in other.iter().chain(&raises) {
                b.raise(UnixTime::from_millis(*from), *number);
                b.settle(UnixTime::from_millis(settled));
            }
            for _ in 0..20 {
                let (from_a, from_b) = (told(&a), told(&b));
                from_b.into_iter().for_each(|(from, number)| a.raise(from, number));
                from_a.into_iter().for_each(|(from, number)| b.raise(from, number));
                a.settle(UnixTime::from_millis(settled));
                b.settle(UnixTime::from_millis(settled));
            }

            prop_assert_eq!(&a, &b);
            let mut times: Vec<u64> = raises.iter().map(|(from, _)| *from).collect();
            times.sort_unstable();
            for pair in times.windows(2).filter(|pair| pair[0] < pair[1] && pair[1] > settled) {
                prop_assert!(a.at(UnixTime::from_millis(pair[0])) < a.at(UnixTime::from_millis(pair[1])), "{:?}", a);
            }
        }
    }

    /// What a node tells others of a tenant.
    fn told(epoch: &Epoch) -> Vec<(UnixTime, u32)> {
        std::iter::once((epoch.since, epoch.base)).chain(epoch.raises.iter().copied()).collect()
    }
}
