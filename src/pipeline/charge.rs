//! Charges the quotas of a request, in order, and keeps what was taken.

use std::{mem, sync::Arc};

use smallvec::SmallVec;

use crate::{
    checks::{
        quota::{self, AFTER, QuotaState, Subject},
        session::Session,
    },
    model::{ClientIp, Deny, Mode, QuotaVerdict, Reason, Stage, Tick, Trail, Verdict},
    policy::{Charge, Matched, Quota, QuotaBy, Route, Tenant},
    store::{ChargeAnswer, IN_PLACE, QuotaCharge, QuotaKey, QuotaStore},
};

use super::RequestFacts;

/// Charges the quotas of one request.
pub(super) struct QuotaCharger<'a, Q> {
    store: &'a Q,
    tick: Tick,
    client: ClientIp,
    /// How many quotas by client were charged: more follow where an app may read the path otherwise.
    by_client: usize,
    /// Whether the charges count apart from the client's own requests.
    apart: bool,
}

/// The tenant in whose name a request acts, and its session, if it has one.
#[derive(Clone, Copy)]
pub(super) struct Actor<'a> {
    pub(super) tenant: &'a Tenant,
    pub(super) session: Option<&'a Session>,
}

/// One quota to charge: whose it is, the rule that it counts for, and the session, where that is known.
struct Cost<'a> {
    stage: Stage,
    owner: &'a Tenant,
    quota: &'a Arc<Quota>,
    route: &'a Route,
    session: Option<&'a Session>,
}

/// The quotas of one step, in order.
type Costs<'a> = SmallVec<[Cost<'a>; IN_PLACE]>;

impl Cost<'_> {
    /// Says whether the quota refuses nothing: it observes, or its tenant does.
    fn observes(&self) -> bool {
        self.quota.mode == Mode::Observe || self.owner.mode == Mode::Observe
    }
}

/// Gives back the charges for a failure, where a request is refused before the app was asked: it tried no
/// password. A page of another site makes its visitors' browsers send such requests, and would shut them out
/// of their sign-in.
///
/// A refused token is a try: guessing tokens is bounded.
pub(super) fn give_back<Q: QuotaStore>(reason: Reason, facts: &mut RequestFacts, store: &Q, tick: Tick) {
    let charged = mem::take(&mut facts.charged);
    let is_try = reason.stage() == Stage::Session && reason != Reason::SessionMissing;
    if !is_try && facts.session_fault.is_none() {
        charged.iter().for_each(|(key, limit)| store.give_back(key, *limit, tick));
    }
}

impl<'a, Q: QuotaStore> QuotaCharger<'a, Q> {
    pub(super) fn new(store: &'a Q, tick: Tick, client: ClientIp) -> Self {
        Self { store, tick, client, by_client: 0, apart: false }
    }

    /// Charges the realm's quotas by client that were not charged yet: called again with more rules, it
    /// charges theirs.
    pub(super) async fn by_client(
        &mut self,
        realm: &Tenant,
        matched: &Matched<'_>,
        facts: &mut RequestFacts,
        trail: &mut Trail,
    ) -> Verdict {
        let costs: Costs<'_> = before(realm, matched, QuotaBy::Client).skip(self.by_client).collect();
        self.by_client = self.by_client.saturating_add(costs.len());
        self.charge(costs, facts, trail).await
    }

    /// Charges the realm's quotas by route, which many clients share.
    pub(super) async fn by_route(
        &self,
        realm: &Tenant,
        matched: &Matched<'_>,
        facts: &mut RequestFacts,
        trail: &mut Trail,
    ) -> Verdict {
        self.charge(before(realm, matched, QuotaBy::Route).collect(), facts, trail).await
    }

    /// Charges the realm's other quotas and, where the session's tenant is a member, all of that tenant's.
    pub(super) async fn after(
        &self,
        realm: &Tenant,
        actor: Actor<'_>,
        matched: &Matched<'_>,
        facts: &mut RequestFacts,
        trail: &mut Trail,
    ) -> Verdict {
        self.charge(after(realm, actor, matched).collect(), facts, trail).await?;
        // The client is told first of the quota that will refuse first.
        facts.quotas.sort_by_key(|state| state.remaining);
        Ok(())
    }

    /// Counts a failure to come apart from the client's own, with the same limits: for requests that sign
    /// nobody in, whatever the app answers. Any page makes its visitors' browsers follow such links and load
    /// such images, and must not use up their tries. But the fields that show this are easily forged, and an
    /// app's answer tells whether a password or a token is right: so these are bounded, too.
    pub(super) async fn count_apart(
        &mut self,
        realm: &Tenant,
        actor: Actor<'_>,
        matched: &Matched<'_>,
        facts: &mut RequestFacts,
        trail: &mut Trail,
    ) -> Verdict {
        if facts.charged.is_empty() {
            return Ok(());
        }
        mem::take(&mut facts.charged)
            .iter()
            .for_each(|(key, limit)| self.store.give_back(key, *limit, self.tick));
        self.apart = true;
        let costs = before(realm, matched, QuotaBy::Client)
            .chain(before(realm, matched, QuotaBy::Route))
            .chain(after(realm, actor, matched))
            // The others were charged already.
            .filter(|cost| cost.quota.charge == Charge::Failures);
        self.charge(costs.collect(), facts, trail).await
    }

    /// Charges the quotas of one step, up to the first that denies.
    async fn charge(&self, costs: Costs<'_>, facts: &mut RequestFacts, trail: &mut Trail) -> Verdict {
        if costs.is_empty() {
            return Ok(());
        }
        let charges: SmallVec<[QuotaCharge; IN_PLACE]> =
            costs.iter().map(|cost| self.charge_of(cost)).collect();
        let answers = self.store.take(&charges, self.tick).await;
        for (place, (cost, charge)) in costs.iter().zip(charges).enumerate() {
            // The store stops where `judge` denies, so there is an answer. If not, nothing was counted.
            let Some(answer) = answers.at(place) else {
                let detail = format!("the store did not answer for quota `{}`", cost.quota.name);
                return trail.note(cost.stage, Err(Deny::new(Reason::Internal, detail)));
            };
            self.judge(cost, charge, answer, facts, trail)?;
        }
        Ok(())
    }

    fn charge_of(&self, cost: &Cost<'_>) -> QuotaCharge {
        let Cost { owner, quota, route, session, .. } = *cost;
        let subject = quota::subject(quota, Subject { client: self.client, route, session });
        // The tenant is part of the key: one customer cannot drain another's quota.
        let key = QuotaKey::new(&owner.name, &quota.name, subject);
        QuotaCharge {
            key: if self.apart { key.apart() } else { key },
            limit: quota.limit,
            of_site: quota::of_site(quota, self.client, session),
            observed: cost.observes(),
        }
    }

    /// Judges the answer to one charge, and keeps what was taken.
    fn judge(
        &self,
        cost: &Cost<'_>,
        charge: QuotaCharge,
        answer: ChargeAnswer,
        facts: &mut RequestFacts,
        trail: &mut Trail,
    ) -> Verdict {
        let Cost { stage, quota, .. } = *cost;
        let deny = match quota::check(answer.own, answer.of_site, quota, stage) {
            Ok(state) => {
                if quota.charge == Charge::Failures {
                    let site = charge.site();
                    facts.charged.push((charge.key, charge.limit));
                    facts.charged.extend(site);
                }
                // The client's own charge was noted already.
                if self.apart {
                    return Ok(());
                }
                facts.quota_outcomes.0.push((Arc::clone(quota), QuotaVerdict::Allow));
                trail.note(stage, Ok(()))?;
                trail.explain(|| {
                    (
                        format!("quota `{}` by {}: {} left", quota.name, quota.by.as_str(), state.remaining)
                            .into(),
                        Some(quota.origin),
                    )
                });
                // A quota that refuses nothing is none that a client should keep to.
                if !cost.observes() {
                    facts.quotas.push(state);
                }
                return Ok(());
            }
            Err(deny) => deny,
        };
        if cost.observes() {
            facts.quota_outcomes.0.push((Arc::clone(quota), QuotaVerdict::Observe));
            trail.observe(stage, deny);
            return Ok(());
        }
        facts.quota_outcomes.0.push((Arc::clone(quota), QuotaVerdict::Deny));
        let reset = deny.retry_after.unwrap_or_default();
        facts
            .quotas
            .insert(0, QuotaState { name: quota.name.clone(), limit: quota.limit, remaining: 0, reset });
        trail.note(stage, Err(deny))
    }
}

/// Returns the realm's quotas of one kind that are charged before the session is known.
fn before<'a>(realm: &'a Tenant, matched: &'a Matched<'a>, by: QuotaBy) -> impl Iterator<Item = Cost<'a>> {
    quota::of_realm(realm, matched, true)
        .filter(move |(quota, _)| quota.by == by)
        .map(|(quota, route)| Cost { stage: Stage::QuotaBefore, owner: realm, quota, route, session: None })
}

/// Returns the quotas that are charged once the session is known: of each kind those of the tenant in whose
/// name the request acts, if that is a member, then the realm's.
fn after<'a>(
    realm: &'a Tenant,
    actor: Actor<'a>,
    matched: &'a Matched<'a>,
) -> impl Iterator<Item = Cost<'a>> {
    let Actor { tenant, session } = actor;
    let stage = Stage::QuotaAfter;
    let members: &[_] = if tenant.name == realm.name { &[] } else { &tenant.quotas };
    AFTER.iter().flat_map(move |&by| {
        let of_member = members.iter().filter(move |quota| quota.by == by).map(move |quota| Cost {
            stage,
            owner: tenant,
            quota,
            route: matched.route,
            session,
        });
        let of_realm = quota::of_realm(realm, matched, false).filter(move |(quota, _)| quota.by == by);
        of_member.chain(of_realm.map(move |(quota, route)| Cost {
            stage,
            owner: realm,
            quota,
            route,
            session,
        }))
    })
}
