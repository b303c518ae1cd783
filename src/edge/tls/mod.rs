//! TLS: certificates, versions, suites and tickets of all TLS listeners, built from the policy as a whole.

mod certificate;
mod client_auth;
pub mod dev;
mod error;
mod facts;
mod hello;
mod peer;
mod presented;
mod refusal;
mod resolver;

use std::{fmt, path::Path, sync::Arc};

use rustls::{
    ServerConfig, SupportedProtocolVersion,
    crypto::{CryptoProvider, aws_lc_rs},
    server::ServerSessionMemoryCache,
    version::{TLS12, TLS13},
};
use sha2::{Digest, Sha256};

pub use self::{certificate::CertificateExpiry, error::TlsError};
use self::{certificate::Loaded, client_auth::ClientAuth, resolver::Certificates};
pub use self::{client_auth::judge_certificate, hello::ja4};
pub(super) use self::{
    facts::facts,
    hello::MAX_HELLO_BYTES,
    peer::{Asking, InForce},
    resolver::Sni,
};
use crate::model::{HostPattern, UnixTime};
use crate::policy::{CertificateSource, ListenerKind, MinVersion, Policy, UnknownSni};

/// How many TLS 1.2 sessions of clients without tickets are kept.
const SESSIONS: usize = 8192;

/// Everything a TLS handshake needs. Immutable; a reload builds another one and swaps it in.
pub struct TlsState {
    config: Arc<ServerConfig>,
    certificates: Arc<Certificates>,
    clients: ClientAuth,
    min_version: MinVersion,
    unknown_sni: UnknownSni,
    /// Whether some tenant serves clients that name no host.
    takes_no_sni: bool,
    ja4: bool,
    digest: [u8; 32],
}

impl TlsState {
    /// Loads and judges every certificate of the policy, and makes what `dev: true` entries lack.
    ///
    /// All errors are returned at once. Blocks on files. A policy without TLS listeners needs no certificate.
    pub fn build(policy: &Policy, now: UnixTime) -> Result<Self, Vec<TlsError>> {
        let provider = Arc::new(provider());
        let mut loaded = Vec::new();
        let mut errors = Vec::new();
        for certificate in &policy.tls.certificates {
            match load(&certificate.source, policy, &provider, now) {
                Ok(more) => loaded.extend(more),
                Err(error) => errors.push(error),
            }
        }
        let needs_one = policy.listeners.iter().any(|listener| listener.kind == ListenerKind::Tls);
        if errors.is_empty() && loaded.is_empty() && needs_one {
            errors.push(TlsError::NoCertificate);
        }
        let clients = ClientAuth::new(policy, &provider).unwrap_or_else(|more| {
            errors.extend(more);
            ClientAuth::default()
        });
        if !errors.is_empty() {
            return Err(errors);
        }
        let digest = digest(&loaded, policy, &clients);
        let certificates = Arc::new(Certificates::new(loaded));
        let config = server_config(provider, policy.tls.min_version, &certificates).map_err(|error| vec![error])?;
        Ok(Self {
            config: Arc::new(config),
            certificates,
            clients,
            min_version: policy.tls.min_version,
            unknown_sni: policy.tls.unknown_sni,
            takes_no_sni: takes_no_sni(policy),
            ja4: policy.tls.ja4,
            digest,
        })
    }

    /// Stays with the state in force if this one would change nothing: new ticket keys would end every resumption.
    pub fn or_keep(self, in_force: &Arc<Self>) -> Arc<Self> {
        if self.digest == in_force.digest { Arc::clone(in_force) } else { Arc::new(self) }
    }

    /// Judges the certificates that are there, and makes nothing: what `dev: true` entries lack is made at the start.
    pub fn judge(policy: &Policy, now: UnixTime) -> Result<(), Vec<TlsError>> {
        let provider = provider();
        let judged = policy.tls.certificates.iter().map(|certificate| match &certificate.source {
            CertificateSource::Files { cert, key, ocsp } => Loaded::from_files(cert, key, ocsp.as_deref(), &provider, now).map(drop),
            CertificateSource::Dev { .. } => Ok(()),
        });
        let clients = ClientAuth::new(policy, &Arc::new(provider.clone())).err().unwrap_or_default();
        let errors: Vec<TlsError> = judged.filter_map(Result::err).chain(clients).collect();
        if errors.is_empty() { Ok(()) } else { Err(errors) }
    }

    /// Returns when each certificate ends, for the metric.
    pub fn certificate_expiries(&self) -> Vec<CertificateExpiry> {
        self.certificates.expiries()
    }

    /// Says whether a certificate is for the host, or for all hosts of the wildcard.
    pub fn covers(&self, pattern: &HostPattern) -> bool {
        self.certificates.covers(pattern)
    }

    pub(super) fn clients(&self) -> &ClientAuth {
        &self.clients
    }

    /// Returns the configuration of one handshake, and who asks for the client's certificate, where the host's realm does.
    pub(super) fn config_for(&self, sni: &Sni) -> Result<(Arc<ServerConfig>, Option<Arc<Asking>>), TlsError> {
        let realm = match sni {
            Sni::Named(host) => self.clients.realm(host),
            Sni::Absent => None,
        };
        let Some(realm) = realm else { return Ok((Arc::clone(&self.config), None)) };
        let asking = Asking::new(realm, self.clients.number(), self.config.crypto_provider());
        let config = asking.config(&self.config, versions(self.min_version))?;
        Ok((Arc::new(config), Some(asking)))
    }

    /// Judges the name that a client asks for; a refused one is handed back.
    ///
    /// A client that names none learns the first customer's name from the certificate it is shown. So it is refused, where no
    /// tenant could serve it anyway and unknown names are.
    pub(super) fn judge_sni(&self, name: Option<&str>) -> Result<Sni, Option<String>> {
        if name.is_none() && !self.takes_no_sni && self.unknown_sni == UnknownSni::Refuse {
            return Err(None);
        }
        self.certificates.judge(name, self.unknown_sni).map_err(Some)
    }

    /// Says whether the beginning of a connection is looked at for the client's fingerprint.
    pub(super) fn reads_fingerprints(&self) -> bool {
        self.ja4
    }
}

/// Makes aws-lc-rs the process's provider: the first that is installed wins, and pingora would install ring later
/// (`pingora.md` 9). Says whether it was the first.
pub fn install_provider() -> bool {
    aws_lc_rs::default_provider().install_default().is_ok()
}

/// Builds what the admin listener needs for TLS: one certificate, whatever name is asked for, and HTTP/1.1.
pub fn admin_acceptor(cert: &Path, key: &Path, min_version: MinVersion, now: UnixTime) -> Result<tokio_rustls::TlsAcceptor, TlsError> {
    let provider = Arc::new(provider());
    let loaded = Loaded::from_files(cert, key, None, &provider, now)?;
    let mut config = server_config(provider, min_version, &Arc::new(Certificates::new(vec![loaded])))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config).into())
}

impl fmt::Debug for TlsState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsState").field("certificates", &self.certificate_expiries()).finish_non_exhaustive()
    }
}

fn load(source: &CertificateSource, policy: &Policy, provider: &CryptoProvider, now: UnixTime) -> Result<Vec<Loaded>, TlsError> {
    match source {
        CertificateSource::Files { cert, key, ocsp } => Ok(vec![Loaded::from_files(cert, key, ocsp.as_deref(), provider, now)?]),
        CertificateSource::Dev { dir } => {
            let pairs = dev::provide(dir, policy.tenants.iter().map(|tenant| (tenant.name.as_str(), &*tenant.hosts)), now)?;
            pairs.iter().map(|pair| Loaded::from_files(&pair.cert, &pair.key, None, provider, now)).collect()
        }
    }
}

fn takes_no_sni(policy: &Policy) -> bool {
    policy.tenants.iter().any(|tenant| tenant.allow_no_sni)
}

/// A digest of everything that a handshake shows or goes by.
fn digest(loaded: &[Loaded], policy: &Policy, clients: &ClientAuth) -> [u8; 32] {
    let mut digest = Sha256::new();
    let tls = &policy.tls;
    let settings = format!("{:?} {:?} {} {} {}", tls.min_version, tls.unknown_sni, takes_no_sni(policy), tls.ja4, loaded.len());
    digest.update(settings);
    digest.update(clients.digest());
    for one in loaded {
        let parts = one.key.cert.iter().map(|der| &**der).chain(one.key.ocsp.as_deref());
        for part in parts {
            digest.update(part.len().to_be_bytes());
            digest.update(part);
        }
    }
    digest.finalize().into()
}

/// The suites and groups that are spoken: forward secrecy and authenticated encryption only (`security.md`, row 24).
fn provider() -> CryptoProvider {
    use aws_lc_rs::{cipher_suite as suite, kx_group};
    CryptoProvider {
        cipher_suites: vec![
            suite::TLS13_AES_256_GCM_SHA384,
            suite::TLS13_AES_128_GCM_SHA256,
            suite::TLS13_CHACHA20_POLY1305_SHA256,
            suite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
            suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
            suite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
            suite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
            suite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
            suite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
        ],
        // The hybrid group first: what is recorded today must not be read when quantum computers come.
        kx_groups: vec![kx_group::X25519MLKEM768, kx_group::X25519, kx_group::SECP256R1, kx_group::SECP384R1],
        ..aws_lc_rs::default_provider()
    }
}

fn versions(min_version: MinVersion) -> &'static [&'static SupportedProtocolVersion] {
    static FROM_TLS12: &[&SupportedProtocolVersion] = &[&TLS13, &TLS12];
    static FROM_TLS13: &[&SupportedProtocolVersion] = &[&TLS13];
    match min_version {
        MinVersion::Tls12 => FROM_TLS12,
        MinVersion::Tls13 => FROM_TLS13,
    }
}

fn server_config(
    provider: Arc<CryptoProvider>,
    min_version: MinVersion,
    certificates: &Arc<Certificates>,
) -> Result<ServerConfig, TlsError> {
    let resolver: Arc<dyn rustls::server::ResolvesServerCert> = Arc::<Certificates>::clone(certificates);
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(versions(min_version))
        .map_err(TlsError::Config)?
        .with_no_client_auth()
        .with_cert_resolver(resolver);
    // No overlap ends the handshake with `no_application_protocol`; a client that offers none gets HTTP/1.1 (RFC 7301, section 3.2).
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    config.ignore_client_order = true;
    // Replayable by design (RFC 8446, section 8): never.
    config.max_early_data_size = 0;
    // New keys with every build, and every six hours: a ticket must not outlive the certificate that it stands for.
    config.ticketer = aws_lc_rs::Ticketer::new().map_err(TlsError::Config)?;
    config.session_storage = ServerSessionMemoryCache::new(SESSIONS);
    Ok(config)
}
