//! Sessions of apps that keep their own login.

use crate::session::foreign::{Codec, Mapping};

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

    /// Returns the names of the cookies that hold them.
    pub fn cookies(&self) -> &[Box<str>] {
        &self.cookies
    }

    /// Says whether a Bearer token may be one.
    pub fn in_bearer(&self) -> bool {
        self.formats.iter().any(|format| format.bearer)
    }
}
