//! What stores answer. "Unavailable" is an answer: what it means is a rule, never a default.

use std::{sync::Arc, time::Duration};

use super::UnixTime;

/// What a quota store says of one charge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QuotaAnswer {
    /// The charge was taken.
    Taken {
        /// How many more would be taken now.
        remaining: u32,
        /// When the quota is whole again.
        reset: Duration,
    },
    /// The quota is used up; nothing was taken.
    Exceeded {
        /// When one charge would be taken again.
        retry_after: Duration,
    },
}

/// What the revocation store says of one session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RevocationAnswer {
    /// Nobody ended it.
    Live,
    /// This session was ended.
    Session,
    /// All sessions of its user that signed in up to this time were ended.
    User(UnixTime),
    /// All sessions of its tenant were ended: the tenant is in a later epoch.
    Tenant {
        /// The tenant's epoch now.
        epoch: u32,
    },
    /// Nobody ended it as far as is known, and what other nodes ended has not been heard of for too long.
    Stale,
    /// The store no longer learns who is ended.
    Unavailable,
}

/// What is known of a token that a CA asks for to prove a host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ChallengeAnswer {
    /// Nobody proves this host now.
    None,
    /// The host is being proven, with another token.
    OtherToken,
    /// What the CA must read.
    Answer(Arc<str>),
}
