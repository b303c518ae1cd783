//! What is noted of a session when it begins, and the rules that it begins under.

use std::time::Duration;

use crate::{
    model::{ClientPrefix, SessionId, TenantName, UnixTime, UserId},
    policy::OnStale,
    session::UserLimit,
};

/// What is noted of a session when it begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GrantRecord {
    /// Its identifier.
    pub id: SessionId,
    /// Whose user.
    pub tenant: TenantName,
    /// Who signed in.
    pub user: UserId,
    /// When.
    pub granted: UnixTime,
    /// Its absolute end.
    pub ends: UnixTime,
    /// Its tenant's epoch.
    pub epoch: u32,
    /// From where; the default: not known.
    pub client: ClientPrefix,
}

/// The rules that a session begins under.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GrantLimits {
    /// How many its user may have.
    pub limit: Option<UserLimit>,
    /// How long one may rest: behind that it no longer counts.
    pub idle: Duration,
    /// How long one may live: what ends one too many holds at least so long.
    pub absolute: Duration,
    /// What to do where those on other nodes cannot be counted: none, or by what this node knows.
    pub on_stale: OnStale,
}
