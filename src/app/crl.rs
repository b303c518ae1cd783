//! Says that a revocation list is about to end, and that it has ended: from then on its tenant's clients are refused.

use std::collections::BTreeSet;

use crate::{
    model::{TenantName, UnixTime},
    policy::Policy,
};

/// What has been said, so that it is said once.
#[derive(Debug, Default)]
pub(super) struct Notices(BTreeSet<(TenantName, UnixTime, bool)>);

impl Notices {
    /// Returns whose list ends or has ended, of those that nobody was told of yet.
    fn look(&mut self, policy: &Policy, now: UnixTime) -> Vec<(TenantName, UnixTime, bool)> {
        let due: BTreeSet<_> = policy
            .tenants
            .iter()
            .flat_map(|tenant| tenant.crls().map(move |crl| (tenant, crl)))
            .filter(|(_, crl)| crl.notice <= now)
            .map(|(tenant, crl)| (tenant.name.clone(), crl.next_update, crl.next_update <= now))
            .collect();
        let new = due.difference(&self.0).cloned().collect();
        // What is no longer due is forgotten, so this is bounded by the policy.
        self.0 = due;
        new
    }

    /// Writes down what somebody has to act on.
    pub(super) fn tell(&mut self, policy: &Policy, now: UnixTime) {
        for (tenant, end, has_ended) in self.look(policy, now) {
            if has_ended {
                tracing::error!(%tenant, "the revocation list of client certificates has ended: they are refused until the next one is there");
            } else {
                let seconds = end.since(now).as_secs();
                tracing::error!(%tenant, seconds, "the revocation list of client certificates ends soon; put the next one there");
            }
        }
    }
}
