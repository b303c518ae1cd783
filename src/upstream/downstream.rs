//! The client's side of an exchange, as the upstream's side sees it.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method};

use super::{
    connection::Connection,
    failure::{Ended, Failure},
    head::Head,
    live_exchanges::Registration,
    request_body::{BodyState, RequestBody},
};
use crate::{model::Deny, pipeline::Permit};

/// A part of an answer on its way to the client. What is there leaves in this order, in one write. `H` is a
/// head that is fit to leave.
#[derive(Debug)]
pub(crate) struct Outgoing<H> {
    pub(crate) head: Option<H>,
    pub(crate) data: Option<Bytes>,
    pub(crate) trailers: Option<Box<HeaderMap>>,
    /// Whether nothing comes behind it.
    pub(crate) end: bool,
}

impl<H> Outgoing<H> {
    /// Returns how many octets of the body it has.
    pub(crate) fn octets(&self) -> usize {
        self.data.as_ref().map_or(0, Bytes::len)
    }

    /// Takes its last part off, with the end.
    pub(super) fn take_last(&mut self) -> Self {
        let end = std::mem::take(&mut self.end);
        let trailers = self.trailers.take();
        let data = if trailers.is_none() { self.data.take() } else { None };
        let head = if trailers.is_none() && data.is_none() { self.head.take() } else { None };
        Self { head, data, trailers, end }
    }

    /// Returns whether there is nothing to write.
    pub(super) const fn is_empty(&self) -> bool {
        self.head.is_none() && self.data.is_none() && self.trailers.is_none() && !self.end
    }
}

/// What of a request stays the same for as long as it is exchanged.
#[derive(Clone, Debug)]
pub(crate) struct RequestKind {
    pub(crate) method: Method,
    /// Whether the client speaks HTTP/2.
    pub(crate) is_http2: bool,
    /// Whether it is a gRPC call to servers that can answer one.
    pub(crate) is_call: bool,
    /// Whether it is a WebSocket handshake that the route lets through.
    pub(crate) is_websocket: bool,
    /// How long both sides of a call may be silent.
    pub(crate) idle: Duration,
}

/// The client of an exchange: it decides what may pass, in its own protocol.
///
/// What never changes is in [`RequestKind`]. The permit and the registration do change: a session may end or
/// begin under way. The rest is one method per thing that happens to an exchange.
pub(crate) trait Downstream: Send {
    /// How the client's side says that it failed.
    type Error: Send;
    /// The head of an answer that is fit to leave, in the client's protocol.
    type Head: Send;

    /// Returns what the request is permitted, as things are now.
    fn permit(&self) -> Option<&Permit>;

    /// Registers the exchange among the live ones, where it is not yet.
    fn register(&mut self) -> Result<(), Ended<Self::Error>>;

    /// Returns its registration among the live exchanges.
    fn registration(&self) -> Option<&Registration>;

    /// Begins a turn, and returns how long the client may still take for the next piece of its body. Where
    /// the server has the whole request and may end the session, its answer is awaited from here on.
    fn begin_turn(&mut self, body: BodyState) -> Result<Duration, Ended<Self::Error>>;

    /// Returns what ends when the exchange may not go on, with the reason, and what gives the next piece of
    /// the request's body: `None` is its end. Once the body has ended, whatever comes is an error.
    ///
    /// Both may be dropped without loss. They come from one call because both borrow the client. The time
    /// that the client is waited for is counted until the second is dropped.
    fn listen(
        &mut self,
        body: BodyState,
    ) -> (impl Future<Output = Deny> + Send, impl Future<Output = Result<Option<Bytes>, Self::Error>> + Send);

    /// Judges a piece of the request's body, and keeps it until the server takes it.
    fn take(&mut self, piece: Option<Bytes>, body: &mut RequestBody) -> Result<(), Ended<Self::Error>>;

    /// Writes an interim answer.
    fn write_interim(&mut self, head: Head) -> impl Future<Output = Result<(), Ended<Self::Error>>> + Send;

    /// Judges the head of the answer before anything of it leaves: what it says about sessions is done here.
    fn on_head(
        &mut self,
        head: &Head,
        body: &mut RequestBody,
    ) -> impl Future<Output = Result<(), Ended<Self::Error>>> + Send;

    /// Makes the head of the answer fit to leave. It comes after [`on_head`](Self::on_head): how the answer
    /// is framed is decided in between.
    fn prepare_head(&mut self, head: Head) -> Result<Self::Head, Ended<Self::Error>>;

    /// Writes a part of the answer, unless the exchange may not go on. Head, data and trailers that are there
    /// together leave in one write.
    fn write(
        &mut self,
        part: Outgoing<Self::Head>,
    ) -> impl Future<Output = Result<(), Ended<Self::Error>>> + Send;

    /// Takes in what the client still sends of a request whose answer is whole, all but a last part that is
    /// `held`.
    fn drain(
        &mut self,
        body: &mut RequestBody,
        held: Option<Outgoing<Self::Head>>,
    ) -> impl Future<Output = Result<(), Ended<Self::Error>>> + Send;

    /// Ends a call whose answer has begun, in trailers, where it was octroi that ended it.
    fn end_call(
        &mut self,
        why: Ended<Self::Error>,
    ) -> impl Future<Output = Result<(), Ended<Self::Error>>> + Send;

    /// Switches protocols, and hands on what comes from either side until one of them ends.
    fn tunnel(
        &mut self,
        head: Head,
        connection: &mut Connection,
        between: Duration,
    ) -> impl Future<Output = Result<(), Ended<Self::Error>>> + Send;
}

/// Refuses with a failure of octroi's own where there is no permit: without one no server is asked.
pub(super) fn permit_of<D: Downstream>(client: &D) -> Result<&Permit, Failure> {
    client.permit().ok_or_else(|| Failure::internal("no permit, no server"))
}
