//! Sessions that an answer ends (`Octroi-Session-Revoke`).

use super::{SessionStore, StoreFailure, view::AnswerContext};
use crate::{
    checks::origin,
    model::{Deny, Reason, SessionEvent, Verdict},
    pipeline::Permit,
    session::grant::{RevokeRequest, parse_revoke},
};

/// What became of an upstream's request to end sessions.
pub(super) enum Effect {
    /// The session of this request is among those that ended.
    Own,
    /// Others ended, and it did not.
    Others,
    /// None ended, and why.
    Ignored(String),
}

/// Ends the sessions that the upstream names.
///
/// It reaches only the tenant of the request's own valid session; anything else is ignored and counted.
pub(super) async fn end<S: SessionStore>(
    lines: &[&[u8]],
    context: &AnswerContext<'_, S>,
    events: &mut Vec<SessionEvent>,
) -> Verdict<Effect> {
    let (permit, store, now) = (context.permit, context.inputs.store, context.inputs.now);
    let route = permit.route();
    let ignored = |why: String, events: &mut Vec<SessionEvent>| {
        events.push(SessionEvent::RevokeIgnored);
        Ok(Effect::Ignored(format!("the upstream's revocation is ignored: {why}")))
    };
    if !route.revoke {
        return ignored(format!("the rule `{}` has no `revoke`", route.id.as_str()), events);
    }
    let Some(session) = permit.session() else {
        return ignored("the request has no session".to_owned(), events);
    };
    // Before anything ends: a link on another site would sign its visitor out.
    judge_revocation(permit)?;
    let claims = &session.claims;
    let effect = match parse_revoke(lines) {
        Ok(RevokeRequest::Own) => {
            let ended = store.end_session(&claims.tenant, claims.id, now, claims.absolute_end).await;
            ended.map_err(unavailable)?;
            Effect::Own
        }
        Ok(RevokeRequest::User(user)) => {
            // No session of this tenant lives longer than its absolute clock, whatever its token says.
            let keep_until = now.plus(permit.acting_tenant().sessions.absolute).max(claims.absolute_end);
            let is_own = user == claims.user;
            store.end_user(&claims.tenant, user, now, keep_until).await.map_err(unavailable)?;
            if is_own { Effect::Own } else { Effect::Others }
        }
        Err(error) => return ignored(error.to_string(), events),
    };
    events.push(SessionEvent::Revoked);
    Ok(effect)
}

/// Judges whether the answer to a permitted request may end sessions.
pub fn judge_revocation(permit: &Permit) -> Verdict {
    permit
        .rules_with_sender()
        .try_for_each(|(sender, route)| origin::check_answer(sender, permit.part(), route))
}

/// The refusal where a session could not be ended durably.
pub(super) fn unavailable(failure: StoreFailure) -> Deny {
    Deny::new(Reason::RevocationUnavailable, failure.0)
}
