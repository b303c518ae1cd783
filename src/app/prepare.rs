//! Policy → parts, without a socket. `check`, start and reload all come through here.

use std::{path::Path, sync::Arc};

use crate::{
    config::{self, ConfigErrors, Include, Loaded, Problem},
    edge::{AdminTls, Built, TlsError, TlsState},
    gateway::Snapshot,
    model::{Clock, TenantName},
    policy::Policy,
    telemetry::{AccessLog, LogError},
};

/// Why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PrepareError {
    /// It has mistakes.
    #[error(transparent)]
    Config(ConfigErrors),
    /// A certificate cannot be used.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
    Tls(Vec<TlsError>),
    /// A log cannot be written.
    #[error(transparent)]
    Log(#[from] LogError),
}

/// A configuration, ready to serve.
#[derive(Debug)]
pub struct Prepared {
    /// The rules.
    pub policy: Arc<Policy>,
    /// The certificates.
    pub tls: TlsState,
    /// That of the admin listener, where it has one.
    pub admin_tls: Option<AdminTls>,
    /// What is odd, yet allowed.
    pub warnings: Vec<Problem>,
    /// The patterns of tenant files, and how many files each fits.
    pub includes: Vec<Include>,
    /// Certificates and OCSP answers that cannot be used, and are left out.
    pub out: Vec<TlsError>,
}

/// Loads a configuration and its certificates. Everything must hold.
pub fn prepare(path: &Path, clock: &Arc<dyn Clock>) -> Result<Prepared, PrepareError> {
    let loaded = config::load(path, clock.now(), &variable).map_err(PrepareError::Config)?;
    let policy = Arc::new(loaded.policy);
    let tls = TlsState::build(&policy, clock).map_err(PrepareError::Tls)?;
    with_admin(policy, Built { state: tls, out: Vec::new() }, loaded.warnings, loaded.includes)
}

/// Loads them for a start, which has nothing else to serve: a certificate that cannot be used is left out, and its hosts with it.
pub(super) fn prepare_to_start(path: &Path, clock: &Arc<dyn Clock>) -> Result<Prepared, PrepareError> {
    let Loaded { policy, warnings, includes, .. } = config::load_to_start(path, clock.now(), &variable).map_err(PrepareError::Config)?;
    let policy = Arc::new(policy);
    let built = TlsState::build_to_start(&policy, clock).map_err(PrepareError::Tls)?;
    with_admin(policy, built, warnings, includes)
}

/// Loads them where others are in force: what is left out already may stay so, and keeps nobody from a change. Everything else must hold.
pub(super) fn prepare_to_reload(
    path: &Path,
    clock: &Arc<dyn Clock>,
    (before, tls): (&Policy, &TlsState),
) -> Result<Prepared, PrepareError> {
    let Loaded { policy, warnings, includes, faults, certificate_faults } =
        config::load_to_start(path, clock.now(), &variable).map_err(PrepareError::Config)?;
    let policy = Arc::new(policy);
    let is_out = |tenant: &TenantName| before.tenants.named(tenant.as_str()).is_some_and(|tenant| tenant.has_unusable_trust());
    if policy.tenants.iter().any(|tenant| tenant.has_unusable_trust() && !is_out(&tenant.name)) {
        return prepare(path, clock);
    }
    match tls.rebuild(before, &policy, clock) {
        Ok(built) if certificate_faults == 0 || !built.out.is_empty() => with_admin(policy, built, warnings, includes),
        // Said with its place in the file, where that is known.
        Ok(_) => prepare(path, clock),
        Err(errors) if faults.is_empty() => Err(PrepareError::Tls(errors)),
        Err(errors) => Err(prepare(path, clock).err().unwrap_or(PrepareError::Tls(errors))),
    }
}

fn with_admin(
    policy: Arc<Policy>,
    Built { state: tls, out }: Built,
    warnings: Vec<Problem>,
    includes: Vec<Include>,
) -> Result<Prepared, PrepareError> {
    let admin_tls = AdminTls::load(&policy).map_err(|error| PrepareError::Tls(vec![error]))?;
    Ok(Prepared { policy, tls, admin_tls, warnings, includes, out })
}

/// A configuration that holds.
#[derive(Debug)]
pub struct Checked {
    /// What is odd, yet allowed.
    pub warnings: Vec<Problem>,
    /// How many tenants it has.
    pub tenants: usize,
    /// How many listeners.
    pub listeners: usize,
}

/// Judges a configuration without starting or making anything: rules, keys, certificates, and what a start would find on this machine.
pub fn check(path: &Path, clock: &dyn Clock) -> Result<Checked, PrepareError> {
    let now = clock.now();
    let loaded = config::load_to_check(path, now, &variable).map_err(PrepareError::Config)?;
    TlsState::judge(&loaded.policy, now).map_err(PrepareError::Tls)?;
    let Loaded { policy, warnings, .. } = loaded;
    Ok(Checked { warnings, tenants: policy.tenants.iter().count(), listeners: policy.listeners.len() })
}

/// Looks a variable of the process's environment up.
pub fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// Opens the access log of a policy, or keeps the one that is open where nothing about it changed.
pub(super) fn log(policy: &Policy, before: Option<&Snapshot>) -> Result<Arc<AccessLog>, LogError> {
    match before {
        Some(before) if before.policy.access_log == policy.access_log => Ok(Arc::clone(&before.log)),
        Some(before) => Ok(Arc::new(AccessLog::open_behind(&before.log, &policy.access_log, &policy.node)?)),
        None => Ok(Arc::new(AccessLog::open(&policy.access_log, &policy.node)?)),
    }
}
