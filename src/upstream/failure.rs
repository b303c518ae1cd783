//! How an exchange ends before its answer is whole.

use std::borrow::Cow;

use crate::model::{Deny, Reason};

/// Why an exchange ended. `E` is how the client's side says that it failed.
#[derive(Debug)]
pub(crate) enum Ended<E> {
    /// octroi refuses it, or what the server said.
    Denied(Deny),
    /// It may not go on: its session or its permission ended, or others needed what it held.
    Cancelled(Deny),
    /// The client's side failed.
    ClientGone(E),
    /// The server failed, or none could be had.
    Failed(Failure),
}

impl<E> From<Failure> for Ended<E> {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

/// A server that failed, or could not be had.
#[derive(Clone, Debug)]
pub(crate) struct Failure {
    /// What it is called, if there is no other attempt.
    pub(crate) deny: Deny,
    /// Whether the server has done nothing, so that any request may go to another one.
    pub(crate) repeatable: bool,
    /// Whether the connection ended before the server said anything: it may have died at rest, unseen.
    pub(crate) unheard: bool,
    /// Whether no connection could be had, and that was the server's fault. Nothing was sent then.
    pub(crate) unreachable: bool,
    /// Whether the server is at fault; otherwise octroi itself had no room for the exchange.
    pub(crate) is_of_server: bool,
}

impl Failure {
    /// A server that failed after it may have begun to work on the request.
    pub(crate) fn new(reason: Reason, why: impl Into<Cow<'static, str>>) -> Self {
        // The client has done nothing wrong.
        let deny = Deny::new(reason, why).honest(true);
        Self { deny, repeatable: false, unheard: false, unreachable: false, is_of_server: true }
    }

    /// A server that broke the protocol.
    pub(crate) fn protocol(why: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Reason::UpstreamProtocol, why)
    }

    /// A connection that ended before the server said anything.
    pub(crate) fn unheard(why: impl Into<Cow<'static, str>>) -> Self {
        Self { unheard: true, ..Self::new(Reason::UpstreamClosed, why) }
    }

    /// A server that takes no connection, or none that can be used. `repeatable` says whether another one may
    /// be tried.
    pub(crate) fn unreachable(reason: Reason, repeatable: bool, why: impl Into<Cow<'static, str>>) -> Self {
        Self { unreachable: true, repeatable, ..Self::new(reason, why) }
    }

    /// No room for one more exchange.
    pub(crate) fn no_room(deny: Deny) -> Self {
        Self { deny, repeatable: false, unheard: false, unreachable: false, is_of_server: false }
    }

    /// An error of octroi's own.
    pub(crate) fn internal(why: &'static str) -> Self {
        Self { is_of_server: false, ..Self::new(Reason::Internal, why) }
    }

    /// Names the server, where it is at fault.
    pub(super) fn of_server(mut self, server: &str) -> Self {
        if self.is_of_server {
            self.deny.detail = format!("server {server}: {}", self.deny.detail).into();
        }
        self
    }
}
