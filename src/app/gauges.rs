//! The gauges that are read off the parts.

use super::{parts::App, redis};
use crate::{
    model::signed_seconds,
    upkeep::{journal, key_sets, session_keys},
};

/// Sets the gauges that are read off elsewhere.
pub(super) fn set_gauges(app: &App) {
    let shared = &app.shared;
    shared.metrics.revocations(shared.revocations.len());
    shared.metrics.revocations_lost(journal::lost(shared).is_some());
    let unkept = shared.revocations.unkept();
    shared.metrics.revocations_unkept(unkept.as_ref().map_or(0, |unkept| unkept.count));
    shared.metrics.journal_failing(unkept.is_some());
    shared.metrics.logs_failing(app.logs_failing().len());
    shared.metrics.deny_files_refused(app.deny_files.refused().len());
    let (missing, failing, next) = app.acme.summary(shared.clock.now());
    shared.metrics.acme(missing, failing, next);
    shared.metrics.tenants_missing(app.missing().map_or(0, |missing| missing.count));
    shared.metrics.sessions_known(shared.revocations.known_sessions());
    if let Some(sharing) = &app.sharing {
        let standing = sharing.standing();
        shared.metrics.redis.sync_status(standing.pending, standing.synced);
    }
    if let Some(status) = redis::status(shared, app.sharing.as_ref()) {
        shared.metrics.redis.nodes(status.missing_nodes(), status.is_namesake);
        // Not only once it changes: who never reached Redis knows nothing of the others from the start on.
        shared.metrics.redis.fresh(!status.is_shared || status.is_fresh);
    }
    shared.metrics.key_sets(&key_sets::status(shared, &shared.snapshot.load().policy));
    shared.metrics.upstreams(shared.snapshot.load().upstreams(&*shared.clock));
    session_keys::gauge(shared);
    shared.metrics.clock_step(signed_seconds(app.guarded_clock.step()));
    shared.metrics.client_trust_lapsed(&shared.snapshot.load().policy, shared.clock.now());
    shared.metrics.bans(shared.bans.len(shared.clock.tick()), shared.bans.missed());
    shared
        .metrics
        .denied_ranges(app.listeners.denied_ranges().iter().map(|(listener, ranges)| (listener, *ranges)));
    shared.metrics.budgets(shared.budgets.descriptors.taken(), shared.budgets.kept());
    shared.metrics.quota_evictions(shared.quotas.evictions());
    shared.metrics.process_generation(
        app.hand_over.generation,
        app.predecessor().map_or(0, |draining| draining.connections),
    );
    shared.metrics.access_log_dropped(shared.snapshot.load().recorder.log().dropped());
    shared.metrics.log_dropped(app.process_log.dropped());
}
