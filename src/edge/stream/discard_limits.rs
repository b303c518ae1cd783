//! How long the rest of an answered request is awaited.

use std::time::Duration;

use tokio::time::Instant;

use crate::model::Discard;

/// How long a client may pause. The body rate is an average, so it alone would allow a client that has read
/// its response and sends nothing more to hold the connection for hours. A link that loses a segment three
/// times in a row is silent for seven seconds.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// How long a client may go on beyond the allowed size of its body. Clients that look for a response while
/// they send have stopped long before; for the others, the response to a file that is somewhat too large is
/// not lost. nginx waits as long (`lingering_time`). Octets are not counted: the connection costs us its
/// place, and there are other ways to send us octets.
const LONGEST_BEHIND: Duration = Duration::from_secs(30);
/// Watches what is discarded.
#[derive(Debug)]
pub(super) struct Discarding {
    left: u64,
    pause_by: Instant,
    behind_by: Option<Instant>,
}

impl Discarding {
    pub(super) fn new(bounds: Discard, now: Instant) -> Self {
        let behind_by = (bounds.octets == 0).then(|| now + LONGEST_BEHIND);
        Self { left: bounds.octets, pause_by: now + bounds.first, behind_by }
    }

    /// Notes octets. The framing of a body counts too: there may be more of it than of the body.
    pub(super) fn received(&mut self, octets: usize, now: Instant) {
        self.left = self.left.saturating_sub(u64::try_from(octets).unwrap_or(u64::MAX));
        self.pause_by = now + LONGEST_PAUSE;
        if self.left == 0 {
            self.behind_by.get_or_insert(now + LONGEST_BEHIND);
        }
    }

    /// Returns until when more is awaited.
    pub(super) fn by(&self) -> Instant {
        self.behind_by.map_or(self.pause_by, |by| by.min(self.pause_by))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_pause_is_borne_for_ten_seconds_however_much_came_before() {
        let start = Instant::now();
        let mut discarding = Discarding::new(Discard { octets: 1000, first: SECOND }, start);

        assert_eq!(discarding.by(), start + SECOND);
        discarding.received(999, start + SECOND);
        assert_eq!(discarding.by(), start + 11 * SECOND);
    }

    #[test]
    fn what_comes_behind_the_bound_has_half_a_minute_in_all() {
        let start = Instant::now();
        let mut discarding = Discarding::new(Discard { octets: 1000, first: SECOND }, start);

        discarding.received(1000, start);
        assert_eq!(discarding.by(), start + 10 * SECOND);
        for second in 1..=40 {
            discarding.received(1 << 30, start + second * SECOND);
            assert_eq!(discarding.by(), start + (second + 10).min(30) * SECOND, "{second}");
        }
    }

    #[test]
    fn a_body_that_is_over_its_bound_already_is_behind_it_at_once() {
        let start = Instant::now();
        let mut discarding = Discarding::new(Discard { octets: 0, first: 10 * SECOND }, start);

        assert_eq!(discarding.by(), start + 10 * SECOND);
        discarding.received(1, start + 9 * SECOND);
        discarding.received(1, start + 18 * SECOND);
        discarding.received(1, start + 27 * SECOND);
        assert_eq!(discarding.by(), start + 30 * SECOND);
    }
}
