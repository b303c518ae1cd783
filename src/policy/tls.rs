//! Certificates and TLS versions.

use std::{path::PathBuf, sync::Arc};

use super::Acme;
use crate::model::Origin;

/// The settings of every TLS listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tls {
    /// The oldest version that is accepted.
    pub min_version: MinVersion,
    /// What happens to a client that names a host without a certificate.
    pub unknown_sni: UnknownSni,
    /// Whether clients' JA4 fingerprints are logged.
    pub ja4: bool,
    /// The file of secrets from which nodes derive the keys of their tickets; without one, keys are random
    /// and this node's own.
    pub ticket_keys: Option<PathBuf>,
    /// The certificates; the first is the default.
    pub certificates: Vec<Certificate>,
}

/// The oldest TLS version.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum MinVersion {
    /// TLS 1.2.
    #[default]
    Tls12,
    /// TLS 1.3.
    Tls13,
}

/// What happens to a client that names an unknown host.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum UnknownSni {
    /// The handshake ends with the alert `unrecognized_name`.
    #[default]
    Refuse,
    /// The first certificate is used; the request then gets 421.
    Default,
}

/// One entry of `tls.certificates`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// Where it is in the configuration.
    pub origin: Origin,
    /// Its source.
    pub source: CertificateSource,
}

/// The source of a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CertificateSource {
    /// Two PEM files: the chain, leaf first, and the key.
    Files {
        /// The chain.
        cert: PathBuf,
        /// The key.
        key: PathBuf,
        /// An OCSP response (DER) to staple.
        ocsp: Option<PathBuf>,
    },
    /// A local CA (`ca.pem` in the folder) and one certificate per tenant, created when missing. For demos
    /// and tests.
    Dev {
        /// The folder.
        dir: PathBuf,
    },
    /// A CA that is asked over the network. Its certificates are kept under the state directory.
    Acme(Arc<Acme>),
}
