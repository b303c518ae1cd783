//! How a record is taken in: in memory, for the file, for a process that follows, and for the other nodes.

use std::time::Duration;

use super::{SessionLedger, StoreError, journal::Writers, record::Record, writer::Writer};
use crate::model::{RevocationTarget, SessionId, TenantName, UnixTime};

/// By how much the time that writers know may be behind, at most: [`SessionLedger::sweep`] tells them, and is
/// called far more often.
const SWEPT_EVERY: Duration = Duration::from_secs(120);

/// What came of writing a record here.
pub(super) struct Local {
    /// Whether it is durable.
    pub(super) durable: Result<(), StoreError>,
    /// What the other nodes must know. They are told even where it could not be written here.
    pub(super) news: Vec<Record>,
}

impl SessionLedger {
    /// Writes a record, or has it written by the process that has the file. Blocks for a commit.
    pub(super) fn write_here(&self, record: Record) -> Local {
        let failed = |error| Local { durable: Err(error), news: Vec::new() };
        let Some(mut writers) = self.turn_of_ours() else {
            return Local { durable: self.write_elsewhere(record), news: Vec::new() };
        };
        let record = match self.admit(&mut writers, record) {
            Ok(record) => record,
            Err(error) => return failed(error),
        };
        self.put(&mut writers, record);
        let news = std::mem::take(&mut writers.news);
        Local { durable: self.commit_and_tell(writers), news }
    }

    pub(super) fn record_of_session(
        tenant: &TenantName,
        id: SessionId,
        at: UnixTime,
        keep_until: UnixTime,
    ) -> Record {
        Record::Session { id, at, keep_until: keep_until.max(at), tenant: Some(tenant.clone()) }
    }

    pub(super) fn record_of(whose: &RevocationTarget, at: UnixTime, keep_until: UnixTime) -> Record {
        let keep_until = keep_until.max(at);
        match whose {
            RevocationTarget::Session(id) => Record::Session { id: *id, at, keep_until, tenant: None },
            RevocationTarget::User(tenant, user) => {
                Record::User { tenant: tenant.clone(), user: user.clone(), from: at, at, keep_until }
            }
            RevocationTarget::Tenant(tenant) => Record::Raise { tenant: tenant.clone(), at, epoch: None },
        }
    }

    /// Returns the tenants that the policy had when it was last noted.
    pub fn tenants(&self) -> Vec<TenantName> {
        self.index.present()
    }

    /// Notes which tenants the policy has. One that went away enters its next epoch, so that its old tokens
    /// stay dead should it come back.
    pub fn settle_tenants<'a>(
        &self,
        names: impl Iterator<Item = &'a TenantName>,
        now: UnixTime,
    ) -> Result<(), StoreError> {
        let mut writers = self.writers();
        if !matches!(writers.writer, Writer::Ours) {
            return Err(StoreError::HandedOver(""));
        }
        for record in self.index.settle(&writers.counts, names, now, |at| self.floor(at)) {
            self.put(&mut writers, record);
        }
        let news = std::mem::take(&mut writers.news);
        let written = self.commit_and_tell(writers);
        // No caller waits: the next sync sends Redis what it lacks.
        self.spread_later(news);
        written
    }

    /// Forgets revocations that no live token can match, and rewrites the file if most of it is obsolete. To
    /// be called regularly.
    pub fn sweep(&self, now: UnixTime) -> Result<(), StoreError> {
        // In small batches, so that writers get their turn between them.
        for past in self.index.past(now).chunks(1024) {
            self.index.forget(&mut self.writers().counts, past, now);
        }
        self.sweep_known(now);
        let mut writers = self.writers();
        writers.now = writers.now.max(now);
        self.index.settle_dates(&mut writers.counts, now);
        writers = self.not_busy(writers).inspect_err(|error| {
            let mut writers = self.writers();
            if writers.queue.is_busy() {
                writers.queue.set_trouble(error.clone());
            }
        })?;
        if !matches!(writers.writer, Writer::Ours) {
            return Ok(());
        }
        let live = self.index.live();
        let most = live.saturating_mul(2).saturating_add(self.slack);
        if writers.queue.needs_rewrite() || writers.queue.in_file() > u64::try_from(most).unwrap_or(u64::MAX)
        {
            let ticket = writers.queue.ticket();
            writers.queue.request_rewrite();
            writers = self.lead(writers);
            return writers.queue.outcome(ticket).unwrap_or(Ok(()));
        }
        Ok(())
    }

    /// Makes room for one more revocation; may fold a tenant's into an epoch, or widen this one.
    pub(super) fn admit(&self, writers: &mut Writers, record: Record) -> Result<Record, StoreError> {
        if self.index.len() < self.bound || self.index.knows(&record) {
            return Ok(record);
        }
        if let Some(tenant) = writers.counts.fullest().cloned() {
            // Sessions that carry no epoch are told by the time of their sign-in, which lies before their
            // end. Those that were to end later end with all of their tenant's, then.
            let (past, later) = self.index.ends_of(&tenant, writers.now.plus(SWEPT_EVERY));
            self.put(
                writers,
                Record::Fold {
                    tenant: tenant.clone(),
                    at: past.unwrap_or_default().max(writers.now),
                    epoch: None,
                },
            );
            if let Some(at) = later {
                self.put(writers, Record::Raise { tenant, at, epoch: None });
            }
            return Ok(record);
        }
        match record {
            Record::User { tenant, at, .. } => Ok(Record::Raise { tenant, at, epoch: None }),
            Record::Session { .. } => Err(StoreError::Full(self.bound)),
            Record::Raise { .. } | Record::Fold { .. } | Record::Tenant { .. } | Record::Fresh { .. } => {
                Ok(record)
            }
            Record::Granted(_) | Record::Presented { .. } => Ok(record),
        }
    }

    pub(super) fn put(&self, writers: &mut Writers, record: Record) {
        let record = self.index.numbered(&writers.counts, record, |at| self.floor(at));
        if self.peers.get().is_some() && !matches!(record, Record::Granted(_) | Record::Presented { .. }) {
            writers.news.push(record.clone());
        }
        let bytes = writers.queue.push(&record);
        if let Some(follower) = &writers.follower {
            writers.told = follower.tell(bytes);
        }
        let session = record.session();
        self.index.apply(&mut writers.counts, record);
        if let (Some(id), Some(peers)) = (session, self.peers.get()) {
            peers.noted(&id);
        }
    }
}
