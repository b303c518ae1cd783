//! Forwards the answer of a server to the client.

use std::{future::poll_fn, pin::pin};

use futures_util::FutureExt;
use http::Method;

use super::{
    answer_body,
    downstream::{Downstream, Outgoing, RequestKind, permit_of},
    exchange::{Exchange, Rest},
    failure::{Ended, Failure},
    head::Head,
    live_exchanges::{Handle, Registration},
    read_ahead::ReadAhead,
    stream::{ClientSide, StreamEvent, UpstreamStream},
};
use crate::{
    headers,
    model::{Deny, Reason},
};

/// What was read ahead: an event, or why there is none.
type Ahead<'a> = ReadAhead<'a, Result<StreamEvent, Failure>>;

impl<D: Downstream, S: UpstreamStream> Exchange<'_, D, S> {
    /// Forwards the answer as it arrives. `over` says that nothing follows its head.
    pub(super) async fn forward(
        &mut self,
        mut head: Head,
        over: bool,
    ) -> Result<Rest<D::Head, D::Error>, Ended<D::Error>> {
        answer_body::remove_framing(&mut head);
        self.client.on_head(&head, self.body).await?;
        let &RequestKind { ref method, is_http2, is_call, .. } = self.request;
        let without_body = *method == Method::HEAD || answer_body::has_none(head.status);
        let client = ClientSide { is_http2, without_body };
        let mut over = self.stream.begin_body(&mut head, over, client).map_err(Ended::Denied)?;
        // A call can be ended in trailers, behind whole messages, where its answer is one of gRPC.
        let speaks = is_call && is_http2 && headers::is_grpc(&head.headers);
        let status = head.status;
        let head = self.client.prepare_head(head)?;
        // The head leaves together with what has arrived of the body.
        let mut part = Outgoing { head: None, data: None, trailers: None, end: over };
        if !over && let Some(event) = self.stream.ready()? {
            part = self.part_of(event)?;
            over = part.end;
        }
        part.head = Some(head);
        if !over {
            // Most answers are complete by now. This one may go on for ever.
            self.client.register()?;
        }
        let mut ahead = Ahead::new(self.resources, permit_of(&*self.client)?);
        // For what was read ahead the server has its window back already.
        let mut is_taken = false;
        loop {
            // Only the last part is held: everything before it leaves at once.
            let holds = over && is_http2 && status.is_success() && !self.body.has_come() && !is_call;
            let held = holds.then(|| part.take_last());
            let octets = part.octets();
            if !part.is_empty() {
                self.write(part, &mut ahead).await?;
                if !is_taken {
                    self.stream.taken(octets);
                }
            }
            if over {
                self.stream.release(self.body);
                // A call is over with its answer, whatever its client would still say (RFC 9113, section
                // 8.1).
                let is_over = self.body.is_done() || is_call;
                return Ok(if is_over { Rest::Nothing } else { Rest::Drain(held) });
            }
            let kept = ahead.pop();
            is_taken = kept.is_some();
            let event = match kept {
                Some(kept) => kept.map_err(Ended::Failed),
                None => self.next().await,
            };
            let event = match event {
                Ok(event) => event,
                Err(ended) if speaks => return Ok(Rest::EndCall(ended)),
                Err(ended) => return Err(ended),
            };
            part = self.part_of(event)?;
            over = part.end;
        }
    }

    /// Returns the part of an event after the head that is sent to the client.
    fn part_of(&mut self, event: StreamEvent) -> Result<Outgoing<D::Head>, Ended<D::Error>> {
        let end = event.is_end();
        let (data, trailers) = match event {
            StreamEvent::Data(data, _) => (Some(data).filter(|data| !data.is_empty()), None),
            StreamEvent::End(None) | StreamEvent::Sent | StreamEvent::Progress => (None, None),
            StreamEvent::End(Some(mut trailers)) => {
                let of_tenant = &permit_of(&*self.client)?.tenant().response_headers;
                headers::filter_trailers(&mut trailers, of_tenant)
                    .map_err(|why| Ended::Denied(Deny::new(Reason::UpstreamProtocol, why)))?;
                (None, Some(Box::new(trailers)))
            }
            StreamEvent::Head(..) => return Err(Failure::protocol("a second head").into()),
        };
        Ok(Outgoing { head: None, data, trailers, end })
    }

    /// Writes a part of the answer. While that waits for the client, the rest is read ahead, as far as the
    /// budget allows. A server that has sent everything is released, and its connection can be used again.
    async fn write(&mut self, part: Outgoing<D::Head>, ahead: &mut Ahead<'_>) -> Result<(), Ended<D::Error>> {
        let Self { client, body, .. } = self;
        let stream = &mut *self.stream;
        let registration = client.registration().map(Registration::handle);
        let in_hand = part.octets();
        let mut write = pin!(client.write(part));
        if let Some(written) = (&mut write).now_or_never() {
            return written;
        }
        let mut settled = stream.has_left();
        let mut goes_on = true;
        loop {
            // What has arrived is in memory already.
            while let Some(event) = stream.ready().transpose() {
                let may_read = ahead.may_read(stream.left());
                goes_on = keep(ahead, stream, event);
                if !goes_on || !may_read {
                    break;
                }
            }
            if !settled && (stream.is_over() || !goes_on) {
                settled = true;
                if ahead.end(in_hand) && stream.is_over() && stream.release(body) {
                    registration.iter().for_each(Handle::released_budget);
                }
            }
            let event = tokio::select! {
                biased;
                written = &mut write => return written,
                event = poll_fn(|cx| stream.poll_event(cx, None)),
                    if !stream.is_over() && ahead.may_read(stream.left()) => event,
            };
            goes_on = keep(ahead, stream, event);
        }
    }
}

/// Keeps an event that was read ahead, and lets the server send as much again. Returns whether more may
/// follow.
fn keep<S: UpstreamStream>(
    ahead: &mut Ahead<'_>,
    stream: &mut S,
    event: Result<StreamEvent, Failure>,
) -> bool {
    let octets = event.as_ref().map_or(0, StreamEvent::octets);
    let goes_on = event.as_ref().is_ok_and(|event| !event.is_end());
    match (event, ahead.last_mut()) {
        (Ok(StreamEvent::Sent | StreamEvent::Progress), _) => {}
        // One write less.
        (Ok(StreamEvent::End(None)), Some(Ok(StreamEvent::Data(_, last)))) => *last = true,
        (event, _) => {
            stream.taken(octets);
            ahead.push(event, octets);
        }
    }
    goes_on
}
