//! The tasks that run while the gateway serves.

use std::sync::Arc;

use tokio::task::JoinSet;

use super::{
    gauges::set_gauges,
    observers,
    parts::App,
    redis::{self, Shares, Store},
    reload,
};
use crate::{
    acme::{self, AcmeDeps},
    gateway,
    model::BoxFuture,
    upkeep::{FileWatch, Reload, Sweep, clock, journal, key_sets, reload_at_expiry},
};

/// Keeps the connection to Redis, and shares the journal over it, as long as this process serves.
pub(super) fn spawn_store(tasks: &mut JoinSet<()>, app: &Arc<App>, store: Store, shares: Option<Shares>) {
    tasks.spawn(until_succeeded(Arc::clone(app), redis::run(store, shares)));
}

/// Begins everything else that the gateway does by itself. Certificates, rules and files belong to the
/// successor once there is one.
pub(super) fn spawn_all(tasks: &mut JoinSet<()>, app: &Arc<App>) {
    let shared = &app.shared;
    let reload: Arc<dyn Reload> = app.clone();
    let expiries = reload_at_expiry(Arc::clone(shared), Arc::clone(&reload), app.policy_changes.subscribe());
    tasks.spawn(until_succeeded(Arc::clone(app), expiries));
    tasks.spawn(until_succeeded(Arc::clone(app), reload::judge_again(Arc::clone(app))));
    tasks.spawn(sweep(app).run());
    tasks.spawn(journal::write_notes(Arc::clone(shared)));
    tasks.spawn(journal::write_marks(Arc::clone(shared)));
    tasks.spawn(clock::watch(Arc::clone(&app.guarded_clock), Arc::clone(shared)));
    tasks.spawn(gateway::watch_live_exchanges(Arc::clone(shared)));
    let ordering = acme::supervise(acme_deps(app), app.policy_changes.subscribe());
    tasks.spawn(until_succeeded(Arc::clone(app), ordering));
    let watching = file_watch(app, reload).run(app.policy_changes.subscribe());
    tasks.spawn(until_succeeded(Arc::clone(app), watching));
    // Until the end: requests that are open may still ask for a key.
    let trust = app.blocking.trust.clone();
    tasks.spawn(key_sets::supervise(Arc::clone(shared), trust, app.policy_changes.subscribe()));
    tasks.spawn(watchdog(Arc::clone(app)));
}

/// Does something as long as this process is the one that serves.
async fn until_succeeded(app: Arc<App>, work: impl Future<Output = ()>) {
    tokio::select! {
        () = work => {}
        () = app.hand_over.completed() => {}
    }
}

fn sweep(app: &Arc<App>) -> Sweep {
    let gauged = Arc::clone(app);
    Sweep {
        shared: Arc::clone(&app.shared),
        tls: Arc::clone(&app.tls),
        key_uses: app.blocking.key_uses.clone(),
        handed_over: app.hand_over.watch_complete(),
        record_certificates: observers::certificates,
        gauges: Box::new(move || set_gauges(&gauged)),
    }
}

fn file_watch(app: &App, reload: Arc<dyn Reload>) -> FileWatch {
    FileWatch {
        shared: Arc::clone(&app.shared),
        certificates: Arc::clone(&app.certificates),
        deny_files: Arc::clone(&app.deny_files),
        reload,
        reading: app.blocking.renewal.clone(),
        handed_over: app.hand_over.watch_complete(),
    }
}

fn acme_deps(app: &App) -> AcmeDeps {
    let certificates = Arc::clone(&app.certificates);
    AcmeDeps {
        shared: Arc::clone(&app.shared),
        board: Arc::clone(&app.acme),
        blocking: app.blocking.acme.clone(),
        put_into_force: Arc::new(move || -> BoxFuture<'static, ()> {
            let certificates = Arc::clone(&certificates);
            Box::pin(async move {
                // The file watch decides when to ask again.
                let _ = certificates.renew().await;
            })
        }),
    }
}

/// Keeps the service manager's watchdog quiet as long as octroi lives.
///
/// Living means that the runtime runs a task that was just made, and that nothing holds the listeners' lock
/// for long.
async fn watchdog(app: Arc<App>) {
    let Some(interval) = app.notifier.watchdog() else { return };
    loop {
        let watched = Arc::clone(&app.listeners);
        if tokio::spawn(async move { watched.open() }).await.is_ok() {
            app.notifier.alive();
        }
        tokio::time::sleep(interval / 2).await;
    }
}
