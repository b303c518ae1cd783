//! The translation between pingora's hooks and the pipeline.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use http::HeaderValue;
use pingora::{
    Error, ErrorSource, ErrorType, Result,
    http::ResponseHeader,
    proxy::{FailToProxy, ProxyHttp, Session},
    upstreams::peer::HttpPeer,
};

use super::{
    body::body_came,
    failure, guard, owner, record, refuse,
    reply::Refusal,
    reset, response_headers,
    session::{self, CookieChange, GrantedTo},
    shared::{Shared, Snapshot},
    standing::{self, Seat},
    view,
};
use crate::{
    model::{Connection, Decision, Deny, Http2Error, Malformed, Reason, RequestId, Stage, Tick, Trail, UnixTime, Verdict},
    pipeline::{self, Known, Passage, Permit, Stores},
};

/// The proxy: everything it needs to serve a request.
#[derive(Debug)]
pub struct Gateway {
    pub(super) shared: Arc<Shared>,
}

impl Gateway {
    /// Serves with these rules, stores and recorders.
    pub fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }
}

/// What one request gathers on its way.
#[derive(Debug)]
pub struct Context {
    shared: Arc<Shared>,
    pub(super) id: RequestId,
    pub(super) began: UnixTime,
    pub(super) tick: Tick,
    pub(super) connection: Option<Arc<Connection>>,
    /// Its stream, over HTTP/2, and what is wrong with its head.
    pub(super) stream: Option<u32>,
    pub(super) malformed: Option<Malformed>,
    /// Whether edge has told of it, because it did not begin in time.
    pub(super) told: bool,
    /// What its stream was reset with, where that was known before it was forwarded or by the time that it ended.
    pub(super) reset: Option<Http2Error>,
    pub(super) method: Option<http::Method>,
    /// Whether it came to its end, and to its line.
    ended_itself: bool,
    pub(super) snapshot: Option<Arc<Snapshot>>,
    pub(super) head: Option<Vec<u8>>,
    pub(super) known: Known,
    pub(super) trail: Trail,
    pub(super) permit: Option<Permit>,
    pub(super) decision: Decision,
    pub(super) deny: Option<Deny>,
    pub(super) body_in: u64,
    /// The rate of a body that is to come.
    pub(super) body_rate: Option<u64>,
    /// How long the client was waited for while its body was to come.
    pub(super) body_waited: Duration,
    /// How much of the body of an answer of ours was left to the library, which sends it when it can.
    pub(super) left: usize,
    /// How much of the answer's body the client took, and how long it was waited for meanwhile.
    pub(super) body_out: u64,
    pub(super) unread_for: Duration,
    /// Whether it is a gRPC call to servers that can answer one.
    pub(super) call: bool,
    /// Whether the answer has ended.
    pub(super) answered: bool,
    /// How long it took to its end, where more has come of the request behind that.
    pub(super) took: Option<Duration>,
    pub(super) upstream: Option<Exchange>,
    pub(super) granted: Option<GrantedTo>,
    /// `Set-Cookie` values about sign-ins that began here.
    pub(super) marks: Vec<String>,
    /// What the upstream asked for in vain.
    pub(super) ignored: Option<String>,
    /// The name of the session in logs and towards the upstream.
    pub(super) session_hash: Option<String>,
    pub(super) cookie: CookieChange,
    pub(super) websocket_key: Option<HeaderValue>,
    pub(super) upgraded: bool,
    /// Whether it was a CA that proves a host.
    pub(super) challenge: bool,
    /// When it was last judged whether the exchange may go on, and what had changed by then.
    judged: Tick,
    changes: u64,
    /// What is judged again as the exchange goes on, where that is less than was permitted: an answer that ends the session which asked
    /// is not ended by that.
    signed_out: Option<Permit>,
    /// Whether it was ended under way.
    pub(super) ended: bool,
    /// Its place among the exchanges that are watched over.
    pub(super) seat: Option<Seat>,
    /// The number of the budget that it holds something of; 0 is none.
    holding: usize,
}

impl Context {
    /// Notes which budget the exchange holds something of that others may wait for; 0 is none.
    pub(super) fn holds(&mut self, number: usize) {
        self.holding = number;
        if let Some(seat) = &self.seat {
            seat.holds(number);
        }
    }
}

/// A request whose task was ended under way has its line all the same: with the process behind a drain, or by a panic, of which the library
/// tells nobody.
impl Drop for Context {
    fn drop(&mut self) {
        if self.ended_itself || self.told || self.connection.is_none() {
            return;
        }
        if let (Some(connection), Some(stream)) = (&self.connection, self.stream) {
            self.reset = connection.stream_ends(stream);
        }
        let deny = if std::thread::panicking() {
            Deny::new(Reason::Internal, "a filter panicked; the operational log says where")
        } else {
            Deny::new(Reason::Draining, "the process ended before the request did")
        };
        record::failed(self, deny);
        record::cut_off(&self.shared, self);
    }
}

/// What is known of the exchange with the upstream.
#[derive(Clone, Debug)]
pub(super) struct Exchange {
    pub(super) server: Arc<str>,
    /// Which of the pool's servers that is.
    pub(super) index: usize,
    pub(super) tries: u32,
    pub(super) began: Tick,
    pub(super) first_byte: Option<Tick>,
    pub(super) status: Option<u16>,
}

#[async_trait]
impl ProxyHttp for Gateway {
    /// Boxed: the library keeps it in place three times over in the future of every connection, also of those at rest.
    type CTX = Box<Context>;

    fn new_ctx(&self) -> Box<Context> {
        let tick = self.shared.clock.tick();
        Box::new(Context {
            shared: Arc::clone(&self.shared),
            id: self.shared.request_id(),
            began: self.shared.clock.now(),
            tick,
            connection: None,
            stream: None,
            malformed: None,
            told: false,
            reset: None,
            method: None,
            ended_itself: false,
            snapshot: None,
            head: None,
            known: Known::default(),
            trail: Trail::brief(),
            permit: None,
            decision: Decision::Allow,
            deny: None,
            body_in: 0,
            body_rate: None,
            body_waited: Duration::ZERO,
            left: 0,
            body_out: 0,
            unread_for: Duration::ZERO,
            call: false,
            answered: false,
            took: None,
            upstream: None,
            granted: None,
            marks: Vec::new(),
            ignored: None,
            session_hash: None,
            cookie: CookieChange::None,
            websocket_key: None,
            upgraded: false,
            challenge: false,
            judged: tick,
            changes: self.shared.standing.changes(),
            signed_out: None,
            ended: false,
            seat: None,
            holding: 0,
        })
    }

    /// Takes the head as received and the rules in force. From here on the request is ours to answer and to log.
    async fn early_request_filter(&self, session: &mut Session, ctx: &mut Box<Context>) -> Result<()> {
        let connection =
            view::connection(session).ok_or_else(|| Error::explain(ErrorType::InternalError, "no connection under the session"))?;
        ctx.head = connection.request_begins();
        let mark = view::take_mark(session, &connection);
        ctx.stream = mark.map(|mark| mark.stream);
        ctx.malformed = mark.map_or_else(|| view::unmarked(session, &connection), |mark| mark.malformed);
        ctx.told = ctx.stream.is_some_and(|stream| connection.stream_begins(stream));
        ctx.method = Some(session.req_header().method.clone());
        waits(session);
        ctx.connection = Some(connection);
        // Before the rules are taken: what changes behind this line is noticed.
        ctx.changes = self.shared.standing.changes();
        ctx.snapshot = Some(self.shared.snapshot.load_full());
        Ok(())
    }

    async fn request_filter(&self, session: &mut Session, ctx: &mut Box<Context>) -> Result<bool> {
        if reset::ends(session, ctx) {
            return Ok(true);
        }
        match guard::judged(self.judge(session, ctx)).await {
            // Behind the checks, for those can wait.
            Ok(Passage::Permit(_)) if reset::ends(session, ctx) => Ok(true),
            Ok(Passage::Permit(permit)) => {
                ctx.permit = Some(permit);
                self.body_begins(session, ctx);
                // Boxed: what an exchange needs is more than what a refusal does.
                Box::pin(self.exchange(session, ctx)).await?;
                Ok(true)
            }
            Ok(Passage::Redirect(location)) => {
                ctx.decision = Decision::Redirect;
                let refusal = Refusal::redirect(location, ctx.id, ctx.known.realm.as_ref().map(|realm| &*realm.response_headers));
                refuse::send(session, ctx, refusal).await?;
                Ok(true)
            }
            Ok(Passage::Challenge(answer)) => {
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

    /// No request goes this way: every one is answered above.
    async fn upstream_peer(&self, _session: &mut Session, _ctx: &mut Box<Context>) -> Result<Box<HttpPeer>> {
        Error::e_explain(ErrorType::InternalError, "the library asks for a server")
    }

    async fn fail_to_proxy(&self, session: &mut Session, error: &Error, ctx: &mut Box<Context>) -> FailToProxy {
        // The client has its answer; that the rest of its body was not waited for is no failure (RFC 9113, section 8.1).
        let body_broke_off = *error.esource() == ErrorSource::Downstream && *error.etype() == ErrorType::ReadError;
        if ctx.answered && ctx.deny.is_none() && session.is_http2() && body_broke_off {
            return FailToProxy { error_code: 0, can_reuse_downstream: false };
        }
        let deny = ctx.deny.take().unwrap_or_else(|| failure::deny(error, view::version(session.req_header()), ctx));
        let status = deny.reason.status();
        // 101 is a final answer too: what is written behind it would be read as a part of the tunnel.
        let answered = ctx.upgraded || session.response_written().is_some_and(|response| !response.status.is_informational());
        let mut told = false;
        if answered || deny.reason == Reason::ClientClosed {
            // A stream that is only let go of ends with CANCEL, and Node takes what it has by then for the whole answer.
            if session.is_http2() && deny.reason != Reason::ClientClosed {
                session.as_downstream_mut().shutdown().await;
            }
            record::failed(ctx, deny);
        } else {
            // Whatever is left of this exchange, nothing else comes over its connection.
            session.set_keepalive(None);
            told = refuse::refuse(&self.shared, session, ctx, deny).await.is_ok();
            if !told {
                session.as_downstream_mut().shutdown().await;
            }
        }
        // It is not used again; but it is closed in order, so that what is on its way to the client arrives.
        FailToProxy { error_code: status, can_reuse_downstream: told && !session.is_http2() }
    }

    async fn logging(&self, session: &mut Session, _error: Option<&Error>, ctx: &mut Box<Context>) {
        self.discard(session, ctx).await;
        ctx.ended_itself = true;
        if let (Some(connection), Some(stream)) = (&ctx.connection, ctx.stream) {
            ctx.reset = connection.stream_ends(stream);
        }
        if !ctx.told {
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
        // The access line says it all, with a reason; strangers do not get to fill the operational log.
        true
    }

    fn suppress_proxy_warn_log(&self, _: &Session, _: &Box<Context>, _: &Error, _: pingora::proxy::ProxyWarnLogContext) -> bool {
        true
    }
}

impl Gateway {
    async fn judge(&self, session: &Session, ctx: &mut Context) -> Verdict<Passage> {
        let (Some(connection), Some(snapshot)) = (ctx.connection.clone(), ctx.snapshot.clone()) else {
            return Err(Deny::new(Reason::Internal, "no connection under the session"));
        };
        if connection.chunks_are_wrong() {
            return Err(Deny::new(Reason::FramingChunk, "the chunks of the body are malformed"));
        }
        let head = ctx.head.take();
        let presented = connection.presented(ctx.began);
        let view = view::view(session.req_header(), head.as_deref(), (connection.facts(), presented.as_ref()), ctx.began, ctx.tick);
        let stores = Stores {
            quotas: &self.shared.quotas,
            revocations: &*self.shared.revocations,
            challenges: &self.shared.challenges,
            key_sets: &self.shared.key_sets,
        };
        // First of all: what is wrong with it was left out, so the rest is not what was asked.
        let verdict = match ctx.malformed {
            Some(malformed) => Err(malformed.deny()),
            None => pipeline::judge(&view, &snapshot.policy, stores, &mut ctx.known, &mut ctx.trail).await,
        };
        let faults = [verdict.as_ref().err(), ctx.known.session_fault.as_ref()];
        if faults.into_iter().flatten().any(|deny| deny.reason == Reason::SessionKeyUnknown) {
            self.shared.key_missed.send_replace(());
        }
        let sessions = snapshot.policy.sessions.as_ref();
        if let Some((session, rules)) = ctx.known.reused.take().zip(sessions) {
            session::end_reused(&self.shared, &session.claims, &rules.ring.session_hash(&session.claims.id), ctx.began).await;
        }
        ctx.session_hash = ctx.known.session.as_ref().zip(sessions).map(|(session, rules)| rules.ring.session_hash(&session.claims.id));
        // Framing in doubt: whatever follows on this connection may be part of this request.
        let in_doubt = verdict.as_ref().err().is_some_and(|deny| deny.reason.stage() == Stage::Hygiene);
        if in_doubt && let Some((host, realm)) = owner::of_request(&view, &snapshot.policy) {
            (ctx.known.host, ctx.known.realm) = (Some(host), realm);
        }
        ctx.head = head.filter(|_| in_doubt);
        verdict
    }

    /// Notes what an upstream said, and when it began to.
    pub(super) fn heard(&self, status: u16, ctx: &mut Context) {
        if let Some(exchange) = &mut ctx.upstream {
            exchange.first_byte.get_or_insert(self.shared.clock.tick());
            exchange.status = Some(status);
        }
    }

    /// Judges the answer of an upstream, and applies what it says about sessions.
    pub(super) async fn received(&self, session: &Session, response: &ResponseHeader, ctx: &mut Context) -> Result<()> {
        let status = response.status.as_u16();
        self.heard(status, ctx);
        // Before the answer ends the session by itself: one that was ended while the app thought gets nothing any more.
        self.may_go_on(ctx)?;
        let (Some(permit), Some(snapshot)) = (ctx.permit.clone(), &ctx.snapshot) else { return Ok(()) };
        if let Err(deny) = response_headers::framing(&response.headers) {
            ctx.deny = Some(deny);
            return Error::e_explain(ErrorType::HTTPStatus(502), "ambiguous answer");
        }
        let now = self.shared.clock.now();
        let certificate = ctx.connection.as_ref().and_then(|connection| connection.presented(now));
        let answer =
            session::Answer { status, headers: &response.headers, asked: &session.req_header().headers, certificate: certificate.as_ref() };
        match guard::judged(session::apply(&self.shared, &snapshot.policy, &permit, answer, now)).await {
            Ok(outcome) => {
                ctx.cookie = outcome.cookie;
                ctx.granted = outcome.granted;
                ctx.ignored = outcome.ignored;
                ctx.marks = outcome.marks;
                if outcome.last {
                    // An upload has a seat since before, and its session's end has reached it by now.
                    let seated = ctx.seat.take().is_some();
                    ctx.signed_out = Some(permit.signed_out());
                    if seated {
                        self.sit_down(ctx)?;
                    }
                }
            }
            Err(deny) => {
                let status = deny.reason.status();
                ctx.deny = Some(deny);
                return Error::e_explain(ErrorType::HTTPStatus(status), "session event refused");
            }
        }
        self.give_back(&permit, status, ctx.granted.is_some());
        Ok(())
    }

    /// Ends an exchange whose session or tenant has ended: nothing passes through it any more, in either direction. Costs nothing as
    /// long as nothing changes.
    pub(super) fn may_go_on(&self, ctx: &mut Context) -> Result<()> {
        let (changes, now) = (self.shared.standing.changes(), self.shared.clock.tick());
        if changes == ctx.changes && now.since(ctx.judged) < JUDGE_AGAIN_AFTER {
            return Ok(());
        }
        (ctx.changes, ctx.judged) = (changes, now);
        let (Some(permit), Some(connection)) = (ctx.signed_out.as_ref().or(ctx.permit.as_ref()), &ctx.connection) else { return Ok(()) };
        let verdict = standing::judge(&self.shared, permit, connection, self.shared.clock.now());
        verdict.map_err(|deny| standing::ended(ctx, deny))
    }

    /// Has an exchange that goes on for long watched over. What has changed since it was judged is judged now.
    pub(super) fn sit_down(&self, ctx: &mut Context) -> Result<()> {
        if ctx.seat.is_some() {
            return Ok(());
        }
        let (Some(permit), Some(connection)) = (ctx.signed_out.as_ref().or(ctx.permit.as_ref()), &ctx.connection) else { return Ok(()) };
        let seat = self.shared.standing.seat(permit, connection);
        seat.holds(ctx.holding);
        ctx.seat = Some(seat);
        self.may_go_on(ctx)
    }

    /// Gives back what only failures cost.
    ///
    /// An app answers a wrong password with its form again and status 200, so where it could have granted, only a grant is a success.
    /// Opening the form is none of the tries.
    pub(super) fn give_back(&self, permit: &Permit, status: u16, granted: bool) {
        let success = granted || (status < 400 && (permit.is_safe() || !permit.is_sign_in()));
        if success {
            for (key, limit) in permit.charged_failures() {
                crate::state::QuotaStore::give_back(&self.shared.quotas, key, *limit, self.shared.clock.tick());
            }
        }
    }

    /// Says whether a request may be tried again. Where the server was `unreachable` nothing was sent, so that costs nothing of what retries
    /// may be of all requests.
    pub(super) fn may_retry(&self, ctx: &Context, unreachable: bool) -> bool {
        let (Some(permit), Some(snapshot), Some(exchange)) = (&ctx.permit, &ctx.snapshot, &ctx.upstream) else { return false };
        let upstream = &permit.tenant().upstream;
        exchange.tries <= u32::from(upstream.retries) && snapshot.pool(&upstream.name).is_some_and(|pool| unreachable || pool.may_retry())
    }
}

/// How often an exchange that nobody watches over is judged again while nothing changes.
const JUDGE_AGAIN_AFTER: Duration = Duration::from_secs(5);

/// Sets how long the library waits for the client, whatever becomes of the request.
fn waits(session: &mut Session) {
    // The stream keeps its own deadlines over the library; the library's only have to be longer.
    session.set_read_timeout(Some(LONGEST));
    session.set_write_timeout(Some(LONGEST));
    session.as_downstream_mut().set_total_drain_timeout(Some(Duration::from_secs(1)));
}

/// Longer than any deadline of the stream.
pub(super) const LONGEST: Duration = Duration::from_secs(24 * 3600);
