//! What an answer does to the marks of sign-ins: one that begins is marked in the browser, so that it is known when it comes back.

use std::{sync::Arc, time::Duration};

use http::{HeaderMap, HeaderValue, header};

use super::{session::Answer, shared::random};
use crate::{
    model::{Path, UnixTime},
    pipeline::Permit,
    policy::{Granting, Sessions},
    session::{MOST_FOREIGN_SIGN_INS, MOST_SIGN_INS, SIGN_IN_SECS, SignIn, begins, cookie},
};

/// Returns the `Set-Cookie` values of an answer with which a sign-in begins: its mark, and what takes the marks of old ones away.
///
/// An answer begins one where the operator says so, if it redirects the browser to a provider. Nobody else may make a browser collect
/// marks: a page of another site could load this one in as many hidden frames as it likes. What it opens for its visitor to see counts
/// apart, so that it takes no place of what began otherwise.
pub(super) fn marks(sessions: &Sessions, permit: &Permit, answer: &Answer<'_>, now: UnixTime) -> Vec<String> {
    marked(sessions, permit, answer, now).unwrap_or_default()
}

fn marked(sessions: &Sessions, permit: &Permit, answer: &Answer<'_>, now: UnixTime) -> Option<Vec<String>> {
    let mut locations = answer.headers.get_all(header::LOCATION).iter();
    let (Some(location), None, 300..400) = (locations.next(), locations.next(), answer.status) else { return None };
    let (state, form) = begins(location.as_bytes())?;
    let hidden = permit.is_foreign() && answer.asked.get("sec-fetch-dest").is_some_and(|place| place != "document");
    if hidden || !is_beginning(sessions, permit) {
        return None;
    }
    let realm = &permit.tenant().name;
    let until = now.plus(Duration::from_secs(SIGN_IN_SECS));
    let foreign = permit.is_foreign();
    let most = if foreign { MOST_FOREIGN_SIGN_INS } else { MOST_SIGN_INS };
    let mark = sessions.ring.seal_sign_in(&SignIn { state, form, foreign, until }, realm, random())?;
    let name = [&*sessions.cookie, &*state.suffix()].concat();
    let mut values = vec![cookie::mark(&name, &mark, form, Duration::from_secs(SIGN_IN_SECS))];
    let held = cookie::marks(cookies(answer.asked), &sessions.cookie).filter_map(|(other, mark)| {
        let other = std::str::from_utf8(other).ok().filter(|other| *other != name)?;
        match sessions.ring.open_sign_in(mark, realm) {
            Some(begun) => Some((begun.until, other)).filter(|_| begun.foreign == foreign),
            // One that does not open is older than all.
            None => Some((UnixTime::default(), other)),
        }
    });
    let mut held: Vec<(UnixTime, &str)> = held.take(4 * MOST_SIGN_INS).collect();
    held.sort_unstable();
    let surplus = held.len().saturating_add(1).saturating_sub(most);
    values.extend(held.iter().take(surplus).map(|(_, other)| cookie::clear(other)));
    Some(values)
}

fn cookies(headers: &HeaderMap) -> impl Iterator<Item = &[u8]> {
    headers.get_all(header::COOKIE).iter().map(HeaderValue::as_bytes)
}

/// Says whether sign-ins begin here that come back: at a rule that says so, or at the one of `login_url`.
fn is_beginning(sessions: &Sessions, permit: &Permit) -> bool {
    let (routes, route) = (&permit.tenant().routes, permit.route());
    let is_login = || {
        let url = sessions.login_url.as_deref().and_then(|url| Path::parse(url.as_bytes()).ok());
        url.is_some_and(|url| Arc::ptr_eq(routes.find(url.matching()), route))
    };
    (route.begins_sign_in || is_login()) && routes.routes().any(|route| route.grant == Granting::Callback)
}
