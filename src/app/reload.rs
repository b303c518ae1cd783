//! Another revision: all of it or nothing.

use std::sync::{Arc, PoisonError};

use super::{
    control::{App, LastReload},
    descriptors, key_sets,
    prepare::{self, PrepareError, Prepared},
};
use crate::{
    model::{ControlError, told},
    policy::Policy,
};

/// Loads the configuration again. The old rules and every connection stay where anything is wrong.
pub(super) async fn reload(app: &App) -> Result<String, ControlError> {
    let _one_at_a_time = app.reloading.lock().await;
    if app.succession.is_over() {
        return Err(ControlError::Unavailable("this process has handed over; its successor is to be asked".to_owned()));
    }
    app.notifier.reloading();
    let outcome = attempt(app).await;
    app.notifier.ready(&app.shared.snapshot.load().policy.revision);
    let at = app.shared.clock.now();
    let mut last = app.last_reload.lock().unwrap_or_else(PoisonError::into_inner);
    match &outcome {
        Ok(revision) => {
            *last = LastReload { at, error: None };
            app.shared.metrics.reload_succeeded();
            tracing::info!(policy.revision = %revision, "configuration loaded");
        }
        Err(error) => {
            last.error = Some(error.to_string());
            app.shared.metrics.reload_failed();
            tracing::error!(%error, "configuration refused; the old one stays in force");
        }
    }
    outcome
}

async fn attempt(app: &App) -> Result<String, ControlError> {
    let (path, clock) = (app.config.clone(), Arc::clone(&app.shared.clock));
    // Reading files and keys blocks; traffic does not wait for it.
    let prepared = tokio::task::spawn_blocking(move || prepare::prepare(&path, &clock))
        .await
        .map_err(|error| ControlError::Config(error.to_string()))?
        .map_err(refusal)?;
    let Prepared { policy, tls, admin_tls, warnings } = prepared;
    for warning in &warnings {
        tracing::warn!("{warning}");
    }
    let before = app.shared.snapshot.load_full();
    needs_restart(&before.policy, &policy)?;
    let snapshot = prepare::snapshot(Arc::clone(&policy), Some(&before)).map_err(|error| ControlError::Config(error.to_string()))?;
    let added = app.doors.bind_new(&policy).map_err(|error| ControlError::Config(error.to_string()))?;
    let journal = Arc::clone(&app.shared.revocations);
    let (settled, now) = (Arc::clone(&policy), app.shared.clock.now());
    tokio::task::spawn_blocking(move || journal.settle_tenants(settled.tenants.iter().map(|tenant| &tenant.name), now))
        .await
        .map_err(|error| ControlError::Unavailable(error.to_string()))?
        .map_err(|error| ControlError::Unavailable(told(&error)))?;
    key_sets::ahead(&app.shared.key_sets, &app.shared.metrics, &app.shared.clock, &policy).await;
    // Nothing fails from here on.
    super::witness::certificates(&app.shared.metrics, &tls);
    app.shared.metrics.policy_in_force(&policy, now);
    app.shared.key_uses.settle(policy.sessions.as_ref().map(|sessions| &sessions.ring), now);
    // The same certificates keep their ticket keys: a reload ends no resumption.
    app.tls.store(tls.or_keep(&app.tls.load_full()));
    if let (Some(shown), Some(read)) = (&app.admin_tls, admin_tls) {
        shown.replace(read);
    }
    // All of them were judged just now, and none was refused.
    app.refusals.clear(&app.shared.metrics);
    app.shared.snapshot.store(Arc::new(snapshot));
    app.shared.standing.change();
    if policy.bans.is_none() {
        app.shared.bans.forget_offences();
    }
    descriptors::warn(app.doors.budget(), &policy);
    app.doors.settle(&policy, added);
    app.acme.policy_changed.notify_one();
    // Every file of ranges was read just now, and held.
    app.shared.metrics.deny_files_refused(0);
    app.policy_changed.notify_one();
    app.key_sources_changed.notify_one();
    app.expiry_changed.notify_one();
    Ok(policy.revision.clone())
}

fn refusal(error: PrepareError) -> ControlError {
    match error {
        PrepareError::Config(errors) => ControlError::Config(errors.to_string()),
        PrepareError::Tls(errors) => ControlError::Config(errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")),
        PrepareError::Log(error) => ControlError::Config(error.to_string()),
    }
}

/// Says whether the admin listener speaks TLS; which certificate it shows is a reload's affair.
fn speaks_tls(policy: &Policy) -> bool {
    policy.admin.as_ref().is_some_and(|admin| admin.tls.is_some())
}

/// Refuses what only a restart can change, rather than leaving half of a revision in force.
fn needs_restart(before: &Policy, after: &Policy) -> Result<(), ControlError> {
    let changed = [
        ("server.state_dir", before.state_dir != after.state_dir),
        ("server.threads", before.threads != after.threads),
        ("node", before.node != after.node),
        ("redis", before.redis != after.redis),
        ("sessions.revocation", shares(before) != shares(after)),
        ("metrics.address", before.metrics != after.metrics),
        ("admin.address", before.admin.as_ref().map(|admin| admin.address) != after.admin.as_ref().map(|admin| admin.address)),
        ("admin.tls", speaks_tls(before) != speaks_tls(after)),
    ];
    match changed.iter().find(|(_, changed)| *changed) {
        Some((key, _)) => Err(ControlError::Config(format!("{key} changed, and only a restart can change it"))),
        None => Ok(()),
    }
}

/// How revocations are shared, but what silence means: that is asked of the policy in force.
fn shares(policy: &Policy) -> Option<(bool, std::time::Duration)> {
    policy
        .sessions
        .as_ref()
        .map(|sessions| (sessions.revocation.is_shared, sessions.revocation.stale_after))
        .filter(|(is_shared, _)| *is_shared)
}
