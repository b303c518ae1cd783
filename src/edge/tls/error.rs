//! Why the TLS state cannot be built.

use std::{
    io,
    path::{Path, PathBuf},
};

use crate::model::{HostPattern, PemError, TenantName};
use crate::policy::TicketSecretsError;
use crate::wire::ocsp::OcspError;

/// Why the TLS state cannot be built. Each variant names the file.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// There is a TLS listener, and no certificate.
    #[error("there is a TLS listener and no certificate; add one under `tls.certificates`")]
    NoCertificate,
    /// A file cannot be read or written.
    #[error("{}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The error of the system.
        #[source]
        source: io::Error,
    },
    /// A file is not the PEM that it should be.
    #[error("{}:{}: {}", path.display(), error.line, error.fault)]
    Pem {
        /// The file.
        path: PathBuf,
        /// What is wrong with it, and where. The message above contains all of it.
        error: PemError,
    },
    /// A file contains no private key.
    #[error("{}: holds no private key", path.display())]
    NoKey {
        /// The file.
        path: PathBuf,
    },
    /// A certificate cannot be read.
    #[error("{}: the certificate cannot be read: {why}", path.display())]
    Certificate {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// A chain is empty.
    #[error("{}: holds no certificate", path.display())]
    Empty {
        /// The file.
        path: PathBuf,
    },
    /// A certificate has expired.
    #[error("{}: the certificate has expired", path.display())]
    Expired {
        /// The file.
        path: PathBuf,
    },
    /// A certificate is not valid yet.
    #[error("{}: the certificate is not valid yet", path.display())]
    NotYetValid {
        /// The file.
        path: PathBuf,
    },
    /// A certificate of octroi's own development CA replaced one of another CA.
    #[error("{}: octroi's own development CA made it, and another one made the certificate before it; put that one back from the backup", path.display())]
    Development {
        /// The file.
        path: PathBuf,
    },
    /// An RSA key is too short.
    #[error("{}: the RSA key has {bits} bits; at least 2048 are needed", path.display())]
    WeakKey {
        /// The file.
        path: PathBuf,
        /// Its length.
        bits: usize,
    },
    /// The type of a key is not supported.
    #[error("{}: the key cannot be used: {source}", path.display())]
    Key {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: rustls::Error,
    },
    /// Everybody on the machine can read a key.
    #[error("{}: everybody can read this key; `chmod 600` it", path.display())]
    Exposed {
        /// The file.
        path: PathBuf,
    },
    /// Certificate and key do not match.
    #[error("{} and {} do not belong together: the key is another one", cert.display(), key.display())]
    Mismatch {
        /// The certificate.
        cert: PathBuf,
        /// The key.
        key: PathBuf,
    },
    /// A certificate was renewed for fewer hosts.
    #[error("{}: the one before it was for `{host}`, this one is not; a reload takes it all the same", path.display())]
    LosesHost {
        /// The file.
        path: PathBuf,
        /// A host of a tenant.
        host: HostPattern,
    },
    /// octroi did not make the CA in the folder of a `dev: true` entry.
    #[error("{}: not the CA that octroi makes for `dev: true`; name another folder", path.display())]
    ForeignCa {
        /// The file.
        path: PathBuf,
    },
    /// A certificate could not be made.
    #[error("{}: the certificate cannot be made: {source}", path.display())]
    Make {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: rcgen::Error,
    },
    /// The library cannot use the CAs or revocation lists of client certificates.
    #[error("the client certificates of `{tenant}`: {why}")]
    ClientTrust {
        /// The tenant that names them.
        tenant: TenantName,
        /// What is wrong with them.
        why: String,
    },
    /// An OCSP response cannot be stapled.
    #[error("{}: {source}", path.display())]
    Ocsp {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: OcspError,
    },
    /// A file of ticket secrets is malformed.
    #[error("{}: {source}", path.display())]
    TicketKeys {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: TicketSecretsError,
    },
    /// A pair cannot be used, and no earlier one is in use: a start has left it out.
    #[error("{cause}: {}", not_served(hosts))]
    Out {
        /// What is wrong with it.
        cause: Box<TlsError>,
        /// Hosts of tenants that it may cover, and that no other certificate covers.
        hosts: Vec<HostPattern>,
    },
    /// What no start can do without: the certificate of the admin listener, the ticket secrets.
    #[error(transparent)]
    Essential(Box<TlsError>),
    /// The system has no random bytes for ticket keys.
    #[error("the keys of TLS tickets cannot be made: the system has no random bytes")]
    NoRandom,
    /// The library rejects the configuration.
    #[error("TLS cannot be set up: {0}")]
    Config(#[source] rustls::Error),
}

impl TlsError {
    /// Says whether it is only the expiry of an OCSP response: the certificate is served without one, and
    /// nobody has made a mistake.
    pub const fn is_staple_expiry(&self) -> bool {
        matches!(self, Self::Ocsp { source: OcspError::Expired, .. })
    }

    /// Says whether nothing is in use in its place.
    pub const fn is_out(&self) -> bool {
        matches!(self, Self::Out { .. })
    }

    /// Says what a restart would do, where what was read before stays in use: this process goes on with what
    /// a new one would not find.
    pub const fn after_restart(&self) -> &'static str {
        match self {
            Self::Expired { .. } | Self::NotYetValid { .. } | Self::Development { .. } => {
                "a restart would show this one, and clients refuse it"
            }
            Self::LosesHost { .. } => "a restart would show this one",
            Self::Ocsp { .. } => "a restart would staple nothing",
            Self::File { .. }
            | Self::Pem { .. }
            | Self::NoKey { .. }
            | Self::Certificate { .. }
            | Self::Empty { .. }
            | Self::WeakKey { .. }
            | Self::Key { .. }
            | Self::Exposed { .. }
            | Self::Mismatch { .. } => {
                "a restart would not serve its hosts, nor start where it is the only certificate"
            }
            Self::Out { .. } => {
                "a restart would leave it out again, nor start where it is the only certificate"
            }
            Self::ClientTrust { .. } => "a restart would refuse everybody at that tenant",
            Self::NoCertificate
            | Self::ForeignCa { .. }
            | Self::Make { .. }
            | Self::TicketKeys { .. }
            | Self::Essential(_)
            | Self::NoRandom
            | Self::Config(_) => "a restart would end with exit 78",
        }
    }
}

/// How many hosts a message names.
const NAMED: usize = 10;

/// Says which hosts are not served.
fn not_served(hosts: &[HostPattern]) -> String {
    match hosts {
        [] => {
            "it is not in force, and neither is one before it; its hosts have other certificates".to_owned()
        }
        [one] => format!("host {one} is NOT served"),
        many => format!("hosts {} are NOT served", some_of(many)),
    }
}

/// Names the first hosts, and counts the others.
pub(super) fn some_of(hosts: &[HostPattern]) -> String {
    let named = hosts.iter().take(NAMED).map(ToString::to_string).collect::<Vec<_>>().join(", ");
    match hosts.len().saturating_sub(NAMED) {
        0 => named,
        more => format!("{named} and {more} more"),
    }
}

/// Returns an error for the file that the system refused.
pub(super) fn file(path: &Path, source: io::Error) -> TlsError {
    TlsError::File { path: path.to_owned(), source }
}

/// Returns an error for the file that is not the PEM that it should be.
pub(super) fn pem_error(path: &Path, error: PemError) -> TlsError {
    TlsError::Pem { path: path.to_owned(), error }
}
