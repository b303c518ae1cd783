//! Time as a value: wall-clock milliseconds, monotonic nanoseconds, and the one trait that reads a clock.

use std::{
    fmt,
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant, SystemTime},
};

/// Milliseconds since 1970-01-01 UTC: the unit of tokens, logs and certificates.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct UnixTime(u64);

impl UnixTime {
    /// Wraps milliseconds since 1970.
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis)
    }

    /// Wraps seconds since 1970.
    pub const fn from_secs(secs: u64) -> Self {
        Self(secs.saturating_mul(1000))
    }

    /// Returns milliseconds since 1970.
    pub const fn as_millis(self) -> u64 {
        self.0
    }

    /// Returns whole seconds since 1970.
    pub const fn as_secs(self) -> u64 {
        self.0 / 1000
    }

    /// Adds a duration; the result saturates.
    pub fn plus(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)))
    }

    /// Subtracts a duration; the result is never before 1970.
    pub fn minus(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)))
    }

    /// Returns the day, UTC: `2027-06-30`.
    pub fn day(self) -> String {
        self.stamp().strftime("%Y-%m-%d").to_string()
    }

    /// Returns the minute of the day, UTC: `23:59`.
    pub fn minute(self) -> String {
        self.stamp().strftime("%H:%M").to_string()
    }

    /// Times beyond the calendar become its last day.
    fn stamp(self) -> jiff::Timestamp {
        let seconds = i64::try_from(self.as_secs()).unwrap_or(i64::MAX);
        jiff::Timestamp::from_second(seconds).unwrap_or(jiff::Timestamp::MAX)
    }

    /// Returns the time since `earlier`, zero if that lies ahead.
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}

impl fmt::Display for UnixTime {
    /// Writes the time to the second, in UTC, as in RFC 3339: `2027-06-30T23:59:59Z`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.stamp().strftime("%Y-%m-%dT%H:%M:%SZ"))
    }
}

impl fmt::Debug for UnixTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}ms", self.0)
    }
}

/// Nanoseconds on a monotonic clock with an arbitrary start. Quotas and durations use it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Tick(u64);

impl Tick {
    /// Wraps nanoseconds.
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// Returns nanoseconds.
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// Adds a duration; the result saturates.
    pub fn plus(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)))
    }

    /// Returns the time since `earlier`, zero if that lies ahead.
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

/// Returns milliseconds as seconds, with their sign.
pub fn signed_seconds(millis: i64) -> f64 {
    let seconds = Duration::from_millis(millis.unsigned_abs()).as_secs_f64();
    if millis < 0 { -seconds } else { seconds }
}

/// Reads the clocks. Whatever decides takes the time as an argument; only floors 4 and up hold a clock.
pub trait Clock: Send + Sync {
    /// Returns the wall clock.
    fn now(&self) -> UnixTime;
    /// Returns the monotonic clock.
    fn tick(&self) -> Tick;
    /// Says whether the wall clock is trusted. While it is not, [`Clock::now`] continues as before it was
    /// set.
    fn is_steady(&self) -> bool {
        true
    }
    /// Returns how long it takes at most until the wall clock is trusted again, if that happens once it has
    /// stayed as it was set for `hold`. `None` while it is trusted.
    fn unsteady_for(&self, _hold: Duration) -> Option<Duration> {
        None
    }
    /// Returns the time by which stored data expires: a forward step does not move it, so that a wrong clock
    /// deletes nothing.
    fn lasting(&self) -> UnixTime {
        self.now()
    }
}

/// The machine's clocks.
#[derive(Clone, Copy, Debug)]
pub struct SystemClock {
    start: Instant,
}

impl SystemClock {
    /// Starts a monotonic count now.
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the monotonic clock")]
    pub fn new() -> Self {
        Self { start: Instant::now() }
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the wall clock")]
    fn now(&self) -> UnixTime {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        UnixTime(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
    }

    fn tick(&self) -> Tick {
        // One second above zero, so that a time before the start can be expressed.
        Tick(u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX).saturating_add(1_000_000_000))
    }
}

/// A clock that only moves when told to, for tests and `explain`.
#[derive(Debug, Default)]
pub struct ManualClock {
    millis: AtomicU64,
}

impl ManualClock {
    /// Starts at a time.
    pub fn new(now: UnixTime) -> Self {
        Self { millis: AtomicU64::new(now.as_millis()) }
    }

    /// Moves forward.
    pub fn advance(&self, by: Duration) {
        self.millis.fetch_add(u64::try_from(by.as_millis()).unwrap_or(0), Ordering::Relaxed);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> UnixTime {
        UnixTime(self.millis.load(Ordering::Relaxed))
    }

    fn tick(&self) -> Tick {
        Tick(self.millis.load(Ordering::Relaxed).saturating_mul(1_000_000))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_stops_at_its_ends() {
        assert_eq!(
            UnixTime::from_millis(u64::MAX).plus(Duration::from_secs(1)),
            UnixTime::from_millis(u64::MAX)
        );
        assert_eq!(UnixTime::from_millis(5).minus(Duration::from_secs(1)), UnixTime::from_millis(0));
        assert_eq!(UnixTime::from_millis(5).since(UnixTime::from_millis(9)), Duration::ZERO);
    }

    #[test]
    fn a_manual_clock_moves_both_hands() {
        let clock = ManualClock::new(UnixTime::from_secs(10));

        clock.advance(Duration::from_millis(5));

        assert_eq!(clock.now(), UnixTime::from_millis(10_005));
        assert_eq!(clock.tick(), Tick::from_nanos(10_005_000_000));
    }
}
