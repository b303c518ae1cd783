//! An exchange under way: the client on one side, a server on the other.

use std::{io, time::Duration};

use pingora::{Error, ErrorType, Result, proxy::Session};
use tokio::time::timeout;

use super::{
    Failed,
    connection::{Connection, Turn},
    upload::Upload,
};
use crate::{
    gateway::{
        proxy::{Context, Gateway, LONGEST},
        standing::{Seat, ended},
    },
    model::Deny,
};

/// Both sides of an exchange.
pub(super) struct Sides<'a> {
    pub(super) gateway: &'a Gateway,
    pub(super) session: &'a mut Session,
    pub(super) ctx: &'a mut Context,
    pub(super) upload: &'a mut Upload,
    pub(super) connection: Connection,
    /// Whether the client was told to go on with its body.
    pub(super) continued: bool,
}

/// What happened first.
enum Event {
    Ended(Deny),
    Server(Turn),
    Late,
    Client(Result<Option<bytes::Bytes>>),
}

impl Sides<'_> {
    /// Reads more from the server, and hands on meanwhile what the client still sends. Ends with the client, with the time, and with the
    /// session.
    ///
    /// The server's time runs while it is the server's turn; how slow the client may be is the stream's affair.
    pub(super) async fn more(&mut self, within: Duration) -> std::result::Result<io::Result<usize>, Failed> {
        loop {
            let came = self.upload.has_come();
            let event = self.event(within, came).await;
            match event {
                Event::Server(Turn::Read(read)) => return Ok(read),
                Event::Server(Turn::Wrote(Ok(bytes))) => self.upload.taken(bytes),
                // The answer that says why may be there already.
                Event::Server(Turn::Wrote(Err(_))) => self.upload.refuse(),
                Event::Late if self.upload.pending().is_empty() => {
                    return Err(Failed::new(ErrorType::ReadTimedout, false, "nothing came in time".to_owned()));
                }
                Event::Late => return Err(Failed::new(ErrorType::WriteTimedout, false, "the request was not taken".to_owned())),
                Event::Ended(deny) => return Err(Failed::last(ended(self.ctx, deny))),
                Event::Client(Err(error)) => return Err(Failed::last(error.into_down())),
                Event::Client(Ok(_)) if came => {
                    let surplus = Error::explain(ErrorType::ConnectionClosed, "the client sent more than its request");
                    return Err(Failed::last(surplus.into_down()));
                }
                Event::Client(Ok(piece)) => {
                    let end = self.judge(piece.as_ref().map(bytes::Bytes::len)).map_err(Failed::last)?;
                    self.upload.put(piece, end);
                }
            }
        }
    }

    /// Judges a piece of the request's body; says whether it is the last.
    pub(super) fn judge(&mut self, piece: Option<usize>) -> Result<bool> {
        let end = piece.is_none() || self.session.as_downstream_mut().is_body_done();
        self.gateway.body_comes(self.ctx, self.session.is_http2(), piece.unwrap_or(0), end)?;
        Ok(end)
    }

    async fn event(&mut self, within: Duration, came: bool) -> Event {
        let Self { session, ctx, upload, connection, .. } = self;
        let limit = if upload.waits_for_client() { LONGEST } else { within };
        let takes_more = came || upload.pending().is_empty();
        let ended = over(ctx.seat.as_ref());
        let server = timeout(limit, connection.turn(upload.pending()));
        let client = session.as_downstream_mut().read_body_or_idle(came);
        let of_server = |turn: std::result::Result<Turn, _>| turn.map_or(Event::Late, Event::Server);
        // Each side waits for the other in turn: a server that never pauses must not keep the rest of the request back.
        if came {
            tokio::select! {
                biased;
                deny = ended => Event::Ended(deny),
                turn = server => of_server(turn),
                piece = client => Event::Client(piece),
            }
        } else {
            tokio::select! {
                biased;
                deny = ended => Event::Ended(deny),
                piece = client, if takes_more => Event::Client(piece),
                turn = server => of_server(turn),
            }
        }
    }
}

/// Waits until the exchange may not go on; for ever where nobody watches over it.
pub(super) async fn over(seat: Option<&Seat>) -> Deny {
    match seat {
        Some(seat) => seat.ended().await,
        None => std::future::pending().await,
    }
}

/// Writes to the client, unless the exchange may not go on: a client that takes nothing keeps nothing open.
pub(super) async fn unless_over(ctx: &mut Context, write: impl Future<Output = Result<()>>) -> Result<()> {
    let outcome = tokio::select! {
        biased;
        deny = over(ctx.seat.as_ref()) => Err(deny),
        written = write => Ok(written),
    };
    match outcome {
        Ok(written) => written.map_err(|error| error.into_down()),
        Err(deny) => Err(ended(ctx, deny)),
    }
}
