//! What an operator can ask of a running octroi, over the admin API or the command line.

mod key;
mod session;
mod status;
mod upstream;

use std::time::Duration;

use super::{Ban, BanRequest, BoxFuture, ClientPrefix, TenantName, UserId};

pub use key::{KeyRole, KeyStatus};
pub use session::{Revocation, RevocationReport, RevocationTarget, SessionStatus, SessionsOfUser};
pub use status::{
    AcmeStatus, AcmeTrouble, ClockStatus, Draining, KeySetStatus, LostRevocations, MissingTenants,
    NodeStatus, RedisStatus, Status, UnkeptRevocations,
};
pub use upstream::{AsideStatus, FailingStatus, ServerStatus, UpstreamStatus};

/// The control socket's name in the state directory.
pub const CONTROL_SOCKET: &str = "control.sock";

/// The name of the revocation journal in the state directory. Where it exists, octroi has served.
pub const JOURNAL: &str = "revocations.journal";

/// The name of the file beside it that records what the journal held.
pub const BEGAN: &str = "revocations.began";

/// The name of the socket there on which a successor asks to take over.
pub const UPGRADE_SOCKET: &str = "upgrade.sock";

/// What a principal may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Reads status.
    Viewer,
    /// Reads status, reloads, revokes, bans.
    Operator,
    /// Reads status and audit records.
    Auditor,
}

impl Role {
    /// Returns the name in the configuration.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Operator => "operator",
            Self::Auditor => "auditor",
        }
    }
}

/// An authenticated operator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Principal {
    /// The configured name, or `local:<uid>` over the control socket.
    pub name: String,
    /// Its roles.
    pub roles: Vec<Role>,
}

impl Principal {
    /// Says whether the principal may do what needs this role. Every principal may read status.
    pub fn may(&self, role: Role) -> bool {
        role == Role::Viewer || self.roles.contains(&role)
    }
}

/// The result of a hand-over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UpgradeReport {
    /// The process that handed over and now drains.
    pub predecessor: u32,
    /// The process that serves now.
    pub successor: u32,
    /// The time from handing over the first socket until the successor served.
    pub took: Duration,
}

/// A request to load the configuration again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReloadRequest {
    /// Whether many tenants may be removed at once, and their sessions with them.
    pub allow_removal: bool,
    /// Whether only to report what would happen.
    pub dry_run: bool,
}

/// The result of a reload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReloadReport {
    /// The revision in force; in a dry run, the one that would be.
    pub revision: String,
    /// What is odd about it, yet allowed.
    pub warnings: Vec<String>,
}

/// Why a request failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ControlError {
    /// The new configuration is invalid; the old one stays.
    #[error("{0}")]
    Config(String),
    /// A name that the policy does not have.
    #[error("{0}")]
    Unknown(String),
    /// Nothing was handed over.
    #[error("{0}")]
    Upgrade(String),
    /// It would have no effect, or not the intended one: why.
    #[error("{0}")]
    Useless(String),
    /// It is in force here, but other nodes do not know it yet.
    #[error("{0}")]
    NotShared(String),
    /// A store cannot record it.
    #[error("{0}")]
    Unavailable(String),
    /// The process handed over while the request waited: the process that serves now must be asked.
    #[error(
        "another process serves by now: this one handed over meanwhile, and its successor read the configuration when it began"
    )]
    HandedOver,
}

/// Everything an operator can do. `app` implements it; the admin API and the command line call it.
pub trait Control: Send + Sync {
    /// Returns the status.
    fn status(&self) -> Status;
    /// Loads the configuration again: all of it or nothing.
    fn reload(&self, request: ReloadRequest) -> BoxFuture<'_, Result<ReloadReport, ControlError>>;
    /// Returns the epoch that a tenant's sessions are minted in; `None` if the policy has no such tenant.
    fn epoch(&self, tenant: &TenantName) -> Option<u32>;
    /// Hands over to a successor; starts one if none waits and `start` says so. Returns once it serves.
    fn upgrade(&self, start: bool) -> BoxFuture<'_, Result<UpgradeReport, ControlError>>;
    /// Returns the bans in force, the earliest to end last.
    fn bans(&self) -> Vec<Ban>;
    /// Refuses a client for a while, before the handshake.
    fn ban(&self, request: BanRequest) -> Result<(), ControlError>;
    /// Lifts a client's ban. Says whether there was one.
    fn unban(&self, client: ClientPrefix) -> bool;
    /// Returns the known sessions of a user.
    fn sessions<'a>(
        &'a self,
        tenant: &'a TenantName,
        user: &'a UserId,
    ) -> BoxFuture<'a, Result<SessionsOfUser, ControlError>>;
    /// Returns the session keys in force, in the order of the ring.
    fn keys(&self) -> Vec<KeyStatus>;
    /// Ends sessions. Returns once that is durable and in force on this node, and on other nodes or the wait
    /// for them has ended.
    fn revoke(&self, revocation: Revocation) -> BoxFuture<'_, Result<RevocationReport, ControlError>>;
}
