//! The body of a request on its way in: its bound and its clock.

use std::time::Duration;

use pingora::{Error, ErrorType, Result, proxy::Session};

use super::{
    context::Context,
    shared::{Gateway, LONGEST},
};
use crate::{
    headers,
    model::{Deny, Reason},
    pipeline::OnSessionEnd,
    policy::Protocol,
    upstream,
};

/// How long any body may take before its rate counts, as at the stream, and how much later than there it is
/// refused here.
const BODY_GRACE: Duration = Duration::from_secs(10);
const AFTER_STREAM: Duration = Duration::from_secs(2);

impl Gateway {
    /// Begins the clock of a body, if there is one: a request without a body must not be timed for it.
    pub(super) fn body_begins(&self, session: &mut Session, ctx: &mut Context) {
        let (Some(connection), Some(permit)) = (&ctx.connection, &ctx.permit) else { return };
        let request = session.req_header();
        ctx.call = permit.tenant().upstream.protocol == Protocol::Http2
            && headers::is_call(&request.method, &request.headers);
        if !session.is_body_empty() {
            // The two sides of a call take turns, and may be silent in between: `websocket_idle` bounds that.
            let rate = if ctx.call && session.is_http2() { 0 } else { permit.limits().body_min_rate };
            connection.body_begins(rate);
            ctx.body_rate = Some(rate);
        }
        // Both sides of a call may stream from its start.
        if ctx.call
            && let Some(permit) = ctx.permit.as_mut().filter(|permit| !permit.may_change_sessions())
        {
            permit.set_on_session_end(OnSessionEnd::Ends);
        }
    }

    /// Judges more of a body, and whether that was its end.
    pub(super) fn body_comes(&self, ctx: &mut Context, http2: bool, bytes: usize, end: bool) -> Result<()> {
        if end {
            body_came(ctx);
        }
        piece_came(ctx, bytes);
        ctx.body_in = ctx.body_in.saturating_add(u64::try_from(bytes).unwrap_or(u64::MAX));
        if bytes == 0 || ctx.upgraded {
            return Ok(());
        }
        let limit = ctx.permit.as_ref().map_or(0, |permit| permit.limits().body_bytes);
        if ctx.body_in > limit {
            ctx.deny = Some(Deny::new(Reason::BodyTooLarge, format!("more than {limit} bytes came")));
            return Error::e_explain(ErrorType::HTTPStatus(413), "body too large");
        }
        if !end && http2 && self.is_too_slow(ctx) {
            ctx.deny = Some(upstream::slow_body());
            return Error::e_explain(ErrorType::HTTPStatus(408), "body too slow");
        }
        Ok(())
    }

    /// Says whether this is the body that the stream found too slow. The stream knows which side waited, but
    /// not which body is slow.
    fn is_too_slow(&self, ctx: &Context) -> bool {
        let (Some(rate), Some(connection)) = (ctx.body_rate, &ctx.connection) else { return false };
        let took = self.shared.clock.tick().since(ctx.tick);
        ctx.body_in < rate.saturating_mul(took.as_secs()) && connection.take_slow_body()
    }
}

/// Returns how long a client may still take for the next piece of its body.
///
/// Over HTTP/2 the stream holds every body to the lowest rate of all, because it cannot tell them apart: a
/// body that may be silent would cover the others. Here each body is known. This deadline is later than the
/// stream's, so the stream's refusal wins.
pub(super) fn patience(http2: bool, ctx: &Context) -> Duration {
    let rate = ctx.body_rate.filter(|rate| *rate > 0 && http2);
    let Some(usual) = rate.and_then(|rate| ctx.body_in.checked_div(rate)) else { return LONGEST };
    (Duration::from_secs(usual).max(BODY_GRACE) + AFTER_STREAM).saturating_sub(ctx.body_waited)
}

/// Notes that a piece of a body was read: edge holds back small pieces of an HTTP/2 stream until those before
/// them were.
pub(super) fn piece_came(ctx: &Context, bytes: usize) {
    if let (Some(stream), Some(connection)) = (ctx.stream, &ctx.connection) {
        connection.note_piece(stream, bytes);
    }
}

/// Notes that the body has come, or is not waited for any more.
pub(super) fn body_came(ctx: &mut Context) {
    if let (Some(rate), Some(connection)) = (ctx.body_rate.take(), &ctx.connection) {
        connection.body_ends(rate);
    }
}
