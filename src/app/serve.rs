//! Serves, alone or in a predecessor's place: bind, assemble, take over, run, stop.

use std::{sync::Arc, time::Duration};

use tokio::{task::JoinSet, time::timeout};

use super::{
    assemble::{Assembled, Foundation, Materials, assemble},
    bind::{Bound, bind},
    included::TenantIncludes,
    parts::App,
    prepare::Revision,
    redis, shutdown,
    start::{RunError, Start, StartContext},
    start_journal::{StartJournal, TakenJournal},
    tasks,
};
use crate::{
    admin::{ControlHandle, ListenerState},
    gateway::Shared,
    hand_over::{self, HandOverState},
    model::{BoxFuture, Clock, error_chain},
    policy::Policy,
    process::{Added, descriptors},
    store::Descriptors,
    upkeep::{clock::GuardedClock, journal, session_keys},
};

/// How long the last answers of the admin listeners may take.
const LAST_ANSWERS: Duration = Duration::from_secs(3);

/// How long grants and ends that have begun may take, to reach the disk and the other nodes.
const LAST_GRANTS: Duration = Duration::from_secs(3);

/// Serves until a signal or a successor ends it.
pub(super) async fn serve(
    start: Start,
    mut revision: Revision,
    mut context: StartContext,
    clock: Arc<GuardedClock>,
) -> Result<Arc<Shared>, RunError> {
    log_findings(&revision);
    // Before anything can be asked of this process.
    context.signals.hold();
    let (policy, started) = (Arc::clone(&revision.policy), clock.now());
    let budget = Descriptors::new(descriptors::raise());
    descriptors::warn(&budget, &policy);
    let included = TenantIncludes::at_start(std::mem::take(&mut revision.includes));
    let mut at_start = StartJournal::new(Arc::clone(&policy), included, start.accepts_old_sessions, started)?;

    let Bound { added, admin_listeners, log, journal } = bind(&policy, &mut context, &mut at_start)?;
    let foundation = Foundation::new(&policy, log, &clock, started, budget)?;
    let admin_handles = admin_listeners.handles()?;
    let taken = match (journal, &context.joining) {
        (Some(journal), _) => TakenJournal { journal, fresh_until: None },
        (None, None) => TakenJournal { journal: at_start.open_alone()?, fresh_until: None },
        (None, Some(joining)) => {
            // The predecessor has them, and serves until this process is bound.
            foundation.prefetch_key_sets(&policy).await;
            at_start.take_over(joining, &*clock)?
        }
    };
    let included = at_start.take_included();
    let confirmed = included.is_confirmed();
    let TakenJournal { journal, fresh_until } = taken;

    let generation = context.joining.as_ref().map_or(1, |joining| joining.generation);
    let materials = Materials {
        start,
        revision,
        journal: Arc::clone(&journal),
        fresh_until,
        included,
        generation,
        admin_handles,
    };
    let Assembled { app, http, admin_state, store, shares } = assemble(foundation, materials);
    let admin_tasks = admin_listeners.serve(&app, &admin_state)?;
    let upgrade_socket = match &context.joining {
        None => Some(
            hand_over::bind_upgrade_socket(&policy.state_dir)
                .map_err(|source| RunError::UpgradeSocket { dir: policy.state_dir.clone(), source })?,
        ),
        // The predecessor's is replaced once this process serves.
        Some(_) => None,
    };

    // Everything that can fail has failed before the first connection is served.
    let link = context.joining.as_ref().map(|joining| joining.taken(&journal)).transpose()?;
    let mut tasks = JoinSet::new();
    if let Some(store) = store {
        tasks::spawn_store(&mut tasks, &app, store, shares);
    }
    await_first_sync(&app).await;
    let admin = open(&app, &policy, added, admin_tasks);
    if let Some(link) = &link {
        // A predecessor that hears this stops accepting. One that cannot has failed, and its connections are
        // ours already.
        let _ = link.serves();
        // Only now: had this process failed before, the predecessor could not have been commanded any more.
        app.hand_over.with_control(ControlHandle::claim);
        // Set once: there is one predecessor.
        let _ = app.hand_over.to_predecessor.set(Arc::clone(link));
        at_start.finish_take_over(&journal, confirmed);
    }
    let received = upgrade_socket
        .map_or_else(|| hand_over::bind_upgrade_socket(&policy.state_dir), Ok)
        .and_then(|socket| hand_over::receive_successors(&app.hand_over, socket));
    if let Err(error) = received {
        tracing::error!(%error, "no successor can come; a restart is needed to upgrade");
    }
    tasks::spawn_all(&mut tasks, &app);
    app.notifier.ready(&policy.revision);
    tracing::info!(version = env!("CARGO_PKG_VERSION"), policy.revision = %policy.revision, tenants = policy.tenants.len(), "octroi serves");

    shutdown::until_the_end(&app, &http, context.signals).await;
    stop(&app, &policy, admin, tasks).await;
    Ok(Arc::clone(&app.shared))
}

/// Writes what is left of the access log, after everything that may still write a line.
pub(super) fn write_last_lines(shared: &Shared) {
    if !shared.snapshot.load().recorder.log().close(shutdown::LAST_LINES) {
        tracing::warn!("some access lines could not be written in time");
    }
    tracing::info!("octroi stopped");
}

/// Logs what is odd in the configuration, and what of its files is left out.
fn log_findings(revision: &Revision) {
    for warning in &revision.warnings {
        tracing::warn!("{warning}");
    }
    for error in &revision.out {
        if error.is_out() {
            tracing::error!(error = %error_chain(error), "a certificate cannot be used; its hosts are not served, unless another one is for them");
        } else {
            tracing::error!(error = %error_chain(error), "an OCSP answer cannot be used; nothing is stapled");
        }
    }
}

/// Waits, for a short time, to know what other nodes ended.
async fn await_first_sync(app: &App) {
    if let Some(sharing) = &app.sharing
        && !sharing.synced_within(redis::FIRST_SYNC).await
        && !app.shared.revocations.is_fresh(app.shared.clock.now())
    {
        tracing::error!(
            event = "revocation_stale",
            "what other nodes revoked is not known; `on_stale` says what becomes of sessions"
        );
    }
}

/// Accepts connections from now on. Returns the tasks of the admin listeners.
fn open(app: &App, policy: &Policy, added: Added, admin_tasks: Vec<BoxFuture<'static, ()>>) -> JoinSet<()> {
    let mut admin = JoinSet::new();
    app.listeners.settle(policy, added);
    for task in admin_tasks {
        admin.spawn(task);
    }
    admin
}

/// Ends what still runs, and writes the last notes.
async fn stop(app: &App, policy: &Policy, mut admin: JoinSet<()>, mut tasks: JoinSet<()>) {
    let state: &HandOverState = &app.hand_over;
    state.set_admin_state(ListenerState::Closed);
    let answered = async { while admin.join_next().await.is_some() {} };
    // Those that take longer are cut off with the set.
    let _ = timeout(LAST_ANSWERS, answered).await;
    // Before Redis is left, so that the other nodes hear of them.
    if timeout(LAST_GRANTS, app.shared.revocations.settled()).await.is_err() {
        tracing::warn!("grants or ends of sessions that had begun did not reach the other nodes in time");
    }
    if let Some(sharing) = app.sharing.as_ref().filter(|_| !state.is_complete()) {
        redis::leave(sharing).await;
    }
    tasks.shutdown().await;
    journal::write_last_notes(&app.shared).await;
    app.shared.snapshot.load().recorder.write_last_refusals();
    // The successor has read the file, and writes it now.
    if !state.is_complete() {
        session_keys::write_uses(&app.shared, &app.blocking.key_uses).await;
    }
    hand_over::remove_upgrade_socket(state, &policy.state_dir);
}
