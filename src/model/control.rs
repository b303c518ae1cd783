//! What an operator can ask of a running octroi, whoever carries the question.

use std::time::Duration;

use super::{Ban, BanWish, BoxFuture, ClientPrefix, SessionId, TenantName, UnixTime, UpstreamName, UserId};

/// The control socket's name in the state directory.
pub const CONTROL_SOCKET: &str = "control.sock";

/// The name of the socket there at which a successor asks.
pub const UPGRADE_SOCKET: &str = "upgrade.sock";

/// What a principal may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Reads status.
    Viewer,
    /// Reads status, reloads, revokes, bans.
    Operator,
    /// Reads status and records.
    Auditor,
}

impl Role {
    /// Returns the name that the configuration uses.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Operator => "operator",
            Self::Auditor => "auditor",
        }
    }
}

/// A named operator, proven.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Principal {
    /// The configured name, or `local:<uid>` over the control socket.
    pub name: String,
    /// What they may do.
    pub roles: Vec<Role>,
}

impl Principal {
    /// Says whether they may do what needs the role. Every principal may read status.
    pub fn may(&self, role: Role) -> bool {
        role == Role::Viewer || self.roles.contains(&role)
    }
}

/// Whose sessions to end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Revoked {
    /// One session.
    Session(SessionId),
    /// Every session that a user of a tenant has.
    User(TenantName, UserId),
    /// Every session of a tenant.
    Tenant(TenantName),
}

/// A wish to end sessions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revocation {
    /// Whose.
    pub whose: Revoked,
    /// When: now, unless a later time is named.
    pub at: Option<UnixTime>,
    /// Why, in the operator's words; kept in the journal's neighbour, the log.
    pub note: Option<String>,
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RevocationReport {
    /// On how many nodes it is in force: one, without a shared store.
    pub nodes: u32,
    /// Nodes that live and did not say in time that it is in force there.
    pub silent: Vec<String>,
    /// How many nodes there should be, where the configuration says so.
    pub replicas: Option<u32>,
    /// How long it took until it was in force and durable.
    pub took: Duration,
    /// When it takes effect.
    pub at: UnixTime,
    /// How many sessions of the user were known that it ends; nothing where no user is named.
    pub known: Option<usize>,
}

/// What came of a hand-over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UpgradeReport {
    /// The process that handed over, and drains.
    pub predecessor: u32,
    /// The process that serves.
    pub successor: u32,
    /// How long it took from the first socket that was handed over until the successor served.
    pub took: Duration,
}

/// A process that has handed over, and drains.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Draining {
    /// The process.
    pub pid: u32,
    /// Connections that it still has.
    pub connections: u64,
}

/// How a running octroi is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// The program's version.
    pub version: &'static str,
    /// The node's name.
    pub node: String,
    /// The process.
    pub pid: u32,
    /// When it started.
    pub started: UnixTime,
    /// The policy's revision: a digest of its files.
    pub revision: String,
    /// When the policy was loaded.
    pub loaded: UnixTime,
    /// What the last reload said: nothing if it was well.
    pub reload_error: Option<String>,
    /// Files of TLS on disk that cannot be used, each with the reason; what was read before them is in force.
    pub tls_refused: Vec<String>,
    /// CAs and revocation lists of client certificates that have ended, by tenant, and certificates of ours: whom they concern is shut out.
    pub lapsed: Vec<String>,
    /// What is odd about the chains that certificates are shown with.
    pub chains: Vec<String>,
    /// How the wall clock was set, while it is not believed.
    pub clock: Option<ClockStatus>,
    /// Tenants in force.
    pub tenants: usize,
    /// Who was there before a start with patterns of tenant files that fitted nothing, as long as nobody has confirmed it.
    pub tenants_missing: Option<MissingTenants>,
    /// Connections open now.
    pub connections: u64,
    /// Revocations in force.
    pub revocations: usize,
    /// When it was found that the revocation journal was lost, and nobody has accepted that.
    pub revocations_lost: Option<UnixTime>,
    /// What this process ended and could not write down.
    pub revocations_unkept: Option<UnkeptRevocations>,
    /// Logs that fail or lose lines, each with the reason.
    pub logs_failing: Vec<String>,
    /// Whether it is draining.
    pub draining: bool,
    /// The listeners, by name and bound address.
    pub listeners: Vec<(String, String)>,
    /// How many processes have handed over to the next, this one counted.
    pub generation: u32,
    /// The predecessor, while it drains.
    pub predecessor: Option<Draining>,
    /// The process that waits to take over.
    pub successor: Option<u32>,
    /// Where certificates by ACME stand, if any are wanted.
    pub acme: Option<AcmeStatus>,
    /// How the store that nodes share does, if there is one.
    pub redis: Option<RedisStatus>,
    /// Where the keys that issuers publish stand.
    pub key_sets: Vec<KeySetStatus>,
    /// Upstreams with which something is wrong.
    pub upstreams: Vec<UpstreamStatus>,
}

/// Tenants that a start did not find, because a pattern of tenant files fitted nothing. They are not served, and keep their sessions until
/// somebody confirms that they are gone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MissingTenants {
    /// The patterns.
    pub patterns: Vec<String>,
    /// When it started so.
    pub since: UnixTime,
    /// How many were there before.
    pub count: usize,
    /// The first of them, for people.
    pub named: String,
}

/// Revocations that are in force in memory and not on the disk: a restart forgets them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnkeptRevocations {
    /// How many; 0: the journal cannot be written, and nothing is lost by it yet.
    pub count: u64,
    /// Why.
    pub error: String,
}

/// How an upstream does, as far as requests have found out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpstreamStatus {
    /// Its name.
    pub name: UpstreamName,
    /// Whether octets came behind the answer to a request with a body: it does not read bodies.
    pub bodies_unread: bool,
    /// Its servers.
    pub servers: Vec<ServerStatus>,
}

impl UpstreamStatus {
    /// Says whether nothing is wrong.
    pub fn is_well(&self) -> bool {
        !self.bodies_unread && self.servers.iter().all(|server| server.aside.is_none() && server.failing.is_none())
    }

    /// Says whether none of its servers takes connections.
    pub fn is_down(&self) -> bool {
        !self.servers.is_empty() && self.servers.iter().all(|server| server.aside.is_some() || server.failing.is_some())
    }
}

/// How a server of an upstream does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerStatus {
    /// Its address.
    pub address: String,
    /// How it is left aside, if it is.
    pub aside: Option<AsideStatus>,
    /// How it fails, where it is the only one and is never left aside.
    pub failing: Option<FailingStatus>,
}

/// The only server of an upstream, while it takes no connections. Each request tries it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FailingStatus {
    /// Since when.
    pub since: UnixTime,
    /// How often it was tried in vain.
    pub failures: u32,
    /// Why, the last time.
    pub error: String,
}

/// A server that is left aside because it takes no connections.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AsideStatus {
    /// Since when.
    pub since: UnixTime,
    /// When a request tries it again.
    pub next: UnixTime,
    /// How often it was tried in vain.
    pub failures: u32,
    /// Why, the last time.
    pub error: String,
}

/// A wall clock that was set and is not believed: nobody signs in. Times are those that are believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClockStatus {
    /// What the wall clock is ahead, in milliseconds; behind, if it is negative.
    pub step_millis: i64,
    /// The time that is believed.
    pub now: UnixTime,
    /// When it was set, as far as it was seen.
    pub since: UnixTime,
    /// When it is believed by itself, unless it is set once more.
    pub until: UnixTime,
}

/// How the store that nodes share does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RedisStatus {
    /// Whether there is a connection.
    pub is_connected: bool,
    /// Why there is none, or what it refuses.
    pub trouble: Option<String>,
    /// Whether revocations are shared through it.
    pub is_shared: bool,
    /// Whether it is known what other nodes revoked.
    pub is_fresh: bool,
    /// When that was last known.
    pub synced: Option<UnixTime>,
    /// Revocations of this node that it may not have yet.
    pub pending: u64,
    /// Which nodes were seen there, since the start of the process.
    pub nodes: Vec<NodeStatus>,
    /// How many there should be, where the configuration says so.
    pub replicas: Option<u32>,
    /// Whether another process shares under this node's name.
    pub is_namesake: bool,
}

/// A node that shares revocations.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeStatus {
    /// Its name.
    pub name: String,
    /// When it was last heard of.
    pub heard: UnixTime,
    /// Whether it lived when Redis was last asked.
    pub lives: bool,
}

/// Where the keys stand that an issuer publishes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeySetStatus {
    /// Its name in the configuration.
    pub set: String,
    /// How many keys count now; none: tokens of this issuer are refused.
    pub keys: usize,
    /// How many of the set's keys are of no use.
    pub ignored: usize,
    /// When it was last had.
    pub fetched: Option<UnixTime>,
    /// Why it could not be had the last time.
    pub error: Option<String>,
    /// When it is fetched again.
    pub next: UnixTime,
}

/// Where certificates by ACME stand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AcmeStatus {
    /// How many are wanted.
    pub wanted: usize,
    /// How many of them are not there.
    pub missing: usize,
    /// How many could not be had the last time.
    pub failing: usize,
    /// When the next order is due.
    pub next: UnixTime,
    /// The first of those that are missing or could not be had.
    pub troubles: Vec<AcmeTrouble>,
}

/// A certificate by ACME that is missing, or could not be had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AcmeTrouble {
    /// What it is called in logs and under the state folder.
    pub certificate: String,
    /// Whether none is in use.
    pub missing: bool,
    /// What went wrong the last time; nothing if it was not tried yet.
    pub error: Option<String>,
    /// When it is tried again.
    pub next: UnixTime,
}

/// A session key of the ring, and how it is used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyStatus {
    /// The number that tokens carry.
    pub id: u16,
    /// What it does now.
    pub role: KeyRole,
    /// Its file in the key folder; nothing: it is listed in the configuration.
    pub file: Option<String>,
    /// Digits that nodes with the same secret share, and that tell nothing of it.
    pub check: String,
    /// Since when this node knows it.
    pub since: UnixTime,
    /// When it was last the one that mints here.
    pub minted: Option<UnixTime>,
    /// When it last opened a session that held here.
    pub opened: Option<UnixTime>,
    /// How many requests it did that for, since the start of the process.
    pub uses: u64,
    /// From when on no session that it sealed can be alive, as far as this node knows; nothing while it mints.
    pub retire_from: Option<UnixTime>,
}

/// What a session key does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyRole {
    /// It makes new tokens, and opens.
    Mints,
    /// It opens those that are there.
    Opens,
    /// It opens, is newer than the one that mints, and will take its place: at a time, or when somebody says so.
    Waits(Option<UnixTime>),
}

impl KeyRole {
    /// Returns the word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Mints => "mints",
            Self::Opens => "opens",
            Self::Waits(_) => "waits",
        }
    }
}

/// A session that a user has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionStatus {
    /// Its identifier: what [`Revoked::Session`] takes.
    pub id: SessionId,
    /// When it was granted.
    pub granted: UnixTime,
    /// When it was last seen.
    pub seen: UnixTime,
    /// When it ends in any case.
    pub ends: UnixTime,
    /// From where it was granted; nothing: not known.
    pub client: Option<ClientPrefix>,
    /// How often its token was renewed, as far as the new one was presented.
    pub generation: u32,
    /// The node that saw it last.
    pub node: String,
}

/// The sessions that a user has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionsOfUser {
    /// Those that are known, the oldest first.
    pub sessions: Vec<SessionStatus>,
    /// Why those of other nodes are not among them; nothing: they are, or there are no others.
    pub silence: Option<String>,
    /// Whether the policy takes sessions that no store knows: of apps with a login of their own.
    pub has_foreign: bool,
}

/// A wish for another revision.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReloadWish {
    /// Whether many tenants may go at once, and their sessions with them.
    pub allow_removal: bool,
    /// Whether only to say what would come of it.
    pub dry_run: bool,
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReloadReport {
    /// The revision in force; of a dry run, the one that would be.
    pub revision: String,
    /// What is odd about it, yet allowed.
    pub warnings: Vec<String>,
}

/// Why a wish was not granted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ControlError {
    /// The new configuration is bad; the old one stays.
    #[error("{0}")]
    Config(String),
    /// A name that the policy does not have.
    #[error("{0}")]
    Unknown(String),
    /// Nothing was handed over.
    #[error("{0}")]
    Upgrade(String),
    /// It would have no effect, or another one than is wished for: why.
    #[error("{0}")]
    Useless(String),
    /// It is done here, and other nodes do not know it yet.
    #[error("{0}")]
    NotShared(String),
    /// A store cannot keep it.
    #[error("{0}")]
    Unavailable(String),
}

/// The one set of levers. `app` implements it; the admin API and the CLI pull it.
pub trait Control: Send + Sync {
    /// Tells how it is.
    fn status(&self) -> Status;
    /// Loads the configuration again: all of it or nothing.
    fn reload(&self, wish: ReloadWish) -> BoxFuture<'_, Result<ReloadReport, ControlError>>;
    /// Returns the epoch that a tenant's sessions are minted in; nothing if the policy has no such tenant.
    fn epoch(&self, tenant: &TenantName) -> Option<u32>;
    /// Hands over to a successor; starts one where none waits, if `start` says so. Returns once it serves.
    fn upgrade(&self, start: bool) -> BoxFuture<'_, Result<UpgradeReport, ControlError>>;
    /// Returns the bans in force, those that end last first.
    fn bans(&self) -> Vec<Ban>;
    /// Refuses a client before the handshake for a while.
    fn ban(&self, wish: BanWish) -> Result<(), ControlError>;
    /// Lifts whatever ban a client has. Says whether it was banned.
    fn unban(&self, client: ClientPrefix) -> bool;
    /// Returns the sessions of a user that a store knows.
    fn sessions<'a>(&'a self, tenant: &'a TenantName, user: &'a UserId) -> BoxFuture<'a, Result<SessionsOfUser, ControlError>>;
    /// Returns the session keys in force, in the order of the ring.
    fn keys(&self) -> Vec<KeyStatus>;
    /// Ends sessions; returns once that is in force on this node and durable, and on other nodes or they were waited for.
    fn revoke(&self, revocation: Revocation) -> BoxFuture<'_, Result<RevocationReport, ControlError>>;
}
