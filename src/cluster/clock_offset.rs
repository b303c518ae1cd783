//! The offset between the clock of Redis and ours.
//!
//! The time at which a token was first presented is kept by the clock of Redis, because the clocks of two
//! nodes differ. A node converts it into its own time by its age. This is correct whatever the clocks show,
//! unless the clock of Redis is set between the two moments, or the Redis is replaced. So a time before such
//! a step counts as the time of the step. That makes things younger, never older, so it never causes a false
//! reuse report.

use std::time::Duration;

use crate::model::UnixTime;

/// The drift of the clocks between two looks, a second apart. It is subtracted from an age.
const DRIFT: Duration = Duration::from_secs(2);

/// The last reading of the clock of Redis.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct ClockOffset {
    /// By how many milliseconds it was ahead of our clock.
    ahead: Option<i64>,
    /// When it was set, by our clock.
    stepped: UnixTime,
}

impl ClockOffset {
    /// Converts the time `since` of the clock of Redis into our time. That clock shows `theirs` now, and ours
    /// `now`.
    pub(super) fn ours(&mut self, theirs: u64, since: u64, now: UnixTime) -> UnixTime {
        let ahead = signed(theirs).saturating_sub(signed(now.as_millis()));
        let drift = self.ahead.replace(ahead).map_or(0, |before| before.abs_diff(ahead));
        if u128::from(drift) > DRIFT.as_millis() {
            self.stepped = now;
        }
        now.minus(Duration::from_millis(theirs.saturating_sub(since))).plus(DRIFT).max(self.stepped).min(now)
    }
}

fn signed(millis: u64) -> i64 {
    i64::try_from(millis).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::session::{Newest, REUSE_GRACE, TokenOrder};

    fn at(secs: u64) -> UnixTime {
        UnixTime::from_secs(secs)
    }

    #[test]
    fn what_was_a_while_ago_there_was_so_here() {
        let mut beat = ClockOffset::default();

        assert_eq!(beat.ours(5_000_000, 4_970_000, at(1_000)), at(972));
        assert_eq!(beat.ours(5_060_000, 4_970_000, at(1_060)), at(972));
        assert_eq!(beat.ours(5_060_000, 5_059_000, at(1_060)), at(1_060));
        assert_eq!(beat.ours(5_061_000, 5_070_000, at(1_061)), at(1_061), "it lies ahead there");
    }

    #[test]
    fn what_was_before_a_step_counts_as_of_the_step() {
        for stepped in [8_661_000, 100_000] {
            let mut beat = ClockOffset::default();
            beat.ours(5_000_000, 0, at(1_000));

            assert_eq!(beat.ours(stepped, 0, at(1_001)), at(1_001));
            assert_eq!(beat.ours(stepped + 59_000, 0, at(1_060)), at(1_001));
            assert_eq!(beat.ours(stepped + 59_000, stepped + 49_000, at(1_060)), at(1_052));
        }
    }

    proptest! {
        /// A client presents a token to one node and, for as long as requests may be under way, the one
        /// before to another; whatever the clocks of nodes and of Redis say, how late one is told, and when
        /// the clock of Redis is set.
        #[test]
        fn an_honest_client_is_never_accused_by_another_node(
            (skew_b, skew_redis) in (0_u64..100_000, 0_u64..1_000_000),
            (told_after, under_way) in (0_u64..20_000, 0_u64..30_000),
            step in prop::option::of((0_u64..30_000, 0_u64..1_000_000, any::<bool>())),
        ) {
            // By a clock that nobody has: the newer token came at 1,000 s, and was told of `told_after`.
            let (presented, start) = (1_000_000, 900_000);
            let asked = presented + under_way;
            let redis = |real: u64| match step {
                Some((at, by, is_ahead)) if real >= presented + at => {
                    if is_ahead { real + skew_redis + by } else { (real + skew_redis).saturating_sub(by) }
                }
                Some(_) | None => real + skew_redis,
            };
            let b = |real: u64| UnixTime::from_millis(real + skew_b);
            let mut beat = ClockOffset::default();
            // B looks once a second, and learns of the token as soon as it is told.
            let told = presented + told_after;
            let mut newest = Newest { generation: 1, since: b(start) };
            for real in (start..=asked).step_by(1_000).chain([asked]) {
                if real >= told {
                    let since = beat.ours(redis(real), redis(told), b(real));
                    newest = Newest { generation: 2, since: if newest.generation == 2 { newest.since.min(since) } else { since } };
                } else {
                    beat.ours(redis(real), 0, b(real));
                }
            }

            prop_assert!(u128::from(under_way) <= REUSE_GRACE.as_millis());
            prop_assert!(matches!(newest.present(1, b(asked)), TokenOrder::Same | TokenOrder::Late));
        }
    }
}
