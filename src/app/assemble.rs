//! Builds the running gateway from what is bound.

use std::sync::{Arc, Mutex};

use arc_swap::ArcSwap;
use tokio::sync::watch;

use super::{
    admission::BanCheck,
    early_reply::EarlyRefusals,
    handler::HttpHandler,
    included::TenantIncludes,
    last_reload::LastReload,
    observers,
    parts::App,
    prepare::{self, Revision},
    redis::{self, Shares, Store},
    start::{RunError, Start},
};
use crate::{
    acme::AcmeStatusBoard,
    admin::ListenerState,
    edge::{Handler, Hooks, ListenerDeps},
    gateway::{Draining, RequestIds, Shared, Snapshot},
    hand_over::{AdminHandles, HandOverDeps, HandOverState},
    model::{Clock, EventKind, EventSink, PolicyChanged, Tick, UnixTime},
    policy::Policy,
    process::{BlockingWork, Listeners, Notifier, PolicyChanges, ReloadLock},
    sessions::{Renewals, SessionLedger},
    store::{Bans, Descriptors, KeySets, MemoryQuotas},
    telemetry::{AccessLog, Metrics, Recorder},
    upkeep::{CertificateRenewer, DenyFiles, Refusals, clock::GuardedClock, key_sets, session_keys},
    upstream::{Budgets, LiveExchanges},
};

/// How many subjects all quotas together remember: 2^18 at 16 bytes are 4 MiB, whatever strangers do.
const QUOTA_SLOTS: usize = 1 << 18;

/// How many clients that broke the protocol are remembered: 2^15 at 64 bytes are 2 MiB, whatever strangers
/// do.
const BAN_SLOTS: usize = 1 << 15;

/// What can fail before the journal is opened: a predecessor that has it serves on.
pub(super) struct Foundation {
    pub(super) clock: Arc<GuardedClock>,
    pub(super) started: UnixTime,
    pub(super) metrics: Arc<Metrics>,
    pub(super) store: Option<Store>,
    pub(super) key_sets: Arc<KeySets>,
    pub(super) blocking: BlockingWork,
    pub(super) descriptors: Descriptors,
    pub(super) snapshot: Snapshot,
}

impl Foundation {
    /// Declares the metrics, and prepares the connection to Redis.
    pub(super) fn new(
        policy: &Arc<Policy>,
        log: Arc<AccessLog>,
        clock: &Arc<GuardedClock>,
        started: UnixTime,
        descriptors: Descriptors,
    ) -> Result<Self, RunError> {
        let metrics = Arc::new(Metrics::new()?);
        let recorder = Recorder::new(&policy.revision, log, Arc::clone(&metrics), as_clock(clock));
        let snapshot = Snapshot::new(Arc::clone(policy), recorder, None);
        let store = redis::prepare(policy, &metrics, &as_clock(clock))?;
        Ok(Self {
            clock: Arc::clone(clock),
            started,
            metrics,
            store,
            key_sets: Arc::default(),
            blocking: BlockingWork::default(),
            descriptors,
            snapshot,
        })
    }

    /// Fetches the sets of keys that the predecessor has, and that this process does not have yet.
    pub(super) async fn prefetch_key_sets(&self, policy: &Policy) {
        let clock = as_clock(&self.clock);
        let events: Arc<dyn EventSink> = Arc::new(self.snapshot.recorder.clone());
        key_sets::prefetch(&self.key_sets, &self.blocking.trust, &events, &clock, policy).await;
    }

    /// Builds what every request shares.
    fn share(self, policy: &Policy, journal: &Arc<SessionLedger>) -> (Arc<Shared>, Option<Store>) {
        let live_exchanges = Arc::<LiveExchanges>::default();
        let changed = Arc::clone(&live_exchanges);
        journal.when_changed(move || changed.change());
        let shared = Arc::new(Shared {
            live_exchanges,
            snapshot: ArcSwap::from_pointee(self.snapshot),
            budgets: Budgets::new(self.descriptors),
            quotas: MemoryQuotas::new(QUOTA_SLOTS),
            revocations: Arc::clone(journal),
            challenges: Arc::default(),
            key_sets: self.key_sets,
            key_missed: watch::Sender::new(()),
            bans: Bans::new(BAN_SLOTS),
            redis: self.store.as_ref().map(|store| store.redis.clone()),
            renewals: Renewals::default(),
            key_uses: session_keys::open(policy, self.started),
            metrics: self.metrics,
            clock: self.clock,
            ids: RequestIds::new(),
            draining: Draining::default(),
        });
        (shared, self.store)
    }
}

/// What a start has in its hands when it assembles the gateway.
pub(super) struct Materials {
    pub(super) start: Start,
    pub(super) revision: Revision,
    pub(super) journal: Arc<SessionLedger>,
    /// Until when what a predecessor knew of other nodes holds here.
    pub(super) fresh_until: Option<Tick>,
    pub(super) included: TenantIncludes,
    /// The number of this process since one was started without a predecessor.
    pub(super) generation: u32,
    pub(super) admin_handles: AdminHandles,
}

/// The gateway, assembled; it serves nothing yet.
pub(super) struct Assembled {
    pub(super) app: Arc<App>,
    pub(super) http: Arc<HttpHandler>,
    pub(super) admin_state: watch::Receiver<ListenerState>,
    /// The connection to Redis, and what shares the journal over it.
    pub(super) store: Option<Store>,
    pub(super) shares: Option<Shares>,
}

/// Builds the gateway. Nothing of it fails.
pub(super) fn assemble(foundation: Foundation, materials: Materials) -> Assembled {
    let Materials { start, revision, journal, fresh_until, included, generation, admin_handles } = materials;
    let Revision { policy, tls, admin_tls, out, .. } = revision;
    let (clock, started) = (Arc::clone(&foundation.clock), foundation.started);
    let (blocking, descriptors) = (foundation.blocking.clone(), foundation.descriptors.clone());
    let (shared, store) = foundation.share(&policy, &journal);
    observers::certificates(&shared.metrics, &tls, started);
    observers::policy(&shared.metrics, &policy, started);
    shared.emit(EventKind::Policy(PolicyChanged::Loaded));
    let (tls, admin_tls) = (Arc::new(ArcSwap::from_pointee(tls)), admin_tls.map(Arc::new));
    let http = Arc::new(HttpHandler::new(Arc::clone(&shared), &policy));
    let hooks = Arc::new(Hooks {
        admission: Arc::new(BanCheck(Arc::clone(&shared))),
        early_reply: Arc::new(EarlyRefusals(Arc::clone(&shared))),
        events: shared.clone(),
    });
    let handler: Arc<dyn Handler> = http.clone();
    let listeners = Arc::new(Listeners::new(ListenerDeps {
        handler,
        hooks,
        tls: Arc::clone(&tls),
        clock: as_clock(&clock),
        challenges: Arc::clone(&shared.challenges),
        descriptors,
    }));
    let shares =
        store.as_ref().and_then(|store| redis::share(&policy, store, &journal, &shared, fresh_until));
    let reload_lock = Arc::<ReloadLock>::default();
    let notifier = Arc::new(Notifier::from_environment(prepare::variable));
    let refusals = Arc::<Refusals>::default();
    refusals.begin(&out, shared.clock.tick(), &shared.metrics);
    let (admin_state, admin_state_receiver) = watch::channel(ListenerState::Open);
    let worse_on_disk = {
        let (config, shared, tls) = (start.config.clone(), Arc::clone(&shared), Arc::clone(&tls));
        let reading = blocking.reload.clone();
        move || prepare::worse_on_disk(&config, &shared, &tls, &reading)
    };
    let deps = HandOverDeps {
        shared: Arc::clone(&shared),
        listeners: Arc::clone(&listeners),
        notifier: Arc::clone(&notifier),
        reload_lock: Arc::clone(&reload_lock),
        admin_state,
        worse_on_disk: Box::new(worse_on_disk),
    };
    let certificates = Arc::new(CertificateRenewer {
        shared: Arc::clone(&shared),
        tls: Arc::clone(&tls),
        admin_tls: admin_tls.clone(),
        refusals: Arc::clone(&refusals),
        reading: blocking.renewal.clone(),
        reload_lock: Arc::clone(&reload_lock),
        record: observers::certificates,
    });
    let deny_files = Arc::new(DenyFiles::new(
        Arc::clone(&shared),
        Arc::clone(&listeners),
        blocking.renewal.clone(),
        Arc::clone(&reload_lock),
    ));
    let app = Arc::new(App {
        config: start.config,
        shared,
        tls,
        admin_tls,
        listeners,
        started,
        last_reload: Mutex::new(LastReload { at: started, ..LastReload::default() }),
        acme: Arc::<AcmeStatusBoard>::default(),
        included: Mutex::new(included),
        reload_lock,
        blocking,
        guarded_clock: clock,
        notifier,
        process_log: start.log,
        hand_over: Arc::new(HandOverState::new(generation, start.launch, admin_handles, deps)),
        sharing: shares.as_ref().map(|shares| Arc::clone(&shares.sharing)),
        refusals,
        certificates,
        deny_files,
        policy_changes: PolicyChanges::default(),
    });
    Assembled { app, http, admin_state: admin_state_receiver, store, shares }
}

fn as_clock(clock: &Arc<GuardedClock>) -> Arc<dyn Clock> {
    clock.clone()
}
