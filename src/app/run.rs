//! From a configuration file to a running gateway, and to its end.

use std::{io, net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use super::{
    doors::BindError,
    inherited::Estate,
    prepare::{self, PrepareError, Prepared},
    serve::{Footing, last_lines, serve},
    shutdown::Signals,
    steady::SteadyClock,
    upgrade::{Arrival, Launch, UpgradeError},
};
use crate::{
    admin::SocketError,
    config,
    model::{Clock, told},
    outbound::OutboundError,
    state::StoreError,
    telemetry::{MetricsError, tracing::OwnLog},
};

/// A successor that has waited for longer than this loads its configuration again before it takes over: files change.
const FRESH: Duration = Duration::from_secs(10);

/// What is to be started.
#[derive(Clone, Debug)]
pub struct Start {
    /// The configuration file.
    pub config: PathBuf,
    /// Whether it takes over from the octroi that runs.
    pub succeeds: bool,
    /// How its own successor is started; nothing where that is not known.
    pub launch: Option<Launch>,
    /// Whether sessions from before a lost journal count, by an operator's word.
    pub accepts_old_sessions: bool,
    /// Its own log.
    pub log: OwnLog,
}

/// Why octroi did not start.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The configuration or its files are bad.
    #[error(transparent)]
    Prepare(#[from] PrepareError),
    /// The state folder cannot be used.
    #[error(transparent)]
    State(#[from] StoreError),
    /// The control socket cannot be bound.
    #[error(transparent)]
    Control(#[from] SocketError),
    /// A listener cannot be bound.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The metrics or admin listener cannot be bound.
    #[error("{name}: cannot listen on {address}: {source}")]
    BindOther {
        /// `metrics` or `admin`.
        name: &'static str,
        /// The address.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// The service manager passed what cannot be used.
    #[error("the service manager passed a socket that cannot be used: {0}")]
    Inherited(io::Error),
    /// No successor could come.
    #[error("the hand-over socket in {} cannot be bound: {source}", dir.display())]
    Room {
        /// The state directory.
        dir: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A predecessor did not hand over.
    #[error(transparent)]
    Upgrade(#[from] UpgradeError),
    /// The metrics cannot be declared.
    #[error("the metrics cannot be declared: {0}")]
    Metrics(#[from] MetricsError),
    /// Nobody could be believed to be Redis.
    #[error("redis: {0}")]
    Redis(#[from] OutboundError),
    /// Signals cannot be listened to.
    #[error("signals cannot be listened to: {0}")]
    Signals(io::Error),
    /// The runtime cannot be started.
    #[error("the runtime cannot be started: {0}")]
    Runtime(io::Error),
}

/// Serves until a signal or a successor ends it.
pub fn run(start: Start) -> Result<(), RunError> {
    // First of all: what is sent from now on is not lost.
    let signals = Signals::listen(start.log.clone()).map_err(RunError::Signals)?;
    let clock = Arc::new(SteadyClock::new());
    // Before there are threads that look at the environment: it changes it.
    let estate = Estate::from_service_manager(prepare::variable).map_err(RunError::Inherited)?;
    if !start.succeeds {
        let prepared = prepare::prepare_to_start(&start.config, &as_clock(&clock))?;
        return enter(start, prepared, Footing { signals, estate, control: None, arrival: None }, clock);
    }
    let state_dir = config::state_dir(&start.config, &prepare::variable);
    let arrival = Arc::new(Arrival::at(&state_dir)?);
    let outcome = succeed(start, signals, &arrival, &state_dir, clock);
    if let Err(error) = &outcome {
        arrival.refuse(&told(error));
    }
    outcome
}

/// Prepares, waits for the predecessor, and serves.
fn succeed(
    start: Start,
    signals: Signals,
    arrival: &Arc<Arrival>,
    state_dir: &std::path::Path,
    clock: Arc<SteadyClock>,
) -> Result<(), RunError> {
    let mut prepared = prepare::prepare(&start.config, &as_clock(&clock))?;
    let since = clock.tick();
    let offer = arrival.wait()?;
    if clock.tick().since(since) > FRESH {
        prepared = prepare::prepare(&start.config, &as_clock(&clock))?;
    }
    if prepared.policy.state_dir != state_dir {
        return Err(UpgradeError::StateDir.into());
    }
    let footing = Footing { signals, estate: offer.estate, control: offer.control, arrival: Some(Arc::clone(arrival)) };
    enter(start, prepared, footing, clock)
}

fn enter(start: Start, prepared: Prepared, footing: Footing, clock: Arc<SteadyClock>) -> Result<(), RunError> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(prepared.policy.threads)
        .thread_name("octroi")
        .enable_all()
        .build()
        .map_err(RunError::Runtime)?;
    let ended = runtime.block_on(serve(start, prepared, footing, clock));
    // What is left are connections that outlived the drain, whose requests have a line yet, and blocking reads.
    runtime.shutdown_timeout(Duration::from_millis(500));
    ended.map(|shared| last_lines(&shared))
}

fn as_clock(clock: &Arc<SteadyClock>) -> Arc<dyn Clock> {
    clock.clone()
}
