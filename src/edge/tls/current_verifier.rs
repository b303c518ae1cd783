//! Verifies client certificates of open connections by the current rules.

use std::sync::Arc;

use arc_swap::ArcSwap;

use super::TlsState;
use crate::model::{Acceptance, CertificateVerifier, ClientCertificate, Host, UnixTime};

/// Verifies client certificates by the current rules.
#[derive(Debug)]
pub(in crate::edge) struct CurrentVerifier(pub(in crate::edge) Arc<ArcSwap<TlsState>>);

impl CertificateVerifier for CurrentVerifier {
    fn rules(&self) -> u64 {
        self.0.load().clients().number()
    }

    fn verify(&self, host: Option<&Host>, certificate: &ClientCertificate, now: UnixTime) -> Acceptance {
        self.0.load().clients().judge(host, certificate, now).0
    }
}
