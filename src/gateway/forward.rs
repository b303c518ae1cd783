//! What a request says when it leaves for the upstream.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, header};
use pingora::{Error, ErrorType, Result};

use super::{
    proxy::Context,
    request_headers::{self, Stated, StatedSession},
    shared::Shared,
};
use crate::{
    model::{ClientCertificate, RequestId},
    pipeline::{Permit, Session},
    policy::{Fate, Policy, RequestFields},
    session::{Statement, TOKEN_PREFIX, cookie, foreign::is_compact},
    telemetry::{HeaderDrop, SessionEvent},
};

/// Takes out what only the gateway may say, and says it. What belongs to the client's connection was taken out before, so that no
/// client can nominate our fields away (CVE-2024-45410).
pub(super) fn dress(shared: &Shared, headers: &mut HeaderMap, ctx: &mut Context) -> Result<()> {
    let (Some(permit), Some(snapshot)) = (&ctx.permit, &ctx.snapshot) else {
        return Error::e_explain(ErrorType::InternalError, "no permit");
    };
    take_spoofed(shared, headers, &permit.tenant().request_fields);
    credentials(shared, headers, &snapshot.policy, ctx.known.session_fault.is_none() && !ctx.known.set_aside);
    tracing_fields(headers);
    let mut roles: Vec<&str> = permit.session().iter().flat_map(|session| session.claims.roles.iter()).collect();
    roles.sort_unstable();
    let named = permit.session().zip(ctx.session_hash.as_deref());
    let named = match named {
        None => None,
        Some((session, hash)) => Some((session, hash, assertion(shared, &snapshot.policy, permit, (session, hash, &roles), &ctx.id)?)),
    };
    let authority = permit.authority();
    let stated = Stated {
        request_id: ctx.id.as_str(),
        realm: permit.tenant().name.as_str(),
        tenant: permit.acting_tenant().name.as_str(),
        client: permit.client(),
        scheme: permit.scheme().as_str(),
        host: &authority,
        port: permit.public_port(),
        certificate: permit.certificate().map(ClientCertificate::leaf),
        session: named.map(|(session, hash, assertion)| StatedSession {
            user: session.claims.user.as_str(),
            roles: &roles,
            hash,
            auth_time_secs: session.claims.auth_time.as_secs(),
            assertion,
        }),
    };
    stated.put_into(headers);
    ctx.websocket_key = headers.get(header::SEC_WEBSOCKET_KEY).cloned().filter(|_| permit.websocket());
    Ok(())
}

/// Signs who asks, where that is configured. A request of which that cannot be said does not leave.
fn assertion(
    shared: &Shared,
    policy: &Policy,
    permit: &Permit,
    (session, hash, roles): (&Session, &str, &[&str]),
    id: &RequestId,
) -> Result<Option<String>> {
    let Some(assertions) = policy.sessions.as_ref().and_then(|sessions| sessions.assertions.as_ref()) else { return Ok(None) };
    let statement = Statement {
        audience: &permit.tenant().upstream.audience,
        user: session.claims.user.as_str(),
        tenant: permit.acting_tenant().name.as_str(),
        realm: permit.tenant().name.as_str(),
        roles,
        session: hash,
        auth_time: session.claims.auth_time,
        request_id: id.as_str(),
    };
    assertions.sign(&statement, shared.clock.now()).map(Some).or_else(|error| Error::e_explain(ErrorType::InternalError, error.to_string()))
}

/// Takes out the fields that only the gateway may state, and those that the realm does not want.
fn take_spoofed(shared: &Shared, headers: &mut HeaderMap, rules: &RequestFields) {
    let dropped = |name: &HeaderName| match rules.fate(name.as_str()) {
        Fate::Keep => None,
        Fate::Drop => Some((name.clone(), HeaderDrop::Spoofed)),
        Fate::Underscore => Some((name.clone(), HeaderDrop::Underscore)),
    };
    let spoofed: Vec<_> = headers.keys().filter_map(dropped).collect();
    for (name, why) in spoofed {
        shared.metrics.headers_dropped(why, 1);
        headers.remove(name);
    }
}

/// Takes our own credentials out of what is forwarded, and a foreign session that was refused: an app that believed it would sign it anew,
/// and with the new date it would outlive its end. One that holds, and one in which nobody signed in, is the app's to read.
fn credentials(shared: &Shared, headers: &mut HeaderMap, policy: &Policy, keep_foreign: bool) {
    let Some(sessions) = &policy.sessions else { return one_cookie_line(headers) };
    if headers.contains_key(header::COOKIE) {
        let names = cookie::Names { own: &sessions.cookie, foreign: sessions.foreign.cookies(), keep_foreign };
        let stripped = cookie::strip(headers.get_all(header::COOKIE).iter().map(HeaderValue::as_bytes), names);
        if stripped.lookalikes > 0 {
            shared.metrics.sessions(SessionEvent::CookieLookalike, stripped.lookalikes);
        }
        match stripped.rest.and_then(|rest| HeaderValue::from_maybe_shared(Bytes::from(rest)).ok()) {
            Some(rest) => drop(headers.insert(header::COOKIE, rest)),
            None => drop(headers.remove(header::COOKIE)),
        }
    }
    // Whatever carries our prefix is ours, valid or not: the app never sees a token.
    let refused = |value: &[u8]| !keep_foreign && sessions.foreign.in_bearer() && holds_foreign_token(value);
    if headers.get_all(header::AUTHORIZATION).iter().any(|value| holds_token(value.as_bytes()) || refused(value.as_bytes())) {
        headers.remove(header::AUTHORIZATION);
    }
}

/// Joins the lines that HTTP/2 spreads cookies over: an HTTP/1 server reads one (RFC 9113, section 8.2.3).
fn one_cookie_line(headers: &mut HeaderMap) {
    let lines: Vec<&[u8]> = headers.get_all(header::COOKIE).iter().map(HeaderValue::as_bytes).collect();
    if lines.len() > 1
        && let Ok(line) = HeaderValue::from_bytes(&lines.join(b"; ".as_slice()))
    {
        headers.insert(header::COOKIE, line);
    }
}

/// Says whether a word of an `Authorization` value is a token of ours, under whatever scheme a client sent it.
fn holds_token(value: &[u8]) -> bool {
    words(value).any(|word| word.starts_with(TOKEN_PREFIX.as_bytes()))
}

/// Says whether a word of it could be a foreign session.
fn holds_foreign_token(value: &[u8]) -> bool {
    words(value).any(|word| std::str::from_utf8(word).is_ok_and(is_compact))
}

fn words(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|&byte| matches!(byte, b' ' | b'\t' | b',' | b';' | b'=' | b'"' | b'\''))
}

/// Drops trace fields that are not well formed, and a client's request id that could break a log.
fn tracing_fields(headers: &mut HeaderMap) {
    let fits = |name: &HeaderName, ok: fn(&[u8]) -> bool| {
        let mut values = headers.get_all(name).iter();
        values.next().is_some_and(|value| ok(value.as_bytes())) && values.next().is_none()
    };
    let id = fits(&request_headers::X_REQUEST_ID, request_headers::is_request_id);
    let trace = fits(&request_headers::TRACEPARENT, request_headers::is_traceparent);
    if !id {
        headers.remove(&request_headers::X_REQUEST_ID);
    }
    if !trace {
        headers.remove(&request_headers::TRACEPARENT);
        headers.remove(&request_headers::TRACESTATE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cookies_leave_in_one_line() {
        let mut headers = HeaderMap::new();
        headers.append(header::COOKIE, HeaderValue::from_static("a=1"));
        headers.append(header::COOKIE, HeaderValue::from_static("b=2; c=3"));

        one_cookie_line(&mut headers);

        assert_eq!(headers.get_all(header::COOKIE).iter().collect::<Vec<_>>(), ["a=1; b=2; c=3"]);
    }

    #[test]
    fn a_token_is_found_under_every_scheme() {
        for value in
            ["Bearer oct1.abc", "bearer\toct1.abc", "Token oct1.abc", "Basic x, Bearer oct1.abc", "Token token=\"oct1.abc\"", "oct1.abc"]
        {
            assert!(holds_token(value.as_bytes()), "{value}");
        }
        for value in ["Bearer abc.oct1.def", "Basic b2N0MS4=", "Bearer", ""] {
            assert!(!holds_token(value.as_bytes()), "{value}");
        }
    }
}
