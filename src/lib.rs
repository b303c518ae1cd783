//! octroi: a reverse-proxy security gateway for multi-tenant SaaS.
//!
//! The rooms stand on floors; a room imports lower floors only (`tests/layers.rs`).

#![forbid(unsafe_code)]
#![warn(missing_docs, unreachable_pub)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, reason = "a test may fail loudly"))]

pub mod config;
pub mod model;
pub mod policy;
pub mod quota;
pub mod session;
