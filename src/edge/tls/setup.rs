//! What is spoken: versions, suites, groups, protocols.

use std::sync::Arc;

use rustls::{
    ServerConfig, SupportedProtocolVersion,
    crypto::{CryptoProvider, aws_lc_rs},
    server::NoServerSessionStorage,
    version::{TLS12, TLS13},
};

use super::{TlsError, resolver::Certificates};
use crate::policy::MinVersion;

/// Makes aws-lc-rs the process's provider: the first that is installed wins, and pingora would install ring later
/// (`pingora.md` 9). Says whether it was the first.
pub fn install_provider() -> bool {
    aws_lc_rs::default_provider().install_default().is_ok()
}

/// The suites and groups that are spoken: forward secrecy and authenticated encryption only (`security.md`, row 24).
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
        // The hybrid group first: what is recorded today must not be read when quantum computers come.
        kx_groups: vec![kx_group::X25519MLKEM768, kx_group::X25519, kx_group::SECP256R1, kx_group::SECP384R1],
        ..aws_lc_rs::default_provider()
    }
}

/// The versions that are spoken, from the oldest that may be.
pub(super) fn versions(min_version: MinVersion) -> &'static [&'static SupportedProtocolVersion] {
    static FROM_TLS12: &[&SupportedProtocolVersion] = &[&TLS13, &TLS12];
    static FROM_TLS13: &[&SupportedProtocolVersion] = &[&TLS13];
    match min_version {
        MinVersion::Tls12 => FROM_TLS12,
        MinVersion::Tls13 => FROM_TLS13,
    }
}

/// Puts a configuration together that resumes nothing: tickets and caches are the caller's.
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
    // No overlap ends the handshake with `no_application_protocol`; a client that offers none gets HTTP/1.1 (RFC 7301, section 3.2).
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec(), b"http/1.0".to_vec()];
    config.ignore_client_order = true;
    // Replayable by design (RFC 8446, section 8): never.
    config.max_early_data_size = 0;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(config)
}
