//! The marks of sign-ins: one that begins is marked in the browser, so that it is recognised when it comes
//! back.

use std::{sync::Arc, time::Duration};

use http::{HeaderMap, HeaderValue, header};

use super::view::AnswerContext;
use crate::{
    model::{Path, UnixTime},
    pipeline::{Permit, Session},
    policy::{Granting, Sessions},
    session::{MOST_FOREIGN_SIGN_INS, MOST_SIGN_INS, Replaced, SIGN_IN_SECS, SignIn, begins, cookie},
};

/// Returns the `Set-Cookie` values of an answer with which a sign-in begins: its mark, and those that clear
/// the oldest marks where there are too many. `None` for any other answer.
///
/// An answer begins a sign-in where the operator says so, if it redirects the browser to a provider. Nobody
/// else may make a browser collect marks: a page of another site could load this one in as many hidden frames
/// as it likes. Sign-ins that another site opens visibly count apart, so that they displace no others.
pub(super) fn mark<S>(context: &AnswerContext<'_, S>) -> Option<Vec<String>> {
    let (view, permit, sessions) = (context.view, context.permit, context.sessions);
    let mut locations = view.headers.get_all(header::LOCATION).iter();
    let (Some(location), None, 300..400) = (locations.next(), locations.next(), view.status) else {
        return None;
    };
    let (state, form) = begins(location.as_bytes())?;
    let foreign = permit.is_foreign();
    let hidden =
        foreign && view.request_headers.get("sec-fetch-dest").is_some_and(|place| place != "document");
    if hidden || !may_begin(sessions, permit) {
        return None;
    }
    let realm = &permit.tenant().name;
    // Only a form comes back without the session cookie; a link brings it along.
    let ours = permit.session().filter(|session| form && session.is_in_our_cookie() && !view.without_session);
    let replaces = ours.map(|Session { claims, .. }| Replaced {
        id: claims.id,
        tenant: claims.tenant.clone(),
        ends: claims.absolute_end,
    });
    let lifetime = Duration::from_secs(SIGN_IN_SECS);
    let sign_in = SignIn { state, form, foreign, until: context.inputs.now.plus(lifetime), replaces };
    let mark = sessions.ring.seal_sign_in(&sign_in, realm, context.inputs.random_bytes())?;
    let name = [&*sessions.cookie, &*state.suffix()].concat();
    let mut values = vec![cookie::sign_in_cookie(&name, &mark, form, lifetime)];
    let held = cookie::sign_in_cookies(cookies(view.request_headers), &sessions.cookie).filter_map(
        |(other, mark)| {
            let other = std::str::from_utf8(other).ok().filter(|other| *other != name)?;
            match sessions.ring.open_sign_in(mark, realm) {
                Some(begun) => Some((begun.until, other)).filter(|_| begun.foreign == foreign),
                // One that does not open counts as the oldest.
                None => Some((UnixTime::default(), other)),
            }
        },
    );
    let mut held: Vec<(UnixTime, &str)> = held.take(4 * MOST_SIGN_INS).collect();
    held.sort_unstable();
    let most = if foreign { MOST_FOREIGN_SIGN_INS } else { MOST_SIGN_INS };
    let surplus = held.len().saturating_add(1).saturating_sub(most);
    values.extend(held.iter().take(surplus).map(|(_, other)| cookie::clear(other)));
    Some(values)
}

fn cookies(headers: &HeaderMap) -> impl Iterator<Item = &[u8]> {
    headers.get_all(header::COOKIE).iter().map(HeaderValue::as_bytes)
}

/// Says whether sign-ins that come back may begin here: at a rule that says so, or at the rule of
/// `login_url`.
fn may_begin(sessions: &Sessions, permit: &Permit) -> bool {
    let (routes, route) = (&permit.tenant().routes, permit.route());
    let is_login = || {
        let url = sessions.login_url.as_deref().and_then(|url| Path::parse(url.as_bytes()).ok());
        url.is_some_and(|url| Arc::ptr_eq(routes.find(url.matching()), route))
    };
    (route.begins_sign_in || is_login()) && routes.routes().any(|route| route.grant == Granting::Callback)
}
