//! The owner of a request that hygiene refused: for its access line, its answer and the counters, and for
//! nothing else.
//!
//! Nothing in such a request is believed. So the tenant is one that the client could have asked anyway: the
//! owner of the host, and over TLS only where the handshake named the same one.

use std::sync::Arc;

use crate::{
    headers,
    model::{Facts, Host, RequestView},
    policy::{Policy, Tenant},
};

/// Finds the host that a request names, and its tenant.
pub fn of_request(view: &RequestView<'_>, policy: &Policy) -> Option<(Host, Option<Arc<Tenant>>)> {
    let mut hosts = view.headers.get_all(http::header::HOST).iter().map(http::HeaderValue::as_bytes);
    let named = match (view.authority, hosts.next(), hosts.next()) {
        (Some(authority), _, _) => authority.as_bytes(),
        (None, Some(host), None) => host,
        (None, ..) => return None,
    };
    found(named, view.connection, policy)
}

/// Finds the same in a head as received, which the library never parsed.
pub fn of_head(head: &[u8], facts: &Facts, policy: &Policy) -> Option<(Host, Option<Arc<Tenant>>)> {
    let mut hosts =
        headers::lines(head).filter(|(name, _)| name.eq_ignore_ascii_case(b"host")).map(|(_, value)| value);
    let named = hosts.next().filter(|_| hosts.next().is_none())?;
    found(named, facts, policy)
}

fn found(named: &[u8], facts: &Facts, policy: &Policy) -> Option<(Host, Option<Arc<Tenant>>)> {
    let (host, _) = Host::parse_authority(std::str::from_utf8(named.trim_ascii()).ok()?).ok()?;
    let owner = policy.tenants.owning(&host);
    let agrees = |owner: &&Arc<Tenant>| match facts.tls().and_then(|tls| tls.sni.as_ref()) {
        Some(sni) => policy.tenants.owning(sni).is_some_and(|other| other.name == owner.name),
        None => true,
    };
    let owner = owner.filter(agrees).cloned();
    Some((host, owner))
}
