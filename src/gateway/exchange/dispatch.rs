//! A request goes to a server, and to another one where that changes nothing that the first one did.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, header};
use pingora::{Error, ErrorType, Result, proxy::Session};

use super::{failed::Failed, framing::Framing, sides::After, unread::expects_body};
use crate::{
    gateway::{
        proxy::{Context, Exchange, Gateway},
        request_headers,
        upstream::{Pool, Turn},
        view,
    },
    model::{HttpVersion, TenantName},
    policy::{Protocol, ServerAddress, Upstream},
};

/// A server whose turn it is.
pub(super) struct Server<'a> {
    pub(super) upstream: &'a Upstream,
    pub(super) pool: &'a Pool,
    pub(super) turn: Turn,
    pub(super) address: &'a ServerAddress,
    /// The only tenant that its connections serve, where they are kept apart.
    pub(super) apart: Option<TenantName>,
}

/// A request as it leaves.
enum Request {
    Http1(Bytes),
    Http2(http::Request<()>),
}

impl Gateway {
    /// Asks the app and hands its answer on. Errors are said in the library's words, which [`failure`](crate::gateway::failure) reads.
    pub(in crate::gateway) async fn exchange(&self, session: &mut Session, ctx: &mut Context) -> Result<()> {
        let Some((snapshot, upstream)) = ctx.snapshot.clone().zip(ctx.permit.as_ref().map(|permit| Arc::clone(&permit.tenant().upstream)))
        else {
            return Error::e_explain(ErrorType::InternalError, "no permit, no server");
        };
        let Some(pool) = snapshot.pool(&upstream.name) else { return Error::e_explain(ErrorType::InternalError, "no pool") };
        let (framing, mut upload) = self.framing(session, ctx, upstream.protocol).await?;
        let mut headers = fields(session);
        let _head = self.room_for_head(ctx, &headers)?;
        // None leaves as none; but some servers ask a POST for its length (RFC 9110, section 15.5.12).
        if framing == Framing::Absent && headers.remove(header::CONTENT_LENGTH).is_some() && expects_body(&session.req_header().method) {
            headers.insert(header::CONTENT_LENGTH, HeaderValue::from_static("0"));
        }
        let method = &session.req_header().method;
        let closes = framing != Framing::Absent && pool.bodies().closes(method);
        let closes = closes || (*method == Method::HEAD && pool.bodies().may_say_more());
        let request = match upstream.protocol {
            Protocol::Http1 => Request::Http1(self.request(session, ctx, headers, (framing, closes))?),
            Protocol::Http2 => Request::Http2(self.request_http2(session, ctx, headers)?),
        };
        let after = if closes { After::Told } else { After::Kept };
        // A connection that died at rest is followed by a new one: its neighbours died of the same.
        let mut fresh = false;
        loop {
            let failed = ctx.upstream.as_ref().map(|exchange| exchange.index);
            let now = self.shared.clock.tick();
            let Some(turn) = pool.turn(failed, now) else { return Error::e_explain(ErrorType::InternalError, "no server") };
            let index = turn.index;
            let Some(address) = upstream.servers.get(index).map(|server| &server.address) else {
                return Error::e_explain(ErrorType::InternalError, "no server");
            };
            let tries = failed.map_or(0, |_| ctx.upstream.as_ref().map_or(0, |exchange| exchange.tries)) + 1;
            ctx.upstream = Some(Exchange { server: pool.server_name(index), index, tries, began: now, first_byte: None, status: None });
            let apart = upstream.isolate.then(|| ctx.permit.as_ref().map(|permit| permit.acting_tenant().name.clone())).flatten();
            let server = Server { upstream: &upstream, pool, turn, address, apart };
            let outcome = match &request {
                Request::Http1(request) => self.over_http1((session, ctx), server, (request, after), (&mut upload, fresh)).await,
                Request::Http2(request) => self.over_http2((session, ctx), &server, request, &mut upload).await,
            };
            let Err(Failed { error, repeatable, unreachable, deny }) = outcome else { return Ok(()) };
            let again = repeatable && ctx.deny.is_none() && session.response_written().is_none();
            if !(again && upload.rewind() && self.may_retry(ctx, unreachable)) {
                ctx.deny = ctx.deny.take().or(deny);
                return Err(error.more_context(format!("server {}", pool.server_name(index))));
            }
            fresh = true;
        }
    }
}

/// Returns the fields of a request without those of its connection.
fn fields(session: &Session) -> HeaderMap {
    let request = session.req_header();
    let mut headers = request.headers.clone();
    request_headers::leave_connection(&mut headers);
    // Nobody waits in HTTP/1.0, and an interim answer would be taken for the answer (RFC 9110, section 10.1.1).
    if view::version(request) == HttpVersion::Http10 {
        headers.remove(header::EXPECT);
    }
    // It has no case, and some servers find it in lower case only.
    if let Some(expect) = headers.get_mut(header::EXPECT) {
        *expect = HeaderValue::from_static("100-continue");
    }
    headers
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes_of<'a, F: Future>(_: impl FnOnce(&'a Gateway, &'a mut Session, &'a mut Context) -> F) -> usize {
        size_of::<F>()
    }

    /// Each exchange under way holds so much, and it is moved into place for each. What is seldom is boxed where it begins: new connections
    /// and their handshakes, tunnels, interim answers, what is drained behind an answer, grants. Half of the rest is the library's, which
    /// writes the answer.
    #[test]
    fn an_exchange_under_way_is_small() {
        let bytes = bytes_of(Gateway::exchange);

        assert!(bytes <= 4 * 1024, "{bytes}");
    }
}
