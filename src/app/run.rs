//! From a configuration file to a running gateway, and to its end.

use std::{path::Path, sync::Arc, time::Duration};

use super::{
    prepare::{self, Revision},
    serve::{serve, write_last_lines},
    shutdown::Signals,
    start::{RunError, Start, StartContext},
};
use crate::{
    config::{self, StateDirLookup},
    hand_over::{Joining, UpgradeError},
    model::{Clock, error_chain},
    process::InheritedSockets,
    upkeep::clock::GuardedClock,
};

/// A successor that waited longer than this loads its configuration again before it takes over: files may
/// have changed.
const FRESH: Duration = Duration::from_secs(10);

/// Serves until a signal or a successor ends it. Listens to signals first, unless the caller does already.
pub fn run(start: Start, signals: Option<Signals>) -> Result<(), RunError> {
    let signals = signals.map_or_else(Signals::listen, Ok).map_err(RunError::Signals)?;
    signals.say_in(start.log.clone());
    let clock = Arc::new(GuardedClock::new());
    // Before there are threads that look at the environment: it changes it.
    let inherited = InheritedSockets::from_service_manager(prepare::variable).map_err(RunError::Inherited)?;
    if !start.succeeds {
        let revision = prepare::prepare_to_start(&start.config, &as_clock(&clock))?;
        return enter(
            start,
            revision,
            StartContext { signals, inherited, control: None, joining: None },
            clock,
        );
    }
    let StateDirLookup { dir: state_dir, unknown } =
        config::look_up_state_dir(&start.config, &prepare::variable);
    let joining = match Joining::at(&state_dir) {
        Ok(joining) => Arc::new(joining),
        // Nobody at a place that was guessed: what is wrong is the file that should name it.
        Err(error) if unknown.is_some() => {
            return Err(prepare::prepare(&start.config, &as_clock(&clock))
                .err()
                .map_or(error.into(), RunError::from));
        }
        Err(error) => return Err(error.into()),
    };
    let outcome = succeed(start, signals, &joining, &state_dir, clock);
    if let Err(error) = &outcome {
        joining.refuse(&error_chain(error));
    }
    outcome
}

/// Prepares, waits for the predecessor, and serves.
fn succeed(
    start: Start,
    signals: Signals,
    joining: &Arc<Joining>,
    state_dir: &Path,
    clock: Arc<GuardedClock>,
) -> Result<(), RunError> {
    let mut revision = prepare::prepare(&start.config, &as_clock(&clock))?;
    let since = clock.tick();
    let handed_over = joining.wait()?;
    if clock.tick().since(since) > FRESH {
        revision = prepare::prepare(&start.config, &as_clock(&clock))?;
    }
    if revision.policy.state_dir != state_dir {
        return Err(UpgradeError::StateDir.into());
    }
    let context = StartContext {
        signals,
        inherited: handed_over.inherited,
        control: handed_over.control,
        joining: Some(Arc::clone(joining)),
    };
    enter(start, revision, context, clock)
}

fn enter(
    start: Start,
    revision: Revision,
    context: StartContext,
    clock: Arc<GuardedClock>,
) -> Result<(), RunError> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(revision.policy.threads)
        .thread_name("octroi")
        .enable_all()
        .build()
        .map_err(RunError::Runtime)?;
    let ended = runtime.block_on(serve(start, revision, context, clock));
    // What is left are connections that outlived the drain, whose requests have a line yet, and blocking
    // reads.
    runtime.shutdown_timeout(Duration::from_millis(500));
    ended.map(|shared| write_last_lines(&shared))
}

fn as_clock(clock: &Arc<GuardedClock>) -> Arc<dyn Clock> {
    clock.clone()
}
