//! The handshake by which a CA validates that a host is ours: TLS-ALPN-01 (RFC 8737).
//!
//! The certificate proves one host to one CA while one order runs; no client ever trusts it. It is made for
//! each such handshake, which costs about as much as the handshake itself.

use std::sync::Arc;

use rcgen::{CertificateParams, CustomExtension, DistinguishedName, KeyPair, PKCS_ECDSA_P256_SHA256};
use rustls::{
    ServerConfig,
    crypto::aws_lc_rs,
    server::{ClientHello, NoServerSessionStorage},
    sign::{CertifiedKey, SingleCertAndKey},
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

use crate::{model::Host, store::Challenges};

/// The protocol that only a CA offers (RFC 8737, section 6.2).
const PROTOCOL: &[u8] = b"acme-tls/1";

/// What a CA must be shown.
pub(super) struct Proof {
    /// The host that it validates.
    pub(super) host: Host,
    digest: [u8; 32],
}

/// Why a proof cannot be made.
#[derive(Debug, thiserror::Error)]
pub(super) enum ProofError {
    /// The certificate cannot be made.
    #[error("the certificate for the CA cannot be made: {0}")]
    Make(#[from] rcgen::Error),
    /// The library rejects it.
    #[error("the certificate for the CA cannot be used: {0}")]
    Use(#[from] rustls::Error),
}

/// Returns the proof, if a CA is validating a host that has one. A CA offers this protocol and no other (RFC
/// 8737, section 3). For everybody else the handshake goes on as usual, without this protocol.
pub(super) fn requested_proof(hello: &ClientHello<'_>, challenges: &Challenges) -> Option<Proof> {
    let mut offered = hello.alpn()?;
    if offered.next() != Some(PROTOCOL) || offered.next().is_some() {
        return None;
    }
    let host: Host = hello.server_name()?.parse().ok()?;
    let digest = challenges.over_tls(&host)?;
    Some(Proof { host, digest })
}

impl Proof {
    /// Builds the configuration of the handshake that shows the proof. It allows no resumption.
    pub(super) fn config(&self) -> Result<Arc<ServerConfig>, ProofError> {
        let mut params = CertificateParams::new(vec![self.host.to_string()])?;
        params.distinguished_name = DistinguishedName::new();
        params.custom_extensions = vec![CustomExtension::new_acme_identifier(&self.digest)];
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let chain: Vec<CertificateDer<'static>> = vec![params.self_signed(&key)?.into()];
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let provider = aws_lc_rs::default_provider();
        // Not by the builder: it rejects the critical extension, which only a CA understands.
        let certified = CertifiedKey::new(chain, provider.key_provider.load_private_key(key)?);
        let mut config = ServerConfig::builder_with_provider(Arc::new(provider))
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(SingleCertAndKey::from(certified)));
        config.alpn_protocols = vec![PROTOCOL.to_vec()];
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(Arc::new(config))
    }
}
