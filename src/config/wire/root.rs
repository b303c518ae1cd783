//! The top of a configuration file, and of a tenant file.

use serde_json::{Value, json};

use super::{
    Admin, BansWire, LimitsWire, ListenerWire, LogWire, Metrics, QuotaWire, RedisWire, RequestLimitsWire,
    RouteSet, ServerWire, SessionsWire, TenantWire, TlsWire, UpstreamWire,
};
use crate::{
    config::{
        collection::{Named, NonEmpty, Required},
        parse::{FilePath, Label, Scalar, ScalarError},
        reader::Spanned,
        shape::wire,
        unit::Size,
    },
    model::{QuotaName, TenantName, UpstreamName},
};

/// The version of the contract: 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::config) struct Version;

impl Scalar for Version {
    fn parse(text: &str) -> Result<Self, ScalarError> {
        if text == "1" {
            Ok(Self)
        } else {
            Err(ScalarError::new(format!("not a version of the configuration: `{text}`")).hint("write `1`"))
        }
    }

    fn schema() -> Value {
        json!({"const": 1})
    }
}

wire! {
    /// A configuration of octroi. Relative paths start from the folder of the file they stand in.
    Root "root" {
        /// The version of the configuration's form: 1.
        version: Required<Spanned<Version>>,
        /// This node's name in logs and metrics. Default: the host name.
        node: Option<Spanned<Label>>,
        /// The process: threads, state directory, trusted proxies.
        server: Option<ServerWire>,
        /// The addresses to listen on: at least one.
        listeners: Required<NonEmpty<ListenerWire>>,
        /// Bounds of a connection, before any tenant is known.
        limits: Option<LimitsWire>,
        /// Bans clients that repeatedly break the protocol. Default: no automatic bans.
        bans: Option<BansWire>,
        /// Bounds of a request; tenants and routes may have their own.
        request_limits: Option<RequestLimitsWire>,
        /// The address that serves `/metrics`, `/healthz` and `/readyz`. Default: none.
        metrics: Option<Metrics>,
        /// The admin listener. Default: only the control socket.
        admin: Option<Admin>,
        /// Certificates and TLS versions.
        tls: Option<TlsWire>,
        /// Session keys, the cookie, lifetimes. Required if a route needs a session.
        sessions: Option<Required<SessionsWire>>,
        /// The store that nodes share. Default: none; each node has state of its own.
        redis: Option<RedisWire>,
        /// Where requests go, by name.
        upstreams: Named<UpstreamName, UpstreamWire>,
        /// Sets of rules by path, by name.
        routes: Named<Label, RouteSet>,
        /// Rate limits, by name.
        quotas: Named<QuotaName, QuotaWire>,
        /// Customer accounts, by name.
        tenants: Named<TenantName, TenantWire>,
        /// Files with more tenants, as patterns: `tenants.d/*.yaml`.
        tenant_files: Vec<Spanned<FilePath>>,
        /// Where access lines go. Default: JSON to standard output.
        access_log: Option<Vec<LogWire>>,
        /// Bounds of the tenant files.
        config_limits: Option<ConfigLimits>,
    }

    /// Bounds of the tenant files, so that a wrong file does not exhaust memory.
    ConfigLimits "config_limits" {
        /// The largest file. Default: 512MiB.
        file_bytes: Option<Spanned<Size>>,
        /// The most files. Default: 10000.
        files: Option<Spanned<usize>>,
        /// The most values in one file. Default: 50000000.
        values: Option<Spanned<usize>>,
    }

    /// A tenant file: a `tenants` map of the same shape as the main file's.
    TenantFile "tenant_file" {
        /// Customer accounts, by name.
        tenants: Named<TenantName, TenantWire>,
    }
}
