//! Sessions: keys, cookie, clocks.

use std::{path::PathBuf, time::Duration};

use super::ForeignSessions;
use crate::{
    model::{ClientCertificate, ClientIp},
    session::{Assertions, Bound, KeyFile, Ring, UserLimit, binding, cookie},
};

/// What holds for the sessions of every tenant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sessions {
    /// The cookie's name, `__Host-…`.
    pub cookie: cookie::Name,
    /// The master keys: those of the folder, then those that are listed.
    pub ring: Ring,
    /// The folder that some of them come from.
    pub key_dir: Option<KeyDir>,
    /// The clocks, where a tenant does not say otherwise.
    pub rules: SessionRules,
    /// How what was ended reaches other nodes.
    pub revocation: RevocationRules,
    /// Whether a granted user may look like an e-mail address.
    pub allow_email_user: bool,
    /// Where a browser without a session is sent.
    pub login_url: Option<Box<str>>,
    /// Sessions of apps that keep their own login.
    pub foreign: ForeignSessions,
    /// What signs the statement of who asks, towards upstreams.
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

/// The clocks and bindings of a tenant's sessions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionRules {
    /// How long a session may rest.
    pub idle: Duration,
    /// How long it may live.
    pub absolute: Duration,
    /// What else must stay the same.
    pub bind: Vec<Binding>,
    /// How many a user may have at once; nothing: any number.
    pub max_per_user: Option<UserLimit>,
}

impl SessionRules {
    /// Returns what a token keeps of the client, user agent and certificate that it is bound to; nothing where nothing binds.
    pub fn binding(&self, client: ClientIp, user_agent: &[u8], certificate: Option<&ClientCertificate>) -> Option<[u8; 16]> {
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
    /// The client's certificate, or that there is none.
    ClientCertificate,
}

/// How what was ended reaches other nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RevocationRules {
    /// Whether nodes share revocations through Redis; otherwise each knows only its own.
    pub is_shared: bool,
    /// What to do when what other nodes ended is not known.
    pub on_stale: OnStale,
    /// How long what was heard last holds.
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
    /// They go on with what is known.
    Allow,
}
