//! Quotas: how often a client, a user or a tenant may ask.

use crate::{
    model::{Mode, Origin, QuotaName},
    quota::Limit,
};

/// One quota. Its key is (tenant, quota, subject), so that one customer cannot use up another's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quota {
    /// Its name in logs, metrics and the `RateLimit` fields.
    pub name: QuotaName,
    /// A number that is unique in this policy: part of the key.
    pub id: u32,
    /// Where it is in the configuration.
    pub origin: Origin,
    /// What it counts by.
    pub by: QuotaBy,
    /// The limit.
    pub limit: Limit,
    /// Which requests it charges.
    pub charge: Charge,
    /// Whether it refuses or only records.
    pub mode: Mode,
}

/// What a quota counts by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum QuotaBy {
    /// Each client: an IPv4 address or an IPv6 /64.
    Client,
    /// All clients of one route together.
    Route,
    /// The tenant as a whole.
    Tenant,
    /// Each user; a request without a session counts by its client.
    User,
    /// Each session; a request without one counts by its client.
    Session,
}

impl QuotaBy {
    /// Returns the word in the configuration.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Route => "route",
            Self::Tenant => "tenant",
            Self::User => "user",
            Self::Session => "session",
        }
    }

    /// Says whether it is charged before the session check, so that it bounds token guessing.
    pub const fn is_before_session(self) -> bool {
        match self {
            Self::Client | Self::Route => true,
            Self::Tenant | Self::User | Self::Session => false,
        }
    }
}

/// What a quota charges.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Charge {
    /// Every request.
    #[default]
    Requests,
    /// Failures: charged before the request, refunded on success (a grant, or a status under 400 where the
    /// route grants nothing).
    Failures,
}
