//! What a request says when it leaves for the upstream.

use http::{HeaderValue, header};
use pingora::{Error, ErrorType, Result, http::RequestHeader};

use super::{
    proxy::Context,
    request_headers::{self, Fate, Stated, StatedSession},
    shared::{Shared, Snapshot},
};
use crate::{
    model::Connection,
    policy::Policy,
    session::{TOKEN_PREFIX, cookie},
    telemetry::{HeaderDrop, SessionEvent},
};

/// Takes out what only the gateway may say, and says it. pingora has stripped what belongs to the client's connection before,
/// so that no client can nominate our fields away (CVE-2024-45410).
pub(super) fn prepare(shared: &Shared, request: &mut RequestHeader, ctx: &mut Context) -> Result<()> {
    let (Some(permit), Some(snapshot), Some(connection)) = (&ctx.permit, &ctx.snapshot, &ctx.connection) else {
        return Error::e_explain(ErrorType::InternalError, "no permit");
    };
    let spoofed: Vec<_> = request
        .headers
        .keys()
        .filter_map(|name| match request_headers::fate(name.as_str()) {
            Fate::Keep => None,
            Fate::Spoof => {
                shared.metrics.headers_dropped(HeaderDrop::Spoofed, 1);
                Some(name.clone())
            }
            Fate::Underscore => {
                shared.metrics.headers_dropped(HeaderDrop::Underscore, 1);
                Some(name.clone())
            }
        })
        .collect();
    for name in spoofed {
        request.remove_header(&name);
    }
    credentials(shared, request, &snapshot.policy)?;
    tracing_fields(request);
    let hash = permit.session().zip(snapshot.policy.sessions.as_ref()).map(|(session, rules)| rules.ring.session_hash(&session.claims.id));
    let stated = Stated {
        request_id: ctx.id.as_str(),
        realm: permit.tenant().name.as_str(),
        tenant: permit.acting_tenant().name.as_str(),
        client: permit.client().to_string(),
        scheme: if connection.facts().tls().is_some() { "https" } else { "http" },
        host: permit.host().as_str(),
        port: public_port(snapshot, connection),
        session: permit.session().zip(hash.as_deref()).map(|(session, hash)| StatedSession {
            user: session.claims.user.as_str(),
            roles: &session.claims.roles,
            hash,
            auth_time_secs: session.claims.auth_time.as_secs(),
        }),
    };
    request.set_raw_path(permit.path_and_query().as_bytes())?;
    for (name, value) in stated.fields() {
        request.insert_header(name, value)?;
    }
    ctx.websocket_key = request.headers.get(header::SEC_WEBSOCKET_KEY).cloned().filter(|_| permit.websocket());
    Ok(())
}

/// Takes our own credentials out of what is forwarded.
fn credentials(shared: &Shared, request: &mut RequestHeader, policy: &Policy) -> Result<()> {
    let Some(sessions) = &policy.sessions else { return Ok(()) };
    if request.headers.contains_key(header::COOKIE) {
        let stripped = cookie::strip(request.headers.get_all(header::COOKIE).iter().map(HeaderValue::as_bytes), &sessions.cookie);
        if stripped.lookalikes > 0 {
            shared.metrics.sessions(SessionEvent::CookieLookalike, stripped.lookalikes);
        }
        match stripped.rest.and_then(|rest| HeaderValue::from_bytes(&rest).ok()) {
            Some(rest) => request.insert_header(header::COOKIE, rest)?,
            None => drop(request.remove_header(&header::COOKIE)),
        }
    }
    // Whatever carries our prefix is ours, valid or not: the app never sees a token.
    if request.headers.get_all(header::AUTHORIZATION).iter().any(|value| is_our_bearer(value.as_bytes())) {
        request.remove_header(&header::AUTHORIZATION);
    }
    Ok(())
}

/// Says whether an `Authorization` value is a Bearer token of ours, by its prefix.
fn is_our_bearer(value: &[u8]) -> bool {
    let Some((scheme, rest)) = value.split_at_checked(6) else { return false };
    scheme.eq_ignore_ascii_case(b"bearer") && rest.trim_ascii_start().starts_with(TOKEN_PREFIX.as_bytes())
}

/// Drops trace fields that are not well formed, and a client's request id that could break a log.
fn tracing_fields(request: &mut RequestHeader) {
    let fits = |name: &http::HeaderName, ok: fn(&[u8]) -> bool| {
        let mut values = request.headers.get_all(name).iter();
        values.next().is_some_and(|value| ok(value.as_bytes())) && values.next().is_none()
    };
    let id = fits(&request_headers::X_REQUEST_ID, request_headers::is_request_id);
    let trace = fits(&request_headers::TRACEPARENT, request_headers::is_traceparent);
    if !id {
        request.remove_header(&request_headers::X_REQUEST_ID);
    }
    if !trace {
        request.remove_header(&request_headers::TRACEPARENT);
        request.remove_header(&request_headers::TRACESTATE);
    }
}

/// The port that clients see.
fn public_port(snapshot: &Snapshot, connection: &Connection) -> u16 {
    let facts = connection.facts();
    let listener = snapshot.policy.listeners.iter().find(|listener| listener.name == facts.listener);
    listener.and_then(|listener| listener.public_port).unwrap_or(facts.local.port())
}
