//! Judging again what goes on for long: a tunnel is one request and may live for days.

use super::{Permit, ended, on_stale};
use crate::{
    checks::{client_certificate, ip_access, member, session},
    model::{Deny, Mode, Presented, Reason, UnixTime, Verdict},
    policy::{Policy, Tenant},
    state::RevocationStore,
};

/// Judges whether those who passed would still be let in, by the rules as they are now: the tenant, the session and its tenant.
///
/// Route and quotas were the request's question. The session's idle time is not asked either: a tunnel in use is no rest.
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
    let Some(session) = permit.session() else { return Ok(()) };
    let claims = &session.claims;
    let tenant = session::owner(claims, realm, policy)?;
    if tenant.name != realm.name {
        member::standing(tenant)?;
        client_certificate::of_member(certificate, tenant)?;
        enforced(tenant, member::address(permit.client(), tenant, now))?;
    }
    session::absolute_end(claims, &tenant.sessions, now)?;
    match ended(session, revocations, on_stale(policy), now) {
        // As for a new request: a public page does not need to know whether the session holds.
        Err(deny) if deny.reason == Reason::RevocationStale && permit.route().needs_no_session() => Ok(()),
        verdict => verdict,
    }
}

fn enforced<T>(tenant: &Tenant, verdict: Verdict<T>) -> Verdict {
    match verdict {
        Err(deny) if tenant.mode == Mode::Enforce => Err(deny),
        Ok(_) | Err(_) => Ok(()),
    }
}
