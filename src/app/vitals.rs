//! What the metrics listener tells of the process.

use std::sync::Arc;

use super::{control::App, key_sets, redis, schedule};
use crate::{admin::Vitals, model::UpstreamStatus, session::Assertions, telemetry::MetricsError};

/// How many upstreams that are down are named.
const MOST_DOWN: usize = 10;

/// The process, as orchestrators and Prometheus see it.
pub(super) struct Pulse {
    pub(super) app: Arc<App>,
}

impl Vitals for Pulse {
    fn awaits(&self) -> Option<String> {
        if self.app.shared.is_draining() {
            return Some("it drains".to_owned());
        }
        if !self.app.doors.are_open() {
            return Some("the listeners are not open".to_owned());
        }
        key_sets::awaited(&self.app)
    }

    fn remarks(&self) -> Vec<String> {
        let redis = redis::status(&self.app.shared, self.app.sharing.as_ref()).map(|status| redis::remark(&status));
        let unkept = self.app.unkept().map(|unkept| format!("journal: not on the disk: revocations: {}: {}", unkept.count, unkept.error));
        let snapshot = self.app.shared.snapshot.load();
        let down = snapshot.upstreams(&*self.app.shared.clock).filter(UpstreamStatus::is_down);
        // No more of them than people read.
        let down = down.take(MOST_DOWN).map(|upstream| format!("upstream {}: no server takes connections", upstream.name));
        let logs = self.app.logs_failing().into_iter().map(|log| format!("log: {log}"));
        redis.into_iter().chain(unkept).chain(logs).chain(down).collect()
    }

    fn metrics(&self) -> Result<String, MetricsError> {
        schedule::gauges(&self.app);
        self.app.shared.metrics.encode()
    }

    fn key_set(&self) -> Option<String> {
        let snapshot = self.app.shared.snapshot.load();
        snapshot.policy.sessions.as_ref()?.assertions.as_ref().map(Assertions::key_set)
    }
}
