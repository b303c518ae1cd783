//! The server's side of an exchange, in either protocol.

use std::task::{Context, Poll};

use bytes::Bytes;
use http::HeaderMap;

use super::{connection::Connection, failure::Failure, head::Head, request_body::RequestBody};
use crate::model::Deny;

/// An event on the server's side.
#[derive(Debug)]
pub(super) enum StreamEvent {
    /// The server took some of the request.
    Sent,
    /// Octets arrived that do not complete anything yet.
    Progress,
    /// A head, of the answer or of an interim answer, and whether nothing follows it.
    Head(Head, bool),
    /// A piece of the body, and whether it is the last part of the answer.
    Data(Bytes, bool),
    /// The end, with the trailers.
    End(Option<HeaderMap>),
}

impl StreamEvent {
    /// Returns whether the answer ends with it.
    pub(super) const fn is_end(&self) -> bool {
        matches!(self, Self::Data(_, true) | Self::End(_))
    }

    /// Returns whether the server sent something.
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

/// One exchange on a connection to a server. Dropping it before its end cancels it.
pub(super) trait UpstreamStream: Send {
    /// Sends what waits of the request's body, or returns the next event of the server: whichever can be done
    /// first. Without a `body` it only receives. It is not polled again after the end.
    fn poll_event(
        &mut self,
        cx: &mut Context<'_>,
        body: Option<&mut RequestBody>,
    ) -> Poll<Result<StreamEvent, Failure>>;

    /// Returns the next event, if it is in memory already.
    fn ready(&mut self) -> Result<Option<StreamEvent>, Failure>;

    /// Begins the body of the answer, and states its framing for the client in the head. `over` says that
    /// nothing follows the head from the server. Returns whether nothing follows it towards the client.
    fn begin_body(&mut self, head: &mut Head, over: bool, client: ClientSide) -> Result<bool, Deny>;

    /// Returns whether the server has sent the whole answer.
    fn is_over(&self) -> bool;

    /// Returns how many octets of the answer's body are still to come, where that is known.
    fn left(&self) -> Option<u64>;

    /// Lets the server send as much again as the client has taken.
    fn taken(&mut self, octets: usize);

    /// Starts no further exchange on this connection: it may be dead.
    fn retire(&mut self);

    /// Gives up what the exchange holds of its server, which has sent everything. Returns whether it holds
    /// nothing any more.
    fn release(&mut self, body: &RequestBody) -> bool;

    /// Returns whether that has been given up.
    fn has_left(&self) -> bool;

    /// Returns the connection itself, where it can become a tunnel.
    fn upgrade(&mut self) -> Option<&mut Connection>;
}

/// The facts about the client that decide how an answer is framed.
#[derive(Clone, Copy, Debug)]
pub(super) struct ClientSide {
    /// Whether it speaks HTTP/2.
    pub(super) is_http2: bool,
    /// Whether its answer has no body, by its method or its status.
    pub(super) without_body: bool,
}
