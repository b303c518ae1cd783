//! The connection to the store that nodes share.

use std::{sync::Arc, time::Duration};

use crate::{
    model::Clock,
    outbound::OutboundError,
    policy::Policy,
    state::redis::{Link, Redis, RedisFault, RedisWitness},
    telemetry::Metrics,
};

/// Counts for the connection.
struct Counter(Arc<Metrics>);

impl RedisWitness for Counter {
    fn command(&self, took: Duration, outcome: Result<(), &RedisFault>) {
        self.0.redis.command(took, outcome.err().map_or("ok", RedisFault::as_str));
    }

    fn connected(&self, is_connected: bool) {
        self.0.redis.connected(is_connected);
    }
}

/// Prepares the connection that the policy asks for.
pub(super) fn prepare(policy: &Policy, metrics: &Arc<Metrics>, clock: &Arc<dyn Clock>) -> Result<Option<(Link, Redis)>, OutboundError> {
    let Some(rules) = &policy.redis else { return Ok(None) };
    Link::new(rules, Arc::clone(clock), Arc::new(Counter(Arc::clone(metrics)))).map(Some)
}
