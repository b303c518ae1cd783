//! Puts the gateway together: `prepare` reads a revision, `serve` binds and serves it, `reload` changes it
//! part by part.

mod admin_listeners;
mod admission;
mod assemble;
mod bind;
mod control;
mod early_reply;
mod gauges;
mod handler;
mod health;
mod included;
mod last_reload;
mod observers;
mod part;
mod parts;
mod prepare;
mod redis;
mod reload;
mod run;
mod serve;
mod sessions;
mod shutdown;
mod start;
mod start_journal;
mod tasks;

pub use prepare::{Checked, PrepareError, check, variable};
pub use run::run;
pub use shutdown::Signals;
pub use start::{RunError, Start};

pub use crate::{
    hand_over::{Launch, UpgradeError},
    process::BindError,
};
