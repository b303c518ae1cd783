//! An exchange under way: the client on one side, a server that speaks HTTP/2 on the other.

use std::{future::poll_fn, pin::pin, time::Duration};

use bytes::Bytes;
use futures_util::FutureExt;
use http::{HeaderMap, Method, header};
use pingora::{Error, ErrorType, Result, http::ResponseHeader, protocols::http::HttpTask};
use tokio::time::timeout;

use super::{
    failure,
    stream::{Came, Stream},
};
use crate::{
    gateway::{
        exchange::{
            ahead::Ahead,
            body,
            client::{Client, over},
            failed::Failed,
            sides::surplus,
        },
        grpc, record,
        standing::{Handle, Seat, ended},
        trailers,
    },
    model::{Deny, Reason},
    policy::UpstreamTimeouts,
};

/// The most fields of an answer, as over HTTP/1.1.
const MAX_FIELDS: usize = 256;

/// Both sides of an exchange.
pub(super) struct Sides<'a> {
    pub(super) client: Client<'a>,
    pub(super) stream: Stream,
    pub(super) times: UpstreamTimeouts,
    /// How long a call may be silent.
    pub(super) silence: Duration,
    /// Whether the head of the answer has come.
    pub(super) answering: bool,
}

/// What happened first.
enum Event {
    Ended(Deny),
    Sent,
    Server(std::result::Result<Came, h2::Error>),
    Late,
    Client(Result<Option<Bytes>>),
}

impl Sides<'_> {
    /// Waits for what the server says next, and hands on meanwhile what the client still sends. Ends with the client, with the time, and
    /// with the session.
    pub(super) async fn next(&mut self) -> std::result::Result<Came, Failed> {
        loop {
            let came = self.client.upload.has_come();
            match self.event(came).await {
                Event::Sent => {}
                Event::Server(said) => return said.map_err(failure::of_stream),
                Event::Late => return Err(self.late()),
                Event::Ended(deny) => return Err(Failed::last(ended(self.client.ctx, deny))),
                Event::Client(Err(error)) => return Err(Failed::last(error.into_down())),
                Event::Client(Ok(_)) if came => return Err(Failed::last(surplus())),
                Event::Client(Ok(piece)) => self.client.take(piece).map_err(Failed::last)?,
            }
        }
    }

    /// How long nothing may happen now, and whether that is the silence of a call.
    ///
    /// While it is the server's turn, its time runs; and the client's, while it is the client's. A call is both sides' turn as soon as
    /// either may speak.
    fn patience(&self) -> (Duration, bool) {
        let clients = self.client.upload.waits_for_client();
        if self.client.ctx.call && (self.answering || clients) {
            return (self.silence, true);
        }
        let limit = match (clients, self.answering) {
            (true, _) => self.client.patience(),
            (false, false) => self.times.first_byte,
            (false, true) => self.times.between_bytes,
        };
        (limit, false)
    }

    /// Says what it means that nothing happened for so long.
    fn late(&mut self) -> Failed {
        if self.patience().1 {
            let deny = Deny::new(Reason::StreamIdle, format!("no side of the call said anything within {} ms", self.silence.as_millis()));
            self.client.ctx.deny = Some(deny);
            return Failed::last(Error::explain(ErrorType::HTTPStatus(504), "silent call"));
        }
        if self.client.upload.waits_for_client() {
            return Failed::last(self.client.too_slow());
        }
        // It may be the app that is slow, or a connection that leads nowhere any more: others shall not find out one by one.
        self.stream.retire();
        match self.client.upload.pending().is_empty() {
            true => Failed::new(ErrorType::ReadTimedout, false, "nothing came in time".to_owned()),
            false => Failed::new(ErrorType::WriteTimedout, false, "the request was not taken".to_owned()),
        }
    }

    async fn event(&mut self, came: bool) -> Event {
        let waiting = self.client.waits();
        let (limit, _) = self.patience();
        let Self { client: Client { session, ctx, upload, .. }, stream, .. } = self;
        let takes_more = came || upload.pending().is_empty();
        let event = {
            let ended = over(ctx.seat.as_ref());
            let server = poll_fn(|cx| {
                if stream.poll_send(cx, upload).is_ready() {
                    return std::task::Poll::Ready(Event::Sent);
                }
                stream.poll_came(cx).map(Event::Server)
            });
            let server = timeout(limit, server);
            let client = session.as_downstream_mut().read_body_or_idle(came);
            // Each side waits for the other in turn: a server that never pauses must not keep the rest of the request back.
            if came {
                tokio::select! {
                    biased;
                    deny = ended => Event::Ended(deny),
                    said = server => said.unwrap_or(Event::Late),
                    piece = client => Event::Client(piece),
                }
            } else {
                tokio::select! {
                    biased;
                    deny = ended => Event::Ended(deny),
                    piece = client, if takes_more => Event::Client(piece),
                    said = server => said.unwrap_or(Event::Late),
                }
            }
        };
        self.client.waited(waiting);
        event
    }

    /// Hands the answer on, as it comes.
    pub(super) async fn answer(mut self, mut response: Box<ResponseHeader>, mut over: bool) -> Result<()> {
        self.answering = true;
        self.client.upload.let_go();
        if response.headers.len() > MAX_FIELDS {
            return Err(self.malformed("the answer has over 256 fields"));
        }
        body::without_framing(&mut response)?;
        self.client.gateway.received(self.client.session, &response, self.client.ctx).await?;
        let head_only = self.client.session.req_header().method == Method::HEAD;
        let without_body = head_only || body::has_none(response.status);
        if !self.client.session.is_http2() && !without_body && !response.headers.contains_key(header::CONTENT_LENGTH) {
            // HTTP/1.1 clients find its end by what HTTP/2 has frames for (RFC 9113, section 8.2.2).
            match over {
                true => response.insert_header(header::CONTENT_LENGTH, "0")?,
                false => response.insert_header(header::TRANSFER_ENCODING, "chunked")?,
            }
        }
        over |= without_body;
        // What ends a call can be said in its own words: behind a head that says that it is one.
        let speaks = self.client.ctx.call && grpc::is_grpc(&response.headers) && self.client.session.is_http2();
        self.client.dressed(&mut response)?;
        let status = response.status;
        if !over {
            self.client.gateway.sit_down(self.client.ctx)?;
        }
        let mut tasks = vec![HttpTask::Header(response, over)];
        let mut ahead = Ahead::new(self.client.gateway, self.client.ctx);
        // Of what was read ahead the server was told already.
        let mut told = false;
        loop {
            let holds = over && !self.client.ctx.call && self.client.holds_the_end(status);
            let held = if holds { tasks.pop() } else { None };
            let bytes = tasks.iter().map(|task| if let HttpTask::Body(Some(data), _) = task { data.len() } else { 0 }).sum();
            if !tasks.is_empty() {
                self.write(tasks, &mut ahead).await?;
                if !told {
                    self.stream.taken(bytes);
                }
            }
            if over {
                self.client.ctx.answered = true;
                return self.end(held).await;
            }
            let kept = ahead.pop();
            told = kept.is_some();
            let came = match kept {
                Some(came) => came.map_err(failure::of_stream),
                None => self.next().await,
            };
            let came = match came {
                Ok(came) => came,
                Err(failed) if speaks => return Box::pin(self.farewell(failed)).await,
                Err(failed) => return Err(failed.error),
            };
            (tasks, over) = match came {
                Came::Data(data, last) if data.is_empty() => (Vec::new(), last),
                Came::Data(data, last) => (vec![HttpTask::Body(Some(data), last)], last),
                Came::End(None) => (Vec::new(), true),
                Came::End(Some(trailers)) => (vec![HttpTask::Trailer(Some(Box::new(self.trailers(trailers)?)))], true),
                Came::Interim(_) | Came::Head(..) => return Err(self.malformed("a second head")),
            };
            if over && tasks.is_empty() {
                tasks.push(HttpTask::Body(None, true));
            }
        }
    }

    /// Writes a part of the answer. While that waits for the client, the rest is taken in, as far as it may be kept: a server that has
    /// said all is free.
    async fn write(&mut self, tasks: Vec<HttpTask>, ahead: &mut Ahead<std::result::Result<Came, h2::Error>>) -> Result<()> {
        let Self { client, stream, .. } = self;
        let gateway = client.gateway;
        let seat = client.ctx.seat.as_ref().map(Seat::handle);
        let mut write = pin!(client.write(tasks));
        if let Some(written) = (&mut write).now_or_never() {
            return written;
        }
        loop {
            let came = tokio::select! {
                biased;
                written = &mut write => return written,
                came = poll_fn(|cx| stream.poll_came(cx)), if ahead.may_read(gateway, None) => came,
            };
            let ends = match &came {
                Ok(Came::Data(data, last)) => {
                    stream.taken(data.len());
                    *last
                }
                Ok(Came::End(_)) | Err(_) => true,
                Ok(Came::Interim(_) | Came::Head(..)) => false,
            };
            let bytes = if let Ok(Came::Data(data, _)) = &came { data.len() } else { 0 };
            ahead.push(came, bytes);
            if ends {
                ahead.ends();
                if stream.has_said() {
                    stream.leave();
                    seat.iter().for_each(Handle::holds_nothing);
                }
            }
        }
    }

    /// Ends an exchange whose answer has come.
    async fn end(self, held: Option<HttpTask>) -> Result<()> {
        let Self { client, stream, .. } = self;
        // A call is over with its answer, whatever its client would still say (RFC 9113, section 8.1).
        if client.upload.is_done() || client.ctx.call {
            return Ok(());
        }
        // The server has said what it had to say.
        drop(stream);
        // Boxed: it is seldom.
        Box::pin(client.drain(held)).await
    }

    /// Makes trailers fit to leave.
    fn trailers(&mut self, mut trailers: HeaderMap) -> Result<HeaderMap> {
        let of_tenant = self.client.ctx.permit.as_ref().map_or(&[][..], |permit| &permit.tenant().response_headers);
        match trailers::dress(&mut trailers, of_tenant) {
            Ok(()) => Ok(trailers),
            Err(why) => Err(self.malformed(why)),
        }
    }

    fn malformed(&mut self, why: &'static str) -> Box<Error> {
        self.client.ctx.deny = Some(Deny::new(Reason::UpstreamProtocol, why));
        Error::explain(ErrorType::HTTPStatus(502), why)
    }

    /// Ends a call that has begun to be answered, and says why where it was we who ended it: behind whole frames, where a status can
    /// stand.
    async fn farewell(self, failed: Failed) -> Result<()> {
        let Self { client, stream, .. } = self;
        drop(stream);
        let ours = client.ctx.ended || client.ctx.deny.as_ref().is_some_and(|deny| deny.reason == Reason::StreamIdle);
        let Some(deny) = client.ctx.deny.clone().filter(|_| ours) else { return Err(failed.error) };
        let told = client.session.as_downstream_mut().write_response_trailers(grpc::farewell(&deny)).await;
        if told.is_err() {
            return Err(failed.error);
        }
        record::failed(client.ctx, deny);
        Ok(())
    }
}
