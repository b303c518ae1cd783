//! One exchange over HTTP/1.1 (RFC 9112). A connection carries one at a time. It is kept only where the
//! answer began after the whole request was sent, where the end of the answer is known, and nothing followed
//! it.

use std::{
    sync::Arc,
    task::{Context, Poll, ready},
};

use http::{HeaderValue, header};

use super::{
    answer_body::{self, Body},
    connection::{Connection, IoEvent},
    failure::Failure,
    head::{self, Head, MAX_HEAD_BYTES},
    idle::Idle,
    request_body::RequestBody,
    stream::{ClientSide, StreamEvent, UpstreamStream},
    unread_bodies::{Bodies, is_another_answer},
};
use crate::model::{Clock, Deny, Reason};

/// What happens to a connection after its exchange. It is noted as events occur: at the end of an exchange
/// their order is no longer known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum After {
    /// It may serve another exchange.
    Kept,
    /// Its server was told to close it, and we wait for that.
    Told,
    /// It is closed.
    Closed,
}

/// Where a connection is kept after its exchange, and what is known about bodies there.
#[derive(Clone, Copy)]
pub(super) struct RestingPlace<'a> {
    pub(super) idle: Option<&'a Idle>,
    pub(super) bodies: &'a Arc<Bodies>,
    pub(super) clock: &'a dyn Clock,
}

/// An exchange on a connection that speaks HTTP/1.1.
pub(super) struct Http1Stream<'a> {
    connection: Connection,
    place: RestingPlace<'a>,
    after: After,
    /// How many of the unread octets came before the whole request was sent.
    early: usize,
    /// How many of them were searched without finding the end of a head.
    known: usize,
    /// The body of the answer, once its head has come.
    answer: Option<Body>,
    without_body: bool,
    /// Whether the end of the answer was reported.
    ended: bool,
}

impl<'a> Http1Stream<'a> {
    /// Begins after the head of a request was sent.
    pub(super) fn new(connection: Connection, place: RestingPlace<'a>, after: After) -> Self {
        Self { connection, place, after, early: 0, known: 0, answer: None, without_body: false, ended: false }
    }

    /// Takes a head off the octets that arrived, and notes what it says about the connection.
    fn head(&mut self) -> Result<Option<Head>, Failure> {
        let there = self.connection.unread().len();
        let Some((head, keeps)) =
            head::parse(self.connection.unread_mut(), self.known).map_err(Failure::protocol)?
        else {
            self.known = there;
            if there > MAX_HEAD_BYTES {
                return Err(Failure::protocol("the head of the answer has over 64 KiB"));
            }
            return Ok(None);
        };
        self.known = 0;
        // Its first octets came before the request was complete. That is allowed for interim answers.
        let is_early = self.early > 0 && !head.status.is_informational();
        self.early = self.early.saturating_sub(there - self.connection.unread().len());
        let may_say_more = answer_body::is_framed_without_a_body(&head) && self.place.bodies.may_say_more();
        if is_early
            || may_say_more
            || answer_body::is_announced_in_vain(&head)
            || (!keeps && self.after == After::Kept)
        {
            self.after = After::Closed;
        }
        Ok(Some(head))
    }

    /// Interprets the close of the server.
    fn closed(&mut self) -> Result<StreamEvent, Failure> {
        let Some(body) = &mut self.answer else {
            return Err(match self.connection.unread().is_empty() {
                true => Failure::unheard("closed before the answer"),
                false => Failure::new(Reason::UpstreamClosed, "closed within the head"),
            });
        };
        body.closed().map_err(|why| Failure::new(Reason::UpstreamClosed, why))?;
        self.ended = true;
        Ok(StreamEvent::End(None))
    }

    /// Notes octets after an answer that show that a body was read as a request.
    fn note_surplus(&mut self, body: &RequestBody) {
        if body.has_octets() {
            self.connection.carries();
        }
        self.connection.answered(self.without_body);
        if self.connection.has_carried() && is_another_answer(self.connection.unread(), self.without_body) {
            self.place.bodies.found_unread();
        }
    }
}

impl UpstreamStream for Http1Stream<'_> {
    fn poll_event(
        &mut self,
        cx: &mut Context<'_>,
        body: Option<&mut RequestBody>,
    ) -> Poll<Result<StreamEvent, Failure>> {
        if let Some(event) = self.ready()? {
            return Poll::Ready(Ok(event));
        }
        let out = body.as_ref().map_or(&[][..], |body| body.pending());
        // Checked before the last of the request leaves, so that the order is known.
        let look = body.as_ref().is_some_and(|body| body.ends_here())
            && self.early == 0
            && self.after == After::Kept;
        match ready!(self.connection.poll_event(cx, out, look)) {
            IoEvent::Wrote(wrote) => {
                match (wrote, body) {
                    (Ok(octets), Some(body)) => body.taken(octets),
                    // The answer with the reason may be there already.
                    (Err(_), Some(body)) => body.refuse(),
                    (Ok(_), None) => {}
                    (Err(error), None) => {
                        return Poll::Ready(Err(Failure::new(Reason::UpstreamClosed, error.to_string())));
                    }
                }
                Poll::Ready(Ok(StreamEvent::Sent))
            }
            IoEvent::Read(Ok(0)) => Poll::Ready(self.closed()),
            IoEvent::Read(Ok(_)) => {
                // A server that answers now has not read the rest, and may read it as the next request.
                if body.is_some_and(|body| !(body.is_done() && self.connection.is_flushed())) {
                    self.early = self.connection.unread().len();
                }
                Poll::Ready(Ok(self.ready()?.unwrap_or(StreamEvent::Progress)))
            }
            IoEvent::Read(Err(error)) => {
                let is_unheard = self.answer.is_none() && self.connection.unread().is_empty();
                let failure = Failure::new(Reason::UpstreamClosed, error.to_string());
                Poll::Ready(Err(Failure { unheard: is_unheard, ..failure }))
            }
        }
    }

    fn ready(&mut self) -> Result<Option<StreamEvent>, Failure> {
        let Some(body) = &mut self.answer else {
            return Ok(self.head()?.map(|head| StreamEvent::Head(head, false)));
        };
        let data = body.next(self.connection.unread_mut()).map_err(Failure::protocol)?;
        let is_over = body.is_over();
        Ok(match data {
            Some(data) => {
                self.ended = is_over;
                Some(StreamEvent::Data(data, is_over))
            }
            None if is_over && !self.ended => {
                self.ended = true;
                Some(StreamEvent::End(None))
            }
            None => None,
        })
    }

    fn begin_body(&mut self, head: &mut Head, _over: bool, client: ClientSide) -> Result<bool, Deny> {
        let body =
            Body::of(head, client.without_body).map_err(|why| Deny::new(Reason::UpstreamProtocol, why))?;
        // The end of the server's connection is not the end of the client's.
        if matches!(body, Body::UntilClosed) {
            head.headers.insert(header::TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
        } else if client.without_body {
            // It states the framing of another answer (RFC 9112, section 6.1).
            head.headers.remove(header::TRANSFER_ENCODING);
        }
        self.without_body = client.without_body;
        self.ended = body.is_over();
        self.answer = Some(body);
        Ok(self.ended)
    }

    fn is_over(&self) -> bool {
        self.answer.as_ref().is_some_and(Body::is_over)
    }

    fn left(&self) -> Option<u64> {
        self.answer.as_ref().and_then(Body::left)
    }

    fn taken(&mut self, _octets: usize) {}

    fn retire(&mut self) {}

    fn release(&mut self, body: &RequestBody) -> bool {
        if self.connection.has_left() {
            return true;
        }
        self.note_surplus(body);
        let connection = self.connection.leave();
        let is_open = body.is_done() && !matches!(self.answer, Some(Body::Closed | Body::UntilClosed));
        let Some(idle) = self.place.idle.filter(|_| is_open) else { return true };
        match self.after {
            // Surplus octets would be read as the next answer.
            After::Kept if connection.unread().is_empty() => {
                idle.put(connection, self.place.clock.tick(), self.place.bodies);
            }
            After::Told => idle.await_close(connection, self.place.bodies),
            After::Kept | After::Closed => {}
        }
        true
    }

    fn has_left(&self) -> bool {
        self.connection.has_left()
    }

    fn upgrade(&mut self) -> Option<&mut Connection> {
        Some(&mut self.connection)
    }
}
