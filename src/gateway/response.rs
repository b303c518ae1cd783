//! The answer of an upstream: the pipeline's decisions are applied here, and the head is prepared for the
//! client.

use http::{HeaderMap, HeaderValue, header};
use pingora::{Error, ErrorType, OrErr, Result, proxy::Session as Downstream};

use super::{
    context::{Context, GrantedTo},
    guard, revalidate,
    session_store::clock,
    shared::{Shared, fill_random},
    view,
};
use crate::{
    headers,
    model::{Deny, EventKind, EventSink, HttpVersion, SessionChanged, SessionEvent, Stage},
    pipeline::{
        Permit,
        answer::{self, AnswerDecision, AnswerInputs, AnswerView, BegunSession},
    },
    session::cookie,
    store::QuotaStore,
    upstream::Head,
};

/// How many fields are added to an answer at most, beside the tenant's own.
const RESPONSE_FIELDS: usize = 8;

/// Notes the status of an answer, and when the upstream began to answer.
pub(super) fn note(shared: &Shared, ctx: &mut Context, status: u16) {
    if let Some(attempt) = &mut ctx.upstream {
        attempt.answered(status, shared.clock.tick());
    }
}

/// Has the final answer of an upstream judged, and applies what it does to sessions.
pub(super) async fn process(
    shared: &Shared,
    session: &Downstream,
    response: &Head,
    ctx: &mut Context,
) -> Result<()> {
    let (status, headers) = (response.status.as_u16(), &response.headers);
    note(shared, ctx, status);
    // Before the answer ends the session by itself: nothing that needs a session passes once that has ended,
    // even if it ended while the app worked.
    revalidate::revalidate_if_changed(shared, ctx)?;
    if let Some(does) = ctx.permit.as_ref().and_then(|permit| answer::on_answer_head(permit, headers)) {
        revalidate::set_on_session_end(shared, ctx, does)?;
    }
    let Some(permit) = ctx.permit.clone() else { return Ok(()) };
    match judge(shared, &session.req_header().headers, response, &permit, ctx).await {
        Ok(decision) => apply(shared, &permit, decision, ctx)?,
        Err(deny) => {
            let status = deny.reason.status();
            ctx.deny = Some(deny);
            return Error::e_explain(ErrorType::HTTPStatus(status), "the answer is refused");
        }
    }
    give_back(shared, &permit, status, ctx.granted.is_some());
    drop(permit);
    if let Some(does) = ctx.permit.as_ref().and_then(|permit| answer::on_stream(permit, headers)) {
        revalidate::set_on_session_end(shared, ctx, does)?;
    }
    Ok(())
}

/// Has an answer judged, and counts what it did to sessions, whatever the verdict.
async fn judge(
    shared: &Shared,
    request_headers: &HeaderMap,
    response: &Head,
    permit: &Permit,
    ctx: &Context,
) -> Result<AnswerDecision, Deny> {
    let Some(snapshot) = &ctx.snapshot else { return Ok(AnswerDecision::default()) };
    let now = shared.clock.now();
    let certificate = ctx.connection.as_ref().and_then(|connection| connection.presented(now));
    let view = AnswerView {
        status: response.status.as_u16(),
        headers: &response.headers,
        request_headers,
        certificate: certificate.as_ref(),
        without_session: ctx.without_session,
    };
    let inputs =
        AnswerInputs { store: shared, now, clock: clock(shared, &snapshot.policy), random: fill_random };
    let mut events = Vec::new();
    let judging = answer::judge_answer(&view, permit, &snapshot.policy, inputs, &mut events);
    let verdict = guard::catch_panic_async(judging).await;
    if verdict.as_ref().is_err_and(|deny| deny.reason.stage() == Stage::Grant) {
        events.push(SessionEvent::GrantRefused);
    }
    let begun = verdict.as_ref().ok().and_then(|decision| decision.begun.as_ref());
    for change in events {
        record(shared, permit, begun, change);
    }
    verdict
}

/// Records what an answer did to a session: to the one that it begins, or to that of the request.
fn record(shared: &Shared, permit: &Permit, begun: Option<&BegunSession>, change: SessionEvent) {
    let begun = begun.filter(|_| matches!(change, SessionEvent::Granted | SessionEvent::EndedByLimit));
    let claims = begun.map(|begun| &*begun.session).or(permit.session()).map(|session| &session.claims);
    let tenant = Some(claims.map_or(&permit.tenant().name, |claims| &claims.tenant));
    let user = claims.map(|claims| &claims.user);
    shared.emit(EventKind::Session(&SessionChanged { tenant, user, change }));
}

/// Applies what an answer does to the exchange: its cookies, and with which session it ends from here on.
fn apply(shared: &Shared, permit: &Permit, decision: AnswerDecision, ctx: &mut Context) -> Result<()> {
    let does = answer::on_judged_answer(permit, &decision);
    ctx.session_cookie = decision.session_cookie;
    ctx.sign_in_cookies = decision.sign_in_cookies;
    ctx.ignored = decision.ignored;
    if let Some(begun) = decision.begun {
        let user = begun.session.claims.user.clone();
        ctx.granted = Some(GrantedTo { tenant: begun.tenant.clone(), user, hash: begun.hash });
        (ctx.permit, ctx.without_session) = (Some(permit.granted(begun.session, begun.tenant)), false);
        // By the rules as they are now: it was granted by those of its beginning.
        revalidate::revalidate_now(shared, ctx)?;
        return revalidate::permit_changed(shared, ctx);
    }
    does.map_or(Ok(()), |does| revalidate::set_on_session_end(shared, ctx, does))
}

/// Gives back what only failures cost, where an answer is a success.
pub(super) fn give_back(shared: &Shared, permit: &Permit, status: u16, granted: bool) {
    if answer::is_success(permit, status, granted) {
        for (key, limit) in permit.charged_failures() {
            QuotaStore::give_back(&shared.quotas, key, *limit, shared.clock.tick());
        }
    }
}

/// Prepares the head of an answer for the client: fields of the upstream's own are removed, those of every
/// answer added.
pub(super) fn prepare_response(
    shared: &Shared,
    session: &mut Downstream,
    response: &mut Head,
    ctx: &mut Context,
) -> Result<()> {
    if ctx.permit.is_none() || ctx.snapshot.is_none() || ctx.connection.is_none() {
        return Ok(());
    }
    let (status, fields) = (response.status, &mut response.headers);
    fields.reserve(RESPONSE_FIELDS);
    headers::hide(fields, status);
    if status.is_informational() {
        headers::prepare_interim(fields, status);
        return Ok(());
    }
    // HTTP/1.0 knows no chunks (RFC 9112, section 6.1): there the end of the connection is the end of the
    // body.
    if view::version(session.req_header()) == HttpVersion::Http10
        && fields.remove(header::TRANSFER_ENCODING).is_some()
    {
        session.set_keepalive(None);
    }
    complete(fields, ctx)?;
    let Some(connection) = &ctx.connection else { return Ok(()) };
    if response.headers.contains_key(header::CONTENT_LENGTH) {
        connection.answers_to_a_length();
    }
    // Only another connection can have another certificate; over HTTP/2 the stream sends GOAWAY.
    if shared.is_draining() || connection.certificate_is_refused() || connection.has_doubtful_surplus() {
        session.set_keepalive(None);
    }
    Ok(())
}

/// Completes the head of a final answer, in order: the app's cookies, the tenant's fields and the defaults,
/// our cookies, the request's identifier.
fn complete(fields: &mut HeaderMap, ctx: &mut Context) -> Result<()> {
    let (Some(permit), Some(snapshot)) = (&ctx.permit, &ctx.snapshot) else { return Ok(()) };
    for outcome in answer::filter_app_cookies(fields, permit, &snapshot.policy, ctx.without_session) {
        ctx.counts.set_cookie(outcome);
    }
    let mut session_cookie = ctx.session_cookie.take();
    if session_cookie.is_none() && ctx.facts.clear_cookie {
        ctx.counts.cookies_cleared = ctx.counts.cookies_cleared.saturating_add(1);
        let sessions = snapshot.policy.sessions.as_ref();
        session_cookie = Some(cookie::clear(sessions.map_or("", |sessions| &sessions.cookie)));
    }
    headers::complete(fields, permit.scheme().is_secure(), &permit.tenant().response_headers);
    // After the tenant's own fields: no setting makes a cache keep a session.
    for value in session_cookie.into_iter().chain(std::mem::take(&mut ctx.sign_in_cookies)) {
        let value = HeaderValue::try_from(value)
            .or_err(ErrorType::InternalError, "the session cookie is no field value")?;
        fields.append(header::SET_COOKIE, value);
        headers::forbid_caching(fields);
    }
    let mut id = HeaderValue::from_str(ctx.id.as_str()).unwrap_or(HeaderValue::from_static(""));
    // It is no secret, but it never comes again: HPACK must not evict fields that do (RFC 7541, section
    // 7.1.3).
    id.set_sensitive(true);
    fields.insert(headers::REQUEST_ID, id);
    Ok(())
}
