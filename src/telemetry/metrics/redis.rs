//! The metrics of Redis and of what nodes share through it.

use std::time::Duration;

use prometheus::{Gauge, Histogram, IntCounter, IntCounterVec, IntGauge, IntGaugeVec};

use super::declare::Declare;
use crate::model::UnixTime;

/// The metrics of Redis and of what nodes share through it.
#[derive(Debug)]
pub struct RedisSeries {
    connected: IntGaugeVec,
    commands: IntCounterVec,
    durations: Histogram,
    shared: IntCounterVec,
    shared_durations: Histogram,
    compared: IntCounterVec,
    compared_durations: Histogram,
    foreign_data: IntCounter,
    pending: IntGauge,
    synced: Gauge,
    missing: IntGauge,
    namesake: IntGauge,
    degraded: IntGaugeVec,
    counts: IntCounterVec,
    notes: IntCounterVec,
}

/// From a command on the same host to the longest deadline, in seconds.
const BUCKETS: [f64; 11] = [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.05, 0.2, 1.0, 5.0];

/// From an empty Redis to one with a million revocations, in seconds.
const SYNC_BUCKETS: [f64; 9] = [0.001, 0.0025, 0.005, 0.01, 0.05, 0.25, 1.0, 5.0, 30.0];

impl RedisSeries {
    pub(super) fn new(declare: &Declare<'_>) -> prometheus::Result<Self> {
        let commands = declare.counters(
            "octroi_redis_commands_total",
            "Redis commands, by result: `ok`, or why there was no usable reply.",
            &["result"],
        )?;
        for result in ["ok", "away", "timeout", "broken", "refused"] {
            commands.with_label_values(&[result]);
        }
        let durations = declare.histograms(
            "octroi_redis_command_duration_seconds",
            "Seconds from a Redis command to its reply; commands without a reply are not \
                 observed.",
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
            "Seconds until Redis had acknowledged a revocation of this node.",
            &[],
            &BUCKETS,
        )?;
        let compared_durations = declare.histograms(
            "octroi_revocation_sync_duration_seconds",
            "Seconds that a full comparison of revocations with Redis took.",
            &[],
            &SYNC_BUCKETS,
        )?;
        let degraded = declare.gauges(
            "octroi_degraded",
            "Whether a dependency is unavailable: 1 if so, else 0.",
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
            shared: results(
                "octroi_revocation_shares_total",
                "Revocations of this node handed to Redis, by result.",
            )?,
            shared_durations: shared_durations.with_label_values::<&str>(&[]),
            compared: results(
                "octroi_revocation_syncs_total",
                "Full comparisons of revocations with Redis, by result.",
            )?,
            compared_durations: compared_durations.with_label_values::<&str>(&[]),
            foreign_data: declare.counter(
                "octroi_redis_strange_total",
                "Entries and messages in Redis that were not written by octroi and are ignored.",
            )?,
            pending: declare.gauge(
                "octroi_revocations_pending",
                "Revocations of this node that Redis has not acknowledged yet.",
            )?,
            missing: declare.gauge(
                "octroi_nodes_missing",
                "Live nodes missing from the number that `redis.replicas` expects, when Redis was \
                 last asked.",
            )?,
            namesake: declare.gauge(
                "octroi_redis_namesake",
                "Whether another process uses this node's name in Redis: 1 if so, else 0.",
            )?,
            synced: declare.float(
                "octroi_revocation_last_sync_timestamp_seconds",
                "Unix time of the last complete synchronisation of revocations with Redis, in \
                 seconds; 0 if none since the start.",
            )?,
            degraded,
            counts: labelled(
                "octroi_session_counts_total",
                "Sign-ins under a session limit, by how they were counted: `success` (over all \
                 nodes), `failure`, `alone` (after a failure, by this node only).",
                &["success", "failure", "alone"],
            )?,
            notes: labelled(
                "octroi_session_notes_total",
                "Session updates for other nodes, by result: `told` (sent), `dropped` (not sent \
                 until the session is used again).",
                &["told", "dropped"],
            )?,
            connected: declare.gauges(
                "octroi_redis_connected",
                "Whether this node is connected to Redis: 1 if so, else 0; absent where Redis is \
                 not configured.",
                &[],
            )?,
            commands,
            durations: durations.with_label_values::<&str>(&[]),
        })
    }

    /// Creates the series of the connection, where Redis is configured. Elsewhere a 0 would raise a false
    /// alarm.
    pub fn configured(&self) {
        self.connected.with_label_values::<&str>(&[]);
    }

    /// Sets whether this node is connected to Redis.
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

    /// Counts a revocation of this node handed to Redis, or the failure to do so.
    pub fn shared(&self, took: Duration, is_done: bool) {
        self.shared.with_label_values(&[result(is_done)]).inc();
        if is_done {
            self.shared_durations.observe(took.as_secs_f64());
        }
    }

    /// Counts a full comparison of revocations with Redis.
    pub fn compared(&self, took: Duration, is_done: bool) {
        self.compared.with_label_values(&[result(is_done)]).inc();
        if is_done {
            self.compared_durations.observe(took.as_secs_f64());
        }
    }

    /// Counts entries and messages that were not written by octroi.
    pub fn foreign_data(&self, count: u64) {
        self.foreign_data.inc_by(count);
    }

    /// Sets whether this node knows the revocations of the other nodes.
    pub fn fresh(&self, is_fresh: bool) {
        self.degraded.with_label_values(&["revocation"]).set(i64::from(!is_fresh));
    }

    /// Counts a sign-in under a session limit: `success`, `failure` or `alone`.
    pub fn counted(&self, result: &'static str) {
        self.counts.with_label_values(&[result]).inc();
    }

    /// Counts session updates that were sent to other nodes, and those that were dropped.
    pub fn notes(&self, told: u64, dropped: u64) {
        self.notes.with_label_values(&["told"]).inc_by(told);
        self.notes.with_label_values(&["dropped"]).inc_by(dropped);
    }

    /// Sets how many nodes are missing, and whether another process uses this node's name.
    pub fn nodes(&self, missing: u32, is_namesake: bool) {
        self.missing.set(i64::from(missing));
        self.namesake.set(i64::from(is_namesake));
    }

    /// Sets how many revocations Redis has not acknowledged, and when the last full synchronisation ended.
    pub fn sync_status(&self, pending: u64, synced: Option<UnixTime>) {
        self.pending.set(i64::try_from(pending).unwrap_or(i64::MAX));
        self.synced.set(synced.map_or(0.0, |time| Duration::from_millis(time.as_millis()).as_secs_f64()));
    }
}

const fn result(is_done: bool) -> &'static str {
    if is_done { "success" } else { "failure" }
}
