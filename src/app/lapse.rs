//! Says that a revocation list is about to end, and that a list or a CA of clients has ended: from then on whom it concerns is refused.
//! And that a certificate of ours has ended: it is served on, and clients refuse it.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    time::Duration,
};

use crate::{
    edge::TlsState,
    model::{TenantName, UnixTime},
    policy::{Policy, Tenant},
};

/// How many of those that have ended a status names.
const NAMED: usize = 100;

/// How often it is said that a certificate has ended.
const AGAIN: Duration = Duration::from_secs(86_400);

/// What has been said, so that it is said once.
#[derive(Debug, Default)]
pub(super) struct Notices {
    due: BTreeSet<Notice>,
    /// When it was said of a certificate, by its file, that it has ended.
    ended: BTreeMap<PathBuf, UnixTime>,
}

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
        let new = due.difference(&self.due).cloned().collect();
        // What is no longer due is forgotten, so this is bounded by the policy.
        self.due = due;
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

impl Notices {
    /// Says once a day which certificates have ended. Returns how many there are.
    pub(super) fn tell_certificates(&mut self, tls: &TlsState, now: UnixTime) -> usize {
        let in_use = tls.certificate_expiries();
        let ended: BTreeMap<_, _> = in_use.iter().filter(|one| one.has_ended(now)).map(|one| (&one.file, one)).collect();
        self.ended.retain(|file, _| ended.contains_key(file));
        for (file, one) in &ended {
            // A clock that went back says nothing of how long ago it was.
            if self.ended.get(*file).is_none_or(|told| now < *told || now.since(*told) >= AGAIN) {
                self.ended.insert((*file).clone(), now);
                let (name, file, end) = (&one.name, file.display(), one.not_after);
                tracing::error!(event = "certificate_ended", name, %file, "the certificate expired on {end}; it is served on, and clients refuse it");
            }
        }
        ended.len()
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
pub(super) fn lapsed(policy: &Policy, tls: &TlsState, now: UnixTime) -> Vec<String> {
    let in_use = tls.certificate_expiries();
    let ended = in_use.iter().filter(|one| one.has_ended(now));
    let of_ours = ended.map(|one| format!("{}: the certificate in {} expired on {}", one.name, one.file.display(), one.not_after));
    let of_clients = policy.tenants.iter().flat_map(|tenant| tenant.lapses(now).map(move |lapse| format!("{}: {lapse}", tenant.name)));
    bounded(of_ours.chain(of_clients))
}

/// Returns what is wrong with chains, in words: nothing that keeps anything from being served.
pub(super) fn chains(tls: &TlsState, now: UnixTime) -> Vec<String> {
    let in_use = tls.certificate_expiries();
    bounded(
        in_use
            .iter()
            .flat_map(|one| one.chain_faults(now).into_iter().map(|fault| format!("{}: {}: {fault}", one.name, one.file.display()))),
    )
}

fn bounded(mut all: impl Iterator<Item = String>) -> Vec<String> {
    let mut named: Vec<String> = all.by_ref().take(NAMED).collect();
    let more = all.count();
    if more > 0 {
        named.push(format!("and {more} more"));
    }
    named
}
