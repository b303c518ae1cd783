//! Certificates that were renewed on disk: taken into force without a reload, each by itself.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use super::{
    control::App,
    reload::{read, turn},
    witness,
};
use crate::{
    edge::{Renewal, TlsError},
    model::{Tick, told},
    telemetry::Metrics,
};

/// How long a file may be unusable before anybody is told: a renewal writes a certificate and a key one after the other.
const GRACE: Duration = Duration::from_secs(3);
/// How often files are read again within the grace. Changes are told of besides.
const SOON: Duration = Duration::from_millis(500);
/// How often files are read again that were refused: a certificate may come of age.
const RETRY: Duration = Duration::from_secs(60);

/// What is wrong with files on disk, since when, and whether it was told.
#[derive(Debug, Default)]
pub(super) struct Refusals(Mutex<BTreeMap<String, Refusal>>);

#[derive(Debug)]
struct Refusal {
    since: Tick,
    told: bool,
}

/// Reads the certificates again. New connections see what was renewed; those that are open go on. Says when to ask again.
pub(super) async fn certificates(app: &App) -> Option<Duration> {
    // A reload that is under way for so long reads them itself.
    let Ok(_no_reload_meanwhile) = turn(app).await else { return Some(RETRY) };
    let policy = Arc::clone(&app.shared.snapshot.load().policy);
    let (in_force, clock, admin) = (app.tls.load_full(), Arc::clone(&app.shared.clock), app.admin_tls.clone());
    let read_again = move || {
        let mut renewal = in_force.renew(&policy, &clock);
        match admin.map(|admin| admin.renew(&policy, clock.now())).transpose() {
            Ok(new) => renewal.renewed.extend(new.flatten()),
            Err(error) => renewal.refused.push(error),
        }
        renewal
    };
    let Renewal { state, renewed, refused } = match read(app, read_again).await {
        Ok(renewal) => renewal,
        Err(error) => {
            tracing::error!(error, "the certificates could not be read again");
            return Some(RETRY);
        }
    };
    let metrics = &app.shared.metrics;
    if let Some(state) = state {
        witness::certificates(metrics, &state, app.shared.clock.now());
        app.tls.store(Arc::new(state));
    }
    if !renewed.is_empty() {
        metrics.certificates_renewed(renewed.len());
        tracing::info!(files = %renewed.join(" "), "certificates were renewed");
    }
    let again = app.refusals.note(&refused, app.shared.clock.tick(), metrics);
    // Never at once: where a staple cannot be taken off, that is tried again and again.
    let lapse = app.tls.load().next_lapse().map(|at| at.since(app.shared.clock.now()).max(SOON));
    [again, lapse].into_iter().flatten().min()
}

impl Refusals {
    /// Returns what is wrong, as far as it was told.
    pub(super) fn told(&self) -> Vec<String> {
        let refusals = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        refusals.iter().filter(|(_, refusal)| refusal.told).map(|(what, _)| what.clone()).collect()
    }

    /// Knows from now on just of what was left out by a start or a reload, which has told of it.
    pub(super) fn begin(&self, out: &[TlsError], now: Tick, metrics: &Metrics) {
        let mut refusals = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *refusals = out.iter().map(|error| (told(error), Refusal { since: now, told: true })).collect();
        metrics.certificates_refused(refusals.len());
    }

    /// Takes over what is wrong now. Tells what has been so for too long, once. Says when to look again.
    fn note(&self, refused: &[TlsError], now: Tick, metrics: &Metrics) -> Option<Duration> {
        let refused: BTreeMap<String, &TlsError> = refused.iter().map(|error| (told(error), error)).collect();
        let mut refusals = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let was_told = refusals.values().any(|refusal| refusal.told);
        refusals.retain(|what, _| refused.contains_key(what));
        for (what, error) in refused {
            let refusal = refusals.entry(what.clone()).or_insert(Refusal { since: now, told: false });
            if !refusal.told && now.since(refusal.since) >= GRACE {
                refusal.told = true;
                metrics.certificate_refused();
                if error.is_lapse() {
                    tracing::warn!(error = %what, "an OCSP answer has ended and is stapled no more");
                } else {
                    tracing::error!(error = %what, "a file of TLS is refused; what was read before it stays in force");
                }
            }
        }
        let told = refusals.values().filter(|refusal| refusal.told).count();
        metrics.certificates_refused(told);
        if was_told && told == 0 {
            tracing::info!("no file of TLS is refused any more");
        }
        if refusals.values().any(|refusal| !refusal.told) {
            Some(SOON)
        } else if told > 0 {
            Some(RETRY)
        } else {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_heals_in_time_is_never_told_and_what_stays_is_told_once() {
        let (refusals, metrics) = (Refusals::default(), Metrics::new().unwrap());
        let note = |what: &[&str], millis: u64| {
            let now = Tick::from_nanos(millis * 1_000_000);
            let refused: Vec<TlsError> = what.iter().map(|what| TlsError::Expired { path: (*what).into() }).collect();
            refusals.note(&refused, now, &metrics)
        };
        let count = || {
            let text = metrics.encode().unwrap();
            let of = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)).unwrap().trim().to_owned();
            (of("octroi_tls_certificate_reloads_total{result=\"failure\"}"), of("octroi_tls_certificates_refused "))
        };

        let told = |what: &str| format!("{what}: the certificate has expired");

        assert_eq!(note(&["a"], 0), Some(SOON));
        assert_eq!(note(&[], 2_999), None);
        assert_eq!((refusals.told(), count()), (vec![], ("0".into(), "0".into())));

        assert_eq!(note(&["a", "b"], 5_000), Some(SOON));
        assert_eq!(note(&["a", "b"], 7_999), Some(SOON));
        assert!(refusals.told().is_empty());
        assert_eq!(note(&["a", "b", "c"], 8_000), Some(SOON), "c has its own grace");
        assert_eq!(note(&["a", "b"], 9_000), Some(RETRY));
        assert_eq!((refusals.told(), count()), (["a", "b"].map(told).to_vec(), ("2".into(), "2".into())));

        assert_eq!(note(&["b"], 10_000), Some(RETRY));
        assert_eq!((refusals.told(), count()), (vec![told("b")], ("2".into(), "1".into())));
        refusals.begin(&[TlsError::Expired { path: "d".into() }], Tick::default(), &metrics);
        assert_eq!((refusals.told(), count()), (vec![told("d")], ("2".into(), "1".into())));
        refusals.begin(&[], Tick::default(), &metrics);
        assert_eq!((refusals.told(), count()), (vec![], ("2".into(), "0".into())));
    }
}
