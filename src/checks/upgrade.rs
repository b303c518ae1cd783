//! Is an Upgrade field a WebSocket handshake that the route allows? (threat model, rows 11 and 12)

use base64::{Engine, engine::general_purpose::STANDARD};
use http::{HeaderMap, HeaderName, HeaderValue, header};

use super::hygiene::{Body, Clean};
use crate::{
    model::{Deny, HttpVersion, Reason, RequestView, Verdict},
    policy::Route,
};

/// What happens to an Upgrade field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Upgrade {
    /// There is none.
    Absent,
    /// It is removed and the request continues without it: another protocol, or a route without WebSockets.
    Removed,
    /// A WebSocket may be opened.
    WebSocket,
}

/// Allows a well-formed WebSocket handshake on a route with `websocket: true`, and refuses a malformed one
/// there.
///
/// Anywhere else the field is only removed, above all for h2c: a server that does not know a protocol ignores
/// it too (RFC 9110, section 7.8).
pub fn check(view: &RequestView<'_>, clean: &Clean<'_>, route: &Route) -> Verdict<Upgrade> {
    if !view.headers.contains_key(header::UPGRADE) {
        return Ok(Upgrade::Absent);
    }
    if !route.websocket || !lists(view, &header::UPGRADE, b"websocket") {
        return Ok(Upgrade::Removed);
    }
    let refuse = |detail| Err(Deny::new(Reason::UpgradeRefused, detail));
    if view.version != HttpVersion::Http11 || clean.method != "GET" {
        return refuse("a WebSocket handshake is a GET in HTTP/1.1");
    }
    if clean.body != Body::Absent {
        return refuse("a WebSocket handshake has no body");
    }
    if only(view, &header::UPGRADE).is_none_or(|value| !value.eq_ignore_ascii_case(b"websocket")) {
        return refuse("Upgrade names more than `websocket`");
    }
    if !lists(view, &header::CONNECTION, b"upgrade") {
        return refuse("Connection does not name Upgrade");
    }
    if only(view, &header::SEC_WEBSOCKET_VERSION) != Some(b"13") {
        return refuse("Sec-WebSocket-Version is not 13");
    }
    if only(view, &header::SEC_WEBSOCKET_KEY).is_none_or(|key| !is_key(key)) {
        return refuse("Sec-WebSocket-Key is not 16 bytes in base64");
    }
    Ok(Upgrade::WebSocket)
}

/// Allows only an answer that switches protocols where it proves that its server understood the question: the
/// key must come back hashed (RFC 6455, section 4.2.2). `key` is that of the handshake which left.
pub fn check_answer(headers: &HeaderMap, key: Option<&[u8]>) -> Verdict {
    let refuse = |detail| Err(Deny::new(Reason::UpstreamProtocol, detail));
    let Some(key) = key else { return refuse("the upstream switched protocols without being asked") };
    let answered = headers.get(header::SEC_WEBSOCKET_ACCEPT).map(HeaderValue::as_bytes);
    if answered != Some(websocket_accept(key).as_bytes()) {
        return refuse("the upstream's Sec-WebSocket-Accept does not answer the key");
    }
    if !is_websocket(headers) {
        return refuse("the upstream switched to another protocol than `websocket`");
    }
    Ok(())
}

/// Says whether the answer names the one protocol that was asked for.
fn is_websocket(headers: &HeaderMap) -> bool {
    let mut protocols = headers.get_all(header::UPGRADE).iter();
    protocols.next().is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"websocket"))
        && protocols.next().is_none()
}

/// `Sec-WebSocket-Accept` for a key (RFC 6455, section 1.3). SHA-1 is what the standard names; it protects
/// nothing here.
fn websocket_accept(key: &[u8]) -> String {
    let mut context = aws_lc_rs::digest::Context::new(&aws_lc_rs::digest::SHA1_FOR_LEGACY_USE_ONLY);
    context.update(key);
    context.update(b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    base64::Engine::encode(&base64::engine::general_purpose::STANDARD, context.finish())
}

/// Says whether a list field contains a word, in any case.
fn lists(view: &RequestView<'_>, name: &HeaderName, word: &[u8]) -> bool {
    let mut lines = view.headers.get_all(name).iter();
    lines.any(|line| {
        line.as_bytes()
            .split(|&byte| byte == b',')
            .any(|element| element.trim_ascii().eq_ignore_ascii_case(word))
    })
}

/// Returns the value of a field that occurs exactly once.
fn only<'a>(view: &RequestView<'a>, name: &HeaderName) -> Option<&'a [u8]> {
    let mut values = view.headers.get_all(name).iter();
    let first = values.next()?;
    values.next().is_none().then(|| first.as_bytes().trim_ascii())
}

/// RFC 6455, section 4.1: 16 bytes, so 24 characters of base64.
fn is_key(key: &[u8]) -> bool {
    let mut bytes = [0; 18];
    key.len() == 24 && STANDARD.decode_slice(key, &mut bytes) == Ok(16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tunnel_speaks_the_protocol_that_was_asked_for() {
        let answer = |lines: &[&'static str]| {
            let lines = lines.iter().map(|&line| (header::UPGRADE, HeaderValue::from_static(line)));
            is_websocket(&lines.collect())
        };

        assert!(answer(&["WebSocket"]));
        for bad in [&[][..], &["h2c"], &["websocket, h2c"], &["websocket", "h2c"]] {
            assert!(!answer(bad), "{bad:?}");
        }
    }

    #[test]
    fn the_websocket_answer_is_the_one_of_the_standard() {
        assert_eq!(websocket_accept(b"dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }
}
