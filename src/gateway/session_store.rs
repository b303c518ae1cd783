//! The ledger of sessions, as the pipeline asks it: with a deadline, counted and logged.

use std::time::Duration;

use tokio::time::timeout;

use super::shared::Shared;
use crate::{
    model::{
        EventKind, EventSink, NodeChanged, RevocationTarget, RevocationWrite, SessionChanged, SessionEvent,
        SessionId, TenantName, UnixTime, UserId, error_chain,
    },
    pipeline::answer::{SessionStore, StoreFailure, WallClock},
    policy::Policy,
    session::{Admission, Claims},
    sessions::{GrantLimits, GrantRecord, GrantRequest, RevocationStore, StoreError},
};

/// How long a request waits for the journal's disk: longer than whoever waits for another's commit there.
const DISK: Duration = Duration::from_secs(15);
const SLOW: &str = "the disk of the revocation journal does not answer";

impl SessionStore for Shared {
    fn epoch(&self, tenant: &TenantName, now: UnixTime) -> u32 {
        RevocationStore::epoch(&*self.revocations, tenant, now)
    }

    async fn grant(
        &self,
        record: GrantRecord,
        limits: GrantLimits,
        replaces: Option<SessionId>,
        now: UnixTime,
    ) -> Result<Admission, StoreFailure> {
        let tenant = record.tenant.clone();
        let request = GrantRequest { record, limits, replaces };
        let why = match timeout(DISK, self.revocations.grant(request, now)).await {
            Ok(Ok(admission)) => return Ok(admission),
            Ok(Err(error)) => error_chain(&error),
            Err(_) => SLOW.to_owned(),
        };
        if limits.limit.is_none() {
            tracing::warn!(event = "sessions_uncounted", %tenant, error = %why, "a session is not noted");
        } else {
            tracing::error!(event = "sessions_uncounted", %tenant, error = %why, "a sign-in is refused: the sessions of its user cannot be counted");
        }
        Err(StoreFailure(why))
    }

    async fn end_session(
        &self,
        tenant: &TenantName,
        id: SessionId,
        at: UnixTime,
        keep_until: UnixTime,
    ) -> Result<(), StoreFailure> {
        durable(self, self.revocations.end_session(tenant, id, at, keep_until)).await
    }

    async fn end_user(
        &self,
        tenant: &TenantName,
        user: UserId,
        at: UnixTime,
        keep_until: UnixTime,
    ) -> Result<(), StoreFailure> {
        let target = RevocationTarget::User(tenant.clone(), user);
        durable(self, self.revocations.end(&target, at, keep_until)).await
    }

    fn take_renewal(&self, id: &SessionId, idle: Duration) -> bool {
        self.renewals.take(id, idle, self.clock.tick())
    }
}

/// Says whether the wall clock is believed, for sessions that are about to begin.
pub(super) fn clock(shared: &Shared, policy: &Policy) -> WallClock {
    if shared.clock.is_steady() {
        return WallClock::Trusted;
    }
    WallClock::Stepped { trusted_in: shared.clock.unsteady_for(policy.clock_hold) }
}

/// Ends a session of which an old token came back: nobody can tell its user from a thief.
pub(super) async fn end_reused(shared: &Shared, claims: &Claims, hash: &str, now: UnixTime) {
    let (tenant, user) = (Some(&claims.tenant), Some(&claims.user));
    shared.emit(EventKind::Session(&SessionChanged { tenant, user, change: SessionEvent::Reused }));
    let (tenant, generation) = (claims.tenant.as_str(), claims.generation);
    tracing::warn!(
        event = "session_reuse",
        tenant,
        session = hash,
        generation,
        "an old token of a session came back; the session is ended"
    );
    // The request is refused whatever comes of it, and a failure is logged there.
    let _ = shared.end_session(&claims.tenant, claims.id, now, claims.absolute_end).await;
}

/// Waits until a revocation is durable, and says what became of it.
async fn durable(
    shared: &Shared,
    ending: impl Future<Output = Result<(), StoreError>>,
) -> Result<(), StoreFailure> {
    let Ok(written) = timeout(DISK, ending).await else {
        shared.emit(EventKind::Node(NodeChanged::RevocationWritten(RevocationWrite::Failure)));
        tracing::error!(
            error = SLOW,
            "a session was ended here and now, but that would not survive a restart"
        );
        return Err(StoreFailure(SLOW.to_owned()));
    };
    shared.emit(EventKind::Node(NodeChanged::RevocationWritten(match &written {
        Ok(()) => RevocationWrite::Success,
        Err(StoreError::NotShared(_)) => RevocationWrite::NotShared,
        Err(_) => RevocationWrite::Failure,
    })));
    let Err(error) = written else { return Ok(()) };
    let why = error_chain(&error);
    if matches!(error, StoreError::NotShared(_)) {
        tracing::error!(error = %why, "a session was ended here for good, and other nodes do not know it yet");
    } else {
        tracing::error!(error = %why, "a session was ended here and now, but that would not survive a restart");
    }
    Err(StoreFailure(why))
}
