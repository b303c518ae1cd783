//! Credentials that the app must not see: our own tokens, and a session of the app's that was refused.

use http::{HeaderMap, HeaderValue, header};

use crate::{
    policy::Sessions,
    session::{TOKEN_PREFIX, cookie, foreign::is_compact},
};

/// Takes our own credentials out of what is forwarded, and a foreign session that was refused: an app that
/// believed it would sign it anew, and with the new date it would outlive its end. With `keep_foreign`,
/// foreign sessions stay: one that holds, and one in which nobody signed in, is the app's to read.
///
/// Returns how many cookies had a name that looks like the session cookie's, which were taken out too.
pub fn strip_credentials(headers: &mut HeaderMap, sessions: Option<&Sessions>, keep_foreign: bool) -> u32 {
    let mut lookalikes = 0;
    let Some(sessions) = sessions else {
        join_cookie_lines(headers);
        return lookalikes;
    };
    if headers.contains_key(header::COOKIE) {
        let names =
            cookie::Names { own: &sessions.cookie, foreign: sessions.foreign.cookies(), keep_foreign };
        let stripped =
            cookie::strip(headers.get_all(header::COOKIE).iter().map(HeaderValue::as_bytes), names);
        lookalikes = stripped.lookalikes;
        match stripped.rest.and_then(|rest| HeaderValue::try_from(rest).ok()) {
            Some(rest) => drop(headers.insert(header::COOKIE, rest)),
            None => drop(headers.remove(header::COOKIE)),
        }
    }
    // Whatever has our prefix is ours, valid or not: the app never sees a token.
    let refused = |value: &[u8]| !keep_foreign && sessions.foreign.in_bearer() && holds_foreign_token(value);
    let mut values = headers.get_all(header::AUTHORIZATION).iter().map(HeaderValue::as_bytes);
    if values.any(|value| holds_token(value) || refused(value)) {
        headers.remove(header::AUTHORIZATION);
    }
    lookalikes
}

/// Joins the lines that HTTP/2 splits cookies into: an HTTP/1 server reads one (RFC 9113, section 8.2.3).
fn join_cookie_lines(headers: &mut HeaderMap) {
    let lines: Vec<&[u8]> = headers.get_all(header::COOKIE).iter().map(HeaderValue::as_bytes).collect();
    if lines.len() > 1
        && let Ok(line) = HeaderValue::from_bytes(&lines.join(b"; ".as_slice()))
    {
        headers.insert(header::COOKIE, line);
    }
}

/// Says whether a word of an `Authorization` value is a token of ours, under whatever scheme a client sent
/// it.
fn holds_token(value: &[u8]) -> bool {
    words(value).any(|word| word.starts_with(TOKEN_PREFIX.as_bytes()))
}

/// Says whether a word of an `Authorization` value could be a foreign session.
fn holds_foreign_token(value: &[u8]) -> bool {
    words(value).any(|word| std::str::from_utf8(word).is_ok_and(is_compact))
}

fn words(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|&byte| matches!(byte, b' ' | b'\t' | b',' | b';' | b'=' | b'"' | b'\''))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cookies_leave_in_one_line() {
        let mut headers = HeaderMap::new();
        headers.append(header::COOKIE, HeaderValue::from_static("a=1"));
        headers.append(header::COOKIE, HeaderValue::from_static("b=2; c=3"));

        let lookalikes = strip_credentials(&mut headers, None, true);

        assert_eq!(headers.get_all(header::COOKIE).iter().collect::<Vec<_>>(), ["a=1; b=2; c=3"]);
        assert_eq!(lookalikes, 0);
    }

    #[test]
    fn a_token_is_found_under_every_scheme() {
        for value in [
            "Bearer oct1.abc",
            "bearer\toct1.abc",
            "Token oct1.abc",
            "Basic x, Bearer oct1.abc",
            "Token token=\"oct1.abc\"",
            "oct1.abc",
        ] {
            assert!(holds_token(value.as_bytes()), "{value}");
        }
        for value in ["Bearer abc.oct1.def", "Basic b2N0MS4=", "Bearer", ""] {
            assert!(!holds_token(value.as_bytes()), "{value}");
        }
    }
}
