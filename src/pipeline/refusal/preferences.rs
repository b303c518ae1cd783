//! What a client can read: its language, and whether it is a browser or an API client.

use http::{HeaderMap, HeaderName, HeaderValue, header};

use crate::headers;

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
pub struct ClientPreferences {
    /// The language it prefers of those we have.
    pub language: Language,
    /// Whether it is a browser opening a page: a GET that accepts HTML and is not a script's
    /// (`Sec-Fetch-Mode` other than `navigate`), or a form whose answer replaces the page.
    pub browser: bool,
    /// Whether a browser navigates with it, by whatever method.
    pub navigates: bool,
    /// Whether a person sees the answer: a browser opens a whole page with it, by a link or a form, and not
    /// ahead of time.
    pub document: bool,
    /// Whether it is an API client: it accepts JSON, or anything but text.
    pub api: bool,
    /// Whether the answer must have no body.
    pub head: bool,
}

impl ClientPreferences {
    /// Reads `Accept` and `Accept-Language` (RFC 9110, sections 12.5.1 and 12.5.4).
    pub fn of(method: &str, headers: &HeaderMap) -> Self {
        let text = |name| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or("");
        // Media types have no case (RFC 9110, section 8.3.1).
        let accept = text(header::ACCEPT).to_ascii_lowercase();
        let html = accept.contains("text/html");
        // A script that asks for HTML follows a redirect unseen, and shows the sign-in page in place of what
        // it asked for.
        let mode = headers.get("sec-fetch-mode");
        let opens = html && method == "GET" && mode.is_none_or(|mode| mode == "navigate");
        let document = html
            && matches!(method, "GET" | "POST")
            && mode.is_none_or(|mode| mode == "navigate")
            && headers.get("sec-fetch-dest").is_none_or(|place| place == "document")
            && !headers.contains_key("sec-purpose");
        // A browser says so of a form; a request that says nothing may be a script's or a program's. A form
        // in a frame may be a script's too, which reads there what became of an upload.
        let form = document && method == "POST" && mode.is_some();
        Self {
            language: preferred(text(header::ACCEPT_LANGUAGE)),
            browser: opens || form,
            navigates: opens || mode.is_some_and(|mode| mode == "navigate"),
            document,
            api: !html && accept.contains("json"),
            head: method == "HEAD",
        }
    }

    /// Reads the same from a head as received, which may have been cut.
    pub(super) fn of_head(head: &[u8]) -> Self {
        let mut headers = HeaderMap::new();
        for (name, value) in headers::lines(head).take(MOST_LINES) {
            let name = [header::ACCEPT, header::ACCEPT_LANGUAGE, HeaderName::from_static("sec-fetch-mode")]
                .into_iter()
                .find(|known| name.eq_ignore_ascii_case(known.as_str().as_bytes()));
            if let (Some(name), Ok(value)) = (name, HeaderValue::from_bytes(value)) {
                headers.entry(name).or_insert(value);
            }
        }
        let method =
            head.split(|&byte| byte == b' ').next().and_then(|method| std::str::from_utf8(method).ok());
        Self::of(method.unwrap_or_default(), &headers)
    }
}

/// How many lines of a head are read.
const MOST_LINES: usize = 200;

/// Chooses between English and French by quality; the first named wins a tie.
fn preferred(accept_language: &str) -> Language {
    let mut best = (0_u16, Language::English);
    for item in accept_language.split(',').take(16) {
        let (tag, parameters) = item.split_once(';').unwrap_or((item, ""));
        let tag = tag.trim();
        let language = match tag.get(..2) {
            Some(prefix)
                if prefix.eq_ignore_ascii_case("fr")
                    && matches!(tag.as_bytes().get(2), None | Some(b'-')) =>
            {
                Language::French
            }
            Some(prefix)
                if prefix.eq_ignore_ascii_case("en")
                    && matches!(tag.as_bytes().get(2), None | Some(b'-')) =>
            {
                Language::English
            }
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
    let Some(value) = parameters.trim().strip_prefix(['q', 'Q']).and_then(|rest| rest.strip_prefix('='))
    else {
        return if parameters.trim().is_empty() { 1000 } else { 0 };
    };
    let (whole, fraction) = value.split_once('.').unwrap_or((value, ""));
    let fraction = format!("{fraction:0<3}");
    match (whole.parse::<u16>(), fraction.get(..3).and_then(|digits| digits.parse::<u16>().ok())) {
        (Ok(whole), Some(fraction)) => whole.saturating_mul(1000).saturating_add(fraction).min(1000),
        (Ok(_) | Err(_), _) => 0,
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::pipeline::refusal) fn preferences(accept: &str, language: &str) -> ClientPreferences {
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT, accept.parse().unwrap());
        headers.insert(header::ACCEPT_LANGUAGE, language.parse().unwrap());
        ClientPreferences::of("GET", &headers)
    }

    #[test]
    fn the_language_is_the_preferred_one() {
        assert_eq!(preferences("*/*", "fr-CA,fr;q=0.9,en;q=0.8").language, Language::French);
        assert_eq!(preferences("*/*", "en;q=0.5, fr;q=0.9").language, Language::French);
        assert_eq!(preferences("*/*", "de, en;q=0.1").language, Language::English);
        assert_eq!(preferences("*/*", "fr;q=0").language, Language::English);
        assert_eq!(preferences("*/*", "en;Q=0.5, FR;q=0.9").language, Language::French);
        assert!(preferences("Text/HTML", "en").browser && preferences("Application/JSON", "en").api);
        assert_eq!(preferences("*/*", "fry").language, Language::English);
    }

    #[test]
    fn a_script_is_not_sent_to_sign_in() {
        let preferences = |modes: &[&str]| {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT, "text/html, */*".parse().unwrap());
            for mode in modes {
                headers.append("sec-fetch-mode", mode.parse().unwrap());
            }
            ClientPreferences::of("GET", &headers).browser
        };

        assert_eq!([preferences(&[]), preferences(&["navigate"])], [true; 2]);
        for mode in ["cors", "no-cors", "same-origin", "websocket", "", "Navigate"] {
            assert!(!preferences(&[mode]), "{mode}");
        }
    }

    #[test]
    fn a_form_is_sent_to_sign_in_only_where_a_browser_says_that_it_takes_the_page_s_place() {
        const FORM: [(&str, &str); 3] = [
            ("accept", "text/html,*/*;q=0.8"),
            ("sec-fetch-mode", "navigate"),
            ("sec-fetch-dest", "document"),
        ];
        let sent = |method: &str, fields: &[(&'static str, &str)]| {
            let fields =
                fields.iter().map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap()));
            ClientPreferences::of(method, &fields.collect()).browser
        };
        let with = |name: &str, value: Option<&'static str>| {
            let fields = FORM.into_iter().filter_map(|(field, text)| {
                if field == name { value.map(|text| (field, text)) } else { Some((field, text)) }
            });
            sent("POST", &fields.collect::<Vec<_>>())
        };

        assert!(sent("POST", &FORM) && with("sec-fetch-dest", None));
        for mode in [None, Some("cors"), Some("no-cors"), Some("same-origin"), Some("Navigate"), Some("")] {
            assert!(!with("sec-fetch-mode", mode), "{mode:?}");
        }
        for place in ["iframe", "frame", "embed", "object", "empty", ""] {
            assert!(!with("sec-fetch-dest", Some(place)), "{place}");
        }
        assert!(
            !with("accept", Some("application/json"))
                && !with("accept", Some("*/*"))
                && !with("accept", None)
        );
        assert!(!sent("POST", &[&FORM[..], &[("sec-purpose", "prefetch")]].concat()));
        for method in ["HEAD", "PUT", "PATCH", "DELETE", "OPTIONS"] {
            assert!(!sent(method, &FORM), "{method}");
        }
    }
}
