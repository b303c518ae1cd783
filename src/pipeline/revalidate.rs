//! Revalidation of long exchanges: a tunnel is one request and may live for days.

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

/// What an exchange under way continues with, once it was revalidated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Revalidation {
    /// Everything that it began with.
    Unchanged,
    /// No session any more: the one that it began with has ended, and is not needed.
    WithoutSession,
}

/// How much the rules for a request make of its session.
#[derive(Clone, Copy, Debug)]
struct Needs {
    /// Whether all of them let everybody pass, or nothing is enforced: a new request would go on without it.
    none: bool,
    /// Whether a new request would go on though nobody knows whether its session holds.
    none_known: bool,
    /// Whether each of them lets everybody pass, or lets the app end sessions: its answer may be a sign-out,
    /// and that arrives whatever became of the session meanwhile.
    none_to_sign_out: bool,
}

impl Needs {
    fn of<'a>(realm: &Tenant, mut rules: impl Iterator<Item = &'a Route> + Clone) -> Self {
        let public = |route: &Route| route.access == RouteAccess::Public;
        Self {
            // Observing relaxes everything but the age of a sign-in.
            none: rules
                .clone()
                .all(|route| public(route) || (realm.mode == Mode::Observe && route.max_auth_age.is_none())),
            none_known: rules.clone().all(Route::needs_no_session),
            none_to_sign_out: rules.all(|route| public(route) || route.revoke),
        }
    }
}

/// Judges whether those who passed would still be let in, by the rules as they are now: the tenant, the
/// session and its tenant, and, once the rules have been loaded again, the rule for the path, its roles and
/// its age of sign-in.
///
/// Quotas were the request's question. The session's idle time is not asked either: a tunnel in use is no
/// rest. Nor does a tunnel end because its sign-in grows old under a rule that stays as it was: that was
/// asked when it began.
///
/// A session that has ended ends the exchange, unless nothing needs it any more: as for a new request, one on
/// a public rule counts as none; and where the app may end sessions and has all of the request, its answer is
/// waited for, which may do just that. Nobody gets a new session out of one that has ended on a rule that
/// needs one: whoever was shut out would have it from a request that was under way. What streams with the
/// identity that the app was told at its start ends with it everywhere.
///
/// The certificate is the one that the connection holds, and who accepts it now.
pub fn revalidate<R: RevocationStore>(
    permit: &Permit,
    certificate: Option<&Presented>,
    policy: &Policy,
    revocations: &R,
    now: UnixTime,
) -> Verdict<Revalidation> {
    let gone = || {
        Deny::new(
            Reason::HostUnknown,
            format!("tenant `{}` no longer has the host `{}`", permit.tenant().name, permit.host()),
        )
    };
    let realm = policy
        .tenants
        .owning(permit.host())
        .filter(|realm| realm.name == permit.tenant().name)
        .ok_or_else(gone)?;
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
        // The answer itself ended the session, and says so to its client.
        OnSessionEnd::Nothing => return Ok(Revalidation::Unchanged),
        OnSessionEnd::AsNew => needs.none,
        OnSessionEnd::AwaitsAnswer => needs.none || needs.none_to_sign_out,
        OnSessionEnd::Ends => false,
    };
    let holds = session::absolute_end(claims, &tenant.sessions, now)
        .and_then(|()| ended(session, revocations, on_stale(policy), now))
        .map(|()| Revalidation::Unchanged);
    match holds {
        // As for a new request: a public page does not need to know whether the session holds, and whoever
        // signs in or out does. Where the session began in the answer, nobody else can have ended it.
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

/// Judges the path anew by the rules of a tenant that has been loaded again, and says what the rules make of
/// the session.
fn by_rule(permit: &Permit, realm: &Arc<Tenant>, now: UnixTime) -> Verdict<Needs> {
    // Every reload makes every tenant anew, so this is the one that let it in.
    if Arc::ptr_eq(realm, permit.tenant()) {
        return Ok(Needs::of(realm, permit.rules().map(|route| &**route)));
    }
    let target = permit.path_and_query();
    let path = target.split_once('?').map_or(target, |(path, _)| path);
    // It was forwarded, so it is one.
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
