//! Refusals on their way to the client, through pingora.

use std::{borrow::Cow, sync::Arc, time::Duration};

use bytes::Bytes;
use pingora::{Result, http::ResponseHeader, protocols::http::ServerSession as Downstream, proxy::Session};

use super::{
    cookie_load,
    proxy::Context,
    record,
    reply::{Asking, Certificate, Extra, Refusal, WayOut},
    shared::Shared,
};
use crate::{
    model::{Deny, Path, Reason, Scheme, Stage},
    policy::{Route, Sessions, Tenant},
    session::{AGAIN, AGAIN_SECS, cookie},
};

/// Answers with a refusal, and notes it for the record.
pub(super) async fn refuse(shared: &Shared, session: &mut Session, ctx: &mut Context, deny: Deny) -> Result<()> {
    let status = deny.reason.status();
    let policy = ctx.snapshot.as_ref().map(|snapshot| Arc::clone(&snapshot.policy));
    let sessions = policy.as_ref().and_then(|policy| policy.sessions.as_ref());
    if let Some(permit) = ctx.permit.as_ref().filter(|_| is_untried(deny.reason)) {
        for (key, limit) in permit.charged_failures() {
            crate::state::QuotaStore::give_back(&shared.quotas, key, *limit, shared.clock.tick());
        }
    }
    let max_auth_age = ctx.known.rules().filter_map(|route| route.max_auth_age).min().filter(|_| deny.reason == Reason::AuthTooOld);
    let realm = realm(ctx);
    let asking = Asking::of(session.req_header().method.as_str(), &session.req_header().headers);
    let lost = sessions.filter(|_| deny.reason == Reason::Csrf && ctx.known.sign_in_lost && asking.document);
    let extra = Extra {
        way_out: lost.map(|sessions| way_out(sessions, session, ctx.known.session.is_some())),
        max_auth_age,
        retry_after: deny.retry_after,
        quotas: &ctx.known.quotas,
        // Made only where they are said: refusals come in floods.
        allow: ctx.known.route.as_deref().filter(|_| status == 405).map(|route| allowed_methods(route, ctx.known.rules())),
        login: sessions
            .filter(|_| status == 401)
            .and_then(|sessions| sessions.login_url.as_deref())
            .map(|url| login_location(url, session, max_auth_age)),
        clear_cookie: sessions.filter(|_| ctx.known.clear_cookie).map(|sessions| cookie::clear(&sessions.cookie)),
        secure: is_secure(ctx),
        cookies_to_blame: policy.as_ref().is_some_and(|policy| {
            let fields = session.req_header().headers.iter();
            let fields = fields.map(|(name, value)| (name.as_str().as_bytes(), name.as_str().len().saturating_add(value.len())));
            cookie_load::is_to_blame(deny.reason, fields, ctx.malformed.is_none(), &policy.limits)
        }),
        words: realm.as_deref().map(|realm| &*realm.response_headers),
    };
    let refusal = Refusal::new(deny.reason, ctx.id, asking, extra);
    let stage = deny.reason.stage();
    // A connection is asked for its certificate once: to present one, or another, the client has to come again.
    let certificate = Certificate::of(deny.reason) != Certificate::None || has_refused_certificate(ctx);
    // Framing in doubt, or the gateway itself: nothing more is read from such a connection.
    let doubtful = ctx.connection.as_ref().is_some_and(|connection| connection.has_doubtful_surplus());
    if matches!(stage, Stage::Hygiene | Stage::Gateway) || certificate || doubtful || shared.is_draining() {
        session.set_keepalive(None);
    }
    record::failed(ctx, deny);
    send(session, ctx, refusal).await
}

/// Finds the way out for a person who comes back to the end of a sign-in: by the button of the browser, a second tab, or too late.
///
/// Nothing is granted, whoever sent them. Who is signed in goes to the start; anybody else begins anew, which takes no effort while the
/// provider still knows them. Where that has just been tried, a page says what is the matter: an app whose sign-ins are never marked
/// would send the browser round in a circle. (One that takes no cookies is unknown to the provider too, and stops there.)
fn way_out(sessions: &Sessions, session: &Session, signed_in: bool) -> WayOut {
    let name = [&*sessions.cookie, AGAIN].concat();
    let lines = session.req_header().headers.get_all(http::header::COOKIE).iter().map(http::HeaderValue::as_bytes);
    let tried = cookie::marks(lines, &sessions.cookie).any(|(other, _)| other == name.as_bytes());
    let location = sessions.login_url.as_deref().filter(|_| !signed_in);
    // With neither a session nor a place to sign in, the start is only offered.
    let again = (!tried && (signed_in || location.is_some())).then(|| cookie::mark(&name, "1", true, Duration::from_secs(AGAIN_SECS)));
    WayOut { signed_in, location: location.unwrap_or("/").to_owned(), again }
}

/// Says whether a request that passed is refused before any app was asked: nothing was tried, so it is no failure of its client's.
fn is_untried(reason: Reason) -> bool {
    matches!(reason, Reason::BodyNotAllowed | Reason::UpstreamShare | Reason::UpstreamBusy | Reason::MemoryShort | Reason::UpstreamConnect)
}

/// Returns the tenant whose word counts: the one that was asked for, else the one that the handshake named.
pub(super) fn realm(ctx: &Context) -> Option<Arc<Tenant>> {
    let named = || {
        let sni = ctx.connection.as_ref()?.facts().tls()?.sni.as_ref()?;
        ctx.snapshot.as_ref()?.policy.tenants.owning(sni).cloned()
    };
    ctx.known.realm.clone().or_else(named)
}

/// Says whether the client came over TLS, as far as that is known.
fn is_secure(ctx: &Context) -> bool {
    let over_tls = || ctx.connection.as_ref().is_some_and(|connection| connection.facts().tls().is_some());
    ctx.known.scheme.map_or_else(over_tls, Scheme::is_secure)
}

/// Says whether the client's certificate is accepted by nobody any more, whatever the request is refused for.
fn has_refused_certificate(ctx: &Context) -> bool {
    ctx.connection.as_ref().is_some_and(|connection| connection.certificate_is_refused())
}

/// Writes a refusal through pingora. The body left unread is dealt with when the request ends.
///
/// Over HTTP/2 nobody waits for the client to take it: the library has the few octets and sends them when it may, and nothing else of the
/// request is kept. Otherwise a client that opens no window would have us keep every head that it can make of a few octets (RFC 7541,
/// section 6.1), for as long as `write_stall`.
pub(super) async fn send(session: &mut Session, ctx: &mut Context, refusal: Refusal) -> Result<()> {
    let mut response = ResponseHeader::build_no_case(refusal.status, Some(refusal.fields.len()))?;
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
            connection.answer_is_left();
        }
        // The client has reset the stream: there is nobody to tell.
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

/// The methods that every rule for the path lets through, for `Allow`. There may be none (RFC 9110, section 10.2.1).
fn allowed_methods<'r>(route: &Route, rules: impl Iterator<Item = &'r Route> + Clone) -> String {
    let all = route.methods().filter(|method| rules.clone().all(|rule| rule.lists(method)));
    all.collect::<Vec<_>>().join(", ")
}

/// Where a browser signs in. The way back is the path only: a query may hold secrets and the path has passed every check.
fn login_location(url: &str, session: &Session, max_auth_age: Option<Duration>) -> String {
    // As it is forwarded: `//host` would lead to that host.
    let path = Path::parse(session.req_header().uri.path().as_bytes());
    let path = path.as_ref().map_or(Cow::Borrowed("/"), Path::forwarded);
    // Otherwise an app that finds a session would send the browser straight back.
    let step_up = max_auth_age.map(|age| format!("max_age={}", age.as_secs()));
    if path == url {
        return step_up.map_or_else(|| url.to_owned(), |asked| format!("{url}{}{asked}", separator(url)));
    }
    let next = percent_encoding::utf8_percent_encode(&path, percent_encoding::NON_ALPHANUMERIC);
    format!("{url}{}next={next}{}", separator(url), step_up.map(|asked| format!("&{asked}")).unwrap_or_default())
}

fn separator(url: &str) -> char {
    if url.contains('?') { '&' } else { '?' }
}
