//! Certificates and versions.

use std::{path::PathBuf, sync::Arc};

use super::Acme;
use crate::model::Origin;

/// What holds for every TLS listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tls {
    /// The oldest version that is spoken.
    pub min_version: MinVersion,
    /// What happens to a client that names a host no certificate is for.
    pub unknown_sni: UnknownSni,
    /// Whether clients' JA4 fingerprints are written down.
    pub ja4: bool,
    /// The file of secrets that nodes derive the keys of their tickets from; without one, keys are random and this node's own.
    pub ticket_keys: Option<PathBuf>,
    /// Where certificates come from, the first one being the default.
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
    /// The first certificate is shown; the request then gets 421.
    Default,
}

/// One entry of `tls.certificates`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// Where it was written.
    pub origin: Origin,
    /// Where it comes from.
    pub source: CertificateSource,
}

/// Where a certificate comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CertificateSource {
    /// Two PEM files: the chain, leaf first, and the key.
    Files {
        /// The chain.
        cert: PathBuf,
        /// The key.
        key: PathBuf,
        /// An OCSP answer (DER) to staple.
        ocsp: Option<PathBuf>,
    },
    /// A local CA (`ca.pem` in the folder) and one certificate per tenant, made when they are missing. For demos and tests.
    Dev {
        /// The folder.
        dir: PathBuf,
    },
    /// A CA that is asked over the network. What it gave is kept under the state folder.
    Acme(Arc<Acme>),
}
