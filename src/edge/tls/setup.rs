//! What is supported: versions, cipher suites, groups, application protocols.

use std::sync::Arc;

use rustls::{
    ServerConfig, SupportedProtocolVersion,
    crypto::{CryptoProvider, aws_lc_rs},
    server::NoServerSessionStorage,
    version::{TLS12, TLS13},
};

use super::{TlsError, resolver::Certificates};
use crate::policy::MinVersion;

/// Installs aws-lc-rs as the provider of the process. The first one installed wins, and pingora would install
/// ring later. Says whether it was the first.
pub fn install_provider() -> bool {
    aws_lc_rs::default_provider().install_default().is_ok()
}

/// The cipher suites and groups that are supported: forward secrecy and authenticated encryption only
/// (`threat-model.md`, row 24).
pub(super) fn provider() -> CryptoProvider {
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
        // The hybrid group first, so that recorded traffic stays unreadable when quantum computers come.
        kx_groups: vec![kx_group::X25519MLKEM768, kx_group::X25519, kx_group::SECP256R1, kx_group::SECP384R1],
        ..aws_lc_rs::default_provider()
    }
}

/// Returns the versions that are supported, from this minimum on.
pub(super) fn versions(min_version: MinVersion) -> &'static [&'static SupportedProtocolVersion] {
    static FROM_TLS12: &[&SupportedProtocolVersion] = &[&TLS13, &TLS12];
    static FROM_TLS13: &[&SupportedProtocolVersion] = &[&TLS13];
    match min_version {
        MinVersion::Tls12 => FROM_TLS12,
        MinVersion::Tls13 => FROM_TLS13,
    }
}

/// Builds a configuration without resumption; the caller adds tickets and caches.
pub(super) fn server_config(
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
    // Without overlap the handshake ends with `no_application_protocol`; a client that offers none gets
    // HTTP/1.1 (RFC 7301, section 3.2).
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec(), b"http/1.0".to_vec()];
    config.ignore_client_order = true;
    // Early data can be replayed by design (RFC 8446, section 8), so it is never accepted.
    config.max_early_data_size = 0;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(config)
}
