//! Certificates: of the listeners, and of the admin listener.

use arc_swap::ArcSwap;
use async_trait::async_trait;

use super::change::{Adopted, Change, Nothing, Part, Prepared, ReadCertificates, Refused};
use crate::{
    app::observers,
    edge::{AdminTls, TlsError, TlsState},
    gateway::Shared,
    model::error_chain,
    upkeep::Refusals,
};

/// Puts the certificates of a revision into force. They were read with it.
pub(in crate::app) struct CertificatesPart<'a> {
    pub(in crate::app) shared: &'a Shared,
    pub(in crate::app) tls: &'a ArcSwap<TlsState>,
    pub(in crate::app) admin_tls: Option<&'a AdminTls>,
    pub(in crate::app) refusals: &'a Refusals,
}

struct PreparedCertificates<'a> {
    part: &'a CertificatesPart<'a>,
    read: ReadCertificates,
}

#[async_trait]
impl Part for CertificatesPart<'_> {
    fn foresee(&self, change: &Change) -> Vec<String> {
        change.certificates.iter().flat_map(|read| &read.out).map(describe).collect()
    }

    async fn prepare<'part>(&'part self, change: &mut Change) -> Result<Box<dyn Prepared + 'part>, Refused> {
        let prepared: Box<dyn Prepared + 'part> = match change.certificates.take() {
            Some(read) => Box::new(PreparedCertificates { part: self, read }),
            None => Box::new(Nothing),
        };
        Ok(prepared)
    }
}

impl Prepared for PreparedCertificates<'_> {
    fn adopt(self: Box<Self>, adopted: &mut Adopted) {
        let Self { part, read } = *self;
        let ReadCertificates { tls, admin_tls, mut out } = read;
        let (metrics, now) = (&part.shared.metrics, part.shared.clock.now());
        observers::certificates(metrics, &tls, now);
        // The same certificates keep their ticket keys: a reload ends no resumption.
        part.tls.store(tls.or_keep(&part.tls.load_full()));
        if let (Some(shown), Some(read)) = (part.admin_tls, admin_tls) {
            out.extend(shown.replace(read, now));
        }
        for error in &out {
            if error.is_out() {
                tracing::error!(error = %error_chain(error), "a certificate cannot be used, and none is in force in its place");
                continue;
            }
            tracing::error!(error = %error_chain(error), "a file of TLS cannot be used; what is in force stays as it is");
        }
        part.refusals.begin(&out, part.shared.clock.tick(), metrics);
        adopted.warnings.extend(out.iter().map(describe));
    }
}

/// Describes a file that is not taken into force.
fn describe(error: &TlsError) -> String {
    if error.is_out() {
        return format!("warning: {}; {}", error_chain(error), error.after_restart());
    }
    format!("warning: {}: what is in force stays; {}", error_chain(error), error.after_restart())
}
