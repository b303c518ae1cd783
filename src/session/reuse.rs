//! Whether an old token of a session comes back.
//!
//! Each renewal makes a token of the next generation. A browser that was given it presents it from then on,
//! and so the one before is of no more use to it than for requests that are under way. Who presents that one
//! later has it from somewhere else.
//!
//! Only what was *presented* counts: a token that was made and never arrived logs nobody out.

use std::time::Duration;

use crate::model::UnixTime;

/// For how long an older token is good once a newer one was presented.
pub const REUSE_GRACE: Duration = Duration::from_secs(30);

/// The newest generation of a session that was presented.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Newest {
    /// Which one.
    pub generation: u32,
    /// When it was presented first.
    pub since: UnixTime,
}

/// What a token is beside the newest one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenOrder {
    /// The newest, as before.
    Same,
    /// It is newer than all before.
    Newer,
    /// It is older, and was under way when the newer one came.
    Late,
    /// It is older, and should be nobody's any more.
    Reused,
}

impl Newest {
    /// Says what a token of a generation is, presented now.
    pub fn present(self, generation: u32, now: UnixTime) -> TokenOrder {
        if generation == self.generation {
            TokenOrder::Same
        } else if generation > self.generation {
            TokenOrder::Newer
        } else if now.since(self.since) <= REUSE_GRACE {
            TokenOrder::Late
        } else {
            TokenOrder::Reused
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const T: UnixTime = UnixTime::from_secs(1_000);

    #[test]
    fn an_older_token_is_good_for_a_while_and_then_a_theft() {
        let newest = Newest { generation: 3, since: T };

        assert_eq!(newest.present(2, T.plus(REUSE_GRACE)), TokenOrder::Late);
        assert_eq!(newest.present(2, T.plus(REUSE_GRACE + Duration::from_millis(1))), TokenOrder::Reused);
        assert_eq!(newest.present(0, T), TokenOrder::Late);
        assert_eq!(newest.present(3, T.plus(Duration::from_secs(9_000))), TokenOrder::Same);
        assert_eq!(newest.present(4, T.plus(Duration::from_secs(9_000))), TokenOrder::Newer);
    }

    #[test]
    fn a_clock_that_was_set_back_accuses_nobody() {
        assert_eq!(Newest { generation: 1, since: T }.present(0, UnixTime::from_secs(1)), TokenOrder::Late);
    }

    proptest! {
        /// Whoever presents only the newest token that it was given, or repeats one for as long as no newer
        /// one was presented, is never accused, whatever renewals get lost.
        #[test]
        fn an_honest_client_is_never_accused(steps in prop::collection::vec((0_u64..100_000, any::<bool>()), 1..50)) {
            let (mut newest, mut now, mut has) = (Newest::default(), T, 0_u32);
            for (wait, arrives) in steps {
                now = now.plus(Duration::from_millis(wait));
                let order = newest.present(has, now);
                prop_assert!(matches!(order, TokenOrder::Same | TokenOrder::Newer));
                if order == TokenOrder::Newer {
                    newest = Newest { generation: has, since: now };
                }
                // Each answer renews what was presented; it may not arrive.
                has += u32::from(arrives);
            }
        }
    }
}
