//! The ledger without a runtime, for tests of its parts. Nodes that they make up answer at once.

use std::{
    pin::pin,
    task::{Context, Poll, Waker},
};

use super::{
    SessionLedger, StoreError,
    admission::GrantStep,
    grant_record::{GrantLimits, GrantRecord},
    grant_request::GrantRequest,
    peers::AckLevel,
    record::Record,
    writer_hand_over::WriterRequest,
};
use crate::{
    model::{RevocationTarget, SessionId, TenantName, UnixTime},
    session::Admission,
};

fn at_once<T>(work: impl Future<Output = T>) -> T {
    match pin!(work).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(done) => done,
        Poll::Pending => panic!("nobody waits in a test without a runtime"),
    }
}

impl SessionLedger {
    pub(super) fn revoke(
        &self,
        whose: &RevocationTarget,
        at: UnixTime,
        keep_until: UnixTime,
    ) -> Result<(), StoreError> {
        self.end_now(Self::record_of(whose, at, keep_until))
    }

    pub(super) fn revoke_session(
        &self,
        tenant: &TenantName,
        id: &SessionId,
        at: UnixTime,
        keep_until: UnixTime,
    ) -> Result<(), StoreError> {
        self.end_now(Self::record_of_session(tenant, *id, at, keep_until))
    }

    fn end_now(&self, record: Record) -> Result<(), StoreError> {
        let written = self.write_here(record);
        let spread = at_once(self.spread(written.news, AckLevel::Store));
        written.durable.and(spread.map(drop))
    }

    pub(super) fn grant_now(
        &self,
        record: GrantRecord,
        limits: GrantLimits,
        replaces: Option<SessionId>,
        now: UnixTime,
    ) -> Result<Admission, StoreError> {
        let request = GrantRequest { record, limits, replaces };
        let request = match self.begin_grant(request, now)? {
            GrantStep::Done(admission) => return Ok(admission),
            GrantStep::AskNodes(request) => request,
        };
        match at_once(self.count_over_nodes(&request))? {
            Some(refused @ Admission::Refused(_)) => Ok(refused),
            counted => self.admit_session(request, counted, now),
        }
    }

    pub(super) fn write_now(&self, bytes: &[u8]) -> Result<(), StoreError> {
        let request = match Self::read_request(bytes)? {
            WriterRequest::End(record) => return self.end_now(record),
            WriterRequest::Notes(first, rest) => return self.take_pending_writes(first, rest),
            WriterRequest::Grant(request) => request,
        };
        let (tenant, now, absolute) =
            (request.record.tenant.clone(), request.record.granted, request.limits.absolute);
        match self.grant_now(request.record, request.limits, request.replaces, now)? {
            Admission::Refused(count) => Err(StoreError::TooMany(count)),
            Admission::Granted(surplus) => surplus.iter().try_for_each(|held| {
                self.revoke_session(&tenant, &held.id, now, held.ends.max(now.plus(absolute)))
            }),
        }
    }
}
