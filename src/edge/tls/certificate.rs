//! One certificate: read, and validated before it is used.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use rustls::{Error as RustlsError, InconsistentKeys, crypto::CryptoProvider, sign::CertifiedKey};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use x509_parser::public_key::PublicKey;

use super::{
    TlsError,
    content::{Content, Files},
    dev,
    error::pem_error,
    staple::Staple,
    x509::{chain_of, dns_names, not_after, not_before, parse},
};
use crate::model::{ChainFault, HostPattern, PemBlock, PemKind, UnixTime, chain_faults, pem_private_key};

/// When a certificate expires, and what else is reported about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateExpiry {
    /// The first name that it covers; the file where it covers no host.
    pub name: String,
    /// The file of its chain, because several certificates may cover one name.
    pub file: PathBuf,
    /// Its first second.
    pub not_before: UnixTime,
    /// Its last second.
    pub not_after: UnixTime,
    /// Where an OCSP response is to be stapled: its nextUpdate, or the beginning of 1970 while there is none.
    pub staple_until: Option<UnixTime>,
    /// The chain as it is sent, leaf first.
    chain: Arc<[CertificateDer<'static>]>,
}

impl CertificateExpiry {
    /// Says whether it has expired.
    pub fn has_ended(&self, now: UnixTime) -> bool {
        // The last second still counts.
        self.not_after.as_secs() < now.as_secs()
    }

    /// Returns the faults of its chain. None of them keeps it from being served.
    pub fn chain_faults(&self, now: UnixTime) -> Vec<ChainFault> {
        chain_faults(&self.chain, now)
    }
}

/// A certificate with its key, ready for use.
pub(super) struct LoadedCertificate {
    pub(super) files: Files,
    /// A digest of the contents of the pair.
    pub(super) content: [u8; 32],
    /// The contents of its DER integer.
    serial: Vec<u8>,
    pub(super) staple: Option<Staple>,
    pub(super) key: Arc<CertifiedKey>,
    pub(super) names: Vec<HostPattern>,
    pub(super) expiry: CertificateExpiry,
    /// Whether octroi's own development CA made it.
    is_ours: bool,
}

impl LoadedCertificate {
    /// Reads the files of a certificate and validates them. Blocks.
    pub(super) fn from_files(
        files: Files,
        provider: &CryptoProvider,
        now: UnixTime,
    ) -> Result<Self, TlsError> {
        let content = Content::read(&files)?;
        let pair = Self::judge(files, content, provider)?;
        let Some(path) = &pair.files.ocsp else { return Ok(pair) };
        let staple = Staple::read_unless_ended(path, &pair.serial, now)?;
        Ok(pair.stapling(staple))
    }

    /// Reads the OCSP response of a certificate in use again. Returns the certificate to go on with, which is
    /// the same where nothing changed, and what is wrong with the response. Blocks.
    pub(super) fn restapled(self: Arc<Self>, now: UnixTime) -> (Arc<Self>, Option<TlsError>) {
        let Some(path) = &self.files.ocsp else { return (self, None) };
        let (staple, error) = match Staple::read(path, &self.serial, now) {
            Ok(staple) => (Some(staple), None),
            // The response stapled so far stays valid until it expires.
            Err(error) => (self.staple.clone().filter(|staple| now < staple.until), Some(error)),
        };
        if staple == self.staple { (self, error) } else { (Arc::new(self.stapling(staple)), error) }
    }

    /// Returns the same certificate under these files: its OCSP response is stapled as soon as there is a
    /// valid one.
    pub(super) fn of(self, files: Files) -> Self {
        Self { files, ..self }
    }

    /// Returns the same certificate with this response.
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
            is_ours: self.is_ours,
            staple,
        }
    }

    /// Validates the contents of a pair: one private key, readable by us alone, long enough, that belongs to
    /// the chain. An expired chain is served all the same: clients reject it one by one, and refusing it here
    /// would shut out those who would not.
    pub(super) fn judge(files: Files, content: Content, provider: &CryptoProvider) -> Result<Self, TlsError> {
        let (cert, key) = (&files.cert, &files.key);
        let chain = chain_of(&content.cert, cert)?;
        let Some(leaf) = chain.first() else { return Err(TlsError::Empty { path: cert.clone() }) };
        let Leaf { names, expiry, serial, is_ours } = judge_leaf(leaf, cert, &chain)?;
        if content.exposed {
            return Err(TlsError::Exposed { path: key.clone() });
        }
        let block = pem_private_key(content.key.expose()).map_err(|source| pem_error(key, source))?;
        let private =
            block.as_ref().and_then(private_key).ok_or_else(|| TlsError::NoKey { path: key.clone() })?;
        let signing = provider
            .key_provider
            .load_private_key(private.clone_key())
            .map_err(|source| TlsError::Key { path: key.clone(), source })?;
        let certified = CertifiedKey::new(chain, signing);
        match certified.keys_match() {
            Ok(()) | Err(RustlsError::InconsistentKeys(InconsistentKeys::Unknown)) => {}
            Err(_) => return Err(TlsError::Mismatch { cert: cert.clone(), key: key.clone() }),
        }
        let digest = content.digest();
        Ok(Self {
            content: digest,
            serial,
            staple: None,
            key: Arc::new(certified),
            names,
            expiry,
            is_ours,
            files,
        })
    }

    /// Returns why clients reject it at this time, if they do.
    pub(super) fn out_of_date(&self, now: UnixTime) -> Option<TlsError> {
        let path = || self.files.cert.clone();
        if self.expiry.has_ended(now) {
            return Some(TlsError::Expired { path: path() });
        }
        (now < self.expiry.not_before).then(|| TlsError::NotYetValid { path: path() })
    }

    /// Returns why it must not replace the certificate in use, if so: clients would reject it, and accept the
    /// one in use.
    pub(super) fn worse_than(&self, before: &Self, now: UnixTime) -> Option<TlsError> {
        let late = self.out_of_date(now).filter(|_| before.out_of_date(now).is_none());
        late.or_else(|| {
            (self.is_ours && !before.is_ours).then(|| TlsError::Development { path: self.files.cert.clone() })
        })
    }

    /// Returns why clients reject it, if they do: because of its dates, or because octroi's own development
    /// CA made it.
    pub(super) fn refused(&self, now: UnixTime) -> Option<TlsError> {
        self.out_of_date(now)
            .or_else(|| self.is_ours.then(|| TlsError::Development { path: self.files.cert.clone() }))
    }

    /// Says whether it covers the host, or all hosts of the wildcard.
    pub(super) fn covers(&self, pattern: &HostPattern) -> bool {
        cover(&self.names, pattern)
    }

    /// Returns the names in a certificate that cannot be used, where they can be read. Blocks.
    pub(super) fn names_in(files: &Files) -> Option<Vec<HostPattern>> {
        let content = Content::read(files).ok()?;
        let chain = chain_of(&content.cert, &files.cert).ok()?;
        Some(judge_leaf(chain.first()?, &files.cert, &chain).ok()?.names)
    }
}

/// Says whether the names of a certificate cover the host, or all hosts of the wildcard.
pub(super) fn cover(names: &[HostPattern], pattern: &HostPattern) -> bool {
    let above = match pattern {
        HostPattern::Exact(host) => host.parent(),
        HostPattern::Wildcard(_) => None,
    };
    names.iter().any(|name| match name {
        HostPattern::Wildcard(parent) => name == pattern || above == Some(parent.as_str()),
        HostPattern::Exact(_) => name == pattern,
    })
}

/// Converts a private key to the type of the library.
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

/// What is known about the first certificate of a chain.
struct Leaf {
    names: Vec<HostPattern>,
    expiry: CertificateExpiry,
    serial: Vec<u8>,
    is_ours: bool,
}

fn judge_leaf(
    leaf: &CertificateDer<'_>,
    path: &Path,
    chain: &[CertificateDer<'static>],
) -> Result<Leaf, TlsError> {
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
    Ok(Leaf { names, expiry, serial: parsed.raw_serial().to_vec(), is_ours: dev::is_ours(&parsed) })
}
