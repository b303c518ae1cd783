//! One certificate: read, and judged before anybody sees it.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use rustls::{Error as RustlsError, InconsistentKeys, crypto::CryptoProvider, sign::CertifiedKey};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use x509_parser::{certificate::X509Certificate, extensions::GeneralName, prelude::FromDer, public_key::PublicKey};

use super::{
    TlsError,
    content::{self, Content},
    source::Files,
    staple::Staple,
};
use crate::model::{ChainFault, HostPattern, PemBlock, PemError, PemKind, UnixTime, chain_faults, pem_chain, pem_private_key};

/// When a certificate ends, and what else is to be told of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateExpiry {
    /// The first name it is for; the file where it names no host.
    pub name: String,
    /// The file of its chain: several certificates may be for one name.
    pub file: PathBuf,
    /// Its first second.
    pub not_before: UnixTime,
    /// Its last second.
    pub not_after: UnixTime,
    /// Where an OCSP answer is to be stapled: until when it holds, the beginning of 1970 while there is none.
    pub staple_until: Option<UnixTime>,
    /// The chain as it is shown, its first certificate first.
    chain: Arc<[CertificateDer<'static>]>,
}

impl CertificateExpiry {
    /// Says whether it has ended.
    pub fn has_ended(&self, now: UnixTime) -> bool {
        // Its last second still counts.
        self.not_after.as_secs() < now.as_secs()
    }

    /// Returns what is wrong with its chain: nothing that keeps it from being served.
    pub fn chain_faults(&self, now: UnixTime) -> Vec<ChainFault> {
        chain_faults(&self.chain, now)
    }
}

/// A certificate with its key, fit for use.
pub(super) struct Loaded {
    pub(super) files: Files,
    /// A digest of what the pair held.
    pub(super) content: [u8; 32],
    /// The contents of its DER integer.
    serial: Vec<u8>,
    pub(super) staple: Option<Staple>,
    pub(super) key: Arc<CertifiedKey>,
    pub(super) names: Vec<HostPattern>,
    pub(super) expiry: CertificateExpiry,
}

impl Loaded {
    /// Reads the files of a certificate and judges it. Blocks.
    pub(super) fn from_files(files: Files, provider: &CryptoProvider, now: UnixTime) -> Result<Self, TlsError> {
        let content = Content::read(&files)?;
        let pair = Self::judge(files, content, provider)?;
        let Some(path) = &pair.files.ocsp else { return Ok(pair) };
        let staple = Staple::read_unless_ended(path, &pair.serial, now)?;
        Ok(pair.stapling(staple))
    }

    /// Reads the OCSP answer of a certificate that is in force again. What is wrong with it is returned beside the one to go on with,
    /// which is the same where nothing changed. Blocks.
    pub(super) fn restapled(self: Arc<Self>, now: UnixTime) -> (Arc<Self>, Option<TlsError>) {
        let Some(path) = &self.files.ocsp else { return (self, None) };
        let (staple, error) = match Staple::read(path, &self.serial, now) {
            Ok(staple) => (Some(staple), None),
            // What was stapled so far holds until it ends.
            Err(error) => (self.staple.clone().filter(|staple| now < staple.until), Some(error)),
        };
        if staple == self.staple { (self, error) } else { (Arc::new(self.stapling(staple)), error) }
    }

    /// Returns the same certificate as one of these files: its OCSP answer is taken as soon as there is a good one.
    pub(super) fn of(self, files: Files) -> Self {
        Self { files, ..self }
    }

    /// Returns the same certificate with this answer.
    fn stapling(&self, staple: Option<Staple>) -> Self {
        let mut key = CertifiedKey::clone(&self.key);
        key.ocsp = staple.as_ref().map(|staple| staple.answer.clone());
        let until = staple.as_ref().map_or_else(|| UnixTime::from_secs(0), |staple| staple.until);
        Self {
            files: self.files.clone(),
            content: self.content,
            serial: self.serial.clone(),
            key: Arc::new(key),
            names: self.names.clone(),
            expiry: CertificateExpiry { staple_until: Some(until), ..self.expiry.clone() },
            staple,
        }
    }

    /// Judges what a pair holds: one key, kept to ourselves, of a length that is enough, for a chain. A chain that has ended is served:
    /// clients refuse it one by one, and a refusal here would shut out whoever else is served.
    pub(super) fn judge(files: Files, content: Content, provider: &CryptoProvider) -> Result<Self, TlsError> {
        let (cert, key) = (&files.cert, &files.key);
        let chain = chain_of(&content.cert, cert)?;
        let Some(leaf) = chain.first() else { return Err(TlsError::Empty { path: cert.clone() }) };
        let Leaf { names, expiry, serial } = judge_leaf(leaf, cert, &chain)?;
        if content.exposed {
            return Err(TlsError::Exposed { path: key.clone() });
        }
        let block = pem_private_key(content.key.expose()).map_err(|source| pem_error(key, source))?;
        let private = block.as_ref().and_then(private_key).ok_or_else(|| TlsError::NoKey { path: key.clone() })?;
        let signing =
            provider.key_provider.load_private_key(private.clone_key()).map_err(|source| TlsError::Key { path: key.clone(), source })?;
        let certified = CertifiedKey::new(chain, signing);
        match certified.keys_match() {
            Ok(()) | Err(RustlsError::InconsistentKeys(InconsistentKeys::Unknown)) => {}
            Err(_) => return Err(TlsError::Mismatch { cert: cert.clone(), key: key.clone() }),
        }
        let digest = content.digest();
        Ok(Self { content: digest, serial, staple: None, key: Arc::new(certified), names, expiry, files })
    }

    /// Says why clients refuse it at this time, if they do.
    pub(super) fn out_of_date(&self, now: UnixTime) -> Option<TlsError> {
        let path = || self.files.cert.clone();
        if self.expiry.has_ended(now) {
            return Some(TlsError::Expired { path: path() });
        }
        (now < self.expiry.not_before).then(|| TlsError::NotYetValid { path: path() })
    }

    /// Says whether it is for the host, or for all hosts of the wildcard.
    pub(super) fn covers(&self, pattern: &HostPattern) -> bool {
        let above = match pattern {
            HostPattern::Exact(host) => host.parent(),
            HostPattern::Wildcard(_) => None,
        };
        self.names.iter().any(|name| match name {
            HostPattern::Wildcard(parent) => name == pattern || above == Some(parent.as_str()),
            HostPattern::Exact(_) => name == pattern,
        })
    }
}

/// Reads a chain of certificates. Blocks.
pub(super) fn read_chain(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    chain_of(&content::read(path)?.0, path)
}

fn chain_of(pem: &[u8], path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let chain = pem_chain(pem).map_err(|source| pem_error(path, source))?;
    Ok(chain.into_iter().map(CertificateDer::from).collect())
}

/// Returns the key of a block, in the library's words.
fn private_key(block: &PemBlock) -> Option<PrivateKeyDer<'_>> {
    let der = block.der.expose().as_slice();
    match block.kind {
        PemKind::Pkcs8Key => Some(PrivateKeyDer::Pkcs8(der.into())),
        PemKind::Pkcs1Key => Some(PrivateKeyDer::Pkcs1(der.into())),
        PemKind::Sec1Key => Some(PrivateKeyDer::Sec1(der.into())),
        PemKind::Certificate
        | PemKind::RevocationList
        | PemKind::EncryptedKey
        | PemKind::PublicKey
        | PemKind::Parameters
        | PemKind::Other(_) => None,
    }
}

/// What is known of the first certificate of a chain.
struct Leaf {
    names: Vec<HostPattern>,
    expiry: CertificateExpiry,
    serial: Vec<u8>,
}

fn judge_leaf(leaf: &CertificateDer<'_>, path: &Path, chain: &[CertificateDer<'static>]) -> Result<Leaf, TlsError> {
    let parsed = parse(leaf, path)?;
    if let Ok(PublicKey::RSA(rsa)) = parsed.public_key().parsed()
        && rsa.key_size() < 2048
    {
        return Err(TlsError::WeakKey { path: path.to_owned(), bits: rsa.key_size() });
    }
    let names = dns_names(&parsed);
    let expiry = CertificateExpiry {
        name: names.first().map_or_else(|| path.display().to_string(), ToString::to_string),
        file: path.to_owned(),
        not_before: not_before(&parsed),
        not_after: not_after(&parsed),
        staple_until: None,
        chain: chain.into(),
    };
    Ok(Leaf { names, expiry, serial: parsed.raw_serial().to_vec() })
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

fn pem_error(path: &Path, error: PemError) -> TlsError {
    TlsError::Pem { path: path.to_owned(), error }
}
