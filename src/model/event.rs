//! Events: one value for each fact, created once, where it happens.
//!
//! An event borrows its data and formats nothing. Only `telemetry` makes access lines and metrics from it.

mod connection;
mod node;
mod operator;
mod policy;
mod request;
mod session;

pub use connection::{ConnectionChange, ConnectionChanged, EdgeRefusal};
pub use node::{FetchResult, NodeChanged, OrderResult, RevocationWrite};
pub use operator::OperatorActed;
pub use policy::PolicyChanged;
pub use request::{
    QuotaOutcomes, QuotaVerdict, RequestCounts, RequestEnded, UpstreamAttempted, UpstreamOutcome,
};
pub use session::SessionChanged;

use super::UnixTime;

/// An event.
#[derive(Clone, Copy, Debug)]
pub struct Event<'a> {
    /// The time at which it happened, or began if it took time.
    pub time: UnixTime,
    /// The revision of the policy in force.
    pub revision: &'a str,
    /// What.
    pub what: EventKind<'a>,
}

/// What happened.
#[derive(Clone, Copy, Debug)]
pub enum EventKind<'a> {
    /// A request ended, served or refused.
    Request(&'a RequestEnded<'a>),
    /// A connection was opened, refused, or ended.
    Connection(&'a ConnectionChanged<'a>),
    /// A session began, was renewed, or ended.
    Session(&'a SessionChanged<'a>),
    /// An operator called the admin API.
    Operator(&'a OperatorActed<'a>),
    /// A policy was loaded, or refused.
    Policy(PolicyChanged),
    /// The state of this node changed.
    Node(NodeChanged<'a>),
}

/// Receives events under the policy in force. It never blocks: connections call it between two reads.
pub trait EventSink: Send + Sync {
    /// Records an event that happens now.
    fn emit(&self, what: EventKind<'_>);

    /// Records an event that began at a given time.
    fn emit_at(&self, time: UnixTime, what: EventKind<'_>);
}
