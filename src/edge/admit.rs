//! The way of one connection from the socket to the stream.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::watch,
    time::{Instant, timeout, timeout_at},
};
use tokio_rustls::{LazyConfigAcceptor, StartHandshake, server::TlsStream};

use super::{
    Connections, EdgeRefusal, GateStream, Rules, TlsState, Witness,
    acme::{self, Proof},
    cap::ClientGuard,
    stream::{Inner, Wire},
    tls::{self, Sni},
};
use crate::model::{CertificateJudge, ClientIp, ClientPrefix, Connection, Facts, PREFACE, Presented, Tick, TlsFacts, Transport, UnixTime};
use crate::policy::ListenerKind;
use crate::proxy_protocol::{self, MAX_HEADER_BYTES, Parsed};
use crate::state::Challenges;

/// How long the PROXY header may take; the sender has it at hand.
const PROXY_TIMEOUT: Duration = Duration::from_secs(2);
/// How long a refusal may take to be written.
const LAST_WORD: Duration = Duration::from_millis(250);
/// The fatal alert `unrecognized_name` (RFC 6066, section 3) as a record, before any key is agreed on.
const UNRECOGNIZED_NAME: &[u8] = &[21, 3, 3, 0, 2, 2, 112];
/// The fatal alert `missing_extension` (RFC 8446, section 9.2): a server that needs a name says so.
const MISSING_EXTENSION: &[u8] = &[21, 3, 3, 0, 2, 2, 109];
/// What a browser that speaks HTTP to a TLS port shows.
const SPEAK_TLS: &[u8] = b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: 38\r\n\
    Connection: close\r\nCache-Control: no-store\r\n\r\nThis port speaks HTTPS. Use https://\r\n";

/// One connection on its way in.
pub(super) struct Admission {
    pub(super) id: u64,
    pub(super) accepted: UnixTime,
    pub(super) tick: Tick,
    pub(super) peer: SocketAddr,
    pub(super) rules: Arc<Rules>,
    pub(super) tls: Arc<TlsState>,
    pub(super) judge: Arc<dyn CertificateJudge>,
    pub(super) connections: Connections,
    pub(super) witness: Arc<dyn Witness>,
    pub(super) challenges: Arc<Challenges>,
    pub(super) shutdown: watch::Receiver<bool>,
}

/// A connection that was led in.
type Admitted = (GateStream, Arc<Connection>, Option<ClientGuard>);

/// What a handshake leaves: the stream, what was settled, and the client's certificate.
type Shaken = (TlsStream<Wire>, TlsFacts, Option<Presented>);

/// A refusal and what the operator reads beside it.
struct Refused(EdgeRefusal, String);

impl Admission {
    /// Leads a connection in. Nothing is returned for one that was refused, or was a CA's; the witness knows.
    pub(super) async fn admit(self, mut tcp: TcpStream) -> Option<Admitted> {
        // Answers leave at once; the write buffer sees to their size.
        let _ = tcp.set_nodelay(true);
        let (source, lead) = match self.proxy_header(&mut tcp).await {
            Ok(found) => found,
            Err(refused) => return self.refuse(self.peer, &refused),
        };
        match self.encrypt(tcp, source, lead).await {
            Ok(admitted) => admitted,
            Err(refused) => self.refuse(source, &refused),
        }
    }

    fn refuse<T>(&self, peer: SocketAddr, refused: &Refused) -> Option<T> {
        self.witness.refused(&self.rules.listener.name, peer, refused.0, &refused.1);
        None
    }

    /// Takes the PROXY header off where one is required. Returns who connected, and what came behind the header.
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
                    let source = source.map_or(self.peer, |source| SocketAddr::new(source.ip().to_canonical(), source.port()));
                    return Ok((source, input.split_off(bytes)));
                }
            }
        }
    }

    /// Judges and counts the client, then shakes hands where the listener speaks TLS.
    async fn encrypt(&self, tcp: TcpStream, source: SocketAddr, lead: Vec<u8>) -> Result<Option<Admitted>, Refused> {
        let ip = ClientIp::from(source.ip());
        // First what the operator decided, then what the client did, then what it takes.
        if let Some(place) = self.rules.denies(ip) {
            return Err(Refused(EdgeRefusal::Denied, place));
        }
        // Behind a proxy of ours stand many clients.
        let bannable = Some(ip).filter(|ip| !self.rules.is_own_proxy(*ip));
        if bannable.is_some_and(|ip| self.witness.is_banned(ip)) {
            return Err(Refused(EdgeRefusal::Banned, String::new()));
        }
        let client = bannable.map(|ip| self.count_client(ip)).transpose()?;
        let wire = Wire::new(tcp, lead);
        let local = wire.local_addr().map_err(|error| Refused(EdgeRefusal::TlsAborted, error.to_string()))?;
        let mut prior_knowledge = false;
        let mut awaited = None;
        let (inner, transport, presented) = match self.rules.listener.kind {
            ListenerKind::Plaintext | ListenerKind::Redirect { .. } => {
                let mut wire = wire;
                let since = *awaited.insert(Instant::now());
                prior_knowledge = self.begins_http2(&mut wire, since).await;
                (Inner::Plain(wire), Transport::Plain, None)
            }
            ListenerKind::Tls => {
                let client = bannable.map(ClientIp::prefix);
                let Some((stream, facts, presented)) = self.handshake(wire.expect_tls(), source, client).await? else {
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
        let stream = GateStream::new(inner, Arc::clone(&connection), Arc::clone(&self.witness), bannable, since);
        Ok(Some((stream, connection, client)))
    }

    /// Says whether a client in clear text speaks HTTP/2 with prior knowledge (RFC 9113, section 3.3). One that says nothing, or not
    /// enough, is left to the stream, whose deadline it has had since then; so is one that waits when the door is shut.
    async fn begins_http2(&self, wire: &mut Wire, since: Instant) -> bool {
        let by = since + self.rules.header_timeout();
        let mut shutdown = self.shutdown.clone();
        tokio::select! {
            biased;
            begins = timeout_at(by, wire.begins_with(PREFACE)) => matches!(begins, Ok(Ok(true))),
            _ = shutdown.wait_for(|&down| down) => false,
        }
    }

    fn count_client(&self, ip: ClientIp) -> Result<ClientGuard, Refused> {
        let taken = self.connections.take_client(ip.prefix(), self.rules.listener.max_connections_per_client);
        taken.ok_or_else(|| Refused(EdgeRefusal::CapClient, String::new()))
    }

    /// Shakes hands. Nothing is left to be served of a connection by which a CA proves a host.
    async fn handshake(&self, wire: Wire, source: SocketAddr, client: Option<ClientPrefix>) -> Result<Option<Shaken>, Refused> {
        // Before the first byte is looked at: a handshake is what costs.
        if let Err(too_many) = self.rules.take_handshake(client, self.tick) {
            return Err(Refused(EdgeRefusal::HandshakeRate, too_many.as_str().to_owned()));
        }
        let start = Instant::now();
        let deadline = start + self.rules.handshake_timeout();
        let late = || Refused(EdgeRefusal::TlsTimeout, String::new());
        let wire = if self.tls.reads_fingerprints() { wire.keep_hello() } else { wire };
        let mut acceptor = LazyConfigAcceptor::new(rustls::server::Acceptor::default(), wire);
        let mut hello = match timeout_at(deadline, &mut acceptor).await {
            Err(_) => return Err(late()),
            Ok(Ok(hello)) => hello,
            Ok(Err(error)) => {
                let wire = acceptor.take_io();
                return Err(not_a_hello(wire, &error).await);
            }
        };
        // Before the name is judged: there may be no certificate for it yet.
        if let Some(proof) = acme::asked(&hello.client_hello(), &self.challenges) {
            return self.prove(hello, &proof, deadline, source).await.map(|()| None);
        }
        let ja4 = hello.io.take_hello().and_then(|records| tls::ja4(&records));
        let sni = match self.tls.judge_sni(hello.client_hello().server_name()) {
            Ok(sni) => sni,
            Err(None) => {
                last_word(hello.io, MISSING_EXTENSION).await;
                return Err(Refused(EdgeRefusal::NoSni, String::new()));
            }
            Err(Some(name)) => {
                last_word(hello.io, UNRECOGNIZED_NAME).await;
                return Err(Refused(EdgeRefusal::UnknownSni, name));
            }
        };
        let (config, asking) = self.tls.config_for(&sni).map_err(|error| Refused(EdgeRefusal::TlsProtocol, error.to_string()))?;
        match timeout_at(deadline, hello.into_stream(config).into_fallible()).await {
            Err(_) => Err(late()),
            Ok(Err((error, wire))) => {
                let Refused(refusal, detail) = failed(Some(wire), &error).await;
                // The library says only what the alert does.
                Err(Refused(refusal, asking.and_then(|asking| asking.refused()).unwrap_or(detail)))
            }
            Ok(Ok(stream)) => {
                // Presented and proven: whoever presents none has an empty chain.
                let presented = asking.filter(|_| stream.get_ref().1.peer_certificates().is_some()).and_then(|asking| asking.presented());
                let facts = tls::facts(
                    stream.get_ref().1,
                    match sni {
                        Sni::Named(host) => Some(host),
                        Sni::Absent => None,
                    },
                    ja4.map(String::into_boxed_str),
                );
                self.witness.handshake(&self.rules.listener.name, &facts, start.elapsed());
                Ok(Some((stream, facts, presented)))
            }
        }
    }

    /// Shows a CA that a host is ours, and ends the connection (RFC 8737, section 3).
    async fn prove(&self, hello: StartHandshake<Wire>, proof: &Proof, deadline: Instant, source: SocketAddr) -> Result<(), Refused> {
        let config = proof.config().map_err(|error| Refused(EdgeRefusal::TlsProtocol, error.to_string()))?;
        match timeout_at(deadline, hello.into_stream(config).into_fallible()).await {
            Err(_) => Err(Refused(EdgeRefusal::TlsTimeout, String::new())),
            Ok(Err((error, wire))) => Err(failed(Some(wire), &error).await),
            Ok(Ok(mut stream)) => {
                // The CA has seen what it wanted; how it hears of the end is of no weight.
                let _ = timeout(LAST_WORD, stream.shutdown()).await;
                self.witness.proven(&self.rules.listener.name, source, &proof.host);
                Ok(())
            }
        }
    }
}

/// Judges a connection whose first message was no ClientHello.
async fn not_a_hello(wire: Option<Wire>, error: &io::Error) -> Refused {
    let Some(first) = wire.as_ref().and_then(Wire::not_tls) else { return failed(wire, error).await };
    if proxy_protocol::looks_like_header(&first) {
        return Refused(EdgeRefusal::ProxyProtocol, "a PROXY header where none is expected".to_owned());
    }
    if first.iter().all(|byte| byte.is_ascii_uppercase() || matches!(byte, b' ' | b'/' | b'*')) {
        if let Some(wire) = wire {
            last_word(wire, SPEAK_TLS).await;
        }
        return Refused(EdgeRefusal::PlainHttp, String::new());
    }
    Refused(EdgeRefusal::TlsProtocol, error.to_string())
}

/// Says why a handshake failed, and lets the alert out that rustls wrote about it.
async fn failed(wire: Option<Wire>, error: &io::Error) -> Refused {
    let refusal = match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        Some(rustls::Error::AlertReceived(_)) => EdgeRefusal::TlsAborted,
        Some(rustls::Error::PeerIncompatible(_)) => EdgeRefusal::TlsIncompatible,
        Some(rustls::Error::NoApplicationProtocol) => EdgeRefusal::TlsAlpn,
        Some(rustls::Error::InvalidCertificate(_) | rustls::Error::NoCertificatesPresented) => EdgeRefusal::ClientCertificate,
        Some(_) => EdgeRefusal::TlsProtocol,
        None if error.kind() == io::ErrorKind::InvalidData => EdgeRefusal::TlsProtocol,
        None => EdgeRefusal::TlsAborted,
    };
    if let Some(wire) = wire.filter(|_| refusal != EdgeRefusal::TlsAborted) {
        last_word(wire, &[]).await;
    }
    Refused(refusal, error.to_string())
}

/// Writes a few bytes and closes, as far as the other side lets us.
async fn last_word(mut wire: Wire, bytes: &[u8]) {
    let farewell = async {
        wire.write_all(bytes).await?;
        wire.shutdown().await?;
        // A close with unread bytes would send a reset and destroy what was just said.
        let mut space = [0; 1024];
        for _ in 0..16 {
            if wire.read(&mut space).await? == 0 {
                break;
            }
        }
        io::Result::Ok(())
    };
    // Best effort: nobody is left to tell.
    let _ = timeout(LAST_WORD, farewell).await;
}
