//! The exchange loop: the client on one side, a server on the other, each with its own protocol.

#[cfg(test)]
mod endings;
#[cfg(test)]
mod fake_client;
#[cfg(test)]
mod fake_server;
#[cfg(test)]
mod fixture;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod world;

use std::{future::poll_fn, time::Duration};

use bytes::Bytes;
use http::StatusCode;
use tokio::time::timeout;

use super::{
    capacity::Resources,
    downstream::{Downstream, Outgoing, RequestKind},
    failure::{Ended, Failure},
    interim::Interim,
    request_body::{RequestBody, slow_body},
    stream::{StreamEvent, UpstreamStream},
};
use crate::{
    model::{Deny, Reason},
    policy::UpstreamTimeouts,
};

/// How long a server may take to answer before the exchange is registered among the live ones: most have
/// answered by then, and a registration costs a lock and memory. Changes in between are judged at the
/// registration.
const UNREGISTERED: Duration = Duration::from_millis(20);

/// Both sides of an exchange.
pub(super) struct Exchange<'a, D, S> {
    pub(super) client: &'a mut D,
    pub(super) stream: &'a mut S,
    pub(super) body: &'a mut RequestBody,
    pub(super) resources: &'a Resources<'a>,
    pub(super) request: &'a RequestKind,
    times: &'a UpstreamTimeouts,
    /// Whether the head of the answer has come.
    answering: bool,
    /// Whether the last event was the server's.
    last_was_upstream: bool,
}

/// What an attempt at an exchange goes by.
#[derive(Clone, Copy)]
pub(super) struct Attempt<'a> {
    pub(super) request: &'a RequestKind,
    pub(super) times: &'a UpstreamTimeouts,
    /// Whether the connection may have died at rest, unseen, and the request may be sent twice (RFC 9110,
    /// section 9.2.2).
    pub(super) twice: bool,
}

/// What is left to do for the client once the answer has ended and the server is free.
pub(super) enum Rest<H, E> {
    Nothing,
    /// The client still sends its request, and a part of the answer may be held back until it has.
    Drain(Option<Outgoing<H>>),
    /// A call must be ended in trailers.
    EndCall(Ended<E>),
}

/// What happened first.
enum Event<E> {
    Cancelled(Deny),
    Server(Result<StreamEvent, Failure>),
    Late,
    Client(Result<Option<Bytes>, E>),
}

/// Who must act next, and so whose deadline runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Awaited {
    /// Either side of a gRPC call.
    Call,
    /// The client, which sends its request.
    Client,
    /// The server, which has not begun to answer.
    Answer,
    /// The server, whose answer has begun.
    Body,
}

/// Runs an exchange whose request's head has left, until its answer is over.
pub(super) async fn run<D: Downstream, S: UpstreamStream>(
    client: &mut D,
    stream: &mut S,
    body: &mut RequestBody,
    resources: &Resources<'_>,
    attempt: Attempt<'_>,
) -> Result<Rest<D::Head, D::Error>, Ended<D::Error>> {
    let Attempt { request, times, twice } = attempt;
    let mut exchange = Exchange {
        client,
        stream,
        body,
        resources,
        request,
        times,
        answering: false,
        last_was_upstream: false,
    };
    exchange.go(twice).await
}

/// Does what is left to do for the client. The server is done, and holds nothing of the exchange.
pub(super) async fn finish<D: Downstream>(
    client: &mut D,
    body: &mut RequestBody,
    rest: Rest<D::Head, D::Error>,
) -> Result<(), Ended<D::Error>> {
    match rest {
        Rest::Nothing => Ok(()),
        Rest::Drain(held) => client.drain(body, held).await,
        Rest::EndCall(ended) => client.end_call(ended).await,
    }
}

impl<D: Downstream, S: UpstreamStream> Exchange<'_, D, S> {
    /// See [`run`].
    async fn go(&mut self, twice: bool) -> Result<Rest<D::Head, D::Error>, Ended<D::Error>> {
        if !self.body.has_come() || self.request.is_call {
            // An upload may take as long as an answer, and a call may be silent.
            self.client.register()?;
        }
        let mut interim = Interim::default();
        loop {
            let (head, over) = match self.next().await {
                Ok(StreamEvent::Head(head, over)) => (head, over),
                Ok(_) => return Err(Failure::protocol("no answer").into()),
                Err(Ended::Failed(failure)) => {
                    // A connection on which the server has sent something had not died before, and a client
                    // that was told to continue has sent its body.
                    let repeatable = failure.repeatable || (twice && failure.unheard);
                    let repeatable = repeatable && interim.is_none();
                    return Err(Failure { repeatable, ..failure }.into());
                }
                Err(ended) => return Err(ended),
            };
            if head.status == StatusCode::SWITCHING_PROTOCOLS
                && self.request.is_websocket
                && let Some(connection) = self.stream.upgrade()
            {
                // Boxed, as an interim answer is: most exchanges have neither.
                let between = self.times.between_bytes;
                return Box::pin(self.client.tunnel(head, connection, between)).await.map(|()| Rest::Nothing);
            }
            if !head.status.is_informational() {
                self.answering = true;
                // No retry from here on.
                self.body.let_go();
                return self.forward(head, over).await.map_err(|ended| match ended {
                    Ended::Failed(failure) => Failure { repeatable: false, ..failure }.into(),
                    ended @ (Ended::Denied(_) | Ended::Cancelled(_) | Ended::ClientGone(_)) => ended,
                });
            }
            let now = self.resources.clock.tick();
            interim.take(&head, self.body.has_come(), now, self.times.first_byte)?;
            Box::pin(self.client.write_interim(head)).await?;
        }
    }

    /// Waits for the next event of the server, and forwards meanwhile what the client still sends. It also
    /// ends with the client, at a deadline, and when the exchange is cancelled.
    pub(super) async fn next(&mut self) -> Result<StreamEvent, Ended<D::Error>> {
        loop {
            match self.event().await? {
                Event::Server(Ok(StreamEvent::Sent | StreamEvent::Progress)) => {}
                Event::Server(said) => return Ok(said?),
                // The server may take long to answer, and the session may end meanwhile.
                Event::Late if self.client.registration().is_none() => self.client.register()?,
                Event::Late => return Err(self.late()),
                Event::Cancelled(deny) => return Err(Ended::Cancelled(deny)),
                Event::Client(Err(error)) => return Err(Ended::ClientGone(error)),
                Event::Client(Ok(piece)) => self.client.take(piece, self.body)?,
            }
        }
    }

    async fn event(&mut self) -> Result<Event<D::Error>, Ended<D::Error>> {
        let state = self.body.state();
        let is_registered = self.client.registration().is_some();
        let upstream_first = is_upstream_first(state.has_come, self.last_was_upstream);
        let takes_more = state.has_come || self.body.pending().is_empty();
        let patience = self.client.begin_turn(state)?;
        let limit = match self.awaited() {
            Awaited::Call => self.request.idle,
            Awaited::Client => patience,
            Awaited::Answer => self.times.first_byte,
            Awaited::Body => self.times.between_bytes,
        };
        let limit = if is_registered { limit } else { limit.min(UNREGISTERED) };
        let Self { client, stream, body, .. } = self;
        let event = {
            let (cancelled, piece) = client.listen(state);
            let server = timeout(limit, poll_fn(|cx| stream.poll_event(cx, Some(&mut **body))));
            if upstream_first {
                tokio::select! {
                    biased;
                    deny = cancelled => Event::Cancelled(deny),
                    said = server => said.map_or(Event::Late, Event::Server),
                    piece = piece, if takes_more => Event::Client(piece),
                }
            } else {
                tokio::select! {
                    biased;
                    deny = cancelled => Event::Cancelled(deny),
                    piece = piece, if takes_more => Event::Client(piece),
                    said = server => said.map_or(Event::Late, Event::Server),
                }
            }
        };
        self.last_was_upstream = match &event {
            Event::Server(Ok(event)) => event.is_said(),
            Event::Server(Err(_)) => true,
            Event::Cancelled(_) | Event::Late | Event::Client(_) => false,
        };
        Ok(event)
    }

    /// Returns whose silence ends the exchange now.
    fn awaited(&self) -> Awaited {
        let clients = self.body.waits_for_client();
        match (clients, self.answering) {
            (true, _) | (_, true) if self.request.is_call => Awaited::Call,
            (true, _) => Awaited::Client,
            (false, false) => Awaited::Answer,
            (false, true) => Awaited::Body,
        }
    }

    /// Says what it means that nothing happened for so long.
    fn late(&mut self) -> Ended<D::Error> {
        match self.awaited() {
            Awaited::Call => {
                let millis = self.request.idle.as_millis();
                let detail = format!("no side of the call sent anything within {millis} ms");
                return Ended::Denied(Deny::new(Reason::StreamIdle, detail));
            }
            Awaited::Client => return Ended::Denied(slow_body()),
            Awaited::Answer | Awaited::Body => {}
        }
        // Either the app is slow, or the connection is dead: other exchanges must not find that out one by
        // one.
        self.stream.retire();
        let why =
            if self.body.pending().is_empty() { "nothing came in time" } else { "the request was not taken" };
        Failure::new(Reason::UpstreamTimeout, why).into()
    }
}

/// Returns whether the server is polled before the client.
///
/// The sides take turns: a server that never pauses must not hold back the rest of the request, and a client
/// that never pauses must not hold back the answer.
const fn is_upstream_first(came: bool, last_was_upstream: bool) -> bool {
    came || !last_was_upstream
}
