//! A session that an answer begins (`Octroi-Session-Grant`).

use std::sync::Arc;

use http::{HeaderValue, header};

use super::{
    BegunSession, SessionStore, StoreFailure, WallClock, revocation::unavailable, view::AnswerContext,
};
use crate::{
    checks::{grant, origin},
    model::{Deny, Presented, Reason, SessionEvent, SessionId, UnixTime, Verdict},
    pipeline::{Permit, Session, Source, of_route},
    policy::{Policy, SessionRules, Tenant},
    session::{
        Admission, Claims, Purpose, Replaced, cookie,
        grant::{Grant, parse},
    },
    sessions::{GrantLimits, GrantRecord},
};

/// Returns why a grant has no effect, if so.
pub(super) fn ignored(status: u16, permit: &Permit) -> Option<String> {
    if !permit.route().grant.is_allowed() {
        let rule = permit.route().id.as_str();
        return Some(format!("the upstream's grant is ignored: the rule `{rule}` has no `grant`"));
    }
    (!(200..400).contains(&status))
        .then(|| format!("the upstream's grant is ignored: its answer has status {status}"))
}

/// Makes a session out of a grant, and its `Set-Cookie` value. It always gets a new identifier, and the
/// session that was presented ends (ASVS 7.2.4).
pub(super) async fn begin<S: SessionStore>(
    lines: &[&[u8]],
    context: &AnswerContext<'_, S>,
    now: UnixTime,
    events: &mut Vec<SessionEvent>,
) -> Verdict<(BegunSession, String)> {
    let (permit, sessions) = (context.permit, context.sessions);
    let grant = parse(lines).map_err(|error| Deny::new(Reason::GrantMalformed, error.to_string()))?;
    // A session that begins at a wrong time would end at a wrong time.
    if let WallClock::Stepped { trusted_in } = context.inputs.clock {
        let deny = Deny::new(Reason::ClockStepped, "the wall clock was set, and is not believed yet");
        return Err(match trusted_in {
            Some(wait) => deny.after(wait),
            None => deny,
        });
    }
    let tenant = judge_grant(&grant, permit, context.view.certificate, context.policy, now)?;
    let claims = claims(grant, &tenant, context, now);
    let hash = sessions.ring.session_hash(&claims.id);
    let token = seal(context, &claims).map_err(|detail| Deny::new(Reason::GrantMalformed, detail))?;
    // Before anything ends: a grant that is refused leaves every session as it was.
    let replaced = replaced(context).filter(|replaced| replaced.ends > now);
    admit(&claims, &tenant.sessions, replaced.as_ref().map(|replaced| replaced.id), context, events).await?;
    if let Some(Replaced { id, tenant, ends }) = replaced {
        context.inputs.store.end_session(&tenant, id, now, ends).await.map_err(unavailable)?;
    }
    events.push(SessionEvent::Granted);
    let source =
        Source::Octroi { purpose: Purpose::Cookie, key: sessions.ring.minting().map_or(0, |key| key.id) };
    let begun = BegunSession { session: Arc::new(Session { claims, source }), tenant, hash };
    Ok((begun, cookie::set(&sessions.cookie, &token, None)))
}

/// Judges a session that the app wants to grant in answer to a permitted request, and finds the tenant that
/// it is for.
///
/// The certificate is judged by the rules as they are now: a request may take its time.
pub fn judge_grant(
    grant: &Grant,
    permit: &Permit,
    certificate: Option<&Presented>,
    policy: &Policy,
    now: UnixTime,
) -> Verdict<Arc<Tenant>> {
    // A link on another site passed as a request, but a sign-in by it would sign the victim in as somebody
    // else.
    permit.rules_with_sender().try_for_each(|(sender, route)| {
        origin::check_grant(sender, permit.part(), of_route(permit.callback(), route), route)
    })?;
    grant::check(grant, permit.client(), certificate, permit.tenant(), policy, now).map(Arc::clone)
}

/// Seals a token for the session cookie of the realm.
pub(super) fn seal<S>(context: &AnswerContext<'_, S>, claims: &Claims) -> Result<String, String> {
    let realm = &context.permit.tenant().name;
    context
        .sessions
        .ring
        .seal(claims, Purpose::Cookie, realm, context.inputs.random_bytes())
        .map_err(|error| error.to_string())
}

fn claims<S: SessionStore>(
    grant: Grant,
    tenant: &Tenant,
    context: &AnswerContext<'_, S>,
    now: UnixTime,
) -> Claims {
    let (rules, view) = (&tenant.sessions, context.view);
    let user_agent = view.request_headers.get(header::USER_AGENT).map_or(&[][..], HeaderValue::as_bytes);
    let absolute_end = now.plus(grant.absolute.map_or(rules.absolute, |asked| asked.min(rules.absolute)));
    Claims {
        id: SessionId::new(context.inputs.random_bytes()),
        tenant: tenant.name.clone(),
        user: grant.user,
        roles: grant.roles,
        issued: now,
        auth_time: now,
        not_before: now,
        idle_end: now.plus(rules.idle).min(absolute_end),
        absolute_end,
        generation: 0,
        epoch: context.inputs.store.epoch(&tenant.name, now),
        binding: rules.binding(
            context.permit.client(),
            user_agent,
            view.certificate.map(|presented| &*presented.certificate),
        ),
    }
}

/// Returns the session that the new one replaces: the one that was presented, unless it has ended; else the
/// one that the browser had where its sign-in began. A form of another site brings no `SameSite=Lax` cookie
/// along, so the mark of the sign-in names it.
fn replaced<S>(context: &AnswerContext<'_, S>) -> Option<Replaced> {
    let presented = context.permit.session().filter(|_| !context.view.without_session);
    let presented = presented.map(|Session { claims, .. }| Replaced {
        id: claims.id,
        tenant: claims.tenant.clone(),
        ends: claims.absolute_end,
    });
    presented.or_else(|| context.permit.replaces().cloned())
}

/// Has the new session counted among its user's, and ends those that are too many, before its token leaves.
async fn admit<S: SessionStore>(
    claims: &Claims,
    rules: &SessionRules,
    replaces: Option<SessionId>,
    context: &AnswerContext<'_, S>,
    events: &mut Vec<SessionEvent>,
) -> Verdict {
    let (store, now) = (context.inputs.store, claims.auth_time);
    let record = GrantRecord {
        id: claims.id,
        tenant: claims.tenant.clone(),
        user: claims.user.clone(),
        granted: now,
        ends: claims.absolute_end,
        epoch: claims.epoch,
        client: context.permit.client().prefix(),
    };
    let limits = GrantLimits {
        limit: rules.max_per_user,
        idle: rules.idle,
        absolute: rules.absolute,
        on_stale: context.sessions.revocation.on_stale,
    };
    let surplus = match store.grant(record, limits, replaces, now).await {
        Ok(Admission::Granted(surplus)) => surplus,
        Ok(Admission::Refused(count)) => {
            let detail = format!("the user has {count} sessions of tenant `{}`", claims.tenant);
            return Err(Deny::new(Reason::TooManySessions, detail));
        }
        // Without a limit, nothing depends on the count.
        Err(_) if limits.limit.is_none() => return Ok(()),
        Err(StoreFailure(why)) => return Err(Deny::new(Reason::SessionsUncounted, why)),
    };
    for held in surplus {
        // Longer than another node, or a stranger, says that it lives.
        let keep_until = held.ends.max(now.plus(rules.absolute));
        if let Err(failure) = store.end_session(&claims.tenant, held.id, now, keep_until).await {
            // The new token does not leave, so its session must not count either. If that fails too, the
            // store has logged why.
            let _ = store.end_session(&claims.tenant, claims.id, now, claims.absolute_end).await;
            return Err(unavailable(failure));
        }
        events.push(SessionEvent::EndedByLimit);
    }
    Ok(())
}
