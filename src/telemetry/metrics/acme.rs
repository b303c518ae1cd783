//! Certificates by ACME: challenges and orders.

use prometheus::{IntCounterVec, IntGauge};

use super::declare::Declare;
use crate::{model::OrderResult, policy::AcmeChallenge};

/// The metrics of ACME.
#[derive(Debug)]
pub(super) struct AcmeSeries {
    pub(super) challenges: IntCounterVec,
    pub(super) orders: IntCounterVec,
    pub(super) last_success: IntGauge,
    pub(super) next_attempt: IntGauge,
    pub(super) missing: IntGauge,
    pub(super) failing: IntGauge,
}

impl AcmeSeries {
    /// Declares them. Closed sets of labels begin at 0, so that the first event is a rise.
    pub(super) fn new(declare: &Declare<'_>) -> prometheus::Result<Self> {
        let series = Self {
            challenges: declare.counters(
                "octroi_acme_challenges_total",
                "ACME challenges that were answered, by type.",
                &["challenge"],
            )?,
            orders: declare.counters(
                "octroi_acme_orders_total",
                "ACME orders that ended, by result: `success`, or why no certificate was issued.",
                &["result"],
            )?,
            last_success: declare.gauge(
                "octroi_acme_last_success_timestamp_seconds",
                "Unix time of the last successful ACME issuance, in seconds; 0 if none since the \
                 start.",
            )?,
            next_attempt: declare.gauge(
                "octroi_acme_next_attempt_timestamp_seconds",
                "Unix time at which the next ACME order is due, in seconds; 0 if none is.",
            )?,
            missing: declare.gauge(
                "octroi_acme_certificates_missing",
                "ACME certificates that have not been issued yet; their hosts are not served over \
                 TLS.",
            )?,
            failing: declare.gauge(
                "octroi_acme_certificates_failing",
                "ACME certificates whose last order failed; a certificate in use will expire \
                 unless a later order succeeds.",
            )?,
        };
        for challenge in AcmeChallenge::ALL {
            series.challenges.with_label_values(&[challenge.as_str()]);
        }
        for result in OrderResult::ALL {
            series.orders.with_label_values(&[result.as_str()]);
        }
        Ok(series)
    }
}
