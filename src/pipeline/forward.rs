//! The fields of a request on its way to the upstream.

use http::HeaderMap;

use super::{Permit, RequestFacts};
use crate::{
    headers::{self, ForwardedHeaders, ForwardedSession},
    model::{ClientCertificate, HeaderDrop, RequestCounts, RequestId, UnixTime},
    policy::Policy,
    session::{SignError, Statement},
};

/// What the gateway states of a request that it lets through.
#[derive(Clone, Copy, Debug)]
pub struct ForwardInputs<'a> {
    /// What the request is permitted.
    pub permit: &'a Permit,
    /// The rules.
    pub policy: &'a Policy,
    /// What became known on the way.
    pub facts: &'a RequestFacts,
    /// The identifier of the request.
    pub id: &'a RequestId,
    /// The name of the session in logs and towards the upstream.
    pub session_hash: Option<&'a str>,
    /// The wall clock.
    pub now: UnixTime,
}

/// Removes the fields that only the gateway may state, and states them. What was removed is counted. The
/// fields of the client's connection must have been removed before, so that no client can nominate ours away
/// (CVE-2024-45410).
///
/// Fails where assertions are configured and one cannot be signed: the request is not forwarded then.
pub fn prepare_request(
    headers: &mut HeaderMap,
    inputs: ForwardInputs<'_>,
    counts: &mut RequestCounts,
) -> Result<(), SignError> {
    let ForwardInputs { permit, policy, facts, id, session_hash, now } = inputs;
    let dropped = headers::drop_spoofed(headers, &permit.tenant().request_fields);
    counts.drop_headers(HeaderDrop::Spoofed, dropped.spoofed);
    counts.drop_headers(HeaderDrop::Underscore, dropped.underscore);
    let keep_foreign = facts.session_fault.is_none() && !facts.set_aside;
    let lookalikes = headers::strip_credentials(headers, policy.sessions.as_ref(), keep_foreign);
    counts.cookie_lookalikes = counts.cookie_lookalikes.saturating_add(lookalikes);
    headers::drop_malformed_trace_fields(headers);
    let mut roles: Vec<&str> =
        permit.session().iter().flat_map(|session| session.claims.roles.iter()).collect();
    roles.sort_unstable();
    let session = match permit.session().zip(session_hash) {
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
                request_id: id.as_str(),
            };
            let assertions = policy.sessions.as_ref().and_then(|sessions| sessions.assertions.as_ref());
            Some(ForwardedSession {
                user: statement.user,
                roles: &roles,
                hash,
                auth_time_secs: session.claims.auth_time.as_secs(),
                assertion: assertions.map(|assertions| assertions.sign(&statement, now)).transpose()?,
            })
        }
    };
    let authority = permit.authority();
    let forwarded = ForwardedHeaders {
        request_id: id.as_str(),
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
    Ok(())
}
