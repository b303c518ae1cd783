//! Certificates that were renewed on disk: taken into force without a reload, each by itself.

use std::{sync::Arc, time::Duration};

use arc_swap::ArcSwap;

use super::refusals::{RETRY, Refusals, SOON};
use crate::{
    edge::{AdminTls, Renewal, TlsError, TlsState},
    gateway::Shared,
    model::{EventKind, EventSink, NodeChanged, UnixTime, error_chain},
    process::{Blocking, ReloadLock},
    telemetry::Metrics,
};

/// Reads certificates again; the file watch and ACME both ask for it.
pub(crate) struct CertificateRenewer {
    pub(crate) shared: Arc<Shared>,
    pub(crate) tls: Arc<ArcSwap<TlsState>>,
    /// That of the admin listener, where it has one.
    pub(crate) admin_tls: Option<Arc<AdminTls>>,
    /// Files that cannot be used.
    pub(crate) refusals: Arc<Refusals>,
    pub(crate) reading: Blocking,
    pub(crate) reload_lock: Arc<ReloadLock>,
    /// Sets the metrics of certificates.
    pub(crate) record: fn(&Metrics, &TlsState, UnixTime),
}

impl CertificateRenewer {
    /// Reads the certificates again. New connections see what was renewed; open ones keep theirs. Returns
    /// when to ask again.
    pub(crate) async fn renew(&self) -> Option<Duration> {
        // A reload that takes so long reads them itself.
        let Ok(_no_reload_meanwhile) = self.reload_lock.acquire().await else { return Some(RETRY) };
        let policy = Arc::clone(&self.shared.snapshot.load().policy);
        let (in_force, clock, admin) =
            (self.tls.load_full(), Arc::clone(&self.shared.clock), self.admin_tls.clone());
        let read_again = move || {
            let mut renewal = in_force.renew(&policy, &clock);
            match admin.map(|admin| admin.renew(&policy, clock.now())).transpose() {
                Ok(new) => renewal.renewed.extend(new.flatten()),
                // A start would show it.
                Err(
                    error @ (TlsError::Expired { .. }
                    | TlsError::NotYetValid { .. }
                    | TlsError::Development { .. }),
                ) => renewal.refused.push(error),
                Err(error) => renewal.refused.push(TlsError::Essential(Box::new(error))),
            }
            renewal
        };
        let Renewal { state, renewed, refused } = match self.reading.run(read_again).await {
            Ok(renewal) => renewal,
            Err(error) => {
                tracing::error!(error = %error_chain(&error), "the certificates could not be read again");
                return Some(RETRY);
            }
        };
        let metrics = &self.shared.metrics;
        if let Some(state) = state {
            (self.record)(metrics, &state, self.shared.clock.now());
            self.tls.store(Arc::new(state));
        }
        if !renewed.is_empty() {
            let renewal = NodeChanged::CertificatesRenewed { count: renewed.len() };
            self.shared.emit(EventKind::Node(renewal));
            tracing::info!(files = %renewed.join(" "), "certificates were renewed");
        }
        let again = self.refusals.note(&refused, self.shared.clock.tick(), &*self.shared, metrics);
        // Never at once: where a staple cannot be taken off, that is tried again and again.
        let lapse =
            self.tls.load().next_staple_expiry().map(|at| at.since(self.shared.clock.now()).max(SOON));
        [again, lapse].into_iter().flatten().min()
    }
}
