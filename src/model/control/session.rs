//! The sessions of a user, and how an operator ends them.

use std::time::Duration;

use crate::model::{ClientPrefix, SessionId, TenantName, UnixTime, UserId};

/// The sessions to end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RevocationTarget {
    /// One session.
    Session(SessionId),
    /// Every session that a user of a tenant has.
    User(TenantName, UserId),
    /// Every session of a tenant.
    Tenant(TenantName),
}

/// A request to end sessions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revocation {
    /// The sessions to end.
    pub whose: RevocationTarget,
    /// The time from which they are ended; now, if none is given.
    pub at: Option<UnixTime>,
    /// The reason, in the operator's words. It goes to the log; the journal does not keep it.
    pub note: Option<String>,
}

/// The result of a revocation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RevocationReport {
    /// On how many nodes it is in force; one, without a shared store.
    pub nodes: u32,
    /// Nodes that are alive and did not acknowledge it in time.
    pub silent: Vec<String>,
    /// How many nodes the configuration expects, if it says so.
    pub replicas: Option<u32>,
    /// How long it took until the revocation was in force and durable.
    pub took: Duration,
    /// When it takes effect.
    pub at: UnixTime,
    /// How many known sessions of the user it ends; `None` where no user was named.
    pub known: Option<usize>,
}

/// A session of a user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionStatus {
    /// Its identifier, for [`RevocationTarget::Session`].
    pub id: SessionId,
    /// When it was granted.
    pub granted: UnixTime,
    /// When it was last seen.
    pub seen: UnixTime,
    /// When it ends at the latest.
    pub ends: UnixTime,
    /// The client it was granted to, if known.
    pub client: Option<ClientPrefix>,
    /// How often its token was renewed, counting only renewed tokens that were presented.
    pub generation: u32,
    /// The node that saw it last.
    pub node: String,
}

/// The sessions of a user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionsOfUser {
    /// Those that are known, oldest first.
    pub sessions: Vec<SessionStatus>,
    /// Why sessions of other nodes are missing; `None` if they are included or there are no others.
    pub silence: Option<String>,
    /// Whether the policy accepts sessions that no store knows, from apps with their own login.
    pub has_foreign: bool,
}
