//! Puts the parts together and serves: alone, or in a predecessor's place.

use std::{
    os::unix::net::UnixListener,
    sync::{Arc, Mutex, Weak},
    time::Duration,
};

use arc_swap::ArcSwap;
use tokio::{sync::watch, task::JoinSet, time::timeout};

use super::{
    acme,
    control::{App, LastReload},
    descriptors,
    doors::{self, Doors, Hinges},
    handler::HttpDoor,
    included::{self, Included},
    inherited::Estate,
    key_sets,
    notify::{self, Notifier},
    others::Others,
    prepare::{self, PrepareError, Prepared},
    redis,
    reload::MOST_HANGING,
    renew::Refusals,
    run::{RunError, Start},
    schedule, session_keys, shutdown,
    steady::{self, SteadyClock},
    upgrade::{self, Arrival, Succession},
    watch::watch as watch_files,
    witness::{self, Clerk},
};
use crate::{
    admin::Gate,
    edge::{Handler, Witness},
    gateway::{self, Draining, Renewals, RequestIds, Scarce, Shared, Snapshot, Standing},
    model::{Clock, UnixTime, told},
    policy::Policy,
    state::{Bans, Begun, Descriptors, Journal, KeySets, MemoryQuotas, StoreError},
    telemetry::{Metrics, Tally},
};

/// How many subjects all quotas together remember: 2^18 at 16 bytes are 4 MiB, whatever strangers do.
const QUOTA_SLOTS: usize = 1 << 18;

/// How many clients that broke the protocol are remembered: 2^15 at 64 bytes are 2 MiB, whatever strangers do.
const BAN_SLOTS: usize = 1 << 15;

/// How long the last answers of the admin listeners may take.
const LAST_ANSWERS: Duration = Duration::from_secs(3);

/// What a process stands on when it begins to serve.
pub(super) struct Footing {
    /// What ends this process.
    pub(super) signals: shutdown::Signals,
    /// Sockets that listen already.
    pub(super) estate: Estate,
    /// The predecessor's control socket.
    pub(super) control: Option<UnixListener>,
    /// The predecessor, which still serves.
    pub(super) arrival: Option<Arc<Arrival>>,
}

pub(super) async fn serve(start: Start, prepared: Prepared, footing: Footing, steady: Arc<SteadyClock>) -> Result<Arc<Shared>, RunError> {
    let Prepared { policy, tls, admin_tls, warnings, includes, out } = prepared;
    let included = Included::at_start(includes);
    let confirmed = included.is_confirmed();
    let accepts_old_sessions = start.accepts_old_sessions;
    let Footing { mut estate, control, arrival, signals } = footing;
    let clock: Arc<dyn Clock> = steady.clone();
    for warning in &warnings {
        tracing::warn!("{warning}");
    }
    for error in &out {
        tracing::error!(error = %told(error), "a certificate or OCSP answer cannot be used; its hosts are not served, or nothing is stapled");
    }
    // Before anything can be asked of this process.
    signals.hold();
    let started = clock.now();
    let budget = Descriptors::new(descriptors::raise());
    descriptors::warn(&budget, &policy);
    // Alone, the journal comes first: it says whether another octroi has this state directory. In a predecessor's place it comes when all
    // is bound, for the predecessor cannot write it from then on.
    let alone = match &arrival {
        None => {
            let journal = begin_journal(&policy, confirmed, started)?;
            begin_mark(&journal, accepts_old_sessions, started)?;
            Some(journal)
        }
        Some(_) => None,
    };
    let added = doors::bind_all(&policy, &mut estate)?;
    let others = Others::bind(&policy, &mut estate, control)?;
    tell_of_the_rest(estate, arrival.is_some());
    let log = prepare::log(&policy, None).map_err(PrepareError::Log)?;
    let snapshot = Snapshot::new(Arc::clone(&policy), log, None);
    let metrics = Arc::new(Metrics::new()?);
    let store = redis::prepare(&policy, &metrics, &clock)?;
    let handles = others.handles()?;
    let key_sets = Arc::new(KeySets::default());
    if arrival.is_some() {
        // The predecessor has them, and serves until this process is bound.
        key_sets::ahead(&key_sets, &metrics, &clock, &policy).await;
    }
    let (journal, fresh_to) = match (alone, &arrival) {
        (Some(journal), _) => (journal, None),
        (None, None) => (begin_journal(&policy, confirmed, started)?, None),
        (None, Some(arrival)) => {
            let fresh_to = redis::inherited(&policy, &arrival.bound()?, clock.tick());
            (open_journal(&policy, started)?, fresh_to)
        }
    };
    let standing = Arc::<Standing>::default();
    let told = Arc::clone(&standing);
    journal.when_changed(move || told.change());
    let shared = Arc::new(Shared {
        standing,
        snapshot: ArcSwap::from_pointee(snapshot),
        scarce: Scarce::new(budget.clone()),
        quotas: MemoryQuotas::new(QUOTA_SLOTS),
        revocations: Arc::clone(&journal),
        challenges: Arc::default(),
        key_sets,
        key_missed: watch::Sender::new(()),
        bans: Bans::new(BAN_SLOTS),
        redis: store.as_ref().map(|store| store.redis.clone()),
        renewals: Renewals::default(),
        key_uses: session_keys::open(&policy, started),
        metrics,
        clock: Arc::clone(&clock),
        ids: RequestIds::new(),
        draining: Draining::default(),
    });
    witness::certificates(&shared.metrics, &tls, started);
    witness::policy(&shared.metrics, &policy, started);
    shared.metrics.reload_succeeded();
    let tls = Arc::new(ArcSwap::from_pointee(tls));
    let http = Arc::new(HttpDoor::new(Arc::clone(&shared), &policy));
    let handler: Arc<dyn Handler> = http.clone();
    let tally = Arc::new(Tally::default());
    let challenges = Arc::clone(&shared.challenges);
    let clerk: Arc<dyn Witness> =
        Arc::new(Clerk { shared: Arc::clone(&shared), tally: Arc::clone(&tally), apart: ahash::RandomState::new() });
    let shares = store.as_ref().and_then(|store| redis::share(&policy, store, &journal, &shared, fresh_to));
    let sharing = shares.as_ref().map(|shares| Arc::clone(&shares.sharing));
    let generation = arrival.as_ref().map_or(1, |arrival| arrival.generation);
    let (gate, admin_gate) = watch::channel(Gate::Open);
    let app = Arc::new_cyclic(|itself: &Weak<App>| App {
        config: start.config,
        shared: Arc::clone(&shared),
        tls: Arc::clone(&tls),
        admin_tls: admin_tls.map(Arc::new),
        doors: Doors::new(Hinges { handler, witness: clerk, tls: Arc::clone(&tls), clock, challenges, descriptors: budget.clone() }),
        tally,
        started,
        last_reload: Mutex::new(LastReload { at: started, error: None }),
        included: Mutex::new(included),
        acme: acme::Board::default(),
        reloading: tokio::sync::Mutex::default(),
        reading: Arc::new(tokio::sync::Semaphore::new(MOST_HANGING)),
        policy_changed: tokio::sync::Notify::new(),
        key_sources_changed: tokio::sync::Notify::new(),
        expiry_changed: tokio::sync::Notify::new(),
        refusals: Refusals::default(),
        steady,
        sharing: sharing.clone(),
        notifier: Notifier::from_environment(prepare::variable),
        own_log: start.log,
        gate,
        itself: itself.clone(),
        succession: Succession::new(generation, start.launch, handles),
    });
    app.refusals.begin(&out, app.shared.clock.tick(), &app.shared.metrics);
    let serving = others.serve(&app, &admin_gate)?;
    let room = match &arrival {
        None => Some(upgrade::open_room(&policy.state_dir).map_err(|source| RunError::Room { dir: policy.state_dir.clone(), source })?),
        Some(_) => None,
    };
    // Everything that can fail has failed before the first connection is served.
    let lead = arrival.as_ref().map(|arrival| arrival.taken(&journal)).transpose()?;
    let mut tasks = JoinSet::new();
    if let Some(store) = store {
        tasks.spawn(until_succeeded(Arc::clone(&app), redis::run(store, shares)));
    }
    if let Some(sharing) = &sharing
        && !sharing.synced_within(redis::FIRST_SYNC).await
        && !journal.is_fresh(app.shared.clock.now())
    {
        tracing::error!(event = "revocation_stale", "what other nodes revoked is not known; `on_stale` says what becomes of sessions");
    }
    let mut admin: JoinSet<()> = JoinSet::new();
    app.doors.settle(&policy, added);
    for serving in serving {
        admin.spawn(serving);
    }
    if let Some(lead) = &lead {
        // A predecessor that hears this stops accepting. One that cannot has failed, and its connections are ours already.
        let _ = lead.serves();
        // Set once: there is one predecessor.
        let _ = app.succession.predecessor.set(Arc::clone(lead));
        settle_late(&journal, &policy, confirmed, started);
        begin_mark_late(&journal, accepts_old_sessions, started);
    }
    let received = room.map_or_else(|| upgrade::open_room(&policy.state_dir), Ok).and_then(|room| upgrade::receive_successors(&app, room));
    if let Err(error) = received {
        tracing::error!(%error, "no successor can come; a restart is needed to upgrade");
    }
    tasks.spawn(until_succeeded(Arc::clone(&app), schedule::expiries(Arc::clone(&app))));
    tasks.spawn(schedule::sweep(Arc::clone(&app)));
    tasks.spawn(schedule::notes(Arc::clone(&app)));
    tasks.spawn(schedule::marks(Arc::clone(&app)));
    tasks.spawn(steady::watch(Arc::clone(&app)));
    tasks.spawn(gateway::watch(Arc::clone(&app.shared)));
    tasks.spawn(until_succeeded(Arc::clone(&app), acme::supervise(Arc::clone(&app))));
    tasks.spawn(until_succeeded(Arc::clone(&app), watch_files(Arc::clone(&app))));
    // Until the end: requests that are open may still ask for a key.
    tasks.spawn(key_sets::supervise(Arc::clone(&app)));
    tasks.spawn(notify::watchdog(Arc::clone(&app)));
    app.notifier.ready(&policy.revision);
    tracing::info!(version = env!("CARGO_PKG_VERSION"), policy.revision = %policy.revision, tenants = policy.tenants.len(), "octroi serves");
    shutdown::until_the_end(&app, &http, signals).await;
    app.gate.send_replace(Gate::Closed);
    let answered = async { while admin.join_next().await.is_some() {} };
    // Those that take longer are cut off with the set.
    let _ = timeout(LAST_ANSWERS, answered).await;
    if let Some(sharing) = sharing.filter(|_| !app.succession.is_over()) {
        redis::leave(&sharing).await;
    }
    tasks.shutdown().await;
    schedule::last_notes(&app).await;
    witness::write_sums(&app.shared, &app.tally.close());
    session_keys::note(&app).await;
    upgrade::close_room(&app, &policy.state_dir);
    Ok(Arc::clone(&app.shared))
}

/// Writes what is left of the access log: behind everything that may still write a line.
pub(super) fn last_lines(shared: &Shared) {
    if !shared.snapshot.load().log.close(shutdown::LAST_LINES) {
        tracing::warn!("some access lines could not be written in time");
    }
    tracing::info!("octroi ends");
}

/// Does something as long as this process is the one that serves: certificates and rules are the successor's affair then.
async fn until_succeeded(app: Arc<App>, work: impl Future<Output = ()>) {
    tokio::select! {
        () = work => {}
        () = app.succession.over() => {}
    }
}

/// Begins to keep the mark beside the journal, and tells of a loss.
fn begin_mark(journal: &Journal, accept: bool, now: UnixTime) -> Result<(), StoreError> {
    let refused = "sessions from before are refused (401 `revocation_lost`), for whether somebody ended them is not known; \
                   `octroi run --accept-old-sessions` takes them";
    match journal.begin_mark(accept, now)? {
        Begun::Whole if accept => tracing::warn!("`--accept-old-sessions` does nothing: no revocation is lost; take it out again"),
        Begun::Whole => {}
        Begun::Unmarked => tracing::warn!(
            event = "revocations_unmarked",
            "the revocation journal has no mark beside it and counts as whole; that is so once behind an octroi that kept none: otherwise somebody \
             took `revocations.began` away, and sessions that were ended may count again"
        ),
        Begun::First => tracing::info!(event = "revocations_begin", "the revocation journal begins now"),
        Begun::Lost { why } => tracing::error!(event = "revocations_lost", why, "{refused}"),
        Begun::StillLost => tracing::error!(event = "revocations_lost", why = "an earlier start found that", "{refused}"),
        Begun::Accepted => {
            tracing::warn!(
                event = "revocations_accepted",
                "sessions from before the loss count, by an operator's word; take `--accept-old-sessions` out again"
            );
        }
    }
    Ok(())
}

/// Opens the journal.
fn open_journal(policy: &Policy, now: UnixTime) -> Result<Arc<Journal>, StoreError> {
    let journal = Arc::new(Journal::open(&policy.state_dir, now)?);
    if let Some(torn) = journal.torn() {
        tracing::warn!(
            offset = torn.offset,
            bytes = torn.bytes,
            revocations = journal.len(),
            "the end of the revocation journal was cut short and is taken off: a revocation that was being written when octroi died, \
             and that nobody was told to be done, is not in force"
        );
    }
    Ok(journal)
}

/// Opens the journal and notes which tenants there are.
fn begin_journal(policy: &Policy, confirmed: bool, now: UnixTime) -> Result<Arc<Journal>, StoreError> {
    let journal = open_journal(policy, now)?;
    included::settle(policy, &journal, confirmed, now)?;
    Ok(journal)
}

/// Notes which tenants there are, once nothing can go back to the predecessor and its tenants.
fn settle_late(journal: &Journal, policy: &Policy, confirmed: bool, now: UnixTime) {
    if let Err(error) = included::settle(policy, journal, confirmed, now) {
        tracing::error!(error = %told(&error), "which tenants there are would not survive a restart; it is written with the next revocation");
    }
}

/// Begins to keep the mark, once nothing can go back to the predecessor: it may be from a version that keeps none.
fn begin_mark_late(journal: &Journal, accept: bool, now: UnixTime) {
    if let Err(error) = begin_mark(journal, accept, now) {
        tracing::error!(error = %told(&error), "what the revocation journal holds cannot be marked");
    }
}

/// Tells of sockets that nobody took, and closes them.
fn tell_of_the_rest(estate: Estate, handed_over: bool) {
    for socket in estate.left() {
        let (name, address) = (&socket.name, socket.socket.local_addr().ok());
        if handed_over {
            tracing::info!(
                listener = name,
                ?address,
                "the predecessor's listener is not in this configuration; it closes with the predecessor"
            );
        } else {
            tracing::warn!(name, ?address, "the service manager passed a socket that no listener has; it is closed");
        }
    }
}
