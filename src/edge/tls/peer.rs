//! The certificate that a client presents in a handshake.

use std::sync::{Arc, Mutex, PoisonError};

use rustls::{
    DigitallySignedStruct, DistinguishedName as RustlsName, Error as RustlsError, ServerConfig,
    SignatureScheme, SupportedProtocolVersion,
    client::danger::HandshakeSignatureValid,
    crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature},
    server::{
        NoServerSessionStorage,
        danger::{ClientCertVerified, ClientCertVerifier},
    },
};
use rustls_pki_types::CertificateDer;

use super::{TlsError, client_auth::Realm, presented::read};
use crate::model::{Presented, UnixTime};

/// Verifies the certificate of the client in one handshake.
#[derive(Debug)]
pub(in crate::edge) struct RealmVerifier {
    realm: Arc<Realm>,
    rules: u64,
    provider: Arc<CryptoProvider>,
    outcome: Mutex<Option<Result<Presented, String>>>,
}

impl RealmVerifier {
    /// Creates the verifier of one handshake.
    pub(super) fn new(realm: &Arc<Realm>, rules: u64, provider: &Arc<CryptoProvider>) -> Arc<Self> {
        Arc::new(Self {
            realm: Arc::clone(realm),
            rules,
            provider: Arc::clone(provider),
            outcome: Mutex::default(),
        })
    }

    /// Derives the configuration of this handshake from the common one: it asks for a certificate and resumes
    /// nothing. A resumed session would bring its certificate along unverified (CVE-2025-23419).
    pub(super) fn config(
        self: &Arc<Self>,
        base: &ServerConfig,
        versions: &[&'static SupportedProtocolVersion],
    ) -> Result<ServerConfig, TlsError> {
        let verifier: Arc<dyn ClientCertVerifier> = Arc::<Self>::clone(self);
        let mut config = ServerConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_protocol_versions(versions)
            .map_err(TlsError::Config)?
            .with_client_cert_verifier(verifier)
            .with_cert_resolver(Arc::clone(&base.cert_resolver));
        config.alpn_protocols.clone_from(&base.alpn_protocols);
        config.ignore_client_order = base.ignore_client_order;
        config.max_early_data_size = 0;
        // The default ticketer makes no tickets, but the session cache and the number of tickets have other
        // defaults.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(config)
    }

    /// Returns the certificate that was presented and accepted. The handshake must have succeeded.
    pub(in crate::edge) fn presented(&self) -> Option<Presented> {
        self.taken().and_then(Result::ok)
    }

    /// Returns why a certificate was refused, if one was.
    pub(in crate::edge) fn refused(&self) -> Option<String> {
        self.taken().and_then(Result::err)
    }

    fn taken(&self) -> Option<Result<Presented, String>> {
        self.outcome.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn judge(&self, chain: &[CertificateDer<'_>], now: UnixTime) -> Result<(), RustlsError> {
        let read = read(chain);
        let subject = read
            .as_ref()
            .map(|certificate| format!("{} (serial {})", certificate.subject, certificate.serial))
            .unwrap_or_default();
        let (outcome, answer) = match read.and_then(|certificate| {
            let (acceptance, refused) = self.realm.judge(&certificate, self.rules, now);
            if acceptance.tenants.is_empty() { Err(refused) } else { Ok((certificate, acceptance)) }
        }) {
            Ok((certificate, acceptance)) => (
                Ok(Presented { certificate: Arc::new(certificate), acceptance: Arc::new(acceptance) }),
                Ok(()),
            ),
            Err(refused) => {
                let words =
                    if subject.is_empty() { refused.to_string() } else { format!("{refused}: {subject}") };
                (Err(words), Err(RustlsError::InvalidCertificate(refused.into_error())))
            }
        };
        *self.outcome.lock().unwrap_or_else(PoisonError::into_inner) = Some(outcome);
        answer
    }
}

impl ClientCertVerifier for RealmVerifier {
    fn offer_client_auth(&self) -> bool {
        true
    }

    /// A client without a certificate gets a page that explains it.
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[RustlsName] {
        self.realm.hints()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: rustls_pki_types::UnixTime,
    ) -> Result<ClientCertVerified, RustlsError> {
        let chain: Vec<CertificateDer<'_>> =
            std::iter::once(end_entity).chain(intermediates).cloned().collect();
        self.judge(&chain, UnixTime::from_secs(now.as_secs())).map(|()| ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, RustlsError> {
        verify_tls12_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, RustlsError> {
        verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
