//! One exchange over HTTP/2 (RFC 9113): a stream on a connection that many share. Frames, HPACK and flow
//! control are the `h2` crate's.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use h2::{
    RecvStream, SendStream,
    client::{ResponseFuture, SendRequest},
};
use http::{HeaderValue, Request, Response, header};

use super::{
    connection::Connection,
    failure::Failure,
    h2_pool::Place,
    head::Head,
    pool::Pool,
    request_body::RequestBody,
    stream::{ClientSide, StreamEvent, UpstreamStream},
};
use crate::model::{Deny, Reason};

/// The most fields of an answer, as over HTTP/1.1.
const MAX_FIELDS: usize = 256;

/// A stream. Dropped before both sides have ended, it is reset (CANCEL).
pub(super) struct Http2Stream<'a> {
    out: SendStream<Bytes>,
    /// Whether we have said all.
    said: bool,
    answer: Answer,
    /// Its place on the connection, until both sides have said all.
    place: Option<Place>,
    /// Whether the server has said all, or its side has failed.
    is_over: bool,
    /// Whose server it is, and which one.
    server: (&'a Pool, usize),
}

/// What is to come of the answer.
enum Answer {
    Head(ResponseFuture),
    Body(RecvStream),
}

impl<'a> Http2Stream<'a> {
    /// Sends the head of a request, and with it whether nothing comes behind it.
    pub(super) fn begin(
        mut sender: SendRequest<Bytes>,
        request: Request<()>,
        ends: bool,
        place: Place,
        server: (&'a Pool, usize),
    ) -> Result<Self, h2::Error> {
        let (answer, out) = sender.send_request(request, ends)?;
        Ok(Self { out, said: ends, answer: Answer::Head(answer), place: Some(place), is_over: false, server })
    }

    /// Sends what there is of the request's body, as far as the server has room for it. Ready when some of it
    /// went.
    fn poll_send(&mut self, cx: &mut Context<'_>, body: &mut RequestBody) -> Poll<()> {
        if self.said || body.is_refused() {
            return Poll::Pending;
        }
        let waits = body.pending().len();
        if waits == 0 {
            if body.has_come() {
                self.send(Bytes::new(), body);
            }
            return Poll::Pending;
        }
        self.out.reserve_capacity(waits);
        let mut room = self.out.capacity();
        if room == 0 {
            match ready!(self.out.poll_capacity(cx)) {
                Some(Ok(more)) => room = more,
                // The server takes no more of it; why, its answer says.
                Some(Err(_)) | None => body.refuse(),
            }
        }
        if room > 0 {
            let piece = body.take(room);
            self.send(piece, body);
        }
        Poll::Ready(())
    }

    fn send(&mut self, piece: Bytes, body: &mut RequestBody) {
        self.said = body.has_come() && body.pending().is_empty();
        if self.out.send_data(piece, self.said).is_err() {
            body.refuse();
        }
    }

    fn poll_answer(&mut self, cx: &mut Context<'_>) -> Poll<Result<StreamEvent, h2::Error>> {
        match &mut self.answer {
            Answer::Head(answer) => {
                if let Some(interim) = ready!(answer.poll_informational(cx)) {
                    return Poll::Ready(interim.map(|interim| StreamEvent::Head(head(interim), false)));
                }
                let (parts, body) = ready!(Pin::new(answer).poll(cx))?.into_parts();
                let over = body.is_end_stream();
                self.answer = Answer::Body(body);
                Poll::Ready(Ok(StreamEvent::Head(head(Response::from_parts(parts, ())), over)))
            }
            Answer::Body(body) => match ready!(body.poll_data(cx)) {
                Some(data) => Poll::Ready(data.map(|data| StreamEvent::Data(data, body.is_end_stream()))),
                None => body.poll_trailers(cx).map(|trailers| trailers.map(StreamEvent::End)),
            },
        }
    }
}

impl UpstreamStream for Http2Stream<'_> {
    fn poll_event(
        &mut self,
        cx: &mut Context<'_>,
        body: Option<&mut RequestBody>,
    ) -> Poll<Result<StreamEvent, Failure>> {
        if let Some(body) = body
            && self.poll_send(cx, body).is_ready()
        {
            return Poll::Ready(Ok(StreamEvent::Sent));
        }
        let event = match ready!(self.poll_answer(cx)) {
            Ok(event) => event,
            Err(error) => {
                self.is_over = true;
                return Poll::Ready(Err(failure(&error)));
            }
        };
        self.is_over |= event.is_end();
        if let StreamEvent::Head(head, over) = &event {
            let (pool, index) = self.server;
            // One that was aside may have been asked over a connection from before.
            pool.reached(index);
            self.is_over |= *over;
            if head.headers.len() > MAX_FIELDS && !head.status.is_informational() {
                return Poll::Ready(Err(Failure::protocol("the answer has over 256 fields")));
            }
        }
        Poll::Ready(Ok(event))
    }

    fn ready(&mut self) -> Result<Option<StreamEvent>, Failure> {
        Ok(None)
    }

    fn begin_body(&mut self, head: &mut Head, over: bool, client: ClientSide) -> Result<bool, Deny> {
        if !client.is_http2 && !client.without_body && !head.headers.contains_key(header::CONTENT_LENGTH) {
            // HTTP/1.1 clients find its end by what HTTP/2 has frames for (RFC 9113, section 8.2.2).
            match over {
                true => head.headers.insert(header::CONTENT_LENGTH, HeaderValue::from_static("0")),
                false => head.headers.insert(header::TRANSFER_ENCODING, HeaderValue::from_static("chunked")),
            };
        }
        Ok(over || client.without_body)
    }

    fn is_over(&self) -> bool {
        self.is_over
    }

    fn left(&self) -> Option<u64> {
        None
    }

    fn taken(&mut self, octets: usize) {
        if let Answer::Body(body) = &mut self.answer {
            // It fails only for what never came.
            let _ = body.flow_control().release_capacity(octets);
        }
    }

    fn retire(&mut self) {
        if let Some(place) = &self.place {
            place.retire();
        }
    }

    fn release(&mut self, _body: &RequestBody) -> bool {
        if self.said {
            self.place = None;
        }
        self.said
    }

    fn has_left(&self) -> bool {
        self.place.is_none()
    }

    fn upgrade(&mut self) -> Option<&mut Connection> {
        None
    }
}

fn head(answer: Response<()>) -> Head {
    let (parts, ()) = answer.into_parts();
    Head { status: parts.status, headers: parts.headers }
}

/// Says what it means that a stream, or the connection under it, has failed.
///
/// Where the server has done nothing yet, any request may go to another (RFC 9113, section 8.7). A stream
/// above the last one that GOAWAY names is failed with it; the others go on.
pub(super) fn failure(error: &h2::Error) -> Failure {
    let is_untouched =
        error.is_remote() && (error.is_go_away() || error.reason() == Some(h2::Reason::REFUSED_STREAM));
    let reason = reason(error);
    let unheard = reason == Reason::UpstreamClosed;
    Failure { repeatable: is_untouched, unheard, ..Failure::new(reason, error.to_string()) }
}

/// Tells a connection that has ended from a fault of protocol, our own or the server's.
pub(super) fn reason(error: &h2::Error) -> Reason {
    if error.is_io() || (error.is_go_away() && error.is_remote()) {
        Reason::UpstreamClosed
    } else {
        Reason::UpstreamProtocol
    }
}
