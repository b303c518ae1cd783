//! The types of PEM blocks.

use std::fmt;

/// The type of a block, by its label.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PemKind {
    /// A certificate.
    Certificate,
    /// A revocation list.
    RevocationList,
    /// A private key, PKCS#8.
    Pkcs8Key,
    /// An RSA private key, PKCS#1.
    Pkcs1Key,
    /// An ECDSA private key, SEC 1.
    Sec1Key,
    /// An encrypted private key.
    EncryptedKey,
    /// A public key.
    PublicKey,
    /// Parameters of a curve or a group, which OpenSSL writes before a key: they only repeat what the key
    /// says.
    Parameters,
    /// Any other label.
    Other(Box<str>),
}

/// The types of private keys that can be used.
pub const PRIVATE_KEYS: &[PemKind] = &[PemKind::Pkcs8Key, PemKind::Pkcs1Key, PemKind::Sec1Key];

/// A private key of any type, which may accompany its chain.
pub(super) const ANY_KEY: &[PemKind] =
    &[PemKind::Pkcs8Key, PemKind::Pkcs1Key, PemKind::Sec1Key, PemKind::EncryptedKey];

impl fmt::Display for PemKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Certificate => "CERTIFICATE",
            Self::RevocationList => "X509 CRL",
            Self::Pkcs8Key => "PRIVATE KEY",
            Self::Pkcs1Key => "RSA PRIVATE KEY",
            Self::Sec1Key => "EC PRIVATE KEY",
            Self::EncryptedKey => "ENCRYPTED PRIVATE KEY",
            Self::PublicKey => "PUBLIC KEY",
            Self::Parameters => "PARAMETERS",
            Self::Other(label) => label,
        })
    }
}

impl PemKind {
    /// Reads a label.
    pub(super) fn of(label: &str) -> Self {
        match label {
            // RFC 7468, section 5.2, has the older labels.
            "CERTIFICATE" | "X509 CERTIFICATE" | "X.509 CERTIFICATE" => Self::Certificate,
            "X509 CRL" => Self::RevocationList,
            "PRIVATE KEY" => Self::Pkcs8Key,
            "RSA PRIVATE KEY" => Self::Pkcs1Key,
            "EC PRIVATE KEY" => Self::Sec1Key,
            "ENCRYPTED PRIVATE KEY" => Self::EncryptedKey,
            "PUBLIC KEY" => Self::PublicKey,
            "EC PARAMETERS" | "DH PARAMETERS" | "X9.42 DH PARAMETERS" => Self::Parameters,
            other => Self::Other(other.into()),
        }
    }
}
