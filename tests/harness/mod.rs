//! The real program on free ports, a real upstream that remembers what it got, and curl.

#![allow(dead_code, unused_imports, clippy::as_conversions, reason = "every test file uses its own part")]

pub mod apps;
pub mod client;
pub mod frames;
pub mod http2_client;
pub mod http2_server;
pub mod pebble;
pub mod pki;
pub mod program;
pub mod redis;
pub mod upstream;

#[allow(unused_imports, reason = "every test file uses its own part")]
pub use client::{Curl, raw_tls};
pub use program::Octroi;
#[allow(unused_imports, reason = "every test file uses its own part")]
pub use upstream::Upstream;

use std::time::{Duration, Instant};

/// Waits until something is so, at most half a minute: a bound for what hangs, not for what is slow.
pub fn eventually<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        if let Some(found) = ask() {
            return found;
        }
        assert!(Instant::now() < deadline, "not within half a minute: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}
