//! Which rule? And does it allow this method, this path, this body?

use std::sync::Arc;

use super::{
    hygiene::{Body, Clean, deny_path},
    upgrade,
};
use crate::{
    model::{Deny, Reason, RequestView, Verdict},
    policy::{RequestLimits, Route, RouteAccess, Tenant},
};

pub use super::upgrade::Upgrade;

/// What the rule settled.
#[derive(Clone, Debug)]
pub struct Found<'p> {
    /// The rule.
    pub route: &'p Arc<Route>,
    /// The bounds of the request: the rule's, else the tenant's.
    pub limits: RequestLimits,
    /// What becomes of an Upgrade field.
    pub upgrade: Upgrade,
}

/// Finds the most specific rule for the path.
pub fn find<'p>(clean: &Clean<'_>, tenant: &'p Tenant) -> &'p Arc<Route> {
    tenant.routes.find(clean.path.matching())
}

/// Judges what the rule allows, beside who may pass.
pub fn check<'p>(view: &RequestView<'_>, clean: &Clean<'_>, route: &'p Arc<Route>, tenant: &Tenant) -> Verdict<Found<'p>> {
    judge(view, clean, route, tenant).map_err(|deny| deny.by(route.origin))
}

fn judge<'p>(view: &RequestView<'_>, clean: &Clean<'_>, route: &'p Arc<Route>, tenant: &Tenant) -> Verdict<Found<'p>> {
    if route.access == RouteAccess::Nobody {
        return Err(Deny::new(Reason::RouteNone, "no rule matches the path"));
    }
    clean.path.permit(route.path).map_err(|error| deny_path(&error))?;
    if !lists(route, clean.method) {
        return Err(Deny::new(Reason::MethodNotAllowed, format!("`{}` does not list {}", route.id.as_str(), clean.method)));
    }
    let upgrade = upgrade::check(view, clean, route)?;
    let limits = route.limits.unwrap_or(tenant.limits);
    // Before anybody is asked anything: what is announced too large is not worth a token or a key.
    if let Body::Length(length) = clean.body
        && length > limits.body_bytes
    {
        return Err(Deny::new(Reason::BodyTooLarge, format!("a body of {length} bytes, {} are allowed", limits.body_bytes)));
    }
    Ok(Found { route, limits, upgrade })
}

fn lists(route: &Route, method: &str) -> bool {
    if route.methods.is_empty() {
        return matches!(method, "GET" | "HEAD" | "POST" | "PUT" | "PATCH" | "DELETE" | "OPTIONS");
    }
    route.methods.iter().any(|listed| **listed == *method)
}
