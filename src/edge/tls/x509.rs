//! Reads certificates: chains, hosts and times.

use std::path::Path;

use rustls_pki_types::CertificateDer;
use x509_parser::{certificate::X509Certificate, extensions::GeneralName, prelude::FromDer};

use super::{TlsError, content, error::pem_error};
use crate::model::{HostPattern, UnixTime, pem_chain};

/// Reads a chain of certificates. Blocks.
pub(super) fn read_chain(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    chain_of(&content::read(path)?.0, path)
}

/// Reads a chain of certificates from the text of a file.
pub(super) fn chain_of(pem: &[u8], path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let chain = pem_chain(pem).map_err(|source| pem_error(path, source))?;
    Ok(chain.into_iter().map(CertificateDer::from).collect())
}

/// Reads a certificate.
pub(super) fn parse<'a>(der: &'a CertificateDer<'_>, path: &Path) -> Result<X509Certificate<'a>, TlsError> {
    match X509Certificate::from_der(der) {
        Ok((_, parsed)) => Ok(parsed),
        Err(why) => Err(TlsError::Certificate { path: path.to_owned(), why: why.to_string() }),
    }
}

/// Returns the hosts that a certificate covers: the DNS names among its SANs. The common name does not count
/// (RFC 9525, section 2).
pub(super) fn dns_names(certificate: &X509Certificate<'_>) -> Vec<HostPattern> {
    let sans = certificate.subject_alternative_name().ok().flatten();
    let names = sans.iter().flat_map(|sans| &sans.value.general_names);
    names
        .filter_map(|name| if let GeneralName::DNSName(name) = name { name.parse().ok() } else { None })
        .collect()
}

/// Returns the last second of a certificate.
pub(super) fn not_after(certificate: &X509Certificate<'_>) -> UnixTime {
    UnixTime::from_secs(u64::try_from(certificate.validity().not_after.timestamp()).unwrap_or(0))
}

/// Returns the first second of a certificate.
pub(super) fn not_before(certificate: &X509Certificate<'_>) -> UnixTime {
    UnixTime::from_secs(u64::try_from(certificate.validity().not_before.timestamp()).unwrap_or(0))
}
