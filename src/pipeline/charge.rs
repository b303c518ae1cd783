//! Asking the quotas, in order, and keeping what was taken.

use std::{mem, sync::Arc};

use crate::{
    checks::{
        quota::{self, AFTER, QuotaState, Subject},
        session::Session,
    },
    model::{ClientIp, Mode, QuotaAnswer, QuotaVerdict, Reason, Stage, Tick, Trail, Verdict},
    policy::{Charge, Matched, Quota, QuotaBy, Route, Tenant},
    store::{QuotaKey, QuotaStore},
};

use super::RequestFacts;

/// Charges the quotas of one request.
pub(super) struct QuotaCharger<'a, Q> {
    store: &'a Q,
    tick: Tick,
    client: ClientIp,
    /// How many of those by client were asked: more follow where the path is read otherwise.
    by_client: usize,
    /// Whether what is asked counts apart from what the client asks for by itself.
    apart: bool,
}

/// The tenant in whose name a request acts, and its session, if it has one.
#[derive(Clone, Copy)]
pub(super) struct Actor<'a> {
    pub(super) tenant: &'a Tenant,
    pub(super) session: Option<&'a Session>,
}

/// One charge: a quota of a tenant, the rule that it counts for, and the session, where that is known.
struct Cost<'a> {
    stage: Stage,
    owner: &'a Tenant,
    quota: &'a Arc<Quota>,
    route: &'a Route,
    session: Option<&'a Session>,
}

impl<'a> Cost<'a> {
    /// A charge before the session is known.
    fn before(owner: &'a Tenant, of_rule: (&'a Arc<Quota>, &'a Route)) -> Self {
        Self { stage: Stage::QuotaBefore, owner, quota: of_rule.0, route: of_rule.1, session: None }
    }
}

/// Gives back what only failures cost, where a request is refused before the app was asked: it tried no
/// password. A page of another site makes its visitors' browsers send such requests, and would shut them out
/// of their sign-in.
///
/// A token that is refused is a try: guessing them is bounded.
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

    /// Asks the realm's quotas by client, as far as they have not been: asked again with more rules, it asks
    /// theirs.
    pub(super) async fn by_client(
        &mut self,
        realm: &Tenant,
        matched: &Matched<'_>,
        facts: &mut RequestFacts,
        trail: &mut Trail,
    ) -> Verdict {
        let by_client =
            quota::of_realm(realm, matched, true).filter(|(quota, _)| quota.by == QuotaBy::Client);
        for costs in by_client.skip(self.by_client) {
            self.by_client = self.by_client.saturating_add(1);
            self.ask(Cost::before(realm, costs), facts, trail).await?;
        }
        Ok(())
    }

    /// Asks the realm's quotas by route, which many clients share.
    pub(super) async fn by_route(
        &mut self,
        realm: &Tenant,
        matched: &Matched<'_>,
        facts: &mut RequestFacts,
        trail: &mut Trail,
    ) -> Verdict {
        for costs in quota::of_realm(realm, matched, true).filter(|(quota, _)| quota.by == QuotaBy::Route) {
            self.ask(Cost::before(realm, costs), facts, trail).await?;
        }
        Ok(())
    }

    /// Asks the realm's other quotas and, where the session's tenant is a member, all of that tenant's.
    pub(super) async fn after(
        &mut self,
        realm: &Tenant,
        actor: Actor<'_>,
        matched: &Matched<'_>,
        facts: &mut RequestFacts,
        trail: &mut Trail,
    ) -> Verdict {
        let Actor { tenant, session } = actor;
        let members: &[_] = if tenant.name == realm.name { &[] } else { &tenant.quotas };
        for &by in AFTER {
            for quota in members.iter().filter(|quota| quota.by == by) {
                let cost =
                    Cost { stage: Stage::QuotaAfter, owner: tenant, quota, route: matched.route, session };
                self.ask(cost, facts, trail).await?;
            }
            for (quota, route) in quota::of_realm(realm, matched, false).filter(|(quota, _)| quota.by == by) {
                let cost = Cost { stage: Stage::QuotaAfter, owner: realm, quota, route, session };
                self.ask(cost, facts, trail).await?;
            }
        }
        // The one that will refuse first is told first.
        facts.quotas.sort_by_key(|state| state.remaining);
        Ok(())
    }

    /// Counts a failure to come apart from the client's own, with the same limits: for what signs nobody in,
    /// whatever the app answers. Any page makes its visitors' browsers follow such links and load such
    /// images, and must not use up their tries. But the fields that tell so are easily said, and an app's
    /// answer tells whether a password or a token is right: so that is bounded, too.
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
        (self.apart, self.by_client) = (true, 0);
        self.by_client(realm, matched, facts, trail).await?;
        self.by_route(realm, matched, facts, trail).await?;
        self.after(realm, actor, matched, facts, trail).await
    }

    async fn ask(&mut self, cost: Cost<'_>, facts: &mut RequestFacts, trail: &mut Trail) -> Verdict {
        let Cost { stage, owner, quota, route, session } = cost;
        // What does not count failures was asked before.
        if self.apart && quota.charge != Charge::Failures {
            return Ok(());
        }
        let subject = quota::subject(quota, Subject { client: self.client, route, session });
        // The tenant is part of the key: one customer cannot drain another's quota.
        let key = |subject| QuotaKey::new(&owner.name, &quota.name, subject);
        let key = |subject| if self.apart { key(subject).apart() } else { key(subject) };
        let own = key(subject);
        let answer = self.store.take(&own, quota.limit, self.tick).await;
        // Behind the client's own: who has used that up takes nothing of what its neighbours have.
        let wide = quota::of_site(quota, self.client, session)
            .filter(|_| matches!(answer, QuotaAnswer::Taken { .. }));
        let wide = wide.map(|(subject, limit)| (key(subject), limit));
        let of_site = match &wide {
            Some((key, limit)) => Some(self.store.take(key, *limit, self.tick).await),
            None => None,
        };
        let observes = quota.mode == Mode::Observe || owner.mode == Mode::Observe;
        let deny = match quota::check(answer, of_site, quota, stage) {
            Ok(state) => {
                if quota.charge == Charge::Failures {
                    facts.charged.push((own, quota.limit));
                    facts.charged.extend(wide);
                }
                // It was told with the client's own.
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
                // A quota that refuses nothing is nothing that a client should keep to.
                if !observes {
                    facts.quotas.push(state);
                }
                return Ok(());
            }
            Err(deny) => deny,
        };
        let verdict = if observes { QuotaVerdict::Observe } else { QuotaVerdict::Deny };
        facts.quota_outcomes.0.push((Arc::clone(quota), verdict));
        if observes {
            trail.observe(stage, deny);
            return Ok(());
        }
        let reset = deny.retry_after.unwrap_or_default();
        facts
            .quotas
            .insert(0, QuotaState { name: quota.name.clone(), limit: quota.limit, remaining: 0, reset });
        trail.note(stage, Err(deny))
    }
}
