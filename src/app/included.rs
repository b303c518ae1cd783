//! Tenants that go: a folder that is empty for a moment must not end the sessions of everybody in it, for good.

use std::collections::BTreeSet;

use crate::{config::Include, model::TenantName, policy::Policy, state::Journal};

/// So many tenants may go at once without a word.
const FEW: usize = 3;
/// Of so many tenants one may go, where that is more.
const SHARE: usize = 10;
/// How many of those that would go are named.
const NAMED: usize = 5;

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
        let mut named = gone.iter().take(NAMED).map(|tenant| format!("`{tenant}`")).collect::<Vec<_>>().join(", ");
        if gone.len() > NAMED {
            named.push_str(", …");
        }
        Some(format!("{} of {} tenants are not there any more ({named}); {HINT}", gone.len(), known.len()))
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

/// Returns who is to be noted: the tenants of a policy, and where it is not known who is gone on purpose, whoever was there before.
pub(super) fn noted(policy: &Policy, journal: &Journal, confirmed: bool) -> Vec<TenantName> {
    let mut names: BTreeSet<TenantName> = policy.tenants.iter().map(|tenant| tenant.name.clone()).collect();
    if !confirmed {
        names.extend(journal.tenants());
    }
    names.into_iter().collect()
}
