//! The accept loops of the admin listeners: few connections, each with one request.

use std::{
    future::Future,
    io,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream, UnixListener, UnixStream},
    sync::watch,
    task::{AbortHandle, JoinSet},
    time::timeout,
};

use super::{Api, Caller, ControlSocket, Probes, phase::Phase};

/// The state of a listener.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ListenerState {
    /// It accepts connections.
    #[default]
    Open,
    /// It accepts none for now: they wait in the kernel's queue, for this process or another that has the
    /// socket. Open connections continue.
    Paused,
    /// It has ended.
    Closed,
}

/// The most connections per listener. One more replaces the oldest that sends no request or does not read
/// its answer; if all are at work, the new one is closed.
const CONNECTIONS: usize = 64;

/// How long open connections may continue after the shutdown.
const LAST_ANSWERS: Duration = Duration::from_secs(2);

/// How long a TLS handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(5);

/// The pause after an accept error: file descriptors are freed only as connections end.
const PAUSE: Duration = Duration::from_millis(100);

/// Serves metrics and health until the shutdown.
pub async fn serve_probes(
    listener: TcpListener,
    probes: Arc<Probes>,
    shutdown: watch::Receiver<ListenerState>,
) {
    let serve = move |stream: TcpStream, _peer: SocketAddr, phase: Phase| {
        let probes = Arc::clone(&probes);
        async move { probes.serve(stream, phase).await }
    };
    accept(listener, shutdown, serve).await;
}

/// Serves the admin API in clear text until the shutdown; for loopback.
pub async fn serve_api(listener: TcpListener, api: Arc<Api>, shutdown: watch::Receiver<ListenerState>) {
    serve_api_over(listener, |stream| async { Ok(stream) }, api, shutdown).await;
}

/// Serves the admin API until the shutdown. `wrap` turns each connection into a stream, with a TLS handshake
/// whose time is bounded here.
pub async fn serve_api_over<W, F, S>(
    listener: TcpListener,
    wrap: W,
    api: Arc<Api>,
    shutdown: watch::Receiver<ListenerState>,
) where
    W: Fn(TcpStream) -> F + Send + Sync + 'static,
    F: Future<Output = io::Result<S>> + Send + 'static,
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let serve = move |stream: TcpStream, peer: SocketAddr, phase: Phase| {
        let (api, wrapped) = (Arc::clone(&api), wrap(stream));
        async move {
            // A failed handshake is not a call, so it has no access line.
            if let Ok(Ok(stream)) = timeout(HANDSHAKE, wrapped).await {
                api.serve(stream, Caller::Remote(peer), phase).await;
            }
        }
    };
    accept(listener, shutdown, serve).await;
}

/// Serves the admin API over the control socket until the shutdown, which closes the socket.
pub async fn serve_control(
    socket: ControlSocket,
    api: Arc<Api>,
    shutdown: watch::Receiver<ListenerState>,
) -> io::Result<()> {
    let socket = Arc::new(socket);
    let listener =
        ControlListener { at: Mutex::new(ControlListener::listening(&socket)?), socket: Arc::clone(&socket) };
    let serve = move |stream: UnixStream, uid: u32, phase: Phase| {
        let api = Arc::clone(&api);
        async move { api.serve(stream, Caller::Local { uid }, phase).await }
    };
    tokio::select! {
        () = accept(listener, shutdown, serve) => {}
        () = socket.watch() => {}
    }
    drop(socket);
    Ok(())
}

/// The control socket; it follows the socket when it is bound anew.
struct ControlListener {
    at: Mutex<(Arc<UnixListener>, u64)>,
    socket: Arc<ControlSocket>,
}

impl ControlListener {
    fn listening(socket: &ControlSocket) -> io::Result<(Arc<UnixListener>, u64)> {
        let (listener, number) = socket.listener()?;
        Ok((Arc::new(listener), number))
    }

    fn now(&self) -> (Arc<UnixListener>, u64) {
        let at = self.at.lock().unwrap_or_else(PoisonError::into_inner);
        (Arc::clone(&at.0), at.1)
    }
}

impl Accept for ControlListener {
    type Stream = UnixStream;
    type Peer = u32;

    async fn next(&self) -> io::Result<(UnixStream, u32)> {
        loop {
            let (listener, number) = self.now();
            tokio::select! {
                accepted = listener.next() => return accepted,
                () = self.socket.renewed(number) => {
                    let renewed = Self::listening(&self.socket)?;
                    *self.at.lock().unwrap_or_else(PoisonError::into_inner) = renewed;
                }
            }
        }
    }
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

    /// The caller is the user whom the kernel reports (SO_PEERCRED).
    async fn next(&self) -> io::Result<(UnixStream, u32)> {
        let (stream, _) = self.accept().await?;
        let uid = stream.peer_cred()?.uid();
        Ok((stream, uid))
    }
}

async fn accept<L, H, F>(listener: L, mut shutdown: watch::Receiver<ListenerState>, serve: H)
where
    L: Accept,
    H: Fn(L::Stream, L::Peer, Phase) -> F,
    F: Future<Output = ()> + Send + 'static,
{
    let mut open = JoinSet::new();
    // In the order in which they arrived.
    let mut known: Vec<(Phase, AbortHandle)> = Vec::with_capacity(CONNECTIONS);
    loop {
        let state = *shutdown.borrow_and_update();
        // The state may have changed before this task subscribed; no wake-up would follow then, so it is
        // read first.
        if state == ListenerState::Closed {
            break;
        }
        tokio::select! {
            biased;
            // A dropped sender means shutdown as well.
            changed = shutdown.changed() => match changed {
                Ok(()) if *shutdown.borrow() != ListenerState::Closed => {}
                Ok(()) | Err(_) => break,
            },
            Some(_) = open.join_next() => {}
            accepted = listener.next(), if state == ListenerState::Open => match accepted {
                Ok((stream, peer)) => {
                    known.retain(|(_, task)| !task.is_finished());
                    if known.len() < CONNECTIONS || make_room(&mut known) {
                        let phase = Phase::default();
                        let task = open.spawn(serve(stream, peer, phase.clone()));
                        known.push((phase, task));
                    }
                }
                Err(error) => {
                    tracing::debug!(%error, "an admin listener cannot accept");
                    tokio::time::sleep(PAUSE).await;
                }
            },
        }
    }
    drop(listener);
    let last = async { while open.join_next().await.is_some() {} };
    // Connections that take longer are cut off when the set is dropped.
    let _ = timeout(LAST_ANSWERS, last).await;
}

/// Closes the connection that is first to make room, so that silent strangers cannot keep a probe out.
/// Returns whether there was one.
fn make_room(known: &mut Vec<(Phase, AbortHandle)>) -> bool {
    let ranks = known.iter().enumerate().filter_map(|(at, (phase, _))| Some((phase.rank()?, at)));
    let Some((_, first)) = ranks.min() else { return false };
    known.remove(first).1.abort();
    true
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;
    use crate::admin::fixture::{ALICE, Reply, bench};

    const STATUS: &str = "GET /v1/status HTTP/1.1\r\nHost: localhost\r\n\r\n";

    async fn talk<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S, request: &str) -> Reply {
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).await.unwrap();
        Reply::parse(&text)
    }

    #[tokio::test]
    async fn a_gate_that_was_closed_before_anybody_looked_is_closed() {
        let bench = bench(0);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (state, shutdown) = watch::channel(ListenerState::Open);
        let serving = serve_api(listener, Arc::clone(&bench.api), shutdown);
        state.send_replace(ListenerState::Closed);

        assert!(timeout(Duration::from_secs(2), serving).await.is_ok());
        drop(state);
    }

    #[tokio::test]
    async fn the_control_socket_knows_its_own_user() {
        let dir = tempfile::tempdir().unwrap();
        let socket = ControlSocket::bind(dir.path()).unwrap();
        let path = socket.path().to_owned();
        let own = rustix::process::geteuid().as_raw();
        let bench = bench(own);
        let (down, shutdown) = watch::channel(ListenerState::Open);
        let serving = tokio::spawn(serve_control(socket, Arc::clone(&bench.api), shutdown));

        let told = talk(UnixStream::connect(&path).await.unwrap(), STATUS).await;

        assert_eq!(told.status, 200);
        assert_eq!(bench.calls.lock().unwrap()[0].0, Some(format!("local:{own}")));
        down.send(ListenerState::Closed).unwrap();
        serving.await.unwrap().unwrap();
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn the_tcp_listener_wants_a_token() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let bench = bench(0);
        let (down, shutdown) = watch::channel(ListenerState::Open);
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
        let (state, shutdown) = watch::channel(ListenerState::Open);
        let mut before = TcpStream::connect(address).await.unwrap();
        tokio::spawn(serve_api(listener, bench(0).api, shutdown));
        before.write_all(b"GET /v1/status HTTP/1.1\r\n").await.unwrap();
        tokio::time::sleep(Duration::from_millis(50)).await;

        state.send(ListenerState::Paused).unwrap();
        tokio::time::sleep(Duration::from_millis(50)).await;
        let during =
            tokio::spawn(
                async move { talk(TcpStream::connect(address).await.unwrap(), STATUS).await.status },
            );
        let open = talk(before, "Host: localhost\r\n\r\n").await.status;
        tokio::time::sleep(Duration::from_millis(50)).await;
        let waits = !during.is_finished();
        state.send(ListenerState::Open).unwrap();

        assert_eq!((open, waits, during.await.unwrap()), (401, true, 401));
    }

    #[tokio::test]
    async fn an_answer_survives_a_body_that_nobody_read() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (_down, shutdown) = watch::channel(ListenerState::Open);
        tokio::spawn(serve_api(listener, bench(0).api, shutdown));
        let body = "x".repeat(60_000);
        let request = format!(
            "POST /v1/reload HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );

        let told = talk(TcpStream::connect(address).await.unwrap(), &request).await;

        assert_eq!(told.status, 401);
    }

    #[tokio::test]
    async fn silent_connections_make_room_the_oldest_first() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (_down, shutdown) = watch::channel(ListenerState::Open);
        tokio::spawn(serve_api(listener, bench(0).api, shutdown));

        let mut silent = Vec::new();
        for _ in 0..CONNECTIONS {
            silent.push(TcpStream::connect(address).await.unwrap());
        }
        let mut half = TcpStream::connect(address).await.unwrap();
        half.write_all(b"GET /v1/status HTTP/1.1\r\n").await.unwrap();
        let told = talk(TcpStream::connect(address).await.unwrap(), STATUS).await;

        assert_eq!(told.status, 401, "it is answered");
        for gone in silent.drain(..2) {
            let mut gone = gone;
            assert_eq!(gone.read(&mut [0]).await.unwrap(), 0);
        }
        assert_eq!(talk(silent.pop().unwrap(), STATUS).await.status, 401, "the others are still heard");
    }

    #[test]
    fn who_is_at_work_stays_and_who_takes_no_answer_goes_behind_the_silent() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let _inside = runtime.enter();
        let phases = [Phase::default(), Phase::default(), Phase::default(), Phase::default()];
        phases[0].works();
        phases[1].answered();
        let mut known: Vec<_> = phases
            .iter()
            .map(|phase| (phase.clone(), tokio::spawn(std::future::pending::<()>()).abort_handle()))
            .collect();
        let tasks: Vec<_> = known.iter().map(|(_, task)| task.id()).collect();
        let left =
            |known: &[(Phase, AbortHandle)]| known.iter().map(|(_, task)| task.id()).collect::<Vec<_>>();

        assert!(make_room(&mut known));
        assert_eq!(left(&known), [tasks[0], tasks[1], tasks[3]]);
        assert!(make_room(&mut known));
        assert_eq!(left(&known), [tasks[0], tasks[1]]);
        assert!(make_room(&mut known));
        assert!(!make_room(&mut known), "what it asked for is being done");
        assert_eq!(left(&known), [tasks[0]]);
    }
}
