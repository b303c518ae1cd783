//! The levers: status, reload, revoke.

use std::{
    num::NonZeroU32,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use arc_swap::ArcSwap;
use tokio::{sync::watch, time::timeout};

use super::{
    acme::Board,
    doors::Doors,
    included::Included,
    key_sets, lapse,
    notify::Notifier,
    redis, reload,
    renew::Refusals,
    session_keys,
    steady::SteadyClock,
    upgrade::{self, HandOver, Succession},
};
use crate::{
    admin::Gate,
    edge::{AdminTls, TlsState},
    gateway::Shared,
    model::{
        Ban, BanWish, BoxFuture, ClientPrefix, Clock, Control, ControlError, Draining, KeyStatus, MissingTenants, ReloadReport, ReloadWish,
        Revocation, RevocationReport, Revoked, SessionsOfUser, Status, TenantName, UnixTime, UnkeptRevocations, UpgradeReport, UserId,
        told,
    },
    state::{RevocationStore, StoreError, Unkept, redis::Sharing},
    telemetry::{RevocationWrite, Tally, tracing::OwnLog},
};

/// How long a command waits for the disk, and for the other nodes behind it.
const DISK: Duration = Duration::from_secs(30);

/// How long a revocation waits to know how many sessions it ends on other nodes. It is in force so much later at most.
const COUNTING: Duration = Duration::from_millis(300);

/// The running gateway, as its levers see it.
pub(super) struct App {
    pub(super) config: PathBuf,
    pub(super) shared: Arc<Shared>,
    pub(super) tls: Arc<ArcSwap<TlsState>>,
    /// That of the admin listener, where it has one.
    pub(super) admin_tls: Option<Arc<AdminTls>>,
    pub(super) doors: Doors,
    /// Refused connections that were not written yet.
    pub(super) tally: Arc<Tally>,
    pub(super) started: UnixTime,
    pub(super) last_reload: Mutex<LastReload>,
    /// Where certificates by ACME stand.
    pub(super) acme: Board,
    /// What the tenants in force were read from.
    pub(super) included: Mutex<Included>,
    /// One reload at a time.
    pub(super) reloading: tokio::sync::Mutex<()>,
    /// How many reads of files may still be under way.
    pub(super) reading: Arc<tokio::sync::Semaphore>,
    /// The clock, and whether it is believed.
    pub(super) steady: Arc<SteadyClock>,
    /// Who wants to know how the process is.
    pub(super) notifier: Notifier,
    /// Its own log, for what was lost of it.
    pub(super) own_log: OwnLog,
    /// What the listeners that are no doors do.
    pub(super) gate: watch::Sender<Gate>,
    /// For work that outlives a call.
    pub(super) itself: std::sync::Weak<Self>,
    /// Who came before, and who comes behind.
    pub(super) succession: Succession,
    /// Who shares revocations with other nodes.
    pub(super) sharing: Option<Arc<Sharing>>,
    /// Files of TLS that cannot be used.
    pub(super) refusals: Refusals,
    /// Told of each policy that comes into force: it may name other files.
    pub(super) policy_changed: tokio::sync::Notify,
    /// Told of the same: it may name other sources of keys.
    pub(super) key_sources_changed: tokio::sync::Notify,
    /// The same, for who waits until something in it expires.
    pub(super) expiry_changed: tokio::sync::Notify,
}

/// What the last load of the configuration said.
#[derive(Clone, Debug, Default)]
pub(super) struct LastReload {
    pub(super) at: UnixTime,
    pub(super) error: Option<String>,
}

impl Control for App {
    fn status(&self) -> Status {
        let snapshot = self.shared.snapshot.load();
        let last = self.last_reload.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Status {
            version: env!("CARGO_PKG_VERSION"),
            node: snapshot.policy.node.clone(),
            pid: std::process::id(),
            started: self.started,
            revision: snapshot.policy.revision.clone(),
            loaded: last.at,
            reload_error: last.error,
            tls_refused: self.refusals.told(),
            lapsed: lapse::lapsed(&snapshot.policy, &self.tls.load(), self.shared.clock.now()),
            chains: lapse::chains(&self.tls.load(), self.shared.clock.now()),
            clock: self.steady.status(snapshot.policy.clock_hold, self.steady.tick()),
            tenants: snapshot.policy.tenants.len(),
            tenants_missing: self.missing(),
            connections: self.doors.open(),
            revocations: self.shared.revocations.len(),
            revocations_lost: self.shared.revocations.beginning().lost,
            revocations_unkept: self.unkept(),
            logs_failing: self.logs_failing(),
            draining: self.shared.is_draining(),
            listeners: self.doors.addresses(),
            generation: self.succession.generation,
            predecessor: self.predecessor(),
            successor: self.succession.waiting(),
            acme: self.acme.status(self.shared.clock.now()),
            redis: redis::status(&self.shared, self.sharing.as_ref()),
            key_sets: key_sets::status(&self.shared, &snapshot.policy),
            upstreams: snapshot.upstreams(&*self.shared.clock).filter(|upstream| !upstream.is_well()).collect(),
        }
    }

    fn epoch(&self, tenant: &TenantName) -> Option<u32> {
        let policy = Arc::clone(&self.shared.snapshot.load().policy);
        policy.tenants.named(tenant.as_str()).map(|_| self.shared.revocations.epoch(tenant, self.shared.clock.now()))
    }

    fn reload(&self, wish: ReloadWish) -> BoxFuture<'_, Result<ReloadReport, ControlError>> {
        if wish.dry_run {
            return Box::pin(reload::try_out(self, wish));
        }
        // Whoever reloads has looked. What octroi reloads by itself does not come through here.
        if let Some(step) = self.steady.accept() {
            tracing::warn!(step_seconds = step / 1000, "an operator confirmed the wall clock; it is believed from now on");
        }
        Box::pin(reload::reload(self, reload::Cause::Operator(wish)))
    }

    fn upgrade(&self, start: bool) -> BoxFuture<'_, Result<UpgradeReport, ControlError>> {
        Box::pin(self.hand_over(start))
    }

    fn sessions<'a>(&'a self, tenant: &'a TenantName, user: &'a UserId) -> BoxFuture<'a, Result<SessionsOfUser, ControlError>> {
        Box::pin(self.list_sessions(tenant, user))
    }

    fn keys(&self) -> Vec<KeyStatus> {
        session_keys::status(&self.shared)
    }

    fn bans(&self) -> Vec<Ban> {
        self.shared.bans.list(self.shared.clock.tick())
    }

    fn ban(&self, wish: BanWish) -> Result<(), ControlError> {
        let policy = Arc::clone(&self.shared.snapshot.load().policy);
        // As for bans that come of offences: a proxy of ours is exempt where it is one, and at other listeners it is a client.
        if policy.never_bans(wish.named) {
            let text = format!("{} is a trusted proxy of every listener, and those are never banned", wish.client);
            return Err(ControlError::Useless(text));
        }
        self.shared.bans.add(wish, self.shared.clock.tick()).map_err(|error| ControlError::Unavailable(error.to_string()))?;
        self.shared.metrics.ban("operator");
        Ok(())
    }

    fn unban(&self, client: ClientPrefix) -> bool {
        self.shared.bans.remove(client, self.shared.clock.tick())
    }

    fn revoke(&self, revocation: Revocation) -> BoxFuture<'_, Result<RevocationReport, ControlError>> {
        Box::pin(self.end_sessions(revocation))
    }
}

impl App {
    /// Returns the predecessor, while it drains.
    pub(super) fn predecessor(&self) -> Option<Draining> {
        let lead = self.succession.predecessor.get()?;
        lead.connections().map(|connections| Draining { pid: lead.pid, connections })
    }

    /// Returns who was there before a start that did not find them, as long as nobody has confirmed it.
    pub(super) fn missing(&self) -> Option<MissingTenants> {
        let policy = Arc::clone(&self.shared.snapshot.load().policy);
        let included = self.included.lock().unwrap_or_else(PoisonError::into_inner);
        included.missing(&policy, &self.shared.revocations, self.started)
    }

    /// Returns what was ended here and could not be written down.
    pub(super) fn unkept(&self) -> Option<UnkeptRevocations> {
        let Unkept { count, error } = self.shared.revocations.unkept()?;
        Some(UnkeptRevocations { count, error: told(&error) })
    }

    /// Says which logs fail or lose lines.
    pub(super) fn logs_failing(&self) -> Vec<String> {
        self.shared.snapshot.load().log.trouble().into_iter().chain(self.own_log.trouble()).collect()
    }

    async fn hand_over(&self, start: bool) -> Result<UpgradeReport, ControlError> {
        let app = self.itself.upgrade().ok_or_else(|| ControlError::Upgrade("octroi is going down".to_owned()))?;
        let wish = if start { HandOver::Start } else { HandOver::Waiting };
        match tokio::task::spawn_blocking(move || upgrade::hand_over(&app, wish)).await {
            Ok(Ok(Some(report))) => Ok(report),
            Ok(Ok(None)) => Err(ControlError::Upgrade("no successor waits; start one: `octroi run --upgrade`".to_owned())),
            Ok(Err(error)) => Err(ControlError::Upgrade(told(&error))),
            Err(error) => Err(ControlError::Upgrade(error.to_string())),
        }
    }

    /// Returns how many sessions of a user are known: on all nodes, or here where the others cannot be asked at once.
    async fn known_of(&self, tenant: &TenantName, user: &UserId) -> Option<usize> {
        if let Ok(listed) = timeout(COUNTING, self.list_sessions(tenant, user)).await {
            return listed.ok().map(|listed| listed.sessions.len());
        }
        let policy = Arc::clone(&self.shared.snapshot.load().policy);
        let idle = policy.tenants.named(tenant.as_str())?.sessions.idle;
        Some(self.shared.revocations.sessions_of(tenant, user, idle, self.shared.clock.now()).len())
    }

    async fn end_sessions(&self, revocation: Revocation) -> Result<RevocationReport, ControlError> {
        let began = self.shared.clock.tick();
        let now = self.shared.clock.now();
        let at = revocation.at.filter(|&at| at > now).unwrap_or(now);
        let policy = Arc::clone(&self.shared.snapshot.load().policy);
        let tenant = match &revocation.whose {
            Revoked::Session(_) => None,
            Revoked::User(tenant, _) | Revoked::Tenant(tenant) => Some(tenant),
        };
        // A tenant that was taken out has no live sessions; naming it is a typing mistake more often than not.
        let longest = match tenant {
            Some(name) => match policy.tenants.named(name.as_str()) {
                Some(tenant) => tenant.sessions.absolute,
                None => return Err(ControlError::Unknown(format!("no tenant is named `{name}`"))),
            },
            None => policy.tenants.iter().map(|tenant| tenant.sessions.absolute).max().unwrap_or_default(),
        };
        let known = match &revocation.whose {
            Revoked::User(tenant, user) => self.known_of(tenant, user).await,
            Revoked::Session(_) | Revoked::Tenant(_) => None,
        };
        let journal = Arc::clone(&self.shared.revocations);
        let whose = revocation.whose;
        let writing = tokio::task::spawn_blocking(move || journal.revoke_everywhere(&whose, at, at.plus(longest)));
        let Ok(written) = timeout(DISK, writing).await else {
            self.shared.metrics.revocation_write(RevocationWrite::Failure);
            tracing::error!("a revocation would not survive a restart: the disk does not answer");
            return Err(ControlError::Unavailable("the disk of the revocation journal does not answer".to_owned()));
        };
        self.shared.metrics.revocation_write(match &written {
            Ok(Ok(_)) => RevocationWrite::Success,
            Ok(Err(StoreError::NotShared(_))) => RevocationWrite::NotShared,
            Ok(Err(_)) | Err(_) => RevocationWrite::Failure,
        });
        let spread = match written {
            Ok(Ok(spread)) => spread,
            Ok(Err(error @ StoreError::NotShared(_))) => {
                let why = told(&error);
                tracing::error!(error = %why, "a revocation is in force and durable here, and other nodes do not know it yet");
                return Err(ControlError::NotShared(why));
            }
            Ok(Err(error)) => {
                let why = told(&error);
                tracing::error!(error = %why, "a revocation would not survive a restart");
                return Err(ControlError::Unavailable(why));
            }
            Err(error) => return Err(ControlError::Unavailable(error.to_string())),
        };
        let replicas = policy.redis.as_ref().filter(|_| self.sharing.is_some()).and_then(|redis| redis.replicas).map(NonZeroU32::get);
        Ok(RevocationReport {
            nodes: spread.nodes,
            silent: spread.silent,
            replicas,
            took: self.shared.clock.tick().since(began),
            at,
            known,
        })
    }
}
