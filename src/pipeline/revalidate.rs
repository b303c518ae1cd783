//! Revalidation of long exchanges: a tunnel is one request, and may live for days.

use std::sync::Arc;

use super::{
    OnSessionEnd, Permit, Session,
    revocation::{ended, on_stale},
};
use crate::{
    checks::{authorization, client_certificate, ip_access, member, route, session},
    model::{Deny, Mode, Path, Presented, Reason, UnixTime, Verdict},
    policy::{Matched, Policy, Route, RouteAccess, Tenant},
    sessions::RevocationStore,
};

/// How a revalidated exchange continues.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Revalidation {
    /// With everything that it began with.
    Unchanged,
    /// Without a session: the one that it began with has ended, and is not needed.
    WithoutSession,
}

/// Whether the rules for a request need its session.
#[derive(Clone, Copy, Debug)]
struct Needs {
    /// Whether all rules are public, or nothing is enforced: a new request would continue without a session.
    none: bool,
    /// Whether a new request would continue although it is unknown whether its session holds.
    none_known: bool,
    /// Whether each rule is public or lets the app end sessions: the answer may be a sign-out, and is
    /// delivered even if the session has ended meanwhile.
    none_to_sign_out: bool,
}

impl Needs {
    fn of<'a>(realm: &Tenant, mut rules: impl Iterator<Item = &'a Route> + Clone) -> Self {
        let public = |route: &Route| route.access == RouteAccess::Public;
        Self {
            // Observe mode relaxes everything but the age of a sign-in.
            none: rules
                .clone()
                .all(|route| public(route) || (realm.mode == Mode::Observe && route.max_auth_age.is_none())),
            none_known: rules.clone().all(Route::needs_no_session),
            none_to_sign_out: rules.all(|route| public(route) || route.revoke),
        }
    }
}

/// Judges whether an exchange that passed would pass by the rules of now: the tenant, the session and its
/// tenant and, after a reload, the rule for the path, its roles and its age of sign-in.
///
/// Quotas were charged when the request came. The session's idle time is not checked: a tunnel is in use. Nor
/// does a tunnel end because its sign-in grows old under an unchanged rule: that was checked at its start.
///
/// A session that has ended ends the exchange, unless nothing needs it any more. As for a new request, a
/// session on a public rule counts as none; and if the app may end sessions and has the whole request, its
/// answer is waited for, because it may be a sign-out. On a rule that needs a session, an ended one yields no
/// new one: otherwise a user who was signed out could get it from a request under way. An exchange that
/// streams with the identity given to the app at its start ends with its session on every rule.
///
/// `certificate` is the one of the connection, with who accepts it now.
pub fn revalidate<R: RevocationStore>(
    permit: &Permit,
    certificate: Option<&Presented>,
    policy: &Policy,
    revocations: &R,
    now: UnixTime,
) -> Verdict<Revalidation> {
    let host_gone = || {
        Deny::new(
            Reason::HostUnknown,
            format!("tenant `{}` no longer has the host `{}`", permit.tenant().name, permit.host()),
        )
    };
    let realm = policy
        .tenants
        .owning(permit.host())
        .filter(|realm| realm.name == permit.tenant().name)
        .ok_or_else(host_gone)?;
    if realm.suspended {
        return Err(Deny::new(Reason::TenantSuspended, format!("tenant `{}` is suspended", realm.name))
            .by(realm.origin));
    }
    client_certificate::of_realm(certificate, realm)?;
    enforced(realm, ip_access::check(permit.client(), realm, now))?;
    let needs = by_rule(permit, realm, now)?;
    let Some(session) = permit.session() else { return Ok(Revalidation::Unchanged) };
    let claims = &session.claims;
    let tenant = match session::owner(claims, realm, policy) {
        Err(_) if needs.none && permit.on_session_end() != OnSessionEnd::Ends => {
            return Ok(Revalidation::WithoutSession);
        }
        owner => owner?,
    };
    if tenant.name != realm.name {
        member::check_active(tenant)?;
        client_certificate::of_member(certificate, tenant)?;
        enforced(tenant, member::address(permit.client(), tenant, now))?;
    }
    let goes_without = match permit.on_session_end() {
        // The answer itself ended the session, and tells its client.
        OnSessionEnd::Nothing => return Ok(Revalidation::Unchanged),
        OnSessionEnd::AsNew => needs.none,
        OnSessionEnd::AwaitsAnswer => needs.none || needs.none_to_sign_out,
        OnSessionEnd::Ends => false,
    };
    let holds = session::absolute_end(claims, &tenant.sessions, now)
        .and_then(|()| ended(session, revocations, on_stale(policy), now))
        .map(|()| Revalidation::Unchanged);
    match holds {
        // As for a new request: a public page does not need to know whether the session holds, but a sign-in
        // or sign-out does. A session that began in this answer cannot have been ended by anybody else.
        Err(deny) if deny.reason == Reason::RevocationStale && (needs.none_known || permit.is_granted()) => {
            Ok(Revalidation::Unchanged)
        }
        Err(deny) if [Reason::RevocationStale, Reason::RevocationUnavailable].contains(&deny.reason) => {
            Err(deny)
        }
        Err(_) if goes_without => Ok(Revalidation::WithoutSession),
        verdict => verdict,
    }
}

/// Judges the path again by the rules of a reloaded tenant. Returns whether the rules need the session.
fn by_rule(permit: &Permit, realm: &Arc<Tenant>, now: UnixTime) -> Verdict<Needs> {
    // Each reload makes all tenants anew, so the rules are the same.
    if Arc::ptr_eq(realm, permit.tenant()) {
        return Ok(Needs::of(realm, permit.rules().map(|route| &**route)));
    }
    let target = permit.path_and_query();
    let path = target.split_once('?').map_or(target, |(path, _)| path);
    // It was forwarded, so it is a valid path.
    let path =
        Path::parse(path.as_bytes()).map_err(|error| Deny::new(Reason::PathEncoding, error.to_string()))?;
    let matched =
        realm.routes.match_all(&path).map_err(|error| Deny::new(Reason::PathEncoding, error.to_string()))?;
    route::allows(&path, permit.method(), &matched)?;
    if permit.websocket() && !matched.route.websocket {
        let detail = format!("`{}` opens no WebSockets any more", matched.route.id.as_str());
        return Err(Deny::new(Reason::UpgradeRefused, detail).by(matched.route.origin));
    }
    may_pass(permit, permit.session(), &matched, realm, now)?;
    Ok(Needs::of(realm, matched.rules().map(|route| &**route)))
}

fn may_pass(
    permit: &Permit,
    session: Option<&Session>,
    matched: &Matched<'_>,
    realm: &Tenant,
    now: UnixTime,
) -> Verdict {
    for route in matched.rules() {
        match session {
            None => enforced(realm, session::required(route))?,
            Some(session) => enforced(realm, authorization::role(session, route))?,
        }
        let is_new = permit.rules().all(|before| before.max_auth_age != route.max_auth_age);
        if is_new {
            authorization::age(session, route, now)?;
        }
    }
    Ok(())
}

fn enforced<T>(tenant: &Tenant, verdict: Verdict<T>) -> Verdict {
    match verdict {
        Err(deny) if tenant.mode == Mode::Enforce => Err(deny),
        Ok(_) | Err(_) => Ok(()),
    }
}
