//! octroi: a reverse-proxy security gateway for multi-tenant SaaS.
//!
//! The rooms stand on floors; a room imports lower floors only (`tests/layers.rs`).

#![forbid(unsafe_code)]
#![warn(missing_docs, unreachable_pub)]
#![cfg_attr(
    test,
    allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, reason = "a test may fail loudly")
)]

#[cfg(feature = "gateway")]
pub mod admin;
#[cfg(feature = "gateway")]
pub mod app;
pub mod checks;
#[cfg(feature = "gateway")]
pub mod cli;
pub mod config;
#[cfg(feature = "gateway")]
pub mod edge;
pub mod files;
#[cfg(feature = "gateway")]
pub mod gateway;
pub mod model;
#[cfg(feature = "gateway")]
pub mod outbound;
pub mod pipeline;
pub mod policy;
pub mod proxy_protocol;
pub mod quota;
pub mod replay;
pub mod session;
pub mod state;
pub mod telemetry;
