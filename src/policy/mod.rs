//! The validated, immutable rules. What stands here is true: nobody checks it again.
//!
//! A request takes one `Arc<Policy>` when it begins and keeps it to the end. `config` is the only maker.

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
    CaCertificate, CertificateMode, ClientCertificates, ClientTrust, Crl, Identities, Lapse, Lapsed, NamePattern, TrustFile, UnusableTrust,
};
pub use deny::{DenyFile, DenyList};
pub use foreign::{Foreign, ForeignSessions, KeySource};
pub use ip_access::{Access, IpAccess, RangeRule};
pub use ip_set::IpSet;
pub use limits::{Limits, RequestLimits};
pub use listener::{Listener, ListenerKind, ProxyProtocol};
pub use quota::{Charge, Quota, QuotaBy};
pub use redis::{Redis, RedisGuard, RedisPlace};
pub use request_fields::{Fate, RequestFields};
pub use route::{Access as RouteAccess, Granting, OriginCheck, Route, Unmatched};
pub use route_table::{Also, Matched, RouteTable, RouteTableBuilder, SameRoute, folded};
pub use session::{Binding, KeyDir, OnStale, RevocationRules, SessionRules, Sessions};
pub use tenant::{CookieRules, HostConflict, Members, Tenant, Tenants};
pub use ticket_secrets::{TicketSecrets, TicketSecretsError};
pub use tls::{Certificate, CertificateSource, MinVersion, Tls, UnknownSni};
pub use upstream::{Balance, Protocol, Server, ServerAddress, Upstream, UpstreamTimeouts, UpstreamTls};

use crate::model::{ClientIp, ListenerName, Origin, Range, UnixTime, UpstreamName};

/// All rules of one revision.
#[derive(Debug)]
pub struct Policy {
    /// A digest of every file that the rules were read from: the first 16 hexadecimal digits of SHA-256.
    pub revision: String,
    /// The files that rules were read from, in the order in which [`Origin::file`] counts them.
    pub files: Vec<PathBuf>,
    /// This node's name.
    pub node: String,
    /// How many worker threads.
    pub threads: usize,
    /// How long open requests may go on after TERM.
    pub drain: Duration,
    /// How long connections are still taken after TERM.
    pub drain_delay: Duration,
    /// How long a wall clock that was set is not believed.
    pub clock_hold: Duration,
    /// Where octroi keeps what must survive it.
    pub state_dir: PathBuf,
    /// Peers whose forwarding header is believed, on every listener.
    pub trusted_proxies: IpSet,
    /// The one forwarding header that is read.
    pub client_ip_header: ClientIpHeader,
    /// The doors.
    pub listeners: Vec<Arc<Listener>>,
    /// Bounds of a connection, before any tenant is known.
    pub limits: Limits,
    /// When clients that break the protocol are banned; absent: never.
    pub bans: Option<BanRules>,
    /// Bounds of a request, where neither tenant nor route says otherwise.
    pub request_limits: RequestLimits,
    /// Where Prometheus scrapes and orchestrators ask. It holds no secret.
    pub metrics: Option<SocketAddr>,
    /// The admin listener; the control socket is there always.
    pub admin: Option<Admin>,
    /// Certificates and versions.
    pub tls: Tls,
    /// Session keys, the cookie and what holds for every tenant.
    pub sessions: Option<Sessions>,
    /// The store that nodes share.
    pub redis: Option<Redis>,
    /// Where requests go.
    pub upstreams: BTreeMap<UpstreamName, Arc<Upstream>>,
    /// Customer accounts, by name and by host.
    pub tenants: Tenants,
    /// Where access lines go.
    pub access_log: Vec<AccessLog>,
    /// When the next range or principal expires: the policy is loaded again then.
    pub next_expiry: Option<UnixTime>,
}

impl Policy {
    /// Says whether an address is one of our own proxies at a listener: many clients stand behind it, so that no rule against a client
    /// is for it. One that must send the PROXY header is our own, too.
    pub fn is_own_proxy(&self, listener: &ListenerName, address: ClientIp) -> bool {
        let found = self.listeners.iter().find(|candidate| candidate.name == *listener);
        found.map_or_else(|| self.trusted_proxies.contains(address), |listener| listener.is_own_proxy(&self.trusted_proxies, address))
    }

    /// Says whether a ban of these addresses would hold nowhere: at every listener all of them are our own proxies. At one where they are
    /// not, they are clients, and banned for offences like others.
    pub fn never_bans(&self, range: Range) -> bool {
        self.listeners.iter().all(|listener| listener.are_own_proxies(&self.trusted_proxies, range))
    }

    /// Says where a rule was written: `conf/octroi.yaml:41`.
    pub fn locate(&self, origin: Origin) -> String {
        match (self.files.get(usize::from(origin.file)), origin.line) {
            (_, 0) => "default".to_owned(),
            (Some(file), line) => format!("{}:{line}", file.display()),
            (None, line) => format!("line {line}"),
        }
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
