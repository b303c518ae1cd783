//! Tenants that go: a folder that is empty for a moment must not end the sessions of everybody in it, for
//! good.

use std::collections::BTreeSet;

use crate::{
    config::Include,
    model::{MissingTenants, TenantName, UnixTime, error_chain},
    policy::Policy,
    sessions::{SessionLedger, StoreError},
};

/// So many tenants may go at once without a word of the operator's. One line names them.
const FEW: usize = 3;
/// Of so many tenants one may go, where that is more.
const SHARE: usize = 10;
/// How many of those that go are named.
const NAMED: usize = 10;

const HINT: &str = "their sessions would end for good; if they are to go, `octroi reload --allow-removal`";

/// What the tenants in force were read from.
#[derive(Debug)]
pub(super) struct TenantIncludes {
    /// The patterns, and how many files each fits.
    includes: Vec<Include>,
    /// Those that fitted no file at the start.
    unmatched: Vec<String>,
    /// Whether whoever is not among the tenants is gone on purpose. Behind a start that did not find
    /// somebody, nobody knows.
    confirmed: bool,
}

impl TenantIncludes {
    /// Takes over what a start has read.
    pub(super) fn at_start(includes: Vec<Include>) -> Self {
        let unmatched: Vec<String> = includes
            .iter()
            .filter(|include| include.files == 0)
            .map(|include| include.pattern.clone())
            .collect();
        Self { confirmed: unmatched.is_empty(), includes, unmatched }
    }

    /// Compares what a start has read with who was there before it. Blocks.
    ///
    /// As with a reload, only a few may be gone on purpose without a word: whoever is refused by `octroi
    /// reload` may try a restart. And what an earlier start missed is missed until somebody has confirmed it,
    /// however much of it came back.
    pub(super) fn compare(&mut self, policy: &Policy, journal: &SessionLedger) {
        let (known, gone) = (journal.tenants().len(), gone(policy, journal, true).len());
        self.confirmed =
            self.unmatched.is_empty() && !are_many(gone, known) && (gone == 0 || !journal.misses_tenants());
    }

    /// Says why a process does not take the place of one that serves tenants which are not in its own
    /// configuration. Who was missing already is nobody's loss. Blocks.
    pub(super) fn refuse_to_succeed(&self, policy: &Policy, journal: &SessionLedger) -> Option<String> {
        let gone = gone(policy, journal, true);
        if self.confirmed || gone.is_empty() || journal.misses_tenants() {
            return None;
        }
        let known = journal.tenants().len();
        let why = match self.unmatched.first() {
            Some(pattern) => format!("no file fits `{pattern}`, and "),
            None => String::new(),
        };
        Some(format!(
            "{why}{} of {known} tenants that are served are not there any more ({}); bring their files back, or let them go first: `octroi \
             reload --allow-removal`",
            gone.len(),
            named(&gone)
        ))
    }

    /// Says why a change is refused, if it is one that nobody may have meant. `known`: whose sessions would
    /// end, if they are not in `after`.
    pub(super) fn refuse(
        &self,
        includes: &[Include],
        known: &BTreeSet<TenantName>,
        after: &Policy,
    ) -> Option<String> {
        let stopped = includes.iter().filter(|include| include.files == 0);
        let before = |include: &&Include| {
            self.includes.iter().find(|old| old.pattern == include.pattern && old.files > 0)
        };
        if let Some((include, before)) =
            stopped.filter_map(|include| Some((include, before(&include)?))).next()
        {
            let count =
                if before.files == 1 { "a file".to_owned() } else { format!("{} files", before.files) };
            return Some(format!(
                "no file fits `{}` any more, and there were tenants in {count}; {HINT}",
                include.pattern
            ));
        }
        let gone: Vec<&TenantName> =
            known.iter().filter(|tenant| after.tenants.named(tenant.as_str()).is_none()).collect();
        if !are_many(gone.len(), known.len()) {
            return None;
        }
        Some(format!(
            "{} of {} tenants are not there any more ({}); {HINT}",
            gone.len(),
            known.len(),
            named(&gone)
        ))
    }

    /// Returns who was there before and is not, with the patterns that fitted nothing, as long as nobody has
    /// confirmed it.
    pub(super) fn missing(
        &self,
        policy: &Policy,
        journal: &SessionLedger,
        since: UnixTime,
    ) -> Option<MissingTenants> {
        if self.confirmed {
            return None;
        }
        let tenants = gone(policy, journal, true);
        Some(MissingTenants {
            patterns: self.unmatched.clone(),
            since,
            count: tenants.len(),
            named: named(&tenants),
        })
    }

    /// Says whether whoever is not among the tenants is gone on purpose.
    pub(super) fn is_confirmed(&self) -> bool {
        self.confirmed
    }

    /// Takes over what a reload has read.
    pub(super) fn take(&mut self, includes: Vec<Include>, confirmed: bool) {
        self.confirmed |= confirmed;
        self.includes = includes;
    }
}

/// Says why a reload is refused behind a start that missed tenants: what was in force before it is not what
/// is in force, so whoever is not back counts, one by one.
pub(super) fn refuse_missing(gone: &[TenantName], known: usize) -> String {
    let (verb, their) = if gone.len() == 1 { ("is", "its") } else { ("are", "their") };
    format!(
        "{} of {known} tenants from before the start {verb} still missing ({}); {their} sessions would end for good; bring all files back and \
         see what comes of it with `octroi reload --dry-run`; gone for good? `octroi reload --allow-removal`",
        gone.len(),
        named(gone)
    )
}

/// Says whether more tenants go than may without a word.
const fn are_many(gone: usize, known: usize) -> bool {
    gone > FEW && gone.saturating_mul(SHARE) > known
}

/// Notes which tenants there are, and tells whose sessions end by it: of all who were noted before and are
/// not any more. Blocks.
pub(super) fn settle(
    policy: &Policy,
    journal: &SessionLedger,
    confirmed: bool,
    now: UnixTime,
) -> Result<Vec<TenantName>, StoreError> {
    let absent = gone(policy, journal, true);
    let gone = if confirmed { absent.clone() } else { Vec::new() };
    if !confirmed && !absent.is_empty() {
        let (count, tenants) = (absent.len(), named(&absent));
        tracing::error!(
            event = "tenants_missing",
            count,
            tenants,
            "tenants from before are not served, and keep their sessions; bring their files back, or confirm: `octroi reload --allow-removal`"
        );
        mark(journal, true);
    }
    let settled = journal.settle_tenants(noted(policy, journal, confirmed).iter(), now);
    // Where the disk failed, too: it is in force, and written with the next.
    if !gone.is_empty() {
        let (count, tenants) = (gone.len(), named(&gone));
        tracing::warn!(
            event = "tenants_removed",
            count,
            tenants,
            "tenants were taken out; their sessions ended for good"
        );
    }
    if confirmed || absent.is_empty() {
        mark(journal, false);
    }
    settled.map(|()| gone)
}

/// Notes whether tenants are missing, for a start to come. Where that fails, such a start asks for more than
/// it must, or ends a few.
fn mark(journal: &SessionLedger, missing: bool) {
    if let Err(error) = journal.note_missing(missing) {
        tracing::error!(error = %error_chain(&error), "whether tenants are missing cannot be noted in the state directory");
    }
}

/// Returns whose sessions end when a policy comes into force, in the order of their names.
pub(super) fn gone(policy: &Policy, journal: &SessionLedger, confirmed: bool) -> Vec<TenantName> {
    let mut gone = if confirmed { journal.tenants() } else { Vec::new() };
    gone.retain(|tenant| policy.tenants.named(tenant.as_str()).is_none());
    gone.sort_unstable();
    gone
}

/// Names tenants, not more than an operator reads.
pub(super) fn named<N: std::fmt::Display>(tenants: &[N]) -> String {
    let mut text =
        tenants.iter().take(NAMED).map(|tenant| format!("`{tenant}`")).collect::<Vec<_>>().join(", ");
    let more = tenants.len().saturating_sub(NAMED);
    if more > 0 {
        text.push_str(&format!(" and {more} more"));
    }
    text
}

/// Returns who is to be noted: the tenants of a policy, and where it is not known who is gone on purpose,
/// whoever was there before.
fn noted(policy: &Policy, journal: &SessionLedger, confirmed: bool) -> Vec<TenantName> {
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
    fn three_go_without_a_word_and_so_does_a_tenth() {
        for (gone, known, many) in
            [(3, 3, false), (4, 4, true), (4, 39, true), (4, 40, false), (11, 109, true), (11, 110, false)]
        {
            assert_eq!(are_many(gone, known), many, "{gone} of {known}");
        }
    }

    #[test]
    fn ten_are_named_and_the_rest_is_counted() {
        let names = |count: usize| (0..count).map(|number| format!("t{number}")).collect::<Vec<_>>();

        assert_eq!(named(&names(2)), "`t0`, `t1`");
        assert!(named(&names(10)).ends_with(", `t9`"));
        assert!(named(&names(12)).ends_with(", `t9` and 2 more"));
    }
}
