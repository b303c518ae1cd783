//! What operators command: status, reload, revoke.

use std::{
    num::NonZeroU32,
    sync::{Arc, PoisonError},
    time::Duration,
};

use tokio::time::timeout;

use super::{part::Cause, parts::App, redis, reload};
use crate::{
    hand_over::{HandOver, hand_over},
    model::{
        Ban, BanCause, BanRequest, BoxFuture, ClientPrefix, Clock, Control, ControlError, Draining,
        EventKind, EventSink, KeyStatus, MissingTenants, NodeChanged, ReloadReport, ReloadRequest,
        Revocation, RevocationReport, RevocationTarget, RevocationWrite, SessionChanged, SessionEvent,
        SessionsOfUser, Status, TenantName, UnkeptRevocations, UpgradeReport, UserId, error_chain,
    },
    sessions::{RevocationStore, StoreError, Unkept},
    upkeep::{expiry_warnings, journal, key_sets, session_keys},
};

/// How long a command waits for the disk, and for the other nodes behind it.
const DISK: Duration = Duration::from_secs(30);

/// How long a revocation waits to know how many sessions it ends on other nodes. It is in force so much later
/// at most.
const COUNTING: Duration = Duration::from_millis(300);

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
            reload_error: last.message(),
            tls_refused: self.refusals.reported(),
            tls_out: self.refusals.out(),
            tls_ending: expiry_warnings::ending_certificates(
                &snapshot.policy,
                &self.tls.load(),
                self.admin_tls.as_deref(),
                self.shared.clock.now(),
            ),
            deny_refused: self.deny_files.refused(),
            lapsed: expiry_warnings::expired(
                &snapshot.policy,
                &self.tls.load(),
                self.admin_tls.as_deref(),
                self.shared.clock.now(),
            ),
            chains: expiry_warnings::chains(&self.tls.load(), self.shared.clock.now()),
            clock: self.guarded_clock.status(snapshot.policy.clock_hold, self.guarded_clock.tick()),
            tenants: snapshot.policy.tenants.len(),
            tenants_missing: self.missing(),
            connections: self.listeners.open(),
            revocations: self.shared.revocations.len(),
            revocations_lost: journal::lost(&self.shared),
            revocations_unkept: self.unkept(),
            logs_failing: self.logs_failing(),
            draining: self.shared.is_draining(),
            listeners: self.listeners.addresses(),
            generation: self.hand_over.generation,
            predecessor: self.predecessor(),
            successor: self.hand_over.waiting(),
            acme: self.acme.status(self.shared.clock.now()),
            redis: redis::status(&self.shared, self.sharing.as_ref()),
            key_sets: key_sets::status(&self.shared, &snapshot.policy),
            upstreams: snapshot
                .upstreams(&*self.shared.clock)
                .filter(|upstream| !upstream.is_healthy())
                .collect(),
        }
    }

    fn epoch(&self, tenant: &TenantName) -> Option<u32> {
        let policy = Arc::clone(&self.shared.snapshot.load().policy);
        policy
            .tenants
            .named(tenant.as_str())
            .map(|_| self.shared.revocations.epoch(tenant, self.shared.clock.now()))
    }

    fn reload(&self, wish: ReloadRequest) -> BoxFuture<'_, Result<ReloadReport, ControlError>> {
        if wish.dry_run {
            return Box::pin(reload::try_out(self, wish));
        }
        // Whoever reloads has looked. What octroi reloads by itself does not come through here.
        if let Some(step) = self.guarded_clock.accept() {
            tracing::warn!(
                step_seconds = step / 1000,
                "an operator confirmed the wall clock; it is believed from now on"
            );
        }
        Box::pin(reload::reload(self, Cause::Operator(wish)))
    }

    fn upgrade(&self, start: bool) -> BoxFuture<'_, Result<UpgradeReport, ControlError>> {
        Box::pin(self.hand_over_on_command(start))
    }

    fn sessions<'a>(
        &'a self,
        tenant: &'a TenantName,
        user: &'a UserId,
    ) -> BoxFuture<'a, Result<SessionsOfUser, ControlError>> {
        Box::pin(self.list_sessions(tenant, user))
    }

    fn keys(&self) -> Vec<KeyStatus> {
        session_keys::status(&self.shared)
    }

    fn bans(&self) -> Vec<Ban> {
        self.shared.bans.list(self.shared.clock.tick())
    }

    fn ban(&self, wish: BanRequest) -> Result<(), ControlError> {
        let policy = Arc::clone(&self.shared.snapshot.load().policy);
        // As for bans that come of offences: a proxy of ours is exempt where it is one, and at other
        // listeners it is a client.
        if policy.never_bans(wish.named) {
            let text =
                format!("{} is a trusted proxy of every listener, and those are never banned", wish.client);
            return Err(ControlError::Useless(text));
        }
        let (client, cause) = (wish.client, BanCause::Operator(wish.note.clone()));
        self.shared
            .bans
            .add(wish, self.shared.clock.tick())
            .map_err(|error| ControlError::Unavailable(error.to_string()))?;
        let banned = NodeChanged::Banned { client, cause: &cause };
        self.shared.emit(EventKind::Node(banned));
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
        let link = self.hand_over.to_predecessor.get()?;
        link.connections().map(|connections| Draining { pid: link.pid, connections })
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
        Some(UnkeptRevocations { count, error: error_chain(&error) })
    }

    /// Says which logs fail or lose lines.
    pub(super) fn logs_failing(&self) -> Vec<String> {
        self.shared
            .snapshot
            .load()
            .recorder
            .log()
            .trouble()
            .into_iter()
            .chain(self.process_log.trouble())
            .collect()
    }

    async fn hand_over_on_command(&self, start: bool) -> Result<UpgradeReport, ControlError> {
        let state = Arc::clone(&self.hand_over);
        let wish = if start { HandOver::Start } else { HandOver::Waiting };
        match tokio::task::spawn_blocking(move || hand_over(&state, wish)).await {
            Ok(Ok(Some(report))) => Ok(report),
            Ok(Ok(None)) => {
                Err(ControlError::Upgrade("no successor waits; start one: `octroi run --upgrade`".to_owned()))
            }
            Ok(Err(error)) => Err(ControlError::Upgrade(error_chain(&error))),
            Err(error) => Err(ControlError::Upgrade(error.to_string())),
        }
    }

    /// Returns how many sessions of a user are known: on all nodes, or here where the others cannot be asked
    /// at once.
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
            RevocationTarget::Session(_) => None,
            RevocationTarget::User(tenant, _) | RevocationTarget::Tenant(tenant) => Some(tenant),
        };
        // A tenant that was taken out has no live sessions; naming it is a typing mistake more often than
        // not.
        let longest = match tenant {
            Some(name) => match policy.tenants.named(name.as_str()) {
                Some(tenant) => tenant.sessions.absolute,
                None => return Err(ControlError::Unknown(format!("no tenant is named `{name}`"))),
            },
            None => policy.longest_session(),
        };
        let known = match &revocation.whose {
            RevocationTarget::User(tenant, user) => self.known_of(tenant, user).await,
            RevocationTarget::Session(_) | RevocationTarget::Tenant(_) => None,
        };
        let journal = Arc::clone(&self.shared.revocations);
        let whose = revocation.whose;
        let Ok(written) = timeout(DISK, journal.end_everywhere(&whose, at, at.plus(longest))).await else {
            self.shared.emit(EventKind::Node(NodeChanged::RevocationWritten(RevocationWrite::Failure)));
            tracing::error!("a revocation would not survive a restart: the disk does not answer");
            return Err(ControlError::Unavailable(
                "the disk of the revocation journal does not answer".to_owned(),
            ));
        };
        self.shared.emit(EventKind::Node(NodeChanged::RevocationWritten(match &written {
            Ok(_) => RevocationWrite::Success,
            Err(StoreError::NotShared(_)) => RevocationWrite::NotShared,
            Err(_) => RevocationWrite::Failure,
        })));
        let spread = match written {
            Ok(spread) => spread,
            Err(error @ StoreError::NotShared(_)) => {
                let why = error_chain(&error);
                tracing::error!(error = %why, "a revocation is in force and durable here, and other nodes do not know it yet");
                return Err(ControlError::NotShared(why));
            }
            Err(error) => {
                let why = error_chain(&error);
                tracing::error!(error = %why, "a revocation would not survive a restart");
                return Err(ControlError::Unavailable(why));
            }
        };
        let (tenant, user) = match &whose {
            RevocationTarget::Session(_) => (None, None),
            RevocationTarget::User(tenant, user) => (Some(tenant), Some(user)),
            RevocationTarget::Tenant(tenant) => (Some(tenant), None),
        };
        let change = SessionEvent::RevokedByOperator;
        self.shared.emit(EventKind::Session(&SessionChanged { tenant, user, change }));
        let replicas = policy
            .redis
            .as_ref()
            .filter(|_| self.sharing.is_some())
            .and_then(|redis| redis.replicas)
            .map(NonZeroU32::get);
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
