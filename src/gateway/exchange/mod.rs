//! The short way to the app: a plain HTTP/1.1 exchange of our own, for requests without a body.
//!
//! pingora's way to an upstream costs more than all of the gateway's checks: a task per idle connection, two channels and two maps of
//! names per exchange (`floor.md`). Most requests need none of it. What is unusual goes pingora's way: a request with a body, an
//! upgrade, `Expect`, a nominated field, an upstream over TLS or with isolated connections.
//!
//! Both ways share the rules: [`forward`] for what leaves, [`Gateway::received`] and [`answer`] for what comes back. What is ours here
//! is the framing (RFC 9112) and the connection: one exchange at a time, kept only after an answer whose end is known and behind
//! which nothing came.

mod body;
mod connection;
pub mod fuzz;
mod head;
mod idle;

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, header};
use pingora::{Error, ErrorType, Result, http::ResponseHeader, protocols::http::HttpTask, proxy::Session};
use tokio::time::timeout;

pub(super) use self::idle::Idle;
use self::{body::Body, connection::Connection, head::Head};
use super::{
    answer, forward, guard,
    proxy::{Context, Exchange, Gateway},
    view,
};
use crate::{
    model::{Deny, HttpVersion, Reason},
    pipeline::Permit,
    policy::{ServerAddress, Upstream},
};

/// How many interim answers (1xx) an upstream may send before the answer.
const INTERIM: usize = 16;

/// Says whether a permitted request takes the short way.
pub(super) fn fits(session: &mut Session, permit: &Permit) -> bool {
    let upstream = &permit.tenant().upstream;
    let usual = upstream.fast_path && upstream.tls.is_none() && !upstream.isolate && !permit.websocket();
    // Both questions: HTTP/2 calls a body empty whose length says so, and DATA may still come.
    usual
        && session.is_body_empty()
        && session.as_downstream_mut().is_body_done()
        && view::version(session.req_header()) != HttpVersion::Http10
        && has_no_demands(session)
}

/// Says whether no field of the request asks for more than to be forwarded.
fn has_no_demands(session: &Session) -> bool {
    let headers = &session.req_header().headers;
    let plain = |value: &HeaderValue| [&b"keep-alive"[..], b"close"].iter().any(|word| value.as_bytes().eq_ignore_ascii_case(word));
    let none_of = [header::EXPECT, header::UPGRADE, header::TRANSFER_ENCODING];
    none_of.iter().all(|name| !headers.contains_key(name))
        && headers.get_all(header::CONNECTION).iter().all(plain)
        && headers.get_all(header::CONTENT_LENGTH).iter().all(|length| length.as_bytes() == b"0")
}

/// Fields that belong to one connection (RFC 9110, section 7.6.1).
const HOP_BY_HOP: [HeaderName; 8] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRAILER,
    HeaderName::from_static("http2-settings"),
];

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

impl Gateway {
    /// Asks the app and hands its answer on. Errors are those that pingora's way would give.
    pub(super) async fn exchange(&self, session: &mut Session, ctx: &mut Context) -> Result<()> {
        let Some((snapshot, upstream)) = ctx.snapshot.clone().zip(ctx.permit.as_ref().map(|permit| Arc::clone(&permit.tenant().upstream)))
        else {
            return Error::e_explain(ErrorType::InternalError, "no permit, no server");
        };
        let Some(pool) = snapshot.pool(&upstream.name) else { return Error::e_explain(ErrorType::InternalError, "no pool") };
        let request = self.request(session, ctx)?;
        // A connection that died at rest is followed by a new one: its neighbours died of the same.
        let mut fresh = false;
        loop {
            let failed = ctx.upstream.as_ref().map(|exchange| exchange.index);
            let Some(index) = pool.turn(failed) else { return Error::e_explain(ErrorType::InternalError, "no server") };
            let Some(server) = upstream.servers.get(index) else { return Error::e_explain(ErrorType::InternalError, "no server") };
            let now = self.shared.clock.tick();
            let tries = failed.map_or(0, |_| ctx.upstream.as_ref().map_or(0, |exchange| exchange.tries)) + 1;
            ctx.upstream = Some(Exchange { server: pool.server_name(index), index, tries, began: now, first_byte: None, status: None });
            let idle = pool.idle(index);
            let resting = idle.filter(|_| !fresh).and_then(|idle| idle.take(now));
            let outcome = self.attempt(session, ctx, &upstream, &server.address, resting, &request).await;
            match outcome {
                Ok(Some(connection)) => {
                    if let Some(idle) = idle {
                        idle.put(connection, self.shared.clock.tick());
                    }
                    return Ok(());
                }
                Ok(None) => return Ok(()),
                Err(Failed { error, repeatable }) => {
                    if !(repeatable && ctx.deny.is_none() && session.response_written().is_none() && self.may_retry(ctx)) {
                        let server = pool.server_name(index);
                        return Err(error.more_context(format!("server {server}")));
                    }
                    fresh = true;
                }
            }
        }
    }

    /// Writes the request's head as it leaves.
    fn request(&self, session: &Session, ctx: &mut Context) -> Result<Bytes> {
        let request = session.req_header();
        let mut headers = request.headers.clone();
        for name in &HOP_BY_HOP {
            headers.remove(name);
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

    /// Asks one server. Returns the connection, if it can serve another exchange.
    async fn attempt(
        &self,
        session: &mut Session,
        ctx: &mut Context,
        upstream: &Upstream,
        address: &ServerAddress,
        resting: Option<Connection>,
        request: &Bytes,
    ) -> std::result::Result<Option<Connection>, Failed> {
        let times = upstream.timeouts;
        let reused = resting.is_some();
        let mut connection = match resting {
            Some(connection) => connection,
            None => connect(address, times.connect).await?,
        };
        // Only a kept connection that had died unseen, and a request that may be said twice (RFC 9110, section 9.2.2).
        let repeatable = reused && session.req_header().method.is_idempotent();
        match timeout(times.between_bytes, connection.write_all(request)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return Err(Failed::new(ErrorType::WriteError, repeatable, error.to_string())),
            Err(_) => return Err(Failed::new(ErrorType::WriteTimedout, false, "the request was not taken".to_owned())),
        }
        for _ in 0..=INTERIM {
            let head = self.head(session, &mut connection, times.first_byte, repeatable).await?;
            let status = head.response.status.as_u16();
            if (100..200).contains(&status) {
                self.interim(session, ctx, head.response).await.map_err(Failed::last)?;
                continue;
            }
            return self.answer(session, ctx, connection, head, times.between_bytes).await.map_err(Failed::last);
        }
        Err(Failed::new(ErrorType::InvalidHTTPHeader, false, "too many interim answers".to_owned()))
    }

    /// Reads the head of an answer, and watches whether the client stays.
    async fn head(
        &self,
        session: &mut Session,
        connection: &mut Connection,
        within: Duration,
        repeatable: bool,
    ) -> std::result::Result<Head, Failed> {
        let mut from = 0;
        loop {
            match head::parse(connection.unread_mut(), from) {
                Ok(Some(head)) => return Ok(head),
                Ok(None) => from = connection.unread().len(),
                Err(why) => return Err(Failed::new(ErrorType::InvalidHTTPHeader, false, why.to_owned())),
            }
            if from > head::MAX_BYTES {
                return Err(Failed::new(ErrorType::InvalidHTTPHeader, false, "the head of the answer has over 64 KiB".to_owned()));
            }
            let repeatable = repeatable && from == 0;
            match self.more(session, connection, within).await? {
                Ok(0) if from == 0 => {
                    return Err(Failed::new(ErrorType::ConnectionClosed, repeatable, "closed before the answer".to_owned()));
                }
                Ok(0) => return Err(Failed::new(ErrorType::ConnectionClosed, false, "closed within the head".to_owned())),
                Ok(_) => {}
                Err(error) => return Err(Failed::new(ErrorType::ReadError, repeatable, error.to_string())),
            }
        }
    }

    /// Reads more from the upstream, unless the client leaves first or time runs out.
    async fn more(
        &self,
        session: &mut Session,
        connection: &mut Connection,
        within: Duration,
    ) -> std::result::Result<std::io::Result<usize>, Failed> {
        tokio::select! {
            biased;
            read = timeout(within, connection.read_more()) => match read {
                Ok(read) => Ok(read),
                Err(_) => Err(Failed::new(ErrorType::ReadTimedout, false, "nothing came in time".to_owned())),
            },
            left = session.as_downstream_mut().read_body_or_idle(true) => Err(Failed::last(match left {
                Err(error) => error.into_down(),
                Ok(_) => Error::explain(ErrorType::ConnectionClosed, "the client sent more than its request").into_down(),
            })),
        }
    }

    /// Hands an interim answer on.
    async fn interim(&self, session: &mut Session, ctx: &mut Context, mut response: ResponseHeader) -> Result<()> {
        // Nobody asked for another protocol: this request had no such field.
        if response.status.as_u16() == 101 {
            ctx.deny = Some(Deny::new(Reason::UpstreamProtocol, "the upstream switched protocols without being asked"));
            return Error::e_explain(ErrorType::HTTPStatus(502), "bad upgrade");
        }
        self.dressed(session, &mut response, ctx)?;
        session.as_downstream_mut().write_response_header(Box::new(response)).await.map_err(|error| error.into_down())
    }

    /// Hands the answer on, as it comes. Returns the connection, if it can serve another exchange.
    async fn answer(
        &self,
        session: &mut Session,
        ctx: &mut Context,
        mut connection: Connection,
        head: Head,
        between: Duration,
    ) -> Result<Option<Connection>> {
        let Head { mut response, keeps } = head;
        self.received(session, &response, ctx).await?;
        let without_body = session.req_header().method == Method::HEAD || matches!(response.status.as_u16(), 204 | 304);
        let mut body = match Body::of(&response, without_body) {
            Ok(body) => body,
            Err(why) => {
                ctx.deny = Some(Deny::new(Reason::UpstreamProtocol, why));
                return Error::e_explain(ErrorType::HTTPStatus(502), "ambiguous answer");
            }
        };
        // The end of the upstream's connection is not the end of the client's.
        if matches!(body, Body::UntilClosed) {
            response.insert_header(header::TRANSFER_ENCODING, "chunked")?;
        }
        self.dressed(session, &mut response, ctx)?;
        let malformed = |why: &str| Error::explain(ErrorType::InvalidHTTPHeader, why.to_owned()).into_up();
        // Head and what has come of the body leave together.
        let first = body.next(connection.unread_mut()).map_err(malformed)?;
        let mut ended = body.is_over();
        let header = HttpTask::Header(Box::new(response), ended && first.is_none());
        let tasks = match first {
            Some(data) => vec![header, HttpTask::Body(Some(data), ended)],
            None => vec![header],
        };
        session.as_downstream_mut().response_duplex_vec(tasks).await.map_err(|error| error.into_down())?;
        while !ended {
            let data = match body.next(connection.unread_mut()).map_err(malformed)? {
                Some(data) => Some(data),
                None if body.is_over() => None,
                None => {
                    let read = self.more(session, &mut connection, between).await.map_err(|failed| failed.error)?;
                    match read {
                        Ok(0) => body.closed().map_err(|why| Error::explain(ErrorType::ConnectionClosed, why).into_up())?,
                        Ok(_) => {}
                        Err(error) => return Err(Error::explain(ErrorType::ReadError, error.to_string()).into_up()),
                    }
                    continue;
                }
            };
            ended = body.is_over();
            session.as_downstream_mut().write_response_body(data.unwrap_or_default(), ended).await.map_err(|error| error.into_down())?;
        }
        // Surplus octets would be read as the next answer.
        Ok(Some(connection).filter(|connection| keeps && !matches!(body, Body::UntilClosed) && connection.unread().is_empty()))
    }

    fn dressed(&self, session: &mut Session, response: &mut ResponseHeader, ctx: &mut Context) -> Result<()> {
        guard::done(|| answer::dress(&self.shared, session, response, ctx)).unwrap_or_else(|deny| {
            ctx.deny = Some(deny);
            Error::e_explain(ErrorType::HTTPStatus(500), "panic")
        })
    }
}

async fn connect(address: &ServerAddress, within: Duration) -> std::result::Result<Connection, Failed> {
    match timeout(within, Connection::open(address)).await {
        Ok(Ok(connection)) => Ok(connection),
        // Nothing was sent, so any method may go to the next server.
        Ok(Err(error)) => Err(Failed::new(ErrorType::ConnectError, true, error.to_string())),
        Err(_) => Err(Failed::new(ErrorType::ConnectTimedout, true, "no connection in time".to_owned())),
    }
}
