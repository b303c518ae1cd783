//! How tests wait: for something to be so, for a peer that is slow on purpose, or for a configured time to
//! pass. Nothing else in `tests/` sleeps.

#![allow(
    dead_code,
    unreachable_pub,
    clippy::disallowed_methods,
    reason = "every test file uses its own part, and a deadline of a test is on the real clock"
)]

use std::time::{Duration, Instant};

/// How often a condition is asked.
const INTERVAL: Duration = Duration::from_millis(20);

/// A bound for what hangs, not for what is slow.
const PATIENCE: Duration = Duration::from_secs(30);

/// Waits until something is so, at most half a minute.
pub fn eventually<T>(what: &str, ask: impl FnMut() -> Option<T>) -> T {
    eventually_within(PATIENCE, what, ask)
}

/// Waits until something is so, at most for a time.
pub fn eventually_within<T>(limit: Duration, what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(found) = ask() {
            return found;
        }
        assert!(Instant::now() < deadline, "not within {limit:?}: {what}");
        std::thread::sleep(INTERVAL);
    }
}

/// Waits until something is so, at most half a minute, while the tasks of the runtime go on.
pub async fn eventually_async(what: &str, is_so: impl FnMut() -> bool) {
    eventually_async_within(PATIENCE, what, is_so).await;
}

/// Waits until something is so, at most for a time, while the tasks of the runtime go on.
pub async fn eventually_async_within(limit: Duration, what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + limit;
    while !is_so() {
        assert!(Instant::now() < deadline, "not within {limit:?}: {what}");
        tokio::time::sleep(INTERVAL).await;
    }
}

/// Pauses a client or server of the test that is slow on purpose.
pub fn slow_peer(pause: Duration) {
    std::thread::sleep(pause);
}

/// The same within a runtime.
pub async fn slow_peer_async(pause: Duration) {
    tokio::time::sleep(pause).await;
}

/// Lets a time pass, because the test is about what is so after it: a timeout of the configuration, a second
/// of a timestamp, or a while in which nothing may happen.
pub fn elapse(time: Duration) {
    std::thread::sleep(time);
}

/// The same within a runtime.
pub async fn elapse_async(time: Duration) {
    tokio::time::sleep(time).await;
}
