//! Whether an exchange under way may go on: revalidation, and its registration among the live exchanges.

use std::{sync::Arc, time::Duration};

use pingora::{Error, ErrorType, Result};

use super::{context::Context, guard, shared::Shared};
use crate::{
    model::{Connection, Deny, UnixTime, Verdict},
    pipeline::{self, OnSessionEnd, Permit, Revalidation},
    upstream::BATCH,
};

/// The longest time between two revalidations of an exchange that is not registered, while nothing changes.
const REVALIDATE_AFTER: Duration = Duration::from_secs(5);

/// Ends an exchange whose session or tenant has ended: nothing passes through it any more, in either
/// direction. Costs two atomic loads as long as nothing changes.
pub(super) fn revalidate_if_changed(shared: &Shared, ctx: &mut Context) -> Result<()> {
    let (changes, now) = (shared.live_exchanges.changes(), shared.clock.tick());
    if changes == ctx.changes && now.since(ctx.revalidated) < REVALIDATE_AFTER {
        return Ok(());
    }
    revalidate_now(shared, ctx)
}

/// The same, whether anything has changed or not.
pub(super) fn revalidate_now(shared: &Shared, ctx: &mut Context) -> Result<()> {
    (ctx.changes, ctx.revalidated) = (shared.live_exchanges.changes(), shared.clock.tick());
    let (Some(permit), Some(connection)) = (&ctx.permit, &ctx.connection) else { return Ok(()) };
    let outcome = judge(shared, permit, connection, shared.clock.now()).map_err(|deny| ended(ctx, deny))?;
    ctx.without_session |= outcome == Revalidation::WithoutSession;
    Ok(())
}

/// Revalidates just before the request leaves for the app: it may have waited for a place and a connection,
/// and must not be sent with a session that has ended meanwhile. Returns whether the request continues
/// without its session, so that its head must be made anew.
pub(super) fn revalidate_before_send(shared: &Shared, ctx: &mut Context) -> Result<bool> {
    // An attempt before this one may have waited for an answer.
    if ctx.permit.as_ref().is_some_and(|permit| permit.on_session_end() == OnSessionEnd::AwaitsAnswer) {
        set_on_session_end(shared, ctx, OnSessionEnd::AsNew)?;
    }
    revalidate_if_changed(shared, ctx)?;
    let Some(permit) = ctx.permit.as_ref().filter(|permit| ctx.without_session && permit.session().is_some())
    else {
        return Ok(false);
    };
    ctx.permit = Some(permit.without_session());
    (ctx.facts.session, ctx.facts.member, ctx.session_hash) = (None, None, None);
    // The app's own session cookie, too: it is not to be believed there.
    ctx.facts.set_aside = true;
    permit_changed(shared, ctx)?;
    Ok(true)
}

/// Sets what the end of its session does to an exchange from here on, and ends the exchange where the session
/// has ended.
pub(super) fn set_on_session_end(shared: &Shared, ctx: &mut Context, does: OnSessionEnd) -> Result<()> {
    let differs = |permit: &&mut Permit| permit.session().is_some() && permit.on_session_end() != does;
    let Some(permit) = ctx.permit.as_mut().filter(differs) else { return Ok(()) };
    permit.set_on_session_end(does);
    permit_changed(shared, ctx)
}

/// Revalidates and registers an exchange anew where its permit has changed.
pub(super) fn permit_changed(shared: &Shared, ctx: &mut Context) -> Result<()> {
    let registered = ctx.registration.take().is_some();
    // The end of its session has had no effect so far.
    if ctx.without_session {
        revalidate_now(shared, ctx)?;
    }
    if registered { register(shared, ctx) } else { Ok(()) }
}

/// Registers an exchange that goes on for long, so that it ends as soon as it may not go on. What has changed
/// since its last revalidation is judged now.
pub(super) fn register(shared: &Shared, ctx: &mut Context) -> Result<()> {
    if ctx.registration.is_some() {
        return Ok(());
    }
    let (Some(permit), Some(connection)) = (&ctx.permit, &ctx.connection) else { return Ok(()) };
    let registration = shared.live_exchanges.register(permit, connection);
    registration.holds_budget(ctx.holding);
    ctx.registration = Some(registration);
    revalidate_if_changed(shared, ctx)
}

/// Notes that an exchange may not go on, and why.
pub(super) fn ended(ctx: &mut Context, deny: Deny) -> Box<Error> {
    ctx.ended = true;
    ctx.deny = Some(deny);
    Error::explain(ErrorType::InternalError, "the exchange may not go on")
}

/// Revalidates every live exchange after each change and every few seconds, for ever.
pub async fn watch_live_exchanges(shared: Arc<Shared>) {
    loop {
        shared.live_exchanges.wait_for_change().await;
        for exchanges in shared.live_exchanges.shards() {
            for batch in exchanges.chunks(BATCH) {
                let now = shared.clock.now();
                for exchange in batch.iter().filter(|exchange| !exchange.has_ended()) {
                    if let Err(deny) = judge(&shared, exchange.permit(), exchange.connection(), now) {
                        exchange.end(deny);
                    }
                }
                tokio::task::yield_now().await;
            }
        }
        shared.live_exchanges.pause().await;
    }
}

/// Judges an exchange by the rules as they are now.
fn judge(shared: &Shared, permit: &Permit, connection: &Connection, now: UnixTime) -> Verdict<Revalidation> {
    let policy = &shared.snapshot.load().policy;
    // An exchange whose judgement panics ends, and the others are still judged.
    guard::catch_panic(|| {
        pipeline::revalidate(permit, connection.presented(now).as_ref(), policy, &*shared.revocations, now)
    })?
}
