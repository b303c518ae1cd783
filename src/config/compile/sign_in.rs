//! Sign-ins: one that comes back began somewhere, and rules that need a session have one that grants it.

use super::Context;
use crate::{
    config::reader::Spanned,
    model::TenantName,
    policy::{Granting, Route, RouteAccess, RouteTable},
};

/// A sign-in that comes back began somewhere, and one that begins comes back.
///
/// `has_login`: a `login_url` begins one. `is_broken`: a rule of the table was refused, so one may be
/// missing.
pub(super) fn validate(
    cx: &mut Context<'_>,
    name: &Spanned<TenantName>,
    routes: &RouteTable,
    has_login: bool,
    is_broken: bool,
) {
    let callback = routes.routes().find(|route| route.grant == Granting::Callback);
    let begins = routes.routes().find(|route| route.begins_sign_in);
    match (callback, begins) {
        // The rule where one begins may be there, and refused.
        (Some(_), None) if is_broken => {}
        (Some(route), None) if !has_login => {
            let message = format!(
                "the rule `{}` of `{}` grants to sign-ins that began here, and none begins",
                route.id.as_str(),
                name.value
            );
            cx.error(name.span, message)
                .hint("where the app sends the browser to the identity provider, write `sign_in: begin`, or name it as `login_url`");
        }
        (None, Some(route)) if cx.findings.errors() == 0 => {
            let message = format!(
                "a sign-in begins at the rule `{}` of `{}`, and none comes back",
                route.id.as_str(),
                name.value
            );
            cx.warn(name.span, message)
                .hint("add the rule that the identity provider sends the browser back to: `grant: callback`");
        }
        (_, _) => {}
    }
}

/// Returns a rule that needs a session where none of the table grants one. Robots with Bearer tokens need
/// none; but where a grant was forgotten, an app's sign-in that comes to nothing is a mystery.
pub(super) fn needs_a_grant(routes: &RouteTable) -> Option<&Route> {
    let asking =
        routes.routes().find(|route| matches!(route.access, RouteAccess::Session | RouteAccess::Roles(_)))?;
    let grants = routes.routes().any(|route| route.grant.is_allowed());
    (!grants).then_some(asking)
}
