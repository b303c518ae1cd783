//! Whose session, by the app's own word? Found where its format stands, proven by the app's key, and made into claims.

use http::header;

use super::session::{Session, Source, cookies};
use crate::{
    model::{Deny, Reason, RequestView, Tick, Verdict},
    policy::{Foreign, Sessions, Tenant},
    session::{
        TOKEN_PREFIX,
        cookie::{self, Value},
        foreign::{FetchedKeys, ForeignError, Presented, is_compact},
    },
};

/// Proves the foreign session that a request presents; `None` if it presents none, or one in which nobody signed in.
///
/// Two of them are a conflict, whatever they say: the app could believe one, and the gateway the other.
pub(super) fn find(view: &RequestView<'_>, realm: &Tenant, sessions: &Sessions, fetched: &FetchedKeys) -> Verdict<Option<Session>> {
    let mut found = None;
    for foreign in sessions.foreign.formats() {
        let presented = [(from_cookie(view, foreign)?, true), (from_bearer(view, foreign), false)];
        for (presented, in_cookie) in presented.into_iter().filter_map(|(presented, in_cookie)| Some((presented?, in_cookie))) {
            let Some(session) = open((presented, in_cookie), foreign, realm, sessions, (fetched, view.tick))? else { continue };
            if found.replace(session).is_some() {
                return Err(Deny::new(Reason::CredentialConflict, "two foreign sessions in one request"));
            }
        }
    }
    Ok(found)
}

fn from_cookie<'a>(view: &RequestView<'a>, foreign: &Foreign) -> Verdict<Option<Presented<'a>>> {
    let Some(name) = &foreign.cookie else { return Ok(None) };
    let Some(text) = value(view, foreign, name)? else { return Ok(None) };
    let signature = match &foreign.signature_cookie {
        None => None,
        Some(name) => value(view, foreign, name)?,
    };
    Ok(Some(Presented { text, signature }))
}

fn value<'a>(view: &RequestView<'a>, foreign: &Foreign, name: &str) -> Verdict<Option<&'a str>> {
    match cookie::value(cookies(view), name) {
        Value::None => Ok(None),
        Value::One(value) => Ok(Some(value)),
        Value::Ambiguous => Err(Deny::new(Reason::CookieAmbiguous, format!("the cookie `{name}` stands more than once"))),
        Value::Malformed => Err(invalid(foreign, "the cookie has characters that cookies do not have")),
    }
}

/// Finds the token in `Authorization: Bearer`. What has not its form is the app's own and passes as it is.
fn from_bearer<'a>(view: &RequestView<'a>, foreign: &Foreign) -> Option<Presented<'a>> {
    let value = view.headers.get(header::AUTHORIZATION).filter(|_| foreign.bearer)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    let text = token.trim_matches([' ', '\t']);
    let is_ours = scheme.eq_ignore_ascii_case("bearer") && !text.starts_with(TOKEN_PREFIX) && is_compact(text);
    is_ours.then_some(Presented { text, signature: None })
}

fn open(
    (presented, in_cookie): (Presented<'_>, bool),
    foreign: &Foreign,
    realm: &Tenant,
    sessions: &Sessions,
    (fetched, tick): (&FetchedKeys, Tick),
) -> Verdict<Option<Session>> {
    let format = foreign.codec.format();
    let authentic = foreign.codec.open_with(presented, fetched, tick).map_err(|error| {
        let deny = invalid(foreign, &error.detail());
        // Told apart, because keys may have to be fetched.
        if matches!(error, ForeignError::UnknownKey { .. }) { Deny { reason: Reason::SessionKeyUnknown, ..deny } } else { deny }
    })?;
    let claims = foreign.claims.claims(format, &authentic, &realm.name).map_err(|error| invalid(foreign, &error.detail()))?;
    let Some(claims) = claims else { return Ok(None) };
    // As at a grant: what is in our logs and fields must not be a name.
    if claims.user.looks_like_email() && !sessions.allow_email_user {
        return Err(invalid(foreign, "its user looks like an e-mail address; see `allow_email_user`"));
    }
    Ok(Some(Session { claims, source: Source::Foreign { format, key: authentic.key.into(), in_cookie } }))
}

fn invalid(foreign: &Foreign, why: &str) -> Deny {
    Deny::new(Reason::SessionInvalid, format!("the session of format `{}`: {why}", foreign.codec.format().as_str()))
}
