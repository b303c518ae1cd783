//! Did the sign-in that comes back from another site begin here, in this browser?

use std::sync::Arc;

use super::hygiene::Clean;
use crate::{
    model::{RequestView, TenantName},
    policy::{Granting, Policy, Route, Sessions},
    session::{MOST_SIGN_INS, Replaced, Returned, StateHash, cookie, returned},
};

/// What is known about a sign-in that comes back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Callback {
    /// It began here.
    Begun {
        /// The name of the cookie that marks it. The cookie is removed when a session is granted, so that it
        /// is used once.
        mark: Box<str>,
        /// The session that the new one replaces, where the request cannot carry it.
        replaces: Option<Box<Replaced>>,
    },
    /// No such sign-in is known, and why.
    Unknown(&'static str),
}

/// Finds the sign-in that a request comes back from, where a rule that applies is a callback.
///
/// A link has the `state` in its query, which must equal that of the mark. The body of a form is not read, so
/// for a form it is enough that some mark exists; the app must check that its `state` is the right one.
pub fn callback<'a>(
    view: &RequestView<'_>,
    clean: &Clean<'_>,
    is_safe: bool,
    realm: &TenantName,
    mut rules: impl Iterator<Item = &'a Arc<Route>>,
    policy: &Policy,
) -> Option<Callback> {
    let sessions =
        policy.sessions.as_ref().filter(|_| rules.any(|route| route.grant == Granting::Callback))?;
    let marks = SignInCookies { view, sessions, realm };
    Some(match (returned(clean.query.unwrap_or_default()), is_safe) {
        (Returned::State(state), _) => marks.of(&state),
        (Returned::Several, _) => {
            Callback::Unknown("`state` stands more than once, or in a spelling that only some apps read")
        }
        (Returned::Nothing, true) => Callback::Unknown("it comes back without a `state`"),
        (Returned::Nothing, false) => marks.of_forms(),
    })
}

/// Says whether a request may come back from a sign-in: whether there is a mark.
pub fn is_begun(callback: Option<&Callback>) -> bool {
    matches!(callback, Some(Callback::Begun { .. }))
}

/// Says whether a request comes back from a sign-in that is unknown here: it was used, took too long, or
/// belongs to somebody else.
pub fn is_lost(callback: Option<&Callback>) -> bool {
    matches!(callback, Some(Callback::Unknown(_)))
}

struct SignInCookies<'a> {
    view: &'a RequestView<'a>,
    sessions: &'a Sessions,
    realm: &'a TenantName,
}

impl SignInCookies<'_> {
    fn of(&self, state: &StateHash) -> Callback {
        let name = [&*self.sessions.cookie, &*state.suffix()].concat();
        let mut marks = cookie::sign_in_cookies(self.view.cookies(), &self.sessions.cookie)
            .filter(|(other, _)| *other == name.as_bytes());
        let begun = marks.find_map(|(_, mark)| self.sessions.ring.open_sign_in(mark, self.realm));
        match begun.filter(|begun| begun.state == *state) {
            Some(begun) if begun.until > self.view.now => {
                Callback::Begun { mark: name.into(), replaces: begun.replaces.map(Box::new) }
            }
            Some(_) => Callback::Unknown("the sign-in with this `state` began over 10 minutes ago"),
            None => Callback::Unknown("no sign-in with this `state` began here in this browser"),
        }
    }

    fn of_forms(&self) -> Callback {
        let marks =
            cookie::sign_in_cookies(self.view.cookies(), &self.sessions.cookie).take(4 * MOST_SIGN_INS);
        let begun =
            marks.filter_map(|(name, mark)| Some((self.sessions.ring.open_sign_in(mark, self.realm)?, name)));
        let begun = begun.filter(|(begun, _)| begun.form && begun.until > self.view.now);
        // The oldest: the others belong to tabs that are still signing in.
        let oldest = begun.min_by_key(|(begun, _)| begun.until);
        match oldest.and_then(|(begun, name)| Some((begun, std::str::from_utf8(name).ok()?))) {
            Some((begun, name)) => {
                Callback::Begun { mark: name.into(), replaces: begun.replaces.map(Box::new) }
            }
            None => Callback::Unknown(
                "no sign-in that ends with a form began here in this browser, or over 10 minutes ago",
            ),
        }
    }
}
