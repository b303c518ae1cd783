//! Which rules apply? Do they allow this method, this path, this body?

use std::sync::Arc;

use super::{
    hygiene::{Body, Clean, deny_path},
    upgrade,
};
use crate::{
    model::{Deny, Path, Reason, RequestView, Verdict},
    policy::{AlternateMatch, Matched, RequestLimits, Route, RouteAccess, Tenant},
};

pub use super::upgrade::Upgrade;

/// What the rules decided.
#[derive(Clone, Debug)]
pub struct Found<'p> {
    /// The rule for the path as requested.
    pub route: &'p Arc<Route>,
    /// The bounds of the request: the rule's, else the tenant's.
    pub limits: RequestLimits,
    /// What happens to an Upgrade field.
    pub upgrade: Upgrade,
}

/// Finds the most specific rule for the path, and the rules that apply too because an app may ignore case.
pub fn find<'p>(clean: &Clean<'_>, tenant: &'p Tenant) -> Matched<'p> {
    tenant.routes.match_path(&clean.path)
}

/// Adds the rules that apply because an app may see another path.
pub fn read<'p>(clean: &Clean<'_>, matched: &mut Matched<'p>, tenant: &'p Tenant) -> Verdict {
    tenant
        .routes
        .match_readings(&clean.path, matched)
        .map_err(|error| deny_path(&error).by(matched.route.origin))
}

/// Checks what the rules allow, apart from who may pass.
pub fn check<'p>(
    view: &RequestView<'_>,
    clean: &Clean<'_>,
    matched: &Matched<'p>,
    tenant: &Tenant,
) -> Verdict<Found<'p>> {
    let route = matched.route;
    allows(&clean.path, clean.method, matched)?;
    let upgrade = upgrade::check(view, clean, route).map_err(|deny| deny.by(route.origin))?;
    let limits = limits(matched, tenant);
    // Before any store is asked: a body that is announced too large is not worth a quota charge or a key.
    if let Body::Length(length) = clean.body
        && length > limits.body_bytes
    {
        let detail = format!("a body of {length} bytes, {} are allowed", limits.body_bytes);
        return Err(Deny::new(Reason::BodyTooLarge, detail).by(route.origin));
    }
    // Only where there is a body: the refusal is a formatted text, and nearly every request is a GET without
    // one.
    if let Body::Length(_) = clean.body
        && let Some(deny) = body_not_allowed(clean.method, route)
    {
        return Err(deny);
    }
    Ok(Found { route, limits, upgrade })
}

/// Returns the bounds of the rule for the path as requested, with the smallest body limit of all rules.
fn limits(matched: &Matched<'_>, tenant: &Tenant) -> RequestLimits {
    let of = |route: &Route| route.limits.unwrap_or(tenant.limits);
    let least = matched.rules().map(|route| of(route).body_bytes).min();
    let own = of(matched.route);
    RequestLimits { body_bytes: least.unwrap_or(own.body_bytes), ..own }
}

/// Checks the path and the method. What only some rules allow in a path, the rule for the path as requested
/// decides.
pub fn allows(path: &Path<'_>, method: &str, matched: &Matched<'_>) -> Verdict {
    let route = matched.route;
    if route.access == RouteAccess::Nobody {
        return Err(Deny::new(Reason::RouteNone, "no rule matches the path").by(route.origin));
    }
    path.permit(route.path).map_err(|error| deny_path(&error).by(route.origin))?;
    for AlternateMatch { route, reading } in &matched.alternates {
        if route.access == RouteAccess::Nobody {
            let read = reading.as_deref().unwrap_or_else(|| path.matching());
            return Err(Deny::new(
                Reason::RouteNone,
                format!("no rule matches `{read}`, as which an app may read the path"),
            )
            .by(route.origin));
        }
    }
    match matched.rules().find(|route| !route.lists(method)) {
        None => Ok(()),
        Some(route) => Err(Deny::new(
            Reason::MethodNotAllowed,
            format!("`{}` does not list {method}", route.id.as_str()),
        )
        .by(route.origin)),
    }
}

/// Refuses a body with a method that has none, unless the rule allows it. Where only its first octet shows
/// that there is one, this is called again then.
///
/// Servers that do not expect such a body parse it as the next request (RFC 9110, section 9.3.1).
pub fn body_not_allowed(method: &str, route: &Route) -> Option<Deny> {
    let refused = matches!(method, "GET" | "HEAD" | "OPTIONS") && !route.body;
    refused.then(|| {
        Deny::new(
            Reason::BodyNotAllowed,
            format!("{method} with a body, and `{}` does not say `body: true`", route.id.as_str()),
        )
        .by(route.origin)
    })
}
