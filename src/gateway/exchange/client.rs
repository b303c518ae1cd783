//! The client's side of an exchange under way, whatever is spoken with the server.

use std::{
    pin::{Pin, pin},
    time::Duration,
};

use bytes::Bytes;
use http::StatusCode;
use pingora::{Error, ErrorType, Result, http::ResponseHeader, protocols::http::HttpTask, proxy::Session};

use super::upload::Upload;
use crate::{
    gateway::{
        answer, failure, guard,
        proxy::{Context, Gateway, LONGEST},
        record,
        standing::{Seat, ended},
        view,
    },
    model::{Connection, Deny, HttpVersion, Reason, Tick, interim_frame},
};

/// How long a client that sends a request may pause before the end of its answer is said all the same. Longer than curl waits to be told to
/// go on: one second.
const PAUSE: Duration = Duration::from_millis(1250);

/// How long any body may take, as at the stream, and how much later than there it is refused here.
const BODY_GRACE: Duration = Duration::from_secs(10);
const AFTER_STREAM: Duration = Duration::from_secs(2);

/// How long a client may rest that holds what others wait for, and how fast it is waited for then, in octets per second. Rates go over the
/// whole exchange: an octet now and then changes nothing.
const REST: Duration = Duration::from_secs(1);
const LEAST_RATE: u64 = 1024;
/// As many octets as if the client had sent them: half a minute.
const PAUSES: u64 = 30 * LEAST_RATE;

/// Who asked, and what was asked.
pub(super) struct Client<'a> {
    pub(super) gateway: &'a Gateway,
    pub(super) session: &'a mut Session,
    pub(super) ctx: &'a mut Context,
    pub(super) upload: &'a mut Upload,
}

impl Client<'_> {
    /// Takes in a piece of the request's body; `None` is its end.
    pub(super) fn take(&mut self, piece: Option<Bytes>) -> Result<()> {
        let end = piece.is_none() || self.session.as_downstream_mut().is_body_done();
        self.gateway.body_comes(self.ctx, self.session.is_http2(), piece.as_ref().map_or(0, Bytes::len), end)?;
        self.upload.put(piece, end);
        Ok(())
    }

    /// Writes a part of the answer, unless the exchange may not go on: a client that takes nothing keeps nothing open.
    pub(super) async fn write(&mut self, tasks: Vec<HttpTask>) -> Result<()> {
        let began = self.gateway.shared.clock.tick();
        let bytes = length(&tasks);
        self.yields(began, self.ctx.body_out, self.ctx.unread_for);
        let _waits = self.ctx.connection.as_ref().filter(|_| self.session.is_http2()).map(Connection::answer_waits);
        let write = pin!(async { self.session.as_downstream_mut().response_duplex_vec(tasks).await.map(drop) });
        unless_over(self.ctx, write).await?;
        if let Some(seat) = &self.ctx.seat {
            seat.yields(None);
            self.ctx.unread_for += self.gateway.shared.clock.tick().since(began);
        }
        self.ctx.body_out = self.ctx.body_out.saturating_add(bytes);
        Ok(())
    }

    /// Notes from when on the exchange may be ended while others wait for what it holds: its client has been waited for by then for longer
    /// than so many octets may take, and [`REST`] more.
    fn yields(&self, now: Tick, octets: u64, waited: Duration) {
        if let Some(seat) = &self.ctx.seat {
            seat.yields(Some(now.plus((REST + Duration::from_secs(octets / LEAST_RATE)).saturating_sub(waited))));
        }
    }

    /// Answers how long the client may still take for the next piece of its body.
    pub(super) fn patience(&self) -> Duration {
        patience(self.session.is_http2(), self.ctx)
    }

    /// Begins to count how long the client is waited for, if it is its turn.
    pub(super) fn waits(&self) -> Option<Tick> {
        self.upload.waits_for_client().then(|| {
            let now = self.gateway.shared.clock.tick();
            // Once the answer has begun, both sides may have their pauses.
            let pause = if self.ctx.upstream.as_ref().is_some_and(|exchange| exchange.first_byte.is_some()) { PAUSES } else { 0 };
            self.yields(now, self.ctx.body_in.saturating_add(pause), self.ctx.body_waited);
            now
        })
    }

    /// Counts that up to now.
    pub(super) fn waited(&mut self, since: Option<Tick>) {
        if let Some(since) = since {
            if let Some(seat) = &self.ctx.seat {
                seat.yields(None);
            }
            self.ctx.body_waited += self.gateway.shared.clock.tick().since(since);
        }
    }

    /// Refuses a body that comes too slowly.
    pub(super) fn too_slow(&mut self) -> Box<Error> {
        self.ctx.deny = Some(failure::slow_body());
        Error::explain(ErrorType::HTTPStatus(408), "body too slow")
    }

    /// Hands an interim answer on.
    pub(super) async fn interim(&mut self, mut response: Box<ResponseHeader>) -> Result<()> {
        // Nobody asked for another protocol: a request that does goes another way from here.
        if response.status.as_u16() == 101 {
            self.ctx.deny = Some(Deny::new(Reason::UpstreamProtocol, "the upstream switched protocols without being asked"));
            return Error::e_explain(ErrorType::HTTPStatus(502), "bad upgrade");
        }
        // One who speaks HTTP/1.0 would take it for the answer.
        if view::version(self.session.req_header()) == HttpVersion::Http10 {
            return Ok(());
        }
        self.dressed(&mut response)?;
        if self.session.is_http2() {
            // The library drops them.
            if let (Some(connection), Some(stream)) = (&self.ctx.connection, self.ctx.stream) {
                let fields = response.headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes()));
                interim_frame(stream, response.status.as_u16(), fields).into_iter().for_each(|frame| connection.say_interim(stream, frame));
            }
            return Ok(());
        }
        self.session.as_downstream_mut().write_response_header(response).await.map_err(|error| error.into_down())
    }

    /// Says whether the last piece of an answer waits for the end of its request.
    ///
    /// curl 7.88 reads nothing more over HTTP/2 once an answer is whole, not even that it may send more: with a large request, it would
    /// wait for ever. Where the answer is no success it stops sending by itself.
    pub(super) fn holds_the_end(&self, status: StatusCode) -> bool {
        self.session.is_http2() && !self.upload.has_come() && status.is_success()
    }

    /// Takes in what the client still sends of a request whose answer has come, all but a last piece that is `held` until then.
    ///
    /// There are clients that read only when they have sent all. What comes has the bounds that it would have had on its way to the
    /// app: `body_bytes`, and `body_min_rate`. Over HTTP/1 the connection closes behind the answer, and has the same care at its close.
    pub(super) async fn drain(self, mut held: Option<HttpTask>) -> Result<()> {
        let Self { gateway, session, ctx, upload } = self;
        upload.refuse();
        if !session.is_http2() {
            return Ok(());
        }
        ctx.took = Some(gateway.shared.clock.tick().since(ctx.tick));
        let mut outcome = Ok(());
        // Some that asked whether they may send do it after a moment, whatever they were told.
        while !upload.has_come() && outcome.is_ok() {
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

/// Answers how long a client may still take for the next piece of its body.
///
/// Over HTTP/2 the lowest rate of all bodies holds for each of them at the stream, which does not know which is which: so one that
/// may be silent would cover the others. Here they are known. It comes later than the stream does: its refusal stays what it was.
pub(super) fn patience(http2: bool, ctx: &Context) -> Duration {
    let rate = ctx.body_rate.filter(|rate| *rate > 0 && http2);
    let Some(usual) = rate.and_then(|rate| ctx.body_in.checked_div(rate)) else { return LONGEST };
    (Duration::from_secs(usual).max(BODY_GRACE) + AFTER_STREAM).saturating_sub(ctx.body_waited)
}

/// Returns how many octets of a body these are.
fn length(tasks: &[HttpTask]) -> u64 {
    let each = tasks.iter().map(|task| if let HttpTask::Body(Some(data), _) = task { data.len() } else { 0 });
    u64::try_from(each.sum::<usize>()).unwrap_or(u64::MAX)
}

/// Writes what was held back.
async fn last(session: &mut Session, ctx: &mut Context, held: Option<HttpTask>) -> Result<()> {
    let Some(held) = held else { return Ok(()) };
    unless_over(ctx, pin!(async { session.as_downstream_mut().response_duplex_vec(vec![held]).await.map(drop) })).await
}

/// Waits until the exchange may not go on; for ever where nobody watches over it.
pub(super) async fn over(seat: Option<&Seat>) -> Deny {
    match seat {
        Some(seat) => seat.ended().await,
        None => std::future::pending().await,
    }
}

/// Pinned where it stands: a future that is handed over is kept twice.
async fn unless_over(ctx: &mut Context, write: Pin<&mut impl Future<Output = Result<()>>>) -> Result<()> {
    let outcome = tokio::select! {
        biased;
        deny = over(ctx.seat.as_ref()) => Err(deny),
        written = write => Ok(written),
    };
    match outcome {
        Ok(written) => written.map_err(|error| error.into_down()),
        Err(deny) => Err(ended(ctx, deny)),
    }
}
