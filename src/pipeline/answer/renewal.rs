//! The renewal of the session that asked.

use super::{SessionStore, grant::seal, view::AnswerContext};
use crate::session::{Claims, cookie};

/// A session is renewed once a fourth of its idle time is used, so that most answers carry no cookie.
const RENEW_AFTER_PART: u32 = 4;

/// Moves the idle end of a session in our cookie, and returns its new `Set-Cookie` value. The absolute end
/// stays.
pub(super) fn renew<S: SessionStore>(context: &AnswerContext<'_, S>) -> Option<String> {
    let (permit, now) = (context.permit, context.inputs.now);
    let session = permit.session().filter(|session| session.is_in_our_cookie())?;
    let claims = &session.claims;
    let rules = &permit.acting_tenant().sessions;
    // Where the rule was shortened, less is left than the token says.
    let ends = claims.idle_end.min(claims.issued.plus(rules.idle));
    let idle_end = now.plus(rules.idle).min(claims.absolute_end);
    if now.since(claims.issued) * RENEW_AFTER_PART < ends.since(claims.issued) || idle_end <= ends {
        return None;
    }
    // After all else, so that a session which needs no renewal takes no turn. The generation counts only once
    // its token is presented: a renewal that got lost counts as none.
    if !context.inputs.store.take_renewal(&claims.id, rules.idle) {
        return None;
    }
    let renewed =
        Claims { issued: now, idle_end, generation: claims.generation.saturating_add(1), ..claims.clone() };
    let token = seal(context, &renewed).ok()?;
    Some(cookie::set(&context.sessions.cookie, &token, None))
}
