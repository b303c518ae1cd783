//! Calls of operators.

use std::{net::SocketAddr, time::Duration};

/// An admin API call that was answered. The time of its event is when it arrived.
#[derive(Clone, Copy, Debug)]
pub struct OperatorActed<'a> {
    /// The peer's address; none over the control socket.
    pub peer: Option<SocketAddr>,
    /// The principal, once authenticated.
    pub principal: Option<&'a str>,
    /// The method as sent; none if no request could be read.
    pub method: Option<&'a str>,
    /// The path as sent.
    pub path: Option<&'a str>,
    /// The status of the answer.
    pub status: u16,
    /// The code of the refusal; none if the call succeeded.
    pub reason: Option<&'static str>,
    /// How long it took to answer.
    pub duration: Duration,
    /// What was done, or the detail of the refusal.
    pub detail: Option<&'a str>,
}
