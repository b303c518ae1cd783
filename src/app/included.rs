//! Tenants that go: a folder that is empty for a moment must not end the sessions of everybody in it, for good.

use std::collections::BTreeSet;

use crate::{
    config::Include,
    model::{MissingTenants, TenantName, UnixTime},
    policy::Policy,
    state::{Journal, StoreError},
};

/// So many tenants may go at once without a word of the operator's. One line names them.
const FEW: usize = 3;
/// Of so many tenants one may go, where that is more.
const SHARE: usize = 10;
/// How many of those that go are named.
const NAMED: usize = 10;

/// What the tenants in force were read from.
#[derive(Debug)]
pub(super) struct Included {
    /// The patterns, and how many files each fits.
    includes: Vec<Include>,
    /// Whether whoever is not among the tenants is gone on purpose. At a start with a pattern that fits nothing, nobody knows.
    confirmed: bool,
}

impl Included {
    /// Takes over what a start has read.
    pub(super) fn at_start(includes: Vec<Include>) -> Self {
        let confirmed = includes.iter().all(|include| include.files > 0);
        Self { includes, confirmed }
    }

    /// Says why a change is refused, if it is one that nobody may have meant. `known`: whose sessions would end, if they are not in `after`.
    pub(super) fn refuse(&self, includes: &[Include], known: &BTreeSet<TenantName>, after: &Policy) -> Option<String> {
        const HINT: &str = "their sessions would end for good; if they are to go, `octroi reload --allow-removal`";
        let stopped = includes.iter().filter(|include| include.files == 0);
        let before = |include: &&Include| self.includes.iter().find(|old| old.pattern == include.pattern && old.files > 0);
        if let Some((include, before)) = stopped.filter_map(|include| Some((include, before(&include)?))).next() {
            let count = if before.files == 1 { "a file".to_owned() } else { format!("{} files", before.files) };
            return Some(format!("no file fits `{}` any more, and there were tenants in {count}; {HINT}", include.pattern));
        }
        let gone: Vec<&TenantName> = known.iter().filter(|tenant| after.tenants.named(tenant.as_str()).is_none()).collect();
        if gone.len() <= FEW || gone.len().saturating_mul(SHARE) <= known.len() {
            return None;
        }
        Some(format!("{} of {} tenants are not there any more ({}); {HINT}", gone.len(), known.len(), named(&gone)))
    }

    /// Returns who was there before and is not, with the patterns that fit nothing, as long as nobody has confirmed it.
    pub(super) fn missing(&self, policy: &Policy, journal: &Journal, since: UnixTime) -> Option<MissingTenants> {
        if self.confirmed {
            return None;
        }
        let mut tenants = journal.tenants();
        tenants.retain(|tenant| policy.tenants.named(tenant.as_str()).is_none());
        tenants.sort_unstable();
        let patterns = self.includes.iter().filter(|include| include.files == 0).map(|include| include.pattern.clone()).collect();
        Some(MissingTenants { patterns, since, count: tenants.len(), named: named(&tenants) })
    }

    /// Says whose sessions may end: of all that are known, or of nobody as long as nobody confirms it.
    pub(super) fn is_confirmed(&self) -> bool {
        self.confirmed
    }

    /// Takes over what a reload has read. An operator confirms by it who is there; what octroi loads by itself does not.
    pub(super) fn take(&mut self, includes: Vec<Include>, by_operator: bool) {
        self.confirmed = by_operator || self.confirmed || includes.iter().all(|include| include.files > 0);
        self.includes = includes;
    }
}

/// Notes which tenants there are, and tells whose sessions end by it: of all who were noted before and are not any more. Blocks.
pub(super) fn settle(policy: &Policy, journal: &Journal, confirmed: bool, now: UnixTime) -> Result<Vec<TenantName>, StoreError> {
    let gone = gone(policy, journal, confirmed);
    let settled = journal.settle_tenants(noted(policy, journal, confirmed).iter(), now);
    // Where the disk failed, too: it is in force, and written with the next.
    if !gone.is_empty() {
        let (count, tenants) = (gone.len(), named(&gone));
        tracing::warn!(event = "tenants_removed", count, tenants, "tenants were taken out; their sessions ended for good");
    }
    settled.map(|()| gone)
}

/// Returns whose sessions end when a policy comes into force, in the order of their names.
pub(super) fn gone(policy: &Policy, journal: &Journal, confirmed: bool) -> Vec<TenantName> {
    let mut gone = if confirmed { journal.tenants() } else { Vec::new() };
    gone.retain(|tenant| policy.tenants.named(tenant.as_str()).is_none());
    gone.sort_unstable();
    gone
}

/// Names tenants, not more than an operator reads.
pub(super) fn named<N: std::fmt::Display>(tenants: &[N]) -> String {
    let mut text = tenants.iter().take(NAMED).map(|tenant| format!("`{tenant}`")).collect::<Vec<_>>().join(", ");
    let more = tenants.len().saturating_sub(NAMED);
    if more > 0 {
        text.push_str(&format!(" and {more} more"));
    }
    text
}

/// Returns who is to be noted: the tenants of a policy, and where it is not known who is gone on purpose, whoever was there before.
fn noted(policy: &Policy, journal: &Journal, confirmed: bool) -> Vec<TenantName> {
    let mut names: BTreeSet<TenantName> = policy.tenants.iter().map(|tenant| tenant.name.clone()).collect();
    if !confirmed {
        names.extend(journal.tenants());
    }
    names.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_are_named_and_the_rest_is_counted() {
        let names = |count: usize| (0..count).map(|number| format!("t{number}")).collect::<Vec<_>>();

        assert_eq!(named(&names(2)), "`t0`, `t1`");
        assert!(named(&names(10)).ends_with(", `t9`"));
        assert!(named(&names(12)).ends_with(", `t9` and 2 more"));
    }
}
