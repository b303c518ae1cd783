//! The fields that every answer gets: the tenant's, and the defaults.

use std::borrow::Cow;

use http::{HeaderMap, HeaderName, HeaderValue, header};

use super::response::is_for_a_cache;

/// Fields that an answer of the app gets unless the app, or `headers.response` of the tenant, sets them:
/// name, value, where.
pub static DEFAULT_FIELDS: [(HeaderName, &str, &str); 5] = [
    // Two years; SSL Labs asks for half a year for A+. Only the tenant knows whose the subdomains are.
    (header::STRICT_TRANSPORT_SECURITY, "max-age=63072000", "the client came over TLS"),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff", "always"),
    (header::REFERRER_POLICY, "strict-origin-when-cross-origin", "always"),
    (header::X_FRAME_OPTIONS, "deny", "neither the app nor the tenant says who may frame it"),
    (header::CONTENT_SECURITY_POLICY, "frame-ancestors 'none'", "the same; beside a policy that the app has"),
];

/// Fields of octroi's own refusals, redirects and error pages: name, value, where. `headers.response` of the
/// tenant applies to them too, but not to how they are cached.
pub const OWN_FIELDS: [(&str, &str, &str); 6] = [
    ("cache-control", "no-store", "always, whatever the tenant says"),
    ("content-security-policy", "default-src 'none'; frame-ancestors 'none'", "always"),
    ("x-content-type-options", "nosniff", "always"),
    ("referrer-policy", "no-referrer", "always"),
    ("x-frame-options", "deny", "always"),
    ("strict-transport-security", "max-age=63072000", "the client came over TLS, and the tenant is known"),
];

/// `headers.response` of a tenant; an empty value removes a field.
pub type TenantFields = [(HeaderName, HeaderValue)];

/// Sets the tenant's fields, and then the default fields that neither the tenant nor the app has set.
/// `secure` says whether the client came over TLS.
pub fn complete(headers: &mut HeaderMap, secure: bool, of_tenant: &TenantFields) {
    for (name, value) in of_tenant {
        if value.is_empty() || !may_say(name, secure) {
            headers.remove(name);
        } else {
            headers.insert(name.clone(), value.clone());
        }
    }
    let framed = says_who_may_frame(headers);
    for &(ref name, value, _) in &DEFAULT_FIELDS {
        // Browsers obey every policy, so one more takes nothing from the app's own.
        let adds = name == header::CONTENT_SECURITY_POLICY;
        let by_app =
            if adds || name == header::X_FRAME_OPTIONS { framed } else { headers.contains_key(name) };
        let said = by_app || of_tenant.iter().any(|(own, _)| own == name);
        if !said && may_say(name, secure) {
            headers.append(name.clone(), HeaderValue::from_static(value));
        }
    }
}

/// Returns the fields of every page of our own: nothing is cached, framed, sniffed or executed, unless the
/// tenant says so.
///
/// HSTS is sent only where the tenant is known: otherwise nobody has configured it, and browsers would keep
/// it for the whole host.
pub fn own_fields(secure: bool, of_tenant: Option<&TenantFields>) -> Vec<(Cow<'static, str>, String)> {
    let mut fields = Vec::with_capacity(16);
    let hsts = header::STRICT_TRANSPORT_SECURITY;
    let is_set = |name: &str| {
        of_tenant.unwrap_or_default().iter().any(|(own, _)| own == name && !is_of_the_refusal(own))
    };
    for (name, value, _) in OWN_FIELDS {
        if !is_set(name) && (hsts != name || (secure && of_tenant.is_some())) {
            fields.push((Cow::Borrowed(name), value.to_owned()));
        }
    }
    for (name, value) in of_tenant.unwrap_or_default() {
        if let (Ok(value), false) =
            (value.to_str(), value.is_empty() || is_of_the_refusal(name) || !may_say(name, secure))
        {
            fields.push((Cow::Owned(name.as_str().to_owned()), value.to_owned()));
        }
    }
    fields
}

/// Says whether a field may be sent at all: HSTS is for answers over TLS only (RFC 6797, section 7.2).
fn may_say(name: &HeaderName, secure: bool) -> bool {
    secure || name != header::STRICT_TRANSPORT_SECURITY
}

/// Says whether an answer states who may frame it. A policy that only reports forbids nothing, and one
/// without `frame-ancestors` allows everybody: no other directive implies it (CSP3, section 6.4.2).
fn says_who_may_frame(headers: &HeaderMap) -> bool {
    let policies = headers.get_all(header::CONTENT_SECURITY_POLICY).iter();
    let mut directives = policies.flat_map(|line| line.as_bytes().split(|&byte| matches!(byte, b',' | b';')));
    let is_about_framing = |directive: &[u8]| {
        let name = directive.trim_ascii_start().split(u8::is_ascii_whitespace).next();
        name.is_some_and(|name| name.eq_ignore_ascii_case(b"frame-ancestors"))
    };
    headers.contains_key(header::X_FRAME_OPTIONS) || directives.any(is_about_framing)
}

/// Says whether a field of a refusal states what it is, how it is cached or what the client does next: no
/// tenant can change those.
fn is_of_the_refusal(name: &HeaderName) -> bool {
    is_for_a_cache(name.as_str())
        || matches!(
            name.as_str(),
            "accept-ranges"
                | "age"
                | "allow"
                | "cache-control"
                | "content-disposition"
                | "content-encoding"
                | "content-language"
                | "content-location"
                | "content-range"
                | "content-type"
                | "date"
                | "etag"
                | "expires"
                | "last-modified"
                | "location"
                | "pragma"
                | "ratelimit"
                | "ratelimit-policy"
                | "refresh"
                | "retry-after"
                | "vary"
                | "www-authenticate"
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What an answer with these fields says, by name.
    fn completed(
        fields: &[(&'static str, &'static str)],
        words: &[(&'static str, &'static str)],
        name: &HeaderName,
    ) -> Vec<String> {
        let mut headers = map(fields);
        let words: Vec<_> = words
            .iter()
            .map(|&(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
            .collect();
        complete(&mut headers, true, &words);
        headers.get_all(name).iter().map(|value| value.to_str().unwrap().to_owned()).collect()
    }

    #[test]
    fn what_the_app_says_about_framing_stands_and_what_it_does_not_say_is_said() {
        const CSP: HeaderName = header::CONTENT_SECURITY_POLICY;
        const XFO: HeaderName = header::X_FRAME_OPTIONS;
        let csp = "content-security-policy";

        for said in [
            "frame-ancestors 'self'",
            "default-src 'self'; Frame-Ancestors https://a.test",
            "default-src 'self' ,\tframe-ancestors *",
            "frame-ancestors",
        ] {
            assert_eq!(completed(&[(csp, said)], &[], &CSP), [said]);
            assert_eq!(completed(&[(csp, said)], &[], &XFO), [""; 0], "{said}");
            assert_eq!(completed(&[(csp, "default-src *"), (csp, said)], &[], &CSP), ["default-src *", said]);
        }
        for silent in [
            "default-src 'self'",
            "frame-src 'none'",
            "x-frame-ancestors *",
            "script-src a; child-src frame-ancestors",
            "",
        ] {
            assert_eq!(completed(&[(csp, silent)], &[], &CSP), [silent, "frame-ancestors 'none'"]);
            assert_eq!(completed(&[(csp, silent)], &[], &XFO), ["deny"], "{silent}");
        }
        let reports = [("content-security-policy-report-only", "frame-ancestors *")];
        assert_eq!(
            (completed(&reports, &[], &CSP), completed(&reports, &[], &XFO)),
            (vec!["frame-ancestors 'none'".to_owned()], vec!["deny".to_owned()])
        );
        let own = [("x-frame-options", "SAMEORIGIN"), (csp, "default-src *")];
        assert_eq!(completed(&own, &[], &XFO), ["SAMEORIGIN"]);
        assert_eq!(completed(&own, &[], &CSP), ["default-src *"]);
    }

    #[test]
    fn what_the_tenant_says_of_a_default_field_is_not_said_again() {
        const CSP: HeaderName = header::CONTENT_SECURITY_POLICY;
        const XFO: HeaderName = header::X_FRAME_OPTIONS;

        let partner = [("content-security-policy", "frame-ancestors https://partner.test")];
        assert_eq!((completed(&[], &partner, &CSP).len(), completed(&[], &partner, &XFO).len()), (1, 0));
        let own = [("content-security-policy", "default-src 'self'")];
        assert_eq!(
            completed(&[("content-security-policy", "frame-ancestors *")], &own, &CSP),
            ["default-src 'self'"]
        );
        assert_eq!(completed(&[], &own, &XFO), ["deny"]);
        assert_eq!(completed(&[], &[("x-frame-options", "")], &CSP), ["frame-ancestors 'none'"]);
        let nothing =
            [("x-frame-options", ""), ("content-security-policy", ""), ("strict-transport-security", "")];
        for (name, _, _) in &DEFAULT_FIELDS {
            let left = usize::from(!nothing.iter().any(|(own, _)| *own == name));
            assert_eq!(completed(&[], &nothing, name).len(), left, "{name}");
        }
    }

    #[test]
    fn plain_answers_have_no_hsts() {
        let asked =
            [(header::STRICT_TRANSPORT_SECURITY, HeaderValue::from_static("max-age=1; includeSubDomains"))];
        for words in [&asked[..], &[]] {
            let mut headers = HeaderMap::new();
            complete(&mut headers, false, words);
            assert!(!headers.contains_key(header::STRICT_TRANSPORT_SECURITY));
        }
        assert_eq!(completed(&[], &[], &header::STRICT_TRANSPORT_SECURITY), ["max-age=63072000"]);
        let asked = [("strict-transport-security", "max-age=1; includeSubDomains")];
        assert_eq!(
            completed(&[], &asked, &header::STRICT_TRANSPORT_SECURITY),
            ["max-age=1; includeSubDomains"]
        );
    }

    fn map(fields: &[(&'static str, &'static str)]) -> HeaderMap {
        fields
            .iter()
            .map(|&(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
            .collect()
    }
}
