//! Key sets of issuers: fetches, and the keys in use.

use prometheus::{GaugeVec, IntCounterVec, IntGaugeVec};

use super::declare::Declare;

/// The metrics of key sets.
#[derive(Debug)]
pub(super) struct KeySetSeries {
    pub(super) fetches: IntCounterVec,
    pub(super) times: IntGaugeVec,
    pub(super) keys: IntGaugeVec,
    pub(super) refresh: GaugeVec,
}

impl KeySetSeries {
    /// Declares them. Sets have names, so their series are made with the policy.
    pub(super) fn new(declare: &Declare<'_>) -> prometheus::Result<Self> {
        Ok(Self {
            fetches: declare.counters(
                "octroi_key_set_fetches_total",
                "Fetches of an issuer's key set, by result: `success`, or why it failed.",
                &["set", "result"],
            )?,
            times: declare.gauges(
                "octroi_key_set_fetched_timestamp_seconds",
                "Unix time of the last successful fetch of an issuer's key set, in seconds; 0 if \
                 never.",
                &["set"],
            )?,
            keys: declare.gauges(
                "octroi_key_set_keys",
                "Usable keys in an issuer's key set; at 0 all its tokens are refused.",
                &["set"],
            )?,
            refresh: declare.floats(
                "octroi_key_set_refresh_seconds",
                "Seconds between two fetches of an issuer's key set: `refresh` in the policy in \
                 force.",
                &["set"],
            )?,
        })
    }
}
