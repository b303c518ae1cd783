//! Is the client's address inside the tenant's ranges?

use crate::{
    model::{ClientIp, Deny, Reason, UnixTime, Verdict},
    policy::{Access, RangeRule, Tenant},
};

/// Allows a client that no deny range contains and, where the tenant lists allowed ranges, that is in one of
/// them.
///
/// Returns the range that allowed it. A range that has expired since the policy was loaded is ignored; a
/// reload follows.
pub fn check(client: ClientIp, tenant: &Tenant, now: UnixTime) -> Verdict<Option<&RangeRule>> {
    match tenant.ip_access.lookup(client, now) {
        Access::Open => Ok(None),
        Access::Expired(rule) => {
            Err(Deny::new(Reason::IpNotAllowed, format!("{client} is in {}, which has expired", rule.range))
                .by(rule.origin))
        }
        Access::Allowed(rule) => Ok(Some(rule)),
        Access::Denied(rule) => {
            Err(Deny::new(Reason::IpDenied, format!("{client} is in {}", rule.range)).by(rule.origin))
        }
        Access::Unlisted => Err(Deny::new(
            Reason::IpNotAllowed,
            format!("{client} is in no allowed range of tenant `{}`", tenant.name),
        )
        .by(tenant.origin)),
    }
}
