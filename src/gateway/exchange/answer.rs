//! The answer of a server on its way to the client.

use std::time::Duration;

use http::{Method, header};
use pingora::{Error, ErrorType, Result, protocols::http::HttpTask};

use super::{
    Failed,
    body::{self, Body},
    connection::Connection,
    head::{self, Head},
    sides::{After, Sides},
    unread::{self, Bodies},
};
use crate::model::{Deny, Reason};

impl Sides<'_> {
    /// Reads the head of an answer, and watches whether the client stays.
    pub(super) async fn head(&mut self, within: Duration, repeatable: bool) -> std::result::Result<Head, Failed> {
        let mut from = 0;
        loop {
            let there = self.connection.unread().len();
            match head::parse(self.connection.unread_mut(), from) {
                Ok(Some(head)) => {
                    let taken = there - self.connection.unread().len();
                    // Its first octets came before the request was whole. An interim answer may.
                    let early = self.early > 0 && !head.response.status.is_informational();
                    self.early = self.early.saturating_sub(taken);
                    if early || !head.keeps || body::is_announced_in_vain(&head.response) {
                        self.after = After::Closed;
                    }
                    return Ok(head);
                }
                Ok(None) => from = self.connection.unread().len(),
                Err(why) => return Err(Failed::new(ErrorType::InvalidHTTPHeader, false, why.to_owned())),
            }
            if from > head::MAX_BYTES {
                return Err(Failed::new(ErrorType::InvalidHTTPHeader, false, "the head of the answer has over 64 KiB".to_owned()));
            }
            let read = self.more(within).await?;
            // One that has said anything has not died unseen.
            let repeatable = repeatable && from == 0;
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

    /// Hands the answer on, as it comes. Returns the connection, if it can serve another exchange.
    pub(super) async fn answer(mut self, head: Head, between: Duration, bodies: &Bodies) -> Result<Option<Connection>> {
        let mut response = head.response;
        self.client.upload.let_go();
        body::without_framing(&mut response)?;
        self.client.gateway.received(self.client.session, &response, self.client.ctx).await?;
        let without_body = self.client.session.req_header().method == Method::HEAD || body::has_none(response.status);
        let mut body = match Body::of(&response, without_body) {
            Ok(body) => body,
            Err(why) => {
                self.client.ctx.deny = Some(Deny::new(Reason::UpstreamProtocol, why));
                return Error::e_explain(ErrorType::HTTPStatus(502), "ambiguous answer");
            }
        };
        // The end of the upstream's connection is not the end of the client's.
        if matches!(body, Body::UntilClosed) {
            response.insert_header(header::TRANSFER_ENCODING, "chunked")?;
        } else if without_body {
            // It says how another answer would have been framed (RFC 9112, section 6.1).
            response.remove_header(&header::TRANSFER_ENCODING);
        }
        self.client.dressed(&mut response)?;
        let status = response.status;
        let malformed = |why: &str| Error::explain(ErrorType::InvalidHTTPHeader, why.to_owned()).into_up();
        // Head and what has come of the body leave together.
        let first = body.next(self.connection.unread_mut()).map_err(malformed)?;
        let mut over = body.is_over();
        if !over {
            // Most answers are whole by now. This one may go on for ever.
            self.client.gateway.sit_down(self.client.ctx)?;
        }
        let mut tasks = match first {
            Some(data) => vec![HttpTask::Header(Box::new(response), false), HttpTask::Body(Some(data), over)],
            None => vec![HttpTask::Header(Box::new(response), over)],
        };
        loop {
            // Only the last of it: whatever is no end passes at once.
            let held = if over && self.client.holds_the_end(status) { tasks.pop() } else { None };
            self.client.write(tasks).await?;
            if over {
                self.client.ctx.answered = true;
                self.notice(bodies, without_body);
                if !self.client.upload.is_done() {
                    let Self { client, connection, .. } = self;
                    // The server has said what it had to say.
                    drop(connection);
                    client.drain(held).await?;
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
        let keeps = self.after == After::Kept && !matches!(body, Body::Closed | Body::UntilClosed);
        // Surplus octets would be read as the next answer.
        let Self { connection, .. } = self;
        Ok(Some(connection).filter(|connection| keeps && connection.unread().is_empty()))
    }

    /// Notes what has come behind an answer where a body may have been taken for a request.
    fn notice(&mut self, bodies: &Bodies, without_body: bool) {
        if self.client.ctx.body_in > 0 {
            self.connection.carries();
        }
        if self.connection.has_carried() && unread::is_another_answer(self.connection.unread(), without_body) {
            bodies.found_unread();
        }
    }
}
