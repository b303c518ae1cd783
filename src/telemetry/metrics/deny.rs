//! What keeps clients out before their first request: bans and denied address ranges.

use prometheus::{IntCounterVec, IntGauge, IntGaugeVec};

use super::declare::{Declare, Total};

/// The metrics of bans and denied ranges.
#[derive(Debug)]
pub(super) struct DenySeries {
    pub(super) bans: IntGauge,
    pub(super) bans_imposed: IntCounterVec,
    pub(super) offences_missed: Total,
    pub(super) ranges: IntGaugeVec,
    pub(super) files_refused: IntGauge,
}

impl DenySeries {
    /// Declares them. Closed sets of labels begin at 0, so that the first event is a rise.
    pub(super) fn new(declare: &Declare<'_>) -> prometheus::Result<Self> {
        let series = Self {
            bans: declare.gauge("octroi_bans", "Bans in force on this node.")?,
            bans_imposed: declare.counters(
                "octroi_bans_total",
                "Bans imposed, by cause: `protocol` (repeated protocol violations) or `operator`.",
                &["cause"],
            )?,
            offences_missed: Total::new(declare.counter(
                "octroi_ban_offences_missed_total",
                "Protocol violations that were not counted towards a ban because the table was full.",
            )?),
            ranges: declare.gauges(
                "octroi_denied_ranges",
                "Address ranges in the deny list of a listener.",
                &["listener"],
            )?,
            files_refused: declare.gauge(
                "octroi_deny_files_refused",
                "Deny files whose current content is invalid; the last valid content stays in force.",
            )?,
        };
        for cause in ["protocol", "operator"] {
            series.bans_imposed.with_label_values(&[cause]);
        }
        Ok(series)
    }
}
