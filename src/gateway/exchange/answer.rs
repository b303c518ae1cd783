//! The answer of a server on its way to the client.

use std::{pin::pin, time::Duration};

use bytes::Bytes;
use futures_util::FutureExt;
use http::{Method, header};
use pingora::{Error, ErrorType, Result, protocols::http::HttpTask};

use super::{
    ahead::Ahead,
    body::{self, Body},
    connection::{Connection, IoEvent},
    failed::Failed,
    head::{self, Head},
    idle::Idle,
    sides::{After, Sides},
    unread::{self, Bodies},
};
use crate::{
    gateway::standing::{Handle, Seat},
    model::{Deny, Reason, Tick},
};

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
                    let more = body::is_304_with_a_length(&head.response) && self.rest.1.may_say_more();
                    if early || more || body::is_announced_in_vain(&head.response) || (!head.keeps && self.after == After::Kept) {
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

    /// Hands the answer on, as it comes. Says whether the connection can serve another exchange.
    pub(super) async fn answer(mut self, head: Head, between: Duration) -> Result<bool> {
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
            Some(data) => vec![HttpTask::Header(response, false), HttpTask::Body(Some(data), over)],
            None => vec![HttpTask::Header(response, over)],
        };
        let mut ahead = Ahead::new(self.client.gateway, self.client.ctx);
        loop {
            // Only the last of it: whatever is no end passes at once.
            let held = if over && self.client.holds_the_end(status) { tasks.pop() } else { None };
            self.write(tasks, &mut body, &mut ahead, without_body).await?;
            if over {
                self.client.ctx.answered = true;
                notice(self.connection, self.client.ctx.body_in, self.rest.1, without_body);
                if !self.client.upload.is_done() {
                    let Self { client, connection, .. } = self;
                    // The server has said what it had to say.
                    drop(connection.leave());
                    // Boxed: it is seldom.
                    Box::pin(client.drain(held)).await?;
                    return Ok(false);
                }
                break;
            }
            let kept = ahead.pop().transpose()?;
            let data = loop {
                if kept.is_some() || body.is_over() {
                    break kept;
                }
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
            over = body.is_over() && ahead.is_empty();
            tasks = vec![HttpTask::Body(data, over)];
        }
        let open = !matches!(body, Body::Closed | Body::UntilClosed);
        let Self { connection, after, rest: (idle, bodies), client, .. } = self;
        if open && after == After::Told && !connection.has_left() {
            ends(idle, connection.leave(), bodies, client.gateway.shared.clock.tick());
            return Ok(false);
        }
        // Surplus octets would be read as the next answer.
        Ok(open && after == After::Kept && !connection.has_left() && connection.unread().is_empty())
    }

    /// Writes a part of the answer. While that waits for the client, the rest is read, as far as it may be kept; a server that has said
    /// all is free, and its connection rests where it may.
    async fn write(&mut self, tasks: Vec<HttpTask>, body: &mut Body, ahead: &mut Ahead<Result<Bytes>>, without_body: bool) -> Result<()> {
        let Self { client, connection, after, rest: (idle, bodies), .. } = self;
        let gateway = client.gateway;
        let (done, body_in) = (client.upload.is_done(), client.ctx.body_in);
        let seat = client.ctx.seat.as_ref().map(Seat::handle);
        let mut write = pin!(client.write(tasks));
        if let Some(written) = (&mut write).now_or_never() {
            return written;
        }
        loop {
            // What has come by now.
            loop {
                match body.next(connection.unread_mut()) {
                    Ok(Some(piece)) if ahead.may_read(gateway, body.left()) => {
                        let bytes = piece.len();
                        ahead.push(Ok(piece), bytes);
                    }
                    Ok(Some(piece)) => {
                        // It is in memory already.
                        let bytes = piece.len();
                        ahead.push(Ok(piece), bytes);
                        break;
                    }
                    Ok(None) => break,
                    Err(why) => {
                        ahead.push(Err(Error::explain(ErrorType::InvalidHTTPHeader, why.to_owned()).into_up()), 0);
                        ahead.ends();
                        break;
                    }
                }
            }
            if body.is_over() && !connection.has_left() {
                ahead.ends();
                notice(connection, body_in, bodies, without_body);
                let left = connection.leave();
                seat.iter().for_each(Handle::holds_nothing);
                let now = gateway.shared.clock.tick();
                match after {
                    // Surplus octets would be read as the next answer.
                    After::Kept if done && !matches!(body, Body::Closed) && left.unread().is_empty() => {
                        if let Some(idle) = idle {
                            idle.put(left, now, bodies);
                        }
                    }
                    After::Told if done && !matches!(body, Body::Closed) => ends(*idle, left, bodies, now),
                    After::Kept | After::Told | After::Closed => {}
                }
            }
            let read = tokio::select! {
                biased;
                written = &mut write => return written,
                turn = connection.next_event(&[], false), if !body.is_over() && ahead.may_read(gateway, body.left()) => turn,
            };
            let failed = match read {
                IoEvent::Read(Ok(0)) => {
                    let closed = body.closed().map_err(|why| Error::explain(ErrorType::ConnectionClosed, why).into_up());
                    closed.err()
                }
                IoEvent::Read(Ok(_)) | IoEvent::Wrote(Ok(_)) => None,
                IoEvent::Read(Err(error)) | IoEvent::Wrote(Err(error)) => {
                    Some(Error::explain(ErrorType::ReadError, error.to_string()).into_up())
                }
            };
            if let Some(error) = failed {
                ahead.push(Err(error), 0);
                ahead.ends();
            }
        }
    }
}

/// Has a connection wait for its server to close it, as that was told to.
fn ends(idle: Option<&Idle>, connection: Connection, bodies: &Bodies, now: Tick) {
    if let Some(idle) = idle {
        idle.await_close(connection, now, bodies);
    }
}

/// Notes what has come behind an answer where a body may have been taken for a request.
fn notice(connection: &mut Connection, body_in: u64, bodies: &Bodies, without_body: bool) {
    if body_in > 0 {
        connection.carries();
    }
    connection.answered(without_body);
    if connection.has_carried() && unread::is_another_answer(connection.unread(), without_body) {
        bodies.found_unread();
    }
}
