//! The head of a request on its way to the upstream.

use http::{HeaderMap, header};
use pingora::{Error, ErrorType, Result};

use super::{context::Context, shared::Shared};
use crate::{
    headers::{self, ForwardedHeaders, ForwardedSession},
    model::{ClientCertificate, HeaderDrop},
    policy::Policy,
    session::Statement,
};

/// Removes the fields that only the gateway may state, and states them. The fields of the client's connection
/// were removed before, so that no client can nominate ours away (CVE-2024-45410).
pub(super) fn prepare_upstream_request(
    shared: &Shared,
    headers: &mut HeaderMap,
    ctx: &mut Context,
) -> Result<()> {
    let (Some(permit), Some(snapshot)) = (&ctx.permit, &ctx.snapshot) else {
        return Error::e_explain(ErrorType::InternalError, "no permit");
    };
    let policy = &snapshot.policy;
    let dropped = headers::drop_spoofed(headers, &permit.tenant().request_fields);
    ctx.counts.drop_headers(HeaderDrop::Spoofed, dropped.spoofed);
    ctx.counts.drop_headers(HeaderDrop::Underscore, dropped.underscore);
    let keep_foreign = ctx.facts.session_fault.is_none() && !ctx.facts.set_aside;
    let lookalikes = headers::strip_credentials(headers, policy.sessions.as_ref(), keep_foreign);
    ctx.counts.cookie_lookalikes = ctx.counts.cookie_lookalikes.saturating_add(lookalikes);
    headers::drop_malformed_trace_fields(headers);
    let mut roles: Vec<&str> =
        permit.session().iter().flat_map(|session| session.claims.roles.iter()).collect();
    roles.sort_unstable();
    let session = match permit.session().zip(ctx.session_hash.as_deref()) {
        None => None,
        Some((session, hash)) => {
            let statement = Statement {
                audience: &permit.tenant().upstream.audience,
                user: session.claims.user.as_str(),
                tenant: permit.acting_tenant().name.as_str(),
                realm: permit.tenant().name.as_str(),
                roles: &roles,
                session: hash,
                auth_time: session.claims.auth_time,
                request_id: ctx.id.as_str(),
            };
            Some(ForwardedSession {
                user: statement.user,
                roles: &roles,
                hash,
                auth_time_secs: session.claims.auth_time.as_secs(),
                assertion: sign(shared, policy, &statement)?,
            })
        }
    };
    let authority = permit.authority();
    let forwarded = ForwardedHeaders {
        request_id: ctx.id.as_str(),
        realm: permit.tenant().name.as_str(),
        tenant: permit.acting_tenant().name.as_str(),
        client: permit.client(),
        scheme: permit.scheme().as_str(),
        host: &authority,
        port: permit.public_port(),
        certificate: permit.certificate().map(ClientCertificate::leaf),
        session,
    };
    forwarded.put_into(headers);
    ctx.websocket_key = headers.get(header::SEC_WEBSOCKET_KEY).cloned().filter(|_| permit.websocket());
    Ok(())
}

/// Signs who asks, where assertions are configured. If signing fails, the request is not forwarded.
fn sign(shared: &Shared, policy: &Policy, statement: &Statement<'_>) -> Result<Option<String>> {
    let assertions = policy.sessions.as_ref().and_then(|sessions| sessions.assertions.as_ref());
    assertions
        .map(|assertions| assertions.sign(statement, shared.clock.now()))
        .transpose()
        .or_else(|error| Error::e_explain(ErrorType::InternalError, error.to_string()))
}
