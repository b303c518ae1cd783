//! TLS: handshakes, certificates and what vouches for them.

use prometheus::{HistogramVec, IntCounterVec, IntGauge, IntGaugeVec};

use super::declare::Declare;

/// From a resumed handshake to the default deadline, in seconds.
const HANDSHAKE_BUCKETS: [f64; 10] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0];

/// The metrics of TLS.
#[derive(Debug)]
pub(super) struct TlsSeries {
    pub(super) handshakes: IntCounterVec,
    pub(super) handshake_durations: HistogramVec,
    pub(super) certificates: IntGaugeVec,
    pub(super) certificates_ended: IntGauge,
    pub(super) chain_faults: IntGaugeVec,
    pub(super) crls: IntGaugeVec,
    pub(super) client_trust_lapsed: IntGauge,
    pub(super) staples: IntGaugeVec,
    pub(super) certificate_reloads: IntCounterVec,
    pub(super) certificates_refused: IntGauge,
    pub(super) certificates_out: IntGauge,
}

impl TlsSeries {
    /// Declares them. Closed sets of labels begin at 0, so that the first event is a rise.
    pub(super) fn new(declare: &Declare<'_>) -> prometheus::Result<Self> {
        let series = Self {
            handshakes: declare.counters(
                "octroi_tls_handshakes_total",
                "TLS handshakes, by result (`full`, `resumed`, or why it failed) and negotiated \
                 version, group and ALPN protocol.",
                &["listener", "result", "version", "group", "alpn"],
            )?,
            handshake_durations: declare.histograms(
                "octroi_tls_handshake_duration_seconds",
                "Seconds that a successful TLS handshake took.",
                &["listener"],
                &HANDSHAKE_BUCKETS,
            )?,
            certificates: declare.gauges(
                "octroi_tls_certificate_not_after_timestamp_seconds",
                "Unix time at which a certificate expires, in seconds.",
                &["name", "file"],
            )?,
            certificates_ended: declare.gauge(
                "octroi_tls_certificates_ended",
                "Certificates in use that have expired; clients refuse them.",
            )?,
            chain_faults: declare.gauges(
                "octroi_tls_certificate_chain_faults",
                "Faults in the chain sent with a certificate: wrong order, gaps, unrelated or \
                 expired certificates.",
                &["name", "file"],
            )?,
            crls: declare.gauges(
                "octroi_crl_next_update_timestamp_seconds",
                "Unix time at which the first certificate revocation list (CRL) of a tenant's \
                 client CAs expires, in seconds.",
                &["tenant"],
            )?,
            client_trust_lapsed: declare.gauge(
                "octroi_client_trust_lapsed",
                "Tenants with an expired client CA or CRL; the client certificates that depend on \
                 it are refused.",
            )?,
            staples: declare.gauges(
                "octroi_tls_ocsp_not_after_timestamp_seconds",
                "Unix time at which the stapled OCSP response expires, in seconds; 0 while none \
                 is stapled.",
                &["name"],
            )?,
            certificate_reloads: declare.counters(
                "octroi_tls_certificate_reloads_total",
                "Certificate files that changed on disk, by result: `success` (loaded) or \
                 `failure` (refused).",
                &["result"],
            )?,
            certificates_refused: declare.gauge(
                "octroi_tls_certificates_refused",
                "TLS files whose current content is invalid; the last valid content stays in force.",
            )?,
            certificates_out: declare.gauge(
                "octroi_tls_certificates_out",
                "Certificates that cannot be loaded and have no earlier version in force; hosts \
                 without another certificate are not served.",
            )?,
        };
        for result in ["success", "failure"] {
            series.certificate_reloads.with_label_values(&[result]);
        }
        Ok(series)
    }
}
