//! What an answer does to a session: grant, renewal, end.

use std::{sync::Arc, time::Duration};

use http::{HeaderMap, header};
use tokio::time::timeout;

use super::{
    response_headers::{GRANT, REVOKE},
    shared::{Shared, random},
    sign_in,
};
use crate::{
    model::{Deny, Presented, Reason, Revoked, SessionId, TenantName, UnixTime, UserId, Verdict, told},
    pipeline::{self, Permit, Source},
    policy::{OnStale, Policy, SessionRules, Sessions, Tenant},
    session::{Admission, Claims, Purpose, cookie, grant},
    state::{Journal, Note, StoreError, Terms},
    telemetry::{RevocationWrite, SessionEvent},
};

/// How long a request waits for the journal's disk: whoever waits for another's commit gives up before.
const DISK: Duration = Duration::from_secs(15);
const SLOW: &str = "the disk of the revocation journal does not answer";

/// What becomes of the session cookie in an answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum CookieChange {
    /// Nothing is said about it.
    #[default]
    None,
    /// A `Set-Cookie` value: a new token, or an empty one that clears it.
    Set(String),
}

/// What the upstream's answer did.
#[derive(Clone, Debug, Default)]
pub(super) struct Outcome {
    pub(super) cookie: CookieChange,
    pub(super) granted: Option<GrantedTo>,
    /// Whether it ends the session that asked.
    pub(super) last: bool,
    /// `Set-Cookie` values about sign-ins that began here.
    pub(super) marks: Vec<String>,
    /// What the upstream asked for in vain, for the access line.
    pub(super) ignored: Option<String>,
}

/// Whom a grant made a session for.
#[derive(Clone, Debug)]
pub(super) struct GrantedTo {
    pub(super) tenant: Arc<Tenant>,
    pub(super) user: UserId,
    pub(super) hash: String,
}

/// The part of an exchange that decides about sessions.
#[derive(Clone, Copy, Debug)]
pub(super) struct Answer<'a> {
    pub(super) status: u16,
    pub(super) headers: &'a HeaderMap,
    /// Those of the client.
    pub(super) asked: &'a HeaderMap,
    /// The client's, and who accepts it now.
    pub(super) certificate: Option<&'a Presented>,
}

/// Renewal waits until a fourth of the idle time is used, so that most answers carry no cookie.
const RENEW_AFTER_PART: u32 = 4;

/// Reads the upstream's control fields, applies them, and says what becomes of the cookie.
///
/// A grant that cannot stand refuses the whole answer: the app believes a session exists, and the client must not.
pub(super) async fn apply(shared: &Shared, policy: &Policy, permit: &Permit, answer: Answer<'_>, now: UnixTime) -> Verdict<Outcome> {
    let Answer { status, headers, .. } = answer;
    let Some(sessions) = &policy.sessions else { return Ok(without_sessions(shared, headers)) };
    let lines = |name| headers.get_all(name).iter().map(http::HeaderValue::as_bytes).collect::<Vec<_>>();
    let (grants, revokes) = (lines(GRANT), lines(REVOKE));
    let mut outcome = Outcome { marks: sign_in::marks(sessions, permit, &answer, now), ..Outcome::default() };
    // The app clears its own cookie.
    let own = permit.session().is_some_and(|session| matches!(session.source, Source::Octroi { .. }));
    if !revokes.is_empty() {
        // Boxed, as a grant is: most answers have neither.
        match Box::pin(end(shared, permit, &revokes, now)).await? {
            Ended::Own => {
                outcome.last = true;
                if own {
                    outcome.cookie = CookieChange::Set(cookie::clear(&sessions.cookie));
                }
            }
            Ended::Others => {}
            Ended::Ignored(why) => outcome.ignored = Some(why),
        }
    }
    if !grants.is_empty() {
        if permit.route().grant.is_allowed() && (200..400).contains(&status) {
            // A user's sessions end up to and with this millisecond; the one that takes their place begins behind it.
            let begins = if revokes.is_empty() { now } else { now.plus(Duration::from_millis(1)) };
            let granted = Box::pin(grant_session(shared, policy, sessions, permit, (&grants, answer), begins)).await?;
            // What it came back from is used once.
            outcome.marks.extend(permit.sign_in().map(cookie::clear));
            return Ok(Outcome { ignored: outcome.ignored, marks: outcome.marks, ..granted });
        }
        shared.metrics.session(SessionEvent::GrantIgnored);
        outcome.ignored = Some(if permit.route().grant.is_allowed() {
            format!("the upstream's grant is ignored: its answer has status {status}")
        } else {
            format!("the upstream's grant is ignored: the rule `{}` has no `grant`", permit.route().id.as_str())
        });
    }
    if outcome.cookie == CookieChange::None
        && let Some(token) = renewed(shared, sessions, permit, now)
    {
        shared.metrics.session(SessionEvent::Renewed);
        outcome.cookie = CookieChange::Set(cookie::set(&sessions.cookie, &token, None));
    }
    Ok(outcome)
}

/// Says that whatever an upstream asks for is in vain.
fn without_sessions(shared: &Shared, headers: &HeaderMap) -> Outcome {
    let asked = [(GRANT, SessionEvent::GrantIgnored), (REVOKE, SessionEvent::RevokeIgnored)];
    let mut ignored = None;
    for (name, event) in asked.into_iter().filter(|(name, _)| headers.contains_key(name)) {
        shared.metrics.session(event);
        ignored = Some(format!("the upstream's `{name}` is ignored: there are no `sessions`"));
    }
    Outcome { ignored, ..Outcome::default() }
}

/// Makes a session out of a grant: a new id always, and the one that was presented ends (ASVS 7.2.4).
async fn grant_session(
    shared: &Shared,
    policy: &Policy,
    sessions: &Sessions,
    permit: &Permit,
    (lines, answer): (&[&[u8]], Answer<'_>),
    now: UnixTime,
) -> Verdict<Outcome> {
    let grant = grant::parse(lines).map_err(|error| Deny::new(Reason::GrantMalformed, error.to_string()))?;
    // A session that begins at a wrong time would end at a wrong time.
    if !shared.clock.is_steady() {
        return Err(Deny::new(Reason::ClockStepped, "the wall clock was set, and is not believed yet"));
    }
    let tenant = pipeline::judge_grant(&grant, permit, answer.certificate, policy, now)?;
    let rules = &tenant.sessions;
    let user_agent = answer.asked.get(header::USER_AGENT).map_or(&[][..], http::HeaderValue::as_bytes);
    let absolute = grant.absolute.map_or(rules.absolute, |asked| asked.min(rules.absolute));
    let absolute_end = now.plus(absolute);
    let claims = Claims {
        id: SessionId::new(random()),
        tenant: tenant.name.clone(),
        user: grant.user,
        roles: grant.roles,
        issued: now,
        auth_time: now,
        not_before: now,
        idle_end: now.plus(rules.idle).min(absolute_end),
        absolute_end,
        generation: 0,
        epoch: crate::state::RevocationStore::epoch(&*shared.revocations, &tenant.name, now),
        binding: rules.binding(permit.client(), user_agent, answer.certificate.map(|presented| &*presented.certificate)),
    };
    let hash = sessions.ring.session_hash(&claims.id);
    let token = seal(sessions, permit, &claims).map_err(|detail| Deny::new(Reason::GrantMalformed, detail))?;
    // Before anything ends: one that is refused leaves all as it was.
    count_in(shared, &claims, permit, (rules, sessions.revocation.on_stale), now).await?;
    if let Some(session) = permit.session() {
        revoke_session(shared, &session.claims, now).await?;
    }
    shared.metrics.session(SessionEvent::Granted);
    Ok(Outcome {
        cookie: CookieChange::Set(cookie::set(&sessions.cookie, &token, None)),
        granted: Some(GrantedTo { user: claims.user, tenant, hash }),
        last: permit.session().is_some(),
        marks: Vec::new(),
        ignored: None,
    })
}

/// Has the new session counted among its user's, and ends those that are too many: before its token leaves.
async fn count_in(
    shared: &Shared,
    claims: &Claims,
    permit: &Permit,
    (rules, on_stale): (&SessionRules, OnStale),
    now: UnixTime,
) -> Verdict {
    let note = Note {
        id: claims.id,
        tenant: claims.tenant.clone(),
        user: claims.user.clone(),
        granted: claims.auth_time,
        ends: claims.absolute_end,
        epoch: claims.epoch,
        client: permit.client().prefix(),
    };
    let terms = Terms { limit: rules.max_per_user, idle: rules.idle, absolute: rules.absolute, on_stale };
    let replaces = permit.session().map(|session| session.claims.id);
    let journal = Arc::clone(&shared.revocations);
    let granted = match timeout(DISK, tokio::task::spawn_blocking(move || journal.grant(note, terms, replaces, now))).await {
        Ok(Ok(granted)) => granted.map_err(|error| told(&error)),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(SLOW.to_owned()),
    };
    match granted {
        Ok(Admission::Granted(surplus)) => {
            for held in surplus {
                // Longer than another node, or a stranger, says that it lives.
                let keep_until = held.ends.max(now.plus(rules.absolute));
                if let Err(deny) = end_surplus(shared, &claims.tenant, held.id, now, keep_until).await {
                    // Its token does not leave, so it is not to count either. Why that may fail, too, is written down there.
                    let _ = revoke_session(shared, claims, now).await;
                    return Err(deny);
                }
            }
            Ok(())
        }
        Ok(Admission::Refused(count)) => {
            Err(Deny::new(Reason::TooManySessions, format!("the user has {count} sessions of tenant `{}`", claims.tenant)))
        }
        // Nothing depends on the count.
        Err(why) if terms.limit.is_none() => {
            tracing::warn!(event = "sessions_uncounted", tenant = %claims.tenant, error = %why, "a session is not noted");
            Ok(())
        }
        Err(why) => {
            tracing::error!(event = "sessions_uncounted", tenant = %claims.tenant, error = %why, "a sign-in is refused: the sessions of its user cannot be counted");
            Err(Deny::new(Reason::SessionsUncounted, why))
        }
    }
}

/// Ends a session that is one too many of its user.
async fn end_surplus(shared: &Shared, tenant: &TenantName, id: SessionId, now: UnixTime, keep_until: UnixTime) -> Verdict {
    let tenant = tenant.clone();
    durable(shared, move |journal| journal.revoke_session(&tenant, &id, now, keep_until)).await?;
    shared.metrics.session(SessionEvent::EndedByLimit);
    Ok(())
}

/// Ends a session of which an old token came back: who has the right one cannot be told from a thief.
pub(super) async fn end_reused(shared: &Shared, claims: &Claims, hash: &str, now: UnixTime) {
    shared.metrics.session(SessionEvent::Reused);
    let (tenant, generation) = (claims.tenant.as_str(), claims.generation);
    tracing::warn!(
        event = "session_reuse",
        tenant,
        session = hash,
        generation,
        "an old token of a session came back; the session is ended"
    );
    // The request is refused whatever comes of it, and an error is written down there.
    let _ = revoke_session(shared, claims, now).await;
}

fn seal(sessions: &Sessions, permit: &Permit, claims: &Claims) -> Result<String, String> {
    sessions.ring.seal(claims, Purpose::Cookie, &permit.tenant().name, random()).map_err(|error| error.to_string())
}

/// Slides the idle end of a cookie session that has used a quarter of its rest. The absolute end stays where it is.
fn renewed(shared: &Shared, sessions: &Sessions, permit: &Permit, now: UnixTime) -> Option<String> {
    let session = permit.session().filter(|session| session.is_in_our_cookie())?;
    let claims = &session.claims;
    let rules = &permit.acting_tenant().sessions;
    // Where the rule was shortened, what is left is less than the token says.
    let ends = claims.idle_end.min(claims.issued.plus(rules.idle));
    let idle_end = now.plus(rules.idle).min(claims.absolute_end);
    if now.since(claims.issued) * RENEW_AFTER_PART < ends.since(claims.issued) || idle_end <= ends {
        return None;
    }
    // After all else, so that a session which needs none yet takes no turn. The generation goes on only with the token that is
    // presented next: a renewal that got lost counts as none.
    if !shared.renewals.take(&claims.id, rules.idle, shared.clock.tick()) {
        return None;
    }
    let renewed = Claims { issued: now, idle_end, generation: claims.generation.saturating_add(1), ..claims.clone() };
    seal(sessions, permit, &renewed).ok()
}

/// What became of an upstream's wish to end sessions.
enum Ended {
    /// The session of this request is among those that ended.
    Own,
    /// It is not.
    Others,
    /// None ended, and why.
    Ignored(String),
}

/// Ends what the upstream asks to end.
///
/// It reaches only the tenant of the request's own valid session; anything else is ignored and counted.
async fn end(shared: &Shared, permit: &Permit, lines: &[&[u8]], now: UnixTime) -> Verdict<Ended> {
    let ignored = |why: String| {
        shared.metrics.session(SessionEvent::RevokeIgnored);
        Ok(Ended::Ignored(format!("the upstream's revocation is ignored: {why}")))
    };
    if !permit.route().revoke {
        return ignored(format!("the rule `{}` has no `revoke`", permit.route().id.as_str()));
    }
    let Some(session) = permit.session() else { return ignored("the request has no session".to_owned()) };
    // A link of another site would sign its visitor out.
    pipeline::judge_revocation(permit)?;
    let claims = &session.claims;
    let own = match grant::parse_revoke(lines) {
        Ok(grant::RevokeWish::Own) => {
            revoke_session(shared, claims, now).await?;
            true
        }
        Ok(grant::RevokeWish::User(user)) => {
            // No session of this tenant lives longer than its absolute clock, whatever its token says.
            let keep_until = now.plus(permit.acting_tenant().sessions.absolute);
            let own = user == claims.user;
            let (whose, keep_until) = (Revoked::User(claims.tenant.clone(), user), keep_until.max(claims.absolute_end));
            durable(shared, move |journal| journal.revoke(&whose, now, keep_until)).await?;
            own
        }
        Err(error) => return ignored(error.to_string()),
    };
    shared.metrics.session(SessionEvent::Revoked);
    Ok(if own { Ended::Own } else { Ended::Others })
}

/// Ends one session of a tenant.
async fn revoke_session(shared: &Shared, claims: &Claims, at: UnixTime) -> Verdict {
    let (tenant, id, keep_until) = (claims.tenant.clone(), claims.id, claims.absolute_end);
    durable(shared, move |journal| journal.revoke_session(&tenant, &id, at, keep_until)).await
}

/// Writes a revocation down and returns once it is durable. The disk is waited for off the worker threads.
async fn durable(shared: &Shared, write: impl FnOnce(&Journal) -> Result<(), StoreError> + Send + 'static) -> Verdict {
    let journal = Arc::clone(&shared.revocations);
    let Ok(written) = timeout(DISK, tokio::task::spawn_blocking(move || write(&journal))).await else {
        shared.metrics.revocation_write(RevocationWrite::Failure);
        tracing::error!(error = SLOW, "a session was ended here and now, but that would not survive a restart");
        return Err(Deny::new(Reason::RevocationUnavailable, SLOW));
    };
    shared.metrics.revocation_write(match &written {
        Ok(Ok(())) => RevocationWrite::Success,
        Ok(Err(StoreError::NotShared(_))) => RevocationWrite::NotShared,
        Ok(Err(_)) | Err(_) => RevocationWrite::Failure,
    });
    match written {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error @ StoreError::NotShared(_))) => {
            let why = told(&error);
            tracing::error!(error = %why, "a session was ended here for good, and other nodes do not know it yet");
            Err(Deny::new(Reason::RevocationUnavailable, why))
        }
        Ok(Err(error)) => {
            let why = told(&error);
            tracing::error!(error = %why, "a session was ended here and now, but that would not survive a restart");
            Err(Deny::new(Reason::RevocationUnavailable, why))
        }
        Err(error) => Err(Deny::new(Reason::RevocationUnavailable, error.to_string())),
    }
}
