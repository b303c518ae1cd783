//! Requests whose stream the library has reset, because their client broke the protocol (RFC 9113, section 5.4.2).
//!
//! The library hands such a request over all the same, whole where its body had come: nobody gets an answer to it, so nothing is done for
//! it. It has a line like every other one, which names the reset.

use pingora::proxy::Session;

use super::{owner, proxy::Context, record, view};
use crate::model::{Deny, Http2Error, Reason};

/// The refusal of a request whose stream was reset.
pub fn reset_of(stream: u32, error: Http2Error) -> Deny {
    // Edge held it against its client when it happened.
    Deny::new(Reason::Protocol, said(stream, error)).honest(true)
}

/// Ends a request whose stream was reset by now: no app is asked. Says whether that is so.
pub(super) fn ends(session: &Session, ctx: &mut Context) -> bool {
    let (Some(connection), Some(stream)) = (&ctx.connection, ctx.stream) else { return false };
    let Some(error) = connection.stream_reset(stream) else { return false };
    if ctx.known.realm.is_none()
        && let Some(snapshot) = &ctx.snapshot
    {
        let view = view::view(session.req_header(), None, (connection.facts(), None), ctx.began, ctx.tick);
        (ctx.known.host, ctx.known.realm) =
            owner::of_request(&view, &snapshot.policy).map_or((None, None), |(host, realm)| (Some(host), realm));
    }
    record::failed(ctx, reset_of(stream, error));
    true
}

/// What is said of a request whose stream was reset, behind what there is to say anyway. Nothing where it was not.
pub(super) fn detail(ctx: &Context, detail: Option<&str>) -> Option<String> {
    let (stream, error) = ctx.stream.zip(ctx.reset)?;
    let reset = said(stream, error);
    match detail {
        Some(detail) if detail != reset => Some(format!("{detail}; {reset}")),
        Some(_) | None => Some(reset),
    }
}

fn said(stream: u32, error: Http2Error) -> String {
    format!("stream {stream} was reset: {}", error.as_str())
}
