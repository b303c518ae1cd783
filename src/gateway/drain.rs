//! The rest of a request whose answer is complete, over HTTP/2: some clients read the end of the answer only
//! when they have sent everything.

use std::{pin::pin, time::Duration};

use bytes::Bytes;
use pingora::{Error, http::ResponseHeader};

use super::downstream::{Client, tasks, unless_cancelled};
use crate::upstream::{Ended, Outgoing, RequestBody, cancelled};

/// How long a client that sends a request may pause before the end of its answer is written all the same.
/// Longer than curl waits to be told to go on: one second.
const PAUSE: Duration = Duration::from_millis(1250);

impl Client<'_> {
    /// Takes in what the client still sends, and writes what was held back.
    ///
    /// Some clients read only when they have sent everything. The rest has the bounds of a body that is
    /// forwarded: `body_bytes` and `body_min_rate`. Over HTTP/1 the connection closes after the answer, and
    /// is drained then.
    pub(super) async fn drain_stream(
        &mut self,
        body: &mut RequestBody,
        mut held: Option<Outgoing<Box<ResponseHeader>>>,
    ) -> Result<(), Ended<Box<Error>>> {
        body.refuse();
        if !self.session.is_http2() {
            return Ok(());
        }
        self.ctx.took = Some(self.now().since(self.ctx.tick));
        // It occupies nothing of the upstream any more. Where the memory budget has no share for it, the
        // stream is closed after its answer (RFC 9113, section 8.1), as if the client had sent too much.
        let share = self.ctx.permit.as_ref().and_then(|permit| self.resources.take_to_wait(permit).ok());
        let Some(_share) = share else { return self.write_last(held).await };
        let Self { gateway, session, ctx, .. } = self;
        let mut outcome = Ok(());
        // Some clients that sent Expect send the body after a moment, whatever the answer was.
        while !body.has_come() && outcome.is_ok() {
            tokio::select! {
                biased;
                deny = cancelled(ctx.registration.as_ref()) => return Err(Ended::Cancelled(deny)),
                piece = session.as_downstream_mut().read_body_or_idle(false) => {
                    // A missing rest of the body is no failure: the client has its answer.
                    let Ok(piece) = piece else { break };
                    let end = piece.is_none() || session.as_downstream_mut().is_body_done();
                    let octets = piece.as_ref().map_or(0, Bytes::len);
                    outcome = gateway.body_comes(ctx, session.is_http2(), octets, end);
                    body.put(None, end);
                }
                // The client may be waiting for us.
                () = tokio::time::sleep(PAUSE), if held.is_some() => {
                    let part = held.take().map(tasks).unwrap_or_default();
                    let write = pin!(session.as_downstream_mut().response_duplex_vec(part));
                    unless_cancelled(ctx.registration.as_ref(), write).await?;
                }
            }
        }
        self.write_last(held).await?;
        // Too much, or too slowly: the client has its answer, and its connection or stream is closed in
        // order.
        if let (Err(_), Some(deny)) = (outcome, self.ctx.deny.take()) {
            self.ctx.fail(deny);
        }
        Ok(())
    }

    /// Writes what was held back.
    async fn write_last(
        &mut self,
        held: Option<Outgoing<Box<ResponseHeader>>>,
    ) -> Result<(), Ended<Box<Error>>> {
        let Some(part) = held else { return Ok(()) };
        let write = pin!(self.session.as_downstream_mut().response_duplex_vec(tasks(part)));
        unless_cancelled(self.ctx.registration.as_ref(), write).await
    }
}
