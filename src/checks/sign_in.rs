//! Did the sign-in that comes back from another site begin here, in this browser?

use std::sync::Arc;

use super::{hygiene::Clean, session::cookies};
use crate::{
    model::{RequestView, TenantName},
    policy::{Granting, Policy, Route, Sessions},
    session::{MOST_SIGN_INS, Returned, StateHash, cookie, returned},
};

/// What is known of a sign-in that comes back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Back {
    /// It began here: the cookie of this name marks it, and is taken away where a session is granted, so that it is used once.
    Begun(Box<str>),
    /// Nobody knows of one, and why.
    Unknown(&'static str),
}

/// Finds the sign-in that a request comes back from, where a rule that judges it takes those.
///
/// A link brings the `state` in its query, which must be that of the mark. The body of a form is not read, so there a mark of a sign-in
/// that ends with a form must be there; that its `state` is the right one is for the app to check.
pub fn back<'a>(
    view: &RequestView<'_>,
    clean: &Clean<'_>,
    is_safe: bool,
    (realm, mut rules): (&TenantName, impl Iterator<Item = &'a Arc<Route>>),
    policy: &Policy,
) -> Option<Back> {
    let sessions = policy.sessions.as_ref().filter(|_| rules.any(|route| route.grant == Granting::Callback))?;
    let marks = Marks { view, sessions, realm };
    Some(match (returned(clean.query.unwrap_or_default()), is_safe) {
        (Returned::State(state), _) => marks.of(&state),
        (Returned::Several, _) => Back::Unknown("`state` stands more than once, or in a spelling that only some apps read"),
        (Returned::Nothing, true) => Back::Unknown("it comes back without a `state`"),
        (Returned::Nothing, false) => marks.of_forms(),
    })
}

/// Says whether a request may come back from a sign-in: whether the mark of one is there.
pub fn is_begun(back: Option<&Back>) -> bool {
    matches!(back, Some(Back::Begun(_)))
}

/// Says whether a request comes back from a sign-in of which nobody knows here: it was used, took too long, or is somebody else's.
pub fn is_lost(back: Option<&Back>) -> bool {
    matches!(back, Some(Back::Unknown(_)))
}

struct Marks<'a> {
    view: &'a RequestView<'a>,
    sessions: &'a Sessions,
    realm: &'a TenantName,
}

impl Marks<'_> {
    fn of(&self, state: &StateHash) -> Back {
        let name = [&*self.sessions.cookie, &*state.suffix()].concat();
        let mut marks = cookie::marks(cookies(self.view), &self.sessions.cookie).filter(|(other, _)| *other == name.as_bytes());
        let begun = marks.find_map(|(_, mark)| self.sessions.ring.open_sign_in(mark, self.realm));
        match begun.filter(|begun| begun.state == *state) {
            Some(begun) if begun.until > self.view.now => Back::Begun(name.into()),
            Some(_) => Back::Unknown("the sign-in with this `state` began over 10 minutes ago"),
            None => Back::Unknown("no sign-in with this `state` began here in this browser"),
        }
    }

    fn of_forms(&self) -> Back {
        let marks = cookie::marks(cookies(self.view), &self.sessions.cookie).take(4 * MOST_SIGN_INS);
        let begun = marks.filter_map(|(name, mark)| Some((self.sessions.ring.open_sign_in(mark, self.realm)?, name)));
        let begun = begun.filter(|(begun, _)| begun.form && begun.until > self.view.now);
        // The oldest: the others are of tabs that are still under way.
        let name = begun.min_by_key(|(begun, _)| begun.until).and_then(|(_, name)| std::str::from_utf8(name).ok());
        name.map_or(Back::Unknown("no sign-in that ends with a form began here in this browser, or over 10 minutes ago"), |name| {
            Back::Begun(name.into())
        })
    }
}
