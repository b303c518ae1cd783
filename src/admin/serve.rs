//! The accept loops of the admin listeners: few connections, each with one request.

use std::{future::Future, io, net::SocketAddr, sync::Arc, time::Duration};

use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream, UnixListener, UnixStream},
    sync::watch,
    task::JoinSet,
    time::timeout,
};

use super::{Api, Caller, ControlSocket, Probes};

/// What a listener does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Gate {
    /// It takes connections.
    #[default]
    Open,
    /// It takes none for now: they wait in the kernel's queue, for us or for whoever else has the socket. Those that are open go on.
    Paused,
    /// It has ended.
    Closed,
}

/// How many connections each listener holds at once; more are closed at once.
const CONNECTIONS: usize = 64;

/// How long open connections may go on after the shutdown.
const LAST_ANSWERS: Duration = Duration::from_secs(2);

/// How long a TLS handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(5);

/// How long accepting rests after an error: file descriptors come back only as connections end.
const PAUSE: Duration = Duration::from_millis(100);

/// Serves metrics and health until the shutdown.
pub async fn serve_probes(listener: TcpListener, probes: Arc<Probes>, shutdown: watch::Receiver<Gate>) {
    let serve = move |stream: TcpStream, _peer: SocketAddr| {
        let probes = Arc::clone(&probes);
        async move { probes.serve(stream).await }
    };
    accept(listener, shutdown, serve).await;
}

/// Serves the admin API in clear text until the shutdown; for loopback.
pub async fn serve_api(listener: TcpListener, api: Arc<Api>, shutdown: watch::Receiver<Gate>) {
    serve_api_over(listener, |stream| async { Ok(stream) }, api, shutdown).await;
}

/// Serves the admin API until the shutdown, over what `wrap` makes of each connection: the TLS handshake, which is bounded here.
pub async fn serve_api_over<W, F, S>(listener: TcpListener, wrap: W, api: Arc<Api>, shutdown: watch::Receiver<Gate>)
where
    W: Fn(TcpStream) -> F + Send + Sync + 'static,
    F: Future<Output = io::Result<S>> + Send + 'static,
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let serve = move |stream: TcpStream, peer: SocketAddr| {
        let (api, wrapped) = (Arc::clone(&api), wrap(stream));
        async move {
            // A handshake that fails is nobody's call.
            if let Ok(Ok(stream)) = timeout(HANDSHAKE, wrapped).await {
                api.serve(stream, Caller::Remote(peer)).await;
            }
        }
    };
    accept(listener, shutdown, serve).await;
}

/// Serves the admin API over the control socket until the shutdown; the socket is gone then.
pub async fn serve_control(socket: ControlSocket, api: Arc<Api>, shutdown: watch::Receiver<Gate>) -> io::Result<()> {
    let listener = socket.listener()?;
    let serve = move |stream: UnixStream, uid: u32| {
        let api = Arc::clone(&api);
        async move { api.serve(stream, Caller::Local { uid }).await }
    };
    accept(listener, shutdown, serve).await;
    drop(socket);
    Ok(())
}

/// A listener of any kind.
trait Accept: Send {
    type Stream: Send + 'static;
    type Peer: Send;
    fn next(&self) -> impl Future<Output = io::Result<(Self::Stream, Self::Peer)>> + Send;
}

impl Accept for TcpListener {
    type Stream = TcpStream;
    type Peer = SocketAddr;

    async fn next(&self) -> io::Result<(TcpStream, SocketAddr)> {
        self.accept().await
    }
}

impl Accept for UnixListener {
    type Stream = UnixStream;
    type Peer = u32;

    /// The peer is the user that the kernel saw connecting (SO_PEERCRED).
    async fn next(&self) -> io::Result<(UnixStream, u32)> {
        let (stream, _) = self.accept().await?;
        let uid = stream.peer_cred()?.uid();
        Ok((stream, uid))
    }
}

async fn accept<L, H, F>(listener: L, mut shutdown: watch::Receiver<Gate>, serve: H)
where
    L: Accept,
    H: Fn(L::Stream, L::Peer) -> F,
    F: Future<Output = ()> + Send + 'static,
{
    let mut open = JoinSet::new();
    loop {
        let gate = *shutdown.borrow_and_update();
        tokio::select! {
            biased;
            // Its sender gone is a shutdown too.
            changed = shutdown.changed() => match changed {
                Ok(()) if *shutdown.borrow() != Gate::Closed => {}
                Ok(()) | Err(_) => break,
            },
            Some(_) = open.join_next() => {}
            accepted = listener.next(), if gate == Gate::Open => match accepted {
                Ok((stream, peer)) if open.len() < CONNECTIONS => {
                    open.spawn(serve(stream, peer));
                }
                Ok(_) => {}
                Err(error) => {
                    tracing::debug!(%error, "an admin listener cannot accept");
                    tokio::time::sleep(PAUSE).await;
                }
            },
        }
    }
    drop(listener);
    let last = async { while open.join_next().await.is_some() {} };
    // Those that take longer are cut off with the set.
    let _ = timeout(LAST_ANSWERS, last).await;
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;
    use crate::admin::fixture::{ALICE, Told, bench};

    const STATUS: &str = "GET /v1/status HTTP/1.1\r\nHost: localhost\r\n\r\n";

    async fn talk<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S, request: &str) -> Told {
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).await.unwrap();
        Told::parse(&text)
    }

    #[tokio::test]
    async fn the_control_socket_knows_its_own_user() {
        let dir = tempfile::tempdir().unwrap();
        let socket = ControlSocket::bind(dir.path()).unwrap();
        let path = socket.path().to_owned();
        let own = rustix::process::geteuid().as_raw();
        let bench = bench(own);
        let (down, shutdown) = watch::channel(Gate::Open);
        let serving = tokio::spawn(serve_control(socket, Arc::clone(&bench.api), shutdown));

        let told = talk(UnixStream::connect(&path).await.unwrap(), STATUS).await;

        assert_eq!(told.status, 200);
        assert_eq!(bench.calls.lock().unwrap()[0].0, Some(format!("local:{own}")));
        down.send(Gate::Closed).unwrap();
        serving.await.unwrap().unwrap();
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn the_tcp_listener_wants_a_token() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let bench = bench(0);
        let (down, shutdown) = watch::channel(Gate::Open);
        let serving = tokio::spawn(serve_api(listener, Arc::clone(&bench.api), shutdown));

        let nobody = talk(TcpStream::connect(address).await.unwrap(), STATUS).await;
        let request = STATUS.replace("Host", &format!("Authorization: bearer {ALICE}\r\nHost"));
        let alice = talk(TcpStream::connect(address).await.unwrap(), &request).await;

        assert_eq!((nobody.status, alice.status), (401, 200));
        drop(down);
        serving.await.unwrap();
        assert!(TcpStream::connect(address).await.is_err());
    }

    #[tokio::test]
    async fn a_pause_keeps_connections_waiting_and_loses_none() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (gate, shutdown) = watch::channel(Gate::Open);
        let mut before = TcpStream::connect(address).await.unwrap();
        tokio::spawn(serve_api(listener, bench(0).api, shutdown));
        before.write_all(b"GET /v1/status HTTP/1.1\r\n").await.unwrap();
        tokio::time::sleep(Duration::from_millis(50)).await;

        gate.send(Gate::Paused).unwrap();
        tokio::time::sleep(Duration::from_millis(50)).await;
        let during = tokio::spawn(async move { talk(TcpStream::connect(address).await.unwrap(), STATUS).await.status });
        let open = talk(before, "Host: localhost\r\n\r\n").await.status;
        tokio::time::sleep(Duration::from_millis(50)).await;
        let waits = !during.is_finished();
        gate.send(Gate::Open).unwrap();

        assert_eq!((open, waits, during.await.unwrap()), (401, true, 401));
    }

    #[tokio::test]
    async fn an_answer_survives_a_body_that_nobody_read() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (_down, shutdown) = watch::channel(Gate::Open);
        tokio::spawn(serve_api(listener, bench(0).api, shutdown));
        let body = "x".repeat(60_000);
        let request = format!("POST /v1/reload HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n{body}", body.len());

        let told = talk(TcpStream::connect(address).await.unwrap(), &request).await;

        assert_eq!(told.status, 401);
    }

    #[tokio::test]
    async fn connections_beyond_the_bound_are_closed() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (_down, shutdown) = watch::channel(Gate::Open);
        tokio::spawn(serve_api(listener, bench(0).api, shutdown));

        let mut silent = Vec::new();
        for _ in 0..CONNECTIONS {
            silent.push(TcpStream::connect(address).await.unwrap());
        }
        let mut one_more = TcpStream::connect(address).await.unwrap();

        assert_eq!(one_more.read(&mut [0]).await.unwrap(), 0);
        drop(silent);
    }
}
