//! Is an Upgrade field a WebSocket handshake that the route allows? (threat model, rows 11 and 12)

use base64::{Engine, engine::general_purpose::STANDARD};
use http::{HeaderName, header};

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
