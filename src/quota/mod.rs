//! The generic cell rate algorithm (GCRA): one number per subject says when it may ask again.
//!
//! Pure: a limit, the number and the time go in, a decision and the new number come out. Stores keep the
//! number.
//!
//! The number is the *theoretical arrival time* (TAT): when the subject is whole again. A charge moves it
//! ahead by one interval (`period / count`, rounded up to the nanosecond, so that never more than the rate
//! gets through) and is taken if it then lies at most `burst` intervals ahead of now. A number that lies
//! behind now says the same as none at all: zero.

use std::{num::NonZeroU32, time::Duration};

use crate::model::{QuotaAnswer, Tick};

/// A rate with a burst: `count` in `period`, and up to `burst` at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// How many in one period.
    pub count: NonZeroU32,
    /// The period: a second, a minute, an hour or a day.
    pub period: Duration,
    /// How many at once after a rest.
    pub burst: NonZeroU32,
}

impl Limit {
    /// Returns the nanoseconds that one charge costs, at least one.
    pub const fn interval(&self) -> u128 {
        let interval = self.period.as_nanos().div_ceil(widen(self.count));
        if interval == 0 { 1 } else { interval }
    }

    /// Returns the nanoseconds that a whole burst costs: how far a number may lie ahead.
    pub const fn window(&self) -> u128 {
        self.interval().saturating_mul(widen(self.burst))
    }
}

/// Judges one charge; returns the answer and the new number, which is unchanged where the answer is
/// `Exceeded`.
///
/// `retry_after` is exact: asked so much later the charge is taken, a nanosecond earlier it is not. What 64
/// bits of nanoseconds (584 years) cannot hold counts as exceeded.
pub fn decide(tat_nanos: u64, limit: Limit, now: Tick) -> (QuotaAnswer, u64) {
    let interval = limit.interval();
    let now = u128::from(now.as_nanos());
    let new = u128::from(tat_nanos).max(now).saturating_add(interval);
    let latest = now.saturating_add(limit.window());
    match u64::try_from(new) {
        Ok(stored) if new <= latest => {
            let remaining = u32::try_from((latest - new) / interval).unwrap_or(u32::MAX);
            (QuotaAnswer::Taken { remaining, reset: nanos(new - now) }, stored)
        }
        Ok(_) | Err(_) => {
            (QuotaAnswer::Exceeded { retry_after: nanos(new.saturating_sub(latest).max(1)) }, tat_nanos)
        }
    }
}

/// Takes one charge back; returns the new number.
pub fn give_back(tat_nanos: u64, limit: Limit) -> u64 {
    tat_nanos.saturating_sub(u64::try_from(limit.interval()).unwrap_or(u64::MAX))
}

fn nanos(nanos: u128) -> Duration {
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

const fn widen(count: NonZeroU32) -> u128 {
    #[expect(clippy::as_conversions, reason = "u32 to u128 loses nothing; `From` is not const yet")]
    let wide = count.get() as u128;
    wide
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn limit(count: u32, period: Duration, burst: u32) -> Limit {
        Limit { count: NonZeroU32::new(count).unwrap(), period, burst: NonZeroU32::new(burst).unwrap() }
    }

    fn per_second(count: u32, burst: u32) -> Limit {
        limit(count, Duration::from_secs(1), burst)
    }

    fn is_taken(answer: QuotaAnswer) -> bool {
        matches!(answer, QuotaAnswer::Taken { .. })
    }

    /// A subject that asks at given times.
    struct Subject(u64, Limit);

    impl Subject {
        fn ask(&mut self, at: u64) -> QuotaAnswer {
            let (answer, new) = decide(self.0, self.1, Tick::from_nanos(at));
            self.0 = new;
            answer
        }
    }

    #[test]
    fn a_burst_is_taken_to_the_last() {
        let mut subject = Subject(0, per_second(10, 3));

        assert_eq!(
            subject.ask(SECOND),
            QuotaAnswer::Taken { remaining: 2, reset: Duration::from_millis(100) }
        );
        assert_eq!(
            subject.ask(SECOND),
            QuotaAnswer::Taken { remaining: 1, reset: Duration::from_millis(200) }
        );
        assert_eq!(
            subject.ask(SECOND),
            QuotaAnswer::Taken { remaining: 0, reset: Duration::from_millis(300) }
        );
        assert_eq!(subject.ask(SECOND), QuotaAnswer::Exceeded { retry_after: Duration::from_millis(100) });
    }

    #[test]
    fn one_comes_back_with_each_interval() {
        let mut subject = Subject(0, per_second(10, 1));

        assert!(is_taken(subject.ask(SECOND)));
        assert_eq!(
            subject.ask(SECOND + 99_999_999),
            QuotaAnswer::Exceeded { retry_after: Duration::from_nanos(1) }
        );
        assert!(is_taken(subject.ask(SECOND + 100_000_000)));
    }

    #[test]
    fn a_rest_does_not_save_more_than_a_burst() {
        let mut subject = Subject(0, per_second(10, 2));

        assert!(is_taken(subject.ask(SECOND)));
        assert_eq!([1, 2, 3].map(|_| is_taken(subject.ask(3600 * SECOND))), [true, true, false]);
    }

    #[test]
    fn what_was_given_back_can_be_taken_again() {
        let limit = per_second(1, 2);
        let mut subject = Subject(0, limit);
        subject.ask(SECOND);
        subject.ask(SECOND);

        subject.0 = give_back(subject.0, limit);

        assert_eq!([1, 2].map(|_| is_taken(subject.ask(SECOND))), [true, false]);
        assert_eq!(give_back(0, limit), 0);
    }

    #[test]
    fn the_ends_of_the_numbers_refuse() {
        let day = Duration::from_secs(86_400);
        let widest = limit(1, day, u32::MAX);

        assert!(is_taken(decide(0, widest, Tick::from_nanos(SECOND)).0));
        assert!(!is_taken(decide(u64::MAX, widest, Tick::from_nanos(SECOND)).0));
        assert!(!is_taken(decide(0, widest, Tick::from_nanos(u64::MAX)).0));
        assert_eq!(limit(u32::MAX, Duration::ZERO, 1).interval(), 1);
        assert_eq!(limit(u32::MAX, Duration::from_secs(1), 1).interval(), 1);
        assert_eq!(give_back(5, limit(1, Duration::MAX, 1)), 0);
    }

    #[test]
    fn an_odd_rate_is_rounded_to_the_slower_side() {
        assert_eq!(per_second(3, 1).interval(), 333_333_334);
        assert_eq!(per_second(100_000, 1).interval(), 10_000);
    }

    /// The leaky bucket that GCRA is said to be: a level in nanoseconds that leaks one each nanosecond.
    #[derive(Default)]
    struct Bucket {
        level: u128,
        at: u64,
    }

    impl Bucket {
        fn ask(&mut self, limit: Limit, at: u64) -> bool {
            self.level = self.level.saturating_sub(u128::from(at - self.at));
            self.at = at;
            let fits = self.level + limit.interval() <= limit.window();
            self.level += if fits { limit.interval() } else { 0 };
            fits
        }
    }

    fn any_limit() -> impl Strategy<Value = Limit> {
        let periods = prop::sample::select(vec![1_u64, 60, 3600, 86_400]);
        (1_u32..200_000, periods, 1_u32..50)
            .prop_map(|(count, period, burst)| limit(count, Duration::from_secs(period), burst))
    }

    proptest! {
        #[test]
        fn it_agrees_with_a_leaky_bucket(limit in any_limit(), gaps in prop::collection::vec((0_u64..4, 0_u64..1_000_000_000), 1..80)) {
            let (mut subject, mut bucket, mut at) = (Subject(0, limit), Bucket::default(), SECOND);
            bucket.at = at;
            for (intervals, nanos) in gaps {
                at += u64::try_from(limit.interval()).unwrap() * intervals / 2 + nanos % (2 * u64::try_from(limit.interval()).unwrap());
                prop_assert_eq!(is_taken(subject.ask(at)), bucket.ask(limit, at));
            }
        }

        #[test]
        fn retry_after_is_exact(limit in any_limit(), asks in 1_u32..120, now in SECOND..1_000_000 * SECOND) {
            let mut subject = Subject(0, limit);
            for _ in 0..asks {
                if let QuotaAnswer::Exceeded { retry_after } = subject.ask(now) {
                    let wait = u64::try_from(retry_after.as_nanos()).unwrap();

                    prop_assert!(!is_taken(decide(subject.0, limit, Tick::from_nanos(now + wait - 1)).0));
                    prop_assert!(is_taken(decide(subject.0, limit, Tick::from_nanos(now + wait)).0));
                }
            }
        }

        #[test]
        fn remaining_is_what_is_still_taken(limit in any_limit(), now in SECOND..1_000_000 * SECOND) {
            let mut subject = Subject(0, limit);
            let QuotaAnswer::Taken { remaining, .. } = subject.ask(now) else { panic!("the first is taken") };
            for left in (0..remaining).rev() {
                let is_next = matches!(subject.ask(now), QuotaAnswer::Taken { remaining, .. } if remaining == left);
                prop_assert!(is_next);
            }
            prop_assert!(!is_taken(subject.ask(now)));
        }

        #[test]
        fn no_numbers_make_it_panic(tat in any::<u64>(), now in any::<u64>(), count in 1_u32.., secs in any::<u64>(), burst in 1_u32..) {
            let limit = limit(count, Duration::from_secs(secs), burst);
            let (answer, new) = decide(tat, limit, Tick::from_nanos(now));
            prop_assert!(is_taken(answer) || new == tat);
            let _ = give_back(tat, limit);
        }
    }
}
