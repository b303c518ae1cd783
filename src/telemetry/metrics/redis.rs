//! How the store that nodes share does.

use std::time::Duration;

use prometheus::{Gauge, Histogram, IntCounter, IntCounterVec, IntGauge, IntGaugeVec};

use super::declare::Declare;
use crate::model::UnixTime;

/// How the store that nodes share does.
#[derive(Debug)]
pub struct RedisSeries {
    connected: IntGaugeVec,
    commands: IntCounterVec,
    durations: Histogram,
    shared: IntCounterVec,
    shared_durations: Histogram,
    compared: IntCounterVec,
    compared_durations: Histogram,
    strange: IntCounter,
    pending: IntGauge,
    synced: Gauge,
    missing: IntGauge,
    namesake: IntGauge,
    degraded: IntGaugeVec,
    counts: IntCounterVec,
    notes: IntCounterVec,
}

/// From a command on the same machine to the longest deadline, in seconds.
const BUCKETS: [f64; 11] = [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.05, 0.2, 1.0, 5.0];

/// From an empty Redis to one with a million revocations, in seconds.
const SYNC_BUCKETS: [f64; 9] = [0.001, 0.0025, 0.005, 0.01, 0.05, 0.25, 1.0, 5.0, 30.0];

impl RedisSeries {
    pub(super) fn new(declare: &Declare<'_>) -> prometheus::Result<Self> {
        let commands = declare.counters(
            "octroi_redis_commands_total",
            "Commands to Redis: ok, or why there is no answer to use.",
            &["result"],
        )?;
        for result in ["ok", "away", "timeout", "broken", "refused"] {
            commands.with_label_values(&[result]);
        }
        let durations = declare.histograms(
            "octroi_redis_command_duration_seconds",
            "Time from a command to the answer of Redis, where there was one.",
            &[],
            &BUCKETS,
        )?;
        let results = |name: &str, help: &str| {
            let counters = declare.counters(name, help, &["result"])?;
            for result in ["success", "failure"] {
                counters.with_label_values(&[result]);
            }
            Ok::<_, prometheus::Error>(counters)
        };
        let shared_durations = declare.histograms(
            "octroi_revocation_share_duration_seconds",
            "Time until Redis had a revocation of this node.",
            &[],
            &BUCKETS,
        )?;
        let compared_durations = declare.histograms(
            "octroi_revocation_sync_duration_seconds",
            "Time of a comparison of all revocations with Redis.",
            &[],
            &SYNC_BUCKETS,
        )?;
        let degraded = declare.gauges(
            "octroi_degraded",
            "Whether something that octroi relies on is away: 1 or 0.",
            &["dep"],
        )?;
        degraded.with_label_values(&["revocation"]);
        let labelled = |name: &str, help: &str, results: &[&str]| {
            let counters = declare.counters(name, help, &["result"])?;
            for result in results {
                counters.with_label_values(&[result]);
            }
            Ok::<_, prometheus::Error>(counters)
        };
        Ok(Self {
            shared: results("octroi_revocation_shares_total", "Revocations of this node that were to be handed to Redis.")?,
            shared_durations: shared_durations.with_label_values::<&str>(&[]),
            compared: results("octroi_revocation_syncs_total", "Comparisons of all revocations with Redis.")?,
            compared_durations: compared_durations.with_label_values::<&str>(&[]),
            strange: declare
                .counter("octroi_redis_strange_total", "Entries and messages in Redis that no octroi wrote; they are left out.")?,
            pending: declare.gauge("octroi_revocations_pending", "Revocations of this node that Redis may not have yet.")?,
            missing: declare
                .gauge("octroi_nodes_missing", "Nodes fewer than `redis.replicas` says that lived when Redis was last asked.")?,
            namesake: declare
                .gauge("octroi_redis_namesake", "Whether another process shares revocations under this node's name: 1 or 0.")?,
            synced: declare.float(
                "octroi_revocation_last_sync_timestamp_seconds",
                "When it was last known what other nodes revoked, in seconds since 1970; 0: not since the start.",
            )?,
            degraded,
            counts: labelled(
                "octroi_session_counts_total",
                "Sign-ins under a limit: counted over all nodes, not, or then by this node alone.",
                &["success", "failure", "alone"],
            )?,
            notes: labelled(
                "octroi_session_notes_total",
                "Sessions that other nodes were told of, or will not be before they are seen again.",
                &["told", "dropped"],
            )?,
            connected: declare.gauges(
                "octroi_redis_connected",
                "Whether there is a connection to Redis: 1 or 0; nothing where none is configured.",
                &[],
            )?,
            commands,
            durations: durations.with_label_values::<&str>(&[]),
        })
    }

    /// Makes the series of the connection: one that is configured. Without Redis a 0 would be an alarm for
    /// nothing.
    pub fn configured(&self) {
        self.connected.with_label_values::<&str>(&[]);
    }

    /// Sets whether there is a connection.
    pub fn connected(&self, is_connected: bool) {
        self.connected.with_label_values::<&str>(&[]).set(i64::from(is_connected));
    }

    /// Counts a command: `ok`, or the fault's label.
    pub fn command(&self, took: Duration, result: &'static str) {
        self.commands.with_label_values(&[result]).inc();
        if matches!(result, "ok" | "refused") {
            self.durations.observe(took.as_secs_f64());
        }
    }

    /// Counts a revocation of this node that was to be handed to Redis.
    pub fn shared(&self, took: Duration, is_done: bool) {
        self.shared.with_label_values(&[result(is_done)]).inc();
        if is_done {
            self.shared_durations.observe(took.as_secs_f64());
        }
    }

    /// Counts a comparison of all revocations with Redis.
    pub fn compared(&self, took: Duration, is_done: bool) {
        self.compared.with_label_values(&[result(is_done)]).inc();
        if is_done {
            self.compared_durations.observe(took.as_secs_f64());
        }
    }

    /// Counts what no octroi wrote.
    pub fn strange(&self, count: u64) {
        self.strange.inc_by(count);
    }

    /// Sets whether it is known what other nodes revoked.
    pub fn fresh(&self, is_fresh: bool) {
        self.degraded.with_label_values(&["revocation"]).set(i64::from(!is_fresh));
    }

    /// Counts a sign-in under a limit: `success`, `failure` or `alone`.
    pub fn counted(&self, result: &'static str) {
        self.counts.with_label_values(&[result]).inc();
    }

    /// Counts sessions that other nodes were told of, and those that they were not.
    pub fn notes(&self, told: u64, dropped: u64) {
        self.notes.with_label_values(&["told"]).inc_by(told);
        self.notes.with_label_values(&["dropped"]).inc_by(dropped);
    }

    /// Sets how many nodes were missing, and whether one had this node's name, when Redis was last asked.
    pub fn nodes(&self, missing: u32, is_namesake: bool) {
        self.missing.set(i64::from(missing));
        self.namesake.set(i64::from(is_namesake));
    }

    /// Sets how many revocations Redis may not have, and when it was last known what others revoked.
    pub fn standing(&self, pending: u64, synced: Option<UnixTime>) {
        self.pending.set(i64::try_from(pending).unwrap_or(i64::MAX));
        self.synced.set(synced.map_or(0.0, |time| Duration::from_millis(time.as_millis()).as_secs_f64()));
    }
}

const fn result(is_done: bool) -> &'static str {
    if is_done { "success" } else { "failure" }
}
