//! May the session's tenant be used here, where it is not the realm itself?

use super::ip_access;
use crate::{
    model::{ClientIp, Deny, Reason, UnixTime, Verdict},
    policy::{RangeRule, Tenant},
};

/// Refuses the users of a suspended member. Observe mode does not relax it.
pub fn check_active(member: &Tenant) -> Verdict {
    if member.suspended {
        return Err(Deny::new(Reason::MemberSuspended, format!("tenant `{}` is suspended", member.name))
            .by(member.origin));
    }
    Ok(())
}

/// Checks the member's own ranges: at a host that many tenants share, only the session says whose ranges
/// apply.
pub fn address(client: ClientIp, member: &Tenant, now: UnixTime) -> Verdict<Option<&RangeRule>> {
    ip_access::check(client, member, now).map_err(|deny| {
        let reason =
            if deny.reason == Reason::IpDenied { Reason::MemberIpDenied } else { Reason::MemberIpNotAllowed };
        Deny { reason, ..deny }
    })
}
