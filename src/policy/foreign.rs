//! Sessions of apps that keep their own login.

use std::time::Duration;

use crate::session::foreign::{Algorithm, Codec, Mapping, SourceId};

/// One format: how it is read, where it stands, what its claims mean.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Foreign {
    /// What reads it.
    pub codec: Codec,
    /// The cookie that holds it.
    pub cookie: Option<Box<str>>,
    /// The cookie that holds the signature, where it stands in one of its own.
    pub signature_cookie: Option<Box<str>>,
    /// Whether it is read from `Authorization: Bearer`.
    pub bearer: bool,
    /// Which claims say what.
    pub claims: Mapping,
    /// Where keys are fetched that it is read with.
    pub key_sources: Box<[KeySource]>,
}

/// Where an issuer publishes its keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeySource {
    /// What the fetched keys are found under.
    pub id: SourceId,
    /// Its name in logs.
    pub name: Box<str>,
    /// The URL: https, or http to an address of loopback.
    pub url: Box<str>,
    /// The CAs that may vouch for it, DER; `None`: the system's.
    pub roots: Option<Vec<Vec<u8>>>,
    /// What its keys may be used with.
    pub algorithms: Box<[Algorithm]>,
    /// How often it is asked.
    pub refresh: Duration,
    /// How long its keys count after they were last had.
    pub max_age: Duration,
}

/// Every foreign format that is read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ForeignSessions {
    formats: Box<[Foreign]>,
    cookies: Box<[Box<str>]>,
}

impl ForeignSessions {
    /// Takes the formats.
    pub fn new(formats: Vec<Foreign>) -> Self {
        let cookies = formats.iter().flat_map(|format| [&format.cookie, &format.signature_cookie]).flatten().cloned().collect();
        Self { formats: formats.into(), cookies }
    }

    /// Returns the formats.
    pub fn formats(&self) -> &[Foreign] {
        &self.formats
    }

    /// Returns every source of keys.
    pub fn key_sources(&self) -> impl Iterator<Item = &KeySource> {
        self.formats.iter().flat_map(|format| &format.key_sources)
    }

    /// Returns the names of the cookies that hold them.
    pub fn cookies(&self) -> &[Box<str>] {
        &self.cookies
    }

    /// Says whether a Bearer token may be one.
    pub fn in_bearer(&self) -> bool {
        self.formats.iter().any(|format| format.bearer)
    }
}
