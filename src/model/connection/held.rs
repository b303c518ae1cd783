//! The certificate that a client presented once, judged again for as long as its connection lives.

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicBool, Ordering},
};

use crate::model::{Acceptance, CertificateJudge, ClientCertificate, Host, Presented, UnixTime};

/// A client certificate that lives as long as its connection, and what was last found of it.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) certificate: Arc<ClientCertificate>,
    acceptance: Mutex<Arc<Acceptance>>,
    /// Whether it was last found that nobody accepts it any more.
    is_refused: AtomicBool,
    judge: Arc<dyn CertificateJudge>,
}

impl Held {
    /// Keeps a certificate, and who may be asked about it again.
    pub(super) fn new(presented: Presented, judge: Arc<dyn CertificateJudge>) -> Self {
        let Presented { certificate, acceptance } = presented;
        Self { certificate, acceptance: Mutex::new(acceptance), is_refused: AtomicBool::new(false), judge }
    }

    /// Returns the certificate and who accepts it now, by [`super::Connection::presented`].
    pub(super) fn judged(&self, sni: Option<&Host>, now: UnixTime) -> Presented {
        let mut acceptance = self.acceptance.lock().unwrap_or_else(PoisonError::into_inner);
        if !acceptance.holds(self.judge.rules(), now) {
            *acceptance = Arc::new(self.judge.judge(sni, &self.certificate, now));
            self.is_refused.store(acceptance.tenants.is_empty(), Ordering::Release);
        }
        Presented { certificate: Arc::clone(&self.certificate), acceptance: Arc::clone(&acceptance) }
    }

    /// Says whether nobody accepted it any more when it was last judged.
    pub(super) fn is_refused(&self) -> bool {
        self.is_refused.load(Ordering::Acquire)
    }
}
