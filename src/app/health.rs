//! The health of the process, for the metrics listener.

use std::sync::Arc;

use super::{gauges::set_gauges, parts::App, redis};
use crate::{
    admin::HealthSource, model::UpstreamStatus, session::Assertions, telemetry::MetricsError,
    upkeep::key_sets,
};

/// How many upstreams that are down are named.
const MOST_DOWN: usize = 10;

/// The process, as orchestrators and Prometheus see it.
pub(super) struct ProcessHealth {
    pub(super) app: Arc<App>,
}

impl HealthSource for ProcessHealth {
    fn not_ready(&self) -> Option<String> {
        if self.app.shared.is_draining() {
            return Some("it drains".to_owned());
        }
        if !self.app.listeners.are_open() {
            return Some("the listeners are not open".to_owned());
        }
        key_sets::pending(&self.app.shared, self.app.started)
    }

    fn remarks(&self) -> Vec<String> {
        let redis =
            redis::status(&self.app.shared, self.app.sharing.as_ref()).map(|status| redis::remark(&status));
        let unkept = self.app.unkept().map(|unkept| {
            format!("journal: not on the disk: revocations: {}: {}", unkept.count, unkept.error)
        });
        let snapshot = self.app.shared.snapshot.load();
        let down = snapshot.upstreams(&*self.app.shared.clock).filter(UpstreamStatus::is_down);
        // No more of them than people read.
        let down = down
            .take(MOST_DOWN)
            .map(|upstream| format!("upstream {}: no server takes connections", upstream.name));
        let logs = self.app.logs_failing().into_iter().map(|log| format!("log: {log}"));
        redis.into_iter().chain(unkept).chain(logs).chain(down).collect()
    }

    fn metrics(&self) -> Result<String, MetricsError> {
        set_gauges(&self.app);
        self.app.shared.metrics.encode()
    }

    fn key_set(&self) -> Option<String> {
        let snapshot = self.app.shared.snapshot.load();
        snapshot.policy.sessions.as_ref()?.assertions.as_ref().map(Assertions::key_set)
    }
}
