//! The rules that requests are judged by, with their access log.

use std::sync::Arc;

use async_trait::async_trait;

use super::change::{Adopted, Cause, Change, Part, Prepared, Refused};
use crate::{
    app::{observers, prepare},
    gateway::{Shared, Snapshot},
    model::{ControlError, error_chain},
    process::BlockingWork,
};

/// Opens the access log, and puts the policy into force.
pub(in crate::app) struct RulesPart<'a> {
    pub(in crate::app) shared: &'a Shared,
    pub(in crate::app) blocking: &'a BlockingWork,
}

struct PreparedRules<'a> {
    shared: &'a Shared,
    snapshot: Snapshot,
}

impl RulesPart<'_> {
    async fn open(&self, change: &Change) -> Result<Snapshot, Refused> {
        let (before, policy) = (Arc::clone(&change.before), Arc::clone(&change.policy));
        // Opening a log may block.
        let opening =
            if change.cause == Cause::Automatic { &self.blocking.renewal } else { &self.blocking.reload };
        let opened = opening
            .run(move || prepare::log(&policy, Some(&before)))
            .await
            .map_err(|error| ControlError::Unavailable(error_chain(&error)))?;
        let log = opened.map_err(|error| {
            Refused::new(ControlError::Config(error_chain(&error)), "a restart would end with exit 74")
        })?;
        Ok(Snapshot::new(
            Arc::clone(&change.policy),
            change.before.recorder.next(&change.policy.revision, log),
            Some(&change.before),
        ))
    }
}

#[async_trait]
impl Part for RulesPart<'_> {
    async fn prepare<'part>(&'part self, change: &mut Change) -> Result<Box<dyn Prepared + 'part>, Refused> {
        let snapshot = self.open(change).await?;
        Ok(Box::new(PreparedRules { shared: self.shared, snapshot }))
    }
}

impl Prepared for PreparedRules<'_> {
    fn adopt(self: Box<Self>, _adopted: &mut Adopted) {
        let Self { shared, snapshot } = *self;
        let policy = Arc::clone(&snapshot.policy);
        observers::policy(&shared.metrics, &policy, shared.clock.now());
        shared.snapshot.store(Arc::new(snapshot));
        shared.live_exchanges.change();
        if policy.bans.is_none() {
            shared.bans.forget_offences();
        }
    }
}
