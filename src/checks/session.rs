//! Whose session? Found in the cookie or as a Bearer token, opened for this realm, within its clocks, from where it was bound.

use std::{fmt, sync::Arc, time::Duration};

use http::header;

use super::foreign;
use crate::{
    model::{ClientIp, Deny, Reason, RequestView, UnixTime, Verdict},
    policy::{Policy, Route, RouteAccess, SessionRules, Sessions, Tenant},
    session::{
        Claims, Purpose, TOKEN_PREFIX, cookie,
        foreign::{FetchedKeys, Format},
    },
};

/// A session that holds now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// What the token says.
    pub claims: Claims,
    /// Who made it.
    pub source: Source,
}

/// Who made a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// This gateway.
    Octroi {
        /// Where its token was found.
        purpose: Purpose,
        /// The master key that it was sealed with.
        key: u16,
    },
    /// An app that keeps its own login.
    Foreign {
        /// How it writes its sessions.
        format: Format,
        /// The key that it was signed with.
        key: Box<str>,
        /// Whether it was in a cookie, which browsers send by themselves.
        in_cookie: bool,
    },
}

impl Session {
    /// Says whether it is in our cookie, which every answer may renew.
    pub fn is_in_our_cookie(&self) -> bool {
        matches!(self.source, Source::Octroi { purpose: Purpose::Cookie, .. })
    }

    /// Says whether it is in a cookie, ours or the app's: then browsers send it with whatever another site makes them ask for.
    pub fn is_in_a_cookie(&self) -> bool {
        matches!(self.source, Source::Octroi { purpose: Purpose::Cookie, .. } | Source::Foreign { in_cookie: true, .. })
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Octroi { key, .. } => write!(f, "sealed with key {key}"),
            Self::Foreign { format, key, .. } => write!(f, "of format `{}`, signed with key `{key}`", format.as_str()),
        }
    }
}

/// A session, and the tenant whose user it is.
#[derive(Clone, Debug)]
pub struct Proven<'p> {
    /// The session. Permit, log and answer share it.
    pub session: Arc<Session>,
    /// The realm, or one of its members.
    pub tenant: &'p Arc<Tenant>,
}

/// Proves the session that a request presents; `None` if it presents none. `fetched` are the keys that issuers publish.
///
/// The realm is part of the key that opens the token, so a token of another host does not open at all; then its tenant must be
/// the realm or a member of it, and that tenant's clocks and bindings hold, as they are now.
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
        (Some(_), Some(_)) => return Err(Deny::new(Reason::CredentialConflict, "a session of octroi and one of the app in one request")),
    };
    let tenant = owner(&session.claims, realm, policy)?;
    clocks(&session, &tenant.sessions, view.now)?;
    bound(view, client, &session, &tenant.sessions)?;
    Ok(Some(Proven { session: Arc::new(session), tenant }))
}

/// Refuses a request without a session where the route asks for one. Every rule that judges the request is asked.
pub fn required(route: &Route) -> Verdict {
    match route.access {
        RouteAccess::Public => Ok(()),
        RouteAccess::Session | RouteAccess::Roles(_) | RouteAccess::Nobody => {
            let detail = format!("`{}` asks for a session, the request has none", route.id.as_str());
            Err(Deny::new(Reason::SessionMissing, detail).by(route.origin))
        }
    }
}

/// Says whether the request carries a cookie of the session's name, good or bad.
pub fn has_cookie(view: &RequestView<'_>, policy: &Policy) -> bool {
    let Some(sessions) = &policy.sessions else { return false };
    !matches!(cookie::find(cookies(view), &sessions.cookie), cookie::Found::None)
}

pub(super) fn cookies<'a>(view: &RequestView<'a>) -> impl Iterator<Item = &'a [u8]> {
    view.headers.get_all(header::COOKIE).iter().map(http::HeaderValue::as_bytes)
}

fn from_cookie<'a>(view: &RequestView<'a>, sessions: &Sessions) -> Verdict<Option<&'a [u8]>> {
    match cookie::find(cookies(view), &sessions.cookie) {
        cookie::Found::None => Ok(None),
        cookie::Found::One(token) => Ok(Some(token)),
        cookie::Found::Ambiguous => Err(Deny::new(Reason::CookieAmbiguous, "the session cookie stands more than once")),
        cookie::Found::Malformed => Err(Deny::new(Reason::SessionInvalid, "the session cookie does not hold a token")),
        cookie::Found::TooLarge => Err(Deny::new(Reason::CookieTooLarge, "more cookies than are read")),
    }
}

/// Finds our token in `Authorization: Bearer`. What does not carry our prefix is the app's own and passes as it is.
fn from_bearer<'a>(view: &RequestView<'a>) -> Option<&'a [u8]> {
    let value = view.headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    let token = token.trim_matches([' ', '\t']);
    (scheme.eq_ignore_ascii_case("bearer") && token.starts_with(TOKEN_PREFIX)).then_some(token.as_bytes())
}

fn open(token: &[u8], purpose: Purpose, realm: &Tenant, sessions: &Sessions) -> Verdict<Session> {
    match sessions.ring.open(token, purpose, &realm.name) {
        Ok(opened) => Ok(Session { claims: opened.claims, source: Source::Octroi { purpose, key: opened.key } }),
        Err(error) => Err(Deny::new(Reason::SessionInvalid, error.detail())),
    }
}

/// Accepts two tokens only if both open and are of one session: otherwise app and gateway could each believe another one.
fn both(cookie: &[u8], bearer: &[u8], realm: &Tenant, sessions: &Sessions) -> Verdict<Session> {
    let conflict = |detail| Deny::new(Reason::CredentialConflict, detail);
    let one = open(cookie, Purpose::Cookie, realm, sessions).map_err(|_| conflict("cookie and Bearer token; the cookie does not open"))?;
    let other = open(bearer, Purpose::Bearer, realm, sessions).map_err(|_| conflict("cookie and Bearer token; the token does not open"))?;
    if one.claims.id == other.claims.id { Ok(one) } else { Err(conflict("cookie and Bearer token name different sessions")) }
}

/// Finds the session's tenant: the realm, or one of its members.
pub fn owner<'p>(claims: &Claims, realm: &'p Arc<Tenant>, policy: &'p Policy) -> Verdict<&'p Arc<Tenant>> {
    if claims.tenant == realm.name {
        return Ok(realm);
    }
    let member = policy.tenants.named(claims.tenant.as_str()).filter(|tenant| realm.admits(&tenant.name));
    member.ok_or_else(|| {
        let detail = format!("the session is of tenant `{}`, which is no member of `{}`", claims.tenant, realm.name);
        Deny::new(Reason::SessionTenant, detail).by(realm.origin)
    })
}

/// Judges the clocks: beginnings with [`SKEW`], ends without any grace.
///
/// The token's own ends count, and the rules as they are now: who shortens them does not wait for old tokens to run out. A
/// Bearer token and a foreign session are not renewed by us, so the rule of rest, which renewal satisfies, is their own end only.
fn clocks(session: &Session, rules: &SessionRules, now: UnixTime) -> Verdict {
    let claims = &session.claims;
    if claims.issued.max(claims.not_before) > now.plus(SKEW) {
        let ahead = claims.issued.max(claims.not_before).since(now);
        return Err(Deny::new(Reason::SessionNotYet, format!("the session begins in {} s", ahead.as_secs())));
    }
    absolute_end(claims, rules, now)?;
    let idle = if session.is_in_our_cookie() { claims.idle_end.min(claims.issued.plus(rules.idle)) } else { claims.idle_end };
    if idle <= now {
        return Err(Deny::new(Reason::SessionIdle, format!("the session has rested for {} s too long", now.since(idle).as_secs())));
    }
    Ok(())
}

/// Judges the one end that nothing moves.
pub fn absolute_end(claims: &Claims, rules: &SessionRules, now: UnixTime) -> Verdict {
    let absolute = claims.absolute_end.min(claims.auth_time.plus(rules.absolute));
    if absolute <= now {
        return Err(Deny::new(Reason::SessionExpired, format!("the session ended {} s ago", now.since(absolute).as_secs())));
    }
    Ok(())
}

/// Judges what the session is bound to. A cookie from before the rule is not bound, so it is refused; a Bearer token was made
/// by an operator for whoever holds it, so there a binding counts only where the token has one. A foreign session has none, so a tenant
/// that asks for one takes no foreign session.
fn bound(view: &RequestView<'_>, client: ClientIp, session: &Session, rules: &SessionRules) -> Verdict {
    let made_to_be_carried = matches!(session.source, Source::Octroi { purpose: Purpose::Bearer, .. }) && session.claims.binding.is_none();
    if rules.bind.is_empty() || made_to_be_carried {
        return Ok(());
    }
    let agent = view.headers.get(header::USER_AGENT).map_or(&[][..], http::HeaderValue::as_bytes);
    let certificate = view.certificate.map(|presented| &*presented.certificate);
    let expected = rules.binding(client, agent, certificate);
    if session.claims.binding == expected {
        return Ok(());
    }
    Err(Deny::new(Reason::SessionBinding, "the session is bound to another client, user agent or certificate"))
}

/// How far a node's clock may be behind the one that minted.
const SKEW: Duration = Duration::from_secs(60);
