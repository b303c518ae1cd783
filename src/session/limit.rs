//! How many sessions a user may have at once, and which ends when there would be more.

use std::num::NonZeroU8;

use crate::model::{SessionId, UnixTime};

/// The largest limit that can be set: [`UserLimit`] counts up to there.
pub const MOST_SESSIONS: u8 = 100;

/// A bound on the sessions of one user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UserLimit {
    /// How many there may be, 1 to [`MOST_SESSIONS`].
    pub limit: NonZeroU8,
    /// What happens at one more.
    pub over: LimitAction,
}

/// What happens when a user with as many sessions as there may be signs in again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LimitAction {
    /// The oldest ends.
    #[default]
    Oldest,
    /// The sign-in is refused.
    Refuse,
}

/// A session that counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeldSession {
    /// When it was granted.
    pub granted: UnixTime,
    /// Which it is.
    pub id: SessionId,
    /// Its absolute end.
    pub ends: UnixTime,
}

/// Whether one more session may begin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Admission {
    /// It may, once these have ended.
    Granted(Vec<HeldSession>),
    /// It may not: the user has so many already.
    Refused(usize),
}

/// Judges whether a user who has the sessions `held` may have one more.
///
/// Whoever asks knows which of them still hold. Of two granted in the same millisecond the one with the
/// smaller identifier counts as older, so that everybody who looks names the same.
pub fn admit(held: &mut [HeldSession], rule: UserLimit) -> Admission {
    let most = usize::from(rule.limit.get());
    let surplus = held.len().saturating_add(1).saturating_sub(most);
    if surplus == 0 {
        return Admission::Granted(Vec::new());
    }
    match rule.over {
        LimitAction::Refuse => Admission::Refused(held.len()),
        LimitAction::Oldest => {
            held.sort_unstable_by_key(|session| (session.granted, *session.id.as_bytes()));
            Admission::Granted(held.iter().take(surplus).copied().collect())
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn rule(limit: u8, over: LimitAction) -> UserLimit {
        UserLimit { limit: NonZeroU8::new(limit).unwrap(), over }
    }

    fn held(granted: u64, id: u8) -> HeldSession {
        HeldSession {
            granted: UnixTime::from_secs(granted),
            id: SessionId::new([id; 16]),
            ends: UnixTime::from_secs(granted + 100),
        }
    }

    #[test]
    fn below_the_limit_nobody_ends() {
        for over in [LimitAction::Oldest, LimitAction::Refuse] {
            assert_eq!(admit(&mut [held(1, 1)], rule(2, over)), Admission::Granted(vec![]));
        }
    }

    #[test]
    fn at_the_limit_the_oldest_ends_or_the_new_one_does_not_begin() {
        let mut two = [held(5, 1), held(3, 2)];

        assert_eq!(admit(&mut two, rule(2, LimitAction::Oldest)), Admission::Granted(vec![held(3, 2)]));
        assert_eq!(admit(&mut two, rule(2, LimitAction::Refuse)), Admission::Refused(2));
    }

    #[test]
    fn where_the_limit_was_lowered_all_that_are_too_many_end() {
        let mut four = [held(4, 4), held(2, 2), held(2, 1), held(3, 3)];

        assert_eq!(
            admit(&mut four, rule(2, LimitAction::Oldest)),
            Admission::Granted(vec![held(2, 1), held(2, 2), held(3, 3)])
        );
    }

    proptest! {
        #[test]
        fn never_more_than_the_limit_and_never_one_too_many_ended(times in prop::collection::vec(0_u64..50, 0..40), limit in 1_u8..20) {
            let mut all: Vec<HeldSession> = times.iter().zip(0_u8..).map(|(time, number)| held(*time, number)).collect();
            let count = all.len();

            let Admission::Granted(ended) = admit(&mut all, rule(limit, LimitAction::Oldest)) else { panic!("refused") };

            prop_assert_eq!(count - ended.len() + 1, usize::from(limit).min(count + 1));
            let newest_ended = all.iter().filter(|one| ended.contains(one)).map(|one| one.granted).max();
            let oldest_left = all.iter().filter(|one| !ended.contains(one)).map(|one| one.granted).min();
            prop_assert!(newest_ended.zip(oldest_left).is_none_or(|(ended, left)| ended <= left));
        }
    }
}
