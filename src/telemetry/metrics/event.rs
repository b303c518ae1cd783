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
    pub const ALL: [Self; 9] = [
        Self::Granted,
        Self::Renewed,
        Self::Revoked,
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
            Self::RevokedByOperator => "revoked_by_operator",
            Self::CookieCleared => "cookie_cleared",
            Self::GrantIgnored => "grant_ignored",
            Self::GrantRefused => "grant_refused",
            Self::RevokeIgnored => "revoke_ignored",
            Self::CookieLookalike => "cookie_lookalike",
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
    /// Returns the label.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Deny => "deny",
            Self::Observe => "observe",
        }
    }
}
