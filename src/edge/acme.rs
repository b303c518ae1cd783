//! The handshake by which a CA proves that a host is ours: TLS-ALPN-01 (RFC 8737).
//!
//! The certificate that it shows proves one host to one CA for as long as one order runs, and no client ever trusts it. It is made
//! anew for each such handshake, which costs about as much as the handshake itself.

use std::sync::Arc;

use rcgen::{CertificateParams, CustomExtension, DistinguishedName, KeyPair, PKCS_ECDSA_P256_SHA256};
use rustls::{
    ServerConfig,
    crypto::aws_lc_rs,
    server::{ClientHello, NoServerSessionStorage},
    sign::{CertifiedKey, SingleCertAndKey},
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

use crate::{model::Host, state::Challenges};

/// The protocol that a CA speaks, and nobody else (RFC 8737, section 6.2).
const PROTOCOL: &[u8] = b"acme-tls/1";

/// What a CA must be shown.
pub(super) struct Proof {
    /// The host that it asks about.
    pub(super) host: Host,
    digest: [u8; 32],
}

/// Why a proof cannot be made.
#[derive(Debug, thiserror::Error)]
pub(super) enum ProofError {
    /// The certificate cannot be made.
    #[error("the certificate for the CA cannot be made: {0}")]
    Make(#[from] rcgen::Error),
    /// The library refuses it.
    #[error("the certificate for the CA cannot be used: {0}")]
    Use(#[from] rustls::Error),
}

/// Says whether a CA asks about a host that is being proven. It offers its protocol and no other (RFC 8737, section 3); for
/// everybody else the handshake goes its usual way, where that protocol is not spoken.
pub(super) fn asked(hello: &ClientHello<'_>, challenges: &Challenges) -> Option<Proof> {
    let mut offered = hello.alpn()?;
    if offered.next() != Some(PROTOCOL) || offered.next().is_some() {
        return None;
    }
    let host: Host = hello.server_name()?.parse().ok()?;
    let digest = challenges.over_tls(&host)?;
    Some(Proof { host, digest })
}

impl Proof {
    /// Builds the handshake that shows it. Nothing of it can be resumed.
    pub(super) fn config(&self) -> Result<Arc<ServerConfig>, ProofError> {
        let mut params = CertificateParams::new(vec![self.host.to_string()])?;
        params.distinguished_name = DistinguishedName::new();
        params.custom_extensions = vec![CustomExtension::new_acme_identifier(&self.digest)];
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let chain: Vec<CertificateDer<'static>> = vec![params.self_signed(&key)?.into()];
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let provider = aws_lc_rs::default_provider();
        // Not by the builder's own way: it refuses the critical extension, which nobody but a CA understands.
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
