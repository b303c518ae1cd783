//! Is the request within the quotas?

use std::{num::NonZeroU32, sync::Arc, time::Duration};

use sha2::{Digest, Sha256};

use super::session::Session;
use crate::{
    model::{ClientIp, Deny, QuotaAnswer, QuotaName, Reason, SITE_TIMES, Stage, Verdict},
    policy::{Matched, Quota, QuotaBy, Route, Tenant},
    quota::Limit,
};

/// The state of a quota after this request, for the `RateLimit` fields.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QuotaState {
    /// The quota.
    pub name: QuotaName,
    /// Its limit.
    pub limit: Limit,
    /// How many more charges would succeed now.
    pub remaining: u32,
    /// How long until it is full again; where it is used up, until one charge succeeds.
    pub reset: Duration,
}

/// What a request is counted by.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// The client.
    pub client: ClientIp,
    /// The route.
    pub route: &'a Route,
    /// The session, once it is known.
    pub session: Option<&'a Session>,
}

/// The quotas that are charged after the session check. A member's quotas by client and route can be charged
/// only here.
pub const AFTER: &[QuotaBy] =
    &[QuotaBy::Session, QuotaBy::User, QuotaBy::Client, QuotaBy::Route, QuotaBy::Tenant];

/// Returns the realm's quotas that this request is charged to at a stage, each with its rule: the tenant's,
/// then those of each rule that applies and that are not among them yet. A spelling that an app reads as its
/// sign-in page counts as one more attempt there.
pub fn of_realm<'p>(
    realm: &'p Tenant,
    matched: &'p Matched<'p>,
    before: bool,
) -> impl Iterator<Item = (&'p Arc<Quota>, &'p Route)> {
    let own = realm.quotas.iter().map(|quota| (quota, &**matched.route));
    let of_rules = matched
        .rules()
        .enumerate()
        .flat_map(|(at, route)| route.quotas.iter().map(move |quota| (at, quota, &**route)));
    let is_new = move |&(at, quota, _): &(usize, &Arc<Quota>, &Route)| {
        let is_known = |quotas: &[Arc<Quota>]| quotas.iter().any(|other| other.name == quota.name);
        // Quotas by route count per rule.
        !is_known(&realm.quotas)
            && (quota.by == QuotaBy::Route || !matched.rules().take(at).any(|route| is_known(&route.quotas)))
    };
    let of_rules = of_rules.filter(is_new).map(|(_, quota, route)| (quota, route));
    own.chain(of_rules).filter(move |(quota, _)| quota.by.is_before_session() == before)
}

/// Returns the subject that the quota counts this request by; with the names of the quota and of its tenant,
/// it is the key of the charge.
pub fn subject(quota: &Quota, subject: Subject<'_>) -> u128 {
    let client = subject.client.prefix().0;
    match (quota.by, subject.session) {
        (QuotaBy::Client, _) | (QuotaBy::User | QuotaBy::Session, None) => client,
        (QuotaBy::Tenant, _) => 0,
        (QuotaBy::Route, _) => digest(&[subject.route.id.as_str()]),
        // Two members of one lobby may have users of the same name.
        (QuotaBy::User, Some(session)) => {
            digest(&[session.claims.tenant.as_str(), session.claims.user.as_str()])
        }
        (QuotaBy::Session, Some(session)) => u128::from_be_bytes(*session.claims.id.as_bytes()),
    }
}

/// Returns the second subject of a quota that counts by client: the IPv6 /48 of the client, with
/// [`SITE_TIMES`] the limit. Otherwise the owner of a /48 would have every quota 65,536 times.
pub fn of_site(quota: &Quota, client: ClientIp, session: Option<&Session>) -> Option<(u128, Limit)> {
    let by_client = match quota.by {
        QuotaBy::Client => true,
        QuotaBy::User | QuotaBy::Session => session.is_none(),
        QuotaBy::Tenant | QuotaBy::Route => false,
    };
    let site = client.prefix().site().filter(|_| by_client)?;
    let times = |number: NonZeroU32| number.saturating_mul(TIMES);
    let Limit { count, period, burst } = quota.limit;
    Some((site.number(), Limit { count: times(count), period, burst: times(burst) }))
}

/// [`SITE_TIMES`], as a non-zero number.
const TIMES: NonZeroU32 = NonZeroU32::MIN.saturating_add(SITE_TIMES - 1);

/// Checks the store's answer for the subject and, if there is one, for its /48, at the stage of the charge.
pub fn check(
    own: QuotaAnswer,
    of_site: Option<QuotaAnswer>,
    quota: &Quota,
    stage: Stage,
) -> Verdict<QuotaState> {
    let exceeded = |retry_after: Duration, whose: &str| {
        let reason =
            if stage == Stage::QuotaBefore { Reason::QuotaExceeded } else { Reason::TenantQuotaExceeded };
        let detail = format!("quota `{}` by {} is used up{whose}", quota.name, quota.by.as_str());
        Err(Deny::new(reason, detail).after(retry_after).by(quota.origin))
    };
    let state =
        |remaining, reset| QuotaState { name: quota.name.clone(), limit: quota.limit, remaining, reset };
    match (own, of_site) {
        (QuotaAnswer::Exceeded { retry_after }, _) => exceeded(retry_after, ""),
        (_, Some(QuotaAnswer::Exceeded { retry_after })) => {
            exceeded(retry_after, " by the /48 of the client")
        }
        // The client is shown the one that will refuse first.
        (QuotaAnswer::Taken { remaining, .. }, Some(QuotaAnswer::Taken { remaining: less, reset }))
            if less < remaining =>
        {
            Ok(state(less, reset))
        }
        (QuotaAnswer::Taken { remaining, reset }, _) => Ok(state(remaining, reset)),
    }
}

/// Hashes a subject; the result is the same on every node and after every reload.
fn digest(parts: &[&str]) -> u128 {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(part.as_bytes());
        hash.update([0]);
    }
    hash.finalize().first_chunk().copied().map_or(0, u128::from_be_bytes)
}
