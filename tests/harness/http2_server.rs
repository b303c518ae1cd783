//! A server that speaks HTTP/2, as gRPC does: it answers by path and remembers every request.

use std::{
    future::poll_fn,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use h2::{RecvStream, SendStream, server::SendResponse};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response};

use super::wait;

/// One request as it arrived.
#[derive(Clone, Debug)]
pub struct Call {
    pub connection: usize,
    pub method: String,
    pub scheme: String,
    pub authority: String,
    pub target: String,
    pub fields: HeaderMap,
}

/// What becomes of a server's calls.
#[derive(Debug, Default)]
pub struct Seen {
    pub calls: Mutex<Vec<Call>>,
    /// Paths, and what the stream was reset with.
    pub resets: Mutex<Vec<(String, u32)>>,
    /// Octets of bodies that have come.
    pub came: AtomicUsize,
    connections: AtomicUsize,
    /// How many streams are refused before one is served.
    pub refuse: AtomicUsize,
}

/// The server. It ends with the test, or is stopped.
pub struct Http2Server {
    pub addr: SocketAddr,
    pub seen: Arc<Seen>,
    runtime: Option<tokio::runtime::Runtime>,
}

impl Http2Server {
    pub fn start() -> Self {
        Self::start_with(1000, None)
    }

    /// Takes so many streams at once, over TLS where that is configured.
    pub fn start_with(streams: u32, tls: Option<Arc<rustls::ServerConfig>>) -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let addr = listener.local_addr().unwrap();
        let seen: Arc<Seen> = Arc::default();
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        runtime.spawn(accept(listener, streams, tls, Arc::clone(&seen)));
        Self { addr, seen, runtime: Some(runtime) }
    }

    /// Takes what has come so far.
    pub fn take(&self) -> Vec<Call> {
        std::mem::take(&mut self.seen.calls.lock().unwrap())
    }

    /// Returns what streams were reset with so far.
    pub fn resets(&self) -> Vec<(String, u32)> {
        self.seen.resets.lock().unwrap().clone()
    }

    pub fn connections(&self) -> usize {
        self.seen.connections.load(Ordering::SeqCst)
    }

    /// Closes every connection and the listener.
    pub fn stop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_timeout(Duration::from_secs(1));
        }
    }
}

impl Drop for Http2Server {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

async fn accept(
    listener: std::net::TcpListener,
    streams: u32,
    tls: Option<Arc<rustls::ServerConfig>>,
    seen: Arc<Seen>,
) {
    let listener = tokio::net::TcpListener::from_std(listener).unwrap();
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        stream.set_nodelay(true).unwrap();
        let number = seen.connections.fetch_add(1, Ordering::SeqCst);
        let (seen, tls) = (Arc::clone(&seen), tls.clone());
        tokio::spawn(async move {
            match tls {
                None => drop(serve(stream, number, streams, seen).await),
                Some(tls) => {
                    let Ok(stream) = tokio_rustls::TlsAcceptor::from(tls).accept(stream).await else {
                        return;
                    };
                    drop(serve(stream, number, streams, seen).await);
                }
            }
        });
    }
}

async fn serve<S>(stream: S, number: usize, streams: u32, seen: Arc<Seen>) -> Result<(), h2::Error>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let mut builder = h2::server::Builder::new();
    let mut connection = builder.max_concurrent_streams(streams).handshake::<_, Bytes>(stream).await?;
    while let Some(asked) = connection.accept().await {
        let (request, mut respond) = asked?;
        if request.uri().path() == "/goaway" {
            connection.graceful_shutdown();
        }
        let refused =
            seen.refuse.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok();
        let uri = request.uri();
        let call = Call {
            connection: number,
            method: request.method().to_string(),
            scheme: uri.scheme_str().unwrap_or("").to_owned(),
            authority: uri.authority().map(ToString::to_string).unwrap_or_default(),
            target: uri.path_and_query().unwrap().as_str().to_owned(),
            fields: request.headers().clone(),
        };
        seen.calls.lock().unwrap().push(call);
        if refused {
            respond.send_reset(h2::Reason::REFUSED_STREAM);
            continue;
        }
        let seen = Arc::clone(&seen);
        tokio::spawn(async move {
            let path = request.uri().path().to_owned();
            if let Some(reason) = answer(request, respond, &seen).await {
                seen.resets.lock().unwrap().push((path, reason));
            }
        });
    }
    Ok(())
}

fn grpc() -> Response<()> {
    Response::builder().header("content-type", "application/grpc").header("x-init", "1").body(()).unwrap()
}

fn map(fields: &[(&str, &str)]) -> HeaderMap {
    fields
        .iter()
        .map(|(name, value)| (HeaderName::try_from(*name).unwrap(), HeaderValue::try_from(*value).unwrap()))
        .collect()
}

/// Answers a request; returns what its stream was reset with, if it was.
async fn answer(request: Request<RecvStream>, mut respond: SendResponse<Bytes>, seen: &Seen) -> Option<u32> {
    let path = request.uri().path().to_owned();
    let query = percent_encoding::percent_decode_str(request.uri().query().unwrap_or(""))
        .decode_utf8()
        .unwrap()
        .into_owned();
    let mut body = request.into_body();
    match path.as_str() {
        // Everything that was asked, and trailers.
        "/echo.Echo/Unary" => {
            let whole = all(&mut body, seen).await?;
            let mut out = respond.send_response(grpc(), false).ok()?;
            send(&mut out, whole).await;
            let _ = out.send_trailers(map(&[("grpc-status", "0"), ("x-trail", "2")]));
            None
        }
        // Each piece as it comes, and a head at once, or with the first piece.
        "/echo.Echo/Bidi" | "/echo.Echo/Lazy" => {
            let mut out =
                if path.ends_with("Bidi") { Some(respond.send_response(grpc(), false).ok()?) } else { None };
            loop {
                let piece = tokio::select! {
                    piece = body.data() => piece,
                    reason = reset(&mut out, &mut respond) => return reason,
                };
                match piece {
                    Some(Ok(piece)) => {
                        let _ = body.flow_control().release_capacity(piece.len());
                        if out.is_none() {
                            out = Some(respond.send_response(grpc(), false).ok()?);
                        }
                        send(out.as_mut().unwrap(), piece).await;
                    }
                    Some(Err(error)) => return error.reason().map(u32::from),
                    None => break,
                }
            }
            let mut out = match out {
                Some(out) => out,
                None => respond.send_response(grpc(), false).ok()?,
            };
            let _ = out.send_trailers(map(&[("grpc-status", "0")]));
            None
        }
        // A head, and nothing more.
        "/echo.Echo/Hold" => {
            let mut out = Some(respond.send_response(grpc(), false).ok()?);
            reset(&mut out, &mut respond).await
        }
        // Nothing at all.
        "/echo.Echo/Deaf" | "/deaf" => reset(&mut None, &mut respond).await,
        // Trailers only.
        "/echo.Echo/Fail" => {
            let mut head = grpc();
            head.headers_mut().extend(map(&[("grpc-status", "8"), ("grpc-message", "no%20more")]));
            respond.send_response(head, true).ok()?;
            None
        }
        // The trailers that the query says: a field, and how long or how many.
        "/echo.Echo/Trailers" => {
            let mut out = respond.send_response(grpc(), false).ok()?;
            send(&mut out, Bytes::from_static(b"x")).await;
            let (kind, amount) = query.split_once('=').unwrap_or(("", "0"));
            let amount: usize = amount.parse().unwrap();
            let mut trailers = match kind {
                "many" => (0..amount)
                    .map(|n| (HeaderName::try_from(format!("x-{n}")).unwrap(), HeaderValue::from_static("1")))
                    .collect(),
                "long" => map(&[("x", &"a".repeat(amount))]),
                _ => map(&[
                    ("set-cookie", "a=b"),
                    ("content-length", "1"),
                    ("octroi-session-grant", "user=\"x\""),
                    ("server", "app"),
                    ("cache-control", "public"),
                    ("x-tenant", "app"),
                ]),
            };
            trailers.insert("grpc-status", HeaderValue::from_static("0"));
            let _ = out.send_trailers(trailers);
            None
        }
        // As much as the query says, as fast as it is taken.
        "/flood" => {
            let mut out = respond.send_response(Response::new(()), false).ok()?;
            let mut left: usize = query.parse().unwrap();
            while left > 0 {
                let piece = left.min(16_384);
                if !send(&mut out, Bytes::from(vec![b'x'; piece])).await {
                    return Some(u32::MAX);
                }
                seen.came.fetch_add(piece, Ordering::SeqCst);
                left -= piece;
            }
            let _ = out.send_data(Bytes::new(), true);
            None
        }
        // Breaks off within its answer.
        "/torn" => {
            let mut out = respond.send_response(Response::new(()), false).ok()?;
            send(&mut out, Bytes::from_static(b"half")).await;
            wait::slow_peer_async(Duration::from_millis(50)).await;
            out.send_reset(h2::Reason::INTERNAL_ERROR);
            None
        }
        "/torn/early" => {
            respond.send_reset(h2::Reason::INTERNAL_ERROR);
            None
        }
        // Answers before the body has come, and takes none of it.
        "/early" => {
            let mut out =
                respond.send_response(Response::builder().status(413).body(()).unwrap(), false).ok()?;
            let _ = out.send_data(Bytes::from_static(b"too much"), true);
            None
        }
        // Announces more than it says.
        "/liar" => {
            let mut out = respond
                .send_response(Response::builder().header("content-length", "10").body(()).unwrap(), false)
                .ok()?;
            let _ = out.send_data(Bytes::from_static(b"abc"), true);
            None
        }
        // Interim answers before the answer, as many as the query says.
        "/interim" => {
            for _ in 0..query.parse().unwrap() {
                let early = Response::builder()
                    .status(103)
                    .header("link", "</a.css>")
                    .header("set-cookie", "a=b")
                    .body(())
                    .unwrap();
                respond.send_informational(early).ok()?;
            }
            let mut out = respond.send_response(Response::new(()), false).ok()?;
            let _ = out.send_data(Bytes::from_static(b"late"), true);
            None
        }
        "/none" => {
            respond.send_response(Response::builder().status(204).body(()).unwrap(), true).ok()?;
            None
        }
        // A usual answer, with the fields that the query says.
        _ => {
            let whole = all(&mut body, seen).await?;
            let mut head = Response::builder().header("content-type", "text/plain").header("server", "app");
            if let Some((name, value)) = query.strip_prefix("h-").and_then(|field| field.split_once('=')) {
                head = head.header(name, value);
            }
            let said = format!("ok {}", whole.len());
            head = head.header("content-length", said.len());
            let mut out = respond.send_response(head.body(()).unwrap(), false).ok()?;
            let _ = out.send_data(Bytes::from(said), true);
            None
        }
    }
}

async fn all(body: &mut RecvStream, seen: &Seen) -> Option<Bytes> {
    let mut whole = Vec::new();
    while let Some(piece) = body.data().await {
        let piece = piece.ok()?;
        let _ = body.flow_control().release_capacity(piece.len());
        seen.came.fetch_add(piece.len(), Ordering::SeqCst);
        whole.extend_from_slice(&piece);
    }
    Some(Bytes::from(whole))
}

/// Sends as the other side takes it; says whether it did.
pub async fn send(out: &mut SendStream<Bytes>, mut piece: Bytes) -> bool {
    while !piece.is_empty() {
        out.reserve_capacity(piece.len());
        let room = match out.capacity() {
            0 => match poll_fn(|cx| out.poll_capacity(cx)).await {
                Some(Ok(room)) => room,
                Some(Err(_)) | None => return false,
            },
            room => room,
        };
        let room = room.min(piece.len());
        if out.send_data(piece.split_to(room), false).is_err() {
            return false;
        }
    }
    true
}

async fn reset(out: &mut Option<SendStream<Bytes>>, respond: &mut SendResponse<Bytes>) -> Option<u32> {
    let reason = poll_fn(|cx| match out {
        Some(out) => out.poll_reset(cx),
        None => respond.poll_reset(cx),
    });
    Some(reason.await.map_or(u32::MAX, u32::from))
}
