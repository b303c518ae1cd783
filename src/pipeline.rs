//! THE ORDER in which a request is judged, and the only maker of a [`Permit`].
//!
//! Read `in_order` from top to bottom. Each step takes what the steps before it proved, so none can be left
//! out or moved without the compiler noticing. Any error is a denial.

pub mod answer;
mod charge;
mod explain;
mod forward;
pub mod owner;
mod permit;
pub mod refusal;
mod revalidate;
mod revocation;

use std::{mem, sync::Arc};

use crate::{
    checks::{
        authorization, challenge, client, client_certificate, forwarding_loop, hygiene, ip_access, member,
        origin::{self, Sender},
        route, session,
        sign_in::{self, Callback},
        tenant,
    },
    model::{Deny, Mode, Reason, RequestView, Stage, Trail, Verdict},
    policy::{Granting, Matched, OriginCheck, Policy, Route, RouteAccess, Tenant},
    sessions::RevocationStore,
    store::QuotaStore,
};

pub use crate::checks::{
    quota::QuotaState,
    session::{Session, Source},
};
pub use answer::{judge_grant, judge_revocation};
pub use forward::{ForwardInputs, prepare_request};
pub use permit::{Disposition, OnSessionEnd, Permit, RequestFacts, Stores};
pub use revalidate::{Revalidation, revalidate};

use charge::{Actor, QuotaCharger};
use revocation::{ended, newest, on_stale};

/// Judges one request. Whatever the verdict, `facts` holds what became known on the way and `trail` the
/// findings.
pub async fn judge<Q: QuotaStore, R: RevocationStore>(
    view: &RequestView<'_>,
    policy: &Policy,
    stores: Stores<'_, Q, R>,
    facts: &mut RequestFacts,
    trail: &mut Trail,
) -> Verdict<Disposition> {
    let verdict = in_order(view, policy, stores, facts, trail).await;
    if let Err(deny) = &verdict {
        charge::give_back(deny.reason, facts, stores.quotas, view.tick);
    }
    verdict
}

async fn in_order<Q: QuotaStore, R: RevocationStore>(
    view: &RequestView<'_>,
    policy: &Policy,
    stores: Stores<'_, Q, R>,
    facts: &mut RequestFacts,
    trail: &mut Trail,
) -> Verdict<Disposition> {
    // First: a request that two parsers might read differently is refused before a name or an address is read
    // from it.
    let clean = trail.note(Stage::Hygiene, hygiene::check(view, &policy.limits))?;
    trail.explain(|| {
        (
            format!("{} {}{} is one unambiguous request", clean.method, clean.host, clean.path.raw()).into(),
            None,
        )
    });
    facts.host = Some(clean.host.clone());

    // Before all lookups: a request in a forwarding loop must cost as little as possible.
    trail.note(Stage::Client, forwarding_loop::check(view))?;

    // Before every check of an address, so that all of them check the same one.
    let from = trail.note(Stage::Client, client::check(view, policy))?;
    let (client, listener, scheme) = (from.ip, from.listener, from.scheme);
    trail.explain(|| (client::explain(view, client).into(), Some(listener.origin)));
    (facts.client, facts.scheme) = (Some(client), Some(scheme));

    // Before the tenant and its redirect: a CA asks in plain text, before the host has its first certificate,
    // and from any address. Only challenges of our own running orders are answered, with what the order put
    // there.
    if let Some(token) = challenge::key(view, &clean)
        && let Some(answer) =
            trail.note(Stage::Route, challenge::check(stores.challenges.over_http(&clean.host, token)))?
    {
        trail.explain(|| ("a CA proves this host".into(), None));
        return Ok(Disposition::Challenge(answer));
    }

    // Before the first rule, because every rule belongs to a tenant.
    let realm = trail.note(Stage::Tenant, tenant::find(view, &clean, listener, policy))?;
    facts.realm = Some(Arc::clone(realm));
    let tenant_match = trail.note(Stage::Tenant, tenant::check(view, &clean, realm, listener, policy))?;
    trail.explain(|| {
        (format!("host `{}` is of tenant `{}`", clean.host, realm.name).into(), Some(realm.origin))
    });
    // The listener that a redirect leads to checks all that follows; this one serves nothing of the tenant.
    if let tenant::TenantMatch::Redirect(location) = tenant_match {
        return Ok(Disposition::Redirect(location));
    }

    // Before the route, so that a stranger learns nothing about a closed tenant's paths; and before the
    // quotas, so that a refused address charges none.
    let range =
        enforce_or_observe(trail, Stage::IpAccess, realm.mode, ip_access::check(client, realm, view.now))?;
    if let Some(range) = range {
        trail.explain(|| explain::range(client, range, realm));
    }

    // Before quotas and session: the route says which quotas apply and what a bad session means.
    let mut matched = route::find(&clean, realm);
    let route = matched.route;
    facts.route = Some(Arc::clone(route));
    facts.alternates = matched.alternates.iter().map(|alternate| Arc::clone(alternate.route)).collect();
    let mut found = trail.note(Stage::Route, route::check(view, &clean, &matched, realm))?;
    trail.explain(|| (format!("`{}` allows {}", route.id.as_str(), clean.method).into(), Some(route.origin)));

    // By client first, so that a client over its own quota does not use up what all share; and before the
    // path is read in other ways, which costs more than everything so far.
    let mut charger = QuotaCharger::new(stores.quotas, view.tick, client);
    charger.by_client(realm, &matched, facts, trail).await?;

    // Before the checks of every rule. Rules found in this way have quotas too: another spelling of the
    // sign-in page is one more try there.
    let as_asked = matched.alternates.len();
    trail.note(Stage::Route, route::read(&clean, &mut matched, realm))?;
    if matched.alternates.len() > as_asked {
        facts.alternates = matched.alternates.iter().map(|alternate| Arc::clone(alternate.route)).collect();
        found = trail.note(Stage::Route, route::check(view, &clean, &matched, realm))?;
        charger.by_client(realm, &matched, facts, trail).await?;
    }
    explain::readings(&clean, &matched, trail)?;

    // Before the session, because a form of another site may have to do without one.
    let sent_to = |route| origin::sender(view, &clean, &from, realm, route, policy);
    let sender = sent_to(route);
    let alternates: Vec<_> = matched
        .alternates
        .iter()
        .map(|alternate| (Arc::clone(alternate.route), sent_to(alternate.route)))
        .collect();
    let websocket = found.upgrade == route::Upgrade::WebSocket;
    let is_safe = origin::is_safe(clean.method) && !websocket;
    // What comes back from a provider is another site's form, and is let in by the mark of its beginning.
    let callback = sign_in::callback(view, &clean, is_safe, &realm.name, matched.rules(), policy);
    facts.sign_in_lost = sign_in::is_lost(callback.as_ref());
    let is_begun = sign_in::is_begun(callback.as_ref()) && clean.method == "POST" && !websocket;
    let rules_with_sender =
        || std::iter::once((sender, route)).chain(alternates.iter().map(|(route, sender)| (*sender, route)));
    let by_mark = is_begun
        && rules_with_sender()
            .any(|(sender, route)| sender.foreign().is_some() && route.origin_check != OriginCheck::Off);

    // Before the session, so that guessing tokens is bounded, and so is the work of opening them.
    charger.by_route(realm, &matched, facts, trail).await?;

    let public = matched.rules().all(|route| route.access == RouteAccess::Public);
    let clears = |deny: &Deny, session: Option<&Session>| {
        session::is_to_be_cleared(view, realm, policy, deny, session, public)
    };
    // After the address and the quotas, because opening a token is the first expensive step.
    let mut proven = match session::check(view, client, realm, policy, &stores.key_sets.load()) {
        Ok(Some(found)) => Some(found),
        Ok(None) => without_session(realm, &matched, trail)?,
        Err(deny) => {
            facts.clear_cookie = clears(&deny, None);
            continue_without_session(deny, Stage::Session, realm, &matched, facts, trail)?
        }
    };
    // The mark proves that a sign-in began here, not that the provider sent this form: any page can send one
    // while the mark exists. So the request acts without a session. A provider's own form brings none anyway
    // (`SameSite=Lax`), or needs none.
    if by_mark && proven.is_some() {
        facts.set_aside = true;
        proven = without_session(realm, &matched, trail)?;
    }
    if let Some(found) = &proven {
        facts.session = Some(Arc::clone(&found.session));
        trail.note(Stage::Session, Ok(()))?;
        trail.explain(|| {
            (
                format!("a session of tenant `{}`, {}", found.tenant.name, found.session.source).into(),
                Some(found.tenant.origin),
            )
        });
    }

    // After the session, because only it says which tenant's user this is; before the revocation, like the
    // realm's own addresses.
    if let Some(found) = &proven
        && found.tenant.name != realm.name
    {
        let member = found.tenant;
        facts.member = Some(Arc::clone(member));
        trail.note(Stage::Member, member::check_active(member))?;
        trail.note(Stage::Member, client_certificate::of_member(view.certificate, member))?;
        let range =
            enforce_or_observe(trail, Stage::Member, member.mode, member::address(client, member, view.now))?;
        if let Some(range) = range {
            trail.explain(|| explain::range(client, range, member));
        }
    }

    // After all checks that need no store, before anything is done in the session's name.
    if let Some(found) = &proven {
        let holds = ended(&found.session, stores.revocations, on_stale(policy), view.now);
        // Only a session that has not ended is noted as presented; an old token of it then ends it.
        match holds.and_then(|()| newest(&found.session, client, stores.revocations, view.now)) {
            Ok(()) => {
                trail.note(Stage::Revocation, Ok(()))?;
                trail.explain(|| ("nobody ended the session, its user's or its tenant's".into(), None));
            }
            // It is unknown whether the session still holds. That is no sign-out, and observe mode does not
            // relax it.
            Err(deny) if deny.reason == Reason::RevocationUnavailable => {
                return trail.note(Stage::Revocation, Err(deny));
            }
            // It is unknown for now. A public page does not need to know, and the cookie stays. But whoever
            // signs in or out must be told that the session which they have could not be ended.
            Err(deny) if deny.reason == Reason::RevocationStale => {
                if !matched.needs_no_session() {
                    return trail.note(Stage::Revocation, Err(deny));
                }
                trail.note(Stage::Revocation, Ok(()))?;
                trail.explain(|| {
                    (
                        format!("the route is public, so the session is not asked for: {}", deny.detail)
                            .into(),
                        Some(route.origin),
                    )
                });
                (proven, facts.session, facts.member) = (None, None, None);
            }
            Err(deny) => {
                facts.reused = (deny.reason == Reason::SessionReuse).then(|| Arc::clone(&found.session));
                facts.clear_cookie = clears(&deny, Some(&found.session));
                proven = continue_without_session(deny, Stage::Revocation, realm, &matched, facts, trail)?;
                (facts.session, facts.member) = (None, None);
            }
        }
    }

    // After the session is proven, so that nobody is charged in another's name.
    let (session, acting) = match proven {
        Some(found) => (Some(found.session), found.tenant),
        None => (None, realm),
    };
    let actor = Actor { tenant: acting, session: session.as_deref() };
    charger.after(realm, actor, &matched, facts, trail).await?;

    // Last, because it needs all of the above: may this user do this here?
    for route in matched.rules() {
        if let Some(session) = &session {
            enforce_or_observe(trail, Stage::Authorization, realm.mode, authorization::role(session, route))?;
        }
        // Observe mode does not relax the age of a sign-in, so it is checked without a session too.
        trail.note(Stage::Authorization, authorization::age(session.as_deref(), route, view.now))?;
        if let (Some(session), true) = (&session, route.max_auth_age.is_some()) {
            let age = view.now.since(session.claims.auth_time).as_secs();
            trail.explain(|| (format!("the sign-in is {age} s old").into(), Some(route.origin)));
        }
    }
    for (sender, route) in rules_with_sender() {
        let passes = is_safe || (is_begun && route.grant == Granting::Callback);
        trail.note(Stage::Authorization, origin::check(sender, passes, session.as_deref(), route))?;
        trail.explain(|| (explain::access(route), Some(route.origin)));
    }

    // After everything that refuses: a request that the app's answer cannot sign in counts apart.
    let part = origin::part_of_page(view).filter(|_| is_safe);
    if is_safe && matched.rules().any(|route| route.grant.is_allowed()) {
        let may_grant = |(sender, route): (Sender, &Arc<Route>)| {
            origin::check_grant(sender, part, of_route(callback.as_ref(), route), route).is_ok()
        };
        if !rules_with_sender().all(may_grant) {
            charger.count_apart(realm, actor, &matched, facts, trail).await?;
        }
    }

    Ok(Disposition::Permit(Permit::new(permit::Parts {
        realm: Arc::clone(realm),
        acting: Arc::clone(acting),
        route: Arc::clone(route),
        alternates,
        method: http::Method::from_bytes(clean.method.as_bytes()).unwrap_or_default(),
        session,
        client,
        certificate: view.certificate.cloned(),
        target: forwarded(&clean),
        scheme,
        port: clean.port.filter(|&port| port != scheme.default_port()),
        public_port: clean.port.unwrap_or(scheme.default_port()),
        host: clean.host,
        limits: found.limits,
        charged: mem::take(&mut facts.charged),
        websocket,
        safe: origin::is_safe(clean.method),
        part,
        sender,
        granted: false,
        on_session_end: if websocket { OnSessionEnd::Ends } else { OnSessionEnd::AsNew },
        callback,
    })))
}

/// Returns the sign-in that the request comes back from, for a rule that accepts callbacks.
fn of_route<'a>(callback: Option<&'a Callback>, route: &Route) -> Option<&'a Callback> {
    callback.filter(|_| route.grant == Granting::Callback)
}

/// Returns a verdict, or only records it where the tenant whose rule it is observes: then nothing is proven.
fn enforce_or_observe<T>(
    trail: &mut Trail,
    stage: Stage,
    mode: Mode,
    verdict: Verdict<T>,
) -> Verdict<Option<T>> {
    match verdict {
        Err(deny) if mode == Mode::Observe => {
            trail.observe(stage, deny);
            Ok(None)
        }
        verdict => trail.note(stage, verdict).map(Some),
    }
}

/// Continues without a session that was presented but is not valid, if the route is public or the realm
/// observes. The request then counts as one without a session.
fn continue_without_session<T>(
    deny: Deny,
    stage: Stage,
    realm: &Tenant,
    matched: &Matched<'_>,
    facts: &mut RequestFacts,
    trail: &mut Trail,
) -> Verdict<Option<T>> {
    if matched.rules().all(|route| route.access == RouteAccess::Public) {
        let route = matched.route;
        trail.note(stage, Ok(()))?;
        trail.explain(|| {
            (
                format!("the route is public, so this session is none: {} ({})", deny.detail, deny.reason)
                    .into(),
                Some(route.origin),
            )
        });
    } else {
        enforce_or_observe(trail, stage, realm.mode, Err::<(), _>(deny.clone()))?;
    }
    facts.session_fault = Some(deny);
    Ok(None)
}

/// Continues without a session where none was presented, if the route needs none or the realm observes.
fn without_session<T>(realm: &Tenant, matched: &Matched<'_>, trail: &mut Trail) -> Verdict<Option<T>> {
    let required = matched.rules().try_for_each(|route| session::required(route));
    if enforce_or_observe(trail, Stage::Session, realm.mode, required)?.is_some() {
        trail.explain(|| ("no session; the route is public".into(), Some(matched.route.origin)));
    }
    Ok(None)
}

/// Returns the forwarded target: the path that was matched, and the query, both as received.
fn forwarded(clean: &hygiene::Clean<'_>) -> String {
    let path = clean.path.forwarded();
    match clean.query {
        None => path.into_owned(),
        Some(query) => [&*path, query].join("?"),
    }
}
