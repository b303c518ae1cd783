//! The metrics and admin listeners.

use super::change::{Change, Part, Refused};
use crate::policy::Policy;

/// Refuses another address, and TLS where there was none; the certificate itself belongs to
/// `CertificatesPart`.
pub(in crate::app) struct AdminPart;

impl Part for AdminPart {
    fn refuse(&self, change: &Change) -> Result<(), Refused> {
        let (old, new) = (change.old(), change.next());
        let address = |policy: &Policy| policy.admin.as_ref().map(|admin| admin.address);
        let has_tls = |policy: &Policy| policy.admin.as_ref().is_some_and(|admin| admin.tls.is_some());
        change.refuse_changed(&[
            ("metrics.address", old.metrics != new.metrics),
            ("admin.address", address(old) != address(new)),
            ("admin.tls", has_tls(old) != has_tls(new)),
        ])
    }
}
