//! Who calls the admin API, and from where.

use std::net::{Ipv6Addr, SocketAddr};

use sha2::{Digest, Sha256};
use subtle::{Choice, ConstantTimeEq};

use super::exchange::Head;
use crate::{
    model::{Principal, Role, UnixTime},
    policy::{Admin, AdminPrincipal},
};

/// The peer of an admin connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Caller {
    /// Over TCP, from this address.
    Remote(SocketAddr),
    /// Over the control socket, as the kernel identifies it.
    Local {
        /// The user of the calling process.
        uid: u32,
    },
}

/// Why a caller is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct CallerRefusal {
    pub(super) status: u16,
    pub(super) code: &'static str,
    pub(super) message: &'static str,
    /// For the log only: whose token expired, or which user called.
    pub(super) detail: Option<String>,
}

/// Authenticates the caller, or says why it is refused.
///
/// Over TCP, the Host must be listed (this stops DNS rebinding), the call must not come from a web page, and
/// the Bearer token must belong to a principal that has not expired. Over the control socket, the kernel's
/// credentials count: root or our own user.
pub(super) fn identify(
    head: &Head,
    caller: Caller,
    admin: Option<&Admin>,
    own_uid: u32,
    now: UnixTime,
) -> Result<Principal, CallerRefusal> {
    match caller {
        Caller::Local { uid } => {
            from_no_page(head)?;
            local(uid, own_uid)
        }
        Caller::Remote(_) => {
            let admin = admin.ok_or_else(|| caller_refusal(403, "admin_off", "the admin listener is off"))?;
            to_our_name(head, admin)?;
            from_no_page(head)?;
            bearer(head, admin, now)
        }
    }
}

fn local(uid: u32, own_uid: u32) -> Result<Principal, CallerRefusal> {
    if uid == 0 || uid == own_uid {
        return Ok(Principal {
            name: format!("local:{uid}"),
            roles: vec![Role::Viewer, Role::Operator, Role::Auditor],
        });
    }
    let refused =
        caller_refusal(403, "forbidden", "only root and octroi's own user may use the control socket");
    Err(CallerRefusal { detail: Some(format!("local:{uid}")), ..refused })
}

fn to_our_name(head: &Head, admin: &Admin) -> Result<(), CallerRefusal> {
    let host = head.only("host").ok_or_else(|| {
        caller_refusal(400, "host_missing", "the request has no Host field, or more than one")
    })?;
    let name = name_of(host);
    if name.is_some_and(|name| {
        admin.hosts.iter().any(|listed| without_brackets(listed).eq_ignore_ascii_case(name))
    }) {
        return Ok(());
    }
    Err(caller_refusal(421, "host_unknown", "`admin.hosts` does not list this Host"))
}

/// Returns the name in `name`, `name:port`, `[address]` or `[address]:port`; `None` for anything else.
fn name_of(host: &str) -> Option<&str> {
    let (name, port) = match host.strip_prefix('[').map(|rest| rest.split_once(']')) {
        Some(found) => {
            let (address, rest) = found.filter(|(address, _)| address.parse::<Ipv6Addr>().is_ok())?;
            (address, if rest.is_empty() { None } else { Some(rest.strip_prefix(':')?) })
        }
        None => host.split_once(':').map_or((host, None), |(name, port)| (name, Some(port))),
    };
    let is_port = |port: &str| port.bytes().all(|byte| byte.is_ascii_digit()) && port.parse::<u16>().is_ok();
    port.is_none_or(is_port).then_some(name)
}

fn without_brackets(host: &str) -> &str {
    host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host)
}

/// Refuses requests that a browser sends on behalf of a web page.
fn from_no_page(head: &Head) -> Result<(), CallerRefusal> {
    let same = |line: &[u8]| line == b"none" || line == b"same-origin";
    if head.lines("origin").next().is_some() || !head.lines("sec-fetch-site").all(same) {
        return Err(caller_refusal(403, "cross_site", "calls from web pages are refused"));
    }
    Ok(())
}

fn bearer(head: &Head, admin: &Admin, now: UnixTime) -> Result<Principal, CallerRefusal> {
    let nobody = || caller_refusal(401, "unauthorized", "a valid Bearer token is required");
    let field = head.only("authorization").ok_or_else(nobody)?;
    let (scheme, token) = field.split_once(' ').ok_or_else(nobody)?;
    if !scheme.eq_ignore_ascii_case("bearer") {
        return Err(nobody());
    }
    let principal = find(&admin.principals, token.trim().as_bytes()).ok_or_else(nobody)?;
    if principal.expires.is_some_and(|end| end <= now) {
        return Err(CallerRefusal {
            detail: Some(format!("the token of {} has expired", principal.name)),
            ..nobody()
        });
    }
    Ok(Principal { name: principal.name.clone(), roles: principal.roles.clone() })
}

/// Finds the principal of a token. Every principal is compared, digest with digest, so the time reveals
/// neither position, length nor prefix.
fn find<'a>(principals: &'a [AdminPrincipal], token: &[u8]) -> Option<&'a AdminPrincipal> {
    let presented = Sha256::digest(token);
    let mut found = None;
    for principal in principals {
        let same: Choice = Sha256::digest(principal.token.expose()).as_slice().ct_eq(presented.as_slice());
        if bool::from(same) {
            found = Some(principal);
        }
    }
    found
}

fn caller_refusal(status: u16, code: &'static str, message: &'static str) -> CallerRefusal {
    CallerRefusal { status, code, message, detail: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_no_part_of_the_name() {
        assert_eq!(name_of("localhost:9901"), Some("localhost"));
        assert_eq!(name_of("[::1]:9901"), Some("::1"));
        assert_eq!(name_of("[::1]"), Some("::1"));
        assert_eq!(name_of("127.0.0.1"), Some("127.0.0.1"));
        assert_eq!(without_brackets("[::1]"), "::1");
    }
}
