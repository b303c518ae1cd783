//! Revocations that nodes share: what goes out to the other nodes, and what comes in from them.
//!
//! A revocation is in force and durable here before another node is told of it, and who asked for it is
//! answered when the store that the nodes share has it. Everything that goes either way merges, so it may
//! come twice, late, or in another order:
//!
//! * a session's end, and a user's with the time up to which a sign-in is ended, by the earlier and the later
//!   time;
//! * a tenant's end by the number of its epoch ([`Epoch`](super::epoch::Epoch)). A session carries the epoch
//!   that its tenant was in where it was made, and is ended by any later one, so no clock of another node is
//!   compared with its times. The next number is at least the seconds since 1970: a node that lost what it
//!   knew does not begin at 1 again, below epochs that others have. The store gives out no number twice
//!   ([`Peers::spread`]), so of two nodes that end a tenant in the same second each ends what the other had
//!   let in.
//!
//! What that cannot do: a node that could not reach the store ended a tenant, was started anew before it
//! could, and its clock is behind the others': then a session that another node made meanwhile, in an epoch
//! with a larger number, outlives it.
//!
//! # Freshness
//!
//! Whoever brings in what others ended says until when that holds ([`SessionLedger::renew`]). Behind that
//! time a session that is not known to be ended is
//! [`RevocationAnswer::Stale`](crate::model::RevocationAnswer::Stale), and the policy says what that means.

use std::time::Duration;

use super::{
    StoreError, epochs,
    grant_record::GrantRecord,
    record::Record,
    session_list::{ListError, RemoteSession},
};
use crate::{
    model::{BoxFuture, SessionId, TenantName, UnixTime, UserId},
    session::{Admission, UserLimit},
};

/// The other nodes.
pub(crate) trait Peers: Send + Sync {
    /// Hands records to them, and waits until the store that they share has them, or longer, for a bounded
    /// time.
    ///
    /// After an error the records are with the store later, or already.
    fn spread(&self, news: Vec<Record>, level: AckLevel) -> BoxFuture<'_, Result<AckReport, StoreError>>;
    /// Hands records to them when it can be done. Does not block.
    fn spread_later(&self, news: Vec<Record>);
    /// Counts a session that is about to begin among those that its user has on all nodes, within a bounded
    /// time.
    ///
    /// Where it may begin it is counted from then on, and what is one too many is until it has ended.
    /// [`StoreError::Uncounted`] says that nobody can tell how many there are.
    fn count<'a>(
        &'a self,
        record: &'a GrantRecord,
        limit: UserLimit,
        idle: Duration,
        replaces: Option<SessionId>,
    ) -> BoxFuture<'a, Result<Admission, StoreError>>;
    /// Returns the live sessions of a user that any node knows, in no order, within a bounded time.
    fn sessions_of<'a>(
        &'a self,
        tenant: &'a TenantName,
        user: &'a UserId,
        idle: Duration,
    ) -> BoxFuture<'a, Result<Vec<RemoteSession>, ListError>>;
    /// Hears that it could not be asked, and that this node counted by what it knows.
    fn counted_alone(&self);
    /// Hears that a session began, was seen or ended, and tells the other nodes when it can be done. Does not
    /// block.
    fn noted(&self, id: &SessionId);
}

/// What a revocation waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AckLevel {
    /// The store has it.
    Store,
    /// Every node that lives has it in force, or did not say so in time.
    Nodes,
}

/// How far a revocation has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AckReport {
    /// On how many nodes it is in force, this one counted.
    pub nodes: u32,
    /// Nodes that live and did not say in time that it is in force there.
    pub silent: Vec<String>,
}

impl Default for AckReport {
    fn default() -> Self {
        Self { nodes: 1, silent: Vec::new() }
    }
}

/// How far clocks of nodes may differ.
pub(crate) const CLOCKS_DIFFER: Duration = Duration::from_secs(60);

/// Says whether a time that another node wrote may be its now, though it lies ahead of ours.
pub(crate) fn is_now(at: UnixTime, now: UnixTime) -> bool {
    at <= now.plus(CLOCKS_DIFFER)
}

/// What came of taking records in.
#[derive(Debug, Default)]
pub(crate) struct Merge {
    /// How many said something new.
    pub(crate) news: usize,
    /// How many of them did not fit.
    pub(crate) refused: usize,
    /// What was put to make room, which the others must know.
    pub(crate) own: Vec<Record>,
}

/// Returns when a record no longer matters; nothing for one that is kept for good.
pub(crate) fn ends(record: &Record) -> Option<UnixTime> {
    match record {
        Record::Session { keep_until, .. } | Record::User { keep_until, .. } => Some(*keep_until),
        Record::Raise { .. } | Record::Fold { .. } | Record::Tenant { .. } | Record::Fresh { .. } => None,
        Record::Granted(_) | Record::Presented { .. } => None,
    }
}

/// Puts records into the form that is shared: the ends of sessions and users, and tenants' epochs.
pub(crate) fn shared_form(news: Vec<Record>) -> Vec<Record> {
    let each = |record: Record| match record {
        Record::Session { .. } | Record::User { .. } | Record::Raise { .. } => vec![record],
        Record::Fold { tenant, at, epoch } => vec![Record::Raise { tenant, at, epoch }],
        Record::Tenant { tenant, epoch, since, raises, present: _ } => {
            epochs::raises(&tenant, since, epoch, &raises)
        }
        Record::Fresh { .. } | Record::Granted(_) | Record::Presented { .. } => Vec::new(),
    };
    news.into_iter().flat_map(each).collect()
}
