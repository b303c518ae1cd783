//! Certificates and what hangs on them, end to end: renewed while octroi runs, resumed, stapled.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test may fail loudly"
)]
#![allow(
    missing_docs,
    unreachable_pub,
    clippy::disallowed_methods,
    clippy::print_stderr,
    reason = "a test is read, not linked"
)]

mod choice;
mod ended;
#[path = "../harness/mod.rs"]
mod harness;
mod lost;
#[path = "../harness/ocsp.rs"]
mod ocsp;
mod renewal;
mod resumption;
mod staple;
mod test_server;
