//! What became of fields that the client or the app sent: closed sets, each with its label.

/// What became of a cookie that an app set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AppCookie {
    /// It passed unchanged.
    Kept,
    /// `Secure`, `HttpOnly` or `SameSite` was added, or a `Domain` removed.
    Tightened,
    /// The tenant does not list it.
    Unlisted,
    /// It would shadow the session cookie.
    Session,
    /// It is larger than any that browsers keep.
    TooLarge,
}

impl AppCookie {
    /// Every outcome.
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
