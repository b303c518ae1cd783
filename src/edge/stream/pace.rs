//! How fast the other side takes what we send, while we wait for it: pure rules, no timer and no socket.

use std::time::Duration;

use tokio::time::Instant;

use crate::model::Cut;

/// Watches one connection's writes.
///
/// It is told when a write has to wait and when one went through. `acked` is how many bytes the other side has acknowledged: what the
/// system keeps in its own buffer for a client that does not read counts for nothing.
#[derive(Debug)]
pub(super) struct Pace {
    /// Nothing may be taken for so long; the rate is that of as much waiting.
    stall: Duration,
    /// Bytes per second; 0 is no bound.
    rate: u64,
    /// The wait that is going on.
    wait: Option<Wait>,
    /// Waits of this period that are over.
    waited: Duration,
    /// What was acknowledged when the period began.
    period: Option<u64>,
}

#[derive(Clone, Copy, Debug)]
struct Wait {
    since: Instant,
    /// When there must have been progress since `acked`.
    stalled_by: Instant,
    acked: u64,
}

impl Pace {
    pub(super) fn new(stall: Duration, rate: u64) -> Self {
        Self { stall, rate, wait: None, waited: Duration::ZERO, period: None }
    }

    /// Begins anew, with the same bounds.
    pub(super) fn again(&self) -> Self {
        Self::new(self.stall, self.rate)
    }

    /// Tells that a write went through.
    pub(super) fn wrote(&mut self, now: impl Fn() -> Instant) {
        if let Some(wait) = self.wait.take() {
            self.waited += now().saturating_duration_since(wait.since);
        }
    }

    /// Tells that a write has to wait. Answers until when, before [`Pace::judge`] is to be asked.
    pub(super) fn wait(&mut self, now: impl Fn() -> Instant, acked: impl Fn() -> u64) -> Instant {
        let wait = *self.wait.get_or_insert_with(|| {
            let now = now();
            Wait { since: now, stalled_by: now + self.stall, acked: acked() }
        });
        self.period.get_or_insert(wait.acked);
        self.rate_by(wait).map_or(wait.stalled_by, |by| by.min(wait.stalled_by))
    }

    /// Judges a wait that has lasted: nothing taken, or too little.
    pub(super) fn judge(&mut self, now: Instant, acked: u64) -> Option<Cut> {
        self.judge_with(now, acked, 0)
    }

    /// Judges it where so much more is on its way, by how it came before: only the rate has regard to that.
    pub(super) fn judge_with(&mut self, now: Instant, acked: u64, coming: u64) -> Option<Cut> {
        let mut wait = self.wait?;
        if now >= wait.stalled_by {
            if acked <= wait.acked {
                return Some(Cut::WriteStall);
            }
            wait.stalled_by = now + self.stall;
            wait.acked = acked;
        }
        if self.rate_by(wait).is_some_and(|by| now >= by) {
            let due = self.rate.saturating_mul(u64::try_from(self.stall.as_millis()).unwrap_or(u64::MAX)) / 1000;
            if acked.saturating_add(coming).saturating_sub(self.period.unwrap_or(acked)) < due {
                return Some(Cut::WriteTooSlow);
            }
            wait.since = now;
            self.waited = Duration::ZERO;
            self.period = Some(acked);
        }
        self.wait = Some(wait);
        None
    }

    /// When the waits of this period come to `stall`.
    fn rate_by(&self, wait: Wait) -> Option<Instant> {
        (self.rate > 0).then(|| wait.since + self.stall.saturating_sub(self.waited))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_client_that_takes_nothing_is_stalled() {
        let (mut pace, start) = (Pace::new(30 * SECOND, 0), Instant::now());

        assert_eq!(pace.wait(|| start, || 500), start + 30 * SECOND);
        assert_eq!(pace.judge(start + 29 * SECOND, 500), None);
        assert_eq!(pace.judge(start + 30 * SECOND, 500), Some(Cut::WriteStall));
    }

    #[test]
    fn a_client_that_takes_a_little_now_and_then_is_too_slow() {
        let (mut pace, start) = (Pace::new(30 * SECOND, 1000), Instant::now());
        // It takes 100 bytes every second: no wait is ever long.
        let mut cut = None;
        for second in 0..40_u32 {
            let (now, acked) = (start + SECOND * second, u64::from(second) * 100);
            let by = pace.wait(|| now, || acked);
            if by < now + SECOND {
                cut = pace.judge(by, acked).map(|cut| (second, cut));
                break;
            }
            pace.wrote(|| now + SECOND);
        }
        assert_eq!(cut, Some((30, Cut::WriteTooSlow)));
    }

    #[test]
    fn a_slow_line_that_keeps_the_rate_is_served_for_ever() {
        let (mut pace, start) = (Pace::new(30 * SECOND, 1000), Instant::now());
        pace.wait(|| start, || 0);
        for second in 1..1000_u32 {
            let (now, acked) = (start + SECOND * second, u64::from(second) * 1000);
            if pace.wait(|| now, || acked) <= now {
                assert_eq!(pace.judge(now, acked), None, "{second}");
            }
        }
    }

    #[test]
    fn what_was_fast_before_earns_nothing() {
        let (mut pace, start) = (Pace::new(30 * SECOND, 1000), Instant::now());
        pace.wait(|| start, || 0);
        assert_eq!(pace.judge(start + 30 * SECOND, 1 << 40), None);
        assert_eq!(pace.judge(start + 60 * SECOND, (1 << 40) + 29_999), Some(Cut::WriteTooSlow));
    }

    #[test]
    fn time_in_which_nothing_waits_does_not_count() {
        let (mut pace, start) = (Pace::new(30 * SECOND, 1000), Instant::now());
        pace.wait(|| start, || 0);
        pace.wrote(|| start + 10 * SECOND);

        assert_eq!(pace.wait(|| start + 500 * SECOND, || 100), start + 520 * SECOND);
    }
}
