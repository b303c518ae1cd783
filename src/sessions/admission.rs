//! How a grant is judged: a user's sessions are counted by this node alone, over all nodes, or by the process
//! that has the file.
//!
//! Over all nodes, the store that they share counts in one atomic step
//! ([`Peers::count`](super::peers::Peers::count)). The journal is written as well: a node counts by it when
//! the store cannot be reached and `on_stale` allows that.

use std::time::Duration;

use super::{
    SessionLedger, StoreError,
    grant_record::GrantRecord,
    grant_request::{GrantRequest, note_of},
};
use crate::{
    model::{SessionId, UnixTime},
    policy::OnStale,
    session::{Admission, HeldSession, UserLimit, admit},
};

/// Where the sessions of a user are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Counting {
    /// By this node.
    Here,
    /// By all nodes, which are to be asked first.
    OverNodes,
    /// By the process that has the file.
    Elsewhere,
}

/// How far a grant came without the other nodes.
pub(super) enum GrantStep {
    /// It is decided.
    Done(Admission),
    /// The other nodes must count it first.
    AskNodes(GrantRequest),
}

impl SessionLedger {
    /// Decides a grant, unless the other nodes must count it before. Blocks.
    pub(super) fn begin_grant(&self, request: GrantRequest, now: UnixTime) -> Result<GrantStep, StoreError> {
        match self.counting(&request) {
            Counting::Here => self.admit_session(request, None, now).map(GrantStep::Done),
            Counting::Elsewhere => self.grant_elsewhere(request).map(GrantStep::Done),
            Counting::OverNodes => Ok(GrantStep::AskNodes(request)),
        }
    }

    /// Says whether the other nodes must count a session before it may begin. Blocks while a hand-over is on
    /// its way.
    fn counting(&self, request: &GrantRequest) -> Counting {
        if request.limits.limit.is_none() || self.peers.get().is_none() {
            return Counting::Here;
        }
        match self.turn_of_ours() {
            None => Counting::Elsewhere,
            // `admit_session` refuses the session, so the others need not be asked.
            Some(_) if !self.index.registry.has_room(&request.record.tenant) => Counting::Here,
            Some(_) => Counting::OverNodes,
        }
    }

    /// Has the other nodes count a session; nothing where they cannot, and this node is to count by what it
    /// knows.
    pub(super) async fn count_over_nodes(
        &self,
        request: &GrantRequest,
    ) -> Result<Option<Admission>, StoreError> {
        let (Some(limit), Some(peers)) = (request.limits.limit, self.peers.get()) else { return Ok(None) };
        match peers.count(&request.record, limit, request.limits.idle, request.replaces).await {
            Err(StoreError::Uncounted(_)) if request.limits.on_stale == OnStale::Allow => {
                peers.counted_alone();
                Ok(None)
            }
            counted => counted.map(Some),
        }
    }

    /// Notes a session that is about to begin, and says which of its user's must end before its token leaves;
    /// what it replaces ends with it. `counted` is what the other nodes say.
    ///
    /// Durable on return where the user's sessions are limited. Blocks. A refused one is not noted.
    pub(super) fn admit_session(
        &self,
        request: GrantRequest,
        counted: Option<Admission>,
        now: UnixTime,
    ) -> Result<Admission, StoreError> {
        let Some(mut writers) = self.turn_of_ours() else {
            // The file was handed over meanwhile. A count over all nodes stays valid.
            return match counted {
                Some(admission) => {
                    self.queue_for_writer(note_of(request.record));
                    Ok(admission)
                }
                None => self.grant_elsewhere(request),
            };
        };
        let GrantRequest { record, limits, replaces } = request;
        if counted.is_none() && !self.index.registry.has_room(&record.tenant) {
            // An unrecorded session could not be counted later.
            return match limits.limit {
                Some(_) => Err(StoreError::RegistryFull),
                None => Ok(Admission::Granted(Vec::new())),
            };
        }
        let admission = match (counted, limits.limit) {
            (Some(admission), _) => admission,
            (None, Some(limit)) => self.count_alone(&record, limit, limits.idle, replaces, now),
            (None, None) => Admission::Granted(Vec::new()),
        };
        if let Admission::Refused(_) = admission {
            return Ok(admission);
        }
        self.put(&mut writers, note_of(record));
        if limits.limit.is_some() {
            self.commit_and_tell(writers)?;
        }
        Ok(admission)
    }

    /// Judges by the sessions that are known here. The caller has the turn, so that of two at once the second
    /// counts the first.
    fn count_alone(
        &self,
        record: &GrantRecord,
        limit: UserLimit,
        idle: Duration,
        replaces: Option<SessionId>,
        now: UnixTime,
    ) -> Admission {
        let held = self.living(&record.tenant, &record.user, idle, now);
        let held = held.iter().filter(|known| known.note.id != record.id && Some(known.note.id) != replaces);
        let mut held: Vec<HeldSession> = held
            .map(|known| HeldSession {
                granted: known.note.granted,
                id: known.note.id,
                ends: known.note.ends,
            })
            .collect();
        admit(&mut held, limit)
    }

    /// Asks the process that has the file, which counts the grants of both processes, and ends surplus
    /// sessions. Blocks.
    fn grant_elsewhere(&self, request: GrantRequest) -> Result<Admission, StoreError> {
        if request.limits.limit.is_none() {
            self.queue_for_writer(note_of(request.record));
            return Ok(Admission::Granted(Vec::new()));
        }
        match self.ask_writer(request.encode()) {
            Ok(()) => Ok(Admission::Granted(Vec::new())),
            Err(StoreError::TooMany(count)) => Ok(Admission::Refused(count)),
            Err(error) => Err(error),
        }
    }
}
