//! The parts of the running gateway, and the order in which a reload goes through them.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex},
};

use arc_swap::ArcSwap;

use super::{
    included::TenantIncludes,
    last_reload::LastReload,
    part::{
        Part, admin::AdminPart, certificates::CertificatesPart, key_sets::KeySetsPart,
        listeners::ListenersPart, process::ProcessPart, redis::RedisPart, rules::RulesPart,
        session_keys::SessionKeysPart, tenants::TenantsPart,
    },
};
use crate::{
    acme::AcmeStatusBoard,
    cluster::Replication,
    edge::{AdminTls, TlsState},
    gateway::Shared,
    hand_over::HandOverState,
    model::UnixTime,
    process::{BlockingWork, Listeners, Notifier, PolicyChanges, ReloadLock},
    telemetry::tracing::ProcessLog,
    upkeep::{CertificateRenewer, DenyFiles, Refusals, clock::GuardedClock},
};

/// The running gateway.
pub(super) struct App {
    pub(super) config: PathBuf,
    pub(super) shared: Arc<Shared>,
    pub(super) tls: Arc<ArcSwap<TlsState>>,
    /// That of the admin listener, where it has one.
    pub(super) admin_tls: Option<Arc<AdminTls>>,
    pub(super) listeners: Arc<Listeners>,
    pub(super) started: UnixTime,
    pub(super) last_reload: Mutex<LastReload>,
    /// The status of certificates by ACME.
    pub(super) acme: Arc<AcmeStatusBoard>,
    /// What the tenants in force were read from.
    pub(super) included: Mutex<TenantIncludes>,
    /// One reload, renewal or hand-over at a time.
    pub(super) reload_lock: Arc<ReloadLock>,
    /// Work that blocks on files, and how much of it may hang.
    pub(super) blocking: BlockingWork,
    /// The clock, and whether it is believed.
    pub(super) guarded_clock: Arc<GuardedClock>,
    /// The service manager.
    pub(super) notifier: Arc<Notifier>,
    /// The log of the process, for the lines that it lost.
    pub(super) process_log: ProcessLog,
    /// The hand-overs: from the process before this one, and to the one after it.
    pub(super) hand_over: Arc<HandOverState>,
    /// Shares revocations with other nodes.
    pub(super) sharing: Option<Arc<Replication>>,
    /// Files of TLS that cannot be used.
    pub(super) refusals: Arc<Refusals>,
    /// Reads certificates again.
    pub(super) certificates: Arc<CertificateRenewer>,
    /// Files of denied ranges, and which of them are refused.
    pub(super) deny_files: Arc<DenyFiles>,
    /// Wakes tasks when another policy comes into force.
    pub(super) policy_changes: PolicyChanges,
}

impl App {
    /// Lists the parts in the order in which each refuses, prepares and adopts. Each line says why it stands
    /// where it stands.
    pub(super) fn parts(&self) -> Vec<Box<dyn Part + '_>> {
        let shared = &self.shared;
        vec![
            // First what only a restart can change: it only refuses, and costs nothing.
            Box::new(ProcessPart),
            Box::new(RedisPart),
            Box::new(AdminPart),
            // Before the rules: a new tenant's host has its certificate, and sessions can be opened, when its
            // first request comes.
            Box::new(CertificatesPart {
                shared,
                tls: &self.tls,
                admin_tls: self.admin_tls.as_deref(),
                refusals: &self.refusals,
            }),
            Box::new(SessionKeysPart { shared }),
            // Before the listeners: the first connection of a new listener is judged by the new rules.
            Box::new(RulesPart { shared, blocking: &self.blocking }),
            Box::new(ListenersPart { listeners: &self.listeners, deny_files: &self.deny_files }),
            // Behind what fails: it asks issuers over the network, for seconds.
            Box::new(KeySetsPart { shared, trust: &self.blocking.trust }),
            // The last to prepare: it ends the sessions of tenants that are gone, on the disk, and nothing
            // undoes that.
            Box::new(TenantsPart { shared, included: &self.included, writing: &self.blocking.journal }),
        ]
    }
}
