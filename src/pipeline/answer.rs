//! THE ORDER in which the final answer of an upstream is judged.
//!
//! Read [`judge_answer`] from top to bottom: framing, revocation, grant, renewal, cookies. It decides, and
//! its caller applies the decision; the fields of the head are completed last, by the rules of
//! [`headers`]. Any error refuses the whole answer.

mod grant;
mod renewal;
mod revocation;
mod sign_in;
mod store;
mod view;

use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};

use super::{OnSessionEnd, Permit, Session, Source};
use crate::{
    headers,
    model::{AppCookie, Host, SessionEvent, Verdict},
    policy::Policy,
    session::cookie,
};

pub use grant::judge_grant;
pub use revocation::judge_revocation;
pub use store::{AnswerInputs, SessionStore, StoreFailure, WallClock};
pub use view::{AnswerView, BegunSession};

use revocation::Effect;
use view::AnswerContext;

/// What an answer does to sessions and their cookies.
#[derive(Clone, Debug, Default)]
pub struct AnswerDecision {
    /// The `Set-Cookie` value for the session cookie, if any: a new token, or an empty value that clears it.
    pub session_cookie: Option<String>,
    /// `Set-Cookie` values for the marks of sign-ins.
    pub sign_in_cookies: Vec<String>,
    /// The session that the answer begins.
    pub begun: Option<BegunSession>,
    /// Whether the answer ends the session that asked.
    pub ends_own_session: bool,
    /// What the upstream asked for in vain, for the access line.
    pub ignored: Option<String>,
}

/// Judges the final answer to a permitted request, and has the store end and begin the sessions that the
/// answer names.
///
/// What happened to sessions is left in `events`, whatever the verdict. A grant that cannot stand refuses the
/// whole answer: the app believes that a session exists, and the client must not.
pub async fn judge_answer<S: SessionStore>(
    view: &AnswerView<'_>,
    permit: &Permit,
    policy: &Policy,
    inputs: AnswerInputs<'_, S>,
    events: &mut Vec<SessionEvent>,
) -> Verdict<AnswerDecision> {
    // First of all: where readers may disagree about the end of an answer, nothing in it is believed.
    headers::check_framing(view.headers)?;

    let (grants, revocations) = (lines(view, &headers::GRANT), lines(view, &headers::REVOKE));
    let Some(sessions) = &policy.sessions else { return Ok(without_sessions(view, events)) };
    let context = AnswerContext { view, permit, policy, sessions, inputs };
    let mut decision = AnswerDecision::default();

    // Before the grant: an answer with both ends the old sessions of the user, and the new one must survive
    // that. Boxed, as the grant is: most answers have neither.
    if !revocations.is_empty() {
        match Box::pin(revocation::end(&revocations, &context, events)).await? {
            Effect::Own => {
                decision.ends_own_session = true;
                decision.session_cookie =
                    context.clears_own_cookie().then(|| cookie::clear(&sessions.cookie));
            }
            Effect::Others => {}
            Effect::Ignored(why) => decision.ignored = Some(why),
        }
    }

    // Before the renewal: a session that begins takes the place of the one that asked, and of its cookie.
    if !grants.is_empty() {
        match grant::ignored(view.status, permit) {
            Some(why) => {
                events.push(SessionEvent::GrantIgnored);
                decision.ignored = Some(why);
            }
            None => {
                // A user's sessions end up to and including this millisecond, and so may the one that asked.
                // The one that takes their place begins after it.
                let is_alone = revocations.is_empty() && !view.without_session;
                let begins = inputs.now.plus(Duration::from_millis(u64::from(!is_alone)));
                let (begun, cookie) = Box::pin(grant::begin(&grants, &context, begins, events)).await?;
                (decision.begun, decision.session_cookie) = (Some(begun), Some(cookie));
            }
        }
    }

    // After both: a session that ended or was replaced is not renewed. Nor is one that has ended meanwhile,
    // and its cookie stays: another sign-in may have set it since.
    if decision.session_cookie.is_none()
        && !view.without_session
        && let Some(cookie) = renewal::renew(&context)
    {
        events.push(SessionEvent::Renewed);
        decision.session_cookie = Some(cookie);
    }

    // Last: the marks of sign-ins depend on none of the above, and an answer that is refused sets none.
    decision.sign_in_cookies = sign_in::mark(&context).unwrap_or_default();
    if decision.begun.is_some() {
        // The mark of the sign-in that the request comes back from is used once.
        decision.sign_in_cookies.extend(permit.sign_in().map(cookie::clear));
    }
    Ok(decision)
}

fn lines<'a>(view: &AnswerView<'a>, name: &HeaderName) -> Vec<&'a [u8]> {
    view.headers.get_all(name).iter().map(HeaderValue::as_bytes).collect()
}

/// Ignores whatever an upstream asks for, because no `sessions` are configured.
fn without_sessions(view: &AnswerView<'_>, events: &mut Vec<SessionEvent>) -> AnswerDecision {
    let asked =
        [(headers::GRANT, SessionEvent::GrantIgnored), (headers::REVOKE, SessionEvent::RevokeIgnored)];
    let mut ignored = None;
    for (name, event) in asked.into_iter().filter(|(name, _)| view.headers.contains_key(name)) {
        events.push(event);
        ignored = Some(format!("the upstream's `{name}` is ignored: there are no `sessions`"));
    }
    AnswerDecision { ignored, ..AnswerDecision::default() }
}

/// Decides what the end of its session does to an exchange once the head of its answer is there, before the
/// answer is judged: only an answer that can be a sign-out is waited for behind the end of its session.
pub fn on_answer_head(permit: &Permit, headers: &HeaderMap) -> Option<OnSessionEnd> {
    (permit.may_sign_out() && !headers::signs_out(headers)).then_some(OnSessionEnd::Ends)
}

/// Decides the same for an answer that was judged and begins no session.
pub fn on_judged_answer(permit: &Permit, decision: &AnswerDecision) -> Option<OnSessionEnd> {
    if decision.ends_own_session {
        return Some(OnSessionEnd::Nothing);
    }
    // It ended sessions of others, or none: it is no sign-out.
    permit.may_sign_out().then_some(OnSessionEnd::Ends)
}

/// Decides the same for an answer that goes on for long: it ends with its session on every rule, because its
/// app was told at the start in whose name it speaks. An answer that ended the session itself has said so,
/// and goes on.
pub fn on_stream(permit: &Permit, headers: &HeaderMap) -> Option<OnSessionEnd> {
    let has_ended_it = permit.on_session_end() == OnSessionEnd::Nothing;
    (!has_ended_it && headers::streams(headers)).then_some(OnSessionEnd::Ends)
}

/// Says whether an answer is a success for quotas that only failures cost.
///
/// An app answers a wrong password with its form again and status 200, so where it could have granted, only a
/// grant is a success. Opening the form is not an attempt.
pub fn is_success(permit: &Permit, status: u16, granted: bool) -> bool {
    granted || (status < 400 && (permit.is_safe() || !permit.is_sign_in()))
}

/// Filters the cookies that the app sets in an answer, by the rules of the realm. Returns what became of
/// each.
pub fn filter_app_cookies(
    headers: &mut HeaderMap,
    permit: &Permit,
    policy: &Policy,
    without_session: bool,
) -> Vec<AppCookie> {
    let (realm, sessions) = (permit.tenant(), policy.sessions.as_ref());
    let owns = |domain: &str| {
        domain.parse::<Host>().is_ok_and(|domain| policy.tenants.owns_domain(&realm.name, &domain))
    };
    let is_foreign = |session: &Session| matches!(session.source, Source::Foreign { in_cookie: true, .. });
    let has_ended = without_session && permit.session().is_some_and(is_foreign);
    let ended = sessions.filter(|_| has_ended).map_or(&[][..], |sessions| sessions.foreign.cookies());
    let context = headers::CookieContext {
        session_cookie: sessions.map_or("", |sessions| &sessions.cookie),
        ended,
        rules: &realm.cookies,
        tls: permit.scheme().is_secure(),
        owns: &owns,
    };
    headers::filter_set_cookies(headers, context)
}
