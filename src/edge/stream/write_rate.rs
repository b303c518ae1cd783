//! How fast the peer accepts what we send, while we wait for it: pure rules, no timer and no socket.

use std::time::Duration;

use tokio::time::Instant;

use crate::model::CutReason;

/// Watches the writes of one connection.
///
/// It is told when a write must wait and when a write has succeeded. `acked` is how many bytes the peer has
/// acknowledged: what the kernel buffers for a client that does not read does not count.
#[derive(Debug)]
pub(super) struct WriteRate {
    /// How long the peer may accept nothing. The rate is measured over as much waiting.
    stall: Duration,
    /// Bytes per second; 0 is no bound.
    rate: u64,
    /// The current wait.
    wait: Option<Wait>,
    /// Earlier waits of this period.
    waited: Duration,
    /// How many bytes were acknowledged when the period began.
    period: Option<u64>,
}

#[derive(Clone, Copy, Debug)]
struct Wait {
    since: Instant,
    /// When there must have been progress beyond `acked`.
    stalled_by: Instant,
    acked: u64,
}

impl WriteRate {
    pub(super) fn new(stall: Duration, rate: u64) -> Self {
        Self { stall, rate, wait: None, waited: Duration::ZERO, period: None }
    }

    /// Restarts the measurement with the same bounds.
    pub(super) fn restarted(&self) -> Self {
        Self::new(self.stall, self.rate)
    }

    /// Notes that a write has succeeded.
    pub(super) fn wrote(&mut self, now: impl Fn() -> Instant) {
        if let Some(wait) = self.wait.take() {
            self.waited += now().saturating_duration_since(wait.since);
        }
    }

    /// Notes that a write must wait. Returns when to call [`WriteRate::judge`].
    pub(super) fn wait(&mut self, now: impl Fn() -> Instant, acked: impl Fn() -> u64) -> Instant {
        let wait = *self.wait.get_or_insert_with(|| {
            let now = now();
            Wait { since: now, stalled_by: now + self.stall, acked: acked() }
        });
        self.period.get_or_insert(wait.acked);
        self.rate_by(wait).map_or(wait.stalled_by, |by| by.min(wait.stalled_by))
    }

    /// Judges a wait: was nothing accepted, or too little?
    pub(super) fn judge(&mut self, now: Instant, acked: u64) -> Option<CutReason> {
        self.judge_with(now, acked, 0)
    }

    /// Judges it where `coming` more bytes are expected, as they came before. They count for the rate only.
    pub(super) fn judge_with(&mut self, now: Instant, acked: u64, coming: u64) -> Option<CutReason> {
        let mut wait = self.wait?;
        if now >= wait.stalled_by {
            if acked <= wait.acked {
                return Some(CutReason::WriteStall);
            }
            wait.stalled_by = now + self.stall;
            wait.acked = acked;
        }
        if self.rate_by(wait).is_some_and(|by| now >= by) {
            let due =
                self.rate.saturating_mul(u64::try_from(self.stall.as_millis()).unwrap_or(u64::MAX)) / 1000;
            if acked.saturating_add(coming).saturating_sub(self.period.unwrap_or(acked)) < due {
                return Some(CutReason::WriteTooSlow);
            }
            wait.since = now;
            self.waited = Duration::ZERO;
            self.period = Some(acked);
        }
        self.wait = Some(wait);
        None
    }

    /// Returns when the waits of this period add up to `stall`.
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
        let (mut write_rate, start) = (WriteRate::new(30 * SECOND, 0), Instant::now());

        assert_eq!(write_rate.wait(|| start, || 500), start + 30 * SECOND);
        assert_eq!(write_rate.judge(start + 29 * SECOND, 500), None);
        assert_eq!(write_rate.judge(start + 30 * SECOND, 500), Some(CutReason::WriteStall));
    }

    #[test]
    fn a_client_that_takes_a_little_now_and_then_is_too_slow() {
        let (mut write_rate, start) = (WriteRate::new(30 * SECOND, 1000), Instant::now());
        // It takes 100 bytes every second: no wait is ever long.
        let mut cut = None;
        for second in 0..40_u32 {
            let (now, acked) = (start + SECOND * second, u64::from(second) * 100);
            let by = write_rate.wait(|| now, || acked);
            if by < now + SECOND {
                cut = write_rate.judge(by, acked).map(|cut| (second, cut));
                break;
            }
            write_rate.wrote(|| now + SECOND);
        }
        assert_eq!(cut, Some((30, CutReason::WriteTooSlow)));
    }

    #[test]
    fn a_slow_line_that_keeps_the_rate_is_served_for_ever() {
        let (mut write_rate, start) = (WriteRate::new(30 * SECOND, 1000), Instant::now());
        write_rate.wait(|| start, || 0);
        for second in 1..1000_u32 {
            let (now, acked) = (start + SECOND * second, u64::from(second) * 1000);
            if write_rate.wait(|| now, || acked) <= now {
                assert_eq!(write_rate.judge(now, acked), None, "{second}");
            }
        }
    }

    #[test]
    fn what_was_fast_before_earns_nothing() {
        let (mut write_rate, start) = (WriteRate::new(30 * SECOND, 1000), Instant::now());
        write_rate.wait(|| start, || 0);
        assert_eq!(write_rate.judge(start + 30 * SECOND, 1 << 40), None);
        assert_eq!(write_rate.judge(start + 60 * SECOND, (1 << 40) + 29_999), Some(CutReason::WriteTooSlow));
    }

    #[test]
    fn time_in_which_nothing_waits_does_not_count() {
        let (mut write_rate, start) = (WriteRate::new(30 * SECOND, 1000), Instant::now());
        write_rate.wait(|| start, || 0);
        write_rate.wrote(|| start + 10 * SECOND);

        assert_eq!(write_rate.wait(|| start + 500 * SECOND, || 100), start + 520 * SECOND);
    }
}
