//! Whom the listeners ask about connections, who answers what no handler began, and where events go.

use std::sync::Arc;

use super::{EarlyCause, Http2Error, Http2Refusal};
use crate::model::{
    Ban, ClientIp, Connection, ConnectionChange, ConnectionChanged, CutReason, EventKind, EventSink,
    ListenerName,
};

/// Says who may connect. None of it may block: it is called between two reads.
pub trait AdmissionControl: Send + Sync {
    /// Says whether a client is banned. Asked of every connection once its address is known, and with every
    /// read from it: a ban ends what is open.
    fn is_banned(&self, client: ClientIp) -> bool;

    /// Returns the ban of a client, for the record of its refusal.
    fn ban(&self, client: ClientIp) -> Option<Ban>;

    /// Counts a stream of HTTP/2 that the library reset against who connected, if it broke the protocol so.
    /// Called at once and once for each reset; the line is that of its request, or comes with
    /// [`EarlyReply::http2_ended`] where none has begun.
    fn stream_reset(&self, connection: &Connection, error: Http2Error);
}

/// Ends what no handler has begun, and records it. None of it may block: it is called between two reads.
pub trait EarlyReply: Send + Sync {
    /// Answers a request that was refused before anybody began it, with the whole HTTP/1 answer and
    /// `Connection: close`.
    ///
    /// `head` is what came of the head, at most one read more than `header_bytes`.
    fn reply(&self, connection: &Connection, head: &[u8], cause: EarlyCause) -> Vec<u8>;

    /// A stream or a connection of HTTP/2 was ended without a request having begun: by the library, or by us.
    fn http2_ended(&self, connection: &Connection, refusal: Http2Refusal);
}

/// What the listeners need of the floors above.
pub struct Hooks {
    /// Says who may connect.
    pub admission: Arc<dyn AdmissionControl>,
    /// Answers what no handler has begun.
    pub early_reply: Arc<dyn EarlyReply>,
    /// Takes what happens to connections.
    pub events: Arc<dyn EventSink>,
}

impl Hooks {
    /// Records what happens to a connection of a listener.
    pub(super) fn record(&self, listener: &ListenerName, change: ConnectionChange<'_>) {
        self.events.emit(EventKind::Connection(&ConnectionChanged { listener, change }));
    }

    /// Records that a deadline ended a connection, or a part of what goes on over it.
    pub(super) fn record_cut(&self, connection: &Connection, cut: CutReason) {
        self.record(&connection.facts().listener, ConnectionChange::Cut(cut));
    }
}
