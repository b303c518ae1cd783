//! A valid session, and its source.

use std::fmt;

use crate::session::{Claims, Purpose, foreign::Format};

/// A session that is valid now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// The claims of the token.
    pub claims: Claims,
    /// Its source.
    pub source: Source,
}

/// The source of a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// This gateway.
    Octroi {
        /// Where its token was found.
        purpose: Purpose,
        /// The master key that it was sealed with.
        key: u16,
    },
    /// An app with its own login.
    Foreign {
        /// The format of its sessions.
        format: Format,
        /// The key that it was signed with.
        key: Box<str>,
        /// Whether it was in a cookie, which browsers send by themselves.
        in_cookie: bool,
    },
}

impl Session {
    /// Says whether it is in our cookie, which any answer may renew.
    pub fn is_in_our_cookie(&self) -> bool {
        matches!(self.source, Source::Octroi { purpose: Purpose::Cookie, .. })
    }

    /// Says whether it is in a cookie, ours or the app's: then browsers also send it with requests that
    /// another site causes.
    pub fn is_in_a_cookie(&self) -> bool {
        matches!(
            self.source,
            Source::Octroi { purpose: Purpose::Cookie, .. } | Source::Foreign { in_cookie: true, .. }
        )
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Octroi { key, .. } => write!(f, "sealed with key {key}"),
            Self::Foreign { format, key, .. } => {
                write!(f, "of format `{}`, signed with key `{key}`", format.as_str())
            }
        }
    }
}
