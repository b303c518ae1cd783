//! The client's side of an exchange: pingora's session, and what the request gathers on its way.

use std::{
    pin::{Pin, pin},
    time::Duration,
};

use bytes::Bytes;
use futures_util::FutureExt;
use http::{HeaderMap, Method};
use pingora::{Error, ErrorType, Result, http::ResponseHeader, protocols::http::HttpTask, proxy::Session};

use super::{
    body,
    context::{Context, UpstreamAttempt},
    discard::{PIECES, SHORT, keep_for_a_short_rest},
    failure, grpc, guard,
    request_framing::Framing,
    response, revalidate,
    shared::Gateway,
    upgrade, upstream_request, view,
};
use crate::{
    headers,
    model::{Connection, Deny, HttpVersion, Reason, Tick},
    pipeline::{OnSessionEnd, Permit},
    upstream::{
        self, Downstream, Ended, Head, Outgoing, Pool, Registration, Request, RequestBody, Resources,
        ServerAttempt, cancelled,
    },
    wire::http2::interim_frame,
};

/// How long a client may rest that holds what others wait for, and how fast it is waited for then, in octets
/// per second. Rates go over the whole exchange: an octet now and then changes nothing.
const REST: Duration = Duration::from_secs(1);
const LEAST_RATE: u64 = 1024;
/// As many octets as if the client had sent them: half a minute.
const PAUSES: u64 = 30 * LEAST_RATE;

/// Who asked, and what was asked.
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

    fn method(&self) -> &Method {
        &self.session.req_header().method
    }

    fn is_http2(&self) -> bool {
        self.session.is_http2()
    }

    fn is_call(&self) -> bool {
        self.ctx.call
    }

    fn request(&mut self, pool: &Pool) -> Result<Request, Ended<Box<Error>>> {
        let made = upstream_request::build(&self.gateway.shared, self.session, self.ctx, pool, self.framing);
        self.ended(made)
    }

    fn note_attempt(&mut self, attempt: Option<ServerAttempt>) {
        self.ctx.upstream = attempt.map(|ServerAttempt { server, tries, began }| UpstreamAttempt {
            server,
            tries,
            began,
            first_byte: None,
            status: None,
        });
    }

    fn before_send(&mut self) -> Result<bool, Ended<Box<Error>>> {
        let judged = revalidate::revalidate_before_send(&self.gateway.shared, self.ctx);
        self.ended(judged)
    }

    fn holds_budget(&mut self, number: usize) {
        self.ctx.holds_budget(number);
    }

    fn register(&mut self) -> Result<(), Ended<Box<Error>>> {
        let registered = revalidate::register(&self.gateway.shared, self.ctx);
        self.ended(registered)
    }

    fn registration(&self) -> Option<&Registration> {
        self.ctx.registration.as_ref()
    }

    fn listen(
        &mut self,
        idle: bool,
    ) -> (impl Future<Output = Deny> + Send, impl Future<Output = Result<Option<Bytes>>> + Send) {
        let Self { session, ctx, .. } = self;
        let piece = session.as_downstream_mut().read_body_or_idle(idle);
        let piece = piece.map(move |piece| match piece {
            Ok(_) if idle => Err(unexpected_bytes()),
            Ok(piece) => Ok(piece),
            Err(error) => Err(error.into_down()),
        });
        (cancelled(ctx.registration.as_ref()), piece)
    }

    fn take(&mut self, piece: Option<Bytes>, body: &mut RequestBody) -> Result<(), Ended<Box<Error>>> {
        let taken = self.take_piece(piece, body);
        self.ended(taken)
    }

    fn note_sent(&mut self, body: &RequestBody) -> Result<(), Ended<Box<Error>>> {
        let may = |permit: &Permit| permit.on_session_end() == OnSessionEnd::AsNew && permit.may_sign_out();
        let answers = self.ctx.upstream.as_ref().is_some_and(|attempt| attempt.status.is_some());
        if answers || !body.is_done() || !self.ctx.permit.as_ref().is_some_and(may) {
            return Ok(());
        }
        let shared = &self.gateway.shared;
        // One that had ended before is none that the app could have ended.
        let judged = revalidate::revalidate_if_changed(shared, self.ctx)
            .and_then(|()| revalidate::set_on_session_end(shared, self.ctx, OnSessionEnd::AwaitsAnswer));
        self.ended(judged)
    }

    fn patience(&self) -> Duration {
        body::patience(self.session.is_http2(), self.ctx)
    }

    fn begin_wait(&self, body: &RequestBody) -> Option<Tick> {
        body.waits_for_client().then(|| {
            let now = self.now();
            // Once the answer has begun, both sides may have their pauses.
            let answers = self.ctx.upstream.as_ref().is_some_and(|attempt| attempt.first_byte.is_some());
            let pause = if answers { PAUSES } else { 0 };
            self.set_preemptible(now, self.ctx.body_in.saturating_add(pause), self.ctx.body_waited);
            now
        })
    }

    fn end_wait(&mut self, since: Option<Tick>) {
        if let Some(since) = since {
            if let Some(registration) = &self.ctx.registration {
                registration.set_preemptible(None);
            }
            self.ctx.body_waited += self.now().since(since);
        }
    }

    fn too_slow(&mut self) -> Ended<Box<Error>> {
        Ended::Denied(failure::slow_body())
    }

    async fn interim(&mut self, head: Head) -> Result<(), Ended<Box<Error>>> {
        // Nobody asked for another protocol: a request that does goes another way from here.
        if head.status.as_u16() == 101 {
            let why = "the upstream switched protocols without being asked";
            return Err(Ended::Denied(Deny::new(Reason::UpstreamProtocol, why)));
        }
        let judged = revalidate::revalidate_if_changed(&self.gateway.shared, self.ctx);
        self.ended(judged)?;
        // One who speaks HTTP/1.0 would take it for the answer; and whose session has ended hears nothing but
        // that.
        let waits = self.ctx.without_session && self.ctx.permit.as_ref().is_some_and(Permit::may_sign_out);
        if waits || view::version(self.session.req_header()) == HttpVersion::Http10 {
            return Ok(());
        }
        let head = self.prepare_head(head)?;
        if self.session.is_http2() {
            // The library drops them.
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
        // The app has no more of a request whose answer has ended its session.
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

    fn prepare_trailers(&mut self, trailers: &mut HeaderMap) -> Result<(), Deny> {
        let permit = self.ctx.permit.as_ref();
        let of_tenant = permit.map_or(&[][..], |permit| &permit.tenant().response_headers);
        headers::filter_trailers(trailers, of_tenant)
            .map(drop)
            .map_err(|why| Deny::new(Reason::UpstreamProtocol, why))
    }

    /// A client that takes nothing keeps nothing open.
    async fn write(&mut self, part: Outgoing<Box<ResponseHeader>>) -> Result<(), Ended<Box<Error>>> {
        let began = self.now();
        let octets = u64::try_from(part.octets()).unwrap_or(u64::MAX);
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
        Ok(())
    }

    fn note_answered(&mut self) {
        self.ctx.answered = true;
    }

    async fn drain(
        &mut self,
        body: &mut RequestBody,
        held: Option<Outgoing<Box<ResponseHeader>>>,
    ) -> Result<(), Ended<Box<Error>>> {
        self.drain_stream(body, held).await
    }

    fn can_end_call(&self, head: &Head) -> bool {
        self.ctx.call && self.session.is_http2() && headers::is_grpc(&head.headers)
    }

    async fn end_call(&mut self, why: Ended<Box<Error>>) -> Result<(), Ended<Box<Error>>> {
        let deny = match &why {
            Ended::Cancelled(deny) => deny,
            Ended::Denied(deny) if deny.reason == Reason::StreamIdle => deny,
            Ended::Denied(_) | Ended::ClientGone(_) | Ended::Failed(_) => return Err(why),
        };
        let trailers = grpc::error_trailers(deny);
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
        upgrade::accept(&head.headers, self.ctx).map_err(Ended::Denied)?;
        if let Some(permit) = &self.ctx.permit {
            response::give_back(&self.gateway.shared, permit, status, false);
        }
        self.register()?;
        let head = self.prepare_head(head)?;
        let written = self.session.as_downstream_mut().write_response_header(head).await;
        written.map_err(|error| Ended::ClientGone(error.into_down()))?;
        self.gateway.tunnel(self.session, self.ctx, connection, between).await
    }
}

impl Client<'_> {
    pub(super) fn now(&self) -> Tick {
        self.gateway.shared.clock.tick()
    }

    fn ended<T>(&mut self, outcome: Result<T>) -> Result<T, Ended<Box<Error>>> {
        outcome.map_err(|error| failure::of_step(error, self.ctx))
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
                // Its end does not come; the answer may reach it all the same.
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

/// Pinned where it stands: a future that is handed over is kept twice.
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

/// What comes behind a request is another one, and not here.
fn unexpected_bytes() -> Box<Error> {
    Error::explain(ErrorType::ConnectionClosed, "the client sent more than its request").into_down()
}

/// Says a part of an answer in the library's words.
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
