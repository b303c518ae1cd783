//! Does a page of this realm make the request, and may another site do what it asks for?

use http::{HeaderName, HeaderValue, header};

use super::{client::Client, hygiene::Clean, session::Session, sign_in::Callback};
use crate::{
    model::{Deny, Host, Reason, RequestView, Verdict, WebOrigin},
    policy::{OriginCheck, Policy, Route, Tenant},
};

/// The site that makes a request, as far as its browser says. A page can set neither `Sec-Fetch-Site` nor
/// `Origin` (Fetch Metadata, section 2; Fetch, section 3.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sender {
    /// The realm itself, or an origin that its operator lists in `origins`.
    Own,
    /// The user: a typed URL, a bookmark, a link in another program (`Sec-Fetch-Site: none`).
    User,
    /// Unknown: not a browser, or one from before 2020 that follows a link.
    Unsaid,
    /// Another site, and how that is known.
    Foreign(&'static str),
}

impl Sender {
    /// Says how it is known that another site makes the request, if one does.
    pub fn foreign(self) -> Option<&'static str> {
        match self {
            Self::Foreign(why) => Some(why),
            Self::Own | Self::User | Self::Unsaid => None,
        }
    }
}

/// Determines the site that makes the request.
///
/// `same-site` is not enough: the other tenants of a parent domain belong to the same site. Whether there are
/// any makes no difference, so that the rule does not change on the day when the first one comes.
pub fn sender(
    view: &RequestView<'_>,
    clean: &Clean<'_>,
    client: &Client<'_>,
    realm: &Tenant,
    route: &Route,
    policy: &Policy,
) -> Sender {
    let once = |name: &HeaderName| {
        let mut values = view.headers.get_all(name).iter().map(HeaderValue::as_bytes);
        (values.next(), values.next().is_some())
    };
    let ((site, sites), (origin, origins)) = (once(&SEC_FETCH_SITE), once(&header::ORIGIN));
    if sites || origins {
        return Sender::Foreign("Sec-Fetch-Site or Origin stands twice");
    }
    let is_ours = |origin: &[u8]| {
        std::str::from_utf8(origin)
            .is_ok_and(|text| is_own(text, clean, client, realm, policy) || is_listed(text, realm, route))
    };
    match (site, origin) {
        (None, None) => Sender::Unsaid,
        // A page with `Referrer-Policy: no-referrer` sends `null` even for its own forms, and then only the
        // other field shows whose it is.
        (Some(b"same-origin"), None | Some(b"null")) => Sender::Own,
        (Some(b"none"), None | Some(b"null")) => Sender::User,
        (_, Some(origin)) if is_ours(origin) => Sender::Own,
        (_, Some(_)) => Sender::Foreign("Origin is another site"),
        (Some(b"cross-site"), None) => Sender::Foreign("Sec-Fetch-Site is cross-site"),
        (Some(b"same-site"), None) => {
            Sender::Foreign("Sec-Fetch-Site is same-site, which other tenants may be, and there is no Origin")
        }
        (Some(_), None) => Sender::Foreign("Sec-Fetch-Site is not a word that browsers say"),
    }
}

/// Refuses what another site must not do in a user's name: unsafe methods with a session that browsers send
/// by themselves, and on routes that grant, revoke or open WebSockets also without one.
///
/// Links from other sites to pages are legitimate, so safe methods pass; their answers neither grant nor end
/// a session.
pub fn check(sender: Sender, is_safe: bool, session: Option<&Session>, route: &Route) -> Verdict {
    let counts = match route.origin_check {
        OriginCheck::Off => false,
        OriginCheck::Sessions => session.is_some_and(Session::is_in_a_cookie),
        OriginCheck::Always => true,
    };
    match sender.foreign().filter(|_| counts && !is_safe) {
        Some(why) => Err(Deny::new(Reason::Csrf, why).by(route.origin)),
        None => Ok(()),
    }
}

/// Refuses a sign-in that another site forces on its visitor: by a link, or with the redirect of a sign-in
/// that somebody else began.
///
/// On a callback route every request needs the mark: a link in a message (`none`) could carry anybody's
/// sign-in, and so could content that users write on the realm's own pages. A part of a page may sign in
/// there, too: apps renew a sign-in in a hidden frame, and the mark shows that it is theirs.
pub fn check_grant(
    sender: Sender,
    part: Option<&'static str>,
    callback: Option<&Callback>,
    route: &Route,
) -> Verdict {
    match callback {
        _ if route.origin_check == OriginCheck::Off => Ok(()),
        Some(Callback::Begun { .. }) => Ok(()),
        Some(Callback::Unknown(why)) => Err(Deny::new(Reason::Csrf, *why).by(route.origin)),
        None => check_answer(sender, part, route),
    }
}

/// Refuses grants and revocations in the answer to a request that another site made, or that loaded a part of
/// a page: a link or an image could sign its visitor in as somebody else, or out.
pub fn check_answer(sender: Sender, part: Option<&'static str>, route: &Route) -> Verdict {
    match sender.foreign().or(part).filter(|_| route.origin_check != OriginCheck::Off) {
        Some(why) => Err(Deny::new(Reason::Csrf, why).by(route.origin)),
        None => Ok(()),
    }
}

/// Says how it is known that a browser loads a part of a page, or something that nobody opens: images,
/// styles, frames (Fetch Metadata, section 2.1, `Sec-Fetch-Dest`) and prefetches (`Sec-Purpose`).
///
/// Whoever may put an image into the realm's own page can cause such requests. A link that is followed is a
/// `document`, a script's request is `empty`; older browsers send nothing.
pub fn part_of_page(view: &RequestView<'_>) -> Option<&'static str> {
    let of_part = |place: &HeaderValue| !matches!(place.as_bytes(), b"document" | b"empty");
    if view.headers.get_all(&SEC_FETCH_DEST).iter().any(of_part) {
        return Some("Sec-Fetch-Dest is a part of a page, which neither signs in nor out");
    }
    let is_ahead = |purpose: &HeaderValue| purpose.as_bytes().starts_with(b"prefetch");
    view.headers
        .get_all(&SEC_PURPOSE)
        .iter()
        .any(is_ahead)
        .then_some("Sec-Purpose is a fetch ahead, which neither signs in nor out")
}

// As names: a text would be validated and put into lower case at each look-up, and every request looks these
// up.
const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
const SEC_FETCH_DEST: HeaderName = HeaderName::from_static("sec-fetch-dest");
const SEC_PURPOSE: HeaderName = HeaderName::from_static("sec-purpose");

/// Says whether a method is safe (RFC 9110, section 9.2.1). Links never use the safe methods of WebDAV, so
/// these may count as unsafe.
pub fn is_safe(method: &str) -> bool {
    matches!(method, "GET" | "HEAD" | "OPTIONS")
}

/// Says whether an Origin is a host of the realm, with the scheme and the port that the client uses: the port
/// in Host, or the public port of the listener. Another port of the host may belong to another program.
fn is_own(origin: &str, clean: &Clean<'_>, client: &Client<'_>, realm: &Tenant, policy: &Policy) -> bool {
    let (authority, default) = match origin.split_once("://") {
        Some(("https", authority)) => (authority, 443),
        // A page in clear text must not act on one over TLS.
        Some(("http", authority)) if !client.scheme.is_secure() => (authority, 80),
        Some(_) | None => return false,
    };
    let Ok((host, port)) = Host::parse_authority(authority) else { return false };
    let port = port.unwrap_or(default);
    // The requested host is known to be the realm's; others are looked up.
    let is_of_realm =
        host == clean.host || policy.tenants.owning(&host).is_some_and(|owner| owner.name == realm.name);
    is_of_realm && (clean.port.unwrap_or(default) == port || client.listener.public_port == Some(port))
}

/// Says whether the operator lists an origin.
fn is_listed(origin: &str, realm: &Tenant, route: &Route) -> bool {
    let mut listed = realm.origins.iter().chain(&route.origins).peekable();
    // Most realms list none, and then nothing is parsed.
    listed.peek().is_some()
        && origin.parse::<WebOrigin>().is_ok_and(|origin| listed.any(|own| *own == origin))
}
