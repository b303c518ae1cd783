//! A WebSocket: octets that pass in both directions, until one side has enough or the session ends.

use std::{pin::pin, time::Duration};

use bytes::{Buf, Bytes};
use pingora::{Error, ErrorType, Result, http::ResponseHeader, proxy::Session};
use tokio::time::timeout;

use super::{
    client::{Client, over},
    connection::{Connection, IoEvent},
    frame::Frames,
    sides::Sides,
    upgrade,
};
use crate::{
    gateway::{
        proxy::{Context, LONGEST},
        record,
    },
    model::Deny,
};

/// A Close frame: the last frame, two octets of payload, not masked, and status 1008: a policy was violated (RFC 6455, sections 5.5.1
/// and 7.4.1).
const CLOSE_POLICY: [u8; 4] = [0x88, 0x02, 0x03, 0xf0];
/// How long the client may take to take that in.
const FAREWELL: Duration = Duration::from_secs(1);

/// How a piece reached the client.
enum Wrote {
    All,
    Ended(Deny),
}

impl Sides<'_> {
    /// Switches protocols, and hands on what comes from either side.
    pub(super) async fn tunnel(mut self, mut response: Box<ResponseHeader>, between: Duration) -> Result<()> {
        let status = response.status.as_u16();
        self.client.gateway.heard(status, self.client.ctx);
        if let Err(deny) = upgrade::accept(&response, self.client.ctx) {
            self.client.ctx.deny = Some(deny);
            return Error::e_explain(ErrorType::HTTPStatus(502), "bad upgrade");
        }
        if let Some(permit) = &self.client.ctx.permit {
            self.client.gateway.give_back(permit, status, false);
        }
        self.client.gateway.sit_down(self.client.ctx)?;
        self.client.dressed(&mut response)?;
        self.client.session.as_downstream_mut().write_response_header(response).await.map_err(|error| error.into_down())?;
        let Self { client: Client { gateway, session, ctx, .. }, connection, .. } = self;
        let mut frames = Frames::default();
        let mut said = Bytes::new();
        let deny = loop {
            if !connection.unread().is_empty() {
                let piece = connection.unread_mut().split().freeze();
                match write(session, ctx, connection, piece.clone(), &mut said).await? {
                    Wrote::All => frames.take(&piece),
                    // Nobody knows how much of it has left, so nothing can be put behind it.
                    Wrote::Ended(deny) => break deny,
                }
                continue;
            }
            let limit = if said.is_empty() { LONGEST } else { between };
            tokio::select! {
                biased;
                deny = over(ctx.seat.as_ref()) => {
                    drop(connection.leave());
                    farewell(session, &frames).await;
                    return end(ctx, deny);
                }
                turn = timeout(limit, connection.next_event(&said, false)) => match turn {
                    Ok(IoEvent::Read(Ok(0))) => return Ok(()),
                    Ok(IoEvent::Read(Ok(_))) => {}
                    Ok(IoEvent::Read(Err(error))) => return Err(Error::explain(ErrorType::ReadError, error.to_string()).into_up()),
                    Ok(IoEvent::Wrote(wrote)) => took(&mut said, wrote)?,
                    Err(_) => return Err(Error::explain(ErrorType::WriteTimedout, "the upstream takes nothing").into_up()),
                },
                piece = session.as_downstream_mut().read_body_or_idle(false), if said.is_empty() => {
                    let Some(piece) = piece.map_err(|error| error.into_down())? else { return Ok(()) };
                    gateway.body_comes(ctx, false, piece.len(), false)?;
                    said = piece;
                }
            }
        };
        drop(connection.leave());
        end(ctx, deny)
    }
}

/// Writes a piece to the client, while what it said before goes on to the upstream.
async fn write(session: &mut Session, ctx: &Context, connection: &mut Connection, piece: Bytes, said: &mut Bytes) -> Result<Wrote> {
    let mut write = pin!(session.as_downstream_mut().write_response_body(piece, false));
    loop {
        tokio::select! {
            biased;
            deny = over(ctx.seat.as_ref()) => return Ok(Wrote::Ended(deny)),
            written = &mut write => return written.map(|()| Wrote::All).map_err(|error| error.into_down()),
            wrote = connection.write_some(said), if !said.is_empty() => took(said, wrote)?,
        }
    }
}

fn took(said: &mut Bytes, wrote: std::io::Result<usize>) -> Result<()> {
    let bytes = wrote.map_err(|error| Error::explain(ErrorType::WriteError, error.to_string()).into_up())?;
    said.advance(bytes.min(said.len()));
    Ok(())
}

/// Tells the client why, where that can be told: between two frames.
async fn farewell(session: &mut Session, frames: &Frames) {
    if frames.may_close() {
        let close = session.as_downstream_mut().write_response_body(Bytes::from_static(&CLOSE_POLICY), false);
        // A client that does not take it is closed all the same.
        let _ = timeout(FAREWELL, close).await;
    }
}

/// Notes why; the library closes the connection in order.
fn end(ctx: &mut Context, deny: Deny) -> Result<()> {
    ctx.ended = true;
    record::failed(ctx, deny);
    Ok(())
}
