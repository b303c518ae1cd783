//! Sends a request that passed to its upstream: what the exchange needs of the gateway is assembled here.
//!
//! pingora's way to an upstream costs more than all of the gateway's checks: a task per idle connection, two
//! channels and two maps of names per exchange; and an exchange under way there cannot be ended from outside.
//! So no request goes that way.

use std::sync::Arc;

use pingora::{Error, ErrorType, Result, proxy::Session};

use super::{context::Context, downstream::Client, failure, shared::Gateway};
use crate::upstream::{self, Ended, RequestKind, Resources};

impl Gateway {
    /// Asks the app and hands its answer on.
    pub(super) async fn exchange(&self, session: &mut Session, ctx: &mut Context) -> Result<()> {
        let Some((snapshot, permit)) = ctx.snapshot.clone().zip(ctx.permit.clone()) else {
            return Error::e_explain(ErrorType::InternalError, "no permit, no server");
        };
        let upstream = Arc::clone(&permit.tenant().upstream);
        let resources = Resources {
            clock: &*self.shared.clock,
            budgets: &self.shared.budgets,
            live_exchanges: &self.shared.live_exchanges,
            pools: snapshot.pools(),
        };
        // Before anything is waited for.
        let _head = resources
            .take_for_head(&permit, &session.req_header().headers)
            .map_err(|deny| failure::of_exchange(Ended::Denied(deny), ctx))?;
        let kind = RequestKind {
            method: session.req_header().method.clone(),
            is_http2: session.is_http2(),
            is_call: ctx.call,
            is_websocket: permit.websocket(),
            idle: permit.limits().websocket_idle,
        };
        drop(permit);
        let (framing, mut body) = self.framing(session, ctx, upstream.protocol, &resources).await?;
        let mut client = Client { gateway: self, session, ctx, framing, resources: &resources };
        let outcome = upstream::exchange(&mut client, &kind, &mut body, &upstream, &resources).await;
        outcome.map_err(|ended| failure::of_exchange(ended, ctx))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes_of<'a, F: Future>(_: impl FnOnce(&'a Gateway, &'a mut Session, &'a mut Context) -> F) -> usize {
        size_of::<F>()
    }

    /// Each exchange under way takes this much memory, and it is moved into place once. What is rare is boxed
    /// where it begins: new connections and their handshakes, tunnels, interim answers, what is drained
    /// behind an answer, grants. Half of the rest is the library's, which writes the answer.
    #[test]
    fn an_exchange_under_way_is_small() {
        let bytes = bytes_of(Gateway::exchange);

        assert!(bytes <= 4 * 1024, "{bytes}");
    }
}
