//! The cookies that the app sets: which of them pass, and which attributes each gets (ASVS 3.3).

use std::borrow::Cow;

use http::{HeaderMap, HeaderValue, header};

use crate::{model::AppCookie, policy::CookieRules, session::cookie::is_sign_in_cookie};

/// The most bytes of a name with its value; browsers keep no more (draft-ietf-httpbis-rfc6265bis, section
/// 5.7).
const MAX_BYTES: usize = 4096;

/// What cookies are judged by.
#[derive(Clone, Copy)]
pub struct CookieContext<'a> {
    /// The name of the session cookie.
    pub session_cookie: &'a str,
    /// The names of the app's own session cookies, where the session that asked has ended: signed anew it
    /// would outlive its end.
    pub ended: &'a [Box<str>],
    /// What the tenant's app may do.
    pub rules: &'a CookieRules,
    /// Whether the client came over TLS.
    pub tls: bool,
    /// Says whether the tenant owns a domain and all its subdomains.
    pub owns: &'a dyn Fn(&str) -> bool,
}

/// Removes the cookies that may not be set, and tightens the others. Returns what became of each.
pub fn filter_set_cookies(headers: &mut HeaderMap, context: CookieContext<'_>) -> Vec<AppCookie> {
    if !headers.contains_key(header::SET_COOKIE) {
        return Vec::new();
    }
    let (mut kept, mut outcomes) = (Vec::new(), Vec::new());
    for value in &headers.get_all(header::SET_COOKIE) {
        let (cookie, outcome) = filter(value.as_bytes(), context);
        outcomes.push(outcome);
        kept.extend(cookie.and_then(|cookie| HeaderValue::from_bytes(&cookie).ok()));
    }
    headers.remove(header::SET_COOKIE);
    for value in kept {
        headers.append(header::SET_COOKIE, value);
    }
    outcomes
}

/// Returns what the client gets of one `Set-Cookie` value, if anything, and what was done.
fn filter<'v>(value: &'v [u8], context: CookieContext<'_>) -> (Option<Cow<'v, [u8]>>, AppCookie) {
    let mut pieces = value.split(|&byte| byte == b';');
    let pair = pieces.next().unwrap_or(value).trim_ascii();
    let name = match check_pair(pair, context) {
        Ok(name) => name,
        Err(why) => return (None, why),
    };
    let listed = |names: &[Box<str>]| names.iter().any(|listed| listed.as_bytes() == name);
    if listed(context.ended) && !is_cleared(value) {
        return (None, AppCookie::Session);
    }
    let mut attributes = Attributes::default();
    let others: Vec<&[u8]> = pieces.map(<[u8]>::trim_ascii).filter(|piece| !attributes.note(piece)).collect();
    let secure = context.tls || attributes.secure;
    let http_only = attributes.http_only || !listed(&context.rules.script);
    let same_site = match attributes.same_site {
        Some(word) if word.eq_ignore_ascii_case(b"strict") => "Strict",
        // Browsers accept `None` only with `Secure`; they differ in what they make of an unknown value.
        Some(word) if word.eq_ignore_ascii_case(b"none") && secure && listed(&context.rules.cross_site) => {
            "None"
        }
        Some(_) | None => "Lax",
    };
    // A cookie for a domain above the tenant's own hosts would reach the hosts of others.
    let host_only = name.get(..7).is_some_and(|prefix| prefix.eq_ignore_ascii_case(b"__host-"));
    let domain = attributes
        .domain
        .and_then(|domain| std::str::from_utf8(domain).ok())
        .map(|domain| domain.trim_start_matches('.'));
    let domain = domain.filter(|domain| !host_only && (context.owns)(domain));
    let as_it_was = attributes.secure == secure
        && attributes.http_only == http_only
        && attributes.same_site.is_some_and(|word| word.eq_ignore_ascii_case(same_site.as_bytes()))
        && attributes.domain.is_some() == domain.is_some()
        && !attributes.twice;
    if as_it_was {
        return (Some(Cow::Borrowed(value)), AppCookie::Kept);
    }
    let mut out = pair.to_vec();
    for other in others.into_iter().filter(|other| !other.is_empty()) {
        out.extend_from_slice(b"; ");
        out.extend_from_slice(other);
    }
    if let Some(domain) = domain {
        out.extend_from_slice(b"; Domain=");
        out.extend_from_slice(domain.as_bytes());
    }
    for (attribute, is_on) in [("; Secure", secure), ("; HttpOnly", http_only)] {
        out.extend_from_slice(if is_on { attribute.as_bytes() } else { b"" });
    }
    out.extend_from_slice(b"; SameSite=");
    out.extend_from_slice(same_site.as_bytes());
    (Some(Cow::Owned(out)), AppCookie::Tightened)
}

/// Says whether a cookie is cleared: it has no value, or it has expired.
fn is_cleared(value: &[u8]) -> bool {
    let mut pieces = value.split(|&byte| byte == b';').map(|piece| {
        let mut parts = piece.splitn(2, |&byte| byte == b'=').map(<[u8]>::trim_ascii);
        (parts.next().unwrap_or_default(), parts.next().unwrap_or_default())
    });
    let is_empty = pieces.next().is_none_or(|(_, value)| value.is_empty() || value == b"\"\"");
    is_empty
        || pieces.any(|(name, value)| match name {
            name if name.eq_ignore_ascii_case(b"max-age") => {
                value.starts_with(b"-") || value.iter().all(|&digit| digit == b'0')
            }
            name if name.eq_ignore_ascii_case(b"expires") => value.windows(4).any(|year| year == b"1970"),
            _ => false,
        })
}

/// Finds the name of a cookie that may be set.
fn check_pair<'v>(pair: &'v [u8], context: CookieContext<'_>) -> Result<&'v [u8], AppCookie> {
    let mut parts = pair.split(|&byte| byte == b'=').map(<[u8]>::trim_ascii);
    let name = parts.next().unwrap_or(pair);
    // A cookie without a name comes back as its value alone, which may read `name=value`.
    let read_as = if name.is_empty() { parts.find(|part| !part.is_empty()).unwrap_or(name) } else { name };
    // Browsers trim and compare prefixes without case (draft-ietf-httpbis-rfc6265bis, section 5.7): so do we.
    let own = context.session_cookie;
    if !own.is_empty() && (read_as.eq_ignore_ascii_case(own.as_bytes()) || is_sign_in_cookie(read_as, own)) {
        return Err(AppCookie::Session);
    }
    if context
        .rules
        .allow
        .as_deref()
        .is_some_and(|allow| !allow.iter().any(|allowed| allowed.as_bytes() == name))
    {
        return Err(AppCookie::Unlisted);
    }
    if pair.len() > MAX_BYTES { Err(AppCookie::TooLarge) } else { Ok(name) }
}

/// The attributes of a cookie that the gateway sets. Of several the last counts, as for browsers.
#[derive(Default)]
struct Attributes<'v> {
    secure: bool,
    http_only: bool,
    same_site: Option<&'v [u8]>,
    domain: Option<&'v [u8]>,
    /// Whether one of those with a value stands twice.
    twice: bool,
}

impl<'v> Attributes<'v> {
    /// Notes an attribute; says whether it is one of those.
    fn note(&mut self, piece: &'v [u8]) -> bool {
        let mut parts = piece.splitn(2, |&byte| byte == b'=').map(<[u8]>::trim_ascii);
        let (name, value) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        let is = |known: &str| name.eq_ignore_ascii_case(known.as_bytes());
        if is("secure") {
            self.secure = true;
        } else if is("httponly") {
            self.http_only = true;
        } else if is("samesite") {
            self.twice |= self.same_site.replace(value).is_some();
        } else if is("domain") {
            // An empty one is ignored (section 5.6.3).
            self.twice |= self.domain.replace(value).is_some() || value.is_empty();
        } else {
            return false;
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> Box<[Box<str>]> {
        names.iter().map(|name| Box::from(*name)).collect()
    }

    fn rules() -> CookieRules {
        CookieRules { allow: None, script: names(&["csrftoken"]), cross_site: names(&["embed"]) }
    }

    fn set_over(tls: bool, value: &str, rules: &CookieRules) -> (Option<String>, AppCookie) {
        let owns = |host: &str| host.eq_ignore_ascii_case("acme.test");
        let (kept, done) = filter(
            value.as_bytes(),
            CookieContext { session_cookie: "__Host-octroi", ended: &[], rules, tls, owns: &owns },
        );
        (kept.map(|value| String::from_utf8(value.into_owned()).unwrap()), done)
    }

    fn set(value: &str) -> String {
        set_over(true, value, &rules()).0.unwrap()
    }

    #[test]
    fn every_cookie_gets_what_it_lacks() {
        assert_eq!(set("a=b"), "a=b; Secure; HttpOnly; SameSite=Lax");
        assert_eq!(set("a=b; Path=/; Max-Age=0"), "a=b; Path=/; Max-Age=0; Secure; HttpOnly; SameSite=Lax");
        assert_eq!(
            set("a=b;secure;HTTPONLY; samesite = strict ;Partitioned;"),
            "a=b;secure;HTTPONLY; samesite = strict ;Partitioned;"
        );
        assert_eq!(set("a=b; SameSite=Strict; Secure"), "a=b; Secure; HttpOnly; SameSite=Strict");
        assert_eq!(set("a"), "a; Secure; HttpOnly; SameSite=Lax");
        assert_eq!(set("a=\"x; y\"; Partitioned"), "a=\"x; y\"; Partitioned; Secure; HttpOnly; SameSite=Lax");
    }

    #[test]
    fn a_session_of_the_app_that_has_ended_is_not_signed_anew_and_may_be_cleared() {
        let ended = names(&["login"]);
        let (rules, owns) = (rules(), |_: &str| false);
        let kept = |value: &'static str| {
            let context = CookieContext {
                session_cookie: "__Host-octroi",
                ended: &ended,
                rules: &rules,
                tls: true,
                owns: &owns,
            };
            filter(value.as_bytes(), context).0.is_some()
        };

        for anew in [
            "login=abc",
            "login=abc; Max-Age=60; Path=/",
            " login = abc",
            "login=abc; Expires=Fri, 31 Dec 2100 00:00:00 GMT",
        ] {
            assert!(!kept(anew), "{anew}");
        }
        for other in [
            "login=; Path=/",
            "login=\"\"; Path=/",
            "login=x; max-age=0",
            "login=x; Max-Age=-1",
            "logins=abc",
            "lang=fr",
        ] {
            assert!(kept(other), "{other}");
        }
        assert!(kept("login=x; Expires=Thu, 01 Jan 1970 00:00:00 GMT"));
    }

    #[test]
    fn scripts_read_what_the_tenant_lists() {
        assert_eq!(set("csrftoken=1"), "csrftoken=1; Secure; SameSite=Lax");
        assert_eq!(set("csrftoken=1; HttpOnly"), "csrftoken=1; Secure; HttpOnly; SameSite=Lax");
        assert_eq!(set("CSRFTOKEN=1"), "CSRFTOKEN=1; Secure; HttpOnly; SameSite=Lax");
    }

    #[test]
    fn other_sites_send_what_the_tenant_lists_and_over_tls_only() {
        assert_eq!(set("embed=1; SameSite=None"), "embed=1; Secure; HttpOnly; SameSite=None");
        assert_eq!(set("other=1; SameSite=None; Secure"), "other=1; Secure; HttpOnly; SameSite=Lax");
        assert_eq!(set("embed=1"), "embed=1; Secure; HttpOnly; SameSite=Lax");
        assert_eq!(set("embed=1; SameSite=Whatever"), "embed=1; Secure; HttpOnly; SameSite=Lax");
        assert_eq!(set("embed=1; SameSite=Lax; SameSite=None"), "embed=1; Secure; HttpOnly; SameSite=None");
        assert_eq!(
            set_over(false, "embed=1; SameSite=None", &rules()).0.unwrap(),
            "embed=1; HttpOnly; SameSite=Lax"
        );
        assert_eq!(
            set_over(false, "a=1; Secure", &rules()).0.unwrap(),
            "a=1; Secure; HttpOnly; SameSite=Lax"
        );
    }

    #[test]
    fn no_cookie_reaches_the_hosts_of_others() {
        assert_eq!(set("a=1; Domain=.Acme.test"), "a=1; Domain=Acme.test; Secure; HttpOnly; SameSite=Lax");
        for domain in ["test", "example.test", "b.acme.test", "", "acme.test.", "é"] {
            assert_eq!(
                set(&format!("a=1; Domain={domain}")),
                "a=1; Secure; HttpOnly; SameSite=Lax",
                "{domain}"
            );
        }
        assert_eq!(set("a=1; Domain=acme.test; Domain=example.test"), "a=1; Secure; HttpOnly; SameSite=Lax");
        assert_eq!(
            set("__host-a=1; Path=/; Domain=acme.test"),
            "__host-a=1; Path=/; Secure; HttpOnly; SameSite=Lax"
        );
    }

    #[test]
    fn the_app_cannot_set_the_session_cookie_nor_one_that_is_not_listed() {
        let listed = CookieRules { allow: Some(names(&["lang"])), ..rules() };
        let gone = |value: &str, rules: &CookieRules| match set_over(true, value, rules) {
            (None, why) => why,
            (Some(kept), _) => panic!("{kept}"),
        };

        for value in [
            "__Host-octroi=x; Path=/",
            " __host-OCTROI =x",
            "=__Host-octroi=x",
            " = = __host-octroi = x; Path=/",
            "__Host-octroi",
            "__Host-octroi-sign-in-0123abcd=x",
            "=__host-octroi-SIGN-IN-0123abcd=x",
        ] {
            assert_eq!(gone(value, &rules()), AppCookie::Session, "{value}");
        }
        assert_eq!(gone("=lang=fr", &listed), AppCookie::Unlisted);
        assert_eq!(gone("track=1", &listed), AppCookie::Unlisted);
        assert_eq!(gone("LANG=1", &listed), AppCookie::Unlisted);
        assert_eq!(set_over(true, "lang=fr", &listed).1, AppCookie::Tightened);
        assert_eq!(set_over(true, "lang=fr; Secure; HttpOnly; SameSite=Lax", &listed).1, AppCookie::Kept);
    }

    #[test]
    fn what_no_browser_keeps_is_dropped() {
        let cookie = |bytes: usize| set_over(true, &format!("a={}", "x".repeat(bytes - 2)), &rules()).1;

        assert_eq!(cookie(MAX_BYTES), AppCookie::Tightened);
        assert_eq!(cookie(MAX_BYTES + 1), AppCookie::TooLarge);
    }
}
