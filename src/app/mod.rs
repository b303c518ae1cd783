//! Ties the parts together: `prepare` builds everything but sockets, `start` binds and serves, `reload` swaps the rules.

mod acme;
mod client_trust;
mod control;
mod deny;
mod descriptors;
mod doors;
mod handler;
mod included;
mod inherited;
mod key_sets;
mod lapse;
mod notify;
mod others;
mod prepare;
mod redis;
mod reload;
mod renew;
mod run;
mod schedule;
mod serve;
mod session_keys;
mod sessions;
mod shutdown;
mod steady;
mod upgrade;
mod vitals;
mod watch;
mod witness;

pub use doors::BindError;
pub use prepare::{Checked, PrepareError, Prepared, check, prepare, variable};
pub use run::{RunError, Start, run};
pub use upgrade::{Launch, UpgradeError};
