//! How the store that nodes share does.

use std::time::Duration;

use prometheus::{Histogram, IntCounterVec, IntGauge};

use super::table::Declare;

/// How the store that nodes share does.
#[derive(Debug)]
pub struct RedisSeries {
    connected: IntGauge,
    commands: IntCounterVec,
    durations: Histogram,
}

/// From a command on the same machine to the longest deadline, in seconds.
const BUCKETS: [f64; 11] = [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.05, 0.2, 1.0, 5.0];

impl RedisSeries {
    pub(super) fn new(declare: &Declare<'_>) -> prometheus::Result<Self> {
        let commands =
            declare.counters("octroi_redis_commands_total", "Commands to Redis: ok, or why there is no answer to use.", &["result"])?;
        for result in ["ok", "away", "timeout", "broken", "refused"] {
            commands.with_label_values(&[result]);
        }
        let durations = declare.histograms(
            "octroi_redis_command_duration_seconds",
            "Time from a command to the answer of Redis, where there was one.",
            &[],
            &BUCKETS,
        )?;
        Ok(Self {
            connected: declare.gauge("octroi_redis_connected", "Whether there is a connection to Redis: 1 or 0.")?,
            commands,
            durations: durations.with_label_values::<&str>(&[]),
        })
    }

    /// Sets whether there is a connection.
    pub fn connected(&self, is_connected: bool) {
        self.connected.set(i64::from(is_connected));
    }

    /// Counts a command: `ok`, or the fault's label.
    pub fn command(&self, took: Duration, result: &'static str) {
        self.commands.with_label_values(&[result]).inc();
        if matches!(result, "ok" | "refused") {
            self.durations.observe(took.as_secs_f64());
        }
    }
}
