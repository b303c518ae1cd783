//! The way to the app: exchanges of our own, over HTTP/1.1 or HTTP/2, plain or over TLS.
//!
//! pingora's way to an upstream costs more than all of the gateway's checks: a task per idle connection, two channels and two maps of
//! names per exchange (`floor.md`); and what is under way there cannot be ended from outside. So no request takes it.
//!
//! The rules stand elsewhere: [`forward`] for what leaves, [`Gateway::received`] and [`answer`](super::answer) for what comes back. What
//! is ours here is the framing and the connection. Over HTTP/1.1 (RFC 9112) that is one exchange at a time, and a connection is kept only
//! where the answer began after the whole request had been handed over, where its end is known and nothing came behind it.

mod ahead;
mod answer;
mod body;
mod client;
mod connection;
mod frame;
pub mod fuzz;
mod head;
mod http2;
mod idle;
mod room;
mod sides;
mod tunnel;
mod unread;
mod upgrade;
mod upload;

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, header};
use pingora::{Error, ErrorType, Result, http::ResponseHeader, proxy::Session};
use tokio::time::timeout;

use self::{
    client::Client,
    connection::Connection,
    sides::{After, Sides},
    unread::expects_body,
    upload::Upload,
};
pub(super) use self::{http2::Lines, idle::Idle, unread::Bodies};
use super::{
    failure, forward, guard,
    proxy::{Context, Exchange, Gateway},
    request_headers,
    upstream::{Pool, Turn},
    view,
};
use crate::{
    checks::route::body_not_allowed,
    model::{Deny, HttpVersion, TenantName, Tick, told},
    outbound::{OutboundError, ServerTls},
    pipeline::Permit,
    policy::{Protocol, ServerAddress, Upstream, UpstreamTimeouts},
};

/// How many bytes of interim answers (1xx) an upstream may send before the answer, counted as HTTP/1.1 writes them. More than a large
/// page's early hints, and all of them together have the bound of one head.
const INTERIM_BYTES: usize = 64 * 1024;
/// For how many times `first_byte` they may put the answer off, once the request has come.
const INTERIM_TIMES: u32 = 10;

/// What an upstream has said before its answer.
#[derive(Default)]
struct Interim {
    bytes: usize,
    /// Since when it is waited for the answer behind them.
    since: Option<Tick>,
}

impl Interim {
    /// Says whether there was none.
    fn is_none(&self) -> bool {
        self.bytes == 0
    }

    /// Counts one more. Says whether there may be more of them.
    fn take(&mut self, response: &ResponseHeader, came: bool, now: Tick, first_byte: Duration) -> std::result::Result<(), Failed> {
        let fields: usize = response.headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
        self.bytes = self.bytes.saturating_add(fields).saturating_add(STATUS_LINE);
        let late = came && now.since(*self.since.get_or_insert(now)) > first_byte.saturating_mul(INTERIM_TIMES);
        if self.bytes > INTERIM_BYTES || late {
            return Err(Failed::new(ErrorType::InvalidHTTPHeader, false, "too many interim answers".to_owned()));
        }
        Ok(())
    }
}

/// `HTTP/1.1 103 Early Hints`, and an empty line.
const STATUS_LINE: usize = 28;

/// Says whether a request has no body. Both questions: HTTP/2 calls a body empty whose length says so, and DATA may still come.
fn has_no_body(session: &mut Session) -> bool {
    session.is_body_empty() && session.as_downstream_mut().is_body_done()
}

/// How the body of a request leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Framing {
    /// There is none.
    Absent,
    /// As long as its Content-Length says.
    Counted,
    /// Until its end comes: in chunks over HTTP/1.1.
    Open,
}

/// How an attempt ended that brought no answer.
struct Failed {
    error: Box<Error>,
    /// Whether another attempt changes nothing that the first one did.
    repeatable: bool,
    /// Whether no connection could be had, and that was the server's fault. Nothing was sent then.
    unreachable: bool,
    /// What it is called, if there is no other attempt.
    deny: Option<Deny>,
}

impl Failed {
    fn new(kind: ErrorType, repeatable: bool, detail: String) -> Self {
        Self { error: Error::explain(kind, detail).into_up(), repeatable, unreachable: false, deny: None }
    }

    fn last(error: Box<Error>) -> Self {
        Self { error, repeatable: false, unreachable: false, deny: None }
    }

    /// A server that takes no connection, or none that can be used.
    fn unreachable(kind: ErrorType, repeatable: bool, detail: String) -> Self {
        Self { unreachable: true, ..Self::new(kind, repeatable, detail) }
    }

    fn why(&self) -> &str {
        self.error.context.as_ref().map_or("", |context| context.as_str())
    }

    /// The same for another exchange, which waited for the same.
    fn shared(&self) -> Self {
        let error = Error::explain(self.error.etype().clone(), self.why().to_owned()).into_up();
        Self { error, repeatable: self.repeatable, unreachable: self.unreachable, deny: self.deny.clone() }
    }
}

/// A server whose turn it is.
struct Server<'a> {
    upstream: &'a Upstream,
    pool: &'a Pool,
    turn: Turn,
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
        let (framing, mut upload) = self.framing(session, ctx, upstream.protocol).await?;
        let mut headers = fields(session);
        let _head = self.room_for_head(ctx, &headers)?;
        // None leaves as none; but some servers ask a POST for its length (RFC 9110, section 15.5.12).
        if framing == Framing::Absent && headers.remove(header::CONTENT_LENGTH).is_some() && expects_body(&session.req_header().method) {
            headers.insert(header::CONTENT_LENGTH, HeaderValue::from_static("0"));
        }
        let closes = framing != Framing::Absent && pool.bodies().closes(&session.req_header().method);
        let request = match upstream.protocol {
            Protocol::Http1 => Request::Http1(self.request(session, ctx, headers, (framing, closes))?),
            Protocol::Http2 => Request::Http2(self.request_http2(session, ctx, headers)?),
        };
        let after = if closes { After::Closed } else { After::Kept };
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

    /// Finds out how the body of a request leaves, and begins it.
    ///
    /// Where servers do not look for a body, it has to be known whether there is one before anybody is asked: it is not allowed, or
    /// decides over which connection the request goes. Chunks, and DATA of HTTP/2, say so only when they come, and that is waited for
    /// within the body's clock. Without an octet they are none, and leave as none.
    async fn framing(&self, session: &mut Session, ctx: &mut Context, protocol: Protocol) -> Result<(Framing, Upload)> {
        if has_no_body(session) {
            return Ok((Framing::Absent, Upload::new(true, false)));
        }
        let request = session.req_header();
        if request.headers.contains_key(header::CONTENT_LENGTH) {
            return Ok((Framing::Counted, Upload::new(false, false)));
        }
        let mut upload = Upload::new(false, protocol == Protocol::Http1);
        if expects_body(&request.method) {
            return Ok((Framing::Open, upload));
        }
        let not_allowed = ctx.permit.as_ref().and_then(|permit| body_not_allowed(request.method.as_str(), permit.route()));
        // Who waits to be told to go on has a body (RFC 9110, section 10.1.1), and sends none of it before.
        let waits = request.headers.contains_key(header::EXPECT) && view::version(request) != HttpVersion::Http10;
        if !waits {
            let Some((piece, end)) = self.first_piece(session, ctx).await? else { return Ok((Framing::Absent, Upload::new(true, false))) };
            upload.put(Some(piece), end);
        }
        if let Some(deny) = not_allowed {
            ctx.deny = Some(deny);
            return Error::e_explain(ErrorType::HTTPStatus(400), "body not allowed");
        }
        Ok((Framing::Open, upload))
    }

    /// Waits for the first octets of a body, and says whether they are all of it; nothing where it ends without any.
    async fn first_piece(&self, session: &mut Session, ctx: &mut Context) -> Result<Option<(Bytes, bool)>> {
        let within = client::patience(session.is_http2(), ctx);
        let began = self.shared.clock.tick();
        let first = async {
            loop {
                let piece = session.as_downstream_mut().read_body_or_idle(false).await.map_err(|error| error.into_down())?;
                let end = piece.is_none() || session.as_downstream_mut().is_body_done();
                self.body_comes(ctx, session.is_http2(), piece.as_ref().map_or(0, Bytes::len), end)?;
                match piece.filter(|piece| !piece.is_empty()) {
                    Some(piece) => return Ok(Some((piece, end))),
                    None if end => return Ok(None),
                    None => {}
                }
            }
        };
        let Ok(first) = timeout(within, first).await else {
            ctx.deny = Some(failure::slow_body());
            return Error::e_explain(ErrorType::HTTPStatus(408), "body too slow");
        };
        ctx.body_waited += self.shared.clock.tick().since(began);
        // Meanwhile the session may have ended.
        self.may_go_on(ctx)?;
        first
    }

    /// Writes the request's head as it leaves over HTTP/1.1.
    fn request(&self, session: &Session, ctx: &mut Context, mut headers: HeaderMap, (framing, closes): (Framing, bool)) -> Result<Bytes> {
        let request = session.req_header();
        if framing == Framing::Open {
            headers.insert(header::TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
        }
        if closes {
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
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
        (request, after): (&Bytes, After),
        (upload, fresh): (&mut Upload, bool),
    ) -> std::result::Result<(), Failed> {
        let Server { upstream, pool, turn, address, apart } = server;
        let (idle, bodies) = (pool.idle(turn.index), pool.bodies());
        let share = self.room_for_connection(ctx, upstream.timeouts.connect).await?;
        let resting = idle.filter(|_| !fresh && !turn.trial).and_then(|idle| idle.take(self.shared.clock.tick(), apart.as_ref(), bodies));
        let (mut connection, reused) = match resting {
            Some(connection) => (connection, true),
            None => {
                let descriptor = self.descriptor(ctx.snapshot.as_deref()).ok_or_else(room::no_descriptor)?;
                let connected = connect(address, pool.tls(), upstream.timeouts.connect, apart).await;
                (self.noted(pool, turn, connected)?.counted(descriptor), false)
            }
        };
        connection.belongs(share);
        let rest = (idle, bodies);
        let kept = self.attempt((session, ctx), (upstream.timeouts, rest), (connection, reused), (request, after), upload).await?;
        if let Some((idle, connection)) = idle.zip(kept) {
            idle.put(connection, self.shared.clock.tick(), bodies);
        }
        Ok(())
    }

    /// Notes whether a server could be reached.
    fn noted<T>(&self, pool: &Pool, turn: Turn, reached: std::result::Result<T, Failed>) -> std::result::Result<T, Failed> {
        match &reached {
            Ok(_) => pool.reached(turn.index),
            Err(failed) if failed.unreachable => pool.unreachable(turn, failed.why(), self.shared.clock.tick()),
            Err(_) => {}
        }
        reached
    }

    /// Asks one server. Returns the connection, if it can serve another exchange.
    async fn attempt(
        &self,
        (session, ctx): (&mut Session, &mut Context),
        (times, rest): (UpstreamTimeouts, (Option<&Idle>, &Bodies)),
        (mut connection, reused): (Connection, bool),
        (request, after): (&Bytes, After),
        upload: &mut Upload,
    ) -> std::result::Result<Option<Connection>, Failed> {
        // Only a kept connection that had died unseen, and a request that may be said twice (RFC 9110, section 9.2.2).
        let repeatable = reused && session.req_header().method.is_idempotent();
        if !repeatable {
            upload.let_go();
        }
        match timeout(times.between_bytes, connection.write_all(request)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return Err(Failed::new(ErrorType::WriteError, repeatable, error.to_string())),
            Err(_) => return Err(Failed::new(ErrorType::WriteTimedout, false, "the request was not taken".to_owned())),
        }
        let client = Client { gateway: self, session, ctx, upload, continued: false };
        let mut sides = Sides { client, connection, heard: false, early: 0, after, rest };
        if !sides.client.upload.has_come() {
            // An upload may go on for as long as an answer.
            self.sit_down(sides.client.ctx).map_err(Failed::last)?;
        }
        let mut interim = Interim::default();
        loop {
            // One that has said anything has not died unseen.
            let head = sides.head(times.first_byte, repeatable && interim.is_none()).await?;
            let status = head.response.status.as_u16();
            if status == 101 && sides.client.ctx.permit.as_ref().is_some_and(Permit::websocket) {
                return sides.tunnel(head.response, times.between_bytes).await.map(|()| None).map_err(Failed::last);
            }
            if (100..200).contains(&status) {
                interim.take(&head.response, sides.client.upload.has_come(), self.shared.clock.tick(), times.first_byte)?;
                sides.client.interim(head.response).await.map_err(Failed::last)?;
                continue;
            }
            return sides.answer(head, times.between_bytes).await.map_err(Failed::last);
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

async fn connect(
    address: &ServerAddress,
    tls: Option<&std::result::Result<ServerTls, OutboundError>>,
    within: Duration,
    apart: Option<TenantName>,
) -> std::result::Result<Connection, Failed> {
    let work = async {
        // Nothing was sent, so any method may go to the next server.
        let refused = |error: std::io::Error| Failed {
            unreachable: !is_our_own_lack(&error),
            ..Failed::new(ErrorType::ConnectError, true, error.to_string())
        };
        let connection = Connection::open(address, apart).await.map_err(refused)?;
        // But whoever is there is not who should be.
        match tls {
            None => Ok(connection),
            Some(Ok(tls)) => {
                connection.secure(tls).await.map_err(|error| Failed::unreachable(ErrorType::TLSHandshakeFailure, false, error.to_string()))
            }
            Some(Err(error)) => Err(Failed::new(ErrorType::TLSHandshakeFailure, false, told(error))),
        }
    };
    let late = |_| Failed::unreachable(ErrorType::ConnectTimedout, true, "no connection in time".to_owned());
    timeout(within, work).await.map_err(late)?
}

/// Says whether it was this machine that had no descriptor, port or memory for a connection: that says nothing about the server. Nor does a
/// Unix socket that others wait for at the moment.
fn is_our_own_lack(error: &std::io::Error) -> bool {
    use rustix::io::Errno;
    let lacks = [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM, Errno::ADDRNOTAVAIL, Errno::AGAIN];
    error.raw_os_error().is_some_and(|code| lacks.iter().any(|lack| lack.raw_os_error() == code))
}
