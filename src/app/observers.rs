//! Gauges and timings that no event has: the policy in force, certificates, and the store that nodes share.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use crate::{
    cluster::SyncObserver,
    edge::TlsState,
    model::{EdgeRefusal, UnixTime},
    policy::{ListenerKind, Policy},
    redis::{RedisFault, RedisObserver},
    telemetry::Metrics,
};

/// Takes a policy over into the metrics, its listeners with every reason why a connection of theirs may be
/// refused.
pub(super) fn policy(metrics: &Metrics, policy: &Policy, now: UnixTime) {
    metrics.policy_in_force(policy, now);
    for listener in &policy.listeners {
        let codes = |of_handshake| {
            EdgeRefusal::ALL
                .iter()
                .filter(move |refusal| refusal.is_of_handshake() == of_handshake)
                .map(|refusal| refusal.code())
        };
        let has_tls = listener.kind == ListenerKind::Tls;
        metrics.listener(&listener.name, codes(false), codes(true).filter(move |_| has_tls));
    }
}

/// Takes over which certificates are in use and when they end, what is wrong with their chains, and their
/// OCSP answers.
pub(super) fn certificates(metrics: &Metrics, tls: &TlsState, now: UnixTime) {
    let in_use = tls.certificate_expiries();
    let files: Vec<String> = in_use.iter().map(|one| one.file.display().to_string()).collect();
    let each = in_use.iter().zip(&files);
    metrics.certificates(
        each.map(|(one, file)| {
            (one.name.as_str(), file.as_str(), one.not_after, one.chain_faults(now).len())
        }),
    );
    metrics.certificates_ended(in_use.iter().filter(|one| one.has_ended(now)).count());
    metrics.staples(in_use.iter().filter_map(|one| Some((one.name.as_str(), one.staple_until?))));
}

/// Counts and times what is asked of the store that nodes share, and writes changes down.
pub(super) struct MetricsObserver {
    metrics: Arc<Metrics>,
    was_fresh: AtomicBool,
}

impl MetricsObserver {
    pub(super) fn of(metrics: &Arc<Metrics>) -> Self {
        Self { metrics: Arc::clone(metrics), was_fresh: AtomicBool::new(false) }
    }
}

impl RedisObserver for MetricsObserver {
    fn command(&self, took: Duration, outcome: Result<(), &RedisFault>) {
        self.metrics.redis.command(took, outcome.err().map_or("ok", RedisFault::as_str));
    }

    fn connected(&self, is_connected: bool) {
        self.metrics.redis.connected(is_connected);
    }
}

impl SyncObserver for MetricsObserver {
    fn shared(&self, took: Duration, is_done: bool) {
        self.metrics.redis.shared(took, is_done);
    }

    fn compared(&self, took: Duration, is_done: bool) {
        self.metrics.redis.compared(took, is_done);
    }

    fn foreign_data(&self, count: u64) {
        self.metrics.redis.foreign_data(count);
    }

    fn counted(&self, is_done: bool) {
        self.metrics.redis.counted(if is_done { "success" } else { "failure" });
    }

    fn counted_alone(&self) {
        self.metrics.redis.counted("alone");
        tracing::warn!(
            event = "sessions_counted_alone",
            "the sessions of a user on other nodes could not be counted; `on_stale` allows it"
        );
    }

    fn notes(&self, told: u64, dropped: u64) {
        self.metrics.redis.notes(told, dropped);
    }

    fn fresh(&self, is_fresh: bool) {
        self.metrics.redis.fresh(is_fresh);
        let had_been = self.was_fresh.swap(is_fresh, Ordering::Relaxed);
        if is_fresh {
            tracing::info!(event = "revocation_fresh", "what other nodes revoked is known");
        } else if had_been {
            tracing::error!(
                event = "revocation_stale",
                "what other nodes revoked is not known any more; `on_stale` says what becomes of sessions"
            );
        }
    }
}
