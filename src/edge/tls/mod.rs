//! TLS: certificates, versions, suites and tickets of all TLS listeners, built from the policy as a whole.

mod admin;
mod build;
mod certificate;
mod client_auth;
mod comparison;
mod content;
mod current_verifier;
pub mod dev;
mod error;
mod facts;
mod peer;
mod presented;
mod refusal;
mod renew;
mod resolver;
mod setup;
mod source;
mod staple;
mod state;
mod stored;
mod ticket;
mod x509;

pub use self::admin::AdminTls;
pub use self::build::Built;
pub use self::client_auth::judge_certificate;
pub use self::renew::Renewal;
pub use self::setup::install_provider;
pub use self::state::TlsState;
pub use self::stored::StoredPair;
pub use self::{certificate::CertificateExpiry, error::TlsError};
pub(super) use self::{current_verifier::CurrentVerifier, facts::facts, resolver::Sni};
