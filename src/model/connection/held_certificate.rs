//! The client certificate of a connection, verified again for as long as the connection lives.

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicBool, Ordering},
};

use crate::model::{Acceptance, CertificateVerifier, ClientCertificate, Host, Presented, UnixTime};

/// A client certificate that lives as long as its connection, with the last result of its verification.
#[derive(Debug)]
pub(super) struct HeldCertificate {
    pub(super) certificate: Arc<ClientCertificate>,
    acceptance: Mutex<Arc<Acceptance>>,
    /// Whether the last verification found that no tenant accepts it any more.
    is_refused: AtomicBool,
    verifier: Arc<dyn CertificateVerifier>,
}

impl HeldCertificate {
    /// Keeps a certificate, and the verifier for later.
    pub(super) fn new(presented: Presented, verifier: Arc<dyn CertificateVerifier>) -> Self {
        let Presented { certificate, acceptance } = presented;
        Self { certificate, acceptance: Mutex::new(acceptance), is_refused: AtomicBool::new(false), verifier }
    }

    /// Returns the certificate and the tenants that accept it now; see [`super::Connection::presented`].
    pub(super) fn presented(&self, sni: Option<&Host>, now: UnixTime) -> Presented {
        let mut acceptance = self.acceptance.lock().unwrap_or_else(PoisonError::into_inner);
        if !acceptance.holds(self.verifier.rules(), now) {
            *acceptance = Arc::new(self.verifier.verify(sni, &self.certificate, now));
            self.is_refused.store(acceptance.tenants.is_empty(), Ordering::Release);
        }
        Presented { certificate: Arc::clone(&self.certificate), acceptance: Arc::clone(&acceptance) }
    }

    /// Says whether the last verification found that no tenant accepts it any more.
    pub(super) fn is_refused(&self) -> bool {
        self.is_refused.load(Ordering::Acquire)
    }
}
