//! Sweeps what has ended, and sets the gauges that nothing else sets.

use std::{sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use tokio::sync::watch;

use super::{expiry_warnings::ExpiryWarnings, session_keys};
use crate::{
    edge::TlsState,
    gateway::Shared,
    model::{UnixTime, error_chain},
    process::Blocking,
    telemetry::Metrics,
};

/// How often ended revocations are swept out and gauges are set.
const SWEEP: Duration = Duration::from_secs(30);

/// The handles of the sweep.
pub(crate) struct Sweep {
    pub(crate) shared: Arc<Shared>,
    pub(crate) tls: Arc<ArcSwap<TlsState>>,
    /// Writing down how session keys are used.
    pub(crate) key_uses: Blocking,
    /// Whether a successor serves in this process's place.
    pub(crate) handed_over: watch::Receiver<bool>,
    /// Sets the metrics of certificates.
    pub(crate) record_certificates: fn(&Metrics, &TlsState, UnixTime),
    /// Sets the gauges that are read off elsewhere.
    pub(crate) gauges: Box<dyn Fn() + Send + Sync>,
}

impl Sweep {
    /// Sweeps for ever.
    pub(crate) async fn run(self) {
        let mut warnings = ExpiryWarnings::default();
        let mut day = String::new();
        let shared = &self.shared;
        loop {
            let now = shared.clock.now();
            warnings.tell(&shared.snapshot.load().policy, now);
            shared.metrics.certificates_ended(warnings.tell_certificates(&self.tls.load(), now));
            let today = now.day();
            if day != today {
                // What is wrong with chains changes with the day, and is costly to find out.
                day = today;
                (self.record_certificates)(&shared.metrics, &self.tls.load(), now);
            }
            tokio::time::sleep(SWEEP).await;
            // A clock that was set ahead by mistake must not make the journal forget revocations.
            let (journal, now) = (Arc::clone(&shared.revocations), shared.clock.lasting());
            if let Ok(Err(error)) = tokio::task::spawn_blocking(move || journal.sweep(now)).await {
                tracing::error!(error = %error_chain(&error), "the revocation journal cannot be compacted");
            }
            shared.snapshot.load().recorder.write_refusals();
            shared.snapshot.load().sweep(shared.clock.tick());
            let handed_over = *self.handed_over.borrow();
            // The successor has read the file, and writes it now.
            if !handed_over {
                session_keys::write_uses(shared, &self.key_uses).await;
            }
            (self.gauges)();
        }
    }
}
