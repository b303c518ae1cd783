//! What an operator does.

use std::{net::SocketAddr, time::Duration};

/// A call of the admin API that was answered. Its event has the time at which it came.
#[derive(Clone, Copy, Debug)]
pub struct OperatorActed<'a> {
    /// From where; nothing over the control socket.
    pub peer: Option<SocketAddr>,
    /// Who, once proven.
    pub principal: Option<&'a str>,
    /// The method as sent; nothing if no request could be read.
    pub method: Option<&'a str>,
    /// The path as sent.
    pub path: Option<&'a str>,
    /// The status that is answered.
    pub status: u16,
    /// The code of the refusal; nothing if the call did what it was for.
    pub reason: Option<&'static str>,
    /// How long it took to answer.
    pub duration: Duration,
    /// What was done, or the facts of the refusal.
    pub detail: Option<&'a str>,
}
