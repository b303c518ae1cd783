//! What a refused client reads: a status, a fixed text and the request id; nothing about rules.

mod preferences;
mod sign_in;
mod text;

use std::{borrow::Cow, fmt::Write, time::Duration};

use super::QuotaState;
use crate::{
    headers::{self, TenantFields, own_fields},
    model::{Reason, RequestId},
    policy::Limits,
};

pub use preferences::{ClientPreferences, Language};
pub use sign_in::{login_location, stale_sign_in};
pub use text::{CertificateFault, StaleSignIn};

use text::words;

/// One refusal, ready to be sent over HTTP/1.1 bytes or through the library.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The HTTP status.
    pub status: u16,
    /// The fields, names in lower case.
    pub fields: Vec<(Cow<'static, str>, String)>,
    /// The body; empty for HEAD.
    pub body: String,
}

/// What else a refusal says.
#[derive(Clone, Debug, Default)]
pub struct RefusalDetails<'a> {
    /// When to try again.
    pub retry_after: Option<Duration>,
    /// The quotas that were asked, the exhausted one first.
    pub quotas: &'a [QuotaState],
    /// The methods that the route allows, for 405.
    pub allow: Option<String>,
    /// How old a sign-in may be, where this one is too old.
    pub max_auth_age: Option<Duration>,
    /// Where a browser signs in, with the way back.
    pub login: Option<String>,
    /// A `Set-Cookie` value that clears a dead session.
    pub clear_cookie: Option<String>,
    /// The way out for a person who comes back from a sign-in that is over.
    pub stale_sign_in: Option<StaleSignIn>,
    /// Whether the client came over TLS, so that HSTS may be sent.
    pub secure: bool,
    /// Whether the request is refused for its cookies.
    pub cookies_to_blame: bool,
    /// The response fields that the tenant sets, where the tenant is known.
    pub words: Option<&'a TenantFields>,
}

impl Refusal {
    /// Writes the answer for a reason.
    pub fn new(
        reason: Reason,
        id: RequestId,
        preferences: ClientPreferences,
        extra: RefusalDetails<'_>,
    ) -> Self {
        let mut fields = own_fields(extra.secure, extra.words);
        fields.push(("octroi-request-id".into(), id.to_string()));
        if let Some(cookie) = extra.clear_cookie {
            fields.push(("set-cookie".into(), cookie));
        }
        // Browsers clear the cookies of the parent domain with it (Clear Site Data, section 3.3), for which
        // they may have been set. Only where a browser navigates: what a script asks for in passing signs
        // nobody out.
        if extra.cookies_to_blame && extra.secure && preferences.navigates {
            fields.push(("clear-site-data".into(), "\"cookies\"".to_owned()));
        }
        if let Some(location) = extra.login.filter(|_| preferences.browser && reason.status() == 401) {
            fields.push(("location".into(), location));
            return Self { status: 303, fields, body: String::new() }.sized();
        }
        let stale_sign_in = match extra.stale_sign_in {
            Some(StaleSignIn { location, again: Some(again), .. }) => {
                fields.push(("set-cookie".into(), again));
                fields.push(("location".into(), location));
                return Self { status: 303, fields, body: String::new() }.sized();
            }
            stale_sign_in => stale_sign_in,
        };
        if reason.status() == 401 {
            fields.push((
                "www-authenticate".into(),
                extra.max_auth_age.map_or_else(|| "Bearer".to_owned(), step_up),
            ));
        }
        if let Some(allow) = extra.allow.filter(|_| reason.status() == 405) {
            fields.push(("allow".into(), allow));
        }
        if let Some(wait) = extra.retry_after {
            let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
            fields.push(("retry-after".into(), seconds.max(1).to_string()));
        }
        if reason.status() == 429 {
            rate_limit_fields(extra.quotas, &mut fields);
        }
        let (status, text) = (reason.status(), words(reason, preferences.language));
        let body = if preferences.head {
            String::new()
        } else if let Some(stale_sign_in) = &stale_sign_in {
            fields.push(("content-type".into(), "text/html; charset=utf-8".to_owned()));
            stale_sign_in.page(preferences.language)
        } else if preferences.api {
            fields.push(("content-type".into(), "application/problem+json".to_owned()));
            // RFC 9457. Title and identifier are ours, so nothing needs escaping.
            format!(
                "{{\"type\":\"about:blank\",\"title\":\"{text}\",\"status\":{status},\"instance\":\"urn:octroi:request:{id}\"}}\n"
            )
        } else {
            fields.push(("content-type".into(), "text/plain; charset=utf-8".to_owned()));
            format!(
                "{status} {text}\n{}{id}\n",
                if preferences.language == Language::French { "Requête : " } else { "Request: " }
            )
        };
        if !preferences.head {
            fields.push((
                "content-language".into(),
                if preferences.language == Language::French { "fr" } else { "en" }.to_owned(),
            ));
        }
        Self { status, fields, body }.sized()
    }

    /// Writes the answer for a reason where nothing else is known.
    pub fn plain(
        reason: Reason,
        id: RequestId,
        preferences: ClientPreferences,
        secure: bool,
        words: Option<&TenantFields>,
    ) -> Self {
        Self::new(reason, id, preferences, RefusalDetails { secure, words, ..RefusalDetails::default() })
    }

    /// Writes the answer to a head as received, which the HTTP library never parsed.
    pub fn early(
        reason: Reason,
        id: RequestId,
        head: &[u8],
        limits: &Limits,
        secure: bool,
        words: Option<&TenantFields>,
    ) -> Self {
        let fields = headers::lines(head).map(|(name, value)| (name, name.len().saturating_add(value.len())));
        let cookies_to_blame =
            headers::is_to_blame(reason, fields, head.windows(4).any(|four| four == b"\r\n\r\n"), limits);
        Self::new(
            reason,
            id,
            ClientPreferences::of_head(head),
            RefusalDetails { secure, words, cookies_to_blame, ..RefusalDetails::default() },
        )
    }

    /// Redirects to HTTPS: 308 keeps the method.
    pub fn redirect(location: String, id: RequestId, words: Option<&TenantFields>) -> Self {
        let mut fields = own_fields(false, words);
        fields.push(("octroi-request-id".into(), id.to_string()));
        fields.push(("location".into(), location));
        Self { status: 308, fields, body: String::new() }.sized()
    }

    /// Answers a CA's challenge (RFC 8555, section 8.3), with the key authorization and nothing else.
    pub fn challenge(answer: &str, id: RequestId, head: bool) -> Self {
        let mut fields = own_fields(false, None);
        fields.push(("octroi-request-id".into(), id.to_string()));
        fields.push(("content-type".into(), "application/octet-stream".to_owned()));
        fields.push(("content-length".into(), answer.len().to_string()));
        Self { status: 200, fields, body: if head { String::new() } else { answer.to_owned() } }
    }

    fn sized(mut self) -> Self {
        self.fields.push(("content-length".into(), self.body.len().to_string()));
        self
    }

    /// Writes the answer as HTTP/1.1 bytes that close the connection, for a request that the HTTP library
    /// never began to serve.
    pub fn to_http1(&self) -> Vec<u8> {
        let phrase = http::StatusCode::from_u16(self.status)
            .ok()
            .and_then(|status| status.canonical_reason())
            .unwrap_or("");
        let mut text = format!("HTTP/1.1 {} {phrase}\r\n", self.status);
        for (name, value) in &self.fields {
            let _ = write!(text, "{name}: {value}\r\n");
        }
        text.push_str("connection: close\r\n\r\n");
        text.push_str(&self.body);
        text.into_bytes()
    }
}

/// Asks for a sign-in that is more recent (RFC 9470, section 3): the session itself is good.
fn step_up(max_age: Duration) -> String {
    let text = "A more recent sign-in is needed";
    format!(
        "Bearer error=\"insufficient_user_authentication\", error_description=\"{text}\", max_age=\"{}\"",
        max_age.as_secs()
    )
}

/// `RateLimit-Policy` and `RateLimit` (draft-ietf-httpapi-ratelimit-headers): the quota that decided comes
/// first.
fn rate_limit_fields(quotas: &[QuotaState], fields: &mut Vec<(Cow<'static, str>, String)>) {
    let mut policy = String::new();
    let mut now = String::new();
    for quota in quotas {
        let separator = if policy.is_empty() { "" } else { ", " };
        let name = quota.name.as_str();
        let (count, window) = (quota.limit.count, quota.limit.period.as_secs().max(1));
        let _ = write!(policy, "{separator}\"{name}\";q={count};w={window}");
        let reset = quota.reset.as_secs() + u64::from(quota.reset.subsec_nanos() > 0);
        let _ = write!(now, "{separator}\"{name}\";r={};t={reset}", quota.remaining);
    }
    if !policy.is_empty() {
        fields.push(("ratelimit-policy".into(), policy));
        fields.push(("ratelimit".into(), now));
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, header};

    use super::{preferences::tests::preferences, *};

    const ID: RequestId = RequestId::ZERO;

    fn field<'a>(refusal: &'a Refusal, name: &str) -> Option<&'a str> {
        refusal.fields.iter().find(|(field, _)| *field == name).map(|(_, value)| value.as_str())
    }

    #[test]
    fn an_api_client_gets_problem_details() {
        let refusal = Refusal::new(
            Reason::RoleMissing,
            ID,
            preferences("application/json", ""),
            RefusalDetails::default(),
        );

        assert_eq!(refusal.status, 403);
        assert_eq!(field(&refusal, "content-type"), Some("application/problem+json"));
        assert!(refusal.body.contains("\"status\":403"));
    }

    #[test]
    fn a_browser_is_sent_to_sign_in_and_an_api_client_is_not() {
        let extra = || RefusalDetails { login: Some("/login".into()), ..RefusalDetails::default() };
        let browser = Refusal::new(Reason::SessionMissing, ID, preferences("text/html", ""), extra());
        let api = Refusal::new(Reason::SessionMissing, ID, preferences("application/json", ""), extra());

        assert_eq!((browser.status, field(&browser, "location")), (303, Some("/login")));
        assert_eq!((api.status, field(&api, "www-authenticate")), (401, Some("Bearer")));
    }

    #[test]
    fn an_api_client_is_told_how_old_a_sign_in_may_be() {
        let extra = || RefusalDetails {
            login: Some("/login".into()),
            max_auth_age: Some(Duration::from_secs(900)),
            ..RefusalDetails::default()
        };
        let api = Refusal::new(Reason::AuthTooOld, ID, preferences("application/json", ""), extra());

        let challenge = "Bearer error=\"insufficient_user_authentication\", error_description=\"A more recent sign-in is needed\", max_age=\"900\"";
        assert_eq!((api.status, field(&api, "www-authenticate")), (401, Some(challenge)));
        assert_eq!(Refusal::new(Reason::AuthTooOld, ID, preferences("text/html", ""), extra()).status, 303);
    }

    #[test]
    fn waiting_times_are_rounded_up() {
        let extra =
            RefusalDetails { retry_after: Some(Duration::from_millis(1200)), ..RefusalDetails::default() };

        assert_eq!(
            field(
                &Refusal::new(Reason::QuotaExceeded, ID, ClientPreferences::default(), extra),
                "retry-after"
            ),
            Some("2")
        );
    }

    #[test]
    fn a_tenant_s_word_holds_on_our_own_pages_too_but_not_how_they_are_kept() {
        let words: Vec<_> = [
            ("strict-transport-security", ""),
            ("content-security-policy", "default-src 'self'"),
            ("x-frame-options", ""),
            ("cache-control", "public, max-age=3600"),
            ("cdn-cache-control", "max-age=3600"),
            ("content-type", "text/html"),
            ("location", "/elsewhere"),
            ("access-control-allow-origin", "https://a.test"),
        ]
        .map(|(name, value)| (HeaderName::from_static(name), http::HeaderValue::from_static(value)))
        .into();
        let all = |refusal: &Refusal, name: &str| -> Vec<String> {
            refusal
                .fields
                .iter()
                .filter(|(field, _)| *field == name)
                .map(|(_, value)| value.clone())
                .collect()
        };

        for refusal in [
            Refusal::plain(Reason::RoleMissing, ID, ClientPreferences::default(), true, Some(&words)),
            Refusal::redirect("https://a.test/".to_owned(), ID, Some(&words)),
        ] {
            assert_eq!(all(&refusal, "content-security-policy"), ["default-src 'self'"]);
            assert_eq!(all(&refusal, "cache-control"), ["no-store"]);
            assert_eq!(all(&refusal, "access-control-allow-origin"), ["https://a.test"]);
            for none in ["strict-transport-security", "x-frame-options", "cdn-cache-control"] {
                assert_eq!(all(&refusal, none), [""; 0], "{none}");
            }
            assert_eq!(all(&refusal, "x-content-type-options"), ["nosniff"]);
            assert!(all(&refusal, "location").iter().all(|location| location == "https://a.test/"));
            assert!(all(&refusal, "content-type").iter().all(|kind| kind.starts_with("text/plain")));
        }
        let hsts = |secure, words| {
            all(
                &Refusal::plain(Reason::HostUnknown, ID, ClientPreferences::default(), secure, words),
                "strict-transport-security",
            )
        };
        assert_eq!(
            (hsts(true, Some(&[])), hsts(false, Some(&[])), hsts(true, None)),
            (vec!["max-age=63072000".to_owned()], vec![], vec![])
        );
        let asked = [(
            header::STRICT_TRANSPORT_SECURITY,
            http::HeaderValue::from_static("max-age=1; includeSubDomains"),
        )];
        assert_eq!(
            (hsts(true, Some(&asked)), hsts(false, Some(&asked))),
            (vec!["max-age=1; includeSubDomains".to_owned()], vec![])
        );
    }

    #[test]
    fn nothing_of_the_reason_is_shown() {
        for reason in Reason::ALL {
            let bytes =
                Refusal::new(*reason, ID, ClientPreferences::default(), RefusalDetails::default()).to_http1();
            assert!(
                !String::from_utf8(bytes).unwrap().contains(reason.code()) || !reason.code().contains('_'),
                "{reason}"
            );
        }
    }
}
