//! Asking the quotas, in order, and keeping what was taken.

use std::{mem, sync::Arc};

use crate::{
    checks::{
        quota::{self, AFTER, QuotaState, Subject},
        session::Session,
    },
    model::{ClientIp, Mode, QuotaAnswer, Reason, Stage, Tick, Trail, Verdict},
    policy::{Charge, Matched, Quota, QuotaBy, Route, Tenant},
    state::{QuotaKey, QuotaStore},
};

use super::{Asked, Known};

/// The quotas of one request.
pub(super) struct Charging<'a, Q> {
    store: &'a Q,
    tick: Tick,
    client: ClientIp,
    /// How many of those by client were asked: more follow where the path is read otherwise.
    by_client: usize,
}

/// Gives back what only failures cost, where a request is refused before the app was asked: it tried no password. A page of another site
/// makes its visitors' browsers send such requests, and would shut them out of their sign-in.
///
/// A token that is refused is a try: guessing them is bounded.
pub(super) fn give_back<Q: QuotaStore>(reason: Reason, known: &mut Known, store: &Q, tick: Tick) {
    let charged = mem::take(&mut known.charged);
    let is_try = reason.stage() == Stage::Session && reason != Reason::SessionMissing;
    if !is_try && known.session_fault.is_none() {
        charged.iter().for_each(|(key, limit)| store.give_back(key, *limit, tick));
    }
}

impl<'a, Q: QuotaStore> Charging<'a, Q> {
    pub(super) fn new(store: &'a Q, tick: Tick, client: ClientIp) -> Self {
        Self { store, tick, client, by_client: 0 }
    }

    /// Asks the realm's quotas by client, as far as they have not been: asked again with more rules, it asks theirs.
    pub(super) async fn by_client(&mut self, realm: &Tenant, matched: &Matched<'_>, known: &mut Known, trail: &mut Trail) -> Verdict {
        let by_client = quota::of_realm(realm, matched, true).filter(|(quota, _)| quota.by == QuotaBy::Client);
        for costs in by_client.skip(self.by_client) {
            self.by_client = self.by_client.saturating_add(1);
            self.ask(Stage::QuotaBefore, realm, costs, None, known, trail).await?;
        }
        Ok(())
    }

    /// Asks the realm's quotas by route, which many clients share.
    pub(super) async fn by_route(&mut self, realm: &Tenant, matched: &Matched<'_>, known: &mut Known, trail: &mut Trail) -> Verdict {
        for costs in quota::of_realm(realm, matched, true).filter(|(quota, _)| quota.by == QuotaBy::Route) {
            self.ask(Stage::QuotaBefore, realm, costs, None, known, trail).await?;
        }
        Ok(())
    }

    /// Asks the realm's other quotas and, where the session's tenant is a member, all of that tenant's.
    pub(super) async fn after(
        &mut self,
        (realm, acting): (&Tenant, &Tenant),
        matched: &Matched<'_>,
        session: Option<&Session>,
        known: &mut Known,
        trail: &mut Trail,
    ) -> Verdict {
        let members: &[_] = if acting.name == realm.name { &[] } else { &acting.quotas };
        for &by in AFTER {
            for quota in members.iter().filter(|quota| quota.by == by) {
                self.ask(Stage::QuotaAfter, acting, (quota, matched.route), session, known, trail).await?;
            }
            for costs in quota::of_realm(realm, matched, false).filter(|(quota, _)| quota.by == by) {
                self.ask(Stage::QuotaAfter, realm, costs, session, known, trail).await?;
            }
        }
        // The one that will refuse first is told first.
        known.quotas.sort_by_key(|state| state.remaining);
        Ok(())
    }

    async fn ask(
        &mut self,
        stage: Stage,
        owner: &Tenant,
        (quota, route): (&Arc<Quota>, &Route),
        session: Option<&Session>,
        known: &mut Known,
        trail: &mut Trail,
    ) -> Verdict {
        let subject = quota::subject(quota, Subject { client: self.client, route, session });
        // The tenant is part of the key: one customer cannot drain another's quota.
        let key = QuotaKey::new(&owner.name, &quota.name, subject);
        let answer = self.store.take(&key, quota.limit, self.tick).await;
        // Behind the client's own: who has used that up takes nothing of what its neighbours have.
        let wide = quota::of_site(quota, self.client, session).filter(|_| matches!(answer, QuotaAnswer::Taken { .. }));
        let wide = wide.map(|(subject, limit)| (QuotaKey::new(&owner.name, &quota.name, subject), limit));
        let of_site = match &wide {
            Some((key, limit)) => Some(self.store.take(key, *limit, self.tick).await),
            None => None,
        };
        let observes = quota.mode == Mode::Observe || owner.mode == Mode::Observe;
        let deny = match quota::check((answer, of_site), quota, stage) {
            Ok(state) => {
                known.asked.push((Arc::clone(quota), Asked::Taken));
                trail.note(stage, Ok(()))?;
                trail.explain(|| {
                    (format!("quota `{}` by {}: {} left", quota.name, quota.by.as_str(), state.remaining).into(), Some(quota.origin))
                });
                if quota.charge == Charge::Failures {
                    known.charged.push((key, quota.limit));
                    known.charged.extend(wide);
                }
                // A quota that refuses nothing is nothing that a client should keep to.
                if !observes {
                    known.quotas.push(state);
                }
                return Ok(());
            }
            Err(deny) => deny,
        };
        known.asked.push((Arc::clone(quota), if observes { Asked::Observed } else { Asked::Refused }));
        if observes {
            trail.observe(stage, deny);
            return Ok(());
        }
        let reset = deny.retry_after.unwrap_or_default();
        known.quotas.insert(0, QuotaState { name: quota.name.clone(), limit: quota.limit, remaining: 0, reset });
        trail.note(stage, Err(deny))
    }
}
