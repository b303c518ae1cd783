//! The answers that stores give. "Unavailable" is one of them: a rule of the tenant decides what it means,
//! never a default.

use std::{sync::Arc, time::Duration};

use super::UnixTime;

/// A quota store's answer to one charge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QuotaAnswer {
    /// The charge was taken.
    Taken {
        /// How many more charges would succeed now.
        remaining: u32,
        /// How long until the quota is full again.
        reset: Duration,
    },
    /// The quota is used up; nothing was charged.
    Exceeded {
        /// How long until one charge would succeed again.
        retry_after: Duration,
    },
}

/// The revocation store's answer about one session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RevocationAnswer {
    /// The session has not been ended.
    Live,
    /// This session was ended.
    Session,
    /// All sessions of its user that began up to this time were ended.
    User(UnixTime),
    /// All sessions of its tenant were ended: the tenant is in a later epoch.
    Tenant {
        /// The tenant's current epoch.
        epoch: u32,
    },
    /// This node knows of no end, but it has not heard from the other nodes for too long.
    Stale,
    /// The store no longer receives revocations.
    Unavailable,
}

/// What is known about a token that a CA requests to validate a host (RFC 8555, section 8.3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ChallengeAnswer {
    /// This host is not being validated.
    None,
    /// The host is being validated, with another token.
    OtherToken,
    /// The key authorization that the CA must read.
    Answer(Arc<str>),
}
