//! The validated, immutable rules. They are valid by construction; nothing checks them again.
//!
//! A request takes one `Arc<Policy>` when it begins and keeps it to the end. Only `config` builds one.

mod access_log;
mod acme;
mod admin;
mod bans;
mod client_certificate;
mod deny;
mod foreign;
mod ip_access;
mod ip_set;
mod limits;
mod listener;
mod quota;
mod redis;
pub mod request_fields;
mod route;
mod route_table;
mod session;
mod tenant;
mod ticket_secrets;
mod tls;
mod upstream;

use std::{collections::BTreeMap, net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

pub use access_log::{AccessLog, LogFormat, LogTarget, Rotation};
pub use acme::{Acme, AcmeCertificate, AcmeChallenge, ExternalAccount, MOST_HOSTS as MOST_ACME_HOSTS};
pub use admin::{Admin, AdminPrincipal};
pub use bans::BanRules;
pub use client_certificate::{
    CaCertificate, CertificateMode, ClientCertificates, ClientTrust, Crl, ExpiredItem, Identities,
    NamePattern, TrustExpiry, TrustFile, UnusableTrust,
};
pub use deny::{DenyFile, DenyList};
pub use foreign::{Foreign, ForeignSessions, KeySource};
pub use ip_access::{Access, IpAccess, RangeRule};
pub use ip_set::IpSet;
pub use limits::{Limits, RequestLimits};
pub use listener::{Listener, ListenerKind, ProxyProtocol};
pub use quota::{Charge, Quota, QuotaBy};
pub use redis::{Redis, RedisGuard, RedisPlace};
pub use request_fields::{HeaderDecision, RequestFields};
pub use route::{Access as RouteAccess, Granting, OriginCheck, Route, Unmatched};
pub use route_table::{AlternateMatch, Matched, RouteTable, RouteTableBuilder, SameRoute, folded};
pub use session::{Binding, KeyDir, OnStale, RevocationRules, SessionRules, Sessions};
pub use tenant::{CookieRules, HostConflict, Members, Tenant, Tenants};
pub use ticket_secrets::{TicketSecrets, TicketSecretsError};
pub use tls::{Certificate, CertificateSource, MinVersion, Tls, UnknownSni};
pub use upstream::{Balance, Protocol, Server, ServerAddress, Upstream, UpstreamTimeouts, UpstreamTls};

use crate::model::{ClientIp, ListenerName, Origin, Range, RuleLocation, UnixTime, UpstreamName};

/// All rules of one revision.
#[derive(Debug)]
pub struct Policy {
    /// A digest of every file that the rules were read from: the first 16 hexadecimal digits of a SHA-256.
    pub revision: String,
    /// The files, in the order in which [`Origin::file`] counts them.
    pub files: Vec<PathBuf>,
    /// This node's name.
    pub node: String,
    /// The number of worker threads.
    pub threads: usize,
    /// How long open requests may continue after TERM.
    pub drain: Duration,
    /// How long connections are still accepted after TERM.
    pub drain_delay: Duration,
    /// How long a wall clock that was set is not trusted.
    pub clock_hold: Duration,
    /// The directory of the data that outlives the process.
    pub state_dir: PathBuf,
    /// Peers whose forwarding header is trusted, on every listener.
    pub trusted_proxies: IpSet,
    /// The one forwarding header that is read.
    pub client_ip_header: ClientIpHeader,
    /// The listeners.
    pub listeners: Vec<Arc<Listener>>,
    /// Bounds that apply before the tenant is known.
    pub limits: Limits,
    /// When clients that break the protocol are banned; `None`: never.
    pub bans: Option<BanRules>,
    /// Bounds of a request, where neither the tenant nor the route sets them.
    pub request_limits: RequestLimits,
    /// The address for Prometheus and for health checks. It serves no secrets.
    pub metrics: Option<SocketAddr>,
    /// The admin listener. The control socket always exists.
    pub admin: Option<Admin>,
    /// Certificates and TLS versions.
    pub tls: Tls,
    /// Session keys, the cookie, and the defaults of every tenant.
    pub sessions: Option<Sessions>,
    /// The store that nodes share.
    pub redis: Option<Redis>,
    /// The upstreams.
    pub upstreams: BTreeMap<UpstreamName, Arc<Upstream>>,
    /// The tenants, by name and by host.
    pub tenants: Tenants,
    /// The destinations of access lines.
    pub access_log: Vec<AccessLog>,
    /// When the next range or principal expires: the policy is reloaded then.
    pub next_expiry: Option<UnixTime>,
}

impl Policy {
    /// Returns how long a session may live at most, in any tenant: a session of octroi, or one of an app,
    /// whatever end that has itself.
    pub fn longest_session(&self) -> Duration {
        let of_none = || self.sessions.as_ref().map(|sessions| sessions.rules.absolute);
        self.tenants.iter().map(|tenant| tenant.sessions.absolute).max().or_else(of_none).unwrap_or_default()
    }

    /// Says whether an address is one of our own proxies at a listener: many clients are behind it, so rules
    /// against a client do not apply to it. A peer that must send the PROXY header is our own, too, where it
    /// `is_peer` and names no other address.
    pub fn is_own_proxy(&self, listener: &ListenerName, address: ClientIp, is_peer: bool) -> bool {
        let found = self.listeners.iter().find(|candidate| candidate.name == *listener);
        let of_server = &self.trusted_proxies;
        found.map_or_else(
            || of_server.contains(address),
            |listener| listener.is_own_proxy(of_server, address, is_peer),
        )
    }

    /// Says whether a ban of these addresses would have no effect: all of them are our own proxies at every
    /// listener. At a listener where they are not, they are clients, and can be banned.
    pub fn never_bans(&self, range: Range) -> bool {
        self.listeners.iter().all(|listener| listener.are_own_proxies(&self.trusted_proxies, range))
    }

    /// Describes where a rule is: `conf/octroi.yaml:41`.
    pub fn locate(&self, origin: Origin) -> RuleLocation<'_> {
        let file = self.files.get(usize::from(origin.file)).map(|file| &**file);
        RuleLocation { file, line: origin.line }
    }
}

/// The forwarding header that trusted proxies write.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ClientIpHeader {
    /// `X-Forwarded-For`.
    #[default]
    XForwardedFor,
    /// `Forwarded` (RFC 7239).
    Forwarded,
}
