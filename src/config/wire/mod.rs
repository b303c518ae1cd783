//! What may be typed: the shape of a configuration, before anything in it is compared with anything else.
//!
//! The doc texts are what `octroi schema` says of each key.

mod acme;
mod admin;
mod foreign;
mod listener;
mod log;
mod redis;
mod root;
mod route;
mod server;
mod session;
mod tenant;
mod tls;
mod upstream;

pub(super) use acme::{AcmeWire, EabWire};
pub(super) use admin::{Admin, Metrics, PrincipalWire};
pub(super) use foreign::{
    AppCookie, AppKeyWire, ClaimWire, ClaimsWire, DjangoWire, ExpressWire, ItsdangerousWire, JwksWire,
    JwtKeyWire, JwtWire,
};
pub(super) use listener::ListenerWire;
pub(super) use log::{LogWire, Sink};
pub(super) use redis::{RedisUrl, RedisWire};
pub(super) use root::{ConfigLimits, Root, TenantFile, Version};
pub(super) use route::{AccessWord, RouteSet, Rule, SignInWord, TenantRoutes};
pub(super) use server::{BansWire, Http2Wire, LimitsWire, RequestLimitsWire, ServerWire};
pub(super) use session::{
    AssertionWire, KeyWire, MaxPerUserWire, Party, RevocationStoreWord, RevocationWire, SessionsWire,
    TokenFormat,
};
pub(super) use tenant::{
    ClientCertificateWire, CookiesWire, IpAccessWire, QuotaStoreWord, QuotaWire, RangeWire,
    RequestFieldsWire, TenantSessions, TenantWire,
};
pub(super) use tls::{CertificateWire, TlsWire};
pub(super) use upstream::{ServerEntry, TimeoutsWire, UpstreamWire};
