//! Which session? It is found in the cookie or as a Bearer token, opened for this realm, and checked against
//! its lifetimes and bindings.

mod proven;

use std::{sync::Arc, time::Duration};

use http::header;

use super::foreign;
use crate::{
    model::{ClientIp, Deny, Reason, RequestView, UnixTime, Verdict},
    policy::{Policy, Route, RouteAccess, SessionRules, Sessions, Tenant},
    session::{Claims, Purpose, TOKEN_PREFIX, cookie, foreign::FetchedKeys},
};

pub use proven::{Session, Source};

/// A session, and the tenant of its user.
#[derive(Clone, Debug)]
pub struct Proven<'p> {
    /// The session. Permit, log and answer share it.
    pub session: Arc<Session>,
    /// The realm, or one of its members.
    pub tenant: &'p Arc<Tenant>,
}

/// Proves the session that a request presents; `None` if it presents none. `fetched` are the keys that
/// issuers publish.
///
/// The realm is part of the key that opens the token, so a token of another host does not open at all. Its
/// tenant must be the realm or a member of it, and that tenant's current lifetimes and bindings apply.
pub fn check<'p>(
    view: &RequestView<'_>,
    client: ClientIp,
    realm: &'p Arc<Tenant>,
    policy: &'p Policy,
    fetched: &FetchedKeys,
) -> Verdict<Option<Proven<'p>>> {
    let Some(sessions) = &policy.sessions else { return Ok(None) };
    let own = match (from_cookie(view, sessions)?, from_bearer(view)) {
        (None, None) => None,
        (Some(token), None) => Some(open(token, Purpose::Cookie, realm, sessions)?),
        (None, Some(token)) => Some(open(token, Purpose::Bearer, realm, sessions)?),
        (Some(cookie), Some(bearer)) => Some(both(cookie, bearer, realm, sessions)?),
    };
    let session = match (own, foreign::find(view, realm, sessions, fetched)?) {
        (None, None) => return Ok(None),
        (Some(session), None) | (None, Some(session)) => session,
        (Some(_), Some(_)) => {
            return Err(Deny::new(
                Reason::CredentialConflict,
                "a session of octroi and one of the app in one request",
            ));
        }
    };
    let tenant = owner(&session.claims, realm, policy)?;
    clocks(&session, &tenant.sessions, view.now)?;
    bound(view, client, &session, &tenant.sessions)?;
    Ok(Some(Proven { session: Arc::new(session), tenant }))
}

/// Refuses a request without a session where the route requires one. It is called for every rule that
/// applies.
pub fn required(route: &Route) -> Verdict {
    match route.access {
        RouteAccess::Public => Ok(()),
        RouteAccess::Session | RouteAccess::Roles(_) | RouteAccess::Nobody => {
            let detail = format!("`{}` asks for a session, the request has none", route.id.as_str());
            Err(Deny::new(Reason::SessionMissing, detail).by(route.origin))
        }
    }
}

/// Says whether an answer clears our cookie: where a browser opens a page that is refused because the session
/// in that cookie has ended for good, or where, on a `public` rule, one request carries two sessions, which
/// stay in conflict until one of them is cleared.
///
/// No other answer clears it. It may arrive late, and in another tab, or by the same page, somebody may have
/// signed in meanwhile.
pub fn is_to_be_cleared(
    view: &RequestView<'_>,
    realm: &Arc<Tenant>,
    policy: &Policy,
    deny: &Deny,
    session: Option<&Session>,
    public: bool,
) -> bool {
    let Some(sessions) = &policy.sessions else { return false };
    if public {
        // Two sessions of the app's own are for the app to clear.
        return match from_cookie(view, sessions) {
            Ok(Some(_)) => deny.reason == Reason::CredentialConflict,
            Ok(None) => false,
            Err(deny) => deny.reason == Reason::CookieAmbiguous,
        };
    }
    navigates(view)
        && match session {
            Some(session) => session.is_in_our_cookie() && HAS_ENDED.contains(&deny.reason),
            None => own_has_ended(view, realm, policy, sessions),
        }
}

/// The reasons after which a session never becomes valid again.
const HAS_ENDED: [Reason; 5] = [
    Reason::SessionInvalid,
    Reason::SessionExpired,
    Reason::SessionIdle,
    Reason::SessionRevoked,
    Reason::SessionReuse,
];

/// Says whether the session in our cookie has ended by itself, whatever else is in the request.
fn own_has_ended(view: &RequestView<'_>, realm: &Arc<Tenant>, policy: &Policy, sessions: &Sessions) -> bool {
    let proven = match from_cookie(view, sessions) {
        Ok(Some(token)) => open(token, Purpose::Cookie, realm, sessions),
        Ok(None) => return false,
        Err(deny) => Err(deny),
    };
    let holds = proven.and_then(|session| {
        owner(&session.claims, realm, policy).and_then(|of| clocks(&session, &of.sessions, view.now))
    });
    holds.is_err_and(|deny| HAS_ENDED.contains(&deny.reason))
}

/// Says whether the request is a browser's navigation to a page. Browsers that send no purpose accept HTML
/// then.
fn navigates(view: &RequestView<'_>) -> bool {
    match view.headers.get("sec-fetch-mode") {
        Some(mode) => mode == "navigate",
        None => view.headers.get_all(header::ACCEPT).iter().any(|accept| {
            accept.as_bytes().split(|&octet| octet == b',').any(|kind| {
                kind.trim_ascii_start().get(..9).is_some_and(|kind| kind.eq_ignore_ascii_case(b"text/html"))
            })
        }),
    }
}

fn from_cookie<'a>(view: &RequestView<'a>, sessions: &Sessions) -> Verdict<Option<&'a [u8]>> {
    match cookie::find(view.cookies(), &sessions.cookie) {
        cookie::Found::None => Ok(None),
        cookie::Found::One(token) => Ok(Some(token)),
        cookie::Found::Ambiguous => {
            Err(Deny::new(Reason::CookieAmbiguous, "the session cookie stands more than once"))
        }
        cookie::Found::Malformed => {
            Err(Deny::new(Reason::SessionInvalid, "the session cookie does not hold a token"))
        }
        cookie::Found::TooLarge => Err(Deny::new(Reason::CookieTooLarge, "more cookies than are read")),
    }
}

/// Finds our token in `Authorization: Bearer`. A token without our prefix is left to the app.
fn from_bearer<'a>(view: &RequestView<'a>) -> Option<&'a [u8]> {
    let value = view.headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    let token = token.trim_matches([' ', '\t']);
    (scheme.eq_ignore_ascii_case("bearer") && token.starts_with(TOKEN_PREFIX)).then_some(token.as_bytes())
}

fn open(token: &[u8], purpose: Purpose, realm: &Tenant, sessions: &Sessions) -> Verdict<Session> {
    match sessions.ring.open(token, purpose, &realm.name) {
        Ok(opened) => {
            Ok(Session { claims: opened.claims, source: Source::Octroi { purpose, key: opened.key } })
        }
        Err(error) => Err(Deny::new(Reason::SessionInvalid, error.detail())),
    }
}

/// Accepts two tokens only if both open and belong to one session: otherwise app and gateway could each
/// accept another one.
fn both(cookie: &[u8], bearer: &[u8], realm: &Tenant, sessions: &Sessions) -> Verdict<Session> {
    let conflict = |detail| Deny::new(Reason::CredentialConflict, detail);
    let one = open(cookie, Purpose::Cookie, realm, sessions)
        .map_err(|_| conflict("cookie and Bearer token; the cookie does not open"))?;
    let other = open(bearer, Purpose::Bearer, realm, sessions)
        .map_err(|_| conflict("cookie and Bearer token; the token does not open"))?;
    if one.claims.id == other.claims.id {
        Ok(one)
    } else {
        Err(conflict("cookie and Bearer token name different sessions"))
    }
}

/// Finds the session's tenant: the realm, or one of its members.
pub fn owner<'p>(claims: &Claims, realm: &'p Arc<Tenant>, policy: &'p Policy) -> Verdict<&'p Arc<Tenant>> {
    if claims.tenant == realm.name {
        return Ok(realm);
    }
    let member = policy.tenants.named(claims.tenant.as_str()).filter(|tenant| realm.admits(&tenant.name));
    member.ok_or_else(|| {
        let detail =
            format!("the session is of tenant `{}`, which is no member of `{}`", claims.tenant, realm.name);
        Deny::new(Reason::SessionTenant, detail).by(realm.origin)
    })
}

/// Checks the times of a session: its beginning with [`SKEW`], its ends without any grace.
///
/// The token's own ends apply, and the current rules too: an operator who shortens them need not wait for old
/// tokens to expire. Bearer tokens and foreign sessions are not renewed by us, so the idle rule, which
/// renewal satisfies, does not apply to them.
fn clocks(session: &Session, rules: &SessionRules, now: UnixTime) -> Verdict {
    let claims = &session.claims;
    if claims.issued.max(claims.not_before) > now.plus(SKEW) {
        let ahead = claims.issued.max(claims.not_before).since(now);
        return Err(Deny::new(Reason::SessionNotYet, format!("the session begins in {} s", ahead.as_secs())));
    }
    absolute_end(claims, rules, now)?;
    let idle = if session.is_in_our_cookie() {
        claims.idle_end.min(claims.issued.plus(rules.idle))
    } else {
        claims.idle_end
    };
    if idle <= now {
        return Err(Deny::new(
            Reason::SessionIdle,
            format!("the session has rested for {} s too long", now.since(idle).as_secs()),
        ));
    }
    Ok(())
}

/// Checks the absolute end, which nothing moves.
pub fn absolute_end(claims: &Claims, rules: &SessionRules, now: UnixTime) -> Verdict {
    let absolute = claims.absolute_end.min(claims.auth_time.plus(rules.absolute));
    if absolute <= now {
        return Err(Deny::new(
            Reason::SessionExpired,
            format!("the session ended {} s ago", now.since(absolute).as_secs()),
        ));
    }
    Ok(())
}

/// Checks the bindings of a session.
///
/// A cookie from before the rule is not bound, so it is refused. An operator made a Bearer token for whoever
/// holds it, so a binding applies only where the token has one. A foreign session has none, so a tenant that
/// requires one accepts no foreign sessions.
fn bound(view: &RequestView<'_>, client: ClientIp, session: &Session, rules: &SessionRules) -> Verdict {
    let made_to_be_carried = matches!(session.source, Source::Octroi { purpose: Purpose::Bearer, .. })
        && session.claims.binding.is_none();
    if rules.bind.is_empty() || made_to_be_carried {
        return Ok(());
    }
    let agent = view.headers.get(header::USER_AGENT).map_or(&[][..], http::HeaderValue::as_bytes);
    let certificate = view.certificate.map(|presented| &*presented.certificate);
    let expected = rules.binding(client, agent, certificate);
    if session.claims.binding == expected {
        return Ok(());
    }
    Err(Deny::new(
        Reason::SessionBinding,
        "the session is bound to another client, user agent or certificate",
    ))
}

/// How far a node's clock may be behind the one that minted the token.
const SKEW: Duration = Duration::from_secs(60);
