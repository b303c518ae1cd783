//! The answer of a server on its way to the client.

use std::time::Duration;

use http::{Method, header};
use pingora::{Error, ErrorType, Result, http::ResponseHeader, protocols::http::HttpTask};

use super::{
    Failed,
    body::Body,
    connection::Connection,
    head::{self, Head},
    sides::{Sides, over, unless_over},
};
use crate::{
    gateway::{answer, guard, standing::ended},
    model::{Deny, Reason},
};

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
        let malformed = |why: &str| Error::explain(ErrorType::InvalidHTTPHeader, why.to_owned()).into_up();
        // Head and what has come of the body leave together.
        let first = body.next(self.connection.unread_mut()).map_err(malformed)?;
        let mut over = body.is_over();
        if !over {
            // Most answers are whole by now. This one may go on for ever.
            self.gateway.sit_down(self.ctx)?;
        }
        let header = HttpTask::Header(Box::new(response), over && first.is_none());
        let tasks = match first {
            Some(data) => vec![header, HttpTask::Body(Some(data), over)],
            None => vec![header],
        };
        let write = async { self.session.as_downstream_mut().response_duplex_vec(tasks).await.map(drop) };
        unless_over(self.ctx, write).await?;
        while !over {
            let data = match body.next(self.connection.unread_mut()).map_err(malformed)? {
                Some(data) => Some(data),
                None if body.is_over() => None,
                None => {
                    let read = self.more(between).await.map_err(|failed| failed.error)?;
                    match read {
                        Ok(0) => body.closed().map_err(|why| Error::explain(ErrorType::ConnectionClosed, why).into_up())?,
                        Ok(_) => {}
                        Err(error) => return Err(Error::explain(ErrorType::ReadError, error.to_string()).into_up()),
                    }
                    continue;
                }
            };
            over = body.is_over();
            let write = self.session.as_downstream_mut().write_response_body(data.unwrap_or_default(), over);
            unless_over(self.ctx, write).await?;
        }
        self.ctx.answered = true;
        if !self.upload.is_done() {
            self.drain().await?;
            return Ok(None);
        }
        // Surplus octets would be read as the next answer.
        let Self { connection, .. } = self;
        Ok(Some(connection).filter(|connection| keeps && !matches!(body, Body::UntilClosed) && connection.unread().is_empty()))
    }

    /// Takes in what the client still sends of a request that has its answer.
    ///
    /// Clients that read only when they have sent all would wait for ever: curl 7.88 over HTTP/2 does not take a reset for the end. What
    /// comes has the bounds that it would have had on its way to the app: `body_bytes`, and `body_min_rate`.
    async fn drain(self) -> Result<()> {
        let Self { gateway, session, ctx, upload, connection } = self;
        // The server has said what it had to say.
        drop(connection);
        // Who asked whether it may send, and was answered instead, sends nothing (RFC 9110, section 10.1.1).
        if ctx.body_in == 0 && session.req_header().headers.contains_key(header::EXPECT) {
            return Ok(());
        }
        while !upload.has_come() {
            let piece = tokio::select! {
                biased;
                deny = over(ctx.seat.as_ref()) => return Err(ended(ctx, deny)),
                piece = session.as_downstream_mut().read_body_or_idle(false) => piece,
            };
            // That the rest of its body does not come is no failure: the client has its answer.
            let Ok(piece) = piece else { return Ok(()) };
            let end = piece.is_none() || session.as_downstream_mut().is_body_done();
            gateway.body_comes(ctx, session.is_http2(), piece.as_ref().map_or(0, bytes::Bytes::len), end)?;
            upload.refuse();
            upload.put(None, end);
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
