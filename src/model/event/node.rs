//! Changes of the node itself: bans, certificates, key sets, the clock, the journal.

use crate::model::{BanCause, ClientPrefix};

/// The state of this node changed.
#[derive(Clone, Copy, Debug)]
pub enum NodeChanged<'a> {
    /// A client was banned.
    Banned {
        /// The client's prefix.
        client: ClientPrefix,
        /// Why.
        cause: &'a BanCause,
    },
    /// An attempt to record a revocation ended.
    RevocationWritten(RevocationWrite),
    /// The wall clock was stepped.
    ClockStepped,
    /// Certificates changed on disk and were loaded.
    CertificatesRenewed {
        /// How many.
        count: usize,
    },
    /// A TLS file changed on disk and is invalid.
    CertificateRefused,
    /// An ACME order ended.
    CertificateOrdered(OrderResult),
    /// A fetch of an issuer's key set ended.
    KeySetFetched {
        /// The name of the set.
        set: &'a str,
        /// The result.
        result: FetchResult,
    },
}

/// The result of recording a revocation. It is in force on this node in any case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RevocationWrite {
    /// It is on disk and, where nodes share sessions, in Redis.
    Success,
    /// It is on disk and not yet in Redis.
    NotShared,
    /// It is not in the journal, or not in time: a restart loses it.
    Failure,
}

impl RevocationWrite {
    /// Every result.
    pub const ALL: [Self; 3] = [Self::Success, Self::NotShared, Self::Failure];

    /// Returns the label.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::NotShared => "not_shared",
            Self::Failure => "failure",
        }
    }
}

/// The result of an ACME order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum OrderResult {
    /// The certificate was issued.
    Success,
    /// The CA cannot be reached, or reports a server error.
    Unreachable,
    /// The CA limits the rate of orders.
    RateLimited,
    /// The CA refuses the account or the order.
    Refused,
    /// The CA did not accept the challenge.
    Challenge,
    /// The order did not end in time.
    Timeout,
    /// The issued certificate cannot be used.
    Unusable,
    /// The certificate could not be stored.
    Storage,
}

impl OrderResult {
    /// Every result.
    pub const ALL: [Self; 8] = [
        Self::Success,
        Self::Unreachable,
        Self::RateLimited,
        Self::Refused,
        Self::Challenge,
        Self::Timeout,
        Self::Unusable,
        Self::Storage,
    ];

    /// Returns the label.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Unreachable => "unreachable",
            Self::RateLimited => "rate_limited",
            Self::Refused => "refused",
            Self::Challenge => "challenge",
            Self::Timeout => "timeout",
            Self::Unusable => "unusable",
            Self::Storage => "storage",
        }
    }
}

/// The result of fetching an issuer's key set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FetchResult {
    /// The key set was fetched.
    Success,
    /// The issuer cannot be reached.
    Unreachable,
    /// The issuer answers with an error or a redirect.
    Refused,
    /// The answer is not a usable key set.
    Unusable,
}

impl FetchResult {
    /// Every result.
    pub const ALL: [Self; 4] = [Self::Success, Self::Unreachable, Self::Refused, Self::Unusable];

    /// Returns the label.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Unreachable => "unreachable",
            Self::Refused => "refused",
            Self::Unusable => "unusable",
        }
    }
}
