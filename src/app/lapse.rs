//! Says that a revocation list is about to end, and that a list or a CA of clients has ended: from then on whom it concerns is refused.

use std::collections::BTreeSet;

use crate::{
    model::{TenantName, UnixTime},
    policy::{Policy, Tenant},
};

/// How many of those that have ended a status names.
const NAMED: usize = 100;

/// What has been said, so that it is said once.
#[derive(Debug, Default)]
pub(super) struct Notices(BTreeSet<Notice>);

/// Something that somebody has to act on.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Notice {
    /// A list ends then.
    Ends(TenantName, UnixTime),
    /// A list or a CA has ended: what, in words.
    Ended(TenantName, String),
}

impl Notices {
    /// Returns what nobody was told of yet.
    fn look(&mut self, policy: &Policy, now: UnixTime) -> Vec<Notice> {
        let due: BTreeSet<Notice> = policy.tenants.iter().flat_map(|tenant| ending(tenant, now).chain(ended(tenant, now))).collect();
        let new = due.difference(&self.0).cloned().collect();
        // What is no longer due is forgotten, so this is bounded by the policy.
        self.0 = due;
        new
    }

    /// Writes down what somebody has to act on.
    pub(super) fn tell(&mut self, policy: &Policy, now: UnixTime) {
        for notice in self.look(policy, now) {
            match notice {
                Notice::Ends(tenant, end) => {
                    let seconds = end.since(now).as_secs();
                    tracing::error!(%tenant, seconds, "the revocation list of client certificates ends soon; put the next one there");
                }
                Notice::Ended(tenant, what) => tracing::error!(%tenant, "{what} until the next one is there"),
            }
        }
    }
}

fn ending(tenant: &Tenant, now: UnixTime) -> impl Iterator<Item = Notice> {
    let ending = tenant.crls().filter(move |crl| crl.notice <= now && now < crl.next_update);
    ending.map(|crl| Notice::Ends(tenant.name.clone(), crl.next_update))
}

fn ended(tenant: &Tenant, now: UnixTime) -> impl Iterator<Item = Notice> {
    tenant.lapses(now).map(|lapse| Notice::Ended(tenant.name.clone(), lapse.to_string()))
}

/// Returns what has ended, in words; beyond a hundred the last line counts the rest.
pub(super) fn lapsed(policy: &Policy, now: UnixTime) -> Vec<String> {
    let mut all = policy.tenants.iter().flat_map(|tenant| tenant.lapses(now).map(move |lapse| format!("{}: {lapse}", tenant.name)));
    let mut named: Vec<String> = all.by_ref().take(NAMED).collect();
    let more = all.count();
    if more > 0 {
        named.push(format!("and {more} more"));
    }
    named
}
