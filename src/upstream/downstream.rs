//! The client's side of an exchange, as the upstream's side sees it.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method};

use super::{
    connection::Connection,
    failure::{Ended, Failure},
    head::Head,
    live_exchanges::Registration,
    pool::{Pool, ServerAttempt},
    request::Request,
    request_body::RequestBody,
};
use crate::{
    model::{Deny, Tick},
    pipeline::Permit,
};

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

/// Who asked. Decides what may pass, and speaks with the client in its own protocol.
pub(crate) trait Downstream: Send {
    /// How the client's side says that it failed.
    type Error: Send;
    /// The head of an answer that is fit to leave, in the client's protocol.
    type Head: Send;

    /// Returns what the request is permitted, as things are now.
    fn permit(&self) -> Option<&Permit>;

    /// Returns the method of the request.
    fn method(&self) -> &Method;

    /// Returns whether the client speaks HTTP/2.
    fn is_http2(&self) -> bool;

    /// Returns whether it is a gRPC call to servers that can answer one.
    fn is_call(&self) -> bool;

    /// Makes the request as it leaves, by the permit as it is now.
    fn request(&mut self, pool: &Pool) -> Result<Request, Ended<Self::Error>>;

    /// Notes that a server is asked, for the record. Nothing where the attempt does not count.
    fn note_attempt(&mut self, attempt: Option<ServerAttempt>);

    /// Judges whether the request may leave now. Returns whether its session has ended, so that it has to be
    /// made anew.
    fn before_send(&mut self) -> Result<bool, Ended<Self::Error>>;

    /// Notes which budget the exchange holds something of that others may wait for.
    fn holds_budget(&mut self, number: usize);

    /// Registers the exchange among the live ones, where it is not as yet.
    fn register(&mut self) -> Result<(), Ended<Self::Error>>;

    /// Returns its registration among the live exchanges.
    fn registration(&self) -> Option<&Registration>;

    /// Returns what ends when the exchange may not go on, and what gives the next piece of the request's
    /// body: `None` is its end. Either may be dropped without loss. With `idle` the body has ended, and
    /// whatever comes is an error.
    fn listen(
        &mut self,
        idle: bool,
    ) -> (impl Future<Output = Deny> + Send, impl Future<Output = Result<Option<Bytes>, Self::Error>> + Send);

    /// Judges a piece of the request's body, and keeps it until the server takes it.
    fn take(&mut self, piece: Option<Bytes>, body: &mut RequestBody) -> Result<(), Ended<Self::Error>>;

    /// Notes that the server has all of the request, once it has: where it may end the session, its answer is
    /// awaited.
    fn note_sent(&mut self, body: &RequestBody) -> Result<(), Ended<Self::Error>>;

    /// Returns how long the client may still take for the next piece of its body.
    fn patience(&self) -> Duration;

    /// Begins to count how long the client is waited for, if it is its turn.
    fn begin_wait(&self, body: &RequestBody) -> Option<Tick>;

    /// Counts that up to now.
    fn end_wait(&mut self, since: Option<Tick>);

    /// Refuses a body that comes too slowly.
    fn too_slow(&mut self) -> Ended<Self::Error>;

    /// Hands an interim answer on.
    fn interim(&mut self, head: Head) -> impl Future<Output = Result<(), Ended<Self::Error>>> + Send;

    /// Judges the head of the answer before anything of it leaves: what it says about sessions is done here.
    fn on_head(
        &mut self,
        head: &Head,
        body: &mut RequestBody,
    ) -> impl Future<Output = Result<(), Ended<Self::Error>>> + Send;

    /// Makes the head of the answer fit to leave.
    fn prepare_head(&mut self, head: Head) -> Result<Self::Head, Ended<Self::Error>>;

    /// Makes trailers fit to leave.
    fn prepare_trailers(&mut self, trailers: &mut HeaderMap) -> Result<(), Deny>;

    /// Writes a part of the answer, unless the exchange may not go on.
    fn write(
        &mut self,
        part: Outgoing<Self::Head>,
    ) -> impl Future<Output = Result<(), Ended<Self::Error>>> + Send;

    /// Notes that the whole answer has been written.
    fn note_answered(&mut self);

    /// Takes in what the client still sends of a request whose answer is whole, all but a last part that is
    /// `held`.
    fn drain(
        &mut self,
        body: &mut RequestBody,
        held: Option<Outgoing<Self::Head>>,
    ) -> impl Future<Output = Result<(), Ended<Self::Error>>> + Send;

    /// Returns whether a call with this answer can be ended in words of its own, behind whole messages.
    fn can_end_call(&self, head: &Head) -> bool;

    /// Ends a call that has begun to be answered, and says why where it was octroi that ended it.
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
