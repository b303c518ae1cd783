//! What is counted beside requests: closed sets, each with its label.

/// What happened to a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SessionEvent {
    /// The app granted one.
    Granted,
    /// A token was renewed.
    Renewed,
    /// A session was ended by the app.
    Revoked,
    /// A session was ended because its user had too many.
    EndedByLimit,
    /// A session was ended because an old token of it came back.
    Reused,
    /// Sessions were ended through the admin API or the control socket.
    RevokedByOperator,
    /// A cookie that names no valid session was cleared.
    CookieCleared,
    /// A grant on a route, or with a status, that grants nothing.
    GrantIgnored,
    /// A grant that was malformed or not allowed.
    GrantRefused,
    /// A revocation on a route, or without a session, that revokes nothing.
    RevokeIgnored,
    /// A cookie whose name looks like the session cookie's was taken out.
    CookieLookalike,
}

impl SessionEvent {
    /// Every event.
    pub const ALL: [Self; 11] = [
        Self::Granted,
        Self::Renewed,
        Self::Revoked,
        Self::EndedByLimit,
        Self::Reused,
        Self::RevokedByOperator,
        Self::CookieCleared,
        Self::GrantIgnored,
        Self::GrantRefused,
        Self::RevokeIgnored,
        Self::CookieLookalike,
    ];

    /// Returns the label.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Granted => "granted",
            Self::Renewed => "renewed",
            Self::Revoked => "revoked",
            Self::EndedByLimit => "ended_by_limit",
            Self::Reused => "reused",
            Self::RevokedByOperator => "revoked_by_operator",
            Self::CookieCleared => "cookie_cleared",
            Self::GrantIgnored => "grant_ignored",
            Self::GrantRefused => "grant_refused",
            Self::RevokeIgnored => "revoke_ignored",
            Self::CookieLookalike => "cookie_lookalike",
        }
    }
}

/// What became of a cookie that an app set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AppCookie {
    /// It passed as it was.
    Kept,
    /// `Secure`, `HttpOnly` or `SameSite` was added, or a `Domain` taken off.
    Tightened,
    /// The tenant does not list it.
    Unlisted,
    /// It would shadow the session cookie.
    Session,
    /// It is larger than any that browsers keep.
    TooLarge,
}

impl AppCookie {
    /// Every fate.
    pub const ALL: [Self; 5] = [Self::Kept, Self::Tightened, Self::Unlisted, Self::Session, Self::TooLarge];

    /// Returns the label.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Kept => "kept",
            Self::Tightened => "tightened",
            Self::Unlisted => "dropped_unlisted",
            Self::Session => "dropped_session",
            Self::TooLarge => "dropped_too_large",
        }
    }
}

/// Why a request's field was not forwarded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HeaderDrop {
    /// Its name has an underscore, which some apps read as a hyphen.
    Underscore,
    /// It is one that only a gateway may set.
    Spoofed,
}

impl HeaderDrop {
    /// Every reason.
    pub const ALL: [Self; 2] = [Self::Underscore, Self::Spoofed];

    /// Returns the label.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Underscore => "header_underscore",
            Self::Spoofed => "header_spoofed",
        }
    }
}

/// What a quota said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum QuotaVerdict {
    /// The charge was taken.
    Allow,
    /// It was used up.
    Deny,
    /// It was used up, and observe mode let pass.
    Observe,
}

impl QuotaVerdict {
    /// Every verdict.
    pub const ALL: [Self; 3] = [Self::Allow, Self::Deny, Self::Observe];

    /// Returns the label.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Deny => "deny",
            Self::Observe => "observe",
        }
    }
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
    pub const ALL: [Self; 8] =
        [Self::Success, Self::Unreachable, Self::RateLimited, Self::Refused, Self::Challenge, Self::Timeout, Self::Unusable, Self::Storage];

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
