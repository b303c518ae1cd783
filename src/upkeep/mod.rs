//! What the gateway does by itself while it serves: files that changed, keys of issuers, expiry, sweeping,
//! the clock.
//!
//! Each task takes the handles that it needs. None knows the rest of the process.

mod certificates;
mod client_trust;
pub(crate) mod clock;
mod deny_files;
mod expiry;
pub(crate) mod expiry_warnings;
pub(crate) mod journal;
pub(crate) mod key_sets;
mod refusals;
mod reload;
pub(crate) mod session_keys;
mod sweep;
mod watch;

pub(crate) use certificates::CertificateRenewer;
pub(crate) use deny_files::DenyFiles;
pub(crate) use expiry::reload_at_expiry;
pub(crate) use refusals::Refusals;
pub(crate) use reload::Reload;
pub(crate) use sweep::Sweep;
pub(crate) use watch::FileWatch;
