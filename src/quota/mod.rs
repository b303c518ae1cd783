//! The generic cell rate algorithm (GCRA): one number per subject says when it may ask again.
//!
//! Pure: a limit, the number and the time go in, a decision and the new number come out. Stores keep the number.

use std::{num::NonZeroU32, time::Duration};

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
