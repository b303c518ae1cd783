//! What is recorded of a request: one event, at its end.

use pingora::proxy::Session;

use super::{context::Context, shared::Shared, view};
use crate::{
    model::{EventKind, EventSink, Reason, RequestEnded, UpstreamAttempted, UpstreamOutcome},
    pipeline::{Permit, Source},
};

/// Records a request that is over.
pub(super) fn finished(shared: &Shared, session: &Session, ctx: &Context) {
    // 499, as nginx counts them: the client was gone before there was anything to answer.
    let status = match (session.response_written(), &ctx.deny) {
        (Some(response), _) => response.status.as_u16(),
        (None, Some(deny)) => deny.reason.status(),
        (None, None) => Reason::ClientClosed.status(),
    };
    write(
        shared,
        ctx,
        Some(status),
        u64::try_from(session.as_downstream().body_bytes_sent() + ctx.left).ok(),
    );
}

/// Records a request whose task was dropped: the library has dropped its session too.
pub(super) fn cut_off(shared: &Shared, ctx: &Context) {
    // What the client had received by then, if anything.
    let answered = ctx.upstream.as_ref().and_then(|exchange| exchange.status).or(ctx.upgraded.then_some(101));
    let status = answered.or(ctx.deny.as_ref().map(|deny| deny.reason.status()));
    write(shared, ctx, status, Some(ctx.body_out));
}

/// Every request has its event from here, however it ends.
fn write(shared: &Shared, ctx: &Context, status: Option<u16>, bytes_out: Option<u64>) {
    let (Some(connection), Some(snapshot), Some(asked)) =
        (&ctx.connection, &ctx.snapshot, &ctx.logged_request)
    else {
        return;
    };
    let (facts, deny, granted) = (&ctx.facts, ctx.deny.as_ref(), ctx.granted.as_ref());
    let received = || ctx.head.as_deref().map_or_else(|| asked.target(), view::target);
    // What passed was judged and forwarded in this form; what did not is told as it came.
    let target = ctx.permit.as_ref().map_or_else(received, |permit| permit.path_and_query().as_bytes());
    let user = facts.session.as_ref().map(|session| &session.claims.user);
    let request = RequestEnded {
        id: &ctx.id,
        connection: connection.facts(),
        certificate: connection.certificate().map(|certificate| &**certificate),
        began: true,
        ends_connection: false,
        client: facts.client.unwrap_or_else(|| connection.facts().source_ip()),
        method: Some(asked.method.as_str().as_bytes()),
        target: Some(target),
        version: Some(asked.version),
        host: facts.host.as_ref().map(|host| host.as_str().as_bytes()).or(asked.host()),
        user_agent: asked.user_agent(),
        referer: asked.referer(),
        tenant: facts.realm.as_ref().map(|tenant| &tenant.name),
        member: facts.member.as_ref().or(granted.map(|granted| &granted.tenant)).map(|member| &member.name),
        route: facts.route.as_ref().map(|route| &route.id),
        session: ctx.session_hash.as_deref().or(granted.map(|granted| granted.hash.as_str())),
        user: user.or(granted.map(|granted| &granted.user)),
        session_held: facts.session.is_some(),
        session_fault: facts.session_fault.as_ref(),
        decision: ctx.decision,
        deny,
        rule: deny.and_then(|deny| deny.rule).map(|origin| snapshot.policy.locate(origin)),
        steps: ctx.trail.steps(),
        quotas: &facts.quota_outcomes,
        is_challenge: ctx.challenge,
        ignored: ctx.ignored.as_deref(),
        reset: ctx.stream.zip(ctx.reset),
        ended_under_way: ctx.ended,
        status,
        bytes_in: ctx.body_in,
        bytes_out,
        duration: ctx.took.unwrap_or_else(|| shared.clock.tick().since(ctx.tick)),
        upstream: ctx.permit.as_ref().map(|permit| upstream(ctx, permit)),
        counts: ctx.counts,
    };
    snapshot.recorder.emit_at(ctx.began, EventKind::Request(&request));
    if let Some(deny) = deny.filter(|deny| deny.is_offence()) {
        shared.offended(connection.facts(), deny.reason.code());
    }
    if let Some(Source::Octroi { key, .. }) = facts.session.as_ref().map(|session| &session.source) {
        shared.key_uses.used(*key, ctx.began);
    }
}

fn upstream<'a>(ctx: &'a Context, permit: &'a Permit) -> UpstreamOutcome<'a> {
    let attempt = ctx.upstream.as_ref().map(|exchange| UpstreamAttempted {
        server: &exchange.server,
        status: exchange.status,
        duration: exchange.first_byte.map(|first| first.since(exchange.began)),
        tries: exchange.tries,
    });
    UpstreamOutcome { name: &permit.tenant().upstream.name, attempt }
}
