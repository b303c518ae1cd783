//! From a configuration file to a running gateway, and to its end.

use std::{
    io,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, atomic::AtomicBool},
};

use arc_swap::ArcSwap;
use tokio::sync::watch;

use super::{
    acme,
    control::{App, LastReload},
    descriptors,
    doors::{BindError, Doors, Hinges},
    handler::HttpDoor,
    prepare::{self, PrepareError, Prepared},
    renew::Refusals,
    schedule, shutdown,
    vitals::Pulse,
    watch::watch as watch_files,
    witness::{self, Clerk},
};
use crate::{
    admin::{self, Api, ControlSocket, Levers, Probes, SocketError},
    edge::{Handler, Witness},
    gateway::{RequestIds, Shared},
    model::{BoxFuture, Clock, SystemClock},
    policy::Policy,
    state::{Bans, Journal, MemoryQuotas, StoreError},
    telemetry::{Metrics, MetricsError, Tally},
};

/// How many subjects all quotas together remember: 2^18 at 16 bytes are 4 MiB, whatever strangers do.
const QUOTA_SLOTS: usize = 1 << 18;

/// How many clients that broke the protocol are remembered: 2^15 at 64 bytes are 2 MiB, whatever strangers do.
const BAN_SLOTS: usize = 1 << 15;

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
    /// The metrics cannot be declared.
    #[error("the metrics cannot be declared: {0}")]
    Metrics(#[from] MetricsError),
    /// The runtime cannot be started.
    #[error("the runtime cannot be started: {0}")]
    Runtime(io::Error),
}

/// Serves until a signal ends it.
pub fn run(config: &Path) -> Result<(), RunError> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let prepared = prepare::prepare(config, &clock)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(prepared.policy.threads)
        .thread_name("octroi")
        .enable_all()
        .build()
        .map_err(RunError::Runtime)?;
    let ended = runtime.block_on(serve(config.to_owned(), prepared, clock));
    // What is left are connections that outlived the drain, and blocking reads.
    runtime.shutdown_timeout(std::time::Duration::from_millis(500));
    ended
}

async fn serve(config: PathBuf, prepared: Prepared, clock: Arc<dyn Clock>) -> Result<(), RunError> {
    let Prepared { policy, tls, warnings } = prepared;
    for warning in &warnings {
        tracing::warn!("{warning}");
    }
    let started = clock.now();
    let budget = descriptors::budget(descriptors::raise());
    descriptors::warn(&budget, &policy);
    let journal = Arc::new(Journal::open(&policy.state_dir, started)?);
    if let Some(torn) = journal.torn() {
        tracing::warn!(
            offset = torn.offset,
            bytes = torn.bytes,
            revocations = journal.len(),
            "the end of the revocation journal was cut short and is taken off: a revocation that was being written when octroi died, \
             and that nobody was told to be done, is not in force"
        );
    }
    journal.settle_tenants(policy.tenants.iter().map(|tenant| &tenant.name), started)?;
    let snapshot = prepare::snapshot(Arc::clone(&policy), None).map_err(PrepareError::Log)?;
    let shared = Arc::new(Shared {
        snapshot: ArcSwap::from_pointee(snapshot),
        quotas: MemoryQuotas::new(QUOTA_SLOTS),
        revocations: journal,
        challenges: Arc::default(),
        bans: Bans::new(BAN_SLOTS),
        metrics: Arc::new(Metrics::new()?),
        clock: Arc::clone(&clock),
        ids: RequestIds::new(),
        draining: AtomicBool::new(false),
    });
    witness::certificates(&shared.metrics, &tls);
    shared.metrics.policy_in_force(&policy, started);
    shared.metrics.reload_succeeded();
    let tls = Arc::new(ArcSwap::from_pointee(tls));
    let http = Arc::new(HttpDoor::new(Arc::clone(&shared), &policy));
    let handler: Arc<dyn Handler> = http.clone();
    let tally = Arc::new(Tally::default());
    let clerk: Arc<dyn Witness> =
        Arc::new(Clerk { shared: Arc::clone(&shared), tally: Arc::clone(&tally), apart: ahash::RandomState::new() });
    let challenges = Arc::clone(&shared.challenges);
    let doors = Doors::new(Hinges { handler, witness: clerk, tls: Arc::clone(&tls), clock, challenges, budget });
    // Everything that can fail has failed before the first connection is served.
    let added = doors.bind_new(&policy)?;
    let app = Arc::new(App {
        config,
        shared: Arc::clone(&shared),
        tls: Arc::clone(&tls),
        doors,
        tally,
        started,
        last_reload: Mutex::new(LastReload { at: started, error: None }),
        acme: acme::Board::default(),
        reloading: tokio::sync::Mutex::default(),
        policy_changed: tokio::sync::Notify::new(),
        refusals: Refusals::default(),
    });
    let (stop_admin, admin_stops) = watch::channel(false);
    let mut tasks = tokio::task::JoinSet::new();
    let admin = open_admin(&app, &policy, &admin_stops).await?;
    app.doors.settle(&policy, added);
    for serving in admin {
        tasks.spawn(serving);
    }
    tasks.spawn(schedule::expiries(Arc::clone(&app)));
    tasks.spawn(schedule::sweep(Arc::clone(&app)));
    tasks.spawn(acme::supervise(Arc::clone(&app)));
    tasks.spawn(watch_files(Arc::clone(&app)));
    tracing::info!(version = env!("CARGO_PKG_VERSION"), policy.revision = %policy.revision, tenants = policy.tenants.len(), "octroi serves");
    shutdown::until_the_end(&app, &http).await;
    stop_admin.send_replace(true);
    tasks.shutdown().await;
    witness::write_sums(&app.shared, &app.tally.close());
    if !app.shared.snapshot.load().log.close(shutdown::LAST_LINES) {
        tracing::warn!("some access lines could not be written in time");
    }
    tracing::info!("octroi ends");
    Ok(())
}

/// Binds the control socket, the metrics listener and the admin listener. Returns what serves them, once the doors are open.
async fn open_admin(app: &Arc<App>, policy: &Policy, stops: &watch::Receiver<bool>) -> Result<Vec<BoxFuture<'static, ()>>, RunError> {
    let mut tasks: Vec<BoxFuture<'static, ()>> = Vec::new();
    let shared = Arc::clone(&app.shared);
    let recorder = Arc::clone(&shared);
    let api = Arc::new(Api::new(Levers {
        control: app.clone(),
        policy: Box::new(move || Arc::clone(&shared.snapshot.load().policy)),
        clock: Arc::clone(&app.shared.clock),
        on_call: Box::new(move |call| witness::admin_call(&recorder, call)),
        own_uid: rustix::process::geteuid().as_raw(),
    }));
    let socket = ControlSocket::bind(&policy.state_dir)?;
    let (serving, control_stops) = (Arc::clone(&api), stops.clone());
    tasks.push(Box::pin(async move {
        if let Err(error) = admin::serve_control(socket, serving, control_stops).await {
            tracing::error!(%error, "the control socket ended");
        }
    }));
    if let Some(address) = policy.metrics {
        let listener = bind("metrics", address, app).await?;
        let probes = Arc::new(Probes::new(Arc::new(Pulse { app: Arc::clone(app) })));
        tasks.push(Box::pin(admin::serve_probes(listener, probes, stops.clone())));
    }
    if let Some(admin) = &policy.admin {
        let listener = bind("admin", admin.address, app).await?;
        match &admin.tls {
            None => {
                tasks.push(Box::pin(admin::serve_api(listener, api, stops.clone())));
            }
            Some((cert, key)) => {
                let acceptor = crate::edge::admin_acceptor(cert, key, policy.tls.min_version, app.shared.clock.now())
                    .map_err(|error| PrepareError::Tls(vec![error]))?;
                let wrap = move |stream| {
                    let acceptor = acceptor.clone();
                    async move { acceptor.accept(stream).await }
                };
                tasks.push(Box::pin(admin::serve_api_over(listener, wrap, api, stops.clone())));
            }
        }
    }
    Ok(tasks)
}

async fn bind(name: &'static str, address: SocketAddr, app: &App) -> Result<tokio::net::TcpListener, RunError> {
    let failed = |source| RunError::BindOther { name, address, source };
    let listener = tokio::net::TcpListener::bind(address).await.map_err(failed)?;
    let local = listener.local_addr().map_err(failed)?;
    tracing::info!(listener = name, address = %local, "listening");
    app.doors.note_other(name, local.to_string());
    Ok(listener)
}
