//! The request as it leaves for the upstream, in the upstream's protocol.

use http::{HeaderMap, HeaderValue, Method, header};
use pingora::{Error, ErrorType, OrErr, Result, proxy::Session};

use super::{context::Context, guard, shared::Shared, view};
use crate::{
    headers::{leave_client_connection, takes_trailers},
    model::{HttpVersion, Verdict},
    pipeline::{self, ForwardInputs, Permit},
    policy::Protocol,
    upstream::{self, After, Framing, Pool, Request},
};

/// Makes the request that leaves for the upstream.
pub(super) fn build(
    shared: &Shared,
    session: &Session,
    ctx: &mut Context,
    pool: &Pool,
    framing: Framing,
) -> Result<Request> {
    let Some(permit) = &ctx.permit else {
        return Error::e_explain(ErrorType::InternalError, "no permit, no server");
    };
    let method = &session.req_header().method;
    let protocol = permit.tenant().upstream.protocol;
    let mut headers = fields(session);
    framing.state(&mut headers, method, protocol);
    match protocol {
        Protocol::Http1 => {
            let after = framing.connection_after(method, pool);
            http1(shared, method, ctx, headers, after)
        }
        Protocol::Http2 => {
            // A client that cannot be handed trailers does not ask for them.
            if session.is_http2() && takes_trailers(&session.req_header().headers) {
                headers.insert(header::TE, HeaderValue::from_static("trailers"));
            }
            http2(shared, method, ctx, headers)
        }
    }
}

/// Returns the fields of a request without those of its connection.
fn fields(session: &Session) -> HeaderMap {
    let request = session.req_header();
    let mut headers = request.headers.clone();
    leave_client_connection(&mut headers);
    // Nobody waits in HTTP/1.0, and an interim answer would be taken for the answer (RFC 9110, section
    // 10.1.1).
    if view::version(request) == HttpVersion::Http10 {
        headers.remove(header::EXPECT);
    }
    // It is case-insensitive, and some servers recognise it in lower case only.
    if let Some(expect) = headers.get_mut(header::EXPECT) {
        *expect = HeaderValue::from_static("100-continue");
    }
    headers
}

/// Writes the request's head as it leaves over HTTP/1.1.
fn http1(
    shared: &Shared,
    method: &Method,
    ctx: &mut Context,
    mut headers: HeaderMap,
    after: After,
) -> Result<Request> {
    if after == After::Told {
        headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    if ctx.permit.as_ref().is_some_and(Permit::websocket) {
        headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
        headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    }
    let made = guard::catch_panic(|| {
        prepare(shared, &mut headers, ctx)?;
        let target = ctx.permit.as_ref().map_or("", |permit| permit.path_and_query());
        upstream::request_head(method, target, &headers)
            .ok_or_else(|| Error::explain(ErrorType::InternalError, "the target is not a path"))
    });
    Ok(Request::Http1(refused(made, ctx)??, after))
}

/// Makes the request as it leaves over HTTP/2.
fn http2(shared: &Shared, method: &Method, ctx: &mut Context, mut headers: HeaderMap) -> Result<Request> {
    let made = guard::catch_panic(|| {
        prepare(shared, &mut headers, ctx)?;
        let permit = ctx.permit.as_ref().filter(|permit| !permit.websocket());
        let Some(permit) = permit else {
            return Error::e_explain(ErrorType::InternalError, "no permit for HTTP/2");
        };
        let scheme = if permit.tenant().upstream.tls.is_some() { "https" } else { "http" };
        Ok(upstream::http2_request(method, scheme, permit.path_and_query(), headers))
    });
    let made = refused(made, ctx)??;
    Ok(Request::Http2(refused(made, ctx)?))
}

/// Removes the fields that only the gateway may state, and states them.
fn prepare(shared: &Shared, headers: &mut HeaderMap, ctx: &mut Context) -> Result<()> {
    let (Some(permit), Some(snapshot)) = (&ctx.permit, &ctx.snapshot) else {
        return Error::e_explain(ErrorType::InternalError, "no permit");
    };
    let inputs = ForwardInputs {
        permit,
        policy: &snapshot.policy,
        facts: &ctx.facts,
        id: &ctx.id,
        session_hash: ctx.session_hash.as_deref(),
        now: shared.clock.now(),
    };
    pipeline::prepare_request(headers, inputs, &mut ctx.counts)
        .or_err(ErrorType::InternalError, "no assertion could be signed")?;
    ctx.websocket_key = headers.get(header::SEC_WEBSOCKET_KEY).cloned().filter(|_| permit.websocket());
    Ok(())
}

/// Notes why no request could be made.
fn refused<T>(made: Verdict<T>, ctx: &mut Context) -> Result<T> {
    made.or_else(|deny| {
        let status = deny.reason.status();
        ctx.deny = Some(deny);
        Error::e_explain(ErrorType::HTTPStatus(status), "no request could be made")
    })
}
