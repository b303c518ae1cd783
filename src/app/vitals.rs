//! What the metrics listener tells of the process.

use std::sync::Arc;

use super::{control::App, key_sets, redis, schedule};
use crate::{admin::Vitals, session::Assertions, telemetry::MetricsError};

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
        redis::status(&self.app.shared, self.app.sharing.as_ref()).map(|status| redis::remark(&status)).into_iter().collect()
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
