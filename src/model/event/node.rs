//! What changes of a node itself: bans, certificates, keys, the clock, the journal's disk.

use crate::model::{BanCause, ClientPrefix};

/// Something of this node changed.
#[derive(Clone, Copy, Debug)]
pub enum NodeChanged<'a> {
    /// A client was banned.
    Banned {
        /// Whom.
        client: ClientPrefix,
        /// Why.
        cause: &'a BanCause,
    },
    /// A revocation was to be written down.
    RevocationWritten(RevocationWrite),
    /// The wall clock was set.
    ClockStepped,
    /// Certificates changed on disk and were taken into force.
    CertificatesRenewed {
        /// How many.
        count: usize,
    },
    /// A file of TLS changed on disk and cannot be used.
    CertificateRefused,
    /// An order of a certificate ended.
    CertificateOrdered(OrderResult),
    /// The keys that an issuer publishes were fetched.
    KeySetFetched {
        /// The name of the set.
        set: &'a str,
        /// What came of it.
        result: FetchResult,
    },
}

/// What came of writing a revocation down. It is in force here whatever this says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RevocationWrite {
    /// It is on the disk, and where nodes share, Redis has it.
    Success,
    /// It is on the disk, and Redis does not have it yet.
    NotShared,
    /// The journal did not take it, or not in time: a restart forgets it.
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

/// What came of an order of a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum OrderResult {
    /// The certificate is there.
    Success,
    /// The CA cannot be reached, or says that it is not well.
    Unreachable,
    /// The CA takes no more orders for now.
    RateLimited,
    /// The CA refuses the account or the order.
    Refused,
    /// The CA did not find the host proven.
    Challenge,
    /// It was not done in time.
    Timeout,
    /// What came is no certificate that can be used.
    Unusable,
    /// It could not be kept.
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

/// What came of fetching the keys that an issuer publishes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FetchResult {
    /// They are there.
    Success,
    /// The issuer cannot be reached.
    Unreachable,
    /// It answers otherwise: an error, or a redirect.
    Refused,
    /// What came is no set of keys that is used.
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
