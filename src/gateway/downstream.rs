//! The client's side of an exchange: pingora's session, and what the request gathers on its way.

use std::{
    pin::{Pin, pin},
    time::Duration,
};

use bytes::Bytes;
use futures_util::FutureExt;
use http::HeaderValue;
use pingora::{Error, ErrorType, Result, http::ResponseHeader, protocols::http::HttpTask, proxy::Session};

use super::{
    body,
    context::{Context, UpstreamAttempt},
    discard::{PIECES, SHORT, keep_for_a_short_rest},
    failure, guard, response, revalidate,
    shared::Gateway,
    upstream_request, view,
};
use crate::{
    checks::upgrade::check_answer,
    headers,
    model::{Clock, Connection, Deny, HttpVersion, Reason, Tick},
    pipeline::{OnSessionEnd, Permit},
    upstream::{
        self, BodyState, Downstream, Ended, Framing, Head, Outgoing, Pool, Registration, Request,
        RequestBody, Requester, Resources, ServerAttempt, cancelled,
    },
    wire::http2::interim_frame,
};

/// How long a client may pause while it holds what others wait for, and the rate that it must keep then, in
/// octets per second. The rate is that of the whole exchange: an octet now and then changes nothing.
const REST: Duration = Duration::from_secs(1);
const LEAST_RATE: u64 = 1024;
/// The credit once the answer has begun, in octets: half a minute.
const PAUSES: u64 = 30 * LEAST_RATE;

/// The client of an exchange, with its request.
pub(super) struct Client<'a> {
    pub(super) gateway: &'a Gateway,
    pub(super) session: &'a mut Session,
    pub(super) ctx: &'a mut Context,
    pub(super) framing: Framing,
    pub(super) resources: &'a Resources<'a>,
}

impl Downstream for Client<'_> {
    type Error = Box<Error>;
    type Head = Box<ResponseHeader>;

    fn permit(&self) -> Option<&Permit> {
        self.ctx.permit.as_ref()
    }

    fn register(&mut self) -> Result<(), Ended<Box<Error>>> {
        let registered = revalidate::register(&self.gateway.shared, self.ctx);
        self.ended(registered)
    }

    fn registration(&self) -> Option<&Registration> {
        self.ctx.registration.as_ref()
    }

    fn begin_turn(&mut self, body: BodyState) -> Result<Duration, Ended<Box<Error>>> {
        self.note_sent(body)?;
        Ok(body::patience(self.session.is_http2(), self.ctx))
    }

    fn listen(
        &mut self,
        body: BodyState,
    ) -> (impl Future<Output = Deny> + Send, impl Future<Output = Result<Option<Bytes>>> + Send) {
        let since = body.waits_for_client.then(|| self.begin_wait());
        let Self { gateway, session, ctx, .. } = self;
        let Context { registration, body_waited, .. } = &mut **ctx;
        let registration = registration.as_ref();
        let clock = &*gateway.shared.clock;
        let wait = since.map(|since| Wait { registration, clock, since, waited: body_waited });
        let idle = body.has_come;
        let piece = session.as_downstream_mut().read_body_or_idle(idle);
        let piece = piece.map(move |piece| {
            let _wait = wait;
            match piece {
                Ok(_) if idle => Err(unexpected_bytes()),
                Ok(piece) => Ok(piece),
                Err(error) => Err(error.into_down()),
            }
        });
        (cancelled(registration), piece)
    }

    fn take(&mut self, piece: Option<Bytes>, body: &mut RequestBody) -> Result<(), Ended<Box<Error>>> {
        let taken = self.take_piece(piece, body);
        self.ended(taken)
    }

    async fn write_interim(&mut self, head: Head) -> Result<(), Ended<Box<Error>>> {
        // The request did not ask for another protocol: one that did becomes a tunnel.
        if head.status.as_u16() == 101 {
            let why = "the upstream switched protocols without being asked";
            return Err(Ended::Denied(Deny::new(Reason::UpstreamProtocol, why)));
        }
        let judged = revalidate::revalidate_if_changed(&self.gateway.shared, self.ctx);
        self.ended(judged)?;
        // A client of HTTP/1.0 would take it for the answer, and a client whose session has ended gets the
        // sign-out only.
        let waits = self.ctx.without_session && self.ctx.permit.as_ref().is_some_and(Permit::may_sign_out);
        if waits || view::version(self.session.req_header()) == HttpVersion::Http10 {
            return Ok(());
        }
        let head = self.prepare_head(head)?;
        if self.session.is_http2() {
            // The library drops interim answers over HTTP/2.
            if let (Some(connection), Some(stream)) = (&self.ctx.connection, self.ctx.stream) {
                let fields = head.headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes()));
                interim_frame(stream, head.status.as_u16(), fields)
                    .into_iter()
                    .for_each(|frame| connection.queue_interim(stream, frame));
            }
            return Ok(());
        }
        // The library takes any head for the answer, and closes behind one that comes before the request has:
        // whether the connection is kept is the answer's to say (RFC 9112, section 9.3). The client was told
        // to go on, and does.
        let downstream = self.session.as_downstream_mut();
        downstream.set_close_on_response_before_downstream_finish(false);
        let written = downstream.write_response_header(head).await;
        downstream.set_close_on_response_before_downstream_finish(true);
        written.map_err(|error| Ended::ClientGone(error.into_down()))
    }

    async fn on_head(&mut self, head: &Head, body: &mut RequestBody) -> Result<(), Ended<Box<Error>>> {
        let came = self.take_what_came(body);
        self.ended(came)?;
        let judged = response::process(&self.gateway.shared, self.session, head, self.ctx).await;
        self.ended(judged)?;
        // The app gets nothing more of a request whose answer has ended its session.
        let has_ended =
            self.ctx.permit.as_ref().is_some_and(|permit| permit.on_session_end() == OnSessionEnd::Nothing);
        if has_ended && !body.is_done() {
            body.refuse();
        }
        Ok(())
    }

    fn prepare_head(&mut self, mut head: Head) -> Result<Box<ResponseHeader>, Ended<Box<Error>>> {
        let Self { gateway, session, ctx, .. } = self;
        let prepared =
            guard::catch_panic(|| response::prepare_response(&gateway.shared, session, &mut head, ctx));
        self.ended(prepared.map_err(Ended::Denied)?)?;
        let (mut parts, ()) = http::Response::new(()).into_parts();
        (parts.status, parts.headers) = (head.status, head.headers);
        Ok(Box::new(ResponseHeader::from(parts)))
    }

    /// A client that reads nothing does not keep the exchange open.
    async fn write(&mut self, part: Outgoing<Box<ResponseHeader>>) -> Result<(), Ended<Box<Error>>> {
        let began = self.now();
        let octets = u64::try_from(part.octets()).unwrap_or(u64::MAX);
        let end = part.end;
        self.set_preemptible(began, self.ctx.body_out, self.ctx.unread_for);
        let _waits =
            self.ctx.connection.as_ref().filter(|_| self.session.is_http2()).map(Connection::answer_pending);
        {
            let write = pin!(self.session.as_downstream_mut().response_duplex_vec(tasks(part)));
            unless_cancelled(self.ctx.registration.as_ref(), write).await?;
        }
        if let Some(registration) = &self.ctx.registration {
            registration.set_preemptible(None);
            self.ctx.unread_for += self.now().since(began);
        }
        self.ctx.body_out = self.ctx.body_out.saturating_add(octets);
        self.ctx.answered |= end;
        Ok(())
    }

    async fn drain(
        &mut self,
        body: &mut RequestBody,
        held: Option<Outgoing<Box<ResponseHeader>>>,
    ) -> Result<(), Ended<Box<Error>>> {
        self.ctx.answered = true;
        self.drain_stream(body, held).await
    }

    async fn end_call(&mut self, why: Ended<Box<Error>>) -> Result<(), Ended<Box<Error>>> {
        let deny = match &why {
            Ended::Cancelled(deny) => deny,
            Ended::Denied(deny) if deny.reason == Reason::StreamIdle => deny,
            Ended::Denied(_) | Ended::ClientGone(_) | Ended::Failed(_) => return Err(why),
        };
        let trailers = headers::error_trailers(deny);
        if self.session.as_downstream_mut().write_response_trailers(trailers).await.is_err() {
            return Err(why);
        }
        match why {
            Ended::Cancelled(deny) => {
                self.ctx.ended = true;
                self.ctx.fail(deny);
            }
            Ended::Denied(deny) => self.ctx.fail(deny),
            Ended::ClientGone(_) | Ended::Failed(_) => {}
        }
        Ok(())
    }

    async fn tunnel(
        &mut self,
        head: Head,
        connection: &mut upstream::Connection,
        between: Duration,
    ) -> Result<(), Ended<Box<Error>>> {
        let status = head.status.as_u16();
        response::note(&self.gateway.shared, self.ctx, status);
        let key = self.ctx.websocket_key.as_ref().map(HeaderValue::as_bytes);
        check_answer(&head.headers, key).map_err(Ended::Denied)?;
        self.ctx.upgraded = true;
        if let (Some(permit), Some(connection)) = (&self.ctx.permit, &self.ctx.connection) {
            connection.becomes_tunnel(permit.limits().websocket_idle);
            response::give_back(&self.gateway.shared, permit, status, false);
        }
        self.register()?;
        let head = self.prepare_head(head)?;
        let written = self.session.as_downstream_mut().write_response_header(head).await;
        written.map_err(|error| Ended::ClientGone(error.into_down()))?;
        self.gateway.tunnel(self.session, self.ctx, connection, between).await
    }
}

impl Requester for Client<'_> {
    fn request(&mut self, pool: &Pool) -> Result<Request, Ended<Box<Error>>> {
        let made = upstream_request::build(&self.gateway.shared, self.session, self.ctx, pool, self.framing);
        let made = self.ended(made)?;
        self.ctx.upstream = None;
        Ok(made)
    }

    fn note_attempt(&mut self, attempt: ServerAttempt) {
        let ServerAttempt { server, tries, began } = attempt;
        self.ctx.upstream = Some(UpstreamAttempt { server, tries, began, first_byte: None, status: None });
    }

    fn before_send(&mut self, budget: usize) -> Result<bool, Ended<Box<Error>>> {
        self.ctx.holds_budget(budget);
        let judged = revalidate::revalidate_before_send(&self.gateway.shared, self.ctx);
        self.ended(judged)
    }
}

impl Client<'_> {
    pub(super) fn now(&self) -> Tick {
        self.gateway.shared.clock.tick()
    }

    fn ended<T>(&mut self, outcome: Result<T>) -> Result<T, Ended<Box<Error>>> {
        outcome.map_err(|error| failure::of_step(error, self.ctx))
    }

    /// Notes that the server has all of the request, once it has: where it may end the session, its answer is
    /// awaited.
    fn note_sent(&mut self, body: BodyState) -> Result<(), Ended<Box<Error>>> {
        let may = |permit: &Permit| permit.on_session_end() == OnSessionEnd::AsNew && permit.may_sign_out();
        let answers = self.ctx.upstream.as_ref().is_some_and(|attempt| attempt.status.is_some());
        if answers || !body.is_done || !self.ctx.permit.as_ref().is_some_and(may) {
            return Ok(());
        }
        let shared = &self.gateway.shared;
        // One that had ended before is none that the app could have ended.
        let judged = revalidate::revalidate_if_changed(shared, self.ctx)
            .and_then(|()| revalidate::set_on_session_end(shared, self.ctx, OnSessionEnd::AwaitsAnswer));
        self.ended(judged)
    }

    /// Begins to wait for the client: others that wait may end the exchange if that takes too long.
    fn begin_wait(&self) -> Tick {
        let now = self.now();
        // Once the answer has begun, both sides may have their pauses.
        let answers = self.ctx.upstream.as_ref().is_some_and(|attempt| attempt.first_byte.is_some());
        let pause = if answers { PAUSES } else { 0 };
        self.set_preemptible(now, self.ctx.body_in.saturating_add(pause), self.ctx.body_waited);
        now
    }

    fn take_piece(&mut self, piece: Option<Bytes>, body: &mut RequestBody) -> Result<()> {
        let end = piece.is_none() || self.session.as_downstream_mut().is_body_done();
        let octets = piece.as_ref().map_or(0, Bytes::len);
        self.gateway.body_comes(self.ctx, self.session.is_http2(), octets, end)?;
        body.put(piece, end);
        Ok(())
    }

    /// Takes in what is there of the request's body before its answer begins, so that the connection of a
    /// client of HTTP/1 can be kept behind that. Nothing is waited for; what is short, and still to come, is
    /// read behind the answer.
    fn take_what_came(&mut self, body: &mut RequestBody) -> Result<()> {
        let Some(connection) =
            self.ctx.connection.clone().filter(|_| !self.session.is_http2() && !body.has_come())
        else {
            return Ok(());
        };
        let mut read = 0;
        for _ in 0..PIECES {
            if body.has_come() || read >= SHORT {
                break;
            }
            match self.session.as_downstream_mut().read_body_or_idle(false).now_or_never() {
                Some(Ok(piece)) => {
                    let octets = piece.as_ref().map_or(0, Bytes::len);
                    read = read.saturating_add(u64::try_from(octets).unwrap_or(u64::MAX));
                    self.take_piece(piece, body)?;
                }
                Some(Err(error)) if connection.chunks_are_wrong() => return Err(error.into_down()),
                // The body breaks off; the answer may still reach the client.
                Some(Err(_)) => {
                    self.session.set_keepalive(None);
                    return Ok(());
                }
                None => break,
            }
        }
        let most = self.ctx.permit.as_ref().map_or(0, |permit| permit.limits().body_bytes);
        keep_for_a_short_rest(self.session, &connection, most);
        Ok(())
    }

    /// Notes from when on the exchange may be ended while others wait for what it holds: its client has been
    /// waited for by then for longer than so many octets may take, and [`REST`] more.
    fn set_preemptible(&self, now: Tick, octets: u64, waited: Duration) {
        if let Some(registration) = &self.ctx.registration {
            let patience = (REST + Duration::from_secs(octets / LEAST_RATE)).saturating_sub(waited);
            registration.set_preemptible(Some(now.plus(patience)));
        }
    }
}

/// The time that a client is waited for: it runs until this is dropped.
struct Wait<'a> {
    registration: Option<&'a Registration>,
    clock: &'a dyn Clock,
    since: Tick,
    waited: &'a mut Duration,
}

impl Drop for Wait<'_> {
    fn drop(&mut self) {
        if let Some(registration) = self.registration {
            registration.set_preemptible(None);
        }
        *self.waited += self.clock.tick().since(self.since);
    }
}

/// Takes a pinned future: one that is moved in would be stored twice.
pub(super) async fn unless_cancelled<T>(
    registration: Option<&Registration>,
    write: Pin<&mut impl Future<Output = Result<T>>>,
) -> Result<(), Ended<Box<Error>>> {
    tokio::select! {
        biased;
        deny = cancelled(registration) => Err(Ended::Cancelled(deny)),
        written = write => written.map(drop).map_err(|error| Ended::ClientGone(error.into_down())),
    }
}

/// Octets after the request are an error here: no other request may follow yet.
fn unexpected_bytes() -> Box<Error> {
    Error::explain(ErrorType::ConnectionClosed, "the client sent more than its request").into_down()
}

/// Converts a part of an answer into the library's tasks.
pub(super) fn tasks(part: Outgoing<Box<ResponseHeader>>) -> Vec<HttpTask> {
    let Outgoing { head, data, trailers, end } = part;
    let mut tasks = Vec::with_capacity(2);
    let ends_with_head = end && data.is_none() && trailers.is_none();
    let ends_with_data = end && trailers.is_none();
    if let Some(head) = head {
        tasks.push(HttpTask::Header(head, ends_with_head));
    }
    if data.is_some() || (tasks.is_empty() && trailers.is_none()) {
        tasks.push(HttpTask::Body(data, ends_with_data));
    }
    if trailers.is_some() {
        tasks.push(HttpTask::Trailer(trailers));
    }
    tasks
}
