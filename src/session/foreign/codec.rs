//! One format of foreign sessions, whichever it is.

use std::borrow::Cow;

use super::{Django, Express, FetchedKeys, Itsdangerous, Json, Jwt, key_set};
use crate::model::{TenantName, Tick, UnixTime};

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

/// What a request presents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Presented<'a> {
    /// The cookie's value, or the Bearer token.
    pub text: &'a str,
    /// The value of the cookie that holds the signature, where the format has one.
    pub signature: Option<&'a str>,
}

/// What a signature proved: that the app wrote this. Whether it holds now, and for whom, is for others to say.
#[derive(Clone, Debug, PartialEq)]
pub struct Authentic<'a> {
    /// The key.
    pub key: &'a str,
    /// The only tenants that the key speaks for; `None` for every one.
    pub tenants: Option<&'a [TenantName]>,
    /// What was signed, read.
    pub payload: Json,
    /// What was signed, as text.
    pub signed: Cow<'a, str>,
    /// When the app signed it, where the format says so.
    pub made: Option<UnixTime>,
    /// When it begins to count, where the format says so.
    pub begins: Option<UnixTime>,
    /// When it ends, where the format says so.
    pub ends: Option<UnixTime>,
}

/// Why a foreign session does not open.
///
/// All read the same, so that no answer tells a stranger how far they got; [`ForeignError::detail`] is for the operator.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the foreign session does not open")]
pub enum ForeignError {
    /// Longer than the format's bound.
    TooLong,
    /// Not of the format's form.
    Syntax(&'static str),
    /// The header of a JSON Web Token asks for what is not done.
    Header(&'static str),
    /// No configured key fits.
    Key,
    /// The key that the token names is not known. Where sets are fetched, it may be a new one.
    UnknownKey {
        /// A set that is not there: it was not had yet, or is too old.
        missing: Option<Box<str>>,
    },
    /// Altered, or signed with another key.
    Signature,
    /// Authentic, but not a payload that can be read.
    Payload(&'static str),
    /// A claim is missing, or of another type, or says something that does not hold.
    Claim {
        /// What the claim is for.
        claim: &'static str,
        /// What it would have to be.
        expected: &'static str,
    },
    /// The key may not speak for this tenant.
    Tenant {
        /// The key.
        key: Box<str>,
        /// The tenant.
        tenant: TenantName,
    },
}

impl ForeignError {
    /// Says what is wrong, for the operator only. Holds no value that is not authentic.
    pub fn detail(&self) -> String {
        match self {
            Self::TooLong => "it is longer than is read".to_owned(),
            Self::Syntax(expected) => format!("it is not {expected}"),
            Self::Header(why) => format!("its header {why}"),
            Self::Key => "no configured key has its `kid` and `alg`".to_owned(),
            Self::UnknownKey { missing: None } => "no key that is configured or was fetched has its `kid`".to_owned(),
            Self::UnknownKey { missing: Some(set) } => {
                format!("no key has its `kid`, and the set `{set}` was not fetched, or too long ago")
            }
            Self::Signature => "it was altered, or signed with another key".to_owned(),
            Self::Payload(why) => format!("it is authentic, but its payload {why}"),
            Self::Claim { claim, expected } => format!("it is authentic, but its {claim} is not {expected}"),
            Self::Tenant { key, tenant } => format!("it is authentic, but the key `{key}` does not speak for tenant `{tenant}`"),
        }
    }
}

/// Most bytes that any format reads: what fits into a cookie (RFC 6265, section 6.1) twice over, for Bearer tokens with many claims.
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
    pub fn open_with<'a>(&'a self, presented: Presented<'a>, fetched: &'a FetchedKeys, now: Tick) -> Result<Authentic<'a>, ForeignError> {
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
