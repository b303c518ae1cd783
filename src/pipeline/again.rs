//! Judging again what goes on for long: a tunnel is one request and may live for days.

use std::sync::Arc;

use super::{Permit, Session, ended, on_stale};
use crate::{
    checks::{authorization, client_certificate, ip_access, member, route, session},
    model::{Deny, Mode, Path, Presented, Reason, UnixTime, Verdict},
    policy::{Matched, Policy, Tenant},
    state::RevocationStore,
};

/// Judges whether those who passed would still be let in, by the rules as they are now: the tenant, the session and its tenant, and, once
/// the rules have been loaded again, the rule for the path, its roles and its age of sign-in.
///
/// Quotas were the request's question. The session's idle time is not asked either: a tunnel in use is no rest. Nor does a tunnel end
/// because its sign-in grows old under a rule that stays as it was: that was asked when it began.
///
/// The certificate is the one that the connection holds, and who accepts it now.
pub fn judge_again<R: RevocationStore>(
    permit: &Permit,
    certificate: Option<&Presented>,
    policy: &Policy,
    revocations: &R,
    now: UnixTime,
) -> Verdict {
    let gone = || Deny::new(Reason::HostUnknown, format!("tenant `{}` no longer has the host `{}`", permit.tenant().name, permit.host()));
    let realm = policy.tenants.owning(permit.host()).filter(|realm| realm.name == permit.tenant().name).ok_or_else(gone)?;
    if realm.suspended {
        return Err(Deny::new(Reason::TenantSuspended, format!("tenant `{}` is suspended", realm.name)).by(realm.origin));
    }
    client_certificate::of_realm(certificate, realm)?;
    enforced(realm, ip_access::check(permit.client(), realm, now))?;
    by_rule(permit, realm, now)?;
    let Some(session) = permit.session() else { return Ok(()) };
    let claims = &session.claims;
    let tenant = session::owner(claims, realm, policy)?;
    if tenant.name != realm.name {
        member::standing(tenant)?;
        client_certificate::of_member(certificate, tenant)?;
        enforced(tenant, member::address(permit.client(), tenant, now))?;
    }
    // The answer itself ended the session, and says so to its client.
    if permit.is_signed_out() {
        return Ok(());
    }
    session::absolute_end(claims, &tenant.sessions, now)?;
    match ended(session, revocations, on_stale(policy), now) {
        // As for a new request: a public page does not need to know whether the session holds.
        Err(deny) if deny.reason == Reason::RevocationStale && permit.route().needs_no_session() => Ok(()),
        verdict => verdict,
    }
}

/// Judges the path anew by the rules of a tenant that has been loaded again.
fn by_rule(permit: &Permit, realm: &Arc<Tenant>, now: UnixTime) -> Verdict {
    // Every reload makes every tenant anew, so this is the one that let it in.
    if Arc::ptr_eq(realm, permit.tenant()) {
        return Ok(());
    }
    let target = permit.path_and_query();
    let path = target.split_once('?').map_or(target, |(path, _)| path);
    // It was forwarded, so it is one.
    let path = Path::parse(path.as_bytes()).map_err(|error| Deny::new(Reason::PathEncoding, error.to_string()))?;
    let matched = realm.routes.judging(&path).map_err(|error| Deny::new(Reason::PathEncoding, error.to_string()))?;
    route::allows(&path, permit.method(), &matched)?;
    if permit.websocket() && !matched.route.websocket {
        let detail = format!("`{}` opens no WebSockets any more", matched.route.id.as_str());
        return Err(Deny::new(Reason::UpgradeRefused, detail).by(matched.route.origin));
    }
    may_pass(permit, permit.session(), &matched, realm, now)
}

fn may_pass(permit: &Permit, session: Option<&Session>, matched: &Matched<'_>, realm: &Tenant, now: UnixTime) -> Verdict {
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
