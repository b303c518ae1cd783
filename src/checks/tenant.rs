//! Which tenant owns the host, and may it be served over this transport?

use std::sync::Arc;

use super::{client_certificate, hygiene::Clean};
use crate::{
    model::{Deny, Reason, RequestView, Transport, Verdict},
    policy::{Listener, ListenerKind, Policy, Tenant},
};

/// What a host leads to.
#[derive(Clone, Debug)]
pub enum TenantMatch<'p> {
    /// The tenant that owns it: the realm of the request.
    Realm(&'p Arc<Tenant>),
    /// The same URL over HTTPS.
    Redirect(String),
}

/// Finds the tenant that owns the host.
pub fn find<'p>(
    view: &RequestView<'_>,
    clean: &Clean<'_>,
    listener: &Listener,
    policy: &'p Policy,
) -> Verdict<&'p Arc<Tenant>> {
    // The bound port counts too: the configuration may leave it to the system (port 0).
    if let Some(port) =
        clean.port.filter(|&port| !listener.answers_port(port) && port != view.connection.local.port())
    {
        return Err(Deny::new(
            Reason::HostUnknown,
            format!("listener `{}` does not answer for port {port}", listener.name),
        )
        .by(listener.origin));
    }
    let found = policy.tenants.owning(&clean.host);
    found.ok_or_else(|| Deny::new(Reason::HostUnknown, format!("no tenant has the host `{}`", clean.host)))
}

/// Proves that the host was requested over the transport that it is served over, and that its tenant is
/// active.
///
/// It is checked for every request, not for every connection: browsers send requests for several hosts over
/// one HTTP/2 connection.
pub fn check<'p>(
    view: &RequestView<'_>,
    clean: &Clean<'_>,
    tenant: &'p Arc<Tenant>,
    listener: &Listener,
    policy: &Policy,
) -> Verdict<TenantMatch<'p>> {
    match (&view.connection.transport, listener.kind) {
        (Transport::Tls(tls), _) => match &tls.sni {
            Some(sni) if policy.tenants.owning(sni).is_some_and(|owner| owner.name == tenant.name) => {}
            Some(sni) => {
                let detail = format!(
                    "the handshake named `{sni}`, the request `{}`, which is of tenant `{}`",
                    clean.host, tenant.name
                );
                return Err(Deny::new(Reason::SniMismatch, detail));
            }
            None if tenant.allow_no_sni => {}
            None => {
                return Err(Deny::new(Reason::SniMissing, "the handshake named no host").by(tenant.origin));
            }
        },
        (Transport::Plain, ListenerKind::Redirect { .. }) => {}
        (Transport::Plain, ListenerKind::Plaintext) => {
            if let Some(rules) = &tenant.client_certificate {
                let detail =
                    format!("tenant `{}` has client certificates, and clear text has none", tenant.name);
                return Err(Deny::new(Reason::PlaintextRefused, detail).by(rules.origin));
            }
        }
        (Transport::Plain, ListenerKind::Tls) => {
            return Err(Deny::new(Reason::PlaintextRefused, "a connection from before the listener had TLS")
                .by(listener.origin));
        }
    }
    if tenant.suspended {
        return Err(Deny::new(Reason::TenantSuspended, format!("tenant `{}` is suspended", tenant.name))
            .by(tenant.origin));
    }
    match listener.kind {
        ListenerKind::Tls | ListenerKind::Plaintext => {
            client_certificate::of_realm(view.certificate, tenant)?;
            Ok(TenantMatch::Realm(tenant))
        }
        ListenerKind::Redirect { port } => {
            redirect(clean, port).map(TenantMatch::Redirect).map_err(|deny| deny.by(listener.origin))
        }
    }
}

/// Builds the HTTPS URL of the same resource. Only requests that can be repeated without loss are redirected.
fn redirect(clean: &Clean<'_>, port: u16) -> Verdict<String> {
    let query = clean.query.map(|query| format!("?{query}")).unwrap_or_default();
    let path = clean.path.raw();
    match clean.method {
        "GET" | "HEAD" if port == 443 => Ok(format!("https://{}{path}{query}", clean.host)),
        "GET" | "HEAD" => Ok(format!("https://{}:{port}{path}{query}", clean.host)),
        method => Err(Deny::new(Reason::PlaintextRefused, format!("{method} cannot be redirected"))),
    }
}
