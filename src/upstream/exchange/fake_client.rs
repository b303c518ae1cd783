//! A client that follows a script, for the tests of the exchange loop.

use std::{collections::VecDeque, future::pending, sync::Arc, time::Duration};

use bytes::Bytes;
use http::HeaderName;
use tokio::time::{Instant, sleep, sleep_until};

use super::fake_server::{Log, note, text};
use crate::{
    model::{Connection, Deny},
    pipeline::Permit,
    upstream::{
        LiveExchanges,
        connection::Connection as ServerConnection,
        downstream::{Downstream, Outgoing},
        failure::Ended,
        head::Head,
        live_exchanges::{Registration, cancelled},
        request_body::{BodyState, RequestBody},
    },
};

/// How long the client may take for the next piece of its body.
pub(super) const PATIENCE: Duration = Duration::from_secs(12);

/// What a client does next.
pub(super) enum Piece {
    Data(&'static str),
    End,
    Fail(&'static str),
    /// Nothing comes for so long.
    Rest(Duration),
}

/// An upload of two pieces.
pub(super) fn upload() -> Option<Vec<Piece>> {
    Some(vec![Piece::Data("ab"), Piece::Data("cd"), Piece::End])
}

/// How a client takes the next part of an answer; at once where nothing is said.
pub(super) enum Taking {
    AtOnce,
    After(Duration),
    Fail(&'static str),
}

/// Where a client's side refuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum At {
    Piece,
    Interim,
    Head,
    Prepare,
}

/// A client that follows a script, and sends nothing behind its end.
pub(super) struct FakeClient {
    pub(super) permit: Permit,
    pub(super) live_exchanges: Arc<LiveExchanges>,
    pub(super) connection: Arc<Connection>,
    pub(super) registration: Option<Registration>,
    pub(super) pieces: VecDeque<Piece>,
    pub(super) rests_until: Option<Instant>,
    pub(super) takes: VecDeque<Taking>,
    pub(super) refuses: Option<(At, Deny)>,
    pub(super) log: Log,
}

impl FakeClient {
    fn judge(&self, at: At) -> Result<(), Ended<&'static str>> {
        match &self.refuses {
            Some((refused, deny)) if *refused == at => Err(Ended::Denied(deny.clone())),
            _ => Ok(()),
        }
    }
}

impl Downstream for FakeClient {
    type Error = &'static str;
    type Head = Head;

    fn permit(&self) -> Option<&Permit> {
        Some(&self.permit)
    }

    fn register(&mut self) -> Result<(), Ended<&'static str>> {
        if self.registration.is_none() {
            self.registration = Some(self.live_exchanges.register(&self.permit, &self.connection));
            note(&self.log, "registered");
        }
        Ok(())
    }

    fn registration(&self) -> Option<&Registration> {
        self.registration.as_ref()
    }

    fn begin_turn(&mut self, _: BodyState) -> Result<Duration, Ended<&'static str>> {
        Ok(PATIENCE)
    }

    fn listen(
        &mut self,
        body: BodyState,
    ) -> (impl Future<Output = Deny> + Send, impl Future<Output = Result<Option<Bytes>, &'static str>> + Send)
    {
        let Self { registration, pieces, rests_until, .. } = self;
        let piece = async move {
            if let Some(Piece::Rest(time)) = pieces.front() {
                // It is kept where it stands: the future may be dropped without loss.
                sleep_until(*rests_until.get_or_insert(Instant::now() + *time)).await;
                *rests_until = None;
                pieces.pop_front();
            }
            match pieces.pop_front() {
                None => pending().await,
                Some(Piece::Fail(why)) => Err(why),
                Some(Piece::Data(_) | Piece::End | Piece::Rest(_)) if body.has_come => Err("surplus"),
                Some(Piece::Data(text)) => Ok(Some(Bytes::from_static(text.as_bytes()))),
                Some(Piece::End | Piece::Rest(_)) => Ok(None),
            }
        };
        (cancelled(registration.as_ref()), piece)
    }

    fn take(&mut self, piece: Option<Bytes>, body: &mut RequestBody) -> Result<(), Ended<&'static str>> {
        self.judge(At::Piece)?;
        note(
            &self.log,
            piece.as_ref().map_or("client ended".to_owned(), |piece| format!("client sent {}", text(piece))),
        );
        let end = piece.is_none();
        body.put(piece, end);
        Ok(())
    }

    async fn write_interim(&mut self, head: Head) -> Result<(), Ended<&'static str>> {
        self.judge(At::Interim)?;
        note(&self.log, format!("interim {}", head.status.as_u16()));
        Ok(())
    }

    async fn on_head(&mut self, head: &Head, _: &mut RequestBody) -> Result<(), Ended<&'static str>> {
        note(&self.log, format!("judged {}", head.status.as_u16()));
        self.judge(At::Head)
    }

    fn prepare_head(&mut self, head: Head) -> Result<Head, Ended<&'static str>> {
        self.judge(At::Prepare)?;
        Ok(head)
    }

    async fn write(&mut self, part: Outgoing<Head>) -> Result<(), Ended<&'static str>> {
        let taking = self.takes.pop_front().unwrap_or(Taking::AtOnce);
        let taken = async {
            match taking {
                Taking::AtOnce => Ok(()),
                Taking::After(time) => {
                    sleep(time).await;
                    Ok(())
                }
                Taking::Fail(why) => Err(why),
            }
        };
        tokio::select! {
            biased;
            deny = cancelled(self.registration.as_ref()) => return Err(Ended::Cancelled(deny)),
            taken = taken => taken.map_err(Ended::ClientGone)?,
        }
        note(&self.log, format!("client got {}", shown(&part)));
        Ok(())
    }

    async fn drain(
        &mut self,
        _: &mut RequestBody,
        _: Option<Outgoing<Head>>,
    ) -> Result<(), Ended<&'static str>> {
        unreachable!("the loop leaves it to its caller")
    }

    async fn end_call(&mut self, _: Ended<&'static str>) -> Result<(), Ended<&'static str>> {
        unreachable!("the loop leaves it to its caller")
    }

    async fn tunnel(
        &mut self,
        _: Head,
        _: &mut ServerConnection,
        _: Duration,
    ) -> Result<(), Ended<&'static str>> {
        unreachable!("no server of these tests can be upgraded")
    }
}

pub(super) fn shown(part: &Outgoing<Head>) -> String {
    let head = part.head.as_ref().map(|head| head.status.as_u16().to_string());
    let data = part.data.as_deref().map(text);
    let trailers = part.trailers.as_ref().map(|fields| fields.keys().map(HeaderName::as_str).collect());
    let end = part.end.then(|| "end".to_owned());
    [head, data, trailers, end].into_iter().flatten().collect::<Vec<String>>().join(" ")
}
