//! What becomes of a cookie that the app sets: who may set which, and what every one of them says (`security.md` 2.4, ASVS 3.3).

use std::borrow::Cow;

use crate::{policy::CookieRules, session::cookie::is_mark, telemetry::AppCookie};

/// The most bytes of a name with its value; browsers keep no more (draft-ietf-httpbis-rfc6265bis, section 5.7).
const MAX_BYTES: usize = 4096;

/// Where a cookie is set.
#[derive(Clone, Copy)]
pub(super) struct Setting<'a> {
    /// The name of the session cookie.
    pub(super) session_cookie: &'a str,
    /// What the tenant's app may do.
    pub(super) rules: &'a CookieRules,
    /// Whether the client came over TLS.
    pub(super) tls: bool,
    /// Says whether the tenant owns a domain, and all that is beneath.
    pub(super) owns: &'a dyn Fn(&str) -> bool,
}

/// Returns what the client reads of one `Set-Cookie` value, if anything; and what was done, for the counter.
pub(super) fn judge<'v>(value: &'v [u8], setting: Setting<'_>) -> (Option<Cow<'v, [u8]>>, AppCookie) {
    let mut pieces = value.split(|&byte| byte == b';');
    let pair = pieces.next().unwrap_or(value).trim_ascii();
    let name = match fate(pair, setting) {
        Ok(name) => name,
        Err(why) => return (None, why),
    };
    let listed = |names: &[Box<str>]| names.iter().any(|listed| listed.as_bytes() == name);
    let mut said = Said::default();
    let others: Vec<&[u8]> = pieces.map(<[u8]>::trim_ascii).filter(|piece| !said.note(piece)).collect();
    let secure = setting.tls || said.secure;
    let http_only = said.http_only || !listed(&setting.rules.script);
    let same_site = match said.same_site {
        Some(word) if word.eq_ignore_ascii_case(b"strict") => "Strict",
        // Browsers take `None` only with `Secure`; what they do not know they read as they like.
        Some(word) if word.eq_ignore_ascii_case(b"none") && secure && listed(&setting.rules.cross_site) => "None",
        Some(_) | None => "Lax",
    };
    // A cookie for a domain above the tenant's own hosts would reach the hosts of others.
    let host_only = name.get(..7).is_some_and(|prefix| prefix.eq_ignore_ascii_case(b"__host-"));
    let domain = said.domain.and_then(|domain| std::str::from_utf8(domain).ok()).map(|domain| domain.trim_start_matches('.'));
    let domain = domain.filter(|domain| !host_only && (setting.owns)(domain));
    let as_it_was = said.secure == secure
        && said.http_only == http_only
        && said.same_site.is_some_and(|word| word.eq_ignore_ascii_case(same_site.as_bytes()))
        && said.domain.is_some() == domain.is_some()
        && !said.twice;
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

/// Finds the name of a cookie that may be set.
fn fate<'v>(pair: &'v [u8], setting: Setting<'_>) -> Result<&'v [u8], AppCookie> {
    let mut parts = pair.split(|&byte| byte == b'=').map(<[u8]>::trim_ascii);
    let name = parts.next().unwrap_or(pair);
    // A cookie without a name comes back as its value alone, and that may read `name=value`.
    let read_as = if name.is_empty() { parts.find(|part| !part.is_empty()).unwrap_or(name) } else { name };
    // Browsers trim and compare prefixes without case (draft-ietf-httpbis-rfc6265bis, section 5.7): so do we.
    let own = setting.session_cookie;
    if !own.is_empty() && (read_as.eq_ignore_ascii_case(own.as_bytes()) || is_mark(read_as, own)) {
        return Err(AppCookie::Session);
    }
    if setting.rules.allow.as_deref().is_some_and(|allow| !allow.iter().any(|allowed| allowed.as_bytes() == name)) {
        return Err(AppCookie::Unlisted);
    }
    if pair.len() > MAX_BYTES { Err(AppCookie::TooLarge) } else { Ok(name) }
}

/// What a cookie says of the attributes that are ours to set. Of several the last counts, as for browsers.
#[derive(Default)]
struct Said<'v> {
    secure: bool,
    http_only: bool,
    same_site: Option<&'v [u8]>,
    domain: Option<&'v [u8]>,
    /// Whether one of those with a value stands twice.
    twice: bool,
}

impl<'v> Said<'v> {
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
            // An empty one is none (section 5.6.3).
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
        let (kept, done) = judge(value.as_bytes(), Setting { session_cookie: "__Host-octroi", rules, tls, owns: &owns });
        (kept.map(|value| String::from_utf8(value.into_owned()).unwrap()), done)
    }

    fn set(value: &str) -> String {
        set_over(true, value, &rules()).0.unwrap()
    }

    #[test]
    fn every_cookie_gets_what_it_lacks() {
        assert_eq!(set("a=b"), "a=b; Secure; HttpOnly; SameSite=Lax");
        assert_eq!(set("a=b; Path=/; Max-Age=0"), "a=b; Path=/; Max-Age=0; Secure; HttpOnly; SameSite=Lax");
        assert_eq!(set("a=b;secure;HTTPONLY; samesite = strict ;Partitioned;"), "a=b;secure;HTTPONLY; samesite = strict ;Partitioned;");
        assert_eq!(set("a=b; SameSite=Strict; Secure"), "a=b; Secure; HttpOnly; SameSite=Strict");
        assert_eq!(set("a"), "a; Secure; HttpOnly; SameSite=Lax");
        assert_eq!(set("a=\"x; y\"; Partitioned"), "a=\"x; y\"; Partitioned; Secure; HttpOnly; SameSite=Lax");
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
        assert_eq!(set_over(false, "embed=1; SameSite=None", &rules()).0.unwrap(), "embed=1; HttpOnly; SameSite=Lax");
        assert_eq!(set_over(false, "a=1; Secure", &rules()).0.unwrap(), "a=1; Secure; HttpOnly; SameSite=Lax");
    }

    #[test]
    fn no_cookie_reaches_the_hosts_of_others() {
        assert_eq!(set("a=1; Domain=.Acme.test"), "a=1; Domain=Acme.test; Secure; HttpOnly; SameSite=Lax");
        for domain in ["test", "example.test", "b.acme.test", "", "acme.test.", "é"] {
            assert_eq!(set(&format!("a=1; Domain={domain}")), "a=1; Secure; HttpOnly; SameSite=Lax", "{domain}");
        }
        assert_eq!(set("a=1; Domain=acme.test; Domain=example.test"), "a=1; Secure; HttpOnly; SameSite=Lax");
        assert_eq!(set("__host-a=1; Path=/; Domain=acme.test"), "__host-a=1; Path=/; Secure; HttpOnly; SameSite=Lax");
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
