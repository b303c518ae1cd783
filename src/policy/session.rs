//! Sessions: keys, cookie, lifetimes.

use std::{path::PathBuf, time::Duration};

use super::ForeignSessions;
use crate::{
    model::{ClientCertificate, ClientIp},
    session::{Assertions, Bound, KeyFile, KeyRing, UserLimit, binding, cookie},
};

/// The settings of the sessions of every tenant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sessions {
    /// The cookie's name, `__Host-…`.
    pub cookie: cookie::Name,
    /// The master keys: those of the folder, then the listed ones.
    pub ring: KeyRing,
    /// The folder of some of them.
    pub key_dir: Option<KeyDir>,
    /// The lifetimes, where a tenant does not set them.
    pub rules: SessionRules,
    /// How revocations reach other nodes.
    pub revocation: RevocationRules,
    /// Whether a granted user may look like an email address.
    pub allow_email_user: bool,
    /// Where a browser without a session is redirected.
    pub login_url: Option<Box<str>>,
    /// Sessions of apps with their own login.
    pub foreign: ForeignSessions,
    /// What signs the identity assertion for upstreams.
    pub assertions: Option<Assertions>,
}

/// A folder of session keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyDir {
    /// The folder.
    pub path: PathBuf,
    /// The keys in it, the highest number first.
    pub files: Vec<KeyFile>,
}

/// The lifetimes and bindings of a tenant's sessions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionRules {
    /// How long a session may be idle.
    pub idle: Duration,
    /// How long a session may live.
    pub absolute: Duration,
    /// What a session is bound to.
    pub bind: Vec<Binding>,
    /// How many sessions a user may have at once; `None`: any number.
    pub max_per_user: Option<UserLimit>,
}

impl SessionRules {
    /// Returns the digest in a token of the client, user agent and certificate that it is bound to; `None`
    /// where nothing is bound.
    pub fn binding(
        &self,
        client: ClientIp,
        user_agent: &[u8],
        certificate: Option<&ClientCertificate>,
    ) -> Option<[u8; 16]> {
        let fingerprint = certificate.map_or(&[][..], |certificate| &certificate.fingerprint);
        binding(Bound {
            client: self.bind.contains(&Binding::ClientPrefix).then_some(client),
            user_agent: self.bind.contains(&Binding::UserAgent).then_some(user_agent),
            certificate: self.bind.contains(&Binding::ClientCertificate).then_some(fingerprint),
        })
    }
}

/// What a session may be bound to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Binding {
    /// The client's /24 (IPv4) or /48 (IPv6).
    ClientPrefix,
    /// The `User-Agent` field.
    UserAgent,
    /// The client's certificate, or its absence.
    ClientCertificate,
}

/// How revocations reach other nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RevocationRules {
    /// Whether nodes share revocations through Redis; otherwise each knows only its own.
    pub is_shared: bool,
    /// What to do when this node is not up to date with other nodes.
    pub on_stale: OnStale,
    /// How long the last update is good for.
    pub stale_after: Duration,
}

impl Default for RevocationRules {
    fn default() -> Self {
        Self { is_shared: false, on_stale: OnStale::Deny, stale_after: Duration::from_secs(30) }
    }
}

/// What to do when the shared revocation store has been silent for too long.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnStale {
    /// Session routes answer 503.
    #[default]
    Deny,
    /// They continue with what is known.
    Allow,
}
