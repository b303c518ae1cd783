//! Why an exchange broke off, where no check has said it.

use pingora::{Error, ErrorSource, ErrorType};

use super::proxy::Context;
use crate::model::{Cut, Deny, HttpVersion, Reason};

/// Turns an error of the library into a refusal.
pub(super) fn deny(error: &Error, version: HttpVersion, ctx: &Context) -> Deny {
    let downstream = *error.esource() == ErrorSource::Downstream;
    if let Some(connection) = &ctx.connection {
        // Over HTTP/2 the stream ends one answer and not the connection.
        if version == HttpVersion::Http2 && downstream && connection.take_unread() {
            return Deny::new(Reason::TimeoutWrite, "the answer was taken slower than `write_min_rate`, or not at all for `write_stall`");
        }
        // Over HTTP/2 the stream ends one body and not the connection.
        let ended =
            version == HttpVersion::Http2 && downstream && *error.etype() != ErrorType::WriteTimedout && connection.take_slow_body();
        match connection.cut() {
            Some(Cut::BodyTooSlow) => return slow_body(),
            Some(Cut::WriteStall) => return Deny::new(Reason::TimeoutWrite, "nothing of the answer was taken within `write_stall`"),
            Some(Cut::WriteTooSlow) => return Deny::new(Reason::TimeoutWrite, "the answer was taken slower than `write_min_rate`"),
            Some(Cut::NoRequest | Cut::HeadTimeout | Cut::Idle | Cut::TunnelIdle | Cut::Banned) | None if ended => return slow_body(),
            Some(Cut::NoRequest | Cut::HeadTimeout | Cut::Idle | Cut::TunnelIdle | Cut::Banned) | None => {}
        }
    }
    if ctx.connection.as_ref().is_some_and(|connection| connection.chunks_are_wrong()) {
        return Deny::new(Reason::FramingChunk, "the chunks of the body are malformed");
    }
    if version == HttpVersion::Http2 && downstream && breaks_protocol(error) {
        return Deny::new(Reason::Protocol, "the stream was reset: malformed trailers, or another length than Content-Length says")
            .honest(true);
    }
    let forwarded = ctx.permit.is_some();
    let reason = match error.esource() {
        ErrorSource::Upstream => upstream_reason(error.root_etype()),
        ErrorSource::Downstream => downstream_reason(error.etype(), version, forwarded),
        ErrorSource::Internal | ErrorSource::Unset => Reason::Internal,
    };
    // Our own reader found nothing wrong with the chunks, and what else the library says nobody can read anything from.
    Deny::new(reason, error.to_string()).honest(true)
}

/// Says whether it was the library that reset a stream, for what its client sent on it (RFC 9113, section 8.1.1).
fn breaks_protocol(error: &Error) -> bool {
    let cause = error.root_cause().downcast_ref::<h2::Error>();
    cause.is_some_and(|cause| cause.is_library() && cause.reason() == Some(h2::Reason::PROTOCOL_ERROR))
}

/// The refusal of a body that comes too slowly.
pub(super) fn slow_body() -> Deny {
    Deny::new(Reason::TimeoutBody, "the body came slower than `body_min_rate`")
}

/// Says why a client's side failed. `forwarded` says that the request had passed every check.
#[expect(clippy::wildcard_enum_match_arm, reason = "the library's kinds grow; what is unknown is a refusal")]
fn downstream_reason(kind: &ErrorType, version: HttpVersion, forwarded: bool) -> Reason {
    match kind {
        ErrorType::ReadTimedout => Reason::TimeoutBody,
        ErrorType::WriteTimedout => Reason::TimeoutWrite,
        ErrorType::ReadError | ErrorType::WriteError | ErrorType::ConnectionClosed | ErrorType::H2Error => Reason::ClientClosed,
        // HTTP/1 chunks are read by the library as they are forwarded; its names for what is wrong with them are its own.
        ErrorType::Custom("InvalidChunk" | "InvalidTrailerEnd") if version != HttpVersion::Http2 && forwarded => Reason::FramingChunk,
        ErrorType::Custom("PrematureBodyEnd") => Reason::ClientClosed,
        _ => Reason::Protocol,
    }
}

/// Says why an exchange with an upstream failed, by the kinds that [`exchange`](super::exchange) says.
#[expect(clippy::wildcard_enum_match_arm, reason = "the library has many kinds; what is none of these is a bad answer")]
fn upstream_reason(kind: &ErrorType) -> Reason {
    match kind {
        ErrorType::ConnectTimedout | ErrorType::ReadTimedout | ErrorType::WriteTimedout => Reason::UpstreamTimeout,
        ErrorType::ConnectError => Reason::UpstreamConnect,
        ErrorType::TLSHandshakeFailure => Reason::UpstreamTls,
        ErrorType::ReadError | ErrorType::WriteError | ErrorType::ConnectionClosed => Reason::UpstreamClosed,
        _ => Reason::UpstreamProtocol,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_chunks_that_are_malformed_are_called_so() {
        let reason = |kind| downstream_reason(&kind, HttpVersion::Http11, true);

        assert_eq!(reason(ErrorType::new("InvalidChunk")), Reason::FramingChunk);
        assert_eq!(reason(ErrorType::new("PrematureBodyEnd")), Reason::ClientClosed);
        assert_eq!(reason(ErrorType::InvalidHTTPHeader), Reason::Protocol);
        assert_eq!(reason(ErrorType::ConnectError), Reason::Protocol);
    }

    #[test]
    fn every_connect_failure_is_told_apart_from_a_bad_answer() {
        assert_eq!(upstream_reason(&ErrorType::ConnectError), Reason::UpstreamConnect);
        assert_eq!(upstream_reason(&ErrorType::ReadTimedout), Reason::UpstreamTimeout);
        assert_eq!(upstream_reason(&ErrorType::TLSHandshakeFailure), Reason::UpstreamTls);
        assert_eq!(upstream_reason(&ErrorType::ConnectionClosed), Reason::UpstreamClosed);
        assert_eq!(upstream_reason(&ErrorType::InvalidHTTPHeader), Reason::UpstreamProtocol);
    }
}
