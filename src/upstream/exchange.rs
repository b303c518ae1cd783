//! An exchange under way: the client on one side, a server on the other, each with its own protocol.

use std::{future::poll_fn, time::Duration};

use bytes::Bytes;
use http::StatusCode;
use tokio::time::timeout;

use super::{
    capacity::Resources,
    downstream::{Downstream, Outgoing},
    failure::{Ended, Failure},
    interim::Interim,
    request_body::RequestBody,
    stream::{StreamEvent, UpstreamStream},
};
use crate::{
    model::{Deny, Reason},
    pipeline::Permit,
    policy::UpstreamTimeouts,
};

/// How long a server may think before the exchange is registered among the live ones: most have answered by
/// then, and a registration costs a lock and memory. What has changed meanwhile is judged then.
const UNREGISTERED: Duration = Duration::from_millis(20);

/// Both sides of an exchange.
pub(super) struct Exchange<'a, D, S> {
    pub(super) client: &'a mut D,
    pub(super) stream: &'a mut S,
    pub(super) body: &'a mut RequestBody,
    pub(super) resources: &'a Resources<'a>,
    times: &'a UpstreamTimeouts,
    /// Whether the head of the answer has come.
    answering: bool,
    /// Whether the server was the last to be heard.
    last_was_upstream: bool,
}

/// What is left to do for the client once the answer is over and the server is free.
pub(super) enum Rest<H, E> {
    Nothing,
    /// The client still sends its request, and a part of the answer may be held back until it has.
    Drain(Option<Outgoing<H>>),
    /// A call has to be ended in its own words.
    EndCall(Ended<E>),
}

/// What happened first.
enum Event<E> {
    Cancelled(Deny),
    Server(Result<StreamEvent, Failure>),
    Late,
    Client(Result<Option<Bytes>, E>),
}

/// Runs an exchange whose request's head has left, until its answer is over. `attempt` has the times of the
/// upstream, and whether the connection may have died at rest, unseen, and the request may be said twice (RFC
/// 9110, section 9.2.2).
pub(super) async fn run<D: Downstream, S: UpstreamStream>(
    client: &mut D,
    stream: &mut S,
    body: &mut RequestBody,
    resources: &Resources<'_>,
    attempt: (&UpstreamTimeouts, bool),
) -> Result<Rest<D::Head, D::Error>, Ended<D::Error>> {
    let (times, twice) = attempt;
    let mut exchange =
        Exchange { client, stream, body, resources, times, answering: false, last_was_upstream: false };
    exchange.go(twice).await
}

/// Does what is left to do for the client. The server has said what it had to say, and holds nothing of the
/// exchange.
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
        if !self.body.has_come() || self.client.is_call() {
            // An upload may go on for as long as an answer, and a call may be silent.
            self.client.register()?;
        }
        let mut interim = Interim::default();
        loop {
            let (head, over) = match self.next().await {
                Ok(StreamEvent::Head(head, over)) => (head, over),
                Ok(_) => return Err(Failure::protocol("no answer").into()),
                Err(Ended::Failed(failure)) => {
                    // A server that has said anything has not died unseen, and a client that was told to go
                    // on is not asked again.
                    let repeatable = failure.repeatable || (twice && failure.unheard);
                    let repeatable = repeatable && interim.is_none();
                    return Err(Failure { repeatable, ..failure }.into());
                }
                Err(ended) => return Err(ended),
            };
            if head.status == StatusCode::SWITCHING_PROTOCOLS
                && self.client.permit().is_some_and(Permit::websocket)
                && let Some(connection) = self.stream.upgrade()
            {
                // Boxed, as an interim answer is: most exchanges have neither.
                let between = self.times.between_bytes;
                return Box::pin(self.client.tunnel(head, connection, between)).await.map(|()| Rest::Nothing);
            }
            if !head.status.is_informational() {
                self.answering = true;
                // Nothing is said again from here on.
                self.body.let_go();
                return self.forward(head, over).await.map_err(|ended| match ended {
                    Ended::Failed(failure) => Failure { repeatable: false, ..failure }.into(),
                    ended @ (Ended::Denied(_) | Ended::Cancelled(_) | Ended::ClientGone(_)) => ended,
                });
            }
            let now = self.resources.clock.tick();
            interim.take(&head, self.body.has_come(), now, self.times.first_byte)?;
            Box::pin(self.client.interim(head)).await?;
        }
    }

    /// Waits for what the server says next, and hands on meanwhile what the client still sends. Ends with the
    /// client, with the time, and with the session.
    pub(super) async fn next(&mut self) -> Result<StreamEvent, Ended<D::Error>> {
        loop {
            self.client.note_sent(self.body)?;
            match self.event().await {
                Event::Server(Ok(StreamEvent::Sent | StreamEvent::Progress)) => {}
                Event::Server(said) => return Ok(said?),
                // It may think for as long as an upload takes, and its session may end meanwhile.
                Event::Late if self.client.registration().is_none() => self.client.register()?,
                Event::Late => return Err(self.late()),
                Event::Cancelled(deny) => return Err(Ended::Cancelled(deny)),
                Event::Client(Err(error)) => return Err(Ended::ClientGone(error)),
                Event::Client(Ok(piece)) => self.client.take(piece, self.body)?,
            }
        }
    }

    async fn event(&mut self) -> Event<D::Error> {
        let came = self.body.has_come();
        let waiting = self.client.begin_wait(self.body);
        let (limit, _) = self.patience();
        let limit = if self.client.registration().is_none() { limit.min(UNREGISTERED) } else { limit };
        let upstream_first = is_upstream_first(came, self.last_was_upstream);
        let Self { client, stream, body, .. } = self;
        let takes_more = came || body.pending().is_empty();
        let event = {
            let (cancelled, piece) = client.listen(came);
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
        self.client.end_wait(waiting);
        event
    }

    /// Returns how long nothing may happen now, and whether that is the silence of a call.
    ///
    /// While it is the server's turn, its time runs; and the client's, while it is the client's. A call is
    /// both sides' turn as soon as either may speak.
    fn patience(&self) -> (Duration, bool) {
        let clients = self.body.waits_for_client();
        if self.client.is_call() && (self.answering || clients) {
            return (self.silence(), true);
        }
        let limit = match (clients, self.answering) {
            (true, _) => self.client.patience(),
            (false, false) => self.times.first_byte,
            (false, true) => self.times.between_bytes,
        };
        (limit, false)
    }

    /// Returns how long a call may be silent.
    fn silence(&self) -> Duration {
        self.client.permit().map(|permit| permit.limits().websocket_idle).unwrap_or_default()
    }

    /// Says what it means that nothing happened for so long.
    fn late(&mut self) -> Ended<D::Error> {
        if self.patience().1 {
            let detail =
                format!("no side of the call said anything within {} ms", self.silence().as_millis());
            return Ended::Denied(Deny::new(Reason::StreamIdle, detail));
        }
        if self.body.waits_for_client() {
            return self.client.too_slow();
        }
        // It may be the app that is slow, or a connection that leads nowhere any more: others shall not find
        // out one by one.
        self.stream.retire();
        let why =
            if self.body.pending().is_empty() { "nothing came in time" } else { "the request was not taken" };
        Failure::new(Reason::UpstreamTimeout, why).into()
    }
}

/// Returns whether the server is looked at before the client, where both may have something to say.
///
/// Each waits for the other in turn: a server that never pauses must not keep the rest of the request back,
/// and a client that never does must not drown the answer.
const fn is_upstream_first(came: bool, last_was_upstream: bool) -> bool {
    came || !last_was_upstream
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns who is heard, of two that always have something to say: `S` or `C`, for so many turns.
    fn said(came: bool) -> String {
        let mut last_was_upstream = false;
        let turn = |_| {
            last_was_upstream = is_upstream_first(came, last_was_upstream);
            if last_was_upstream { 'S' } else { 'C' }
        };
        (0..6).map(turn).collect()
    }

    #[test]
    fn of_two_that_never_pause_each_gets_a_word_in() {
        assert_eq!(said(false), "SCSCSC");
        // What is behind a whole request is nothing that a server could wait for.
        assert_eq!(said(true), "SSSSSS");
    }
}
