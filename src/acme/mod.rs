//! Certificates by ACME (RFC 8555): obtained, stored and renewed automatically.
//!
//! Each account at a CA has one task, which runs one order at a time. Files are under `state_dir/acme`: an
//! account and its key in `accounts/…json`, a certificate and its key together in `certificates/…pem`.
//! `octroi check` and reloads never wait for a CA; while one is unreachable, the stored certificates stay in
//! force.

mod account;
mod client;
mod deps;
mod error;
mod order;
mod renewer;
mod schedule;
mod status_board;
mod store;
mod supervisor;

pub(crate) use deps::AcmeDeps;
pub(crate) use status_board::AcmeStatusBoard;
pub(crate) use supervisor::supervise;
