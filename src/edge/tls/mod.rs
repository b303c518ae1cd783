//! TLS: certificates, versions, suites and tickets of all TLS listeners, built from the policy as a whole.

mod admin;
mod certificate;
mod client_auth;
mod content;
pub mod dev;
mod error;
mod facts;
mod hello;
mod peer;
mod presented;
mod refusal;
mod resolver;
mod setup;
mod source;
mod staple;
mod state;
mod stored;
mod ticket;

pub use self::admin::AdminTls;
pub use self::client_auth::judge_certificate;
pub use self::hello::ja4;
pub use self::setup::install_provider;
pub use self::state::{Built, Renewal, TlsState};
pub use self::stored::StoredPair;
pub use self::{certificate::CertificateExpiry, error::TlsError};
pub(super) use self::{facts::facts, hello::MAX_HELLO_BYTES, peer::InForce, resolver::Sni};
