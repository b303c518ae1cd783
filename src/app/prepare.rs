//! Reads a configuration and what its files hold, without a socket. `check`, start and reload all come
//! through here.

use std::{io, path::Path, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use tokio::runtime::Handle;

use crate::{
    admin,
    config::{self, ConfigErrors, Include, Loaded, Problem, Severity},
    edge::{AdminTls, Built, TlsError, TlsState},
    gateway::{Shared, Snapshot},
    model::{CONTROL_SOCKET, Clock, TenantName, error_chain},
    policy::Policy,
    process::Blocking,
    sessions::{AppendLogError, SessionLedger, StoreError},
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

/// A configuration with what its files hold, ready to be put into force.
#[derive(Debug)]
pub(super) struct Revision {
    /// The rules.
    pub(super) policy: Arc<Policy>,
    /// The certificates.
    pub(super) tls: TlsState,
    /// That of the admin listener, where it has one.
    pub(super) admin_tls: Option<AdminTls>,
    /// What is odd, yet allowed.
    pub(super) warnings: Vec<Problem>,
    /// The patterns of tenant files, and how many files each matches.
    pub(super) includes: Vec<Include>,
    /// Certificates and OCSP answers that cannot be used, and are left out.
    pub(super) out: Vec<TlsError>,
}

/// Loads a configuration and its certificates. Everything must hold.
pub(super) fn prepare(path: &Path, clock: &Arc<dyn Clock>) -> Result<Revision, PrepareError> {
    let loaded = config::load(path, clock.now(), &variable).map_err(PrepareError::Config)?;
    let policy = Arc::new(loaded.policy);
    let tls = TlsState::build(&policy, clock).map_err(PrepareError::Tls)?;
    with_admin(policy, Built { state: tls, out: Vec::new() }, loaded.warnings, loaded.includes)
}

/// Loads them for a start. Nothing else is in force, so a certificate that cannot be used is left out, and
/// its hosts with it.
pub(super) fn prepare_to_start(path: &Path, clock: &Arc<dyn Clock>) -> Result<Revision, PrepareError> {
    let Loaded { policy, warnings, includes, faults, .. } =
        config::load_to_start(path, clock.now(), &variable).map_err(PrepareError::Config)?;
    let policy = Arc::new(policy);
    let built = TlsState::build_to_start(&policy, clock).map_err(PrepareError::Tls);
    let prepared = built.and_then(|built| with_admin(policy, built, warnings, includes));
    // As `check` says it, with its place in the file and what would be right, where that is known.
    prepared
        .map_err(|error| if faults.is_empty() { error } else { prepare(path, clock).err().unwrap_or(error) })
}

/// Loads them where others are in force. What is left out already may stay left out; everything else must
/// hold.
pub(super) fn prepare_to_reload(
    path: &Path,
    clock: &Arc<dyn Clock>,
    before: &Policy,
    tls: &TlsState,
) -> Result<Revision, PrepareError> {
    let Loaded { policy, warnings, includes, faults, certificate_faults } =
        config::load_to_start(path, clock.now(), &variable).map_err(PrepareError::Config)?;
    let policy = Arc::new(policy);
    let is_out = |tenant: &TenantName| {
        before.tenants.named(tenant.as_str()).is_some_and(|tenant| tenant.has_unusable_trust())
    };
    if policy.tenants.iter().any(|tenant| tenant.has_unusable_trust() && !is_out(&tenant.name)) {
        return prepare(path, clock);
    }
    match tls.rebuild(before, &policy, clock) {
        Ok(built) if certificate_faults == 0 || !built.out.is_empty() => {
            with_admin(policy, built, warnings, includes)
        }
        // Said with its place in the file, where that is known.
        Ok(_) => prepare(path, clock),
        Err(errors) if faults.is_empty() => Err(PrepareError::Tls(errors)),
        Err(errors) => Err(prepare(path, clock).err().unwrap_or(PrepareError::Tls(errors))),
    }
}

/// What a restart would make of files that a reload refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AfterRestart {
    /// It would use all of them: somebody has mended them.
    Whole,
    /// It would do without some of them. What a start cannot use of its certificates is no reason not to.
    Without,
    /// It would not get past the configuration.
    Never,
}

impl AfterRestart {
    pub(super) const ALL: [Self; 3] = [Self::Whole, Self::Without, Self::Never];

    /// Says it.
    pub(super) const fn words(self) -> &'static str {
        match self {
            Self::Whole => {
                "a restart would leave nothing out any more: the files have been mended since, and `octroi reload` tries again"
            }
            Self::Without => "a restart would leave out what cannot be used",
            Self::Never => "a restart would end with exit 78",
        }
    }
}

/// Says what a restart would make of the files as they are. Nothing is made. Blocks.
pub(super) fn after_restart(path: &Path, clock: &Arc<dyn Clock>) -> AfterRestart {
    match config::load_to_start(path, clock.now(), &variable) {
        Err(_) => AfterRestart::Never,
        Ok(loaded) if loaded.faults.is_empty() && TlsState::judge(&loaded.policy, clock.now()).is_ok() => {
            AfterRestart::Whole
        }
        Ok(_) => AfterRestart::Without,
    }
}

/// Says whom a process that begins with the files as they are would shut out by its certificates, of those
/// whom this one serves. A configuration that this program cannot read may be for another one: then the
/// policy in force says where certificates lie.
fn worse_after_restart(
    path: &Path,
    clock: &Arc<dyn Clock>,
    in_force: &Policy,
    shown: &TlsState,
) -> Option<String> {
    let loaded = config::load_to_start(path, clock.now(), &variable).ok();
    let policy = loaded.as_ref().map_or(in_force, |loaded| &loaded.policy);
    let next = TlsState::build_to_start(policy, clock).ok()?.state;
    shown.worse(&next, policy, clock.now())
}

/// Says the same of the files as they are now. `None`, too, where that cannot be told: a file system that
/// does not answer may be what an upgrade is for. Blocks.
pub(super) fn worse_on_disk(
    config: &Path,
    shared: &Shared,
    tls: &ArcSwap<TlsState>,
    reading: &Blocking,
) -> Option<String> {
    let (path, clock) = (config.to_owned(), Arc::clone(&shared.clock));
    let (shown, in_force) = (tls.load_full(), Arc::clone(&shared.snapshot.load().policy));
    let work = move || worse_after_restart(&path, &clock, &in_force, &shown);
    Handle::current().block_on(reading.run(work)).unwrap_or_else(|error| {
        tracing::warn!(error = %error_chain(&error), "whether certificates on the disk are as good as those in force is not known");
        None
    })
}

fn with_admin(
    policy: Arc<Policy>,
    built: Built,
    warnings: Vec<Problem>,
    includes: Vec<Include>,
) -> Result<Revision, PrepareError> {
    let admin_tls = AdminTls::load(&policy).map_err(|error| PrepareError::Tls(vec![error]))?;
    let Built { state: tls, out } = built;
    Ok(Revision { policy, tls, admin_tls, warnings, includes, out })
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

/// Judges a configuration without starting or making anything: rules, keys, certificates, and what a start
/// would find on this machine.
pub fn check(path: &Path, clock: &dyn Clock) -> Result<Checked, PrepareError> {
    let now = clock.now();
    let loaded = config::load_to_check(path, now, &variable).map_err(PrepareError::Config)?;
    TlsState::judge(&loaded.policy, now).map_err(PrepareError::Tls)?;
    let Loaded { policy, mut warnings, .. } = loaded;
    if let Some(found) = journal(path, &policy.state_dir) {
        let is_error = found.severity == Severity::Error;
        warnings.push(found);
        if is_error {
            return Err(PrepareError::Config(ConfigErrors { problems: warnings, more: 0 }));
        }
    }
    Ok(Checked { warnings, tenants: policy.tenants.iter().count(), listeners: policy.listeners.len() })
}

/// How long it is waited for whether an octroi runs.
const KNOCKING: Duration = Duration::from_secs(1);

/// Judges the revocation journal as a start would, and touches nothing. One that an octroi has is its affair,
/// and on another machine there is none.
fn journal(config: &Path, state_dir: &Path) -> Option<Problem> {
    // Its queue is full: somebody is there.
    let is_there = |error: io::Error| error.kind() == io::ErrorKind::WouldBlock;
    if admin::connect(&state_dir.join(CONTROL_SOCKET), KNOCKING).map_or_else(is_there, |_| true) {
        return None;
    }
    const ELSEWHERE: &str = "this user on this machine; where octroi runs, it may be otherwise";
    let (severity, message, hint) = match SessionLedger::inspect(state_dir) {
        Ok(None) => return None,
        Ok(Some(why)) => {
            let hint = "put back from the backup what is gone; otherwise a start refuses sessions from before, and users sign in again";
            (Severity::Warning, format!("the revocation journal is lost: {why}"), Some(hint))
        }
        Err(error @ StoreError::Log(AppendLogError::Io { .. })) if !error.is_of_the_place() => {
            (Severity::Warning, error_chain(&error), Some(ELSEWHERE))
        }
        Err(error) => (Severity::Error, error_chain(&error), None),
    };
    let path = "server.state_dir".to_owned();
    Some(Problem { severity, path, hint: hint.map(str::to_owned), ..Problem::of_file(config, message) })
}

/// Looks a variable of the process's environment up.
pub fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// Opens the access log of a policy, or keeps the one that is open where nothing about it changed.
pub(super) fn log(policy: &Policy, before: Option<&Snapshot>) -> Result<Arc<AccessLog>, LogError> {
    match before {
        Some(before) if before.policy.access_log == policy.access_log => {
            Ok(Arc::clone(before.recorder.log()))
        }
        Some(before) => {
            Ok(Arc::new(AccessLog::open_behind(before.recorder.log(), &policy.access_log, &policy.node)?))
        }
        None => Ok(Arc::new(AccessLog::open(&policy.access_log, &policy.node)?)),
    }
}
