//! What happened to sessions: a closed set, each with its label.

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
