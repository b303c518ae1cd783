//! Whose request it was that hygiene refused: for its line, its answer and the counters, and for nothing else.
//!
//! Nothing is believed of such a request. So the tenant that is named is one that the client could have asked anyway: the owner of the host,
//! and over TLS only where the handshake named the same one.

use std::sync::Arc;

use super::cookie_load;
use crate::{
    model::{Facts, Host, RequestView},
    policy::{Policy, Tenant},
};

/// Finds the host that a request names, and its tenant.
pub(super) fn of_request(view: &RequestView<'_>, policy: &Policy) -> Option<(Host, Option<Arc<Tenant>>)> {
    let mut hosts = view.headers.get_all(http::header::HOST).iter().map(http::HeaderValue::as_bytes);
    let named = match (view.authority, hosts.next(), hosts.next()) {
        (Some(authority), _, _) => authority.as_bytes(),
        (None, Some(host), None) => host,
        (None, ..) => return None,
    };
    found(named, view.connection, policy)
}

/// The same of a head as received, which nobody has read.
pub fn of_head(head: &[u8], facts: &Facts, policy: &Policy) -> Option<(Host, Option<Arc<Tenant>>)> {
    let mut hosts = cookie_load::lines(head).filter(|(name, _)| name.eq_ignore_ascii_case(b"host")).map(|(_, value)| value);
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
