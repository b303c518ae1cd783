//! Loads another revision: all of it or nothing.

use std::{
    sync::{Arc, PoisonError},
    time::Duration,
};

use super::{
    last_reload::LastReload,
    part::{self, Cause, Change, Refused},
    parts::App,
    prepare::{self, AfterRestart, PrepareError},
};
use crate::{
    model::{
        BoxFuture, ControlError, EventKind, EventSink, PolicyChanged, ReloadReport, ReloadRequest,
        error_chain,
    },
    process::{BlockingError, RereadError},
    upkeep::Reload,
};

/// How often it is judged anew what a restart would do with refused files.
const JUDGED: Duration = Duration::from_secs(5);

/// Loads the configuration again. If anything is wrong, the old rules and every connection stay.
pub(super) async fn reload(app: &App, cause: Cause) -> Result<ReloadReport, ControlError> {
    let _one_at_a_time = app.reload_lock.acquire().await?;
    if app.hand_over.is_complete() {
        tracing::info!(
            "nothing is loaded here: another process serves by now, and has read the configuration itself"
        );
        return Err(ControlError::HandedOver);
    }
    app.notifier.reloading();
    let outcome = attempt(app, cause).await;
    app.notifier.ready(&app.shared.snapshot.load().policy.revision);
    let at = app.shared.clock.now();
    let mut last = app.last_reload.lock().unwrap_or_else(PoisonError::into_inner);
    match &outcome {
        Ok(ReloadReport { revision, .. }) => {
            *last = LastReload { at, ..LastReload::default() };
            app.shared.emit(EventKind::Policy(PolicyChanged::Loaded));
            tracing::info!(policy.revision = %revision, "configuration loaded");
        }
        Err(Refused { error, restart }) => {
            (last.error, last.restart) = (Some(error.to_string()), *restart);
            app.shared.emit(EventKind::Policy(PolicyChanged::Refused));
            tracing::error!(%error, "configuration refused; the old one stays in force");
        }
    }
    outcome.map_err(|refused| refused.error)
}

/// Returns what a reload would report, and changes nothing. Sockets are not tried, and files that a reload
/// would make are not.
pub(super) async fn try_out(app: &App, wish: ReloadRequest) -> Result<ReloadReport, ControlError> {
    let _one_at_a_time = app.reload_lock.acquire().await?;
    if app.hand_over.is_complete() {
        return Err(ControlError::HandedOver);
    }
    let parts = app.parts();
    let change = read(app, Cause::Operator(wish)).await.map_err(|refused| refused.error)?;
    part::refuse(&parts, &change).map_err(|refused| refused.error)?;
    let foreseen = parts.iter().flat_map(|part| part.foresee(&change));
    let warnings = change.warnings.iter().map(ToString::to_string).chain(foreseen).collect();
    Ok(ReloadReport { revision: change.policy.revision.clone(), warnings })
}

async fn attempt(app: &App, cause: Cause) -> Result<ReloadReport, Refused> {
    let mut change = read(app, cause).await?;
    for warning in &change.warnings {
        tracing::warn!("{warning}");
    }
    let adopted = part::apply(&app.parts(), &mut change).await?;
    app.policy_changes.announce();
    let warnings = change.warnings.iter().map(ToString::to_string).chain(adopted.warnings).collect();
    Ok(ReloadReport { revision: change.policy.revision.clone(), warnings })
}

/// Reads the configuration and its files. They may block; traffic does not wait for them.
async fn read(app: &App, cause: Cause) -> Result<Change, Refused> {
    let (path, clock) = (app.config.clone(), Arc::clone(&app.shared.clock));
    let before = app.shared.snapshot.load_full();
    let (had, shown) = (Arc::clone(&before), app.tls.load_full());
    // A dry run does not say what a restart would do.
    let is_for_real = !matches!(cause, Cause::Operator(ReloadRequest { dry_run: true, .. }));
    let work = move || {
        prepare::prepare_to_reload(&path, &clock, &had.policy, &shown).map_err(|error| Refused {
            error: refusal(error),
            restart: is_for_real.then(|| prepare::after_restart(&path, &clock).words()),
        })
    };
    let reading = if cause == Cause::Automatic { &app.blocking.renewal } else { &app.blocking.reload };
    let next = reading.run(work).await.map_err(unavailable)??;
    Ok(Change::new(cause, before, next))
}

impl Reload for App {
    fn reload(&self) -> BoxFuture<'_, Result<(), RereadError>> {
        Box::pin(async {
            match reload(self, Cause::Automatic).await {
                Err(ControlError::Unavailable(_) | ControlError::HandedOver) => Err(RereadError),
                // Refused or not, the files were read.
                Ok(_) | Err(_) => Ok(()),
            }
        })
    }

    fn was_refused(&self) -> bool {
        self.last_reload.lock().unwrap_or_else(PoisonError::into_inner).error.is_some()
    }
}

/// Judges anew, for ever, what a restart would do with files that a reload has refused. They may be repaired
/// meanwhile, and the old verdict would then keep the operator from a restart that does no harm.
pub(super) async fn judge_again(app: Arc<App>) {
    let mut pause = JUDGED;
    loop {
        tokio::time::sleep(pause).await;
        pause = JUDGED;
        let before = app.last_reload.lock().unwrap_or_else(PoisonError::into_inner).clone();
        // Only verdicts of `AfterRestart` change with the files.
        let Some(said) =
            before.restart.filter(|said| AfterRestart::ALL.iter().any(|one| one.words() == *said))
        else {
            continue;
        };
        let (path, clock, began) =
            (app.config.clone(), Arc::clone(&app.shared.clock), app.shared.clock.tick());
        let judged = app.blocking.renewal.run(move || prepare::after_restart(&path, &clock)).await;
        // With 100,000 tenants it takes seconds: a fiftieth of a processor is spent on it.
        pause = JUDGED.max(app.shared.clock.tick().since(began) * 50);
        let Ok(words) = judged.map(AfterRestart::words) else { continue };
        let mut last = app.last_reload.lock().unwrap_or_else(PoisonError::into_inner);
        // Unless another reload came in between.
        if last.error == before.error && last.restart == before.restart && words != said {
            last.restart = Some(words);
            tracing::info!("of the files that the last reload refused, {words}");
        }
    }
}

fn unavailable(error: BlockingError) -> ControlError {
    ControlError::Unavailable(error_chain(&error))
}

fn refusal(error: PrepareError) -> ControlError {
    match error {
        PrepareError::Config(errors) => ControlError::Config(errors.to_string()),
        PrepareError::Tls(errors) => {
            ControlError::Config(errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))
        }
        PrepareError::Log(error) => ControlError::Config(error.to_string()),
    }
}
