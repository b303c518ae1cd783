//! Why the TLS state cannot be built.

use std::{io, path::PathBuf};

use crate::model::{HostPattern, OcspError, PemError, TenantName};
use crate::policy::TicketSecretsError;

/// Why the TLS state cannot be built. Each names the file.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A TLS listener, and no certificate.
    #[error("there is a TLS listener and no certificate; add one under `tls.certificates`")]
    NoCertificate,
    /// A file that cannot be read or written.
    #[error("{}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// A file that is not the PEM that it should be.
    #[error("{}:{}: {}", path.display(), error.line, error.fault)]
    Pem {
        /// The file.
        path: PathBuf,
        /// What is wrong with it, and where: all of it is said above.
        error: PemError,
    },
    /// A file without a private key.
    #[error("{}: holds no private key", path.display())]
    NoKey {
        /// The file.
        path: PathBuf,
    },
    /// A certificate that cannot be read.
    #[error("{}: the certificate cannot be read: {why}", path.display())]
    Certificate {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// A chain that is empty.
    #[error("{}: holds no certificate", path.display())]
    Empty {
        /// The file.
        path: PathBuf,
    },
    /// A certificate that has ended.
    #[error("{}: the certificate has expired", path.display())]
    Expired {
        /// The file.
        path: PathBuf,
    },
    /// A certificate whose time has not come.
    #[error("{}: the certificate is not valid yet", path.display())]
    NotYetValid {
        /// The file.
        path: PathBuf,
    },
    /// An RSA key that is too short.
    #[error("{}: the RSA key has {bits} bits; at least 2048 are needed", path.display())]
    WeakKey {
        /// The file.
        path: PathBuf,
        /// Its length.
        bits: usize,
    },
    /// A key of a kind that is not spoken.
    #[error("{}: the key cannot be used: {source}", path.display())]
    Key {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: rustls::Error,
    },
    /// A key that everybody on the machine can read.
    #[error("{}: everybody can read this key; `chmod 600` it", path.display())]
    Exposed {
        /// The file.
        path: PathBuf,
    },
    /// A pair that is none.
    #[error("{} and {} do not belong together: the key is another one", cert.display(), key.display())]
    Mismatch {
        /// The certificate.
        cert: PathBuf,
        /// The key.
        key: PathBuf,
    },
    /// A certificate that was renewed for fewer hosts.
    #[error("{}: the one before it was for `{host}`, this one is not; a reload takes it all the same", path.display())]
    LosesHost {
        /// The file.
        path: PathBuf,
        /// A host of a tenant.
        host: HostPattern,
    },
    /// A CA in the folder of a `dev: true` entry that octroi did not make.
    #[error("{}: not the CA that octroi makes for `dev: true`; name another folder", path.display())]
    ForeignCa {
        /// The file.
        path: PathBuf,
    },
    /// A certificate that could not be made.
    #[error("{}: the certificate cannot be made: {source}", path.display())]
    Make {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: rcgen::Error,
    },
    /// CAs or revocation lists of client certificates that the library cannot use.
    #[error("the client certificates of `{tenant}`: {why}")]
    ClientTrust {
        /// Whose they are.
        tenant: TenantName,
        /// What is wrong with them.
        why: String,
    },
    /// An OCSP answer that is not stapled.
    #[error("{}: {source}", path.display())]
    Ocsp {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: OcspError,
    },
    /// A file of secrets for tickets that holds none.
    #[error("{}: {source}", path.display())]
    TicketKeys {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: TicketSecretsError,
    },
    /// The system has no random bytes for ticket keys.
    #[error("the keys of TLS tickets cannot be made: the system has no random bytes")]
    NoRandom,
    /// The library refuses the configuration.
    #[error("TLS cannot be set up: {0}")]
    Config(#[source] rustls::Error),
}

impl TlsError {
    /// Says whether it came about by time alone: what is served is poorer, and nothing that somebody did is refused.
    pub const fn is_lapse(&self) -> bool {
        matches!(self, Self::Ocsp { source: OcspError::Ended, .. })
    }
}
