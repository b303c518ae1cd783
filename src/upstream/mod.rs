//! The way to the servers of an upstream: an exchange of our own, over HTTP/1.1 or HTTP/2, plain or over TLS.
//!
//! One loop for both: `UpstreamStream` is what a server says, `Downstream` is who asked and what may pass.
//! The rules of header fields stand in `headers`, what an answer does to sessions in `pipeline`. What stands
//! here is the framing, the connection, whose turn it is, and what all exchanges share.

mod answer;
mod answer_body;
mod budget;
mod capacity;
mod connection;
mod dial;
mod dispatch;
mod downstream;
mod exchange;
mod failure;
#[doc(hidden)]
pub mod fuzz;
mod h2_connection;
mod h2_pool;
mod head;
mod health;
mod http1;
mod http2;
mod idle;
mod interim;
mod live_exchanges;
mod pool;
mod pools;
mod read_ahead;
mod request;
mod request_body;
mod socket;
mod stream;
mod unread_bodies;

pub use self::{budget::Budgets, live_exchanges::LiveExchanges};
pub(crate) use self::{
    capacity::Resources,
    connection::{Connection, IoEvent},
    dispatch::exchange,
    downstream::{Downstream, Outgoing, RequestKind},
    failure::{Ended, Failure},
    head::{Head, request as request_head},
    http1::After,
    live_exchanges::{BATCH, Registration, cancelled},
    pool::{Pool, ServerAttempt},
    pools::Pools,
    request::{Framing, Request, Requester, http2_request},
    request_body::{BodyState, RequestBody, slow_body},
    unread_bodies::expects_body,
};
