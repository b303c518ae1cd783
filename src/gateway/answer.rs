//! What an upstream's answer says when it leaves for the client.

use http::{HeaderValue, StatusCode, header, response::Parts};
use pingora::{ErrorType, OrErr, Result, http::ResponseHeader, proxy::Session};

use super::{
    app_cookie::{self, Setting},
    proxy::Context,
    response_headers,
    session::CookieChange,
    shared::Shared,
    view,
};
use crate::{
    model::{Host, HttpVersion},
    session::cookie,
};

/// How many fields an answer gets at the most, beside the tenant's own.
const RESPONSE_FIELDS: usize = 8;

/// Makes an answer fit to leave: what is the upstream's own comes off, what every answer has goes on.
pub(super) fn dress(shared: &Shared, session: &mut Session, response: &mut ResponseHeader, ctx: &mut Context) -> Result<()> {
    let (Some(permit), Some(snapshot), Some(connection)) = (&ctx.permit, &ctx.snapshot, &ctx.connection) else { return Ok(()) };
    let status = response.status;
    // The library's own methods keep a second map with the names as the app wrote them; names have no case, so it goes.
    let mut parts = Parts::from(std::mem::replace(response, ResponseHeader::from(http::Response::new(()).into_parts().0)));
    let headers = &mut parts.headers;
    headers.reserve(RESPONSE_FIELDS);
    response_headers::hide(headers, status);
    if status.is_informational() {
        // A cookie in an interim answer would pass every rule about cookies; none has a use there.
        headers.remove(header::SET_COOKIE);
        // RFC 9110, section 8.6: no length stands where no body does.
        headers.remove(header::CONTENT_LENGTH);
        headers.remove(header::TRANSFER_ENCODING);
        if status != StatusCode::SWITCHING_PROTOCOLS {
            response_headers::leave_connection(headers);
        }
        *response = ResponseHeader::from(parts);
        return Ok(());
    }
    // HTTP/1.0 knows no chunks (RFC 9112, section 6.1): there the end of the connection is the end of the body.
    if view::version(session.req_header()) == HttpVersion::Http10 && headers.remove(header::TRANSFER_ENCODING).is_some() {
        session.set_keepalive(None);
    }
    let tenant = permit.tenant();
    let session_cookie = snapshot.policy.sessions.as_ref().map_or("", |sessions| &sessions.cookie);
    if headers.contains_key(header::SET_COOKIE) {
        let owns = |domain: &str| domain.parse::<Host>().is_ok_and(|domain| snapshot.policy.tenants.owns_domain(&tenant.name, &domain));
        let tls = permit.scheme().is_secure();
        let setting = Setting { session_cookie, rules: &tenant.cookies, tls, owns: &owns };
        let mut kept = Vec::new();
        for value in &headers.get_all(header::SET_COOKIE) {
            let (cookie, done) = app_cookie::judge(value.as_bytes(), setting);
            shared.metrics.app_cookie(done);
            kept.extend(cookie.and_then(|cookie| HeaderValue::from_bytes(&cookie).ok()));
        }
        headers.remove(header::SET_COOKIE);
        for value in kept {
            headers.append(header::SET_COOKIE, value);
        }
    }
    let change = match std::mem::take(&mut ctx.cookie) {
        CookieChange::None if ctx.known.clear_cookie => CookieChange::Set(cookie::clear(session_cookie)),
        CookieChange::None => CookieChange::None,
        CookieChange::Set(value) => CookieChange::Set(value),
    };
    response_headers::complete(headers, permit.scheme().is_secure(), &tenant.response_headers);
    // After the tenant's own fields: no setting makes a cache keep a session.
    let change = match change {
        CookieChange::Set(value) => Some(value),
        CookieChange::None => None,
    };
    for value in change.into_iter().chain(std::mem::take(&mut ctx.marks)) {
        let value = HeaderValue::try_from(value).or_err(ErrorType::InternalError, "the session cookie is no field value")?;
        headers.append(header::SET_COOKIE, value);
        response_headers::keep_out_of_caches(headers);
    }
    let mut id = HeaderValue::from_str(ctx.id.as_str()).unwrap_or(HeaderValue::from_static(""));
    // Not a secret, but never the same again: HPACK shall not keep it at the expense of what is (RFC 7541, section 7.1.3).
    id.set_sensitive(true);
    headers.insert(response_headers::REQUEST_ID, id);
    *response = ResponseHeader::from(parts);
    if response.headers.contains_key(header::CONTENT_LENGTH) {
        connection.answers_to_a_length();
    }
    // Only another connection can have another certificate; over HTTP/2 the stream says GOAWAY.
    if shared.is_draining() || connection.certificate_is_refused() || connection.has_doubtful_surplus() {
        session.set_keepalive(None);
    }
    Ok(())
}
