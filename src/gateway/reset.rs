//! Requests whose stream the library has reset, because their client broke the protocol (RFC 9113, section
//! 5.4.2).
//!
//! The library hands such a request over all the same, whole where its body had come. Nobody would get an
//! answer, so no app is asked. It has an access line like every other one, which names the reset.

use pingora::proxy::Session;

use super::{context::Context, view};
use crate::{
    model::{Deny, Http2Error, Reason},
    pipeline::owner,
};

/// The refusal of a request whose stream was reset.
pub fn reset_of(stream: u32, error: Http2Error) -> Deny {
    // Edge has counted the offence when it happened.
    Deny::new(Reason::Protocol, error.of_stream(stream)).honest(true)
}

/// Ends a request whose stream was reset before an app was asked. Returns whether it was.
pub(super) fn ends(session: &Session, ctx: &mut Context) -> bool {
    let (Some(connection), Some(stream)) = (&ctx.connection, ctx.stream) else { return false };
    let Some(error) = connection.stream_reset(stream) else { return false };
    if ctx.facts.realm.is_none()
        && let Some(snapshot) = &ctx.snapshot
    {
        let view = view::view(session.req_header(), None, connection.facts(), None, ctx.began, ctx.tick);
        (ctx.facts.host, ctx.facts.realm) = owner::of_request(&view, &snapshot.policy)
            .map_or((None, None), |(host, realm)| (Some(host), realm));
    }
    ctx.fail(reset_of(stream, error));
    true
}
