//! What an answer is judged with: the store of sessions, time and random bytes. All of it comes from the
//! caller.

use std::time::Duration;

use crate::{
    model::{SessionId, TenantName, UnixTime, UserId},
    session::Admission,
    sessions::{GrantLimits, GrantRecord},
};

/// Begins and ends sessions durably.
pub trait SessionStore: Send + Sync {
    /// Returns the epoch of a tenant, which a new session of it carries.
    fn epoch(&self, tenant: &TenantName, now: UnixTime) -> u32;

    /// Records a session that is about to begin, and returns which of its user's must end before its token
    /// leaves; `replaces` ends with it.
    fn grant(
        &self,
        record: GrantRecord,
        limits: GrantLimits,
        replaces: Option<SessionId>,
        now: UnixTime,
    ) -> impl Future<Output = Result<Admission, StoreFailure>> + Send;

    /// Ends a session of a tenant. `keep_until` is the time from which no token of it could hold anyway.
    fn end_session(
        &self,
        tenant: &TenantName,
        id: SessionId,
        at: UnixTime,
        keep_until: UnixTime,
    ) -> impl Future<Output = Result<(), StoreFailure>> + Send;

    /// Ends every session that a user of a tenant has.
    fn end_user(
        &self,
        tenant: &TenantName,
        user: UserId,
        at: UnixTime,
        keep_until: UnixTime,
    ) -> impl Future<Output = Result<(), StoreFailure>> + Send;

    /// Says whether it is time to renew a session, and notes that it was renewed. Of concurrent requests one
    /// is told so.
    fn take_renewal(&self, id: &SessionId, idle: Duration) -> bool;
}

/// Why the store could not do what was asked, for the operator.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct StoreFailure(pub String);

/// Whether the wall clock is believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WallClock {
    /// It is.
    Trusted,
    /// It was set, and is not believed yet.
    Stepped {
        /// When it will be at the latest, if that is known.
        trusted_in: Option<Duration>,
    },
}

/// What comes from outside.
#[derive(Debug)]
pub struct AnswerInputs<'a, S> {
    /// The store of sessions.
    pub store: &'a S,
    /// The time.
    pub now: UnixTime,
    /// Whether that time is believed.
    pub clock: WallClock,
    /// Fills a slice from the system's random generator.
    pub random: fn(&mut [u8]),
}

// By hand: the store itself is not copied.
impl<S> Clone for AnswerInputs<'_, S> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<S> Copy for AnswerInputs<'_, S> {}

impl<S> AnswerInputs<'_, S> {
    pub(super) fn random_bytes<const N: usize>(&self) -> [u8; N] {
        let mut bytes = [0; N];
        (self.random)(&mut bytes);
        bytes
    }
}
