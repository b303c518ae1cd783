//! How fast a client accepts a response on HTTP/2, while its flow-control window is closed. Pure rules, no
//! timer.

use std::time::Duration;

use tokio::time::Instant;

use super::write_rate::WriteRate;
use crate::wire::http2::MAX_WINDOW;

/// The flow-control window of a client, for one response or for the connection.
///
/// The client is awaited only while the window is closed (RFC 9113, section 6.9). From the first such wait
/// on, what is sent counts over time: an octet now and then is no progress, and what was accepted at once
/// before earns nothing.
#[derive(Debug)]
pub(super) struct SendWindow {
    window: i64,
    sent: u64,
    closed: bool,
    write_rate: WriteRate,
    /// When the client is judged.
    due: Option<Instant>,
    /// When the window closed last, and how much had been sent by then.
    last: Option<(Instant, u64)>,
    /// How much was sent between the last two times that the window closed, and how long that took.
    burst: (u64, Duration),
}

impl SendWindow {
    pub(super) fn new(window: i64, stall: Duration, least: u64) -> Self {
        let write_rate = WriteRate::new(stall, least);
        Self { window, sent: 0, closed: false, write_rate, due: None, last: None, burst: (0, Duration::ZERO) }
    }

    /// Estimates how much a client that opens its window from time to time is about to accept, by what it
    /// accepted last time: so it is not judged just before it does.
    fn coming(&self, now: Instant) -> u64 {
        let (octets, every) = self.burst;
        let since =
            self.last.map_or(Duration::ZERO, |(last, _)| now.saturating_duration_since(last)).min(every);
        let part =
            u128::from(octets).saturating_mul(since.as_nanos()).checked_div(every.as_nanos()).unwrap_or(0);
        u64::try_from(part).unwrap_or(u64::MAX)
    }

    /// Says whether the client must open it before more can be sent.
    pub(super) fn is_closed(&self) -> bool {
        self.closed
    }

    /// Returns when to call [`SendWindow::judge`].
    pub(super) fn due(&self) -> Option<Instant> {
        self.due.filter(|_| self.closed)
    }

    /// Notes octets that were sent.
    pub(super) fn sent(&mut self, octets: i64, now: impl Fn() -> Instant) {
        self.window -= octets;
        self.sent = self.sent.saturating_add(u64::try_from(octets).unwrap_or(0));
        if self.window <= 0 && !self.closed {
            self.closed = true;
            let at = now();
            if let Some((last, sent)) = self.last.replace((at, self.sent)) {
                self.burst = (self.sent - sent, at.saturating_duration_since(last));
            }
            self.due = Some(self.write_rate.wait(|| at, || self.sent));
        }
    }

    /// Notes that the client changed it.
    pub(super) fn granted(&mut self, more: i64, now: impl Fn() -> Instant) {
        self.window += more;
        if self.window > 0 && self.closed {
            self.closed = false;
            self.write_rate.wrote(now);
        }
    }

    /// Says whether the client is too slow. Where nothing waits (`waits`), the measurement restarts.
    pub(super) fn judge(&mut self, waits: bool, now: Instant) -> bool {
        if !waits {
            self.write_rate = self.write_rate.restarted();
        } else if self.write_rate.judge_with(now, self.sent, self.coming(now)).is_some() {
            return true;
        }
        self.due = Some(self.write_rate.wait(|| now, || self.sent));
        false
    }

    /// Returns the increment that would open a closed window.
    pub(super) fn increment_to_open(&self) -> Option<u32> {
        let increment = u32::try_from(1 - self.window).ok()?;
        (self.window <= 0 && increment <= MAX_WINDOW).then_some(increment)
    }
}
