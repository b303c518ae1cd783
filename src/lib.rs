//! octroi: a reverse-proxy security gateway for multi-tenant SaaS.
//!
//! The rooms stand on floors; a room imports lower floors only (`tests/layers.rs`).

#![forbid(unsafe_code)]
#![warn(missing_docs, unreachable_pub)]
#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::panic,
        reason = "a test may fail loudly"
    )
)]

#[cfg(feature = "gateway")]
mod acme;
#[cfg(feature = "gateway")]
pub mod admin;
#[cfg(feature = "gateway")]
pub mod app;
#[cfg(feature = "gateway")]
mod append_log;
pub mod checks;
#[cfg(feature = "gateway")]
pub mod cli;
#[cfg(feature = "gateway")]
pub mod cluster;
pub mod config;
#[cfg(feature = "gateway")]
pub mod edge;
pub mod files;
#[cfg(feature = "gateway")]
pub mod gateway;
#[cfg(feature = "gateway")]
mod hand_over;
pub mod headers;
pub mod model;
#[cfg(feature = "gateway")]
pub mod outbound;
pub mod pipeline;
pub mod policy;
#[cfg(feature = "gateway")]
mod process;
pub mod quota;
#[cfg(feature = "gateway")]
pub mod redis;
pub mod replay;
pub mod session;
pub mod sessions;
pub mod store;
pub mod telemetry;
#[cfg(feature = "gateway")]
mod upkeep;
#[cfg(feature = "gateway")]
pub mod upstream;
pub mod wire;
