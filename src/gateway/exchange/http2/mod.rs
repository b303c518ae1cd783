//! HTTP/2 with the servers of an upstream, which gRPC needs.
//!
//! Frames, HPACK and flow control are the `h2` crate's. What is ours: which connection an exchange goes over, how long anybody waits,
//! what is said again to another server, and how a call of gRPC is ended. The rules are those of HTTP/1.1.

mod failure;
mod line;
mod lines;
mod sides;
mod stream;

use std::sync::Arc;

use http::{HeaderMap, HeaderValue, Request, Uri, header};
use pingora::{Error, ErrorType, Result, proxy::Session};
use tokio::time::timeout;

pub(in crate::gateway) use self::lines::Lines;
use self::{
    lines::{Asker, NoPlace},
    sides::Sides,
    stream::{Came, Stream},
};
use super::{client::Client, connect::connect, dispatch::Server, failed::Failed, interim::Interim, room, upload::Upload};
use crate::{
    gateway::{
        forward, guard,
        proxy::{Context, Gateway},
    },
    model::{Deny, Reason},
};

impl Gateway {
    /// Makes the request as it leaves.
    pub(super) fn request_http2(&self, session: &Session, ctx: &mut Context, mut headers: HeaderMap) -> Result<Request<()>> {
        let request = session.req_header();
        // Who cannot be handed trailers does not ask for them.
        if session.is_http2() && takes_trailers(&request.headers) {
            headers.insert(header::TE, HeaderValue::from_static("trailers"));
        }
        let made = guard::done(|| {
            forward::dress(&self.shared, &mut headers, ctx)?;
            let permit = ctx.permit.as_ref().filter(|permit| !permit.websocket());
            let Some(permit) = permit else { return Error::e_explain(ErrorType::InternalError, "no permit for HTTP/2") };
            let scheme = if permit.tenant().upstream.tls.is_some() { "https" } else { "http" };
            // What HTTP/1.1 says as Host, and once only (RFC 9113, section 8.3.1).
            let host = headers.remove(header::HOST);
            let authority = host.as_ref().map_or(&[][..], HeaderValue::as_bytes);
            let target = permit.path_and_query();
            let uri = Uri::builder().scheme(scheme).authority(authority).path_and_query(target).build().ok();
            // What is forwarded is what was judged, to the octet.
            let same = |uri: &Uri| uri.path_and_query().is_some_and(|said| said.as_str() == target);
            let Some(uri) = uri.filter(same) else {
                return Ok(Err(Deny::new(Reason::PathEncoding, "the target has a character that HTTP/2 cannot carry")));
            };
            let mut made = Request::new(());
            *made.method_mut() = request.method.clone();
            *made.uri_mut() = uri;
            *made.version_mut() = http::Version::HTTP_2;
            *made.headers_mut() = headers;
            Ok(Ok(made))
        });
        let (deny, status) = match made {
            Ok(Ok(Ok(request))) => return Ok(request),
            Ok(Ok(Err(deny))) => (deny, 400),
            Ok(Err(error)) => return Err(error),
            Err(deny) => (deny, 500),
        };
        ctx.deny = Some(deny);
        Error::e_explain(ErrorType::HTTPStatus(status), "no request for HTTP/2")
    }

    /// Asks one server.
    pub(super) async fn over_http2(
        &self,
        (session, ctx): (&mut Session, &mut Context),
        server: &Server<'_>,
        request: &Request<()>,
        upload: &mut Upload,
    ) -> std::result::Result<(), Failed> {
        let Some(lines) = server.pool.lines(server.turn.index) else {
            return Err(Failed::new(ErrorType::InternalError, false, "no server".to_owned()));
        };
        let times = server.upstream.timeouts;
        // Nothing is asked yet, so anything may go to the next server.
        let failed = |kind, why: String| Failed::unreachable(kind, true, why);
        let snapshot = ctx.snapshot.clone();
        let late = || failed(ErrorType::ConnectTimedout, "no HTTP/2 in time".to_owned());
        let open = || async {
            let open = async {
                let Some(descriptor) = self.descriptor(snapshot.as_deref()) else {
                    return Err(room::no_descriptor());
                };
                let connection = connect(server.address, server.pool.tls(), times.connect, None).await?.counted(descriptor);
                if !connection.chose_http2() {
                    let why = "the server does not choose `h2` (ALPN): it does not speak HTTP/2".to_owned();
                    return Err(Failed::unreachable(ErrorType::TLSHandshakeFailure, false, why));
                }
                connection.keep_alive().map_err(|error| Failed::new(ErrorType::ConnectError, true, error.to_string()))?;
                let opened = line::open(connection.into_stream(), Arc::downgrade(lines)).await;
                opened.map_err(|error| failed(failure::kind(&error), format!("no HTTP/2: {error}")))
            };
            let opened = timeout(times.connect, open).await.unwrap_or_else(|_| Err(late()));
            self.noted(server.pool, server.turn, opened)
        };
        let permit = ctx.permit.clone().ok_or_else(|| Failed::new(ErrorType::InternalError, false, "no permit".to_owned()))?;
        let asker = Asker { shared: &self.shared, permit: &permit, apart: server.apart.as_ref() };
        let taken = lines.take(asker, times.connect, open).await.map_err(|none| match none {
            NoPlace::Closed(failed) => failed,
            NoPlace::Late => late(),
            NoPlace::Busy(short) => {
                let what = format!("the places on the connections to {}", server.pool.server_name(server.turn.index));
                // Nothing was sent, so another may have one.
                Failed { repeatable: !server.pool.is_alone(), ..room::refused(short, &what) }
            }
        })?;
        ctx.holds(taken.number);
        // Only a connection that had died unseen, and a request that may be said twice (RFC 9110, section 9.2.2).
        let twice = taken.reused && request.method().is_idempotent();
        let ends = upload.has_come() && upload.pending().is_empty();
        let stream = Stream::begin(taken.sender, request.clone(), ends, taken.place);
        // The connection has ended since it was chosen: nothing was sent.
        let stream = stream.map_err(|error| Failed::new(failure::kind(&error), error.is_io() || error.is_go_away(), error.to_string()))?;
        let silence = ctx.permit.as_ref().map(|permit| permit.limits().websocket_idle).unwrap_or_default();
        let client = Client { gateway: self, session, ctx, upload };
        let mut sides = Sides { client, stream, times, silence, answering: false };
        if !sides.client.upload.has_come() || sides.client.ctx.call {
            // An upload may go on for as long as an answer, and a call may be silent.
            self.sit_down(sides.client.ctx).map_err(Failed::last)?;
        }
        let mut interim = Interim::default();
        loop {
            let came = sides.next().await.map_err(|failed| {
                let unheard = twice && *failed.error.etype() == ErrorType::ConnectionClosed;
                // One that has said anything has not died unseen, and a client that was told to go on is not asked again.
                Failed { repeatable: interim.is_none() && (failed.repeatable || unheard), ..failed }
            })?;
            // One that was aside may have been asked over a connection from before.
            server.pool.reached(server.turn.index);
            match came {
                Came::Interim(response) => {
                    interim.take(&response, sides.client.upload.has_come(), self.shared.clock.tick(), sides.times.first_byte)?;
                    Box::pin(sides.client.interim(response)).await.map_err(Failed::last)?;
                }
                Came::Head(response, over) => return sides.answer(response, over).await.map_err(Failed::last),
                Came::Data(..) | Came::End(_) => break,
            }
        }
        Err(Failed::new(ErrorType::InvalidHTTPHeader, false, "no answer".to_owned()))
    }
}

/// Says whether the client takes trailers (RFC 9110, section 10.1.4).
fn takes_trailers(headers: &HeaderMap) -> bool {
    let mut words = headers.get_all(header::TE).iter().flat_map(|line| line.as_bytes().split(|&byte| byte == b','));
    words.any(|word| word.trim_ascii().eq_ignore_ascii_case(b"trailers"))
}
