//! One certificate: read, and judged before anybody sees it.

use std::{
    fs, io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use rustls::{Error as RustlsError, InconsistentKeys, crypto::CryptoProvider, sign::CertifiedKey};
use rustls_pki_types::{
    CertificateDer, PrivateKeyDer,
    pem::{self, PemObject},
};
use x509_parser::{certificate::X509Certificate, extensions::GeneralName, prelude::FromDer, public_key::PublicKey};

use super::TlsError;
use crate::model::{HostPattern, UnixTime};

/// When a certificate ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateExpiry {
    /// The first name it is for; the file where it names no host.
    pub name: String,
    /// Its last second.
    pub not_after: UnixTime,
}

/// A certificate with its key, fit for use.
pub(super) struct Loaded {
    pub(super) key: Arc<CertifiedKey>,
    pub(super) names: Vec<HostPattern>,
    pub(super) expiry: CertificateExpiry,
}

impl Loaded {
    /// Reads a pair of PEM files and judges it: one key, of one length that is enough, and valid now.
    pub(super) fn from_files(
        cert: &Path,
        key: &Path,
        ocsp: Option<&Path>,
        provider: &CryptoProvider,
        now: UnixTime,
    ) -> Result<Self, TlsError> {
        let chain = read_chain(cert)?;
        let Some(leaf) = chain.first() else { return Err(TlsError::Empty { path: cert.to_owned() }) };
        let (names, expiry) = judge_leaf(leaf, cert, now)?;
        let private = read_key(key)?;
        let signing = provider.key_provider.load_private_key(private).map_err(|source| TlsError::Key { path: key.to_owned(), source })?;
        let mut certified = CertifiedKey::new(chain, signing);
        match certified.keys_match() {
            Ok(()) | Err(RustlsError::InconsistentKeys(InconsistentKeys::Unknown)) => {}
            Err(_) => return Err(TlsError::Mismatch { cert: cert.to_owned(), key: key.to_owned() }),
        }
        if let Some(path) = ocsp {
            certified.ocsp = Some(fs::read(path).map_err(|source| file(path, source))?);
        }
        Ok(Self { key: Arc::new(certified), names, expiry })
    }
}

/// Reads a chain of certificates.
pub(super) fn read_chain(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let what = "a certificate";
    let certs = CertificateDer::pem_file_iter(path).map_err(|source| pem_error(path, what, source))?;
    certs.collect::<Result<_, _>>().map_err(|source| pem_error(path, what, source))
}

fn read_key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    let mode = fs::metadata(path).map_err(|source| file(path, source))?.permissions().mode();
    if mode & 0o007 != 0 {
        return Err(TlsError::Exposed { path: path.to_owned() });
    }
    PrivateKeyDer::from_pem_file(path).map_err(|source| pem_error(path, "a private key", source))
}

fn judge_leaf(leaf: &CertificateDer<'_>, path: &Path, now: UnixTime) -> Result<(Vec<HostPattern>, CertificateExpiry), TlsError> {
    let parsed = parse(leaf, path)?;
    let seconds = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
    if parsed.validity().not_after.timestamp() < seconds {
        return Err(TlsError::Expired { path: path.to_owned() });
    }
    if parsed.validity().not_before.timestamp() > seconds {
        return Err(TlsError::NotYetValid { path: path.to_owned() });
    }
    if let Ok(PublicKey::RSA(rsa)) = parsed.public_key().parsed()
        && rsa.key_size() < 2048
    {
        return Err(TlsError::WeakKey { path: path.to_owned(), bits: rsa.key_size() });
    }
    let names = dns_names(&parsed);
    let expiry = CertificateExpiry {
        name: names.first().map_or_else(|| path.display().to_string(), ToString::to_string),
        not_after: not_after(&parsed),
    };
    Ok((names, expiry))
}

/// Reads a certificate.
pub(super) fn parse<'a>(der: &'a CertificateDer<'_>, path: &Path) -> Result<X509Certificate<'a>, TlsError> {
    match X509Certificate::from_der(der) {
        Ok((_, parsed)) => Ok(parsed),
        Err(why) => Err(TlsError::Certificate { path: path.to_owned(), why: why.to_string() }),
    }
}

/// Returns the hosts a certificate is for: the DNS names among its SANs; a common name is none (RFC 9525, section 2).
pub(super) fn dns_names(certificate: &X509Certificate<'_>) -> Vec<HostPattern> {
    let sans = certificate.subject_alternative_name().ok().flatten();
    let names = sans.iter().flat_map(|sans| &sans.value.general_names);
    names.filter_map(|name| if let GeneralName::DNSName(name) = name { name.parse().ok() } else { None }).collect()
}

/// Returns the last second of a certificate.
pub(super) fn not_after(certificate: &X509Certificate<'_>) -> UnixTime {
    UnixTime::from_secs(u64::try_from(certificate.validity().not_after.timestamp()).unwrap_or(0))
}

/// Returns the first second of a certificate.
pub(super) fn not_before(certificate: &X509Certificate<'_>) -> UnixTime {
    UnixTime::from_secs(u64::try_from(certificate.validity().not_before.timestamp()).unwrap_or(0))
}

/// Names the file that the system refused.
pub(super) fn file(path: &Path, source: io::Error) -> TlsError {
    TlsError::File { path: PathBuf::from(path), source }
}

fn pem_error(path: &Path, what: &'static str, source: pem::Error) -> TlsError {
    let pem::Error::Io(source) = source else {
        return TlsError::Pem { path: path.to_owned(), what, source };
    };
    file(path, source)
}
