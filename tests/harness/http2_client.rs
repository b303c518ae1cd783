//! A client that speaks HTTP/2, call by call.

use std::time::Duration;

use bytes::Bytes;
use h2::{
    RecvStream, SendStream,
    client::{ResponseFuture, SendRequest},
};
use http::{HeaderMap, Request, StatusCode};

use super::{Octroi, client::tls_config};

/// Runs work that waits, for half a minute at the most.
pub fn block_on<T>(future: impl Future<Output = T>) -> T {
    block_on_for(Duration::from_secs(30), future)
}

/// Runs work that waits, for so long at the most.
pub fn block_on_for<T>(within: Duration, future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async { tokio::time::timeout(within, future).await.expect("in time") })
}

/// One connection.
pub struct Http2Client {
    sender: SendRequest<Bytes>,
    host: String,
}

/// A call under way.
pub struct Call {
    pub answer: ResponseFuture,
    pub out: SendStream<Bytes>,
}

/// What a call got.
#[derive(Debug)]
pub struct Got {
    pub status: StatusCode,
    pub head: HeaderMap,
    pub body: Bytes,
    pub trailers: Option<HeaderMap>,
    /// What the stream was reset with.
    pub reset: Option<u32>,
}

impl Got {
    /// Returns a field of the trailers.
    pub fn trailer(&self, name: &str) -> Option<&str> {
        self.trailers.as_ref()?.get(name)?.to_str().ok()
    }

    pub fn field(&self, name: &str) -> Option<&str> {
        self.head.get(name)?.to_str().ok()
    }
}

impl Http2Client {
    pub async fn connect(octroi: &Octroi, host: &str) -> Self {
        Self::connect_with(octroi, host, 1 << 20).await
    }

    /// Takes so much of an answer before it says that it has.
    pub async fn connect_with(octroi: &Octroi, host: &str, window: u32) -> Self {
        let tcp = tokio::net::TcpStream::connect(octroi.addr("public")).await.unwrap();
        tcp.set_nodelay(true).unwrap();
        let config = tls_config(&octroi.path().join("certs/ca.pem"), &[b"h2"]);
        let tls = tokio_rustls::TlsConnector::from(config)
            .connect(host.to_owned().try_into().unwrap(), tcp)
            .await
            .unwrap();
        let mut builder = h2::client::Builder::new();
        let (sender, connection) = builder.initial_window_size(window).handshake(tls).await.unwrap();
        tokio::spawn(connection);
        Self { sender, host: host.to_owned() }
    }

    /// Begins a call of gRPC.
    pub async fn call(&mut self, path: &str, fields: &[(&str, &str)]) -> Call {
        let grpc = [("content-type", "application/grpc"), ("te", "trailers")];
        self.ask("POST", path, &[&grpc, fields].concat(), false).await
    }

    pub async fn ask(&mut self, method: &str, path: &str, fields: &[(&str, &str)], ends: bool) -> Call {
        let mut request = Request::builder().method(method).uri(format!("https://{}{path}", self.host));
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        std::future::poll_fn(|cx| self.sender.poll_ready(cx)).await.unwrap();
        let (answer, out) = self.sender.send_request(request.body(()).unwrap(), ends).unwrap();
        Call { answer, out }
    }

    /// Makes a whole call with one message.
    pub async fn unary(&mut self, path: &str, fields: &[(&str, &str)], message: &[u8]) -> Got {
        let mut call = self.call(path, fields).await;
        call.say(message, true);
        call.end().await
    }
}

impl Call {
    pub fn say(&mut self, message: &[u8], ends: bool) {
        // Windows are the server's affair where a test sends little.
        let _ = self.out.send_data(Bytes::copy_from_slice(message), ends);
    }

    /// Waits for the head.
    pub async fn head(self) -> Answering {
        let (parts, body) = self.answer.await.unwrap().into_parts();
        Answering { status: parts.status, head: parts.headers, out: self.out, body }
    }

    /// Waits for all of it.
    pub async fn end(self) -> Got {
        self.head().await.end().await
    }
}

/// A call whose answer has begun.
pub struct Answering {
    pub status: StatusCode,
    pub head: HeaderMap,
    pub out: SendStream<Bytes>,
    pub body: RecvStream,
}

impl Answering {
    /// Waits for a piece of the body.
    pub async fn piece(&mut self) -> Option<Result<Bytes, h2::Error>> {
        let piece = self.body.data().await;
        if let Some(Ok(piece)) = &piece {
            let _ = self.body.flow_control().release_capacity(piece.len());
        }
        piece
    }

    pub async fn end(mut self) -> Got {
        let (mut whole, mut reset) = (Vec::new(), None);
        while let Some(piece) = self.piece().await {
            match piece {
                Ok(piece) => whole.extend_from_slice(&piece),
                Err(error) => {
                    reset = Some(error.reason().map_or(u32::MAX, u32::from));
                    break;
                }
            }
        }
        let trailers = if reset.is_some() { None } else { self.body.trailers().await.unwrap_or(None) };
        Got { status: self.status, head: self.head, body: Bytes::from(whole), trailers, reset }
    }
}
