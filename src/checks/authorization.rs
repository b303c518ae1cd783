//! May this session do this, and is it really its user who asks?

use super::{hygiene::Clean, session::Session};
use crate::{
    model::{Deny, Host, Reason, RequestView, UnixTime, Verdict},
    policy::{Listener, Route, RouteAccess},
};

/// Refuses a session that has none of the roles that the route asks for.
pub fn role(session: &Session, route: &Route) -> Verdict {
    let RouteAccess::Roles(roles) = &route.access else { return Ok(()) };
    if session.claims.roles.iter().any(|role| roles.iter().any(|asked| **asked == *role)) {
        return Ok(());
    }
    Err(Deny::new(Reason::RoleMissing, format!("`{}` asks for one of the roles {}", route.id.as_str(), roles.join(", "))).by(route.origin))
}

/// Refuses a sign-in that is older than the route allows. Renewal does not make it younger.
pub fn age(session: &Session, route: &Route, now: UnixTime) -> Verdict {
    let Some(most) = route.max_auth_age else { return Ok(()) };
    let age = now.since(session.claims.auth_time);
    if age <= most {
        return Ok(());
    }
    let detail = format!("the sign-in is {} s old, `{}` allows {} s", age.as_secs(), route.id.as_str(), most.as_secs());
    Err(Deny::new(Reason::AuthTooOld, detail).by(route.origin))
}

/// Says by what a browser tells that another site made the request, if it does.
///
/// `Sec-Fetch-Site` and `Origin` cannot be set by a page. Who sends neither is no browser, or an old one.
pub fn cross_site(view: &RequestView<'_>, clean: &Clean<'_>, listener: &Listener) -> Option<&'static str> {
    let site = || view.headers.get_all("sec-fetch-site").iter().map(http::HeaderValue::as_bytes);
    if site().any(|site| site.eq_ignore_ascii_case(b"cross-site")) {
        return Some("Sec-Fetch-Site is cross-site");
    }
    // A page with `Referrer-Policy: no-referrer` says `null` about its own form too (Fetch, section 3.2), and then only the other
    // field tells whose it is.
    let same_origin = site().eq([b"same-origin".as_slice()]);
    let mut origins = view.headers.get_all(http::header::ORIGIN).iter();
    let is_own =
        |origin: &http::HeaderValue| origin.to_str().is_ok_and(|text| (same_origin && text == "null") || own(text, view, clean, listener));
    if origins.all(is_own) { None } else { Some("Origin is another site") }
}

/// Refuses what another site must not do in a user's name on a route with `origin_check`: unsafe methods and WebSockets. Where
/// a route grants, that would sign the victim in as somebody else.
///
/// A link from another site may lead to a page, so safe methods pass; no session is granted in answer to one.
pub fn origin(cross_site: Option<&'static str>, method: &str, websocket: bool, route: &Route) -> Verdict {
    let is_safe = is_safe(method) && !websocket;
    match cross_site {
        Some(detail) if route.origin_check && !is_safe => Err(Deny::new(Reason::Csrf, detail).by(route.origin)),
        Some(_) | None => Ok(()),
    }
}

/// Says whether a method only reads (RFC 9110, section 9.2.1). Those of WebDAV that do so too are no links, so they may count as unsafe.
pub fn is_safe(method: &str) -> bool {
    matches!(method, "GET" | "HEAD" | "OPTIONS")
}

/// Says whether an Origin is the host that was asked for, over the same scheme and a port of this listener.
fn own(origin: &str, view: &RequestView<'_>, clean: &Clean<'_>, listener: &Listener) -> bool {
    let (authority, default) = match origin.split_once("://") {
        Some(("https", authority)) => (authority, 443),
        // A page in clear text must not act on one over TLS.
        Some(("http", authority)) if view.connection.tls().is_none() => (authority, 80),
        Some(_) | None => return false,
    };
    let Ok((host, port)) = Host::parse_authority(authority) else { return false };
    let port = port.unwrap_or(default);
    host == clean.host && (clean.port.unwrap_or(default) == port || listener.answers_port(port))
}
