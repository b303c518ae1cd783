//! Admits one connection: everything between the accepted socket and the stream.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::watch,
    time::{Instant, timeout, timeout_at},
};
use tokio_rustls::{LazyConfigAcceptor, StartHandshake, server::TlsStream};

use super::{
    Connections, EdgeRefusal, GateStream, Hooks, Rules, TlsState,
    acme::{self, Proof},
    cap::ClientGuard,
    stream::{BufferedSocket, Inner},
    tls::{self, Sni},
};
use crate::model::{
    CertificateVerifier, ClientIp, ClientPrefix, Connection, ConnectionChange, Facts, Presented, Tick,
    TlsFacts, Transport, UnixTime,
};
use crate::policy::ListenerKind;
use crate::store::Challenges;
use crate::wire::{
    client_hello::ja4,
    http2::PREFACE,
    proxy_protocol::{self, MAX_HEADER_BYTES, Parsed},
};

/// How long the PROXY header may take. A load balancer sends it at once.
const PROXY_TIMEOUT: Duration = Duration::from_secs(2);
/// How long writing a refusal may take.
const CLOSE_TIMEOUT: Duration = Duration::from_millis(250);
/// The fatal alert `unrecognized_name` (RFC 6066, section 3) as a record, before any key is agreed on.
const UNRECOGNIZED_NAME: &[u8] = &[21, 3, 3, 0, 2, 2, 112];
/// The fatal alert `missing_extension` (RFC 8446, section 9.2): a server that needs a name says so.
const MISSING_EXTENSION: &[u8] = &[21, 3, 3, 0, 2, 2, 109];
/// The response to a browser that speaks HTTP to a TLS port.
const SPEAK_TLS: &[u8] =
    b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: 38\r\n\
    Connection: close\r\nCache-Control: no-store\r\n\r\nThis port speaks HTTPS. Use https://\r\n";

/// One connection that is being admitted.
pub(super) struct Admission {
    pub(super) id: u64,
    pub(super) accepted: UnixTime,
    pub(super) tick: Tick,
    pub(super) peer: SocketAddr,
    pub(super) rules: Arc<Rules>,
    pub(super) tls: Arc<TlsState>,
    pub(super) judge: Arc<dyn CertificateVerifier>,
    pub(super) connections: Connections,
    pub(super) hooks: Arc<Hooks>,
    pub(super) challenges: Arc<Challenges>,
    pub(super) shutdown: watch::Receiver<bool>,
}

/// A connection that was admitted.
type Admitted = (GateStream, Arc<Connection>, Option<ClientGuard>);

/// The result of a handshake: the stream, what was negotiated, and the client's certificate.
type HandshakeOutcome = (TlsStream<BufferedSocket>, TlsFacts, Option<Presented>);

/// A refusal, and its detail for the operator.
struct Refused(EdgeRefusal, String);

impl Admission {
    /// Admits a connection. Returns `None` for one that was refused or was a CA's, which has been recorded.
    pub(super) async fn admit(self, mut tcp: TcpStream) -> Option<Admitted> {
        // Responses leave at once; the write buffer combines small writes.
        let _ = tcp.set_nodelay(true);
        let (source, prefix) = match self.proxy_header(&mut tcp).await {
            Ok(found) => found,
            Err(refused) => return self.refuse(self.peer, &refused),
        };
        match self.encrypt(tcp, source, prefix).await {
            Ok(admitted) => admitted,
            Err(refused) => self.refuse(source, &refused),
        }
    }

    fn refuse<T>(&self, peer: SocketAddr, refused: &Refused) -> Option<T> {
        let Refused(refusal, detail) = refused;
        let is_ban = *refusal == EdgeRefusal::Banned;
        let ban = is_ban.then(|| self.hooks.admission.ban(ClientIp::from(peer.ip()))).flatten();
        let change = ConnectionChange::Refused { peer, refusal: *refusal, detail, ban: ban.as_ref() };
        self.hooks.record(&self.rules.listener.name, change);
        None
    }

    /// Reads the PROXY header where one is required. Returns the client's address, and the octets that follow
    /// the header.
    async fn proxy_header(&self, tcp: &mut TcpStream) -> Result<(SocketAddr, Vec<u8>), Refused> {
        let Some(proxy) = &self.rules.listener.proxy_protocol else { return Ok((self.peer, Vec::new())) };
        let bad = |why: &str| Refused(EdgeRefusal::ProxyProtocol, why.to_owned());
        if !proxy.trusted.contains(ClientIp::from(self.peer.ip())) {
            return Err(Refused(EdgeRefusal::ProxyUntrusted, String::new()));
        }
        let mut input = Vec::with_capacity(MAX_HEADER_BYTES);
        let deadline = Instant::now() + PROXY_TIMEOUT;
        loop {
            let room = u64::try_from(MAX_HEADER_BYTES.saturating_sub(input.len())).unwrap_or(0);
            match timeout_at(deadline, (&mut *tcp).take(room).read_buf(&mut input)).await {
                Err(_) => return Err(bad("the header did not come in time")),
                Ok(Err(error)) => return Err(bad(&error.to_string())),
                Ok(Ok(0)) => return Err(bad("the connection ended before the header did")),
                Ok(Ok(_)) => {}
            }
            match proxy_protocol::parse(&input) {
                Parsed::NeedMore => {}
                Parsed::Malformed(why) => return Err(bad(why)),
                Parsed::Header { source, bytes } => {
                    let source = source.map_or(self.peer, |source| {
                        SocketAddr::new(source.ip().to_canonical(), source.port())
                    });
                    return Ok((source, input.split_off(bytes)));
                }
            }
        }
    }

    /// Checks and counts the client, then performs the handshake where the listener speaks TLS.
    async fn encrypt(
        &self,
        tcp: TcpStream,
        source: SocketAddr,
        prefix: Vec<u8>,
    ) -> Result<Option<Admitted>, Refused> {
        let ip = ClientIp::from(source.ip());
        // In this order: what the operator configured, what the client did before, what it holds now.
        if let Some(place) = self.rules.denies(ip) {
            return Err(Refused(EdgeRefusal::Denied, place));
        }
        // Many clients share the address of one of our own proxies.
        let bannable = Some(ip).filter(|ip| !self.rules.is_own_proxy(*ip, source == self.peer));
        if bannable.is_some_and(|ip| self.hooks.admission.is_banned(ip)) {
            return Err(Refused(EdgeRefusal::Banned, String::new()));
        }
        let client = bannable.map(|ip| self.count_client(ip)).transpose()?;
        let socket = BufferedSocket::new(tcp, prefix);
        let local =
            socket.local_addr().map_err(|error| Refused(EdgeRefusal::TlsAborted, error.to_string()))?;
        let mut prior_knowledge = false;
        let mut awaited = None;
        let (inner, transport, presented) = match self.rules.listener.kind {
            ListenerKind::Plaintext | ListenerKind::Redirect { .. } => {
                let mut socket = socket;
                let since = *awaited.insert(Instant::now());
                prior_knowledge = self.begins_http2(&mut socket, since).await;
                (Inner::Plain(socket), Transport::Plain, None)
            }
            ListenerKind::Tls => {
                let client = bannable.map(ClientIp::prefix);
                let Some((stream, facts, presented)) =
                    self.handshake(socket.expect_tls(), source, client).await?
                else {
                    return Ok(None);
                };
                (Inner::Tls(Box::new(stream)), Transport::Tls(facts), presented)
            }
        };
        let facts = Facts {
            id: self.id,
            listener: self.rules.listener.name.clone(),
            local: SocketAddr::new(local.ip().to_canonical(), local.port()),
            peer: self.peer,
            source,
            transport,
            accepted: self.accepted,
        };
        let mut connection = Connection::new(facts, self.rules.head_deadlines(ip));
        if let Some(presented) = presented {
            connection = connection.with_certificate(presented, Arc::clone(&self.judge));
        }
        if prior_knowledge {
            connection = connection.with_prior_knowledge();
        }
        let connection = Arc::new(connection);
        let since = awaited.unwrap_or_else(Instant::now);
        let stream =
            GateStream::new(inner, Arc::clone(&connection), Arc::clone(&self.hooks), bannable, since);
        Ok(Some((stream, connection, client)))
    }

    /// Says whether a client in clear text speaks HTTP/2 with prior knowledge (RFC 9113, section 3.3). A
    /// client that sends nothing, or too little, is left to the stream, whose deadline has been running since
    /// then; so is a client that is waiting when the listener stops.
    async fn begins_http2(&self, socket: &mut BufferedSocket, since: Instant) -> bool {
        let by = since + self.rules.header_timeout();
        let mut shutdown = self.shutdown.clone();
        tokio::select! {
            biased;
            begins = timeout_at(by, socket.begins_with(PREFACE)) => matches!(begins, Ok(Ok(true))),
            _ = shutdown.wait_for(|&down| down) => false,
        }
    }

    fn count_client(&self, ip: ClientIp) -> Result<ClientGuard, Refused> {
        let taken = self.connections.take_client(ip.prefix(), self.rules.listener.max_connections_per_client);
        taken.ok_or_else(|| Refused(EdgeRefusal::CapClient, String::new()))
    }

    /// Performs the handshake. Returns `None` where the connection was a CA's validation of a host, on which
    /// no request follows.
    async fn handshake(
        &self,
        socket: BufferedSocket,
        source: SocketAddr,
        client: Option<ClientPrefix>,
    ) -> Result<Option<HandshakeOutcome>, Refused> {
        // Before the first byte is read: the handshake is the expensive part.
        if let Err(too_many) = self.rules.take_handshake(client, self.tick) {
            return Err(Refused(EdgeRefusal::HandshakeRate, too_many.as_str().to_owned()));
        }
        let start = Instant::now();
        let deadline = start + self.rules.handshake_timeout();
        let late = || Refused(EdgeRefusal::TlsTimeout, String::new());
        let socket = if self.tls.reads_fingerprints() { socket.keep_hello() } else { socket };
        let mut acceptor = LazyConfigAcceptor::new(rustls::server::Acceptor::default(), socket);
        let mut hello = match timeout_at(deadline, &mut acceptor).await {
            Err(_) => return Err(late()),
            Ok(Ok(hello)) => hello,
            Ok(Err(error)) => {
                let socket = acceptor.take_io();
                return Err(not_a_hello(socket, &error).await);
            }
        };
        // Before the name is checked: there may be no certificate for it yet.
        if let Some(proof) = acme::requested_proof(&hello.client_hello(), &self.challenges) {
            return self.prove(hello, &proof, deadline, source).await.map(|()| None);
        }
        let ja4 = hello.io.take_hello().and_then(|records| ja4(&records));
        let sni = match self.tls.judge_sni(hello.client_hello().server_name()) {
            Ok(sni) => sni,
            Err(None) => {
                write_and_close(hello.io, MISSING_EXTENSION).await;
                return Err(Refused(EdgeRefusal::NoSni, String::new()));
            }
            Err(Some(name)) => {
                write_and_close(hello.io, UNRECOGNIZED_NAME).await;
                return Err(Refused(EdgeRefusal::UnknownSni, name));
            }
        };
        let (config, verifier) = self
            .tls
            .config_for(&sni)
            .map_err(|error| Refused(EdgeRefusal::TlsProtocol, error.to_string()))?;
        match timeout_at(deadline, hello.into_stream(config).into_fallible()).await {
            Err(_) => Err(late()),
            Ok(Err((error, socket))) => {
                let Refused(refusal, detail) = failed(Some(socket), &error).await;
                // The library knows no more than the alert says.
                Err(Refused(refusal, verifier.and_then(|verifier| verifier.refused()).unwrap_or(detail)))
            }
            Ok(Ok(stream)) => {
                // Only a certificate whose possession was proven counts. A client that presents none has an
                // empty chain.
                let presented = verifier
                    .filter(|_| stream.get_ref().1.peer_certificates().is_some())
                    .and_then(|verifier| verifier.presented());
                let facts = tls::facts(
                    stream.get_ref().1,
                    match sni {
                        Sni::Named(host) => Some(host),
                        Sni::Absent => None,
                    },
                    ja4.map(String::into_boxed_str),
                );
                let secured = ConnectionChange::Secured { tls: &facts, took: start.elapsed() };
                self.hooks.record(&self.rules.listener.name, secured);
                Ok(Some((stream, facts, presented)))
            }
        }
    }

    /// Proves to a CA that a host is ours, and ends the connection (RFC 8737, section 3).
    async fn prove(
        &self,
        hello: StartHandshake<BufferedSocket>,
        proof: &Proof,
        deadline: Instant,
        source: SocketAddr,
    ) -> Result<(), Refused> {
        let config = proof.config().map_err(|error| Refused(EdgeRefusal::TlsProtocol, error.to_string()))?;
        match timeout_at(deadline, hello.into_stream(config).into_fallible()).await {
            Err(_) => Err(Refused(EdgeRefusal::TlsTimeout, String::new())),
            Ok(Err((error, socket))) => Err(failed(Some(socket), &error).await),
            Ok(Ok(mut stream)) => {
                // The CA has what it needs; it does not matter whether it sees the close.
                let _ = timeout(CLOSE_TIMEOUT, stream.shutdown()).await;
                let proven = ConnectionChange::HostProven { peer: source, host: &proof.host };
                self.hooks.record(&self.rules.listener.name, proven);
                Ok(())
            }
        }
    }
}

/// Refuses a connection whose first message is not a ClientHello.
async fn not_a_hello(socket: Option<BufferedSocket>, error: &io::Error) -> Refused {
    let Some(first) = socket.as_ref().and_then(BufferedSocket::not_tls) else {
        return failed(socket, error).await;
    };
    if proxy_protocol::looks_like_header(&first) {
        return Refused(EdgeRefusal::ProxyProtocol, "a PROXY header where none is expected".to_owned());
    }
    if first.iter().all(|byte| byte.is_ascii_uppercase() || matches!(byte, b' ' | b'/' | b'*')) {
        if let Some(socket) = socket {
            write_and_close(socket, SPEAK_TLS).await;
        }
        return Refused(EdgeRefusal::PlainHttp, String::new());
    }
    Refused(EdgeRefusal::TlsProtocol, error.to_string())
}

/// Maps a failed handshake to a refusal, and sends the alert that rustls has prepared.
async fn failed(socket: Option<BufferedSocket>, error: &io::Error) -> Refused {
    let refusal = match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        Some(rustls::Error::AlertReceived(_)) => EdgeRefusal::TlsAborted,
        Some(rustls::Error::PeerIncompatible(_)) => EdgeRefusal::TlsIncompatible,
        Some(rustls::Error::NoApplicationProtocol) => EdgeRefusal::TlsAlpn,
        Some(rustls::Error::InvalidCertificate(_) | rustls::Error::NoCertificatesPresented) => {
            EdgeRefusal::ClientCertificate
        }
        Some(_) => EdgeRefusal::TlsProtocol,
        None if error.kind() == io::ErrorKind::InvalidData => EdgeRefusal::TlsProtocol,
        None => EdgeRefusal::TlsAborted,
    };
    if let Some(socket) = socket.filter(|_| refusal != EdgeRefusal::TlsAborted) {
        write_and_close(socket, &[]).await;
    }
    Refused(refusal, error.to_string())
}

/// Writes a few bytes and closes the connection, within `CLOSE_TIMEOUT`.
async fn write_and_close(mut socket: BufferedSocket, bytes: &[u8]) {
    let close = async {
        socket.write_all(bytes).await?;
        socket.shutdown().await?;
        // A close with unread bytes sends a reset, which would destroy what was just written.
        let mut space = [0; 1024];
        for _ in 0..16 {
            if socket.read(&mut space).await? == 0 {
                break;
            }
        }
        io::Result::Ok(())
    };
    // Best effort: a failure cannot be reported to anybody.
    let _ = timeout(CLOSE_TIMEOUT, close).await;
}
