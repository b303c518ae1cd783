//! Which session of an app with its own login? It is found where its format says, verified with the app's
//! key, and mapped to claims.

use http::header;

use super::session::{Session, Source};
use crate::{
    model::{Deny, Reason, RequestView, Tick, Verdict},
    policy::{Foreign, Sessions, Tenant},
    session::{
        TOKEN_PREFIX,
        cookie::{self, Value},
        foreign::{FetchedKeys, ForeignError, Presented, is_compact},
    },
};

/// Proves the foreign session that a request presents; `None` if it presents none, or an anonymous one.
///
/// Two of them are a conflict, whatever they contain: the app could accept one, and the gateway the other.
pub(super) fn find(
    view: &RequestView<'_>,
    realm: &Tenant,
    sessions: &Sessions,
    fetched: &FetchedKeys,
) -> Verdict<Option<Session>> {
    let opener = Opener { realm, sessions, fetched, tick: view.tick };
    let mut found = None;
    for foreign in sessions.foreign.formats() {
        let presented = [(from_cookie(view, foreign)?, true), (from_bearer(view, foreign), false)];
        for (presented, in_cookie) in
            presented.into_iter().filter_map(|(presented, in_cookie)| Some((presented?, in_cookie)))
        {
            let Some(session) = opener.open(presented, in_cookie, foreign)? else { continue };
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
    match cookie::value(view.cookies(), name) {
        Value::None => Ok(None),
        Value::One(value) => Ok(Some(value)),
        Value::Ambiguous => {
            Err(Deny::new(Reason::CookieAmbiguous, format!("the cookie `{name}` stands more than once")))
        }
        Value::Malformed => Err(invalid(foreign, "the cookie has characters that cookies do not have")),
    }
}

/// Finds the token in `Authorization: Bearer`. A value that does not have its form is left to the app.
fn from_bearer<'a>(view: &RequestView<'a>, foreign: &Foreign) -> Option<Presented<'a>> {
    let value = view.headers.get(header::AUTHORIZATION).filter(|_| foreign.bearer)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    let text = token.trim_matches([' ', '\t']);
    let is_ours =
        scheme.eq_ignore_ascii_case("bearer") && !text.starts_with(TOKEN_PREFIX) && is_compact(text);
    is_ours.then_some(Presented { text, signature: None })
}

/// What foreign sessions are opened with and for.
struct Opener<'a> {
    realm: &'a Tenant,
    sessions: &'a Sessions,
    fetched: &'a FetchedKeys,
    tick: Tick,
}

impl Opener<'_> {
    fn open(&self, presented: Presented<'_>, in_cookie: bool, foreign: &Foreign) -> Verdict<Option<Session>> {
        let format = foreign.codec.format();
        let authentic = foreign.codec.open_with(presented, self.fetched, self.tick).map_err(|error| {
            let deny = invalid(foreign, &error.detail());
            // A separate reason, because keys may have to be fetched.
            if matches!(error, ForeignError::UnknownKey { .. }) {
                Deny { reason: Reason::SessionKeyUnknown, ..deny }
            } else {
                deny
            }
        })?;
        let claims = foreign
            .claims
            .claims(format, &authentic, &self.realm.name)
            .map_err(|error| invalid(foreign, &error.detail()))?;
        let Some(claims) = claims else { return Ok(None) };
        // As for a grant: logs and fields must not contain personal data.
        if claims.user.looks_like_email() && !self.sessions.allow_email_user {
            return Err(invalid(foreign, "its user looks like an e-mail address; see `allow_email_user`"));
        }
        Ok(Some(Session { claims, source: Source::Foreign { format, key: authentic.key.into(), in_cookie } }))
    }
}

fn invalid(foreign: &Foreign, why: &str) -> Deny {
    Deny::new(
        Reason::SessionInvalid,
        format!("the session of format `{}`: {why}", foreign.codec.format().as_str()),
    )
}
