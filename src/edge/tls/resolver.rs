//! Chooses the certificate for an SNI.

use std::{collections::HashMap, fmt, sync::Arc};

use rustls::{
    CipherSuite, SignatureAlgorithm,
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};

use super::{CertificateExpiry, certificate::LoadedCertificate};
use crate::model::{Host, HostPattern};
use crate::policy::UnknownSni;

type ByHost = HashMap<Host, Vec<Arc<CertifiedKey>>, ahash::RandomState>;

/// The certificates by the names that they cover.
#[derive(Default)]
pub(super) struct Certificates {
    exact: ByHost,
    wildcard: ByHost,
    /// The certificates for a client without SNI, or with an unknown one where that is allowed.
    default: Vec<Arc<CertifiedKey>>,
    expiries: Vec<CertificateExpiry>,
}

/// The SNI of a client, after validation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::edge) enum Sni {
    /// No SNI. The tenant check decides what that means.
    Absent,
    /// This host.
    Named(Host),
}

impl Certificates {
    /// Indexes certificates by name. The first one is the default, together with others for the same names.
    pub(super) fn new(loaded: &[Arc<LoadedCertificate>]) -> Self {
        let mut certificates = Self::default();
        let first: Vec<HostPattern> = loaded.first().map(|first| first.names.clone()).unwrap_or_default();
        for (index, one) in loaded.iter().enumerate() {
            for name in &one.names {
                let (map, host) = match name {
                    HostPattern::Exact(host) => (&mut certificates.exact, host),
                    HostPattern::Wildcard(host) => (&mut certificates.wildcard, host),
                };
                insert(map.entry(host.clone()).or_default(), &one.key);
            }
            if index == 0 || (!first.is_empty() && one.names == first) {
                insert(&mut certificates.default, &one.key);
            }
            certificates.expiries.push(one.expiry.clone());
        }
        certificates
    }

    pub(super) fn expiries(&self) -> Vec<CertificateExpiry> {
        self.expiries.clone()
    }

    pub(super) fn covers(&self, pattern: &HostPattern) -> bool {
        match pattern {
            HostPattern::Exact(host) => self.named(host).is_some(),
            HostPattern::Wildcard(parent) => self.wildcard.contains_key(parent),
        }
    }

    /// Returns the certificates for a host, or for all hosts of the wildcard.
    pub(super) fn keys(&self, pattern: &HostPattern) -> &[Arc<CertifiedKey>] {
        let keys = match pattern {
            HostPattern::Exact(host) => self.named(host),
            HostPattern::Wildcard(parent) => self.wildcard.get(parent),
        };
        keys.map(Vec::as_slice).unwrap_or_default()
    }

    /// Validates an SNI: it must be a host, and one that a certificate covers unless unknown ones get the
    /// default.
    pub(super) fn judge(&self, name: Option<&str>, unknown: UnknownSni) -> Result<Sni, String> {
        let Some(name) = name else { return Ok(Sni::Absent) };
        let Ok(host) = name.parse::<Host>() else { return Err(name.to_owned()) };
        match (self.named(&host), unknown) {
            (Some(_), _) | (None, UnknownSni::Default) => Ok(Sni::Named(host)),
            (None, UnknownSni::Refuse) => Err(name.to_owned()),
        }
    }

    /// Finds the certificates for a host: by the exact name, else by a wildcard one label above.
    fn named(&self, host: &Host) -> Option<&Vec<Arc<CertifiedKey>>> {
        self.exact.get(host).or_else(|| self.wildcard.get(host.parent()?))
    }
}

/// Keeps ECDSA before RSA: an ECDSA signature costs a third.
fn insert(keys: &mut Vec<Arc<CertifiedKey>>, key: &Arc<CertifiedKey>) {
    let at = if is_rsa(key) { keys.len() } else { keys.iter().take_while(|other| !is_rsa(other)).count() };
    keys.insert(at, Arc::clone(key));
}

fn is_rsa(key: &CertifiedKey) -> bool {
    key.key.algorithm() == SignatureAlgorithm::RSA
}

impl ResolvesServerCert for Certificates {
    /// Returns the first certificate for the SNI that the client can verify.
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let named = hello.server_name().and_then(|name| name.parse().ok()).and_then(|host| self.named(&host));
        let keys = named.unwrap_or(&self.default);
        let fits = |key: &&Arc<CertifiedKey>| {
            key.key.choose_scheme(hello.signature_schemes()).is_some()
                && (is_rsa(key) || takes_ecdsa(hello.cipher_suites()))
        };
        // If none is suitable, the handshake fails with the right alert.
        keys.iter().find(fits).or_else(|| keys.first()).cloned()
    }
}

/// In TLS 1.2 the cipher suite determines the type of the certificate; the suites of TLS 1.3 allow any.
fn takes_ecdsa(suites: &[CipherSuite]) -> bool {
    const ANY: &[CipherSuite] = &[
        CipherSuite::TLS13_AES_256_GCM_SHA384,
        CipherSuite::TLS13_AES_128_GCM_SHA256,
        CipherSuite::TLS13_CHACHA20_POLY1305_SHA256,
        CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
        CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
        CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
    ];
    suites.iter().any(|suite| ANY.contains(suite))
}

impl fmt::Debug for Certificates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificates").field("expiries", &self.expiries).finish_non_exhaustive()
    }
}
