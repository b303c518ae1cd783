//! The whole policy, part by part.

use std::path::PathBuf;

use super::{
    Context, access_log,
    address::{Addresses, OwnAddresses},
    admin, assertion, bans,
    client_certificate::TrustCache,
    foreign_tenants, limits, listener,
    quota::Quotas,
    redis, session,
    table::Sets,
    tenant::{self, TenantDeps},
    tls, upstream,
};
use crate::{
    config::{
        collection::{Named, NonEmpty},
        default,
        reader::HasSpan,
        source::Span,
        wire::{Root, ServerWire, TenantWire, Version},
    },
    files,
    model::TenantName,
    policy::{Binding, Listener, ListenerKind, Policy, Tenants},
};

/// What was read.
pub(in crate::config) struct Parts {
    /// The main file.
    pub(in crate::config) root: Root,
    /// The tenants of the tenant files.
    pub(in crate::config) tenants: Vec<Named<TenantName, TenantWire>>,
}

/// Compiles everything. What comes back is a policy only if nothing was found on the way.
pub(in crate::config) fn compile(cx: &mut Context<'_>, parts: Parts, revision: String) -> Policy {
    let Parts { mut root, tenants: mut files } = parts;
    match root.version.0.as_ref().map(|at| at.value) {
        Some(Version) | None => {}
    }
    files.insert(0, Named(std::mem::take(&mut root.tenants.0)));
    let server = root.server.as_ref();
    let mut addresses = Addresses::default();
    let listeners = listener::all(
        cx,
        root.listeners.0.as_ref().map_or(&[], |NonEmpty(list)| list),
        &mut addresses,
        !cx.lacks(root.span(), &["server"]) || server.is_some_and(|wire| !wire.trusted_proxies.is_empty()),
    );
    let metrics = root.metrics.as_ref().map(|metrics| addresses.take(cx, &metrics.address));
    let admin = root.admin.as_ref().map(|wire| admin::admin(cx, wire, &mut addresses));
    let limits = limits::connection(cx, root.limits.as_ref());
    let bans = root.bans.as_ref().map(|wire| bans::bans(cx, wire));
    let request_limits = limits::request(root.request_limits.as_ref(), default::REQUEST_LIMITS);
    let (mut tls, mut coverage, acme) = tls::tls(cx, root.tls.as_ref(), &listeners);
    let shows_certificates = listeners.iter().any(|listener| listener.kind == ListenerKind::Tls);
    validate_listener_certificates(cx, &root, &listeners);
    let sessions =
        root.sessions.as_ref().and_then(|wire| wire.0.as_ref()).map(|wire| session::sessions(cx, wire));
    let redis = root.redis.as_ref().and_then(|wire| redis::redis(cx, wire));
    session::validate_store(cx, &root);
    let asserts = root.sessions.as_ref().and_then(|wire| wire.0.as_ref()?.assertion.as_ref());
    assertion::validate(cx, &root, asserts);
    let state_dir = state_dir(cx, server);
    let own = OwnAddresses { addresses: &addresses, state_dir: &state_dir };
    let upstreams = upstream::all(cx, &root.upstreams, asserts.and_then(|wire| wire.audience.as_ref()), &own);
    let quotas = Quotas::compile(cx, &root.quotas);
    let sets = Sets::compile(cx, &root.routes, &quotas);
    let deps = TenantDeps {
        upstreams: &upstreams,
        quotas: &quotas,
        sets,
        limits: request_limits,
        rules: sessions.as_ref().map_or_else(session::default_rules, |sessions| sessions.rules.clone()),
        sessions: sessions.as_ref(),
        has_sessions: root.sessions.is_some(),
        coverage: Some(&mut coverage).filter(|_| shows_certificates && root.tls.is_some()),
        trusts: TrustCache::default(),
        plaintext: plaintext(&root),
        login_url: root
            .sessions
            .as_ref()
            .and_then(|wire| wire.0.as_ref()?.login_url.as_ref())
            .map(|url| url.span),
    };
    let everybody = files.iter().flat_map(|file| &file.0).map(|entry| &entry.name.value).collect();
    let tenants = tenant::all(cx, &files, deps);
    if let (Some(wire), Some(sessions)) = (root.sessions.as_ref().and_then(|wire| wire.0.as_ref()), &sessions)
    {
        foreign_tenants::validate(cx, wire, &sessions.foreign, &tenants, &everybody);
    }
    acme.finish(cx, coverage.into_rest(), &tenants, &mut tls.certificates);
    if tenants.is_empty() && cx.findings.errors() == 0 {
        cx.warn(root.span(), "there is no tenant, so every request gets 421").path("tenants".to_owned());
    }
    validate_binding(cx, &root, &files, &tenants);
    let access_log = access_log::all(cx, root.access_log.as_deref());
    Policy {
        revision,
        files: cx.sources.files().iter().map(|source| source.path().to_path_buf()).collect(),
        node: root.node.as_ref().map_or_else(host_name, |node| node.value.0.clone()),
        threads: server.and_then(|wire| wire.threads.as_ref()).map_or_else(cores, |threads| threads.value),
        clock_hold: server
            .and_then(|wire| wire.clock_hold.as_ref())
            .map_or(default::CLOCK_HOLD, |hold| hold.value.0),
        drain: server.and_then(|wire| wire.drain.as_ref()).map_or(default::DRAIN, |drain| drain.value),
        drain_delay: server
            .and_then(|wire| wire.drain_delay.as_ref())
            .map_or(std::time::Duration::ZERO, |delay| delay.value),
        state_dir,
        trusted_proxies: listener::trusted(cx, server.map_or(&[], |wire| &wire.trusted_proxies)),
        client_ip_header: server
            .and_then(|wire| wire.client_ip_header.as_ref())
            .map(|at| at.value)
            .unwrap_or_default(),
        listeners,
        limits,
        bans,
        request_limits,
        metrics,
        admin,
        tls,
        sessions,
        redis,
        upstreams: upstreams.into_iter().filter_map(|(name, upstream)| Some((name, upstream?))).collect(),
        tenants,
        access_log,
        next_expiry: cx.next_expiry,
    }
}

/// Sessions are bound to what somebody asks for.
fn validate_binding(
    cx: &mut Context<'_>,
    root: &Root,
    files: &[Named<TenantName, TenantWire>],
    tenants: &Tenants,
) {
    // A tenant that could not be read may be the one that asks.
    let mut wires = files.iter().flat_map(|file| &file.0).map(|entry| entry.value.as_ref());
    if wires.any(|wire| {
        wire.is_none_or(|wire| {
            wire.client_certificate.is_some() || !cx.lacks(wire.span(), &["client_certificate"])
        })
    }) {
        return;
    }
    let mut bind = root.sessions.iter().filter_map(|wire| wire.0.as_ref()).flat_map(|wire| &wire.bind);
    if let Some(at) = bind.find(|at| at.value == Binding::ClientCertificate)
        && tenants.iter().all(|tenant| tenant.client_certificate.is_none())
    {
        cx.error(at.span, "no tenant asks for client certificates, so no session can be bound to one")
            .hint("add `client_certificate: {ca: FILE}` to a tenant, or take the word out");
    }
}

/// Returns the first listener that serves in clear text.
fn plaintext(root: &Root) -> Option<Span> {
    let mut listeners = root.listeners.0.iter().flat_map(|list| &list.0);
    listeners.find_map(|wire| wire.plaintext.as_ref().filter(|at| at.value).map(|at| at.span))
}

/// A TLS listener shows certificates.
fn validate_listener_certificates(cx: &mut Context<'_>, root: &Root, listeners: &[std::sync::Arc<Listener>]) {
    let tls = root.listeners.0.iter().flat_map(|list| &list.0).find(|wire| wire.tls.is_some());
    if let (Some(wire), None, false) = (tls, &root.tls, listeners.is_empty())
        && cx.lacks(root.span(), &["tls"])
    {
        let message = "this listener has no certificate to show";
        cx.error(wire.span(), message)
            .hint("add `tls: {certificates: [{cert: FILE, key: FILE}]}` at the top");
    }
}

fn state_dir(cx: &Context<'_>, server: Option<&ServerWire>) -> PathBuf {
    if let Some(dir) = server.and_then(|wire| wire.state_dir.as_ref()) {
        return cx.resolve(dir);
    }
    // systemd names several directories with colons between them; ours is the first.
    let given = cx.inputs.environment("STATE_DIRECTORY").unwrap_or_default();
    let first = given.split(':').next().unwrap_or_default();
    PathBuf::from(if first.is_empty() { default::STATE_DIR } else { first })
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

/// How large a file with a host's name may be: a name has 64 bytes (gethostname(2)), and some write comments
/// above it.
const NAME_BYTES: u64 = 4 << 10;

fn host_name() -> String {
    let read = ["/proc/sys/kernel/hostname", "/etc/hostname"]
        .iter()
        .find_map(|path| files::read_text(path.as_ref(), NAME_BYTES).ok());
    read.map(|name| name.trim().to_owned())
        .filter(|name| !name.is_empty())
        .unwrap_or_else(|| "octroi".to_owned())
}
