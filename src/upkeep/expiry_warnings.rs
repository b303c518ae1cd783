//! Says that a revocation list is about to end, and that a list or a CA of clients has ended: from then on
//! whom it concerns is refused. And that a certificate of ours has ended: it is served on, and clients refuse
//! it.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    time::Duration,
};

use crate::{
    edge::{AdminTls, TlsState},
    model::{CERTIFICATE_NOTICE, TenantName, UnixTime},
    policy::{ExpiredItem, Policy, Tenant},
};

/// How many of those that have ended a status names.
const NAMED: usize = 100;

/// How often it is said that a certificate has ended.
const AGAIN: Duration = Duration::from_secs(86_400);

/// What has been said, so that it is said once.
#[derive(Debug, Default)]
pub(crate) struct ExpiryWarnings {
    due: BTreeSet<ExpiryWarning>,
    /// When it was said of a certificate, by its file, that it has ended.
    ended: BTreeMap<PathBuf, UnixTime>,
}

/// Something that somebody has to act on.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum ExpiryWarning {
    /// A list ends then.
    Ends(TenantName, UnixTime),
    /// A list or a CA has ended: what, in words.
    Ended(TenantName, String),
}

impl ExpiryWarnings {
    /// Returns what nobody was told of yet.
    fn look(&mut self, policy: &Policy, now: UnixTime) -> Vec<ExpiryWarning> {
        let due: BTreeSet<ExpiryWarning> =
            policy.tenants.iter().flat_map(|tenant| ending(tenant, now).chain(ended(tenant, now))).collect();
        let new = due.difference(&self.due).cloned().collect();
        // What is no longer due is forgotten, so this is bounded by the policy.
        self.due = due;
        new
    }

    /// Writes down what somebody has to act on.
    pub(crate) fn tell(&mut self, policy: &Policy, now: UnixTime) {
        for warning in self.look(policy, now) {
            match warning {
                ExpiryWarning::Ends(tenant, end) => {
                    let seconds = end.since(now).as_secs();
                    tracing::error!(%tenant, seconds, "the revocation list of client certificates ends soon; put the next one there");
                }
                ExpiryWarning::Ended(tenant, what) => {
                    tracing::error!(%tenant, "{what} until the next one is there")
                }
            }
        }
    }
}

impl ExpiryWarnings {
    /// Says once a day which certificates have ended. Returns how many there are.
    pub(crate) fn tell_certificates(&mut self, tls: &TlsState, now: UnixTime) -> usize {
        let in_use = tls.certificate_expiries();
        let ended: BTreeMap<_, _> =
            in_use.iter().filter(|one| one.has_ended(now)).map(|one| (&one.file, one)).collect();
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

fn ending(tenant: &Tenant, now: UnixTime) -> impl Iterator<Item = ExpiryWarning> {
    let ending = tenant.crls().filter(move |crl| crl.notice <= now && now < crl.next_update);
    ending.map(|crl| ExpiryWarning::Ends(tenant.name.clone(), crl.next_update))
}

fn ended(tenant: &Tenant, now: UnixTime) -> impl Iterator<Item = ExpiryWarning> {
    tenant.expired_trust(now).map(|lapse| ExpiryWarning::Ended(tenant.name.clone(), lapse.to_string()))
}

/// Returns what has ended, in words; beyond a hundred the last line counts the rest.
pub(crate) fn expired(
    policy: &Policy,
    tls: &TlsState,
    admin: Option<&AdminTls>,
    now: UnixTime,
) -> Vec<String> {
    let in_use: Vec<_> = tls.certificate_expiries().into_iter().chain(admin.map(AdminTls::expiry)).collect();
    let ended = in_use.iter().filter(|one| one.has_ended(now));
    let of_ours = ended.map(|one| {
        format!("{}: the certificate in {} expired on {}", one.name, one.file.display(), one.not_after)
    });
    let of_clients = policy
        .tenants
        .iter()
        .flat_map(|tenant| tenant.expired_trust(now).map(move |lapse| format!("{}: {lapse}", tenant.name)));
    bounded(of_ours.chain(of_clients))
}

/// Returns which certificates in force end soon, in words, the next one first: ours, then CAs of clients.
/// Those that have ended are told of by [`expired`].
pub(crate) fn ending_certificates(
    policy: &Policy,
    tls: &TlsState,
    admin: Option<&AdminTls>,
    now: UnixTime,
) -> Vec<String> {
    let in_use = tls.certificate_expiries().into_iter().chain(admin.map(AdminTls::expiry));
    let mut ending: Vec<_> =
        in_use.filter(|one| !one.has_ended(now) && one.not_after.since(now) < CERTIFICATE_NOTICE).collect();
    ending.sort_by(|one, other| (one.not_after, &one.file).cmp(&(other.not_after, &other.file)));
    let of_ours = ending.iter().map(|one| {
        format!("{}: the certificate in {} expires on {}", one.name, one.file.display(), one.not_after)
    });
    let of_clients = policy.tenants.iter().flat_map(|tenant| {
        let soon = tenant
            .expired_trust(now.plus(CERTIFICATE_NOTICE))
            .filter(move |lapse| lapse.what == ExpiredItem::Authority && now < lapse.since);
        soon.map(move |lapse| {
            format!(
                "{}: the CA `{}` of client certificates expires on {}",
                tenant.name, lapse.authority, lapse.since
            )
        })
    });
    bounded(of_ours.chain(of_clients))
}

/// Returns what is wrong with chains, in words: nothing that keeps anything from being served.
pub(crate) fn chains(tls: &TlsState, now: UnixTime) -> Vec<String> {
    let in_use = tls.certificate_expiries();
    bounded(in_use.iter().flat_map(|one| {
        one.chain_faults(now)
            .into_iter()
            .map(|fault| format!("{}: {}: {fault}", one.name, one.file.display()))
    }))
}

fn bounded(mut all: impl Iterator<Item = String>) -> Vec<String> {
    let mut named: Vec<String> = all.by_ref().take(NAMED).collect();
    let more = all.count();
    if more > 0 {
        named.push(format!("and {more} more"));
    }
    named
}
