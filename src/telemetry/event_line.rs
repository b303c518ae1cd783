//! Maps an event to its access line, if it has one.

use super::{
    AccessLog, RefusalCount,
    line::{AccessLine, LineKind, UpstreamFacts},
};
use crate::model::{
    Ban, BanCause, ConnectionChange, ConnectionChanged, Event, EventKind, OperatorActed, RequestEnded,
    RouteId, TenantName, UnixTime, UserId,
};

/// The `reason` of a request or connection that answers an ACME challenge. It is not a refusal.
const ACME_CHALLENGE: &str = "acme_challenge";

/// The `decision` of lines that are not about requests.
const ALLOW: &str = "allow";
const DENY: &str = "deny";

/// Writes the line of an event.
pub(super) fn write(log: &AccessLog, event: &Event<'_>) {
    match event.what {
        EventKind::Request(request) => write_request(log, event, request),
        EventKind::Connection(connection) => write_connection(log, event, connection),
        EventKind::Operator(call) => write_operator(log, event, call),
        EventKind::Session(_) | EventKind::Policy(_) | EventKind::Node(_) => {}
    }
}

/// Every request gets its line here, however it ends, so that all have the same fields.
fn write_request(log: &AccessLog, event: &Event<'_>, request: &RequestEnded<'_>) {
    let RequestEnded { connection, deny, tenant, .. } = *request;
    let rule = request.rule.map(|rule| rule.to_string());
    let fault = request.session_fault;
    let detail = deny.map(|deny| &*deny.detail).or(request.ignored).or(fault.map(|fault| &*fault.detail));
    let with_reset = with_reset(request, detail);
    let upstream = request.upstream.and_then(|upstream| {
        upstream.attempt.map(|attempt| UpstreamFacts {
            name: upstream.name.as_str(),
            address: Some(attempt.server),
            status: attempt.status,
            duration: attempt.duration,
            tries: attempt.tries,
        })
    });
    log.write(&AccessLine {
        event: if request.ends_connection { LineKind::Connection } else { LineKind::Request },
        time: event.time,
        request_id: Some(request.id.as_str()),
        listener: Some(connection.listener.as_str()),
        connection: Some(connection.id),
        client: Some(request.client.addr()),
        peer: Some(connection.peer.ip()),
        host: request.host,
        tenant: tenant.map(TenantName::as_str),
        member: request.member.filter(|member| Some(*member) != tenant).map(TenantName::as_str),
        method: request.method,
        path: request.target,
        version: request.version,
        status: request.status,
        decision: Some(request.decision.as_str()),
        reason: deny
            .or(fault)
            .map(|deny| deny.reason.code())
            .or(request.is_challenge.then_some(ACME_CHALLENGE)),
        rule: rule.as_deref(),
        would: request.would().map(|deny| deny.reason.code()),
        session: request.session,
        user: request.user.map(UserId::as_str),
        route: request.route.map(RouteId::as_str),
        bytes_in: request.began.then_some(request.bytes_in),
        bytes_out: request.bytes_out,
        duration: request.began.then_some(request.duration),
        upstream,
        tls: connection.tls(),
        certificate: request.certificate,
        user_agent: request.user_agent,
        referer: request.referer,
        revision: Some(event.revision),
        detail: with_reset.as_deref().or(detail),
        ..AccessLine::default()
    });
}

/// Returns the detail of a request whose stream was reset, appended to its other detail; nothing if it was
/// not reset.
fn with_reset(request: &RequestEnded<'_>, detail: Option<&str>) -> Option<String> {
    let (stream, error) = request.reset?;
    let reset = error.of_stream(stream);
    match detail {
        Some(detail) if detail != reset => Some(format!("{detail}; {reset}")),
        Some(_) | None => Some(reset),
    }
}

fn write_connection(log: &AccessLog, event: &Event<'_>, connection: &ConnectionChanged<'_>) {
    let line = AccessLine {
        event: LineKind::Connection,
        time: event.time,
        listener: Some(connection.listener.as_str()),
        revision: Some(event.revision),
        ..AccessLine::default()
    };
    match connection.change {
        ConnectionChange::Refused { peer, refusal, detail, ban } => {
            let ban = ban.map(|ban| ban_in_words(ban, event.time));
            let detail = ban.as_deref().unwrap_or(detail);
            log.write(&AccessLine {
                peer: Some(peer.ip()),
                decision: Some(DENY),
                reason: Some(refusal.code()),
                detail: Some(detail).filter(|detail| !detail.is_empty()),
                ..line
            });
        }
        ConnectionChange::HostProven { peer, host } => log.write(&AccessLine {
            peer: Some(peer.ip()),
            host: Some(host.as_str().as_bytes()),
            decision: Some(ALLOW),
            reason: Some(ACME_CHALLENGE),
            ..line
        }),
        ConnectionChange::Opened
        | ConnectionChange::Closed
        | ConnectionChange::Secured { .. }
        | ConnectionChange::Cut(_) => {}
    }
}

/// Writes a summary of refused connections that have no line of their own.
pub(super) fn write_count(log: &AccessLog, time: UnixTime, revision: &str, refused: &RefusalCount) {
    log.write(&AccessLine {
        event: LineKind::Connection,
        time,
        listener: Some(refused.listener.as_str()),
        peer: refused.client,
        decision: Some(DENY),
        reason: Some(refused.reason),
        count: Some(refused.count),
        revision: Some(revision),
        ..AccessLine::default()
    });
}

/// Describes why a client is banned, and until when.
fn ban_in_words(ban: &Ban, now: UnixTime) -> String {
    let until = now.plus(ban.left);
    match &ban.cause {
        BanCause::Protocol(offence) => format!("until {until}: broke the protocol, last by {offence}"),
        BanCause::Operator(None) => format!("until {until}: by an operator"),
        BanCause::Operator(Some(note)) => format!("until {until}: by an operator: {note}"),
    }
}

fn write_operator(log: &AccessLog, event: &Event<'_>, call: &OperatorActed<'_>) {
    log.write(&AccessLine {
        event: LineKind::Admin,
        time: event.time,
        listener: Some(if call.peer.is_some() { "admin" } else { "control" }),
        peer: call.peer.map(|peer| peer.ip()),
        method: call.method.map(str::as_bytes),
        path: call.path.map(str::as_bytes),
        status: Some(call.status),
        decision: Some(if call.reason.is_some() { DENY } else { ALLOW }),
        reason: call.reason,
        duration: Some(call.duration),
        principal: call.principal,
        revision: Some(event.revision),
        detail: call.detail,
        ..AccessLine::default()
    });
}
