//! Where a refused browser is sent to sign in.

use std::{borrow::Cow, time::Duration};

use http::{HeaderMap, Method};

use super::StaleSignIn;
use crate::{
    model::Path,
    policy::Sessions,
    session::{AGAIN, AGAIN_SECS, cookie},
};

/// Returns where a browser signs in. The way back is the path only: a query may hold secrets, and the path
/// has passed every check.
///
/// A form has no way back: 303 makes a GET of it (RFC 9110, section 15.4.4), and the path of a form is no
/// page to come back to. `None` for the page itself that it leads to, which would be a loop; a form that is
/// sent there may find its page.
pub fn login_location(
    url: &str,
    method: &Method,
    path: &str,
    max_auth_age: Option<Duration>,
) -> Option<String> {
    // As it is forwarded: `//host` would redirect to that host.
    let path = Path::parse(path.as_bytes());
    let path = path.as_ref().map_or(Cow::Borrowed("/"), Path::forwarded);
    let is_page = *method == Method::GET;
    if is_page && url.split('?').next() == Some(&*path) {
        return None;
    }
    let next = is_page.then(|| {
        format!("next={}", percent_encoding::utf8_percent_encode(&path, percent_encoding::NON_ALPHANUMERIC))
    });
    // Without it, an app that finds a session would send the browser straight back.
    let step_up = max_auth_age.map(|age| format!("max_age={}", age.as_secs()));
    let mut location = url.to_owned();
    for asked in next.into_iter().chain(step_up) {
        location.push(if location.contains('?') { '&' } else { '?' });
        location.push_str(&asked);
    }
    Some(location)
}

/// Finds the way out for a person who comes back to the end of a sign-in: by the browser's back button, in a
/// second tab, or too late.
///
/// Nothing is granted, whoever sent them. A person who is signed in goes to the start; anybody else begins
/// anew, which takes no effort while the provider still knows them. Where that has just been tried, a page
/// explains instead: an app whose sign-ins are never marked would send the browser round in a loop. (A
/// browser that takes no cookies is unknown to the provider too, and stops there.)
pub fn stale_sign_in(sessions: &Sessions, headers: &HeaderMap, signed_in: bool) -> StaleSignIn {
    let name = [&*sessions.cookie, AGAIN].concat();
    let lines = headers.get_all(http::header::COOKIE).iter().map(http::HeaderValue::as_bytes);
    let tried = cookie::sign_in_cookies(lines, &sessions.cookie).any(|(other, _)| other == name.as_bytes());
    let location = sessions.login_url.as_deref().filter(|_| !signed_in);
    // With neither a session nor a place to sign in, the start is only offered as a link.
    let again = (!tried && (signed_in || location.is_some()))
        .then(|| cookie::sign_in_cookie(&name, "1", true, Duration::from_secs(AGAIN_SECS)));
    StaleSignIn { signed_in, location: location.unwrap_or("/").to_owned(), again }
}
