//! One exchange on a shared connection: what is sent to the server, and what comes.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use h2::{
    RecvStream, SendStream,
    client::{ResponseFuture, SendRequest},
};
use http::{HeaderMap, Request, Response, Version};
use pingora::http::ResponseHeader;

use super::lines::Place;
use crate::gateway::exchange::upload::Upload;

/// A stream. Dropped before both sides have ended, it is reset (CANCEL).
pub(super) struct Stream {
    out: SendStream<Bytes>,
    /// Whether we have said all.
    said: bool,
    coming: Coming,
    /// Its place, until the server has nothing more to say.
    place: Option<Place>,
}

/// What is to come.
enum Coming {
    Head(ResponseFuture),
    Body(RecvStream),
}

/// What came.
pub(super) enum Came {
    /// An interim answer.
    Interim(Box<ResponseHeader>),
    /// The head, and whether that was all.
    Head(Box<ResponseHeader>, bool),
    /// A piece of the body, and whether it was the last of all.
    Data(Bytes, bool),
    /// The end, and what stands behind the body.
    End(Option<HeaderMap>),
}

impl Stream {
    /// Sends the head of a request, and with it whether there is nothing else.
    pub(super) fn begin(mut sender: SendRequest<Bytes>, request: Request<()>, ends: bool, place: Place) -> Result<Self, h2::Error> {
        let (answer, out) = sender.send_request(request, ends)?;
        Ok(Self { out, said: ends, coming: Coming::Head(answer), place: Some(place) })
    }

    /// Sends what there is of the request's body, as far as the server has room for it. Ready when some of it went.
    pub(super) fn poll_send(&mut self, cx: &mut Context<'_>, upload: &mut Upload) -> Poll<()> {
        if self.said || upload.is_refused() {
            return Poll::Pending;
        }
        let waits = upload.pending().len();
        if waits == 0 {
            if upload.has_come() {
                self.send(Bytes::new(), upload);
            }
            return Poll::Pending;
        }
        self.out.reserve_capacity(waits);
        let mut room = self.out.capacity();
        if room == 0 {
            match ready!(self.out.poll_capacity(cx)) {
                Some(Ok(more)) => room = more,
                // The server takes no more of it; why, its answer says.
                Some(Err(_)) | None => upload.refuse(),
            }
        }
        if room > 0 {
            let piece = upload.take(room);
            self.send(piece, upload);
        }
        Poll::Ready(())
    }

    fn send(&mut self, piece: Bytes, upload: &mut Upload) {
        self.said = upload.has_come() && upload.pending().is_empty();
        if self.out.send_data(piece, self.said).is_err() {
            upload.refuse();
        }
    }

    /// Waits for what comes next. It is not asked again after the end.
    pub(super) fn poll_came(&mut self, cx: &mut Context<'_>) -> Poll<Result<Came, h2::Error>> {
        match &mut self.coming {
            Coming::Head(answer) => {
                if let Some(interim) = ready!(answer.poll_informational(cx)) {
                    return Poll::Ready(interim.map(|interim| Came::Interim(head(interim))));
                }
                let (parts, body) = ready!(Pin::new(answer).poll(cx))?.into_parts();
                let over = body.is_end_stream();
                self.coming = Coming::Body(body);
                Poll::Ready(Ok(Came::Head(head(Response::from_parts(parts, ())), over)))
            }
            Coming::Body(body) => match ready!(body.poll_data(cx)) {
                Some(data) => Poll::Ready(data.map(|data| Came::Data(data, body.is_end_stream()))),
                None => body.poll_trailers(cx).map(|trailers| trailers.map(Came::End)),
            },
        }
    }

    /// Gives the place up: both sides have said all.
    pub(super) fn leave(&mut self) {
        self.place = None;
    }

    /// Sends nothing further over this connection.
    pub(super) fn retire(&self) {
        if let Some(place) = &self.place {
            place.retire();
        }
    }

    /// Says whether both sides have said all, once the server has.
    pub(super) const fn has_said(&self) -> bool {
        self.said
    }

    /// Lets the server send as much again as the client has taken.
    pub(super) fn taken(&mut self, bytes: usize) {
        if let Coming::Body(body) = &mut self.coming {
            // It fails only for what never came.
            let _ = body.flow_control().release_capacity(bytes);
        }
    }
}

fn head(answer: Response<()>) -> Box<ResponseHeader> {
    let (mut parts, ()) = answer.into_parts();
    parts.version = Version::HTTP_11;
    parts.extensions.clear();
    Box::new(ResponseHeader::from(parts))
}
