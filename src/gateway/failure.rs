//! Why an exchange broke off, where no check has said it.

use pingora::{Error, ErrorSource, ErrorType};

use super::context::Context;
use crate::{
    model::{Connection, CutReason, Deny, HttpVersion, Reason},
    upstream::{Ended, slow_body},
};

/// Turns an error of the library into a refusal.
pub(super) fn deny(error: &Error, version: HttpVersion, ctx: &Context) -> Deny {
    let downstream = *error.esource() == ErrorSource::Downstream;
    if let Some(connection) = &ctx.connection {
        // Over HTTP/2 the stream ends one answer and not the connection.
        if version == HttpVersion::Http2 && downstream && connection.take_unread() {
            return Deny::new(
                Reason::TimeoutWrite,
                "the answer was taken slower than `write_min_rate`, or not at all for `write_stall`",
            );
        }
        // Over HTTP/2 the stream ends one body and not the connection.
        let ended = version == HttpVersion::Http2
            && downstream
            && *error.etype() != ErrorType::WriteTimedout
            && connection.take_slow_body();
        if let Some(deny) = cut(connection) {
            return deny;
        }
        if ended {
            return slow_body();
        }
    }
    if let Some(deny) = wrong_chunks(ctx) {
        return deny;
    }
    if version == HttpVersion::Http2 && downstream && breaks_protocol(error) {
        return Deny::new(
            Reason::Protocol,
            "the stream was reset: malformed trailers, or another length than Content-Length says",
        )
        .honest(true);
    }
    let forwarded = ctx.permit.is_some();
    let reason = match error.esource() {
        ErrorSource::Downstream => downstream_reason(error.etype(), version, forwarded),
        ErrorSource::Upstream | ErrorSource::Internal | ErrorSource::Unset => Reason::Internal,
    };
    // Our own reader found nothing wrong with the chunks, and what else the library says nobody can read
    // anything from.
    Deny::new(reason, error.to_string()).honest(true)
}

/// Says why an exchange ended, in the words that the library hands on: the one place where that is
/// translated.
pub(super) fn of_exchange(ended: Ended<Box<Error>>, ctx: &mut Context) -> Box<Error> {
    let deny = match ended {
        Ended::ClientGone(error) => return error,
        Ended::Denied(deny) => deny,
        Ended::Cancelled(deny) => {
            ctx.ended = true;
            deny
        }
        // A client that is at fault itself may be the reason why the server failed.
        Ended::Failed(failure) if failure.is_of_server => {
            let of_client = ctx.connection.as_deref().and_then(cut).or_else(|| wrong_chunks(ctx));
            of_client.unwrap_or(failure.deny)
        }
        Ended::Failed(failure) => failure.deny,
    };
    let status = deny.reason.status();
    ctx.deny = Some(deny);
    Error::explain(ErrorType::HTTPStatus(status), "the exchange ended")
}

/// Says what it means for an exchange that a step of the gateway, or the library, failed.
pub(super) fn of_step(error: Box<Error>, ctx: &mut Context) -> Ended<Box<Error>> {
    match ctx.deny.take() {
        Some(deny) if ctx.ended => Ended::Cancelled(deny),
        Some(deny) => Ended::Denied(deny),
        None if *error.esource() == ErrorSource::Downstream => Ended::ClientGone(error),
        None => Ended::Denied(Deny::new(Reason::Internal, error.to_string()).honest(true)),
    }
}

/// Says why edge has cut a connection, where that was the request's fault.
fn cut(connection: &Connection) -> Option<Deny> {
    let detail = match connection.cut()? {
        CutReason::BodyTooSlow => return Some(slow_body()),
        CutReason::WriteStall => "nothing of the answer was taken within `write_stall`",
        CutReason::WriteTooSlow => "the answer was taken slower than `write_min_rate`",
        CutReason::NoRequest
        | CutReason::HeadTimeout
        | CutReason::Idle
        | CutReason::TunnelIdle
        | CutReason::Banned => return None,
    };
    Some(Deny::new(Reason::TimeoutWrite, detail))
}

/// Refuses a body whose chunks nobody can read.
fn wrong_chunks(ctx: &Context) -> Option<Deny> {
    let is_wrong = ctx.connection.as_ref().is_some_and(|connection| connection.chunks_are_wrong());
    is_wrong.then(|| Deny::new(Reason::FramingChunk, "the chunks of the body are malformed"))
}

/// Says whether it was the library that reset a stream, for what its client sent on it (RFC 9113, section
/// 8.1.1).
fn breaks_protocol(error: &Error) -> bool {
    let cause = error.root_cause().downcast_ref::<h2::Error>();
    cause.is_some_and(|cause| cause.is_library() && cause.reason() == Some(h2::Reason::PROTOCOL_ERROR))
}

/// Says why a client's side failed. `forwarded` says that the request had passed every check.
#[expect(clippy::wildcard_enum_match_arm, reason = "the library's kinds grow; what is unknown is a refusal")]
fn downstream_reason(kind: &ErrorType, version: HttpVersion, forwarded: bool) -> Reason {
    match kind {
        ErrorType::ReadTimedout => Reason::TimeoutBody,
        ErrorType::WriteTimedout => Reason::TimeoutWrite,
        ErrorType::ReadError | ErrorType::WriteError | ErrorType::ConnectionClosed | ErrorType::H2Error => {
            Reason::ClientClosed
        }
        // HTTP/1 chunks are read by the library as they are forwarded; its names for what is wrong with them
        // are its own.
        ErrorType::Custom("InvalidChunk" | "InvalidTrailerEnd")
            if version != HttpVersion::Http2 && forwarded =>
        {
            Reason::FramingChunk
        }
        ErrorType::Custom("PrematureBodyEnd") => Reason::ClientClosed,
        _ => Reason::Protocol,
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
}
