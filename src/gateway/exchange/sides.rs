//! An exchange under way: the client on one side, a server that speaks HTTP/1.1 on the other.

use std::{io, time::Duration};

use pingora::{Error, ErrorType, Result};
use tokio::time::timeout;

use super::{
    client::{Client, over},
    connection::{Connection, IoEvent},
    failed::Failed,
    idle::Idle,
    unread::Bodies,
};
use crate::{gateway::standing::ended, model::Deny};

/// Both sides of an exchange.
pub(super) struct Sides<'a> {
    pub(super) client: Client<'a>,
    pub(super) connection: &'a mut Connection,
    /// Whether the server was the last to be heard.
    pub(super) heard: bool,
    /// How many of the unread octets came before the whole request had been handed over.
    pub(super) early: usize,
    /// What the head of its answer, or an interim one, said about it.
    pub(super) after: After,
    /// Where the connection rests when the server has said all, and what is known of bodies there.
    pub(super) rest: (Option<&'a Idle>, &'a Bodies),
}

/// What becomes of a connection behind its exchange. It is remembered as it is seen: at the end of an exchange, nobody can tell any more
/// what came first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum After {
    /// It may serve another one.
    Kept,
    /// Its server was told to close it, and is waited for.
    Told,
    /// It is closed.
    Closed,
}

/// What happened first.
enum Event {
    Ended(Deny),
    Server(IoEvent),
    Late,
    Client(Result<Option<bytes::Bytes>>),
}

impl Sides<'_> {
    /// Reads more from the server, and hands on meanwhile what the client still sends. Ends with the client, with the time, and with the
    /// session.
    ///
    /// The server's time runs while it is the server's turn; how slow the client may be is the stream's affair.
    ///
    /// What comes before the whole request was handed over is noted: a server that answers then has not read the rest, and may read it as
    /// the next request.
    pub(super) async fn more(&mut self, within: Duration) -> std::result::Result<io::Result<usize>, Failed> {
        loop {
            let came = self.client.upload.has_come();
            let event = self.event(within, came).await;
            match event {
                Event::Server(IoEvent::Read(read)) => {
                    if !(self.client.upload.is_done() && self.connection.is_flushed()) {
                        self.early = self.connection.unread().len();
                    }
                    return Ok(read);
                }
                Event::Server(IoEvent::Wrote(Ok(bytes))) => self.client.upload.taken(bytes),
                // The answer that says why may be there already.
                Event::Server(IoEvent::Wrote(Err(_))) => self.client.upload.refuse(),
                Event::Late if self.client.upload.waits_for_client() => return Err(Failed::last(self.client.too_slow())),
                Event::Late if self.client.upload.pending().is_empty() => {
                    return Err(Failed::new(ErrorType::ReadTimedout, false, "nothing came in time".to_owned()));
                }
                Event::Late => return Err(Failed::new(ErrorType::WriteTimedout, false, "the request was not taken".to_owned())),
                Event::Ended(deny) => return Err(Failed::last(ended(self.client.ctx, deny))),
                Event::Client(Err(error)) => return Err(Failed::last(error.into_down())),
                Event::Client(Ok(_)) if came => return Err(Failed::last(surplus())),
                Event::Client(Ok(piece)) => self.client.take(piece).map_err(Failed::last)?,
            }
        }
    }

    async fn event(&mut self, within: Duration, came: bool) -> Event {
        let waiting = self.client.waits();
        let limit = if self.client.upload.waits_for_client() { self.client.patience() } else { within };
        let Self { client: Client { session, ctx, upload, .. }, connection, heard, early, after, .. } = self;
        // Before the last of the request leaves, so that it is known which was first.
        let look = upload.ends_here() && *early == 0 && *after == After::Kept;
        let takes_more = came || upload.pending().is_empty();
        let event = {
            let ended = over(ctx.seat.as_ref());
            let server = timeout(limit, connection.next_event(upload.pending(), look));
            let client = session.as_downstream_mut().read_body_or_idle(came);
            let of_server = |turn: std::result::Result<IoEvent, _>| turn.map_or(Event::Late, Event::Server);
            // Each side waits for the other in turn: a server that never pauses must not keep the rest of the request back, and a client that
            // never does must not drown the answer.
            if came || !*heard {
                tokio::select! {
                    biased;
                    deny = ended => Event::Ended(deny),
                    turn = server => of_server(turn),
                    piece = client, if takes_more => Event::Client(piece),
                }
            } else {
                tokio::select! {
                    biased;
                    deny = ended => Event::Ended(deny),
                    piece = client, if takes_more => Event::Client(piece),
                    turn = server => of_server(turn),
                }
            }
        };
        self.heard = matches!(event, Event::Server(IoEvent::Read(_)));
        self.client.waited(waiting);
        event
    }
}

/// What comes behind a request is another one, and not here.
pub(super) fn surplus() -> Box<Error> {
    Error::explain(ErrorType::ConnectionClosed, "the client sent more than its request").into_down()
}
