//! One format of foreign sessions, whichever it is.

use super::{
    Django, Express, FetchedKeys, Itsdangerous, Jwt,
    authentic::{Authentic, ForeignError, Presented},
    key_set,
};
use crate::model::Tick;

/// A format of foreign sessions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Format {
    /// JSON Web Token, signed.
    Jwt,
    /// Cookies that Express signs.
    Express,
    /// URLSafeTimedSerializer, as Flask's sessions.
    Itsdangerous,
    /// Django's signed cookies.
    Django,
}

impl Format {
    /// Returns the word of the configuration.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Jwt => "jwt",
            Self::Express => "express",
            Self::Itsdangerous => "itsdangerous",
            Self::Django => "django",
        }
    }
}

/// Reads the sessions of one format, with the keys of one app.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Codec {
    /// JSON Web Token.
    Jwt(Jwt),
    /// Express.
    Express(Express),
    /// itsdangerous.
    Itsdangerous(Itsdangerous),
    /// Django.
    Django(Django),
}

/// Most bytes that any format reads: what fits into a cookie (RFC 6265, section 6.1) twice over, for Bearer
/// tokens with many claims.
pub(super) const MAX_TEXT_BYTES: usize = 8 * 1024;

impl Codec {
    /// Returns the format.
    pub fn format(&self) -> Format {
        match self {
            Self::Jwt(_) => Format::Jwt,
            Self::Express(_) => Format::Express,
            Self::Itsdangerous(_) => Format::Itsdangerous,
            Self::Django(_) => Format::Django,
        }
    }

    /// Proves that the app signed this. At most 8 KiB are looked at; each key that fits is tried.
    ///
    /// Without sets of keys that are fetched.
    pub fn open<'a>(&'a self, presented: Presented<'a>) -> Result<Authentic<'a>, ForeignError> {
        self.open_with(presented, &key_set::NONE, Tick::default())
    }

    /// The same, with the sets that were fetched, as they are now.
    pub fn open_with<'a>(
        &'a self,
        presented: Presented<'a>,
        fetched: &'a FetchedKeys,
        now: Tick,
    ) -> Result<Authentic<'a>, ForeignError> {
        let signature = presented.signature.unwrap_or_default();
        if presented.text.len().saturating_add(signature.len()) > MAX_TEXT_BYTES {
            return Err(ForeignError::TooLong);
        }
        match self {
            Self::Jwt(jwt) => jwt.open(presented.text, fetched, now),
            Self::Express(express) => express.open(presented.text, presented.signature),
            Self::Itsdangerous(itsdangerous) => itsdangerous.open(presented.text),
            Self::Django(django) => django.open(presented.text),
        }
    }
}
