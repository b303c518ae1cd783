//! The answer of a server on its way to the client.

use std::time::Duration;

use bytes::Bytes;
use http::{Method, StatusCode, header};
use pingora::{Error, ErrorType, Result, http::ResponseHeader, protocols::http::HttpTask, proxy::Session};

use super::{
    Failed,
    body::Body,
    connection::Connection,
    head::{self, Head},
    sides::{Sides, over, unless_over},
};
use crate::{
    gateway::{answer, guard, proxy::Context, record, standing::ended, view},
    model::{Deny, HttpVersion, Reason},
};

/// How long a client that sends a request may pause before the end of its answer is said all the same. Longer than curl waits to be told to
/// go on: one second.
const PAUSE: Duration = Duration::from_millis(1250);

impl Sides<'_> {
    /// Reads the head of an answer, and watches whether the client stays.
    pub(super) async fn head(&mut self, within: Duration, repeatable: bool) -> std::result::Result<Head, Failed> {
        let mut from = 0;
        loop {
            match head::parse(self.connection.unread_mut(), from) {
                Ok(Some(head)) => return Ok(head),
                Ok(None) => from = self.connection.unread().len(),
                Err(why) => return Err(Failed::new(ErrorType::InvalidHTTPHeader, false, why.to_owned())),
            }
            if from > head::MAX_BYTES {
                return Err(Failed::new(ErrorType::InvalidHTTPHeader, false, "the head of the answer has over 64 KiB".to_owned()));
            }
            let read = self.more(within).await?;
            // What was taken of the client's body cannot be said again.
            let repeatable = repeatable && from == 0 && self.ctx.body_in == 0;
            match read {
                Ok(0) if from == 0 => {
                    return Err(Failed::new(ErrorType::ConnectionClosed, repeatable, "closed before the answer".to_owned()));
                }
                Ok(0) => return Err(Failed::new(ErrorType::ConnectionClosed, false, "closed within the head".to_owned())),
                Ok(_) => {}
                Err(error) => return Err(Failed::new(ErrorType::ReadError, repeatable, error.to_string())),
            }
        }
    }

    /// Hands an interim answer on.
    pub(super) async fn interim(&mut self, mut response: ResponseHeader) -> Result<()> {
        // Nobody asked for another protocol: a request that does goes another way from here.
        if response.status.as_u16() == 101 {
            self.ctx.deny = Some(Deny::new(Reason::UpstreamProtocol, "the upstream switched protocols without being asked"));
            return Error::e_explain(ErrorType::HTTPStatus(502), "bad upgrade");
        }
        // One who speaks HTTP/1.0 would take it for the answer.
        if view::version(self.session.req_header()) == HttpVersion::Http10 {
            return Ok(());
        }
        self.continued |= response.status == StatusCode::CONTINUE;
        self.dressed(&mut response)?;
        self.session.as_downstream_mut().write_response_header(Box::new(response)).await.map_err(|error| error.into_down())
    }

    /// Hands the answer on, as it comes. Returns the connection, if it can serve another exchange.
    pub(super) async fn answer(mut self, head: Head, between: Duration) -> Result<Option<Connection>> {
        let Head { mut response, keeps } = head;
        self.gateway.received(self.session, &response, self.ctx).await?;
        let without_body = self.session.req_header().method == Method::HEAD || matches!(response.status.as_u16(), 204 | 304);
        let mut body = match Body::of(&response, without_body) {
            Ok(body) => body,
            Err(why) => {
                self.ctx.deny = Some(Deny::new(Reason::UpstreamProtocol, why));
                return Error::e_explain(ErrorType::HTTPStatus(502), "ambiguous answer");
            }
        };
        // The end of the upstream's connection is not the end of the client's.
        if matches!(body, Body::UntilClosed) {
            response.insert_header(header::TRANSFER_ENCODING, "chunked")?;
        }
        self.dressed(&mut response)?;
        let status = response.status;
        let malformed = |why: &str| Error::explain(ErrorType::InvalidHTTPHeader, why.to_owned()).into_up();
        // Head and what has come of the body leave together.
        let first = body.next(self.connection.unread_mut()).map_err(malformed)?;
        let mut over = body.is_over();
        if !over {
            // Most answers are whole by now. This one may go on for ever.
            self.gateway.sit_down(self.ctx)?;
        }
        let mut tasks = match first {
            Some(data) => vec![HttpTask::Header(Box::new(response), false), HttpTask::Body(Some(data), over)],
            None => vec![HttpTask::Header(Box::new(response), over)],
        };
        loop {
            // Only the last of it: whatever is no end passes at once.
            let held = if over && self.holds_the_end(status) { tasks.pop() } else { None };
            let write = async { self.session.as_downstream_mut().response_duplex_vec(tasks).await.map(drop) };
            unless_over(self.ctx, write).await?;
            if over {
                self.ctx.answered = true;
                if !self.upload.is_done() {
                    self.drain(held).await?;
                    return Ok(None);
                }
                break;
            }
            let data = loop {
                match body.next(self.connection.unread_mut()).map_err(malformed)? {
                    Some(data) => break Some(data),
                    None if body.is_over() => break None,
                    None => {}
                }
                let read = self.more(between).await.map_err(|failed| failed.error)?;
                match read {
                    Ok(0) => body.closed().map_err(|why| Error::explain(ErrorType::ConnectionClosed, why).into_up())?,
                    Ok(_) => {}
                    Err(error) => return Err(Error::explain(ErrorType::ReadError, error.to_string()).into_up()),
                }
            };
            over = body.is_over();
            tasks = vec![HttpTask::Body(data, over)];
        }
        // Surplus octets would be read as the next answer.
        let Self { connection, .. } = self;
        Ok(Some(connection).filter(|connection| keeps && !matches!(body, Body::UntilClosed) && connection.unread().is_empty()))
    }

    /// Says whether the last piece of an answer waits for the end of its request.
    ///
    /// curl 7.88 reads nothing more over HTTP/2 once an answer is whole, not even that it may send more: with a large request, it would
    /// wait for ever. Where the answer is no success it stops sending by itself.
    fn holds_the_end(&self, status: StatusCode) -> bool {
        self.session.is_http2() && !self.upload.has_come() && status.is_success()
    }

    /// Takes in what the client still sends of a request whose answer has come, all but a last piece that is `held` until then.
    ///
    /// There are clients that read only when they have sent all. What comes has the bounds that it would have had on its way to the
    /// app: `body_bytes`, and `body_min_rate`.
    async fn drain(self, mut held: Option<HttpTask>) -> Result<()> {
        let Self { gateway, session, ctx, upload, connection, continued } = self;
        // The server has said what it had to say.
        drop(connection);
        upload.refuse();
        // Who asked whether it may send, and was answered instead, sends nothing (RFC 9110, section 10.1.1). Over HTTP/2 the library hands no
        // interim answer on, so whoever asked there sends after a moment.
        let asked = !session.is_http2() && session.req_header().headers.contains_key(header::EXPECT);
        let nothing_comes = asked && !continued && ctx.body_in == 0;
        let mut outcome = Ok(());
        while !upload.has_come() && !nothing_comes && outcome.is_ok() {
            tokio::select! {
                biased;
                deny = over(ctx.seat.as_ref()) => return Err(ended(ctx, deny)),
                piece = session.as_downstream_mut().read_body_or_idle(false) => {
                    // That the rest of its body does not come is no failure: the client has its answer.
                    let Ok(piece) = piece else { break };
                    let end = piece.is_none() || session.as_downstream_mut().is_body_done();
                    outcome = gateway.body_comes(ctx, session.is_http2(), piece.as_ref().map_or(0, Bytes::len), end);
                    upload.put(None, end);
                }
                // It may be waiting for us.
                () = tokio::time::sleep(PAUSE), if held.is_some() => last(session, ctx, held.take()).await?,
            }
        }
        last(session, ctx, held).await?;
        // Too much, or too slowly: the client has its answer, and its connection or stream is closed in order.
        if let (Err(_), Some(deny)) = (outcome, ctx.deny.take()) {
            record::failed(ctx, deny);
        }
        Ok(())
    }

    /// Makes the head of an answer fit to leave.
    pub(super) fn dressed(&mut self, response: &mut ResponseHeader) -> Result<()> {
        guard::done(|| answer::dress(&self.gateway.shared, self.session, response, self.ctx)).unwrap_or_else(|deny| {
            self.ctx.deny = Some(deny);
            Error::e_explain(ErrorType::HTTPStatus(500), "panic")
        })
    }
}

/// Writes what was held back.
async fn last(session: &mut Session, ctx: &mut Context, held: Option<HttpTask>) -> Result<()> {
    let Some(held) = held else { return Ok(()) };
    unless_over(ctx, async { session.as_downstream_mut().response_duplex_vec(vec![held]).await.map(drop) }).await
}
