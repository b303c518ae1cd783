//! The way to the app: exchanges of our own, over HTTP/1.1 or HTTP/2, plain or over TLS.
//!
//! pingora's way to an upstream costs more than all of the gateway's checks: a task per idle connection, two channels and two maps of
//! names per exchange (`floor.md`); and what is under way there cannot be ended from outside. So no request takes it.
//!
//! The rules stand elsewhere: [`forward`] for what leaves, [`Gateway::received`] and [`answer`](super::answer) for what comes back. What
//! is ours here is the framing and the connection. Over HTTP/1.1 (RFC 9112) that is one exchange at a time, kept only after an answer
//! whose end is known and behind which nothing came.

mod answer;
mod body;
mod client;
mod connection;
mod frame;
pub mod fuzz;
mod head;
mod http2;
mod idle;
mod sides;
mod tunnel;
mod upgrade;
mod upload;

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, header};
use pingora::{Error, ErrorType, Result, proxy::Session};
use tokio::time::timeout;

use self::{client::Client, connection::Connection, sides::Sides, upload::Upload};
pub(super) use self::{http2::Lines, idle::Idle};
use super::{
    forward, guard,
    proxy::{Context, Exchange, Gateway},
    request_headers,
    upstream::Pool,
    view,
};
use crate::{
    model::{HttpVersion, TenantName, told},
    outbound::{OutboundError, ServerTls},
    pipeline::Permit,
    policy::{Protocol, ServerAddress, Upstream, UpstreamTimeouts},
};

/// How many interim answers (1xx) an upstream may send before the answer.
const INTERIM: usize = 16;

/// Says whether a request has no body. Both questions: HTTP/2 calls a body empty whose length says so, and DATA may still come.
fn has_no_body(session: &mut Session) -> bool {
    session.is_body_empty() && session.as_downstream_mut().is_body_done()
}

/// How an attempt ended that brought no answer.
struct Failed {
    error: Box<Error>,
    /// Whether another attempt changes nothing that the first one did.
    repeatable: bool,
}

impl Failed {
    fn new(kind: ErrorType, repeatable: bool, detail: String) -> Self {
        Self { error: Error::explain(kind, detail).into_up(), repeatable }
    }

    fn last(error: Box<Error>) -> Self {
        Self { error, repeatable: false }
    }
}

/// A server whose turn it is.
struct Server<'a> {
    upstream: &'a Upstream,
    pool: &'a Pool,
    index: usize,
    address: &'a ServerAddress,
    /// The only tenant that its connections serve, where they are kept apart.
    apart: Option<TenantName>,
}

/// A request as it leaves.
enum Request {
    Http1(Bytes),
    Http2(http::Request<()>),
}

impl Gateway {
    /// Asks the app and hands its answer on. Errors are said in the library's words, which [`failure`](super::failure) reads.
    pub(super) async fn exchange(&self, session: &mut Session, ctx: &mut Context) -> Result<()> {
        let Some((snapshot, upstream)) = ctx.snapshot.clone().zip(ctx.permit.as_ref().map(|permit| Arc::clone(&permit.tenant().upstream)))
        else {
            return Error::e_explain(ErrorType::InternalError, "no permit, no server");
        };
        let Some(pool) = snapshot.pool(&upstream.name) else { return Error::e_explain(ErrorType::InternalError, "no pool") };
        let came = has_no_body(session);
        let chunked = !session.req_header().headers.contains_key(header::CONTENT_LENGTH);
        let headers = fields(session);
        let (request, mut upload) = match upstream.protocol {
            Protocol::Http1 => (Request::Http1(self.request(session, ctx, headers, !came && chunked)?), Upload::new(came, chunked)),
            Protocol::Http2 => (Request::Http2(self.request_http2(session, ctx, headers)?), Upload::repeatable(came)),
        };
        // A connection that died at rest is followed by a new one: its neighbours died of the same.
        let mut fresh = false;
        loop {
            let failed = ctx.upstream.as_ref().map(|exchange| exchange.index);
            let Some(index) = pool.turn(failed) else { return Error::e_explain(ErrorType::InternalError, "no server") };
            let Some(address) = upstream.servers.get(index).map(|server| &server.address) else {
                return Error::e_explain(ErrorType::InternalError, "no server");
            };
            let now = self.shared.clock.tick();
            let tries = failed.map_or(0, |_| ctx.upstream.as_ref().map_or(0, |exchange| exchange.tries)) + 1;
            ctx.upstream = Some(Exchange { server: pool.server_name(index), index, tries, began: now, first_byte: None, status: None });
            let apart = upstream.isolate.then(|| ctx.permit.as_ref().map(|permit| permit.acting_tenant().name.clone())).flatten();
            let server = Server { upstream: &upstream, pool, index, address, apart };
            let outcome = match &request {
                Request::Http1(request) => self.over_http1((session, ctx), server, request, (&mut upload, fresh)).await,
                Request::Http2(request) => self.over_http2((session, ctx), &server, request, &mut upload).await,
            };
            let Err(Failed { error, repeatable }) = outcome else { return Ok(()) };
            let again = repeatable && ctx.deny.is_none() && session.response_written().is_none();
            if !(again && (matches!(request, Request::Http1(_)) || upload.rewind()) && self.may_retry(ctx)) {
                return Err(error.more_context(format!("server {}", pool.server_name(index))));
            }
            fresh = true;
        }
    }

    /// Writes the request's head as it leaves over HTTP/1.1.
    fn request(&self, session: &Session, ctx: &mut Context, mut headers: HeaderMap, chunked: bool) -> Result<Bytes> {
        let request = session.req_header();
        if chunked {
            headers.insert(header::TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
        }
        if ctx.permit.as_ref().is_some_and(Permit::websocket) {
            headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
            headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
        }
        let made = guard::done(|| {
            forward::dress(&self.shared, &mut headers, ctx)?;
            let target = ctx.permit.as_ref().map_or("", |permit| permit.path_and_query());
            head::request(&request.method, target, &headers)
        });
        made.unwrap_or_else(|deny| {
            ctx.deny = Some(deny);
            Error::e_explain(ErrorType::HTTPStatus(500), "panic")
        })
    }

    /// Asks one server over HTTP/1.1: over a connection that rests, if it need not be a `fresh` one.
    async fn over_http1(
        &self,
        (session, ctx): (&mut Session, &mut Context),
        server: Server<'_>,
        request: &Bytes,
        (upload, fresh): (&mut Upload, bool),
    ) -> std::result::Result<(), Failed> {
        let Server { upstream, pool, index, address, apart } = server;
        let idle = pool.idle(index);
        let resting = idle.filter(|_| !fresh).and_then(|idle| idle.take(self.shared.clock.tick(), apart.as_ref()));
        let connection = match resting {
            Some(connection) => (connection, true),
            None => (connect(address, pool.tls(), upstream.timeouts.connect, apart).await?, false),
        };
        let kept = self.attempt((session, ctx), upstream.timeouts, connection, request, upload).await?;
        if let Some((idle, connection)) = idle.zip(kept) {
            idle.put(connection, self.shared.clock.tick());
        }
        Ok(())
    }

    /// Asks one server. Returns the connection, if it can serve another exchange.
    async fn attempt(
        &self,
        (session, ctx): (&mut Session, &mut Context),
        times: UpstreamTimeouts,
        (mut connection, reused): (Connection, bool),
        request: &Bytes,
        upload: &mut Upload,
    ) -> std::result::Result<Option<Connection>, Failed> {
        // Only a kept connection that had died unseen, and a request that may be said twice (RFC 9110, section 9.2.2).
        let repeatable = reused && session.req_header().method.is_idempotent();
        match timeout(times.between_bytes, connection.write_all(request)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return Err(Failed::new(ErrorType::WriteError, repeatable, error.to_string())),
            Err(_) => return Err(Failed::new(ErrorType::WriteTimedout, false, "the request was not taken".to_owned())),
        }
        let client = Client { gateway: self, session, ctx, upload, continued: false };
        let mut sides = Sides { client, connection, heard: false };
        if !sides.client.upload.has_come() {
            // An upload may go on for as long as an answer.
            self.sit_down(sides.client.ctx).map_err(Failed::last)?;
        }
        for _ in 0..=INTERIM {
            let head = sides.head(times.first_byte, repeatable).await?;
            let status = head.response.status.as_u16();
            if status == 101 && sides.client.ctx.permit.as_ref().is_some_and(Permit::websocket) {
                return sides.tunnel(head.response, times.between_bytes).await.map(|()| None).map_err(Failed::last);
            }
            if (100..200).contains(&status) {
                sides.client.interim(head.response).await.map_err(Failed::last)?;
                continue;
            }
            return sides.answer(head, times.between_bytes).await.map_err(Failed::last);
        }
        Err(Failed::new(ErrorType::InvalidHTTPHeader, false, "too many interim answers".to_owned()))
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

async fn connect(
    address: &ServerAddress,
    tls: Option<&std::result::Result<ServerTls, OutboundError>>,
    within: Duration,
    apart: Option<TenantName>,
) -> std::result::Result<Connection, Failed> {
    let work = async {
        // Nothing was sent, so any method may go to the next server.
        let refused = |error: std::io::Error| Failed::new(ErrorType::ConnectError, true, error.to_string());
        let connection = Connection::open(address, apart).await.map_err(refused)?;
        // But whoever is there is not who should be.
        let not_trusted = |why: String| Failed::new(ErrorType::TLSHandshakeFailure, false, why);
        match tls {
            None => Ok(connection),
            Some(Ok(tls)) => connection.secure(tls).await.map_err(|error| not_trusted(error.to_string())),
            Some(Err(error)) => Err(not_trusted(told(error))),
        }
    };
    let late = |_| Failed::new(ErrorType::ConnectTimedout, true, "no connection in time".to_owned());
    timeout(within, work).await.map_err(late)?
}
