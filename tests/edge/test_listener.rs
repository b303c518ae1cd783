//! A listener with a small handler behind it, and clients for it.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::Duration,
};

use arc_swap::ArcSwap;
use octroi::{
    edge::{
        self, AdmissionControl, Connections, EarlyCause, EarlyReply, Handler, Hooks, Http2Error,
        Http2Refusal, ListenerDeps, Rules, TlsState,
        dev::{Authority, PairFiles},
    },
    model::{
        Ban, BoxFuture, ClientIp, Clock, Connection, ConnectionChange, EventKind, EventSink, HostPattern,
        Origin, SystemClock, UnixTime,
    },
    policy::{
        Certificate, CertificateSource, DenyList, IpSet, Limits, Listener, ListenerKind, MinVersion, Policy,
        ProxyProtocol, Tls, UnknownSni,
    },
    store::{Challenges, Descriptors},
};
use pingora::protocols::{Shutdown, Stream};
use rustls::{ClientConfig, RootCertStore, pki_types::ServerName};
use rustls_pki_types::{CertificateDer, pem::PemObject};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::watch,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::support;
use crate::wait;

/// What the hooks of a listener saw, as text.
#[derive(Default)]
pub(crate) struct Seen(Mutex<Vec<String>>, Mutex<Vec<ClientIp>>);

impl Seen {
    fn note(&self, line: String) {
        self.0.lock().unwrap().push(line);
    }

    /// Waits until a line that begins like this is there, and returns it.
    pub(crate) async fn line(&self, begin: &str) -> String {
        let found = || self.0.lock().unwrap().iter().find(|line| line.starts_with(begin)).cloned();
        wait::eventually_async(&format!("a line that begins with {begin:?}"), || found().is_some()).await;
        found().unwrap()
    }

    /// From now on a client is banned.
    pub(crate) fn ban(&self, client: &str) {
        self.1.lock().unwrap().push(ClientIp::from(client.parse::<std::net::IpAddr>().unwrap()));
    }

    pub(crate) fn count(&self, begin: &str) -> usize {
        self.0.lock().unwrap().iter().filter(|line| line.starts_with(begin)).count()
    }
}

impl AdmissionControl for Seen {
    fn is_banned(&self, client: ClientIp) -> bool {
        self.1.lock().unwrap().contains(&client)
    }

    fn ban(&self, _: ClientIp) -> Option<Ban> {
        None
    }

    fn stream_reset(&self, _: &Connection, error: Http2Error) {
        self.note(format!("reset {error:?}"));
    }
}

impl EarlyReply for Seen {
    fn reply(&self, _: &Connection, head: &[u8], cause: EarlyCause) -> Vec<u8> {
        self.note(format!("early {cause:?} {}", head.len()));
        let status = match cause {
            EarlyCause::HeadTimeout => 408,
            EarlyCause::HeadTooLarge => 431,
            EarlyCause::Library(status) => status,
        };
        format!("HTTP/1.1 {status} Ours\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").into_bytes()
    }

    fn http2_ended(&self, _: &Connection, refusal: Http2Refusal) {
        self.note(format!("http2 {refusal:?}"));
    }
}

impl EventSink for Seen {
    fn emit(&self, what: EventKind<'_>) {
        let EventKind::Connection(connection) = what else { panic!("no event of a connection: {what:?}") };
        match connection.change {
            ConnectionChange::Opened => self.note("opened".into()),
            ConnectionChange::Closed => self.note("closed".into()),
            ConnectionChange::Refused { peer, refusal, detail, .. } => {
                self.note(format!("refused {} {} {detail}", refusal.code(), peer.ip()))
            }
            ConnectionChange::Secured { tls, .. } => self.note(format!("handshake {tls:?}")),
            ConnectionChange::HostProven { peer, host } => self.note(format!("proven {host} {}", peer.ip())),
            ConnectionChange::Cut(cut) => self.note(format!("cut {}", cut.code())),
        }
    }

    fn emit_at(&self, _: UnixTime, what: EventKind<'_>) {
        self.emit(what);
    }
}

/// Answers each request with what is known of the connection; the library is played by hand.
pub(crate) struct Echo;

impl Handler for Echo {
    fn serve(
        self: Arc<Self>,
        mut stream: Stream,
        connection: Arc<Connection>,
        _: watch::Receiver<bool>,
    ) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            let mut head = Vec::new();
            loop {
                let read = match stream.read_buf(&mut head).await {
                    Ok(0) | Err(_) => return,
                    Ok(read) => read,
                };
                assert!(read > 0);
                if head.starts_with(b"BAD") {
                    // What the library does with a request that it cannot read.
                    let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n").await;
                    let _ = stream.write_all(b"Server: library\r\n\r\n").await;
                    let _ = stream.flush().await;
                    Shutdown::shutdown(&mut *stream).await;
                    return;
                }
                if !head.windows(4).any(|end| end == b"\r\n\r\n") {
                    continue;
                }
                let received = connection.request_begins().unwrap_or_default();
                assert!(head.starts_with(&received));
                if head.starts_with(b"GET /flood") {
                    let piece = vec![b'x'; 64 * 1024];
                    while stream.write_all(&piece).await.is_ok() {}
                    return;
                }
                if head.starts_with(b"GET /tunnel") {
                    connection.becomes_tunnel(Duration::from_millis(100));
                    let mut frame = [0; 64];
                    while let Ok(read @ 1..) = stream.read(&mut frame).await {
                        let _ = stream.write_all(&frame[..read]).await;
                        let _ = stream.flush().await;
                    }
                    return;
                }
                let facts = connection.facts();
                let body = format!("source={} peer={} tls={:?}", facts.source, facts.peer.ip(), facts.tls());
                // Apart, as the library writes them.
                let _ = stream
                    .write_all(
                        format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len()).as_bytes(),
                    )
                    .await;
                let _ = stream.write_all(body.as_bytes()).await;
                let _ = stream.flush().await;
                let close = head.windows(17).any(|field| field == b"Connection: close");
                connection.request_ends();
                head.clear();
                if close {
                    Shutdown::shutdown(&mut *stream).await;
                    return;
                }
            }
        })
    }
}

pub(crate) fn clock() -> Arc<dyn Clock> {
    Arc::new(SystemClock::new())
}

/// A running listener.
pub(crate) struct TestListener {
    pub(crate) addr: SocketAddr,
    pub(crate) seen: Arc<Seen>,
    pub(crate) connections: Connections,
    pub(crate) rules: Arc<ArcSwap<Rules>>,
    pub(crate) down: watch::Sender<bool>,
    pub(crate) dir: TempDir,
    pub(crate) challenges: Arc<Challenges>,
}

/// How a listener is built.
pub(crate) struct Plan {
    pub(crate) listener: Listener,
    pub(crate) limits: Limits,
    pub(crate) trusted_proxies: IpSet,
    pub(crate) min_version: MinVersion,
    pub(crate) unknown_sni: UnknownSni,
    pub(crate) ja4: bool,
    pub(crate) ticket_keys: Option<PathBuf>,
}

pub(crate) fn plan(kind: ListenerKind) -> Plan {
    let listener = Listener {
        name: "public".parse().unwrap(),
        origin: Origin::default(),
        address: "127.0.0.1:0".parse().unwrap(),
        public_port: None,
        kind,
        max_connections: 100,
        max_connections_per_client: 50,
        max_handshakes_per_second: None,
        proxy_protocol: None,
        deny: DenyList::default(),
        trusted_proxies: None,
        tls_in_front: false,
    };
    let long = Duration::from_secs(10);
    let limits = Limits {
        handshake_timeout: long,
        header_timeout: long,
        idle_timeout: long,
        write_stall: long,
        write_min_rate: 1,
        header_bytes: 4096,
        ..support::LIMITS
    };
    Plan {
        listener,
        limits,
        trusted_proxies: IpSet::default(),
        min_version: MinVersion::Tls12,
        unknown_sni: UnknownSni::Refuse,
        ja4: false,
        ticket_keys: None,
    }
}

pub(crate) fn ranges(texts: &[&str]) -> IpSet {
    IpSet::new(texts.iter().map(|text| text.parse().unwrap()))
}

pub(crate) fn proxied(mut plan: Plan, trusted: &[&str]) -> Plan {
    plan.listener.proxy_protocol = Some(ProxyProtocol { trusted: ranges(trusted) });
    plan
}

pub(crate) fn patterns(hosts: &[&str]) -> Vec<HostPattern> {
    hosts.iter().map(|host| host.parse().unwrap()).collect()
}

/// Makes a certificate for hosts, and the policy's entry for it.
pub(crate) fn certificate(dir: &Path, name: &str, hosts: &[&str]) -> Certificate {
    let now = SystemClock::new().now();
    let files = PairFiles { cert: dir.join(format!("{name}.pem")), key: dir.join(format!("{name}.key")) };
    Authority::open_or_make(dir, now).unwrap().make_pair(&files, &patterns(hosts), now).unwrap();
    Certificate {
        origin: Origin::default(),
        source: CertificateSource::Files { cert: files.cert, key: files.key, ocsp: None },
    }
}

pub(crate) fn policy(plan: &Plan, certificates: Vec<Certificate>) -> Policy {
    Policy {
        trusted_proxies: plan.trusted_proxies.clone(),
        listeners: vec![Arc::new(plan.listener.clone())],
        limits: plan.limits,
        tls: Tls {
            min_version: plan.min_version,
            unknown_sni: plan.unknown_sni,
            ja4: plan.ja4,
            ticket_keys: plan.ticket_keys.clone(),
            certificates,
        },
        ..support::policy(Vec::new())
    }
}

impl TestListener {
    pub(crate) async fn open(plan: Plan) -> Self {
        Self::open_for(plan, &[("a", &["a.test", "*.wild.test"]), ("b", &["b.test"])], Arc::new(Echo)).await
    }

    /// A listener with these certificates under one CA.
    pub(crate) async fn open_for(
        plan: Plan,
        certificates: &[(&str, &[&str])],
        handler: Arc<dyn Handler>,
    ) -> Self {
        let tls = plan.listener.kind == ListenerKind::Tls;
        let make = |dir: &Path| {
            if tls {
                certificates.iter().map(|(name, hosts)| certificate(dir, name, hosts)).collect()
            } else {
                Vec::new()
            }
        };
        Self::start(plan, make, handler).await
    }

    /// A listener with the certificates that a function makes.
    pub(crate) async fn open_prepared(plan: Plan, make: impl FnOnce(&Path) -> Vec<Certificate>) -> Self {
        Self::start(plan, make, Arc::new(Echo)).await
    }

    async fn start(
        plan: Plan,
        make: impl FnOnce(&Path) -> Vec<Certificate>,
        handler: Arc<dyn Handler>,
    ) -> Self {
        let dir = TempDir::new().unwrap();
        let certificates = make(dir.path());
        let policy = policy(&plan, certificates);
        let clock = clock();
        let tls = TlsState::build(&policy, &clock).unwrap();
        let listener = &policy.listeners[0];
        let bound = edge::bind(listener, edge::Ipv6Mode::DualStack).unwrap();
        let (addr, connections) = (bound.local_addr(), bound.connections());
        let seen = Arc::new(Seen::default());
        let (down, shutdown) = watch::channel(false);
        let rules = Arc::new(ArcSwap::from_pointee(Rules::new(listener, &policy)));
        let tls = Arc::new(ArcSwap::from_pointee(tls));
        let hooks =
            Arc::new(Hooks { admission: seen.clone(), early_reply: seen.clone(), events: seen.clone() });
        let challenges = Arc::new(Challenges::default());
        let deps = ListenerDeps {
            handler,
            hooks,
            tls,
            clock,
            challenges: Arc::clone(&challenges),
            descriptors: Descriptors::new(None),
        };
        tokio::spawn(bound.run(Arc::new(deps), Arc::clone(&rules), shutdown));
        Self { addr, seen, connections, rules, down, dir, challenges }
    }

    pub(crate) async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.addr).await.unwrap()
    }

    pub(crate) fn client(&self) -> ClientConfig {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(self.dir.path().join("ca.pem")).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth()
    }

    pub(crate) async fn handshake(&self, host: &str) -> std::io::Result<TlsStream<TcpStream>> {
        shake(self.connect().await, self.client(), host).await
    }
}

pub(crate) async fn shake(
    tcp: TcpStream,
    config: ClientConfig,
    host: &str,
) -> std::io::Result<TlsStream<TcpStream>> {
    TlsConnector::from(Arc::new(config)).connect(ServerName::try_from(host.to_owned()).unwrap(), tcp).await
}

/// Writes a request and reads one answer with its body.
pub(crate) async fn ask(stream: &mut (impl AsyncReadExt + AsyncWriteExt + Unpin), request: &str) -> String {
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&answer).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length: usize =
                head.lines().find_map(|line| line.strip_prefix("Content-Length: ")).unwrap().parse().unwrap();
            if body.len() >= length {
                return text;
            }
        }
        if stream.read_buf(&mut answer).await.unwrap() == 0 {
            return text;
        }
    }
}

/// Reads to the end, however it ends.
pub(crate) async fn rest(stream: &mut (impl AsyncReadExt + Unpin)) -> String {
    let mut bytes = Vec::new();
    let _ = tokio::time::timeout(Duration::from_secs(5), stream.read_to_end(&mut bytes))
        .await
        .expect("the other side closes");
    String::from_utf8_lossy(&bytes).into_owned()
}

pub(crate) const GET: &str = "GET / HTTP/1.1\r\nHost: a.test\r\n\r\n";
