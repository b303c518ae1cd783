//! One request of a client, over HTTP/1.1 or HTTP/2, and how it ended for the client.

use std::{
    io::{Read, Write},
    net::TcpStream,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};

use crate::harness::wait;
use crate::{
    harness::client::{raw, tls_config},
    world::World,
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    Http1,
    Http2,
}

/// What is asked.
#[derive(Clone, Debug)]
pub struct Ask {
    pub method: String,
    /// The name that the handshake asks for.
    pub sni: String,
    pub host: String,
    pub path: String,
    pub fields: Vec<(String, String)>,
    pub body: Vec<u8>,
    /// How long the body is said to be, where it is not sent whole.
    pub length: Option<usize>,
    /// The certificate that the client presents, with its key.
    pub certificate: Option<PathBuf>,
}

/// What the client got.
#[derive(Clone, Debug)]
pub struct Answer {
    /// In one line.
    pub told: String,
    /// The session cookie that it sets, as a Cookie field.
    pub cookie: String,
}

impl Ask {
    pub fn get(host: &str, path: &str) -> Self {
        Self {
            method: "GET".to_owned(),
            sni: host.to_owned(),
            host: host.to_owned(),
            path: path.to_owned(),
            fields: vec![("user-agent".to_owned(), "golden/1".to_owned())],
            body: Vec::new(),
            length: None,
            certificate: None,
        }
    }

    pub fn post(host: &str, path: &str) -> Self {
        Self { body: b"hello".to_vec(), ..Self::get(host, path).method("POST") }
    }

    pub fn method(mut self, method: &str) -> Self {
        self.method = method.to_owned();
        self
    }

    pub fn field(mut self, name: &str, value: &str) -> Self {
        self.fields.push((name.to_owned(), value.to_owned()));
        self
    }

    pub fn cookie(self, cookie: &str) -> Self {
        self.field("cookie", cookie)
    }

    pub fn host(mut self, host: &str) -> Self {
        self.host = host.to_owned();
        self
    }

    pub fn certificate(mut self, path: &Path) -> Self {
        self.certificate = Some(path.to_owned());
        self
    }

    /// Says that the body is longer than what is sent of it.
    pub fn unfinished(mut self, length: usize) -> Self {
        self.length = Some(length);
        self
    }

    fn length(&self) -> Option<usize> {
        self.length.or(Some(self.body.len()).filter(|length| *length > 0))
    }

    /// Sends it.
    pub fn begin(&self, world: &World, version: Version) -> Exchange {
        match version {
            Version::Http1 => {
                let config = config(world, b"http/1.1", self.certificate.as_deref());
                let connection = ClientConnection::new(config, self.sni.clone().try_into().unwrap()).unwrap();
                let mut stream = StreamOwned::new(connection, raw(world.octroi.addr("public")));
                stream.sock.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
                let mut head = format!("{} {} HTTP/1.1\r\nHost: {}\r\n", self.method, self.path, self.host);
                let length = self.length().map(|length| ("content-length".to_owned(), length.to_string()));
                for (name, value) in self.fields.iter().chain(&length) {
                    head.push_str(&format!("{name}: {value}\r\n"));
                }
                // One that is refused may be gone already.
                let _ = stream.write_all(&[format!("{head}\r\n").as_bytes(), &self.body].concat());
                Exchange::Http1 { stream: Box::new(stream), got: Vec::new(), is_head: self.method == "HEAD" }
            }
            Version::Http2 => {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                let config = config(world, b"h2", self.certificate.as_deref());
                let (answer, out) = runtime.block_on(async {
                    let tcp = tokio::net::TcpStream::connect(world.octroi.addr("public")).await.unwrap();
                    tcp.set_nodelay(true).unwrap();
                    let connector = tokio_rustls::TlsConnector::from(config);
                    let tls = connector.connect(self.sni.clone().try_into().unwrap(), tcp).await.unwrap();
                    let (mut sender, connection) = h2::client::handshake(tls).await.unwrap();
                    tokio::spawn(connection);
                    let mut request = http::Request::builder()
                        .method(&*self.method)
                        .uri(format!("https://{}{}", self.host, self.path));
                    let length =
                        self.length().map(|length| ("content-length".to_owned(), length.to_string()));
                    for (name, value) in self.fields.iter().chain(&length) {
                        request = request.header(name, value);
                    }
                    std::future::poll_fn(|cx| sender.poll_ready(cx)).await.unwrap();
                    let ends = self.body.is_empty() && self.length.is_none();
                    let (answer, mut out) = sender.send_request(request.body(()).unwrap(), ends).unwrap();
                    if !ends {
                        out.send_data(Bytes::from(self.body.clone()), self.length.is_none()).unwrap();
                    }
                    // The sender stays: without one the connection would be said to end.
                    (answer, (out, sender))
                });
                Exchange::Http2 { runtime, waits: Some(answer), body: None, head: None, _out: Box::new(out) }
            }
        }
    }
}

type Http2Out = (h2::SendStream<Bytes>, h2::client::SendRequest<Bytes>);

/// A request under way. One that is let go of ends with its connection.
pub enum Exchange {
    Http1 {
        stream: Box<StreamOwned<ClientConnection, TcpStream>>,
        got: Vec<u8>,
        is_head: bool,
    },
    Http2 {
        runtime: tokio::runtime::Runtime,
        waits: Option<h2::client::ResponseFuture>,
        body: Option<h2::RecvStream>,
        head: Option<Box<http::response::Parts>>,
        _out: Box<Http2Out>,
    },
}

const PATIENCE: Duration = Duration::from_secs(20);

impl Exchange {
    /// Waits for the first octets of the answer's body.
    pub fn first(&mut self) {
        match self {
            Self::Http1 { stream, got, .. } => {
                while String::from_utf8_lossy(got)
                    .split_once("\r\n\r\n")
                    .is_none_or(|(_, body)| body.is_empty())
                {
                    assert!(read(stream, got) > 0, "{}", String::from_utf8_lossy(got));
                }
            }
            Self::Http2 { runtime, waits, body, head, .. } => {
                let (parts, mut stream) =
                    runtime.block_on(timely(waits.take().unwrap())).unwrap().into_parts();
                runtime.block_on(timely(stream.data())).unwrap().unwrap();
                (*body, *head) = (Some(stream), Some(Box::new(parts)));
            }
        }
    }

    /// Waits for the head of an answer over HTTP/1.1.
    pub fn head(&mut self) {
        let Self::Http1 { stream, got, .. } = self else { panic!("over HTTP/1.1") };
        while !String::from_utf8_lossy(got).contains("\r\n\r\n") {
            assert!(read(stream, got) > 0, "{}", String::from_utf8_lossy(got));
        }
    }

    /// Has an HTTP/2 client send what it has to say, without waiting for an answer.
    pub fn said(&self, is_there: impl Fn() -> bool) {
        if let Self::Http2 { runtime, .. } = self {
            runtime.block_on(wait::eventually_async("it is there", is_there));
        }
    }

    /// Waits for the end, and tells of the answer.
    pub fn end(self) -> Answer {
        match self {
            Self::Http1 { mut stream, mut got, is_head } => {
                let how = loop {
                    if is_whole(&got, is_head) {
                        break "";
                    }
                    if read(&mut stream, &mut got) == 0 {
                        break if got.is_empty() { "nothing" } else { ", cut" };
                    }
                };
                if got.is_empty() {
                    return Answer { told: how.to_owned(), cookie: String::new() };
                }
                let answer = crate::harness::client::parse(&String::from_utf8_lossy(&got), 0);
                told(
                    answer.status,
                    answer.fields.iter().map(|(name, value)| (name.to_ascii_lowercase(), value.clone())),
                    how,
                )
            }
            Self::Http2 { runtime, waits, body, head, _out } => {
                let whole = async {
                    let (parts, mut body) = match (waits, head, body) {
                        (Some(waits), _, _) => match timely(waits).await {
                            Ok(answer) => answer.into_parts(),
                            Err(error) => return Err(named(&error)),
                        },
                        (None, Some(parts), Some(body)) => (*parts, body),
                        (None, _, _) => panic!("no answer was waited for"),
                    };
                    let mut how = String::new();
                    while let Some(piece) = timely(body.data()).await {
                        match piece {
                            Ok(piece) => drop(body.flow_control().release_capacity(piece.len())),
                            Err(error) => {
                                how = format!(", {}", named(&error));
                                break;
                            }
                        }
                    }
                    if how.is_empty()
                        && timely(body.trailers()).await.is_ok_and(|trailers| trailers.is_some())
                    {
                        how = ", trailers".to_owned();
                    }
                    Ok((parts, how))
                };
                match runtime.block_on(whole) {
                    Err(how) => Answer { told: how, cookie: String::new() },
                    Ok((parts, how)) => {
                        let fields = parts
                            .headers
                            .iter()
                            .map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()));
                        told(parts.status.as_u16(), fields, &how)
                    }
                }
            }
        }
    }
}

async fn timely<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(PATIENCE, future).await.expect("an answer in time")
}

fn named(error: &h2::Error) -> String {
    error.reason().map_or_else(|| "cut".to_owned(), |reason| format!("reset {}", u32::from(reason)))
}

fn read(stream: &mut impl Read, got: &mut Vec<u8>) -> usize {
    let mut space = [0; 16_384];
    let read = match stream.read(&mut space) {
        Ok(read) => read,
        // Without a word of TLS, the end is the end.
        Err(error) if error.kind() != std::io::ErrorKind::WouldBlock => 0,
        Err(error) => panic!("{error} behind {}", String::from_utf8_lossy(got)),
    };
    got.extend_from_slice(&space[..read]);
    read
}

fn is_whole(got: &[u8], is_head: bool) -> bool {
    let text = String::from_utf8_lossy(got);
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let lower = head.to_ascii_lowercase();
    if is_head || lower.starts_with("http/1.1 304") || lower.starts_with("http/1.1 204") {
        return true;
    }
    match lower
        .split("content-length: ")
        .nth(1)
        .map(|rest| rest.split("\r\n").next().unwrap().parse::<usize>().unwrap())
    {
        Some(length) => body.len() >= length,
        None => {
            lower.contains("transfer-encoding: chunked")
                && body.contains("0\r\n")
                && body.ends_with("\r\n\r\n")
        }
    }
}

/// The fields that a client acts on. Those that every answer has are held by `tests/docs`.
const NOTED: [&str; 11] = [
    "allow",
    "cache-control",
    "connection",
    "content-type",
    "grpc-status",
    "location",
    "octroi-request-id",
    "retry-after",
    "set-cookie",
    "vary",
    "www-authenticate",
];

fn told(status: u16, fields: impl Iterator<Item = (String, String)>, how: &str) -> Answer {
    let mut cookie = String::new();
    let mut noted = Vec::new();
    for (name, value) in fields.filter(|(name, _)| NOTED.contains(&name.as_str())) {
        let value = match name.as_str() {
            "octroi-request-id" => "<id>".to_owned(),
            "retry-after" => "<seconds>".to_owned(),
            "set-cookie" if value.contains("=oct1.") => {
                let (pair, rest) = value.split_once(';').unwrap();
                pair.clone_into(&mut cookie);
                format!("{}=<token>;{rest}", pair.split('=').next().unwrap())
            }
            _ => value,
        };
        noted.push(format!("{name}: {}", seconds(&value)));
    }
    noted.sort_unstable();
    Answer { told: format!("{status}{how} [{}]", noted.join("] [")), cookie }
}

/// How long a cookie is kept may be a second less.
fn seconds(value: &str) -> String {
    let Some((before, rest)) = value.split_once("Max-Age=") else { return value.to_owned() };
    let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
    if &rest[..digits] == "0" {
        value.to_owned()
    } else {
        format!("{before}Max-Age=<seconds>{}", &rest[digits..])
    }
}

/// What a client trusts, speaks and presents.
fn config(world: &World, protocol: &[u8], certificate: Option<&Path>) -> Arc<ClientConfig> {
    let plain = tls_config(&world.octroi.path().join("certs/ca.pem"), &[protocol]);
    let Some(certificate) = certificate else { return plain };
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(world.octroi.path().join("certs/ca.pem")).unwrap()).unwrap();
    let chain = vec![CertificateDer::from_pem_file(certificate).unwrap()];
    let mut config =
        ClientConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_client_auth_cert(chain, PrivateKeyDer::from_pem_file(certificate).unwrap())
            .unwrap();
    config.alpn_protocols = vec![protocol.to_vec()];
    Arc::new(config)
}
