//! Refusals on their way to the client, through pingora.

use std::sync::Arc;

use bytes::Bytes;
use pingora::{Result, http::ResponseHeader, protocols::http::ServerSession as Downstream, proxy::Session};

use super::{context::Context, discard, shared::Shared};
use crate::{
    headers,
    model::{Deny, Reason, Stage},
    pipeline::refusal::{
        CertificateFault, ClientPreferences, Refusal, RefusalDetails, login_location, stale_sign_in,
    },
    policy::Route,
    session::cookie,
};

/// Answers with a refusal, and notes it for the access line.
pub(super) async fn refuse(
    shared: &Shared,
    session: &mut Session,
    ctx: &mut Context,
    deny: Deny,
) -> Result<()> {
    let status = deny.reason.status();
    let policy = ctx.snapshot.as_ref().map(|snapshot| Arc::clone(&snapshot.policy));
    let sessions = policy.as_ref().and_then(|policy| policy.sessions.as_ref());
    if let Some(permit) = ctx.permit.as_ref().filter(|_| is_untried(deny.reason)) {
        for (key, limit) in permit.charged_failures() {
            crate::store::QuotaStore::give_back(&shared.quotas, key, *limit, shared.clock.tick());
        }
    }
    let max_auth_age = ctx
        .facts
        .rules()
        .filter_map(|route| route.max_auth_age)
        .min()
        .filter(|_| deny.reason == Reason::AuthTooOld);
    let realm = ctx.realm();
    let request = session.req_header();
    let preferences = ClientPreferences::of(request.method.as_str(), &request.headers);
    let lost =
        sessions.filter(|_| deny.reason == Reason::Csrf && ctx.facts.sign_in_lost && preferences.document);
    let clear_cookie = sessions.filter(|_| ctx.facts.clear_cookie && ctx.permit.is_none());
    if clear_cookie.is_some() {
        ctx.counts.cookies_cleared = ctx.counts.cookies_cleared.saturating_add(1);
    }
    let extra = RefusalDetails {
        stale_sign_in: lost
            .map(|sessions| stale_sign_in(sessions, &request.headers, ctx.facts.session.is_some())),
        max_auth_age,
        retry_after: deny.retry_after,
        quotas: &ctx.facts.quotas,
        // Computed only where it is sent: refusals come in floods.
        allow: ctx
            .facts
            .route
            .as_deref()
            .filter(|_| status == 405)
            .map(|route| allowed_methods(route, ctx.facts.rules())),
        login: sessions
            .filter(|_| status == 401 && preferences.browser)
            .and_then(|sessions| sessions.login_url.as_deref())
            .and_then(|url| login_location(url, &request.method, request.uri.path(), max_auth_age)),
        // Not after the app was asked: another sign-in may have set the cookie meanwhile.
        clear_cookie: clear_cookie.map(|sessions| cookie::clear(&sessions.cookie)),
        secure: ctx.is_secure(),
        cookies_to_blame: policy.as_ref().is_some_and(|policy| {
            let fields = request.headers.iter();
            let fields = fields.map(|(name, value)| {
                (name.as_str().as_bytes(), name.as_str().len().saturating_add(value.len()))
            });
            headers::is_to_blame(deny.reason, fields, ctx.malformed.is_none(), &policy.limits)
        }),
        words: realm.as_deref().map(|realm| &*realm.response_headers),
    };
    let refusal = Refusal::new(deny.reason, ctx.id, preferences, extra);
    let reason = deny.reason;
    ctx.fail(deny);
    // A client is asked for its certificate once per connection. To present one, or another, it must connect
    // again.
    let certificate = CertificateFault::of(reason) != CertificateFault::None || ctx.has_refused_certificate();
    // Where framing is in doubt, or the gateway itself failed, nothing more is read from the connection.
    let doubtful = ctx.connection.as_ref().is_some_and(|connection| connection.has_doubtful_surplus());
    if matches!(reason.stage(), Stage::Hygiene | Stage::Gateway)
        || certificate
        || doubtful
        || shared.is_draining()
    {
        session.set_keepalive(None);
    }
    send(session, ctx, refusal).await
}

/// Says whether a request that passed is refused before any app was asked: the client tried nothing, so it is
/// charged for no failure.
fn is_untried(reason: Reason) -> bool {
    matches!(
        reason,
        Reason::BodyNotAllowed
            | Reason::UpstreamShare
            | Reason::UpstreamBusy
            | Reason::MemoryShort
            | Reason::UpstreamConnect
    )
}

/// Writes a refusal through pingora. What has come of the body is read before; the rest is discarded when the
/// request ends.
///
/// Over HTTP/2 nobody waits for the client to take it: the library holds the few octets and sends them when
/// it may, and nothing else of the request is kept. Otherwise a client that opens no window would make us
/// keep every head that it can make of a few octets (RFC 7541, section 6.1), for as long as `write_stall`.
pub(super) async fn send(session: &mut Session, ctx: &mut Context, refusal: Refusal) -> Result<()> {
    let mut response = ResponseHeader::build_no_case(refusal.status, Some(refusal.fields.len()))?;
    discard::read_what_came(session, ctx);
    for (name, value) in &refusal.fields {
        response.append_header(name.clone().into_owned(), value.as_str())?;
    }
    let bodiless = refusal.body.is_empty();
    session.as_downstream_mut().write_response_header(Box::new(response)).await?;
    if let Downstream::H2(http2) = session.as_downstream_mut()
        && let Some(mut writer) = http2.take_response_body_writer()
    {
        ctx.left = refusal.body.len();
        if let Some(connection) = &ctx.connection {
            connection.leave_answer_to_library();
        }
        // The client may have reset the stream: then nobody reads the answer.
        let _ = writer.send_data(Bytes::from(refusal.body), true);
        ctx.answered = true;
        return Ok(());
    }
    if bodiless {
        session.as_downstream_mut().finish_body().await?;
    } else {
        session.as_downstream_mut().write_response_body(Bytes::from(refusal.body), true).await?;
    }
    ctx.answered = true;
    Ok(())
}

/// Returns the methods that every rule for the path allows, for `Allow`. There may be none (RFC 9110, section
/// 10.2.1).
fn allowed_methods<'r>(route: &Route, rules: impl Iterator<Item = &'r Route> + Clone) -> String {
    let all = route.methods().filter(|method| rules.clone().all(|rule| rule.lists(method)));
    all.collect::<Vec<_>>().join(", ")
}
