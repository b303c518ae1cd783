//! What is written down of a request: one access line, and the counters.

use http::header;
use pingora::proxy::Session;

use super::{proxy::Context, reset, shared::Shared, view};
use crate::{
    model::{Decision, Deny, Facts, Host, Reason, RequestId, Stage, TenantName, UnixTime},
    pipeline::{Asked, Source},
    policy::AcmeChallenge,
    telemetry::{AccessLine, Event, QuotaVerdict, UpstreamFacts},
};

/// Notes that a request failed, and why. The first reason stays.
///
/// A client that goes away was not refused, and a tunnel ends so: the decision stays what it was.
pub(super) fn failed(ctx: &mut Context, deny: Deny) {
    let left = deny.reason == Reason::ClientClosed;
    if left && ctx.upgraded {
        return;
    }
    if !left && !matches!(ctx.decision, Decision::Deny(_)) {
        ctx.decision = Decision::Deny(deny.reason);
    }
    ctx.deny.get_or_insert(deny);
}

/// Writes the line of a request that is over, and counts it.
pub(super) fn finished(shared: &Shared, session: &Session, ctx: &Context) {
    let (Some(connection), Some(snapshot)) = (&ctx.connection, &ctx.snapshot) else { return };
    let policy = &snapshot.policy;
    let known = &ctx.known;
    let request = session.req_header();
    let field = |name: header::HeaderName| request.headers.get(name).map(http::HeaderValue::as_bytes);
    let duration = ctx.took.unwrap_or_else(|| shared.clock.tick().since(ctx.tick));
    // 499, as nginx counts them: the client was gone before there was anything to answer.
    let status = match (session.response_written(), &ctx.deny) {
        (Some(response), _) => response.status.as_u16(),
        (None, Some(deny)) => deny.reason.status(),
        (None, None) => Reason::ClientClosed.status(),
    };
    let hash = ctx.session_hash.as_deref().or(ctx.granted.as_ref().map(|granted| granted.hash.as_str()));
    let user = known.session.as_ref().map(|session| &session.claims.user).or(ctx.granted.as_ref().map(|granted| &granted.user));
    let member = known.member.as_ref().or(ctx.granted.as_ref().map(|granted| &granted.tenant));
    let rule = ctx.deny.as_ref().and_then(|deny| deny.rule).map(|origin| policy.locate(origin));
    let deny = ctx.deny.as_ref();
    let upstream = ctx.upstream.as_ref().zip(ctx.permit.as_ref()).map(|(exchange, permit)| UpstreamFacts {
        name: permit.tenant().upstream.name.as_str(),
        address: Some(&exchange.server),
        status: exchange.status,
        duration: exchange.first_byte.map(|first| first.since(exchange.began)),
        tries: exchange.tries,
    });
    let received = || ctx.head.as_deref().map_or_else(|| request.raw_path(), view::target);
    // What passed was judged and forwarded in this form; what did not is told as it came.
    let path = ctx.permit.as_ref().map_or_else(received, |permit| permit.path_and_query().as_bytes());
    let detail = deny.map(|deny| &*deny.detail).or(ctx.ignored.as_deref()).or(known.session_fault.as_ref().map(|fault| &*fault.detail));
    let with_reset = reset::detail(ctx, detail);
    snapshot.log.write(&AccessLine {
        request_id: Some(ctx.id.as_str()),
        host: known.host.as_ref().map(|host| host.as_str().as_bytes()).or(field(header::HOST)).or(request.uri.host().map(str::as_bytes)),
        tenant: known.realm.as_ref().map(|tenant| tenant.name.as_str()),
        member: member
            .filter(|member| known.realm.as_ref().is_none_or(|realm| realm.name != member.name))
            .map(|tenant| tenant.name.as_str()),
        client: known.client.map(crate::model::ClientIp::addr).or(Some(connection.facts().source_ip().addr())),
        method: Some(request.method.as_str().as_bytes()),
        path: Some(path),
        version: Some(view::version(request)),
        status: Some(status),
        decision: Some(ctx.decision.as_str()),
        reason: deny
            .map(|deny| deny.reason.code())
            .or(known.session_fault.as_ref().map(|fault| fault.reason.code()))
            .or(ctx.challenge.then_some(ACME_CHALLENGE)),
        rule: rule.as_deref(),
        would: ctx.trail.would().map(|deny| deny.reason.code()),
        session: hash,
        user: user.map(crate::model::UserId::as_str),
        route: known.route.as_ref().map(|route| route.id.as_str()),
        bytes_in: Some(ctx.body_in),
        bytes_out: u64::try_from(session.as_downstream().body_bytes_sent() + ctx.left).ok(),
        duration: Some(duration),
        upstream,
        user_agent: field(header::USER_AGENT),
        referer: field(header::REFERER),
        revision: Some(&policy.revision),
        detail: with_reset.as_deref().or(detail),
        certificate: connection.certificate().map(|certificate| &**certificate),
        ..of_connection(connection.facts(), ctx.began)
    });
    if let Some(deny) = deny.filter(|deny| deny.is_offence()) {
        shared.offended(&connection.facts().listener, connection.facts().source_ip(), deny.reason.code());
    }
    count(shared, ctx, status, duration);
}

/// The same of a request whose task was ended under way: the library has taken the request along, so what is said of it is what was kept.
pub(super) fn cut_off(shared: &Shared, ctx: &Context) {
    let (Some(connection), Some(snapshot)) = (&ctx.connection, &ctx.snapshot) else { return };
    let known = &ctx.known;
    let duration = shared.clock.tick().since(ctx.tick);
    let deny = ctx.deny.as_ref();
    // What the client had by then, if that was anything.
    let answered = ctx.upstream.as_ref().and_then(|exchange| exchange.status).or(ctx.upgraded.then_some(101));
    let status = answered.or(deny.map(|deny| deny.reason.status()));
    let detail = deny.map(|deny| &*deny.detail);
    let with_reset = reset::detail(ctx, detail);
    let user = known.session.as_ref().map(|session| session.claims.user.as_str());
    let upstream = ctx.upstream.as_ref().zip(ctx.permit.as_ref()).map(|(exchange, permit)| UpstreamFacts {
        name: permit.tenant().upstream.name.as_str(),
        address: Some(&exchange.server),
        status: exchange.status,
        duration: exchange.first_byte.map(|first| first.since(exchange.began)),
        tries: exchange.tries,
    });
    let path = ctx.permit.as_ref().map(|permit| permit.path_and_query().as_bytes()).or(ctx.head.as_deref().map(view::target));
    snapshot.log.write(&AccessLine {
        request_id: Some(ctx.id.as_str()),
        host: known.host.as_ref().map(|host| host.as_str().as_bytes()),
        tenant: known.realm.as_ref().map(|tenant| tenant.name.as_str()),
        client: known.client.map(crate::model::ClientIp::addr).or(Some(connection.facts().source_ip().addr())),
        method: ctx.method.as_ref().map(|method| method.as_str().as_bytes()),
        path,
        status,
        decision: Some(ctx.decision.as_str()),
        reason: deny.map(|deny| deny.reason.code()),
        session: ctx.session_hash.as_deref(),
        user,
        route: known.route.as_ref().map(|route| route.id.as_str()),
        bytes_in: Some(ctx.body_in),
        bytes_out: Some(ctx.body_out),
        duration: Some(duration),
        upstream,
        revision: Some(&snapshot.policy.revision),
        detail: with_reset.as_deref().or(detail),
        ..of_connection(connection.facts(), ctx.began)
    });
    count(shared, ctx, status.unwrap_or_default(), duration);
}

/// What the line of a request says that a CA sent to prove a host. It is no refusal.
const ACME_CHALLENGE: &str = "acme_challenge";

fn count(shared: &Shared, ctx: &Context, status: u16, duration: std::time::Duration) {
    let metrics = &shared.metrics;
    if let Some(deny) = ctx.deny.as_ref().filter(|_| ctx.ended) {
        metrics.exchange_ended(deny.reason);
    }
    let tenant = ctx.known.realm.as_ref().map(|tenant| &tenant.name);
    metrics.request(tenant, status, ctx.decision, duration);
    if ctx.challenge {
        metrics.acme_challenge(AcmeChallenge::Http01);
    }
    for step in ctx.trail.steps().iter().filter(|step| step.observed) {
        if let Some(deny) = &step.deny {
            metrics.observed(tenant, deny.reason);
        }
    }
    for (quota, said) in &ctx.known.asked {
        let verdict = match said {
            Asked::Taken => QuotaVerdict::Allow,
            Asked::Refused => QuotaVerdict::Deny,
            Asked::Observed => QuotaVerdict::Observe,
        };
        metrics.quota(&quota.name, verdict);
    }
    let refused = ctx.deny.as_ref().filter(|deny| {
        matches!(deny.reason.stage(), Stage::Session | Stage::Revocation)
            && !matches!(deny.reason, Reason::SessionMissing | Reason::RevocationStale | Reason::RevocationUnavailable)
    });
    let fault = ctx.known.session_fault.as_ref().or(refused).map(|deny| deny.reason);
    if ctx.known.session.is_some() || fault.is_some() {
        metrics.session_check(fault);
    }
    if let Some(Source::Octroi { key, .. }) = ctx.known.session.as_ref().map(|session| &session.source) {
        shared.key_uses.used(*key, ctx.began);
    }
    if let (Some(exchange), Some(permit)) = (&ctx.upstream, &ctx.permit) {
        metrics.with_upstream(&permit.tenant().upstream.name, |series| {
            match (exchange.status, exchange.first_byte, &ctx.deny) {
                (Some(status), Some(first), _) => series.answer(status, first.since(exchange.began)),
                (_, _, Some(deny)) if deny.reason.stage() == Stage::Upstream => series.error(deny.reason),
                (_, _, _) => {}
            }
            for _ in 1..exchange.tries {
                series.retry();
            }
        });
    }
}

/// The line of a request that was refused before anybody began it: what is known is the connection, the head and the reason.
pub fn early_line<'a>(
    facts: &'a Facts,
    now: UnixTime,
    id: &'a RequestId,
    head: &'a [u8],
    (host, tenant): (Option<&'a Host>, Option<&'a TenantName>),
    deny: &'a Deny,
    revision: &'a str,
) -> AccessLine<'a> {
    let line = head.split(|&byte| byte == b'\r' || byte == b'\n').next().unwrap_or(&[]);
    let mut words = line.split(|&byte| byte == b' ');
    AccessLine {
        request_id: Some(id.as_str()),
        client: Some(facts.source_ip().addr()),
        host: host.map(|host| host.as_str().as_bytes()),
        tenant: tenant.map(TenantName::as_str),
        method: words.next().filter(|word| !word.is_empty()),
        path: words.next(),
        status: Some(deny.reason.status()),
        decision: Some(Decision::Deny(deny.reason).as_str()),
        reason: Some(deny.reason.code()),
        revision: Some(revision),
        detail: Some(&deny.detail),
        ..of_connection(facts, now)
    }
}

fn of_connection(facts: &Facts, time: UnixTime) -> AccessLine<'_> {
    AccessLine {
        event: Event::Request,
        time,
        listener: Some(facts.listener.as_str()),
        connection: Some(facts.id),
        peer: Some(facts.peer.ip()),
        tls: facts.tls(),
        ..AccessLine::default()
    }
}
