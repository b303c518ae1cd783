//! A small upstream: HTTP/1.1 on a thread per connection. It answers by path and remembers every request.

use std::{
    collections::HashMap,
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener},
    os::unix::net::UnixListener,
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use rustls::{ServerConfig, ServerConnection, StreamOwned};

use super::wait;

/// One request as it arrived.
#[derive(Clone, Debug)]
pub struct Got {
    pub connection: usize,
    /// How many requests came over this connection before.
    pub earlier: usize,
    pub method: String,
    pub target: String,
    pub fields: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Got {
    /// Returns the value of a field that stands exactly once.
    pub fn field(&self, name: &str) -> Option<&str> {
        let mut values = self
            .fields
            .iter()
            .filter(|(field, _)| field.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str());
        let first = values.next();
        assert!(values.next().is_none(), "{name} stands twice: {self:?}");
        first
    }

    pub fn has(&self, name: &str) -> bool {
        self.fields.iter().any(|(field, _)| field.eq_ignore_ascii_case(name))
    }
}

/// The upstream.
pub struct Upstream {
    pub addr: SocketAddr,
    got: Arc<Mutex<Vec<Got>>>,
}

impl Upstream {
    pub fn start() -> Self {
        Self::listen(|stream| Some(halves(stream.try_clone().ok()?, stream)))
    }

    /// Listens at this address.
    pub fn start_at(addr: SocketAddr) -> Self {
        Self::listen_on(TcpListener::bind(addr).unwrap(), |stream| {
            Some(halves(stream.try_clone().ok()?, stream))
        })
    }

    /// Speaks TLS.
    pub fn start_tls(config: ServerConfig) -> Self {
        let config = Arc::new(config);
        Self::listen(move |stream| {
            let connection = ServerConnection::new(Arc::clone(&config)).ok()?;
            let shared = Shared(Arc::new(Mutex::new(StreamOwned::new(connection, stream))));
            Some(halves(shared.clone(), shared))
        })
    }

    /// Listens on a Unix socket; the address is of no use.
    pub fn start_unix(path: &Path) -> Self {
        let listener = UnixListener::bind(path).unwrap();
        let got: Arc<Mutex<Vec<Got>>> = Arc::default();
        let remembered = Arc::clone(&got);
        std::thread::spawn(move || {
            for (number, stream) in listener.incoming().flatten().enumerate() {
                let got = Arc::clone(&remembered);
                std::thread::spawn(move || {
                    serve(Box::new(stream.try_clone().unwrap()), Box::new(stream), number, &got)
                });
            }
        });
        Self { addr: SocketAddr::from(([127, 0, 0, 1], 0)), got }
    }

    fn listen(
        open: impl Fn(std::net::TcpStream) -> Option<(Reading, Writing)> + Send + Sync + 'static,
    ) -> Self {
        Self::listen_on(TcpListener::bind("127.0.0.1:0").unwrap(), open)
    }

    fn listen_on(
        listener: TcpListener,
        open: impl Fn(std::net::TcpStream) -> Option<(Reading, Writing)> + Send + Sync + 'static,
    ) -> Self {
        let addr = listener.local_addr().unwrap();
        let got: Arc<Mutex<Vec<Got>>> = Arc::default();
        let connections = AtomicUsize::new(0);
        let remembered = Arc::clone(&got);
        let open = Arc::new(open);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let number = connections.fetch_add(1, Ordering::Relaxed);
                let (got, open) = (Arc::clone(&remembered), Arc::clone(&open));
                std::thread::spawn(move || {
                    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
                    stream.set_nodelay(true).unwrap();
                    if let Some((reader, writer)) = open(stream) {
                        serve(reader, writer, number, &got);
                    }
                });
            }
        });
        Self { addr, got }
    }

    /// Returns what has come so far, and keeps it.
    pub fn peek(&self) -> Vec<Got> {
        self.got.lock().unwrap().clone()
    }

    /// Takes what has come so far.
    pub fn take(&self) -> Vec<Got> {
        std::mem::take(&mut self.got.lock().unwrap())
    }

    /// Takes the only request that has come.
    pub fn only(&self) -> Got {
        let mut got = self.take();
        assert_eq!(got.len(), 1, "{got:?}");
        got.remove(0)
    }
}

type Reading = Box<dyn Read + Send>;
type Writing = Box<dyn Write + Send>;

fn halves(reading: impl Read + Send + 'static, writing: impl Write + Send + 'static) -> (Reading, Writing) {
    (Box::new(reading), Box::new(writing))
}

/// A TLS stream that two halves hold.
#[derive(Clone)]
struct Shared(Arc<Mutex<StreamOwned<ServerConnection, std::net::TcpStream>>>);

impl Read for Shared {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().read(buffer)
    }
}

impl Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.0.lock().unwrap().flush()
    }
}

fn serve(reader: Reading, mut writer: Writing, connection: usize, remembered: &Mutex<Vec<Got>>) {
    let mut reader = BufReader::new(reader);
    let mut earlier = 0;
    while let Some(got) = read_request(&mut reader, &mut writer, connection, earlier) {
        remembered.lock().unwrap().push(got.clone());
        if !answer(&got, &mut reader, &mut writer) || writer.flush().is_err() {
            return;
        }
        earlier += 1;
    }
}

fn read_request(
    reader: &mut BufReader<Reading>,
    writer: &mut Writing,
    connection: usize,
    earlier: usize,
) -> Option<Got> {
    let mut line = String::new();
    reader.read_line(&mut line).ok().filter(|&read| read > 0)?;
    let mut words = line.split_whitespace();
    let (method, target) = (words.next()?.to_owned(), words.next()?.to_owned());
    let mut fields = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let line = line.trim_end();
        if line.is_empty() {
            break;
        }
        let (name, value) = line.split_once(':')?;
        fields.push((name.to_owned(), value.trim().to_owned()));
    }
    let field = |name: &str| {
        fields.iter().find(|(field, _)| field.eq_ignore_ascii_case(name)).map(|(_, value)| value.clone())
    };
    if field("expect").is_some() {
        writer.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").ok()?;
    }
    let mut body = Vec::new();
    if target == "/swallow" {
        // Counts a body of any size and keeps none of it.
        let length = field("content-length")?.parse().ok()?;
        let count = std::io::copy(&mut reader.take(length), &mut std::io::sink()).ok()?;
        fields.push(("swallowed".to_owned(), count.to_string()));
        return Some(Got { connection, earlier, method, target, fields, body });
    }
    if let Some(length) = field("content-length") {
        body.resize(length.parse().unwrap(), 0);
        reader.read_exact(&mut body).ok()?;
    } else if field("transfer-encoding").is_some() {
        loop {
            let mut size = String::new();
            reader.read_line(&mut size).ok()?;
            let size = usize::from_str_radix(size.trim(), 16).ok()?;
            let mut chunk = vec![0; size + 2];
            reader.read_exact(&mut chunk).ok()?;
            body.extend_from_slice(&chunk[..size]);
            if size == 0 {
                break;
            }
        }
    }
    Some(Got { connection, earlier, method, target, fields, body })
}

/// Answers by path; says whether the connection goes on.
fn answer(got: &Got, reader: &mut BufReader<Reading>, writer: &mut Writing) -> bool {
    let (path, query) = got.target.split_once('?').unwrap_or((&got.target, ""));
    let query: HashMap<String, String> = query
        .split('&')
        .filter_map(|pair| pair.split_once('='))
        .map(|(name, value)| {
            (name.to_owned(), percent_encoding::percent_decode_str(value).decode_utf8_lossy().into_owned())
        })
        .collect();
    let mut fields: Vec<(String, String)> = Vec::new();
    for (name, value) in &query {
        // ?h-NAME=VALUE makes the answer carry a field.
        if let Some(name) = name.strip_prefix("h-") {
            fields.push((name.to_owned(), value.clone()));
        }
    }
    let status = query.get("status").map_or("200 OK", String::as_str).to_owned();
    if let Some(millis) = query.get("sleep") {
        wait::slow_peer(Duration::from_millis(millis.parse().unwrap()));
    }
    match path {
        "/close" => return false,
        // As if the connection had died at rest: only the first request of a connection is answered.
        "/stale" if got.earlier > 0 => return false,
        "/trailers" => {
            let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n";
            return writer.write_all(format!("{head}5\r\nhello\r\n0\r\nX-Sum: 5\r\n\r\n").as_bytes()).is_ok();
        }
        "/big" => {
            let mut left: usize = query["bytes"].parse().unwrap();
            let _ = writer.write_all(format!("HTTP/1.1 200 OK\r\nContent-Length: {left}\r\n\r\n").as_bytes());
            let block = [b'x'; 64 << 10];
            while left > 0 {
                let now = left.min(block.len());
                if writer.write_all(&block[..now]).is_err() {
                    return false;
                }
                left -= now;
            }
            return true;
        }
        // Answers at once, then is silent in the middle of the body.
        "/stall" => {
            let _ = writer.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello");
            let _ = writer.flush();
            wait::slow_peer(Duration::from_secs(3));
            return false;
        }
        "/garbage" => {
            let _ = writer.write_all(b"this is not HTTP\r\n\r\n");
            return false;
        }
        "/switch" => {
            let _ = writer.write_all(
                b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
            );
            return false;
        }
        _ if path.contains("ws") && got.has("upgrade") => return echo_tunnel(got, reader, writer),
        "/events" => {
            let _ = writer.write_all(
                b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n",
            );
            for event in ["data: 1\n\n", "data: 2\n\n"] {
                let _ = writer.write_all(format!("{:x}\r\n{event}\r\n", event.len()).as_bytes());
                let _ = writer.flush();
                wait::slow_peer(Duration::from_millis(300));
            }
            let _ = writer.write_all(b"0\r\n\r\n");
            return true;
        }
        // Until somebody ends it, twenty seconds at most.
        "/held" => {
            let _ = writer.write_all(
                b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n",
            );
            for _ in 0..200 {
                if writer.write_all(b"9\r\ndata: 1\n\n\r\n").and_then(|()| writer.flush()).is_err() {
                    return false;
                }
                wait::slow_peer(Duration::from_millis(100));
            }
            let _ = writer.write_all(b"0\r\n\r\n");
            return true;
        }
        _ => {}
    }
    let body = if got.method == "HEAD" {
        String::new()
    } else {
        format!("upstream saw {} {}\n", got.method, got.target)
    };
    let bodiless = status.starts_with("204") || status.starts_with("304");
    let body = if bodiless { String::new() } else { body };
    let mut head = format!("HTTP/1.1 {status}\r\nServer: secret/1.0\r\n");
    if !bodiless {
        let length = if got.method == "HEAD" { 1000 } else { body.len() };
        head.push_str(&format!("Content-Length: {length}\r\n"));
    }
    for (name, value) in fields {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str("\r\n");
    writer.write_all(head.as_bytes()).and_then(|()| writer.write_all(body.as_bytes())).is_ok()
}

/// Answers a WebSocket upgrade and sends back every byte.
fn echo_tunnel(got: &Got, reader: &mut BufReader<Reading>, writer: &mut Writing) -> bool {
    let key = got.field("sec-websocket-key").unwrap_or("");
    let mut context = aws_lc_rs::digest::Context::new(&aws_lc_rs::digest::SHA1_FOR_LEGACY_USE_ONLY);
    context.update(key.as_bytes());
    context.update(b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    let accept = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, context.finish());
    let head = format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {accept}\r\n\r\n"
    );
    let _ = writer.write_all(head.as_bytes());
    let _ = writer.flush();
    let mut buffer = [0; 4096];
    while let Ok(read) = reader.read(&mut buffer) {
        if read == 0 || writer.write_all(&buffer[..read]).and_then(|()| writer.flush()).is_err() {
            break;
        }
    }
    false
}

/// A CA in a PEM file, and a server's configuration with a certificate for `app.internal` that it signed.
pub fn tls_server(dir: &Path) -> ServerConfig {
    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    params.distinguished_name.push(rcgen::DnType::CommonName, "upstream ca");
    let ca = params.self_signed(&key).unwrap();
    std::fs::write(dir.join("upstream-ca.pem"), ca.pem()).unwrap();
    let issuer = rcgen::Issuer::new(params, key);
    let leaf_key = rcgen::KeyPair::generate().unwrap();
    let leaf = rcgen::CertificateParams::new(vec!["app.internal".to_owned()])
        .unwrap()
        .signed_by(&leaf_key, &issuer)
        .unwrap();
    ServerConfig::builder_with_provider(std::sync::Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![leaf.der().clone()],
            rustls::pki_types::PrivateKeyDer::try_from(leaf_key.serialize_der()).unwrap(),
        )
        .unwrap()
}
