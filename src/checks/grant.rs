//! Is the app's grant valid?

use std::sync::Arc;

use super::{client_certificate, ip_access};
use crate::{
    model::{ClientIp, Deny, Presented, Reason, UnixTime, Verdict},
    policy::{Policy, Tenant},
    session::grant::Grant,
};

/// Finds the tenant that a grant is for, and proves that the user may sign in there from their address.
///
/// Observe mode relaxes none of it: a session that is granted is trusted later.
pub fn check<'p>(
    grant: &Grant,
    client: ClientIp,
    certificate: Option<&Presented>,
    realm: &'p Arc<Tenant>,
    policy: &'p Policy,
    now: UnixTime,
) -> Verdict<&'p Arc<Tenant>> {
    let Some(sessions) = &policy.sessions else {
        return Err(Deny::new(Reason::GrantMalformed, "no `sessions` are configured"));
    };
    if grant.user.looks_like_email() && !sessions.allow_email_user {
        return Err(Deny::new(
            Reason::GrantMalformed,
            "the user looks like an e-mail address; see `allow_email_user`",
        ));
    }
    let tenant = match &grant.tenant {
        None => realm,
        Some(name) if *name == realm.name => realm,
        Some(name) => {
            policy.tenants.named(name.as_str()).filter(|tenant| realm.admits(&tenant.name)).ok_or_else(
                || {
                    Deny::new(Reason::GrantTenant, format!("`{name}` is no member of `{}`", realm.name))
                        .by(realm.origin)
                },
            )?
        }
    };
    if tenant.suspended {
        return Err(Deny::new(Reason::GrantSuspended, format!("tenant `{}` is suspended", tenant.name))
            .by(tenant.origin));
    }
    if tenant.name != realm.name {
        client_certificate::of_member(certificate, tenant)
            .map_err(|deny| Deny { reason: Reason::GrantClientCertificate, ..deny })?;
    }
    ip_access::check(client, tenant, now).map_err(|deny| Deny { reason: Reason::GrantIpDenied, ..deny })?;
    Ok(tenant)
}
