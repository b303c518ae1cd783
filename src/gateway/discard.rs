//! The rest of a request that has its answer: it is taken in and thrown away before its connection closes, or
//! its stream is reset.
//!
//! One way for all of them: what we refuse, what an upstream answers early, what fails under way. Only the
//! last piece of an early answer over HTTP/2 has its own (`drain.rs`).
//!
//! Over HTTP/1 a new connection is a handshake, and a client whose session has expired needs one for each
//! POST if ours closes. So it is kept where the body ends for certain, and soon: the next request is read
//! exactly behind that (RFC 9112, section 9.3).

use std::time::Duration;

use futures_util::FutureExt;
use http::{HeaderName, header};
use pingora::{protocols::http::ServerSession as Downstream, proxy::Session};
use tokio::time::timeout;

use super::{
    body::{body_came, piece_came},
    context::Context,
    shared::Gateway,
};
use crate::{
    model::{Connection, Deny, Discard, Reason, Stage},
    policy::{RequestLimits, Route},
};

/// How long the first octet may take: as long as a body may take at all before its rate counts.
const FIRST: Duration = Duration::from_secs(10);
/// How long it may take where the client has asked whether it may send, and was refused: nothing comes as a
/// rule. curl waits one second to be told, so what it sends then is on its way.
const UNASKED: Duration = Duration::from_secs(1);
/// The rate where the rule has none: nobody needs to send slowly what nobody reads. The default of
/// `body_min_rate`.
const LEAST_RATE: u64 = 1024;
/// Over HTTP/2: how long a client may pause before its stream is reset with NO_ERROR (RFC 9113, section 8.1),
/// in all behind `body_bytes`, and before its rate counts. The others of its connection go on meanwhile.
const PAUSE: Duration = Duration::from_millis(1250);
const BEHIND: Duration = Duration::from_secs(30);
const GRACE: Duration = Duration::from_secs(10);
/// The same for what is malformed: so many octets, and so long in all. Clients that meet an answer and a
/// reset in one read show only the reset (curl 7.88), so they have a moment in between.
const LITTLE: u64 = 64 * 1024;
/// Over HTTP/1: as much of a body is read before its answer leaves, as far as it is there, and as much may be
/// to come behind that where the connection is kept. A client that has more to send spares itself that when
/// it is told that the connection closes.
pub(super) const SHORT: u64 = 64 * 1024;
/// And no more pieces than this: chunks of an octet each would be read for long, and nothing else meanwhile.
pub(super) const PIECES: usize = 64;
/// How long a client may pause that has so little to send. As at the stream, which holds it to a rate
/// besides.
const SHORT_PAUSE: Duration = FIRST;
const BRIEF: Duration = Duration::from_secs(1);
const BETWEEN: Duration = Duration::from_millis(250);
/// The fields that a line has.
const LOGGED: [HeaderName; 3] = [header::HOST, header::USER_AGENT, header::REFERER];
/// How long a client has once the process goes down; and no more than half of `drain`, so that the request
/// has its line.
const LAST: Duration = Duration::from_secs(5);

impl Gateway {
    /// Waits until the client has sent the rest of its request, or as much as is waited for, and has had the
    /// time to read its answer: there are clients that read only when they have sent all.
    ///
    /// The bounds are those of a body that is forwarded: whoever may hold a connection by sending may do it
    /// where it is refused, too, and no longer. What is kept meanwhile is the connection and what its line
    /// says.
    pub(super) async fn discard(&self, session: &mut Session, ctx: &mut Context) {
        let Some(connection) =
            ctx.connection.clone().filter(|_| ctx.answered && !ctx.upgraded && ctx.took.is_none())
        else {
            return;
        };
        if session.as_downstream_mut().is_body_done() {
            return;
        }
        ctx.took = Some(self.shared.clock.tick().since(ctx.tick));
        if session.is_http2() {
            return self.discard_stream(session, ctx).await;
        }
        if !is_waited_for(ctx) {
            return;
        }
        // Nothing passes any more that a session's end would have to stop, and nothing is held that others
        // wait for.
        ctx.registration = None;
        let limits = limits(ctx);
        let rate = if limits.body_min_rate == 0 { LEAST_RATE } else { limits.body_min_rate };
        body_came(ctx);
        connection.body_begins(rate);
        ctx.body_rate = Some(rate);
        if is_kept(session) {
            tokio::select! {
                biased;
                () = rest(session) => {}
                () = self.goes_down() => {}
            }
            // Both readers say that it has ended, and where.
            if !(session.as_downstream_mut().is_body_done() && connection.is_whole()) {
                session.set_keepalive(None);
            }
            ctx.body_in = ctx.body_in.max(connection.body_octets());
            return;
        }
        let came = connection.body_octets();
        let asked = came == 0 && session.req_header().headers.contains_key(header::EXPECT);
        let first = if asked { UNASKED } else { FIRST };
        connection.discards(Discard { octets: limits.body_bytes.saturating_sub(came), first });
        tokio::select! {
            biased;
            () = session.as_downstream_mut().shutdown() => {}
            () = self.goes_down() => connection.stop_discarding(),
        }
        ctx.body_in = ctx.body_in.max(connection.body_octets());
        // An upstream has answered; what it would not have got is said all the same.
        if ctx.body_in > limits.body_bytes && ctx.permit.is_some() && ctx.deny.is_none() {
            ctx.fail(Deny::new(Reason::BodyTooLarge, format!("more than {} bytes came", limits.body_bytes)));
        }
    }

    /// Does it for a stream of HTTP/2. A reset with NO_ERROR tells a client that it need not send the rest;
    /// but there are those that wait for ever then (Java's up to 17), so it comes only where more than a body
    /// may have has come, or none comes any more.
    async fn discard_stream(&self, session: &mut Session, ctx: &mut Context) {
        if !is_waited_for(ctx) {
            let little = async {
                let mut left = LITTLE;
                while let Ok(Some(bytes)) = session.as_downstream_mut().read_request_body().await {
                    piece_came(ctx, bytes.len());
                    ctx.body_in = ctx.body_in.saturating_add(octets(&bytes));
                    left = left.saturating_sub(octets(&bytes));
                    if left == 0 {
                        return tokio::time::sleep(BETWEEN).await;
                    }
                }
            };
            // Late or not: the stream ends now.
            let _ = timeout(BRIEF, little).await;
            return;
        }
        let limits = limits(ctx);
        // A connection has many streams, and a head may be made of a few octets (RFC 7541, section 6.1): only
        // what the line says is kept.
        let fields = &session.req_header().headers;
        let others: Vec<HeaderName> = fields.keys().filter(|name| !LOGGED.contains(name)).cloned().collect();
        others.iter().for_each(|name| drop(session.req_header_mut().remove_header(name)));
        let began = self.shared.clock.tick();
        let mut behind = None;
        let rest = async {
            while let Ok(Ok(Some(bytes))) =
                timeout(PAUSE, session.as_downstream_mut().read_request_body()).await
            {
                piece_came(ctx, bytes.len());
                ctx.body_in = ctx.body_in.saturating_add(octets(&bytes));
                let now = self.shared.clock.tick();
                if ctx.body_in > limits.body_bytes {
                    behind.get_or_insert(now);
                }
                let too_long = behind.is_some_and(|since| now.since(since) > BEHIND);
                if too_long || is_too_slow(ctx.body_in, now.since(began), limits.body_min_rate) {
                    break;
                }
            }
        };
        tokio::select! {
            biased;
            () = rest => {}
            () = self.goes_down() => {}
        }
    }

    /// Waits until the process goes down, and for the time that is left then.
    async fn goes_down(&self) {
        self.shared.draining.began().await;
        let drain = self.shared.snapshot.load().policy.drain;
        tokio::time::sleep(LAST.min(drain / 2)).await;
    }
}

/// Reads what has come of a request before the head of its refusal leaves, and decides whether the connection
/// can be kept behind that.
///
/// Nothing is waited for. Chunks that have not ended by now may go on for ever, so that connection closes;
/// and so it does where the client has asked whether it may send, for nobody knows whether it will (RFC 9110,
/// section 10.1.1).
pub(super) fn read_what_came(session: &mut Session, ctx: &mut Context) {
    let Some(connection) =
        ctx.connection.clone().filter(|_| !ctx.upgraded && is_kept(session) && is_waited_for(ctx))
    else {
        return;
    };
    let mut read = 0;
    for _ in 0..PIECES {
        if read >= SHORT || session.as_downstream_mut().is_body_done() {
            break;
        }
        match session.as_downstream_mut().read_request_body().now_or_never() {
            Some(Ok(Some(piece))) => read = read.saturating_add(octets(&piece)),
            Some(Ok(None)) | None => break,
            // Its end does not come, or nobody can tell where it is.
            Some(Err(_)) => return session.set_keepalive(None),
        }
    }
    ctx.body_in = ctx.body_in.max(connection.body_octets());
    // What has come with that may be another protocol.
    if connection.has_doubtful_surplus() {
        return session.set_keepalive(None);
    }
    keep_for_a_short_rest(session, &connection, limits(ctx).body_bytes);
}

/// Has the connection kept behind an answer that is about to begin, where what is still to come of its
/// request is short, and as long as its head says: it is read behind the answer.
pub(super) fn keep_for_a_short_rest(session: &mut Session, connection: &Connection, most: u64) {
    if session.as_downstream_mut().is_body_done() {
        if !connection.is_whole() {
            session.set_keepalive(None);
        }
        return;
    }
    let asks = session.req_header().headers.contains_key(header::EXPECT);
    let short = connection
        .body_length()
        .is_some_and(|length| length <= most && length.saturating_sub(connection.body_octets()) <= SHORT);
    if short && !asks {
        session.as_downstream_mut().set_close_on_response_before_downstream_finish(false);
    }
}

/// Says whether another request may follow over this connection of HTTP/1, as far as the library knows.
fn is_kept(session: &Session) -> bool {
    if let Downstream::H1(http1) = session.as_downstream() { http1.will_keepalive() } else { false }
}

/// Reads a short rest of a body to its end, unless the client pauses for too long; the stream ends one that
/// is too slow.
async fn rest(session: &mut Session) {
    while let Ok(Ok(Some(_))) = timeout(SHORT_PAUSE, session.as_downstream_mut().read_request_body()).await {}
}

/// Says whether a body has come slower than it may, on average behind the first ten seconds.
fn is_too_slow(octets: u64, took: Duration, rate: u64) -> bool {
    let rate = if rate == 0 { LEAST_RATE } else { rate };
    took > GRACE && octets < rate.saturating_mul(took.as_secs())
}

fn octets(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}

/// Says whether it is certain where the request ends, and that its client is no attacker: otherwise nothing
/// of it is worth a wait. Nor is an upload that ends with its session: all that goes on of one ends at once.
/// The stream gives such a client a second to read its answer.
fn is_waited_for(ctx: &Context) -> bool {
    let malformed = |deny: &Deny| {
        deny.is_offence() || (deny.reason.stage() == Stage::Hygiene && deny.reason.status() == 400)
    };
    !ctx.ended && !ctx.deny.as_ref().is_some_and(malformed)
}

/// Returns the bounds of the body: those that the request was permitted with, or what is known of them where
/// it was refused before.
fn limits(ctx: &Context) -> RequestLimits {
    if let Some(permit) = &ctx.permit {
        return permit.limits();
    }
    let general = ctx.snapshot.as_ref().map(|snapshot| snapshot.policy.request_limits);
    let own = ctx.realm().map(|tenant| tenant.limits).or(general);
    let own = own.unwrap_or(RequestLimits {
        body_bytes: 0,
        body_min_rate: LEAST_RATE,
        websocket_idle: Duration::ZERO,
    });
    let of = |route: &Route| route.limits.unwrap_or(own);
    let least = ctx.facts.rules().map(|route| of(route).body_bytes).min();
    let rule = ctx.facts.route.as_deref().map_or(own, of);
    RequestLimits { body_bytes: least.unwrap_or(own.body_bytes), ..rule }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_rate_counts_behind_ten_seconds_and_is_never_none() {
        assert!(!is_too_slow(0, 10 * SECOND, 1000));
        assert!(is_too_slow(10_999, 11 * SECOND, 1000) && !is_too_slow(11_000, 11 * SECOND, 1000));
        assert!(is_too_slow(11 * 1024 - 1, 11 * SECOND, 0) && !is_too_slow(11 * 1024, 11 * SECOND, 0));
    }
}
