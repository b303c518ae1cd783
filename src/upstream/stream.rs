//! The server's side of an exchange, whatever is spoken with it.

use std::task::{Context, Poll};

use bytes::Bytes;
use http::HeaderMap;

use super::{connection::Connection, failure::Failure, head::Head, request_body::RequestBody};
use crate::model::Deny;

/// What happened at a server's side.
#[derive(Debug)]
pub(super) enum StreamEvent {
    /// It took some of the request.
    Sent,
    /// Something came that is not whole as yet.
    Progress,
    /// A head, of the answer or of an interim one; and whether nothing comes behind it.
    Head(Head, bool),
    /// A piece of the body, and whether it was the last of all.
    Data(Bytes, bool),
    /// The end, and what stands behind the body.
    End(Option<HeaderMap>),
}

impl StreamEvent {
    /// Returns whether the server has said all.
    pub(super) const fn is_end(&self) -> bool {
        matches!(self, Self::Data(_, true) | Self::End(_))
    }

    /// Returns whether it was the server that spoke.
    pub(super) const fn is_said(&self) -> bool {
        !matches!(self, Self::Sent)
    }

    /// Returns how many octets of the body it has.
    pub(super) fn octets(&self) -> usize {
        match self {
            Self::Data(data, _) => data.len(),
            Self::Sent | Self::Progress | Self::Head(..) | Self::End(_) => 0,
        }
    }
}

/// One exchange on a connection to a server. Dropped before it is over, it is ended.
pub(super) trait UpstreamStream: Send {
    /// Sends what waits of the request's body, or takes what the server says next: whichever can be done
    /// first. Without a `body` it only takes. It is not asked again after the end.
    fn poll_event(
        &mut self,
        cx: &mut Context<'_>,
        body: Option<&mut RequestBody>,
    ) -> Poll<Result<StreamEvent, Failure>>;

    /// Returns what of the answer's body is in memory already.
    fn ready(&mut self) -> Result<Option<StreamEvent>, Failure>;

    /// Begins the body of the answer, and has its head say for the client how it is framed. `over` is whether
    /// the server has said all. Returns whether nothing comes behind the head.
    fn begin_body(&mut self, head: &mut Head, over: bool, client: ClientSide) -> Result<bool, Deny>;

    /// Returns whether the server has said all.
    fn is_over(&self) -> bool;

    /// Returns how many octets of the answer's body are to come, where that is known.
    fn left(&self) -> Option<u64>;

    /// Lets the server send as much again as the client has taken.
    fn taken(&mut self, octets: usize);

    /// Sends no further exchange over this connection: it may lead nowhere any more.
    fn retire(&mut self);

    /// Gives up what it holds of its server, which has said all. Returns whether it holds nothing any more.
    fn release(&mut self, body: &RequestBody) -> bool;

    /// Returns whether that has been given up.
    fn has_left(&self) -> bool;

    /// Returns the connection itself, where it can be made a tunnel.
    fn upgrade(&mut self) -> Option<&mut Connection>;
}

/// What of the client decides how an answer is framed.
#[derive(Clone, Copy, Debug)]
pub(super) struct ClientSide {
    /// Whether it speaks HTTP/2.
    pub(super) is_http2: bool,
    /// Whether its answer has no body, by its method or its status.
    pub(super) without_body: bool,
}
