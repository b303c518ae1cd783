//! Tenants that a revision takes out: their sessions end for good.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, PoisonError},
};

use async_trait::async_trait;

use super::change::{Adopted, Cause, Change, Part, Prepared, Refused};
use crate::{
    app::included::{self, TenantIncludes},
    config::Include,
    gateway::Shared,
    model::{ControlError, ReloadRequest, TenantName, error_chain},
    process::Blocking,
};

/// What a restart would do where tenants are missing.
const RESTART: &str = "a restart would serve nobody of these tenants, and keep their sessions";

/// Refuses to take out tenants by mistake, and ends the sessions of those that are gone.
pub(in crate::app) struct TenantsPart<'a> {
    pub(in crate::app) shared: &'a Shared,
    pub(in crate::app) included: &'a Mutex<TenantIncludes>,
    /// Writing the journal.
    pub(in crate::app) writing: &'a Blocking,
}

struct PreparedTenants<'a> {
    included: &'a Mutex<TenantIncludes>,
    includes: Vec<Include>,
    confirmed: bool,
    gone: Vec<TenantName>,
}

impl TenantsPart<'_> {
    /// Refuses to take out tenants by mistake. Returns whether those that are missing are gone on purpose.
    fn confirms(&self, change: &Change) -> Result<bool, ControlError> {
        let (cause, includes) = (change.cause, &change.includes);
        let (before, after) = (change.old(), change.next());
        let included = self.included.lock().unwrap_or_else(PoisonError::into_inner);
        if matches!(cause, Cause::Operator(ReloadRequest { allow_removal: true, .. })) {
            return Ok(true);
        }
        let journal = &self.shared.revocations;
        let is_known = included.is_confirmed();
        // Tenants that are not in force either: nobody has confirmed that they may go.
        let missing = if is_known { Vec::new() } else { included::gone(before, journal, true) };
        let still: Vec<TenantName> =
            missing.iter().filter(|tenant| after.tenants.named(tenant.as_str()).is_none()).cloned().collect();
        if !still.is_empty() && cause != Cause::Automatic {
            return Err(ControlError::Config(included::refuse_missing(&still, journal.tenants().len())));
        }
        let known: BTreeSet<TenantName> = before.tenants.iter().map(|tenant| tenant.name.clone()).collect();
        match included.refuse(includes, &known, after) {
            Some(why) => Err(ControlError::Config(why)),
            // After a start that missed tenants, an automatic reload confirms nothing, unless all are back.
            None => Ok(is_known
                || (still.is_empty()
                    && (cause != Cause::Automatic || includes.iter().all(|include| include.files > 0)))),
        }
    }

    /// Notes which tenants there are, durably. This is the one step of a reload that nothing undoes.
    async fn settle(&self, change: &Change, confirmed: bool) -> Result<Vec<TenantName>, ControlError> {
        let (policy, journal) = (Arc::clone(&change.policy), Arc::clone(&self.shared.revocations));
        let now = self.shared.clock.now();
        let settled = self.writing.run(move || included::settle(&policy, &journal, confirmed, now)).await;
        settled
            .map_err(|error| ControlError::Unavailable(error_chain(&error)))?
            .map_err(|error| ControlError::Unavailable(error_chain(&error)))
    }
}

#[async_trait]
impl Part for TenantsPart<'_> {
    fn refuse(&self, change: &Change) -> Result<(), Refused> {
        self.confirms(change).map(drop).map_err(|error| Refused::new(error, RESTART))
    }

    fn foresee(&self, change: &Change) -> Vec<String> {
        let confirmed = self.confirms(change).unwrap_or(false);
        let gone = included::gone(change.next(), &self.shared.revocations, confirmed);
        removal(&gone, "would be taken out, and their sessions would end for good").into_iter().collect()
    }

    async fn prepare<'part>(&'part self, change: &mut Change) -> Result<Box<dyn Prepared + 'part>, Refused> {
        let confirmed = self.confirms(change).map_err(|error| Refused::new(error, RESTART))?;
        let gone = self.settle(change, confirmed).await?;
        let includes = std::mem::take(&mut change.includes);
        let prepared = PreparedTenants { included: self.included, includes, confirmed, gone };
        Ok(Box::new(prepared))
    }
}

impl Prepared for PreparedTenants<'_> {
    fn adopt(self: Box<Self>, adopted: &mut Adopted) {
        let removed = removal(&self.gone, "were taken out, and their sessions ended for good");
        adopted.warnings.extend(removed);
        self.included.lock().unwrap_or_else(PoisonError::into_inner).take(self.includes, self.confirmed);
    }
}

/// Names the tenants that a reload takes out.
fn removal(gone: &[TenantName], what: &str) -> Option<String> {
    let (noun, what) = if gone.len() == 1 {
        ("tenant", what.replacen("were", "was", 1))
    } else {
        ("tenants", what.to_owned())
    };
    (!gone.is_empty()).then(|| format!("warning: {} {noun} {what}: {}", gone.len(), included::named(gone)))
}
