//! The listeners, with real sockets on loopback: what is let in, what is refused, and what is said then.

#![cfg(feature = "gateway")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::as_conversions,
    clippy::let_underscore_future,
    clippy::wildcard_enum_match_arm,
    reason = "a test may fail loudly"
)]

mod deadlines;
mod library;
#[path = "../harness/ocsp.rs"]
mod ocsp;
mod plain;
mod renewal;
#[path = "../support/mod.rs"]
mod support;
mod test_listener;
mod tls;
#[path = "../harness/wait.rs"]
mod wait;
