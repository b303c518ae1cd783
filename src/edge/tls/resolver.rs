//! Which certificate for which name.

use std::{collections::HashMap, fmt, sync::Arc};

use rustls::{
    CipherSuite, SignatureAlgorithm,
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};

use super::{CertificateExpiry, certificate::Loaded};
use crate::model::{Host, HostPattern};
use crate::policy::UnknownSni;

type ByHost = HashMap<Host, Vec<Arc<CertifiedKey>>, ahash::RandomState>;

/// The certificates by the names they are for.
#[derive(Default)]
pub(super) struct Certificates {
    exact: ByHost,
    wildcard: ByHost,
    /// What a client sees that names no host, or an unknown one where that is allowed.
    default: Vec<Arc<CertifiedKey>>,
    expiries: Vec<CertificateExpiry>,
}

/// The name that a client asks for, judged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::edge) enum Sni {
    /// None; the tenant check decides what that means.
    Absent,
    /// This host.
    Named(Host),
}

impl Certificates {
    /// Orders certificates by name. The first one is the default; those for the same names stand beside it.
    pub(super) fn new(loaded: &[Arc<Loaded>]) -> Self {
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

    /// Judges a name: it must be a host, and one that a certificate is for unless unknown ones are shown the default.
    pub(super) fn judge(&self, name: Option<&str>, unknown: UnknownSni) -> Result<Sni, String> {
        let Some(name) = name else { return Ok(Sni::Absent) };
        let Ok(host) = name.parse::<Host>() else { return Err(name.to_owned()) };
        match (self.named(&host), unknown) {
            (Some(_), _) | (None, UnknownSni::Default) => Ok(Sni::Named(host)),
            (None, UnknownSni::Refuse) => Err(name.to_owned()),
        }
    }

    /// Finds the certificates for a host: of the exact name, else of a wildcard one label above.
    fn named(&self, host: &Host) -> Option<&Vec<Arc<CertifiedKey>>> {
        self.exact.get(host).or_else(|| self.wildcard.get(host.parent()?))
    }
}

/// Keeps ECDSA before RSA: it signs for a third of the cost.
fn insert(keys: &mut Vec<Arc<CertifiedKey>>, key: &Arc<CertifiedKey>) {
    let at = if is_rsa(key) { keys.len() } else { keys.iter().take_while(|other| !is_rsa(other)).count() };
    keys.insert(at, Arc::clone(key));
}

fn is_rsa(key: &CertifiedKey) -> bool {
    key.key.algorithm() == SignatureAlgorithm::RSA
}

impl ResolvesServerCert for Certificates {
    /// Takes the first certificate for the name that the client can verify.
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let named = hello.server_name().and_then(|name| name.parse().ok()).and_then(|host| self.named(&host));
        let keys = named.unwrap_or(&self.default);
        let fits = |key: &&Arc<CertifiedKey>| {
            key.key.choose_scheme(hello.signature_schemes()).is_some() && (is_rsa(key) || takes_ecdsa(hello.cipher_suites()))
        };
        // If none fits, the handshake fails by itself and says why.
        keys.iter().find(fits).or_else(|| keys.first()).cloned()
    }
}

/// In TLS 1.2 the suite names the kind of certificate; the suites of TLS 1.3 take any.
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
