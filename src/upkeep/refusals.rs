//! Files of TLS that cannot be used: since when, and whether it was logged.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use crate::{
    edge::TlsError,
    model::{EventKind, EventSink, NodeChanged, Tick, error_chain},
    telemetry::Metrics,
};

/// How long a file may be unusable before it is logged: a renewal writes a certificate and a key one after
/// the other.
const GRACE: Duration = Duration::from_secs(3);
/// How often files are read again within the grace. Changes wake the watch besides.
pub(super) const SOON: Duration = Duration::from_millis(500);
/// How often refused files are read again: a certificate may become valid.
pub(super) const RETRY: Duration = Duration::from_secs(60);

/// What is wrong with files on disk, since when, and whether it was logged.
#[derive(Debug, Default)]
pub(crate) struct Refusals(Mutex<BTreeMap<String, Refusal>>);

#[derive(Debug)]
struct Refusal {
    since: Tick,
    reported: bool,
    /// What a restart would make of it.
    restart: &'static str,
    /// Whether nothing is in force in its place.
    out: bool,
}

impl Refusal {
    const fn new(error: &TlsError, since: Tick, reported: bool) -> Self {
        Self { since, reported, restart: error.after_restart(), out: error.is_out() }
    }
}

impl Refusals {
    /// Returns the errors that were logged of files whose older version is in force, and what a restart would
    /// do.
    pub(crate) fn reported(&self) -> Vec<String> {
        self.list(false)
    }

    /// Does the same for pairs of which no version is in force.
    pub(crate) fn out(&self) -> Vec<String> {
        self.list(true)
    }

    fn list(&self, out: bool) -> Vec<String> {
        let refusals = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        refusals
            .iter()
            .filter(|(_, refusal)| refusal.reported && refusal.out == out)
            .map(|(what, refusal)| format!("{what}; {}", refusal.restart))
            .collect()
    }

    /// Starts again with what a start or a reload has left out, and has logged.
    pub(crate) fn begin(&self, out: &[TlsError], now: Tick, metrics: &Metrics) {
        let mut refusals = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *refusals = out.iter().map(|error| (error_chain(error), Refusal::new(error, now, true))).collect();
        count(&refusals, metrics);
    }

    /// Takes over what is wrong now. Logs each error once, after the grace. Returns when to look again.
    pub(super) fn note(
        &self,
        refused: &[TlsError],
        now: Tick,
        events: &dyn EventSink,
        metrics: &Metrics,
    ) -> Option<Duration> {
        let refused: BTreeMap<String, &TlsError> =
            refused.iter().map(|error| (error_chain(error), error)).collect();
        let mut refusals = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let was_told = refusals.values().any(|refusal| refusal.reported);
        refusals.retain(|what, _| refused.contains_key(what));
        for (what, error) in refused {
            let refusal = refusals.entry(what.clone()).or_insert_with(|| Refusal::new(error, now, false));
            // Whoever is not served already is not kept quiet because something else is wrong now.
            if !refusal.reported && (refusal.out || now.since(refusal.since) >= GRACE) {
                refusal.reported = true;
                events.emit(EventKind::Node(NodeChanged::CertificateRefused));
                if error.is_staple_expiry() {
                    tracing::warn!(error = %what, "an OCSP answer has ended and is stapled no more");
                } else if refusal.out {
                    tracing::error!(error = %what, restart = refusal.restart, "a certificate cannot be used, and none is in force in its place");
                } else {
                    let restart = error.after_restart();
                    tracing::error!(error = %what, restart, "a file of TLS is refused; what was read before it stays in force");
                }
            }
        }
        let told = count(&refusals, metrics);
        if was_told && told == 0 {
            tracing::info!("no file of TLS is refused any more");
        }
        if refusals.values().any(|refusal| !refusal.reported) {
            Some(SOON)
        } else if told > 0 {
            Some(RETRY)
        } else {
            None
        }
    }
}

/// Sets the gauges, and returns how many errors were logged.
fn count(refusals: &BTreeMap<String, Refusal>, metrics: &Metrics) -> usize {
    let (out, refused): (Vec<_>, Vec<_>) =
        refusals.values().filter(|refusal| refusal.reported).partition(|refusal| refusal.out);
    metrics.certificates_refused(refused.len());
    metrics.certificates_out(out.len());
    out.len().saturating_add(refused.len())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{
        model::{ManualClock, UnixTime},
        telemetry::{AccessLog, Recorder},
    };

    #[test]
    fn what_heals_in_time_is_never_told_and_what_stays_is_told_once() {
        let (refusals, metrics) = (Refusals::default(), Arc::new(Metrics::new().unwrap()));
        let log = Arc::new(AccessLog::open(&[], "edge-1").unwrap());
        let clock = Arc::new(ManualClock::new(UnixTime::default()));
        let recorder = Recorder::new("", log, Arc::clone(&metrics), clock);
        let note = |what: &[&str], millis: u64| {
            let now = Tick::from_nanos(millis * 1_000_000);
            let refused: Vec<TlsError> =
                what.iter().map(|what| TlsError::Expired { path: (*what).into() }).collect();
            refusals.note(&refused, now, &recorder, &metrics)
        };
        let count = || {
            let text = metrics.encode().unwrap();
            let of =
                |name: &str| text.lines().find_map(|line| line.strip_prefix(name)).unwrap().trim().to_owned();
            (
                of("octroi_tls_certificate_reloads_total{result=\"failure\"}"),
                of("octroi_tls_certificates_refused "),
            )
        };

        let told = |what: &str| {
            format!(
                "{what}: the certificate has expired; a restart would show this one, and clients refuse it"
            )
        };

        assert_eq!(note(&["a"], 0), Some(SOON));
        assert_eq!(note(&[], 2_999), None);
        assert_eq!((refusals.reported(), count()), (vec![], ("0".into(), "0".into())));

        assert_eq!(note(&["a", "b"], 5_000), Some(SOON));
        assert_eq!(note(&["a", "b"], 7_999), Some(SOON));
        assert!(refusals.reported().is_empty());
        assert_eq!(note(&["a", "b", "c"], 8_000), Some(SOON), "c has its own grace");
        assert_eq!(note(&["a", "b"], 9_000), Some(RETRY));
        assert_eq!((refusals.reported(), count()), (["a", "b"].map(told).to_vec(), ("2".into(), "2".into())));

        assert_eq!(note(&["b"], 10_000), Some(RETRY));
        assert_eq!((refusals.reported(), count()), (vec![told("b")], ("2".into(), "1".into())));
        refusals.begin(&[TlsError::Expired { path: "d".into() }], Tick::default(), &metrics);
        assert_eq!((refusals.reported(), count()), (vec![told("d")], ("2".into(), "1".into())));
        refusals.begin(&[], Tick::default(), &metrics);
        assert_eq!((refusals.reported(), count()), (vec![], ("2".into(), "0".into())));
    }
}
