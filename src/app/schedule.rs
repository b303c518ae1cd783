//! What happens by itself: expiry, sweeping, gauges.

use std::{sync::Arc, time::Duration};

use tokio::time::timeout;

use super::{
    control::App,
    key_sets,
    lapse::Notices,
    reload::{Cause, reload},
    session_keys, witness,
};
use crate::model::{UnixTime, signed_seconds, told};

/// How often ended revocations are swept out and gauges are set.
const SWEEP: Duration = Duration::from_secs(30);
/// How often what was noted of sessions is written down, at most.
const NOTES: Duration = Duration::from_secs(1);
/// How often it is marked what the revocation journal holds.
const MARK: Duration = Duration::from_secs(10);
/// How long the end of the process waits for a disk.
const LAST_WRITES: Duration = Duration::from_secs(5);
/// How long to wait after a reload at an expiry failed.
const RETRY: Duration = Duration::from_secs(60);

/// Loads the policy again when something in it expires, for ever.
pub(super) async fn expiries(app: Arc<App>) {
    let mut tried: Option<UnixTime> = None;
    loop {
        let due = app.shared.snapshot.load().policy.next_expiry;
        let now = app.shared.clock.now();
        let wait = match due {
            Some(due) if due > now => due.since(now).min(SWEEP),
            Some(due) if tried != Some(due) => {
                tried = Some(due);
                tracing::info!("a range or principal expires; loading the configuration again");
                // A refusal is written down by the reload itself, and tried again.
                let _ = reload(&app, Cause::Itself).await;
                Duration::ZERO
            }
            Some(_) => {
                tried = None;
                RETRY
            }
            None => SWEEP,
        };
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            // Another policy may have another expiry.
            () = app.expiry_changed.notified() => {}
        }
    }
}

/// Sweeps what has ended and sets the gauges that nobody else sets, for ever.
pub(super) async fn sweep(app: Arc<App>) {
    let mut notices = Notices::default();
    let mut day = String::new();
    loop {
        let now = app.shared.clock.now();
        notices.tell(&app.shared.snapshot.load().policy, now);
        app.shared.metrics.certificates_ended(notices.tell_certificates(&app.tls.load(), now));
        let today = now.day();
        if day != today {
            // What is wrong with chains changes with the day, and is costly to find out.
            day = today;
            witness::certificates(&app.shared.metrics, &app.tls.load(), now);
        }
        tokio::time::sleep(SWEEP).await;
        // A clock that was set ahead by mistake makes nobody forget who was revoked.
        let (journal, now) = (Arc::clone(&app.shared.revocations), app.shared.clock.lasting());
        if let Ok(Err(error)) = tokio::task::spawn_blocking(move || journal.sweep(now)).await {
            tracing::error!(error = %told(&error), "the revocation journal cannot be compacted");
        }
        witness::write_sums(&app.shared, &app.tally.turn(app.shared.clock.tick()));
        app.shared.snapshot.load().sweep(app.shared.clock.tick());
        session_keys::note(&app).await;
        gauges(&app);
    }
}

/// Writes down what was noted of sessions and nobody waits for, for ever.
pub(super) async fn notes(app: Arc<App>) {
    let mut has_failed = false;
    loop {
        // All of it is written anew then: not every second to a disk that takes nothing.
        tokio::time::sleep(if has_failed { NOTES * 10 } else { NOTES }).await;
        let journal = Arc::clone(&app.shared.revocations);
        match tokio::task::spawn_blocking(move || journal.write_notes()).await {
            Ok(Ok(())) => has_failed = false,
            Ok(Err(error)) if !has_failed => {
                has_failed = true;
                tracing::error!(event = "journal_failed", error = %told(&error), "what is noted of sessions cannot be written down");
            }
            Ok(Err(_)) | Err(_) => {}
        }
    }
}

/// Marks what the revocation journal holds, for ever: a journal that is lost is told from one that is whole.
pub(super) async fn marks(app: Arc<App>) {
    let mut has_failed = false;
    loop {
        tokio::time::sleep(MARK).await;
        let (journal, now) = (Arc::clone(&app.shared.revocations), app.shared.clock.now());
        match tokio::task::spawn_blocking(move || journal.note_mark(now)).await {
            Ok(Ok(())) => has_failed = false,
            Ok(Err(error)) if !has_failed => {
                has_failed = true;
                tracing::error!(event = "journal_failed", error = %told(&error), "what the revocation journal holds cannot be marked");
            }
            Ok(Err(_)) | Err(_) => {}
        }
    }
}

/// Writes down, or hands on to a successor, what was noted last.
pub(super) async fn last_notes(app: &App) {
    let (journal, now) = (Arc::clone(&app.shared.revocations), app.shared.clock.now());
    let writing = tokio::task::spawn_blocking(move || journal.write_notes().and_then(|()| journal.note_mark(now)));
    match timeout(LAST_WRITES, writing).await {
        Ok(Ok(Ok(()))) | Ok(Err(_)) => {}
        Ok(Ok(Err(error))) => tracing::warn!(error = %told(&error), "what was noted last of sessions is not written down"),
        Err(_) => tracing::warn!("what was noted last of sessions is not written down: the disk does not answer"),
    }
}

/// Sets the gauges that are read off elsewhere.
pub(super) fn gauges(app: &App) {
    let shared = &app.shared;
    shared.metrics.revocations(shared.revocations.len());
    shared.metrics.revocations_lost(shared.revocations.beginning().lost.is_some());
    shared.metrics.revocations_unkept(shared.revocations.unkept().map_or(0, |unkept| unkept.count));
    shared.metrics.tenants_missing(app.missing().map_or(0, |missing| missing.count));
    shared.metrics.sessions_known(shared.revocations.known_sessions());
    if let Some(sharing) = &app.sharing {
        let standing = sharing.standing();
        shared.metrics.redis.standing(standing.pending, standing.synced);
    }
    shared.metrics.key_sets(&key_sets::status(shared, &shared.snapshot.load().policy));
    shared.metrics.upstreams(shared.snapshot.load().upstreams(&*shared.clock));
    session_keys::gauge(shared);
    shared.metrics.clock_step(signed_seconds(app.steady.step()));
    shared.metrics.client_trust_lapsed(&shared.snapshot.load().policy, shared.clock.now());
    shared.metrics.bans(shared.bans.len(shared.clock.tick()), shared.bans.missed());
    shared.metrics.denied_ranges(app.doors.denied_ranges().iter().map(|(listener, ranges)| (listener, *ranges)));
    shared.metrics.scarce(shared.scarce.descriptors.taken(), shared.scarce.kept());
    shared.metrics.quota_evictions(shared.quotas.evictions());
    shared.metrics.succession(app.succession.generation, app.predecessor().map_or(0, |draining| draining.connections));
    shared.metrics.access_log_dropped(shared.snapshot.load().log.dropped());
    shared.metrics.log_dropped(app.own_log.dropped());
}
