//! Whether a request has a body, and how that leaves.

use bytes::Bytes;
use futures_util::FutureExt;
use http::header;
use pingora::{Error, ErrorType, Result, proxy::Session};
use tokio::time::timeout;

use super::{body, context::Context, failure, revalidate, shared::Gateway, view};
use crate::{
    checks::route::body_not_allowed,
    model::HttpVersion,
    policy::Protocol,
    upstream::{self, Ended, Framing, RequestBody, Resources, expects_body},
};

impl Gateway {
    /// Finds out how the body of a request leaves, and begins it.
    ///
    /// Where servers do not look for a body, it has to be known whether there is one before anybody is asked:
    /// it is not allowed, or decides over which connection the request goes. Chunks, and DATA of HTTP/2, say
    /// so only when they come, and that is waited for within the body's clock. Without an octet they are
    /// none, and leave as none.
    ///
    /// Servers that expect a body are asked at once: a client may want the head of the answer before it sends
    /// anything. There, only what has come with the request's head says that there is none.
    pub(super) async fn framing(
        &self,
        session: &mut Session,
        ctx: &mut Context,
        protocol: Protocol,
        resources: &Resources<'_>,
    ) -> Result<(Framing, RequestBody)> {
        if has_no_body(session) {
            return Ok((Framing::Absent, RequestBody::new(true, false)));
        }
        let request = session.req_header();
        if request.headers.contains_key(header::CONTENT_LENGTH) {
            return Ok((Framing::Counted, RequestBody::new(false, false)));
        }
        let mut body = RequestBody::new(false, protocol == Protocol::Http1);
        if expects_body(&request.method) {
            return match self.piece(session, ctx).now_or_never().transpose()? {
                Some(None) => Ok((Framing::Absent, RequestBody::new(true, false))),
                Some(Some((piece, end))) => {
                    body.put(Some(piece), end);
                    Ok((Framing::Open, body))
                }
                None => Ok((Framing::Open, body)),
            };
        }
        let not_allowed =
            ctx.permit.as_ref().and_then(|permit| body_not_allowed(request.method.as_str(), permit.route()));
        // Who waits to be told to go on has a body (RFC 9110, section 10.1.1), and sends none of it before.
        let waits =
            request.headers.contains_key(header::EXPECT) && view::version(request) != HttpVersion::Http10;
        if !waits {
            let Some((piece, end)) = Box::pin(self.first_piece(session, ctx, resources)).await? else {
                return Ok((Framing::Absent, RequestBody::new(true, false)));
            };
            body.put(Some(piece), end);
        }
        if let Some(deny) = not_allowed {
            ctx.deny = Some(deny);
            return Error::e_explain(ErrorType::HTTPStatus(400), "body not allowed");
        }
        Ok((Framing::Open, body))
    }

    /// Waits for the first octets of a body, and says whether they are all of it; nothing where it ends
    /// without any.
    async fn first_piece(
        &self,
        session: &mut Session,
        ctx: &mut Context,
        resources: &Resources<'_>,
    ) -> Result<Option<(Bytes, bool)>> {
        // It occupies nothing of an upstream as yet.
        let share = ctx.permit.as_ref().map(|permit| resources.take_to_wait(permit)).transpose();
        let _share = share.map_err(|deny| failure::of_exchange(Ended::Denied(deny), ctx))?;
        let within = body::patience(session.is_http2(), ctx);
        let began = self.shared.clock.tick();
        let Ok(first) = timeout(within, self.piece(session, ctx)).await else {
            ctx.deny = Some(upstream::slow_body());
            return Error::e_explain(ErrorType::HTTPStatus(408), "body too slow");
        };
        ctx.body_waited += self.shared.clock.tick().since(began);
        // Meanwhile the session may have ended.
        revalidate::revalidate_if_changed(&self.shared, ctx)?;
        first
    }

    /// Reads the first octets of a body. It can be let go of before they have come.
    async fn piece(&self, session: &mut Session, ctx: &mut Context) -> Result<Option<(Bytes, bool)>> {
        loop {
            let piece = session
                .as_downstream_mut()
                .read_body_or_idle(false)
                .await
                .map_err(|error| error.into_down())?;
            let end = piece.is_none() || session.as_downstream_mut().is_body_done();
            self.body_comes(ctx, session.is_http2(), piece.as_ref().map_or(0, Bytes::len), end)?;
            match piece.filter(|piece| !piece.is_empty()) {
                Some(piece) => return Ok(Some((piece, end))),
                None if end => return Ok(None),
                None => {}
            }
        }
    }
}

/// Says whether a request has no body. Both questions: HTTP/2 calls a body empty whose length says so, and
/// DATA may still come.
fn has_no_body(session: &mut Session) -> bool {
    session.is_body_empty() && session.as_downstream_mut().is_body_done()
}
