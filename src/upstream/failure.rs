//! How an exchange ends before its answer is complete.

use std::borrow::Cow;

use crate::model::{Deny, Reason};

/// Why an exchange ended. `E` is how the client's side says that it failed.
#[derive(Debug)]
pub(crate) enum Ended<E> {
    /// octroi refuses the request or the answer.
    Denied(Deny),
    /// It may not go on: its session or its permission ended, or others needed what it holds.
    Cancelled(Deny),
    /// The client's side failed.
    ClientGone(E),
    /// The server failed, or none could be reached.
    Failed(Failure),
}

impl<E> From<Failure> for Ended<E> {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

/// A server that failed, or could not be reached.
#[derive(Clone, Debug)]
pub(crate) struct Failure {
    /// The refusal, if there is no other attempt.
    pub(crate) deny: Deny,
    /// Whether the server has done nothing, so that any request may go to another one.
    pub(crate) repeatable: bool,
    /// Whether the connection ended before the server sent anything: it may have died while it was idle.
    pub(crate) unheard: bool,
    /// Whether no connection could be opened because of the server. Nothing was sent then.
    pub(crate) unreachable: bool,
    /// Whether the server is at fault; otherwise octroi itself is.
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

    /// A connection that ended before the server sent anything.
    pub(crate) fn unheard(why: impl Into<Cow<'static, str>>) -> Self {
        Self { unheard: true, ..Self::new(Reason::UpstreamClosed, why) }
    }

    /// A server that accepts no connection, or none that can be used. `repeatable` says whether another
    /// server may be tried.
    pub(crate) fn unreachable(reason: Reason, repeatable: bool, why: impl Into<Cow<'static, str>>) -> Self {
        Self { unreachable: true, repeatable, ..Self::new(reason, why) }
    }

    /// A budget has no share for the exchange.
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
