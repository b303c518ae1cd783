//! HTTP/1.1 with the servers of an upstream: one exchange at a time over a connection.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, header};
use pingora::{Error, ErrorType, Result, proxy::Session};
use tokio::time::timeout;

use super::{
    client::Client,
    connect::connect,
    connection::Connection,
    dispatch::Server,
    failed::Failed,
    framing::Framing,
    head,
    idle::Idle,
    interim::Interim,
    room,
    sides::{After, Sides},
    unread::Bodies,
    upload::Upload,
};
use crate::{
    gateway::{
        forward, guard,
        proxy::{Context, Gateway},
    },
    pipeline::Permit,
    policy::UpstreamTimeouts,
};

impl Gateway {
    /// Writes the request's head as it leaves over HTTP/1.1.
    pub(super) fn request(
        &self,
        session: &Session,
        ctx: &mut Context,
        mut headers: HeaderMap,
        (framing, closes): (Framing, bool),
    ) -> Result<Bytes> {
        let request = session.req_header();
        if framing == Framing::Open {
            headers.insert(header::TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
        }
        if closes {
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        if ctx.permit.as_ref().is_some_and(Permit::websocket) {
            headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
            headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
        }
        let made = guard::done(|| {
            forward::dress(&self.shared, &mut headers, ctx)?;
            let target = ctx.permit.as_ref().map_or("", |permit| permit.path_and_query());
            head::request(&request.method, target, &headers)
        });
        made.unwrap_or_else(|deny| {
            ctx.deny = Some(deny);
            Error::e_explain(ErrorType::HTTPStatus(500), "panic")
        })
    }

    /// Asks one server over HTTP/1.1: over a connection that rests, if it need not be a `fresh` one.
    pub(super) async fn over_http1(
        &self,
        (session, ctx): (&mut Session, &mut Context),
        server: Server<'_>,
        (request, after): (&Bytes, After),
        (upload, fresh): (&mut Upload, bool),
    ) -> std::result::Result<(), Failed> {
        let Server { upstream, pool, turn, address, apart } = server;
        let (idle, bodies) = (pool.idle(turn.index), pool.bodies());
        let share = self.room_for_connection(ctx, upstream.timeouts.connect).await?;
        let usable = idle.filter(|_| !fresh && !turn.trial);
        let mut place = usable.and_then(|idle| idle.take(self.shared.clock.tick(), apart.as_ref(), bodies));
        let reused = place.is_some();
        let connection = match &mut place {
            Some(connection) => connection,
            none => {
                let descriptor = self.descriptor(ctx.snapshot.as_deref()).ok_or_else(room::no_descriptor)?;
                // Boxed: it is seldom, and every exchange would hold the room that a handshake takes.
                let connected = Box::pin(connect(address, pool.tls(), upstream.timeouts.connect, apart)).await;
                none.insert(self.noted(pool, turn, connected)?.counted(descriptor))
            }
        };
        connection.belongs(share);
        let rest = (idle, bodies);
        let keeps = self.attempt((session, ctx), (&upstream.timeouts, rest), (connection, reused), (request, after), upload).await?;
        if let Some((idle, connection)) = idle.zip(place.filter(|_| keeps)) {
            idle.put(connection, self.shared.clock.tick(), bodies);
        }
        Ok(())
    }

    /// Asks one server. Says whether the connection can serve another exchange.
    async fn attempt(
        &self,
        (session, ctx): (&mut Session, &mut Context),
        (times, rest): (&UpstreamTimeouts, (Option<&Idle>, &Bodies)),
        (connection, reused): (&mut Connection, bool),
        (request, after): (&Bytes, After),
        upload: &mut Upload,
    ) -> std::result::Result<bool, Failed> {
        // Only a kept connection that had died unseen, and a request that may be said twice (RFC 9110, section 9.2.2).
        let repeatable = reused && session.req_header().method.is_idempotent();
        if !repeatable {
            upload.let_go();
        }
        match timeout(times.between_bytes, connection.write_all(request)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return Err(Failed::new(ErrorType::WriteError, repeatable, error.to_string())),
            Err(_) => return Err(Failed::new(ErrorType::WriteTimedout, false, "the request was not taken".to_owned())),
        }
        let client = Client { gateway: self, session, ctx, upload };
        let mut sides = Sides { client, connection, heard: false, early: 0, after, rest };
        if !sides.client.upload.has_come() {
            // An upload may go on for as long as an answer.
            self.sit_down(sides.client.ctx).map_err(Failed::last)?;
        }
        let mut interim = Interim::default();
        loop {
            // One that has said anything has not died unseen.
            let head = sides.head(times.first_byte, repeatable && interim.is_none()).await?;
            let status = head.response.status.as_u16();
            if status == 101 && sides.client.ctx.permit.as_ref().is_some_and(Permit::websocket) {
                // Boxed, as an interim answer is: most exchanges have neither.
                return Box::pin(sides.tunnel(head.response, times.between_bytes)).await.map(|()| false).map_err(Failed::last);
            }
            if (100..200).contains(&status) {
                interim.take(&head.response, sides.client.upload.has_come(), self.shared.clock.tick(), times.first_byte)?;
                Box::pin(sides.client.interim(head.response)).await.map_err(Failed::last)?;
                continue;
            }
            return sides.answer(head, times.between_bytes).await.map_err(Failed::last);
        }
    }
}
