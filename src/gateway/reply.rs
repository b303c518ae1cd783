//! What a refused client reads: a status, a fixed text and the request id; nothing about rules.

use std::{borrow::Cow, fmt::Write, time::Duration};

use http::{HeaderMap, HeaderName, HeaderValue, header};

use super::{
    cookie_load,
    response_headers::{OWN_FIELDS, Words, is_of_the_refusal, may_say},
};
use crate::{
    model::{Reason, RequestId},
    pipeline::QuotaState,
    policy::Limits,
};

/// The languages that refusals are written in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Language {
    /// English.
    #[default]
    English,
    /// French.
    French,
}

/// What the client said it can read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Asking {
    /// The language it prefers of those we have.
    pub language: Language,
    /// Whether it is a browser opening a page: a GET that accepts HTML, and no script's (`Sec-Fetch-Mode` other than `navigate`).
    pub browser: bool,
    /// Whether a browser goes to a page with it, by whatever method.
    pub navigates: bool,
    /// Whether a person looks on: a browser opens a whole page with it, by a link or a form, and not ahead of time.
    pub document: bool,
    /// Whether it is an API client: it accepts JSON, or anything but text.
    pub api: bool,
    /// Whether the answer may have a body.
    pub head: bool,
}

impl Asking {
    /// Reads `Accept` and `Accept-Language` (RFC 9110, sections 12.5.1 and 12.5.4).
    pub fn of(method: &str, headers: &HeaderMap) -> Self {
        let text = |name| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or("");
        // Types have no case (RFC 9110, section 8.3.1).
        let accept = text(header::ACCEPT).to_ascii_lowercase();
        let html = accept.contains("text/html");
        // A script that asks for HTML follows a redirect unseen, and shows the sign-in page as if it were what it asked for.
        let mode = headers.get("sec-fetch-mode");
        let opens = html && method == "GET" && mode.is_none_or(|mode| mode == "navigate");
        Self {
            language: preferred(text(header::ACCEPT_LANGUAGE)),
            browser: opens,
            navigates: opens || mode.is_some_and(|mode| mode == "navigate"),
            document: html
                && matches!(method, "GET" | "POST")
                && mode.is_none_or(|mode| mode == "navigate")
                && headers.get("sec-fetch-dest").is_none_or(|place| place == "document")
                && !headers.contains_key("sec-purpose"),
            api: !html && accept.contains("json"),
            head: method == "HEAD",
        }
    }
}

/// Reads the same of a head as received, which may have been cut.
fn asking_of_head(head: &[u8]) -> Asking {
    let mut headers = HeaderMap::new();
    for (name, value) in cookie_load::lines(head).take(MOST_LINES) {
        let name = [header::ACCEPT, header::ACCEPT_LANGUAGE, HeaderName::from_static("sec-fetch-mode")]
            .into_iter()
            .find(|known| name.eq_ignore_ascii_case(known.as_str().as_bytes()));
        if let (Some(name), Ok(value)) = (name, HeaderValue::from_bytes(value)) {
            headers.entry(name).or_insert(value);
        }
    }
    let method = head.split(|&byte| byte == b' ').next().and_then(|method| std::str::from_utf8(method).ok());
    Asking::of(method.unwrap_or_default(), &headers)
}

/// As many lines of a head as are looked at.
const MOST_LINES: usize = 200;

/// Chooses between English and French by quality; the first named wins a tie.
fn preferred(accept_language: &str) -> Language {
    let mut best = (0_u16, Language::English);
    for item in accept_language.split(',').take(16) {
        let (tag, parameters) = item.split_once(';').unwrap_or((item, ""));
        let tag = tag.trim();
        let language = match tag.get(..2) {
            Some(prefix) if prefix.eq_ignore_ascii_case("fr") && matches!(tag.as_bytes().get(2), None | Some(b'-')) => Language::French,
            Some(prefix) if prefix.eq_ignore_ascii_case("en") && matches!(tag.as_bytes().get(2), None | Some(b'-')) => Language::English,
            _ => continue,
        };
        let quality = quality(parameters);
        if quality > best.0 {
            best = (quality, language);
        }
    }
    best.1
}

/// Reads `q=0.7` as 700; absent is 1000, malformed is 0.
fn quality(parameters: &str) -> u16 {
    let Some(value) = parameters.trim().strip_prefix(['q', 'Q']).and_then(|rest| rest.strip_prefix('=')) else {
        return if parameters.trim().is_empty() { 1000 } else { 0 };
    };
    let (whole, fraction) = value.split_once('.').unwrap_or((value, ""));
    let fraction = format!("{fraction:0<3}");
    match (whole.parse::<u16>(), fraction.get(..3).and_then(|digits| digits.parse::<u16>().ok())) {
        (Ok(whole), Some(fraction)) => whole.saturating_mul(1000).saturating_add(fraction).min(1000),
        (Ok(_) | Err(_), _) => 0,
    }
}

/// One refusal, ready to be sent by whichever way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The HTTP status.
    pub status: u16,
    /// The fields, names in lower case.
    pub fields: Vec<(Cow<'static, str>, String)>,
    /// The body; empty for HEAD.
    pub body: String,
}

/// What else a refusal may tell.
#[derive(Clone, Debug, Default)]
pub(super) struct Extra<'a> {
    /// When to come again.
    pub(super) retry_after: Option<Duration>,
    /// The quotas that were asked, the exhausted one first.
    pub(super) quotas: &'a [QuotaState],
    /// The methods that the route allows, for 405.
    pub(super) allow: Option<String>,
    /// How old a sign-in may be, where this one is too old.
    pub(super) max_auth_age: Option<Duration>,
    /// Where a browser signs in, with the way back.
    pub(super) login: Option<String>,
    /// A `Set-Cookie` value that clears a dead session.
    pub(super) clear_cookie: Option<String>,
    /// Where a person goes who comes back from a sign-in that is over.
    pub(super) way_out: Option<WayOut>,
    /// Whether the client came over TLS, so that HSTS may be said.
    pub(super) secure: bool,
    /// Whether its cookies are what it is refused for.
    pub(super) cookies_to_blame: bool,
    /// What the tenant says of the fields of its answers, where it is known.
    pub(super) words: Option<&'a Words>,
}

/// Where a person goes who comes back from a sign-in that is over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct WayOut {
    /// Whether they are signed in.
    pub(super) signed_in: bool,
    /// A path of the realm.
    pub(super) location: String,
    /// A `Set-Cookie` value that says that they were sent there; without one, a page offers the way.
    pub(super) again: Option<String>,
}

impl WayOut {
    /// Writes the page.
    fn page(&self, language: Language) -> String {
        let (tag, text, link) = match (language, self.signed_in) {
            (Language::English, true) => ("en", "You are already signed in.", "Continue"),
            (Language::French, true) => ("fr", "Votre session est déjà ouverte.", "Continuer"),
            (Language::English, false) => {
                ("en", "This sign-in cannot be finished: it has been used, was begun elsewhere, or took too long.", "Sign in again")
            }
            (Language::French, false) => (
                "fr",
                "Cette connexion ne peut pas aboutir : elle a déjà servi, vient d'ailleurs, ou a pris trop de temps.",
                "Se reconnecter",
            ),
        };
        // A path has neither quotes nor angle brackets, but `&` and `'`.
        let location = self.location.replace('&', "&amp;").replace('\'', "&#39;");
        format!("<!doctype html>\n<html lang=\"{tag}\"><title>{text}</title>\n<p>{text}</p>\n<p><a href=\"{location}\">{link}</a></p>\n")
    }
}

impl Refusal {
    /// Writes the answer for a reason.
    pub(super) fn new(reason: Reason, id: RequestId, asking: Asking, extra: Extra<'_>) -> Self {
        let mut fields = own_fields(extra.secure, extra.words);
        fields.push(("octroi-request-id".into(), id.to_string()));
        if let Some(cookie) = extra.clear_cookie {
            fields.push(("set-cookie".into(), cookie));
        }
        // Browsers take the cookies of the parent domain with it (Clear Site Data, section 3.3), in whose name they may have been set. Only where a
        // person looks on: what a script asks for in passing signs nobody out.
        if extra.cookies_to_blame && extra.secure && asking.navigates {
            fields.push(("clear-site-data".into(), "\"cookies\"".to_owned()));
        }
        if let Some(location) = extra.login.filter(|_| asking.browser && reason.status() == 401) {
            fields.push(("location".into(), location));
            return Self { status: 303, fields, body: String::new() }.sized();
        }
        let way_out = match extra.way_out {
            Some(WayOut { location, again: Some(again), .. }) => {
                fields.push(("set-cookie".into(), again));
                fields.push(("location".into(), location));
                return Self { status: 303, fields, body: String::new() }.sized();
            }
            way_out => way_out,
        };
        if reason.status() == 401 {
            fields.push(("www-authenticate".into(), extra.max_auth_age.map_or_else(|| "Bearer".to_owned(), step_up)));
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
        let (status, text) = (reason.status(), words(reason, asking.language));
        let body = if asking.head {
            String::new()
        } else if let Some(way_out) = &way_out {
            fields.push(("content-type".into(), "text/html; charset=utf-8".to_owned()));
            way_out.page(asking.language)
        } else if asking.api {
            fields.push(("content-type".into(), "application/problem+json".to_owned()));
            // RFC 9457. Title and identifier are ours, so nothing needs escaping.
            format!("{{\"type\":\"about:blank\",\"title\":\"{text}\",\"status\":{status},\"instance\":\"urn:octroi:request:{id}\"}}\n")
        } else {
            fields.push(("content-type".into(), "text/plain; charset=utf-8".to_owned()));
            format!("{status} {text}\n{}{id}\n", if asking.language == Language::French { "Requête : " } else { "Request: " })
        };
        if !asking.head {
            fields.push(("content-language".into(), if asking.language == Language::French { "fr" } else { "en" }.to_owned()));
        }
        Self { status, fields, body }.sized()
    }

    /// Writes the answer for a reason where nothing else is known.
    pub fn plain(reason: Reason, id: RequestId, asking: Asking, secure: bool, words: Option<&Words>) -> Self {
        Self::new(reason, id, asking, Extra { secure, words, ..Extra::default() })
    }

    /// Writes the answer to a head as received, which the HTTP library never read.
    pub fn early(reason: Reason, id: RequestId, head: &[u8], limits: &Limits, secure: bool, words: Option<&Words>) -> Self {
        let fields = cookie_load::lines(head).map(|(name, value)| (name, name.len().saturating_add(value.len())));
        let cookies_to_blame = cookie_load::is_to_blame(reason, fields, head.windows(4).any(|four| four == b"\r\n\r\n"), limits);
        Self::new(reason, id, asking_of_head(head), Extra { secure, words, cookies_to_blame, ..Extra::default() })
    }

    /// Redirects to HTTPS: 308 keeps the method.
    pub(super) fn redirect(location: String, id: RequestId, words: Option<&Words>) -> Self {
        let mut fields = own_fields(false, words);
        fields.push(("octroi-request-id".into(), id.to_string()));
        fields.push(("location".into(), location));
        Self { status: 308, fields, body: String::new() }.sized()
    }

    /// Tells a CA what it must read (RFC 8555, section 8.3): this and nothing else.
    pub(super) fn challenge(answer: &str, id: RequestId, head: bool) -> Self {
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

    /// Writes the answer as HTTP/1.1 bytes that close the connection, for a request that the HTTP library never began.
    pub fn to_http1(&self) -> Vec<u8> {
        let phrase = http::StatusCode::from_u16(self.status).ok().and_then(|status| status.canonical_reason()).unwrap_or("");
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
    format!("Bearer error=\"insufficient_user_authentication\", error_description=\"{text}\", max_age=\"{}\"", max_age.as_secs())
}

/// The fields of every page of our own (`security.md` 2.4): nothing is cached, framed, sniffed or executed, unless the tenant says so.
///
/// Where no tenant is known, nobody has asked for HSTS or against it, and browsers would keep it for the whole host: so it is not said.
fn own_fields(secure: bool, words: Option<&Words>) -> Vec<(Cow<'static, str>, String)> {
    let mut fields = Vec::with_capacity(16);
    let hsts = header::STRICT_TRANSPORT_SECURITY;
    let said = |name: &str| words.unwrap_or_default().iter().any(|(own, _)| own == name && !is_of_the_refusal(own));
    for (name, value, _) in OWN_FIELDS {
        if !said(name) && (hsts != name || (secure && words.is_some())) {
            fields.push((Cow::Borrowed(name), value.to_owned()));
        }
    }
    for (name, value) in words.unwrap_or_default() {
        if let (Ok(value), false) = (value.to_str(), value.is_empty() || is_of_the_refusal(name) || !may_say(name, secure)) {
            fields.push((Cow::Owned(name.as_str().to_owned()), value.to_owned()));
        }
    }
    fields
}

/// `RateLimit-Policy` and `RateLimit` (draft-ietf-httpapi-ratelimit-headers): the quota that decided comes first.
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

/// What the client reads. Where it can help itself, it is told how.
fn words(reason: Reason, language: Language) -> &'static str {
    if reason == Reason::TooManySessions {
        return match language {
            Language::English => "You are signed in too many times. Sign out somewhere else, then try again.",
            Language::French => "Vous avez trop de sessions ouvertes. Déconnectez-vous ailleurs, puis réessayez.",
        };
    }
    match (language, Certificate::of(reason)) {
        (Language::English, Certificate::None) if reason == Reason::AuthTooOld => {
            "Please sign in again: this page asks for a recent sign-in."
        }
        (Language::French, Certificate::None) if reason == Reason::AuthTooOld => {
            "Veuillez vous reconnecter : cette page demande une connexion récente."
        }
        (_, Certificate::None) => text(reason.status(), language),
        (Language::English, Certificate::Missing) => "This site needs a client certificate.",
        (Language::French, Certificate::Missing) => "Ce site demande un certificat client.",
        (Language::English, Certificate::Refused) => "Your client certificate is not accepted here.",
        (Language::French, Certificate::Refused) => "Votre certificat client n'est pas accepté ici.",
    }
}

/// What a refusal has to do with the client's certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Certificate {
    /// Nothing.
    None,
    /// There is none.
    Missing,
    /// It is not accepted.
    Refused,
}

impl Certificate {
    pub(super) fn of(reason: Reason) -> Self {
        #[expect(clippy::wildcard_enum_match_arm, reason = "all other refusals are about something else")]
        match reason {
            Reason::ClientCertificateMissing | Reason::MemberClientCertificateMissing => Self::Missing,
            Reason::ClientCertificateRefused | Reason::MemberClientCertificateRefused | Reason::GrantClientCertificate => Self::Refused,
            _ => Self::None,
        }
    }
}

fn text(status: u16, language: Language) -> &'static str {
    match (language, status) {
        (Language::English, 400) => "The request is malformed.",
        (Language::French, 400) => "La requête est mal formée.",
        (Language::English, 401) => "Please sign in.",
        (Language::French, 401) => "Veuillez vous connecter.",
        (Language::English, 403) => "You may not do this.",
        (Language::French, 403) => "Vous n'avez pas accès à cette page.",
        (Language::English, 404) => "There is nothing here.",
        (Language::French, 404) => "Il n'y a rien à cette adresse.",
        (Language::English, 405) => "This method is not allowed here.",
        (Language::French, 405) => "Cette méthode n'est pas permise ici.",
        (Language::English, 408) => "The request took too long.",
        (Language::French, 408) => "La requête a pris trop de temps.",
        (Language::English, 413) => "The body of the request is too large.",
        (Language::French, 413) => "Le corps de la requête est trop grand.",
        (Language::English, 414) => "The address is too long.",
        (Language::French, 414) => "L'adresse est trop longue.",
        (Language::English, 417) => "This expectation cannot be met.",
        (Language::French, 417) => "Cette attente ne peut pas être satisfaite.",
        (Language::English, 421) => "This host is not served here.",
        (Language::French, 421) => "Ce nom d'hôte n'est pas servi ici.",
        (Language::English, 429) => "Too many requests. Please try again later.",
        (Language::French, 429) => "Trop de requêtes. Veuillez réessayer plus tard.",
        (Language::English, 431) => "The head of the request is too large.",
        (Language::French, 431) => "L'en-tête de la requête est trop grand.",
        (Language::English, 502) => "The application did not answer properly.",
        (Language::French, 502) => "L'application n'a pas répondu correctement.",
        (Language::English, 503) => "The service is not available right now.",
        (Language::French, 503) => "Le service n'est pas disponible pour le moment.",
        (Language::English, 504) => "The application did not answer in time.",
        (Language::French, 504) => "L'application n'a pas répondu à temps.",
        (Language::English, 508) => "This request goes round in a circle.",
        (Language::French, 508) => "Cette requête tourne en rond.",
        (Language::English, _) => "Something went wrong.",
        (Language::French, _) => "Une erreur est survenue.",
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderName;

    use super::*;

    const ID: RequestId = RequestId::ZERO;

    fn asking(accept: &str, language: &str) -> Asking {
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT, accept.parse().unwrap());
        headers.insert(header::ACCEPT_LANGUAGE, language.parse().unwrap());
        Asking::of("GET", &headers)
    }

    fn field<'a>(refusal: &'a Refusal, name: &str) -> Option<&'a str> {
        refusal.fields.iter().find(|(field, _)| *field == name).map(|(_, value)| value.as_str())
    }

    #[test]
    fn the_language_is_the_preferred_one() {
        assert_eq!(asking("*/*", "fr-CA,fr;q=0.9,en;q=0.8").language, Language::French);
        assert_eq!(asking("*/*", "en;q=0.5, fr;q=0.9").language, Language::French);
        assert_eq!(asking("*/*", "de, en;q=0.1").language, Language::English);
        assert_eq!(asking("*/*", "fr;q=0").language, Language::English);
        assert_eq!(asking("*/*", "en;Q=0.5, FR;q=0.9").language, Language::French);
        assert!(asking("Text/HTML", "en").browser && asking("Application/JSON", "en").api);
        assert_eq!(asking("*/*", "fry").language, Language::English);
    }

    #[test]
    fn every_refusal_has_a_text_of_its_own_in_both_languages() {
        for reason in Reason::ALL.iter().filter(|reason| ![499, 500].contains(&reason.status())) {
            for language in [Language::English, Language::French] {
                assert_ne!(text(reason.status(), language), text(0, language), "{reason}");
            }
        }
    }

    #[test]
    fn an_api_client_gets_problem_details() {
        let refusal = Refusal::new(Reason::RoleMissing, ID, asking("application/json", ""), Extra::default());

        assert_eq!(refusal.status, 403);
        assert_eq!(field(&refusal, "content-type"), Some("application/problem+json"));
        assert!(refusal.body.contains("\"status\":403"));
    }

    #[test]
    fn a_browser_is_sent_to_sign_in_and_an_api_client_is_not() {
        let extra = || Extra { login: Some("/login".into()), ..Extra::default() };
        let browser = Refusal::new(Reason::SessionMissing, ID, asking("text/html", ""), extra());
        let api = Refusal::new(Reason::SessionMissing, ID, asking("application/json", ""), extra());

        assert_eq!((browser.status, field(&browser, "location")), (303, Some("/login")));
        assert_eq!((api.status, field(&api, "www-authenticate")), (401, Some("Bearer")));
    }

    #[test]
    fn a_script_is_not_sent_to_sign_in() {
        let asking = |modes: &[&str]| {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT, "text/html, */*".parse().unwrap());
            for mode in modes {
                headers.append("sec-fetch-mode", mode.parse().unwrap());
            }
            Asking::of("GET", &headers).browser
        };

        assert_eq!([asking(&[]), asking(&["navigate"])], [true; 2]);
        for mode in ["cors", "no-cors", "same-origin", "websocket", "", "Navigate"] {
            assert!(!asking(&[mode]), "{mode}");
        }
    }

    #[test]
    fn an_api_client_is_told_how_old_a_sign_in_may_be() {
        let extra = || Extra { login: Some("/login".into()), max_auth_age: Some(Duration::from_secs(900)), ..Extra::default() };
        let api = Refusal::new(Reason::AuthTooOld, ID, asking("application/json", ""), extra());

        let challenge =
            "Bearer error=\"insufficient_user_authentication\", error_description=\"A more recent sign-in is needed\", max_age=\"900\"";
        assert_eq!((api.status, field(&api, "www-authenticate")), (401, Some(challenge)));
        assert_eq!(Refusal::new(Reason::AuthTooOld, ID, asking("text/html", ""), extra()).status, 303);
    }

    #[test]
    fn waiting_times_are_rounded_up() {
        let extra = Extra { retry_after: Some(Duration::from_millis(1200)), ..Extra::default() };

        assert_eq!(field(&Refusal::new(Reason::QuotaExceeded, ID, Asking::default(), extra), "retry-after"), Some("2"));
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
            refusal.fields.iter().filter(|(field, _)| *field == name).map(|(_, value)| value.clone()).collect()
        };

        for refusal in [
            Refusal::plain(Reason::RoleMissing, ID, Asking::default(), true, Some(&words)),
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
        let hsts =
            |secure, words| all(&Refusal::plain(Reason::HostUnknown, ID, Asking::default(), secure, words), "strict-transport-security");
        assert_eq!(
            (hsts(true, Some(&[])), hsts(false, Some(&[])), hsts(true, None)),
            (vec!["max-age=63072000".to_owned()], vec![], vec![])
        );
        let asked = [(header::STRICT_TRANSPORT_SECURITY, http::HeaderValue::from_static("max-age=1; includeSubDomains"))];
        assert_eq!((hsts(true, Some(&asked)), hsts(false, Some(&asked))), (vec!["max-age=1; includeSubDomains".to_owned()], vec![]));
    }

    #[test]
    fn nothing_of_the_reason_is_shown() {
        for reason in Reason::ALL {
            let bytes = Refusal::new(*reason, ID, Asking::default(), Extra::default()).to_http1();
            assert!(!String::from_utf8(bytes).unwrap().contains(reason.code()) || !reason.code().contains('_'), "{reason}");
        }
    }
}
