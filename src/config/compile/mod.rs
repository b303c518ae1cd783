//! Wire to policy: the only place that may refuse what has the right shape.
//!
//! Each part says what it finds and goes on with what is left, so that one load finds everything.

mod access_log;
mod acme;
mod address;
mod admin;
mod assertion;
mod bans;
mod certificate;
mod client_certificate;
mod context;
mod coverage;
mod crl;
mod deny;
mod field;
mod foreign;
mod foreign_key;
mod foreign_tenants;
mod ip_access;
mod limits;
mod listener;
pub(super) mod machine;
mod policy;
mod quota;
mod redis;
mod route;
mod rule_lint;
mod secret;
mod session;
mod sign_in;
mod table;
mod tenant;
mod tenants_by_name;
mod tls;
mod upstream;

pub(super) use context::Context;
pub(super) use policy::{Parts, compile};
