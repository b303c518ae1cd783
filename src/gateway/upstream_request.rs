//! The request as it leaves for the upstream, in the upstream's protocol.

use http::{HeaderMap, HeaderValue, Method, Uri, header};
use pingora::{Error, ErrorType, Result, proxy::Session};

use super::{context::Context, forward, guard, request_framing::Framing, shared::Shared, view};
use crate::{
    headers::leave_client_connection,
    model::{Deny, HttpVersion, Reason},
    pipeline::Permit,
    policy::Protocol,
    upstream::{self, After, Pool, Request, expects_body},
};

/// Makes the request that leaves, and says what becomes of its connection.
pub(super) fn build(
    shared: &Shared,
    session: &Session,
    ctx: &mut Context,
    pool: &Pool,
    framing: Framing,
) -> Result<Request> {
    let mut headers = fields(session);
    let method = &session.req_header().method;
    let protocol = ctx.permit.as_ref().map(|permit| permit.tenant().upstream.protocol);
    // None leaves as none; but a POST says so, and some servers ask it for its length (RFC 9110, sections 8.6
    // and 15.5.12).
    if framing == Framing::Absent {
        let said = headers.remove(header::CONTENT_LENGTH).is_some() || protocol == Some(Protocol::Http1);
        if said && expects_body(method) {
            headers.insert(header::CONTENT_LENGTH, HeaderValue::from_static("0"));
        }
    }
    match protocol {
        Some(Protocol::Http1) => {
            let closes = framing != Framing::Absent && pool.bodies().closes(method);
            let closes = closes || (*method == Method::HEAD && pool.bodies().may_say_more());
            let after = if closes { After::Told } else { After::Kept };
            http1(shared, session, ctx, headers, (framing, after))
        }
        Some(Protocol::Http2) => http2(shared, session, ctx, headers).map(Request::Http2),
        None => Error::e_explain(ErrorType::InternalError, "no permit, no server"),
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
    // It has no case, and some servers find it in lower case only.
    if let Some(expect) = headers.get_mut(header::EXPECT) {
        *expect = HeaderValue::from_static("100-continue");
    }
    headers
}

/// Writes the request's head as it leaves over HTTP/1.1.
fn http1(
    shared: &Shared,
    session: &Session,
    ctx: &mut Context,
    mut headers: HeaderMap,
    connection: (Framing, After),
) -> Result<Request> {
    let (framing, after) = connection;
    let request = session.req_header();
    if framing == Framing::Open {
        headers.insert(header::TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
    }
    if after == After::Told {
        headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    if ctx.permit.as_ref().is_some_and(Permit::websocket) {
        headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
        headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    }
    let made = guard::catch_panic(|| {
        forward::prepare_upstream_request(shared, &mut headers, ctx)?;
        let target = ctx.permit.as_ref().map_or("", |permit| permit.path_and_query());
        upstream::request_head(&request.method, target, &headers)
            .ok_or_else(|| Error::explain(ErrorType::InternalError, "the target is not a path"))
    });
    let head = made.unwrap_or_else(|deny| {
        ctx.deny = Some(deny);
        Error::e_explain(ErrorType::HTTPStatus(500), "panic")
    })?;
    Ok(Request::Http1(head, after))
}

/// Makes the request as it leaves over HTTP/2.
fn http2(
    shared: &Shared,
    session: &Session,
    ctx: &mut Context,
    mut headers: HeaderMap,
) -> Result<http::Request<()>> {
    let request = session.req_header();
    // Who cannot be handed trailers does not ask for them.
    if session.is_http2() && takes_trailers(&request.headers) {
        headers.insert(header::TE, HeaderValue::from_static("trailers"));
    }
    let made = guard::catch_panic(|| {
        forward::prepare_upstream_request(shared, &mut headers, ctx)?;
        let permit = ctx.permit.as_ref().filter(|permit| !permit.websocket());
        let Some(permit) = permit else {
            return Error::e_explain(ErrorType::InternalError, "no permit for HTTP/2");
        };
        let scheme = if permit.tenant().upstream.tls.is_some() { "https" } else { "http" };
        // What HTTP/1.1 says as Host, and once only (RFC 9113, section 8.3.1).
        let host = headers.remove(header::HOST);
        let authority = host.as_ref().map_or(&[][..], HeaderValue::as_bytes);
        let target = permit.path_and_query();
        let uri = Uri::builder().scheme(scheme).authority(authority).path_and_query(target).build().ok();
        // What is forwarded is what was judged, to the octet.
        let same = |uri: &Uri| uri.path_and_query().is_some_and(|said| said.as_str() == target);
        let Some(uri) = uri.filter(same) else {
            let why = "the target has a character that HTTP/2 cannot carry";
            return Ok(Err(Deny::new(Reason::PathEncoding, why)));
        };
        let mut made = http::Request::new(());
        *made.method_mut() = request.method.clone();
        *made.uri_mut() = uri;
        *made.version_mut() = http::Version::HTTP_2;
        *made.headers_mut() = headers;
        Ok(Ok(made))
    });
    let (deny, status) = match made {
        Ok(Ok(Ok(request))) => return Ok(request),
        Ok(Ok(Err(deny))) => (deny, 400),
        Ok(Err(error)) => return Err(error),
        Err(deny) => (deny, 500),
    };
    ctx.deny = Some(deny);
    Error::e_explain(ErrorType::HTTPStatus(status), "no request for HTTP/2")
}

/// Returns whether the client takes trailers (RFC 9110, section 10.1.4).
fn takes_trailers(headers: &HeaderMap) -> bool {
    let mut words =
        headers.get_all(header::TE).iter().flat_map(|line| line.as_bytes().split(|&byte| byte == b','));
    words.any(|word| word.trim_ascii().eq_ignore_ascii_case(b"trailers"))
}
