//! The way to the app: exchanges of our own, over HTTP/1.1 or HTTP/2, plain or over TLS.
//!
//! pingora's way to an upstream costs more than all of the gateway's checks: a task per idle connection, two channels and two maps of
//! names per exchange (`floor.md`); and what is under way there cannot be ended from outside. So no request takes it.
//!
//! The rules stand elsewhere: [`forward`](super::forward) for what leaves, [`Gateway::received`](super::proxy::Gateway::received) and [`answer`](super::answer) for what comes back. What
//! is ours here is the framing and the connection. Over HTTP/1.1 (RFC 9112) that is one exchange at a time, and a connection is kept only
//! where the answer began after the whole request had been handed over, where its end is known and nothing came behind it.

mod ahead;
mod answer;
mod body;
mod client;
mod connect;
mod connection;
mod dispatch;
mod failed;
mod frame;
mod framing;
pub mod fuzz;
mod head;
mod http1;
mod http2;
mod idle;
mod interim;
mod room;
mod sides;
mod socket;
mod tunnel;
mod unread;
mod upgrade;
mod upload;

pub(super) use self::{http2::Lines, idle::Idle, unread::Bodies};
