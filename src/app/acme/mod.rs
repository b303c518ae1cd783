//! Certificates by ACME (RFC 8555): had, kept and renewed without anybody's doing.
//!
//! One task for each account at a CA, which has one order running at most. What it gets lies under `state_dir/acme`: an account and
//! its key in `accounts/…json`, a certificate and its key together in `certificates/…pem`. `octroi check` and reloads never wait for
//! a CA; while one is away, what was had before stays in force.

mod account;
mod board;
mod client;
mod error;
mod keeper;
mod order;
mod schedule;
mod store;
mod supervisor;

pub(super) use board::Board;
pub(super) use schedule::{chance, pause};
pub(super) use supervisor::supervise;
