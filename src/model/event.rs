//! What happened: one value for each fact, made once, where it happens.
//!
//! An event borrows everything and formats nothing. Access lines and metrics are made from it in `telemetry`,
//! and nowhere else.

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

/// Something that happened.
#[derive(Clone, Copy, Debug)]
pub struct Event<'a> {
    /// When; of what takes time, when it began.
    pub time: UnixTime,
    /// The revision of the policy that it happened under.
    pub revision: &'a str,
    /// What.
    pub what: EventKind<'a>,
}

/// What happened.
#[derive(Clone, Copy, Debug)]
pub enum EventKind<'a> {
    /// A request ended, served or refused.
    Request(&'a RequestEnded<'a>),
    /// A connection began, was refused, or ended.
    Connection(&'a ConnectionChanged<'a>),
    /// A session began, was renewed, or ended.
    Session(&'a SessionChanged<'a>),
    /// An operator called the admin API.
    Operator(&'a OperatorActed<'a>),
    /// A policy was to be loaded.
    Policy(PolicyChanged),
    /// Something of this node itself changed.
    Node(NodeChanged<'a>),
}

/// Takes events, under the rules in force. It never blocks: connections call it between two reads.
pub trait EventSink: Send + Sync {
    /// Takes what happens now.
    fn emit(&self, what: EventKind<'_>);

    /// Takes what began at a time.
    fn emit_at(&self, time: UnixTime, what: EventKind<'_>);
}
