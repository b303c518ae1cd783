//! THE ORDER in which a request is judged, and the only maker of a [`Permit`].
//!
//! Read `in_order` from top to bottom. Each step takes what the steps before it proved, so none can be left out or moved
//! without the compiler noticing. Any error is a denial.

mod again;
mod charge;
mod permit;

use std::{borrow::Cow, mem, sync::Arc};

use crate::{
    checks::{
        authorization, challenge, client, client_certificate, grant, hygiene, ip_access, member,
        origin::{self, Sender},
        passes, reuse, revocation, route, session,
        sign_in::{self, Back},
        tenant,
    },
    model::{ClientIp, Deny, Mode, Origin, Presented, Reason, RequestView, Stage, Trail, UnixTime, Verdict},
    policy::{Granting, Matched, OnStale, OriginCheck, Policy, RangeRule, Route, RouteAccess, Tenant},
    session::grant::Grant,
    state::{QuotaStore, RevocationStore},
};

pub use crate::checks::{
    quota::QuotaState,
    session::{Session, Source},
};
pub use again::judge_again;
pub use permit::{Asked, Known, Passage, Permit, Stores};

use charge::Charging;

/// Judges one request. What became known on the way is left in `known`, the findings in `trail`, whatever the verdict.
pub async fn judge<Q: QuotaStore, R: RevocationStore>(
    view: &RequestView<'_>,
    policy: &Policy,
    stores: Stores<'_, Q, R>,
    known: &mut Known,
    trail: &mut Trail,
) -> Verdict<Passage> {
    let verdict = in_order(view, policy, stores, known, trail).await;
    if let Err(deny) = &verdict {
        charge::give_back(deny.reason, known, stores.quotas, view.tick);
    }
    verdict
}

async fn in_order<Q: QuotaStore, R: RevocationStore>(
    view: &RequestView<'_>,
    policy: &Policy,
    stores: Stores<'_, Q, R>,
    known: &mut Known,
    trail: &mut Trail,
) -> Verdict<Passage> {
    // First of all: whatever two readers might read differently is refused before anybody reads a name or an address in it.
    let clean = trail.note(Stage::Hygiene, hygiene::check(view, &policy.limits))?;
    trail.explain(|| (format!("{} {}{} is one unambiguous request", clean.method, clean.host, clean.path.raw()).into(), None));
    known.host = Some(clean.host.clone());

    // Before anything is asked or taken off: what goes round in a circle costs as little as possible.
    trail.note(Stage::Client, passes::check(view))?;

    // Before anything that asks about an address, so that all of it asks about the same one.
    let client::Client { ip: client, listener, scheme } = trail.note(Stage::Client, client::check(view, policy))?;
    trail.explain(|| (client::explain(view, client).into(), Some(listener.origin)));
    (known.client, known.scheme) = (Some(client), Some(scheme));

    // Before the tenant and its redirect: a CA asks for hosts in clear text, before their first certificate, from wherever it is.
    // Only what our own running orders wait for is answered, and only with what they put there.
    if let Some(token) = challenge::key(view, &clean)
        && let Some(answer) = trail.note(Stage::Route, challenge::check(stores.challenges.over_http(&clean.host, token)))?
    {
        trail.explain(|| ("a CA proves this host".into(), None));
        return Ok(Passage::Challenge(answer));
    }

    // Before the first rule, because every rule is some tenant's.
    let realm = trail.note(Stage::Tenant, tenant::find(view, &clean, listener, policy))?;
    known.realm = Some(Arc::clone(realm));
    let door = trail.note(Stage::Tenant, tenant::check(view, &clean, realm, listener, policy))?;
    trail.explain(|| (format!("host `{}` is of tenant `{}`", clean.host, realm.name).into(), Some(realm.origin)));
    // A redirect leads to a door where all that follows is asked; nothing of the tenant stands behind this one.
    if let tenant::Door::Redirect(location) = door {
        return Ok(Passage::Redirect(location));
    }

    // Before the route, so that a stranger learns nothing of a closed tenant's paths, and before the quotas, so that a
    // refused address costs nobody a token.
    let range = relent(trail, Stage::IpAccess, realm.mode, ip_access::check(client, realm, view.now))?;
    if let Some(range) = range {
        trail.explain(|| explain_range(client, range, realm));
    }

    // Before quotas and session: the route says which quotas there are and what a bad session means.
    let mut matched = route::find(&clean, realm);
    let route = matched.route;
    known.route = Some(Arc::clone(route));
    known.also = matched.also.iter().map(|also| Arc::clone(also.route)).collect();
    let mut found = trail.note(Stage::Route, route::check(view, &clean, &matched, realm))?;
    trail.explain(|| (format!("`{}` allows {}", route.id.as_str(), clean.method).into(), Some(route.origin)));

    // By client first, so that one client over its own quota does not use up what all share; and before the path is read in other ways,
    // which costs more than all that was done so far.
    let mut charging = Charging::new(stores.quotas, view.tick, client);
    charging.by_client(realm, &matched, known, trail).await?;

    // Before what is asked of every rule. Rules so found have quotas too: a spelling of the sign-in page is one more try there.
    let as_asked = matched.also.len();
    trail.note(Stage::Route, route::read(&clean, &mut matched, realm))?;
    if matched.also.len() > as_asked {
        known.also = matched.also.iter().map(|also| Arc::clone(also.route)).collect();
        found = trail.note(Stage::Route, route::check(view, &clean, &matched, realm))?;
        charging.by_client(realm, &matched, known, trail).await?;
    }
    explain_readings(&clean, &matched, trail)?;

    // Before the session, which another site's form does without.
    let sent_to = |route| origin::sender(view, &clean, (listener, scheme), (realm, route), policy);
    let sender = sent_to(route);
    let also: Vec<_> = matched.also.iter().map(|also| (Arc::clone(also.route), sent_to(also.route))).collect();
    let websocket = found.upgrade == route::Upgrade::WebSocket;
    let is_safe = origin::is_safe(clean.method) && !websocket;
    // What comes back from a provider is another site's form, and is let in by the mark of its beginning.
    let back = sign_in::back(view, &clean, is_safe, (&realm.name, matched.rules()), policy);
    known.sign_in_lost = sign_in::is_lost(back.as_ref());
    let is_begun = sign_in::is_begun(back.as_ref()) && clean.method == "POST" && !websocket;
    let judges = || std::iter::once((sender, route)).chain(also.iter().map(|(route, sender)| (*sender, route)));
    let by_mark = is_begun && judges().any(|(sender, route)| sender.foreign().is_some() && route.origin_check != OriginCheck::Off);

    // Before the session: guessing tokens is bounded, and so is the work of opening them.
    charging.by_route(realm, &matched, known, trail).await?;

    // After the address and the quotas, because opening a token is the first step that costs something.
    let mut proven = match session::check(view, client, realm, policy, &stores.key_sets.load()) {
        Ok(Some(found)) => Some(found),
        Ok(None) => without_session(realm, &matched, trail)?,
        Err(deny) => anonymous(deny, Stage::Session, view, policy, realm, &matched, known, trail)?,
    };
    // The mark says that a sign-in began here, not that this form is its provider's: any page can send one as long as the mark is there.
    // So it acts in nobody's name. A provider's own has no session along anyway (`SameSite=Lax`), or needs none.
    if by_mark && proven.is_some() {
        known.set_aside = true;
        proven = without_session(realm, &matched, trail)?;
    }
    if let Some(found) = &proven {
        known.session = Some(Arc::clone(&found.session));
        trail.note(Stage::Session, Ok(()))?;
        trail.explain(|| {
            (format!("a session of tenant `{}`, {}", found.tenant.name, found.session.source).into(), Some(found.tenant.origin))
        });
    }

    // After the session, which alone says whose user this is; before the revocation, as the realm's own addresses are.
    if let Some(found) = &proven
        && found.tenant.name != realm.name
    {
        let member = found.tenant;
        known.member = Some(Arc::clone(member));
        trail.note(Stage::Member, member::standing(member))?;
        trail.note(Stage::Member, client_certificate::of_member(view.certificate, member))?;
        let range = relent(trail, Stage::Member, member.mode, member::address(client, member, view.now))?;
        if let Some(range) = range {
            trail.explain(|| explain_range(client, range, member));
        }
    }

    // After all that can be said without asking, before anything is done in the session's name.
    if let Some(found) = &proven {
        let holds = ended(&found.session, stores.revocations, on_stale(policy), view.now);
        // Behind the end: what holds is presented now, and an old token of it ends it.
        match holds.and_then(|()| newest(&found.session, client, stores.revocations, view.now)) {
            Ok(()) => {
                trail.note(Stage::Revocation, Ok(()))?;
                trail.explain(|| ("nobody ended the session, its user's or its tenant's".into(), None));
            }
            // Nobody knows whether the session holds: it is no sign-out, and nothing that observing lets pass.
            Err(deny) if deny.reason == Reason::RevocationUnavailable => return trail.note(Stage::Revocation, Err(deny)),
            // Nor does anybody know here, and soon somebody may. A public page does not need to, and the cookie stays; but who signs out or
            // in must hear that the session which they have could not be ended.
            Err(deny) if deny.reason == Reason::RevocationStale => {
                if !matched.needs_no_session() {
                    return trail.note(Stage::Revocation, Err(deny));
                }
                trail.note(Stage::Revocation, Ok(()))?;
                trail.explain(|| {
                    (format!("the route is public, so the session is not asked for: {}", deny.detail).into(), Some(route.origin))
                });
                (proven, known.session, known.member) = (None, None, None);
            }
            Err(deny) => {
                known.reused = (deny.reason == Reason::SessionReuse).then(|| Arc::clone(&found.session));
                proven = anonymous(deny, Stage::Revocation, view, policy, realm, &matched, known, trail)?;
                (known.session, known.member) = (None, None);
            }
        }
    }

    // After the session is believed, so that nobody is charged in another's name.
    let (session, acting) = match proven {
        Some(found) => (Some(found.session), found.tenant),
        None => (None, realm),
    };
    charging.after((realm, acting), &matched, session.as_deref(), known, trail).await?;

    // Last, because it needs all of the above and is the app's own question: may this user do this here?
    for route in matched.rules() {
        if let Some(session) = &session {
            relent(trail, Stage::Authorization, realm.mode, authorization::role(session, route))?;
        }
        // Observing does not relax it, so those without a session are asked for it too.
        trail.note(Stage::Authorization, authorization::age(session.as_deref(), route, view.now))?;
        if let (Some(session), true) = (&session, route.max_auth_age.is_some()) {
            let age = view.now.since(session.claims.auth_time).as_secs();
            trail.explain(|| (format!("the sign-in is {age} s old").into(), Some(route.origin)));
        }
    }
    for (sender, route) in judges() {
        let passes = is_safe || (is_begun && route.grant == Granting::Callback);
        trail.note(Stage::Authorization, origin::check(sender, passes, session.as_deref(), route))?;
        trail.explain(|| (explain_access(route), Some(route.origin)));
    }

    // What signs nobody in, whatever the app answers, is no try: any page makes its visitors' browsers follow such links and load such images.
    let part = origin::part_of_page(view).filter(|_| is_safe);
    if is_safe && matched.rules().any(|route| route.grant.is_allowed()) {
        let may_grant =
            |(sender, route): (Sender, &Arc<Route>)| origin::check_grant(sender, part, of_route(back.as_ref(), route), route).is_ok();
        if !judges().all(may_grant) {
            let charged = mem::take(&mut known.charged);
            charged.iter().for_each(|(key, limit)| stores.quotas.give_back(key, *limit, view.tick));
        }
    }

    Ok(Passage::Permit(Permit::new(permit::Parts {
        realm: Arc::clone(realm),
        acting: Arc::clone(acting),
        route: Arc::clone(route),
        also,
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
        charged: mem::take(&mut known.charged),
        websocket,
        safe: origin::is_safe(clean.method),
        part,
        sender,
        signed_out: false,
        back,
    })))
}

/// Judges a session that the app wants to grant in answer to a permitted request, and finds the tenant that it is for.
///
/// The certificate is judged by the rules as they are now: a request may take its time.
pub fn judge_grant(
    grant: &Grant,
    permit: &Permit,
    certificate: Option<&Presented>,
    policy: &Policy,
    now: UnixTime,
) -> Verdict<Arc<Tenant>> {
    // A link from another site passed, but a sign-in by it would sign the victim in as somebody else.
    permit.judges().try_for_each(|(sender, route)| origin::check_grant(sender, permit.part(), of_route(permit.back(), route), route))?;
    grant::check(grant, (permit.client(), certificate), permit.tenant(), policy, now).map(Arc::clone)
}

/// What is known of a sign-in that comes back counts at rules that take those.
fn of_route<'a>(back: Option<&'a Back>, route: &Route) -> Option<&'a Back> {
    back.filter(|_| route.grant == Granting::Callback)
}

/// Judges whether the answer to a permitted request may end sessions.
pub fn judge_revocation(permit: &Permit) -> Verdict {
    permit.judges().try_for_each(|(sender, route)| origin::check_answer(sender, permit.part(), route))
}

/// Judges whether somebody ended a session. A foreign one knows no epoch: it is of the one in which its user signed in.
fn ended<R: RevocationStore>(session: &Session, revocations: &R, on_stale: OnStale, now: UnixTime) -> Verdict {
    let claims = &session.claims;
    let epoch = match session.source {
        Source::Octroi { .. } => claims.epoch,
        Source::Foreign { .. } => revocations.epoch_of(&claims.tenant, claims.auth_time, now),
    };
    let answer = revocations.lookup(&claims.tenant, &claims.user, &claims.id, claims.auth_time, epoch, now);
    revocation::check(answer, revocations.epoch(&claims.tenant, now), epoch, claims, on_stale)?;
    // Behind what is known for certain.
    let is_foreign = matches!(session.source, Source::Foreign { .. });
    revocation::remembered(revocations.remembers(claims.auth_time, is_foreign))
}

/// The rule for sessions while what other nodes ended is not known.
fn on_stale(policy: &Policy) -> OnStale {
    policy.sessions.as_ref().map_or(OnStale::Deny, |sessions| sessions.revocation.on_stale)
}

/// Judges whether the token is the newest of its session, and takes it for presented. Only those in our cookie are ever renewed.
fn newest<R: RevocationStore>(session: &Session, client: ClientIp, revocations: &R, now: UnixTime) -> Verdict {
    if !session.is_in_our_cookie() {
        return Ok(());
    }
    reuse::check(revocations.present(&session.claims, client.prefix(), now), &session.claims)
}

/// Hands a verdict on, or only writes it down where the tenant whose rule it is observes: then there is nothing proven.
fn relent<T>(trail: &mut Trail, stage: Stage, mode: Mode, verdict: Verdict<T>) -> Verdict<Option<T>> {
    match verdict {
        Err(deny) if mode == Mode::Observe => {
            trail.observe(stage, deny);
            Ok(None)
        }
        verdict => trail.note(stage, verdict).map(Some),
    }
}

/// Goes on without a session that is presented but does not hold, where the route is public or the realm observes. It has been
/// judged then, and counts as none.
#[expect(clippy::too_many_arguments, reason = "one step of the order, taken at two places")]
fn anonymous<T>(
    deny: Deny,
    stage: Stage,
    view: &RequestView<'_>,
    policy: &Policy,
    realm: &Tenant,
    matched: &Matched<'_>,
    known: &mut Known,
    trail: &mut Trail,
) -> Verdict<Option<T>> {
    if matched.rules().all(|route| route.access == RouteAccess::Public) {
        let route = matched.route;
        known.clear_cookie = session::has_cookie(view, policy);
        trail.note(stage, Ok(()))?;
        trail.explain(|| {
            (format!("the route is public, so this session is none: {} ({})", deny.detail, deny.reason).into(), Some(route.origin))
        });
    } else {
        relent(trail, stage, realm.mode, Err::<(), _>(deny.clone()))?;
    }
    known.session_fault = Some(deny);
    Ok(None)
}

/// Goes on without a session where none is presented and the route needs none, or the realm observes.
fn without_session<T>(realm: &Tenant, matched: &Matched<'_>, trail: &mut Trail) -> Verdict<Option<T>> {
    let required = matched.rules().try_for_each(|route| session::required(route));
    if relent(trail, Stage::Session, realm.mode, required)?.is_some() {
        trail.explain(|| ("no session; the route is public".into(), Some(matched.route.origin)));
    }
    Ok(None)
}

/// Says which other rules judge the request, and why.
fn explain_readings(clean: &hygiene::Clean<'_>, matched: &Matched<'_>, trail: &mut Trail) -> Verdict {
    for also in &matched.also {
        trail.note(Stage::Route, Ok(()))?;
        trail.explain(|| {
            let id = also.route.id.as_str();
            let words = match &also.reading {
                Some(reading) => format!("an app may read the path as `{reading}`, so `{id}` judges too"),
                None => format!("`{id}` would match `{}` otherwise, so it judges too", clean.path.matching()),
            };
            (words.into(), Some(also.route.origin))
        });
    }
    Ok(())
}

fn explain_range(client: ClientIp, range: Option<&RangeRule>, tenant: &Tenant) -> (Cow<'static, str>, Option<Origin>) {
    match range {
        Some(rule) => (format!("{client} is in {}", rule.range).into(), Some(rule.origin)),
        None => (format!("tenant `{}` allows every address that it does not deny", tenant.name).into(), Some(tenant.origin)),
    }
}

fn explain_access(route: &Route) -> Cow<'static, str> {
    match &route.access {
        RouteAccess::Public => "everybody may".into(),
        RouteAccess::Session => "every session may".into(),
        RouteAccess::Roles(roles) => format!("sessions with one of the roles {} may", roles.join(", ")).into(),
        RouteAccess::Nobody => "nobody may".into(),
    }
}

/// Returns what is forwarded: the path that was matched, and the query, both as received.
fn forwarded(clean: &hygiene::Clean<'_>) -> String {
    let path = clean.path.forwarded();
    match clean.query {
        None => path.into_owned(),
        Some(query) => [&*path, query].join("?"),
    }
}
