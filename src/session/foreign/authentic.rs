//! What a signature of an app proves, or why it proves nothing.

use std::borrow::Cow;

use super::Json;
use crate::model::{TenantName, UnixTime};

/// What a request presents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Presented<'a> {
    /// The cookie's value, or the Bearer token.
    pub text: &'a str,
    /// The value of the cookie that holds the signature, where the format has one.
    pub signature: Option<&'a str>,
}

/// What a signature proved: that the app wrote this. Whether it holds now, and for whom, is for others to
/// say.
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
/// All read the same, so that no answer tells a stranger how far they got; [`ForeignError::detail`] is for
/// the operator.
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
            Self::UnknownKey { missing: None } => {
                "no key that is configured or was fetched has its `kid`".to_owned()
            }
            Self::UnknownKey { missing: Some(set) } => {
                format!("no key has its `kid`, and the set `{set}` was not fetched, or too long ago")
            }
            Self::Signature => "it was altered, or signed with another key".to_owned(),
            Self::Payload(why) => format!("it is authentic, but its payload {why}"),
            Self::Claim { claim, expected } => format!("it is authentic, but its {claim} is not {expected}"),
            Self::Tenant { key, tenant } => {
                format!("it is authentic, but the key `{key}` does not speak for tenant `{tenant}`")
            }
        }
    }
}
