//! The translation between pingora's hooks and the pipeline.

use std::time::Duration;

use async_trait::async_trait;
use pingora::{
    Error, ErrorSource, ErrorType, Result,
    proxy::{FailToProxy, ProxyHttp, Session},
    upstreams::peer::HttpPeer,
};

use super::{
    body::body_came,
    context::Context,
    failure, guard,
    logged_request::LoggedRequest,
    record, refuse, reset, session_store,
    shared::{Gateway, LONGEST},
    view,
};
use crate::{
    model::{Decision, Deny, Reason, Stage, Verdict},
    pipeline::{self, Disposition, Stores, owner, refusal::Refusal},
};

#[async_trait]
impl ProxyHttp for Gateway {
    /// Boxed: the library keeps it in place three times over in the future of every connection, idle ones
    /// too.
    type CTX = Box<Context>;

    fn new_ctx(&self) -> Box<Context> {
        Context::begin(&self.shared)
    }

    /// Takes the head as received and the rules in force. From here on we answer and log the request.
    async fn early_request_filter(&self, session: &mut Session, ctx: &mut Box<Context>) -> Result<()> {
        let connection = view::connection(session)
            .ok_or_else(|| Error::explain(ErrorType::InternalError, "no connection under the session"))?;
        ctx.head = connection.request_begins();
        let mark = view::take_mark(session, &connection);
        ctx.stream = mark.map(|mark| mark.stream);
        ctx.malformed = mark.map_or_else(|| view::unmarked(session, &connection), |mark| mark.malformed);
        ctx.logged_by_edge = ctx.stream.is_some_and(|stream| connection.stream_begins(stream));
        ctx.logged_request = Some(LoggedRequest::of(session.req_header()));
        waits(session);
        ctx.connection = Some(connection);
        // Before the rules are taken, so that a change after this line is noticed.
        ctx.changes = self.shared.live_exchanges.changes();
        ctx.snapshot = Some(self.shared.snapshot.load_full());
        Ok(())
    }

    async fn request_filter(&self, session: &mut Session, ctx: &mut Box<Context>) -> Result<bool> {
        if reset::ends(session, ctx) {
            return Ok(true);
        }
        match guard::catch_panic_async(self.judge(session, ctx)).await {
            // After the checks, because those can wait.
            Ok(Disposition::Permit(_)) if reset::ends(session, ctx) => Ok(true),
            Ok(Disposition::Permit(permit)) => {
                ctx.permit = Some(permit);
                self.body_begins(session, ctx);
                // Boxed: an exchange needs more room than a refusal.
                Box::pin(self.exchange(session, ctx)).await?;
                Ok(true)
            }
            Ok(Disposition::Redirect(location)) => {
                ctx.decision = Decision::Redirect;
                let refusal = Refusal::redirect(
                    location,
                    ctx.id,
                    ctx.facts.realm.as_ref().map(|realm| &*realm.response_headers),
                );
                refuse::send(session, ctx, refusal).await?;
                Ok(true)
            }
            Ok(Disposition::Challenge(answer)) => {
                ctx.challenge = true;
                let head = session.req_header().method == http::Method::HEAD;
                let refusal = Refusal::challenge(&answer, ctx.id, head);
                refuse::send(session, ctx, refusal).await?;
                Ok(true)
            }
            Err(deny) => {
                refuse::refuse(&self.shared, session, ctx, deny).await?;
                Ok(true)
            }
        }
    }

    /// Never called: every request is answered in `request_filter`.
    async fn upstream_peer(&self, _session: &mut Session, _ctx: &mut Box<Context>) -> Result<Box<HttpPeer>> {
        Error::e_explain(ErrorType::InternalError, "the library asks for a server")
    }

    async fn fail_to_proxy(
        &self,
        session: &mut Session,
        error: &Error,
        ctx: &mut Box<Context>,
    ) -> FailToProxy {
        // The client has its answer; that the rest of its body was not waited for is no failure (RFC 9113,
        // section 8.1).
        let body_broke_off =
            *error.esource() == ErrorSource::Downstream && *error.etype() == ErrorType::ReadError;
        if ctx.answered && ctx.deny.is_none() && session.is_http2() && body_broke_off {
            return FailToProxy { error_code: 0, can_reuse_downstream: false };
        }
        let deny =
            ctx.deny.take().unwrap_or_else(|| failure::deny(error, view::version(session.req_header()), ctx));
        let status = deny.reason.status();
        // 101 is a final answer too: anything written after it would be read as a part of the tunnel.
        let answered = ctx.upgraded
            || session.response_written().is_some_and(|response| !response.status.is_informational());
        let mut told = false;
        if answered || deny.reason == Reason::ClientClosed {
            // A stream that is only dropped ends with CANCEL, and Node takes what it has by then for the
            // whole answer.
            if session.is_http2() && deny.reason != Reason::ClientClosed {
                session.as_downstream_mut().shutdown().await;
            }
            ctx.fail(deny);
        } else {
            // Where the client's side failed, nobody knows what else comes from there, and a body that was
            // too slow is not waited for. But an app that cannot be reached is no reason to cost its clients
            // a handshake for each attempt.
            let of_client = *error.esource() == ErrorSource::Downstream
                || ctx.connection.as_ref().is_some_and(|it| it.cut().is_some());
            if of_client || ctx.ended || status == 408 {
                session.set_keepalive(None);
            }
            told = refuse::refuse(&self.shared, session, ctx, deny).await.is_ok();
            if !told {
                session.as_downstream_mut().shutdown().await;
            }
        }
        // A connection that is not reused is closed in order, so that what is on its way to the client
        // arrives.
        FailToProxy { error_code: status, can_reuse_downstream: told && !session.is_http2() }
    }

    async fn logging(&self, session: &mut Session, _error: Option<&Error>, ctx: &mut Box<Context>) {
        self.discard(session, ctx).await;
        ctx.ended_itself = true;
        if let (Some(connection), Some(stream)) = (&ctx.connection, ctx.stream) {
            ctx.reset = connection.stream_ends(stream);
        }
        if !ctx.logged_by_edge {
            record::finished(&self.shared, session, ctx);
        }
        body_came(ctx);
        if let Some(connection) = &ctx.connection {
            // The rest of an unread body must never be read as a request (CVE-2025-4366).
            if !session.as_downstream_mut().is_body_done() {
                session.set_keepalive(None);
            }
            connection.request_ends();
        }
    }

    fn suppress_error_log(&self, _session: &Session, _ctx: &Box<Context>, _error: &Error) -> bool {
        // The access line has all of it, with a reason; strangers must not fill the operational log.
        true
    }

    fn suppress_proxy_warn_log(
        &self,
        _: &Session,
        _: &Box<Context>,
        _: &Error,
        _: pingora::proxy::ProxyWarnLogContext,
    ) -> bool {
        true
    }
}

impl Gateway {
    async fn judge(&self, session: &Session, ctx: &mut Context) -> Verdict<Disposition> {
        let (Some(connection), Some(snapshot)) = (ctx.connection.clone(), ctx.snapshot.clone()) else {
            return Err(Deny::new(Reason::Internal, "no connection under the session"));
        };
        if connection.chunks_are_wrong() {
            return Err(Deny::new(Reason::FramingChunk, "the chunks of the body are malformed"));
        }
        let head = ctx.head.take();
        let presented = connection.presented(ctx.began);
        let view = view::view(
            session.req_header(),
            head.as_deref(),
            connection.facts(),
            presented.as_ref(),
            ctx.began,
            ctx.tick,
        );
        let stores = Stores {
            quotas: &self.shared.quotas,
            revocations: &*self.shared.revocations,
            challenges: &self.shared.challenges,
            key_sets: &self.shared.key_sets,
        };
        // First of all: the malformed parts were left out, so the rest is not what was asked.
        let verdict = match ctx.malformed {
            Some(malformed) => Err(malformed.deny()),
            None => pipeline::judge(&view, &snapshot.policy, stores, &mut ctx.facts, &mut ctx.trail).await,
        };
        let faults = [verdict.as_ref().err(), ctx.facts.session_fault.as_ref()];
        if faults.into_iter().flatten().any(|deny| deny.reason == Reason::SessionKeyUnknown) {
            self.shared.key_missed.send_replace(());
        }
        let sessions = snapshot.policy.sessions.as_ref();
        if let Some((session, rules)) = ctx.facts.reused.take().zip(sessions) {
            session_store::end_reused(
                &self.shared,
                &session.claims,
                &rules.ring.session_hash(&session.claims.id),
                ctx.began,
            )
            .await;
        }
        ctx.session_hash = ctx
            .facts
            .session
            .as_ref()
            .zip(sessions)
            .map(|(session, rules)| rules.ring.session_hash(&session.claims.id));
        // Where framing is in doubt, whatever follows on this connection may be part of this request.
        let in_doubt = verdict.as_ref().err().is_some_and(|deny| deny.reason.stage() == Stage::Hygiene);
        if in_doubt && let Some((host, realm)) = owner::of_request(&view, &snapshot.policy) {
            (ctx.facts.host, ctx.facts.realm) = (Some(host), realm);
        }
        ctx.head = head.filter(|_| in_doubt);
        verdict
    }
}

/// Sets how long the library waits for the client.
fn waits(session: &mut Session) {
    // The stream enforces the real deadlines beneath the library; the library's only have to be longer.
    session.set_read_timeout(Some(LONGEST));
    session.set_write_timeout(Some(LONGEST));
    session.as_downstream_mut().set_total_drain_timeout(Some(Duration::from_secs(1)));
}
