//! Another revision: all of it or nothing.

use std::{
    collections::BTreeSet,
    sync::{Arc, PoisonError},
    time::Duration,
};

use tokio::{sync::MutexGuard, time::timeout};

use super::{
    control::{App, LastReload},
    descriptors, included, key_sets,
    prepare::{self, PrepareError, Prepared},
};
use crate::{
    config::Include,
    gateway::Snapshot,
    model::{ControlError, ReloadReport, ReloadWish, TenantName, told},
    policy::Policy,
};

/// How long a reload waits for another one, or for a hand-over that is under way. The latter waits for a successor that prepares for longer.
const TURN: Duration = Duration::from_secs(60);

/// How long reading the configuration and its files may take: seconds for 100,000 tenants, on a busy machine more. What takes longer is a
/// file system that hangs.
const READING: Duration = Duration::from_secs(180);

/// How long the journal's disk may take.
const SETTLING: Duration = Duration::from_secs(30);

/// So many reads may hang at once, each in a thread. Until one of them comes back nothing more is read.
pub(super) const MOST_HANGING: usize = 4;

/// Why the configuration is loaded again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cause {
    /// An operator wishes it.
    Operator(ReloadWish),
    /// Something expired, or a file that the policy names has changed.
    Itself,
}

/// Loads the configuration again. The old rules and every connection stay where anything is wrong.
pub(super) async fn reload(app: &App, cause: Cause) -> Result<ReloadReport, ControlError> {
    let _one_at_a_time = turn(app).await?;
    if app.succession.is_over() {
        return Err(ControlError::Unavailable("this process has handed over; its successor is to be asked".to_owned()));
    }
    app.notifier.reloading();
    let outcome = attempt(app, cause).await;
    app.notifier.ready(&app.shared.snapshot.load().policy.revision);
    let at = app.shared.clock.now();
    let mut last = app.last_reload.lock().unwrap_or_else(PoisonError::into_inner);
    match &outcome {
        Ok(ReloadReport { revision, .. }) => {
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

/// Says what would come of a reload, and changes nothing. Sockets are not tried, and files that a reload would make are not.
pub(super) async fn try_out(app: &App, wish: ReloadWish) -> Result<ReloadReport, ControlError> {
    let _one_at_a_time = turn(app).await?;
    if app.succession.is_over() {
        return Err(ControlError::Unavailable("this process has handed over; its successor is to be asked".to_owned()));
    }
    let (path, clock) = (app.config.clone(), Arc::clone(&app.shared.clock));
    let before = app.shared.snapshot.load_full();
    let (had, shown) = (Arc::clone(&before), app.tls.load_full());
    let work = move || {
        let prepared = prepare::prepare_to_reload(&path, &clock, (&had.policy, &shown)).map_err(refusal)?;
        needs_restart(&had.policy, &prepared.policy)?;
        Ok(prepared)
    };
    let Prepared { policy, warnings, includes, out, .. } = read(app, work).await.map_err(ControlError::Unavailable)??;
    let confirmed = confirms(app, Cause::Operator(wish), &includes, &before.policy, &policy)?;
    let gone = included::gone(&policy, &app.shared.revocations, confirmed);
    let odd = out.iter().map(|error| format!("warning: {}: what is in force stays", told(error)));
    let removed = removal(&gone, "would be taken out, and their sessions would end for good");
    let warnings = warnings.iter().map(ToString::to_string).chain(odd).chain(removed).collect();
    Ok(ReloadReport { revision: policy.revision.clone(), warnings })
}

/// Names the tenants that a reload takes out.
fn removal(gone: &[TenantName], what: &str) -> Option<String> {
    let (noun, what) = if gone.len() == 1 { ("tenant", what.replacen("were", "was", 1)) } else { ("tenants", what.to_owned()) };
    (!gone.is_empty()).then(|| format!("warning: {} {noun} {what}: {}", gone.len(), included::named(gone)))
}

/// Waits for the turn to change rules or sockets.
pub(super) async fn turn(app: &App) -> Result<MutexGuard<'_, ()>, ControlError> {
    let late = |_| ControlError::Unavailable("another reload or hand-over has not ended in time; try again".to_owned());
    timeout(TURN, app.reloading.lock()).await.map_err(late)
}

/// Reads files where that keeps nobody waiting, and no longer than it may take. What hangs on goes on hanging in its thread.
pub(super) async fn read<T: Send + 'static>(app: &App, work: impl FnOnce() -> T + Send + 'static) -> Result<T, String> {
    let Ok(place) = Arc::clone(&app.reading).try_acquire_owned() else {
        return Err(format!(
            "{MOST_HANGING} earlier reads of the configuration's files still hang; look at the file systems that they are on"
        ));
    };
    let reading = tokio::task::spawn_blocking(move || {
        let _place = place;
        work()
    });
    match timeout(READING, reading).await {
        Ok(read) => read.map_err(|error| error.to_string()),
        Err(_) => Err(format!("the files could not be read within {} s; a file system hangs", READING.as_secs())),
    }
}

async fn attempt(app: &App, cause: Cause) -> Result<ReloadReport, ControlError> {
    let (path, clock) = (app.config.clone(), Arc::clone(&app.shared.clock));
    let before = app.shared.snapshot.load_full();
    let (had, shown) = (Arc::clone(&before), app.tls.load_full());
    // Reading files and keys blocks, and so may opening a log; traffic does not wait for it.
    let work = move || {
        let prepared = prepare::prepare_to_reload(&path, &clock, (&had.policy, &shown)).map_err(refusal)?;
        needs_restart(&had.policy, &prepared.policy)?;
        let log = prepare::log(&prepared.policy, Some(&had)).map_err(|error| ControlError::Config(told(&error)))?;
        Ok((prepared, log))
    };
    let (prepared, log) = read(app, work).await.map_err(ControlError::Unavailable)??;
    let Prepared { policy, tls, admin_tls, warnings, includes, out } = prepared;
    for warning in &warnings {
        tracing::warn!("{warning}");
    }
    let snapshot = Snapshot::new(Arc::clone(&policy), log, Some(&before));
    let confirmed = confirms(app, cause, &includes, &before.policy, &policy)?;
    let added = app.doors.bind_new(&policy).map_err(|error| ControlError::Config(error.to_string()))?;
    let journal = Arc::clone(&app.shared.revocations);
    let (settled, now) = (Arc::clone(&policy), app.shared.clock.now());
    let settling = tokio::task::spawn_blocking(move || included::settle(&settled, &journal, confirmed, now));
    let gone = timeout(SETTLING, settling)
        .await
        .map_err(|_| ControlError::Unavailable("the disk of the revocation journal does not answer".to_owned()))?
        .map_err(|error| ControlError::Unavailable(error.to_string()))?
        .map_err(|error| ControlError::Unavailable(told(&error)))?;
    key_sets::ahead(&app.shared.key_sets, &app.shared.metrics, &app.shared.clock, &policy).await;
    // Nothing fails from here on.
    super::witness::certificates(&app.shared.metrics, &tls, now);
    super::witness::policy(&app.shared.metrics, &policy, now);
    app.shared.key_uses.settle(policy.sessions.as_ref().map(|sessions| &sessions.ring), now);
    // The same certificates keep their ticket keys: a reload ends no resumption.
    app.tls.store(tls.or_keep(&app.tls.load_full()));
    if let (Some(shown), Some(read)) = (&app.admin_tls, admin_tls) {
        shown.replace(read);
    }
    for error in &out {
        tracing::error!(error = %told(error), "a file of TLS cannot be used; what is in force stays as it is");
    }
    app.refusals.begin(&out, app.shared.clock.tick(), &app.shared.metrics);
    app.included.lock().unwrap_or_else(PoisonError::into_inner).take(includes, matches!(cause, Cause::Operator(_)));
    app.shared.snapshot.store(Arc::new(snapshot));
    app.shared.standing.change();
    if policy.bans.is_none() {
        app.shared.bans.forget_offences();
    }
    descriptors::warn(app.doors.descriptors(), &policy);
    app.doors.settle(&policy, added);
    app.acme.policy_changed.notify_one();
    // Every file of ranges was read just now, and held.
    app.shared.metrics.deny_files_refused(0);
    app.policy_changed.notify_one();
    app.key_sources_changed.notify_one();
    app.expiry_changed.notify_one();
    let odd = out.iter().map(|error| format!("warning: {}: what is in force stays", told(error)));
    let removed = removal(&gone, "were taken out, and their sessions ended for good");
    let warnings = warnings.iter().map(ToString::to_string).chain(odd).chain(removed).collect();
    Ok(ReloadReport { revision: policy.revision.clone(), warnings })
}

/// Refuses to take out tenants that nobody may have meant to. Says whether those that are not there are gone on purpose.
fn confirms(app: &App, cause: Cause, includes: &[Include], before: &Policy, after: &Policy) -> Result<bool, ControlError> {
    let included = app.included.lock().unwrap_or_else(PoisonError::into_inner);
    if matches!(cause, Cause::Operator(ReloadWish { allow_removal: true, .. })) {
        return Ok(true);
    }
    let mut known: BTreeSet<TenantName> = before.tenants.iter().map(|tenant| tenant.name.clone()).collect();
    let confirmed = included.is_confirmed() || includes.iter().all(|include| include.files > 0) || cause != Cause::Itself;
    if !included.is_confirmed() && confirmed {
        // They are there still, for whoever put their files back.
        known.extend(app.shared.revocations.tenants());
    }
    match included.refuse(includes, &known, after) {
        Some(why) => Err(ControlError::Config(why)),
        None => Ok(confirmed),
    }
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
