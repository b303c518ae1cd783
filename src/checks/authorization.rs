//! May this session do this?

use super::session::Session;
use crate::{
    model::{Deny, Reason, UnixTime, Verdict},
    policy::{Route, RouteAccess},
};

/// Refuses a session that has none of the roles that a route requires.
pub fn role(session: &Session, route: &Route) -> Verdict {
    let RouteAccess::Roles(roles) = &route.access else { return Ok(()) };
    if session.claims.roles.iter().any(|role| roles.iter().any(|asked| **asked == *role)) {
        return Ok(());
    }
    Err(Deny::new(
        Reason::RoleMissing,
        format!("`{}` asks for one of the roles {}", route.id.as_str(), roles.join(", ")),
    )
    .by(route.origin))
}

/// Refuses a sign-in that is older than the route allows. Renewal does not make a sign-in younger.
///
/// A request without a session has no sign-in, so it is refused too: nobody passes by ending their session
/// where observe mode lets requests pass without one.
pub fn age(session: Option<&Session>, route: &Route, now: UnixTime) -> Verdict {
    let Some(most) = route.max_auth_age else { return Ok(()) };
    let Some(session) = session else {
        let detail = format!(
            "nobody has signed in, `{}` allows a sign-in {} s old",
            route.id.as_str(),
            most.as_secs()
        );
        return Err(Deny::new(Reason::AuthTooOld, detail).by(route.origin));
    };
    let age = now.since(session.claims.auth_time);
    if age <= most {
        return Ok(());
    }
    let detail = format!(
        "the sign-in is {} s old, `{}` allows {} s",
        age.as_secs(),
        route.id.as_str(),
        most.as_secs()
    );
    Err(Deny::new(Reason::AuthTooOld, detail).by(route.origin))
}
