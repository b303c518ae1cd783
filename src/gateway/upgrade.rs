//! The answer that opens a WebSocket: only one that proves it understood the question.

use http::{HeaderMap, HeaderValue, header};

use super::context::Context;
use crate::model::{Deny, Reason, Verdict};

/// Judges an upgrade's answer (RFC 6455, section 4.2.2): the key must come back hashed.
pub(super) fn accept(headers: &HeaderMap, ctx: &mut Context) -> Verdict {
    let expected = ctx.websocket_key.as_ref().map(|key| websocket_accept(key.as_bytes()));
    let answered = headers.get("sec-websocket-accept").map(HeaderValue::as_bytes);
    let idle = ctx.permit.as_ref().map(|permit| permit.limits().websocket_idle);
    let (Some(expected), Some(connection), Some(idle)) = (expected, &ctx.connection, idle) else {
        return Err(Deny::new(
            Reason::UpstreamProtocol,
            "the upstream switched protocols without being asked",
        ));
    };
    if answered != Some(expected.as_bytes()) {
        return Err(Deny::new(
            Reason::UpstreamProtocol,
            "the upstream's Sec-WebSocket-Accept does not answer the key",
        ));
    }
    if !is_websocket(headers) {
        return Err(Deny::new(
            Reason::UpstreamProtocol,
            "the upstream switched to another protocol than `websocket`",
        ));
    }
    ctx.upgraded = true;
    connection.becomes_tunnel(idle);
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
