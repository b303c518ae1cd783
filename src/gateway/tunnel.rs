//! A WebSocket: forwards octets in both directions until one side closes or the exchange is cancelled.

use std::{pin::pin, time::Duration};

use bytes::{Buf, Bytes};
use pingora::{Error, proxy::Session};
use tokio::time::timeout;

use super::{
    context::Context,
    failure,
    shared::{Gateway, LONGEST},
};
use crate::{
    model::{Deny, Reason},
    upstream::{Connection, Ended, Failure, IoEvent, cancelled},
    wire::websocket::{CLOSE_POLICY, Frames},
};

/// How long the client may take to read the Close frame.
const CLOSE_WITHIN: Duration = Duration::from_secs(1);

/// How a piece reached the client.
enum Wrote {
    All,
    Cancelled(Deny),
}

impl Gateway {
    /// Forwards what either side sends after the answer that switched protocols. `between` is how long the
    /// server may accept nothing.
    pub(super) async fn tunnel(
        &self,
        session: &mut Session,
        ctx: &mut Context,
        connection: &mut Connection,
        between: Duration,
    ) -> Result<(), Ended<Box<Error>>> {
        let mut frames = Frames::default();
        let mut said = Bytes::new();
        let deny = loop {
            if !connection.unread().is_empty() {
                let piece = connection.unread_mut().split().freeze();
                match write(session, ctx, connection, piece.clone(), &mut said).await? {
                    Wrote::All => frames.take(&piece),
                    // It is unknown how much of it was sent, so no Close frame can follow it.
                    Wrote::Cancelled(deny) => break deny,
                }
                continue;
            }
            let limit = if said.is_empty() { LONGEST } else { between };
            tokio::select! {
                biased;
                deny = cancelled(ctx.registration.as_ref()) => {
                    drop(connection.leave());
                    close(session, &frames).await;
                    break deny;
                }
                event = timeout(limit, connection.next_event(&said)) => match event {
                    Ok(IoEvent::Read(Ok(0))) => return Ok(()),
                    Ok(IoEvent::Read(Ok(_))) => {}
                    Ok(IoEvent::Read(Err(error))) => {
                        return Err(Failure::new(Reason::UpstreamClosed, error.to_string()).into());
                    }
                    Ok(IoEvent::Wrote(wrote)) => took(&mut said, wrote)?,
                    Err(_) => {
                        return Err(Failure::new(Reason::UpstreamTimeout, "the upstream takes nothing").into());
                    }
                },
                piece = session.as_downstream_mut().read_body_or_idle(false), if said.is_empty() => {
                    let piece = piece.map_err(|error| Ended::ClientGone(error.into_down()))?;
                    let Some(piece) = piece else { return Ok(()) };
                    let judged = self.body_comes(ctx, false, piece.len(), false);
                    judged.map_err(|error| failure::of_step(error, ctx))?;
                    said = piece;
                }
            }
        };
        drop(connection.leave());
        // The library closes the client's connection in order.
        ctx.ended = true;
        ctx.fail(deny);
        Ok(())
    }
}

/// Writes a piece to the client, while octets of the client still go to the upstream.
async fn write(
    session: &mut Session,
    ctx: &Context,
    connection: &mut Connection,
    piece: Bytes,
    said: &mut Bytes,
) -> Result<Wrote, Ended<Box<Error>>> {
    let mut write = pin!(session.as_downstream_mut().write_response_body(piece, false));
    loop {
        tokio::select! {
            biased;
            deny = cancelled(ctx.registration.as_ref()) => return Ok(Wrote::Cancelled(deny)),
            written = &mut write => {
                return written.map(|()| Wrote::All).map_err(|error| Ended::ClientGone(error.into_down()));
            }
            wrote = connection.write_some(said), if !said.is_empty() => took(said, wrote)?,
        }
    }
}

fn took(said: &mut Bytes, wrote: std::io::Result<usize>) -> Result<(), Failure> {
    let octets = wrote.map_err(|error| Failure::new(Reason::UpstreamClosed, error.to_string()))?;
    said.advance(octets.min(said.len()));
    Ok(())
}

/// Sends a Close frame to the client, if the last octet ended a frame.
async fn close(session: &mut Session, frames: &Frames) {
    if frames.may_close() {
        let close = session.as_downstream_mut().write_response_body(Bytes::from_static(&CLOSE_POLICY), false);
        // The connection is closed even if the client does not read it.
        let _ = timeout(CLOSE_WITHIN, close).await;
    }
}
