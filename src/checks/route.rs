//! Which rules? And do they allow this method, this path, this body?

use std::sync::Arc;

use super::{
    hygiene::{Body, Clean, deny_path},
    upgrade,
};
use crate::{
    model::{Deny, Path, Reason, RequestView, Verdict},
    policy::{Also, Matched, RequestLimits, Route, RouteAccess, Tenant},
};

pub use super::upgrade::Upgrade;

/// What the rules settled.
#[derive(Clone, Debug)]
pub struct Found<'p> {
    /// The rule for the path as asked.
    pub route: &'p Arc<Route>,
    /// The bounds of the request: the rule's, else the tenant's.
    pub limits: RequestLimits,
    /// What becomes of an Upgrade field.
    pub upgrade: Upgrade,
}

/// Finds the most specific rule for the path, and those that judge it too for whoever does not tell case apart.
pub fn find<'p>(clean: &Clean<'_>, tenant: &'p Tenant) -> Matched<'p> {
    tenant.routes.asked(&clean.path)
}

/// Adds the rules that judge the path too because an app may read it otherwise.
pub fn read<'p>(clean: &Clean<'_>, matched: &mut Matched<'p>, tenant: &'p Tenant) -> Verdict {
    tenant.routes.read(&clean.path, matched).map_err(|error| deny_path(&error).by(matched.route.origin))
}

/// Judges what the rules allow, beside who may pass.
pub fn check<'p>(view: &RequestView<'_>, clean: &Clean<'_>, matched: &Matched<'p>, tenant: &Tenant) -> Verdict<Found<'p>> {
    let route = matched.route;
    allows(&clean.path, clean.method, matched)?;
    let upgrade = upgrade::check(view, clean, route).map_err(|deny| deny.by(route.origin))?;
    let limits = limits(matched, tenant);
    // Before anybody is asked anything: what is announced too large is not worth a token or a key.
    if let Body::Length(length) = clean.body
        && length > limits.body_bytes
    {
        let detail = format!("a body of {length} bytes, {} are allowed", limits.body_bytes);
        return Err(Deny::new(Reason::BodyTooLarge, detail).by(route.origin));
    }
    // Asked only where there is one: the refusal is text, and nearly every request is a GET without a body.
    if let Body::Length(_) = clean.body
        && let Some(deny) = body_not_allowed(clean.method, route)
    {
        return Err(deny);
    }
    Ok(Found { route, limits, upgrade })
}

/// Returns the bounds of the rule for the path as asked, with no larger a body than the others allow.
fn limits(matched: &Matched<'_>, tenant: &Tenant) -> RequestLimits {
    let of = |route: &Route| route.limits.unwrap_or(tenant.limits);
    let least = matched.rules().map(|route| of(route).body_bytes).min();
    let own = of(matched.route);
    RequestLimits { body_bytes: least.unwrap_or(own.body_bytes), ..own }
}

/// Judges the path and the method. What only some rules allow a path to have, the one for the path as asked says.
pub fn allows(path: &Path<'_>, method: &str, matched: &Matched<'_>) -> Verdict {
    let route = matched.route;
    if route.access == RouteAccess::Nobody {
        return Err(Deny::new(Reason::RouteNone, "no rule matches the path").by(route.origin));
    }
    path.permit(route.path).map_err(|error| deny_path(&error).by(route.origin))?;
    for Also { route, reading } in &matched.also {
        if route.access == RouteAccess::Nobody {
            let read = reading.as_deref().unwrap_or_else(|| path.matching());
            return Err(
                Deny::new(Reason::RouteNone, format!("no rule matches `{read}`, as which an app may read the path")).by(route.origin)
            );
        }
    }
    match matched.rules().find(|route| !route.lists(method)) {
        None => Ok(()),
        Some(route) => Err(Deny::new(Reason::MethodNotAllowed, format!("`{}` does not list {method}", route.id.as_str())).by(route.origin)),
    }
}

/// Refuses a body with a method that has none, unless the rule says that it may. Where only its first octet tells that there is one, this
/// is asked again then.
///
/// Servers that do not look for such a body read it as the next request (RFC 9110, section 9.3.1).
pub fn body_not_allowed(method: &str, route: &Route) -> Option<Deny> {
    let refused = matches!(method, "GET" | "HEAD" | "OPTIONS") && !route.body;
    refused.then(|| {
        Deny::new(Reason::BodyNotAllowed, format!("{method} with a body, and `{}` does not say `body: true`", route.id.as_str()))
            .by(route.origin)
    })
}
