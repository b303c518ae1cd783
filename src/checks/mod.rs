//! The checks: one file each, a pure function from a view and rules to a verdict.
//!
//! No check awaits, logs, counts, writes or reads a clock. Each returns what it proved, so that the next one
//! cannot run without it. `pipeline.rs` holds their order.

pub mod authorization;
pub mod challenge;
pub mod client;
pub mod client_certificate;
mod foreign;
pub mod forwarding_loop;
pub mod grant;
pub mod hygiene;
pub mod ip_access;
pub mod member;
pub mod origin;
pub mod quota;
pub mod reuse;
pub mod revocation;
pub mod route;
pub mod session;
pub mod sign_in;
pub mod tenant;
pub mod upgrade;
