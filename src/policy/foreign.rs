//! Sessions of apps with their own login.

use std::time::Duration;

use crate::session::foreign::{Algorithm, Codec, Mapping, SourceId};

/// One format: how it is decoded, where it is in a request, what its claims mean.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Foreign {
    /// The decoder.
    pub codec: Codec,
    /// The cookie that holds it.
    pub cookie: Option<Box<str>>,
    /// The cookie that holds the signature, if that is separate.
    pub signature_cookie: Option<Box<str>>,
    /// Whether it is accepted in `Authorization: Bearer`.
    pub bearer: bool,
    /// The mapping of its claims.
    pub claims: Mapping,
    /// Where its keys are fetched.
    pub key_sources: Box<[KeySource]>,
}

/// A URL at which an issuer publishes its keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeySource {
    /// The identifier of the fetched keys.
    pub id: SourceId,
    /// Its name in logs.
    pub name: Box<str>,
    /// The URL: https, or http to an address of loopback.
    pub url: Box<str>,
    /// The trusted CAs, in DER; `None`: the system's.
    pub roots: Option<Vec<Vec<u8>>>,
    /// The algorithms that its keys may be used with.
    pub algorithms: Box<[Algorithm]>,
    /// How often it is fetched.
    pub refresh: Duration,
    /// How long its keys are valid after they were last fetched.
    pub max_age: Duration,
}

/// Every foreign format.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ForeignSessions {
    formats: Box<[Foreign]>,
    cookies: Box<[Box<str>]>,
}

impl ForeignSessions {
    /// Collects the formats.
    pub fn new(formats: Vec<Foreign>) -> Self {
        let cookies = formats
            .iter()
            .flat_map(|format| [&format.cookie, &format.signature_cookie])
            .flatten()
            .cloned()
            .collect();
        Self { formats: formats.into(), cookies }
    }

    /// Returns the formats.
    pub fn formats(&self) -> &[Foreign] {
        &self.formats
    }

    /// Returns every key source.
    pub fn key_sources(&self) -> impl Iterator<Item = &KeySource> {
        self.formats.iter().flat_map(|format| &format.key_sources)
    }

    /// Returns the names of the cookies.
    pub fn cookies(&self) -> &[Box<str>] {
        &self.cookies
    }

    /// Says whether a Bearer token may be a foreign session.
    pub fn in_bearer(&self) -> bool {
        self.formats.iter().any(|format| format.bearer)
    }
}
