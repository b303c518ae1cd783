//! Clients: curl for what a client does, a bare TLS stream for what none should.

use std::{
    io::{ErrorKind, Read, Write},
    net::{SocketAddr, TcpStream},
    path::Path,
    process::Command,
    sync::Arc,
    time::{Duration, Instant},
};

use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned, pki_types::pem::PemObject};

/// One curl command.
pub struct Curl {
    command: Command,
}

/// What curl got.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: u16,
    pub version: String,
    pub fields: Vec<(String, String)>,
    pub body: String,
    pub exit: i32,
}

impl Answer {
    pub fn field(&self, name: &str) -> Option<&str> {
        self.fields
            .iter()
            .find(|(field, _)| field.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }

    pub fn all(&self, name: &str) -> Vec<&str> {
        self.fields
            .iter()
            .filter(|(field, _)| field.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
            .collect()
    }

    /// Returns the session cookie that this answer sets, as a Cookie field.
    pub fn session(&self) -> String {
        let set = self
            .all("set-cookie")
            .into_iter()
            .find(|value| value.starts_with("__Host-octroi=oct1."))
            .expect("a session cookie");
        set.split(';').next().unwrap().to_owned()
    }
}

impl Curl {
    pub fn new(addr: SocketAddr, host: &str, path: &str) -> Self {
        let mut command = Command::new("curl");
        command.args(["-sS", "-i", "--max-time", "30", "--path-as-is", "--globoff"]);
        command.arg("--resolve").arg(format!("{host}:{}:{}", addr.port(), addr.ip()));
        command.arg(format!("https://{host}:{}{path}", addr.port()));
        Self { command }
    }

    pub fn plain(addr: SocketAddr, host: &str, path: &str) -> Self {
        let mut command = Command::new("curl");
        command.args(["-sS", "-i", "--max-time", "30", "--path-as-is", "--globoff"]);
        command.arg("--resolve").arg(format!("{host}:{}:{}", addr.port(), addr.ip()));
        command.arg(format!("http://{host}:{}{path}", addr.port()));
        Self { command }
    }

    pub fn cacert(mut self, path: &Path) -> Self {
        self.command.arg("--cacert").arg(path);
        self
    }

    pub fn args(mut self, args: &[&str]) -> Self {
        self.command.args(args);
        self
    }

    pub fn header(self, line: &str) -> Self {
        self.args(&["-H", line])
    }

    pub fn cookie(self, cookie: &str) -> Self {
        self.header(&format!("Cookie: {cookie}"))
    }

    pub fn get(mut self) -> Answer {
        let output = self.command.output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        parse(&text, output.status.code().unwrap_or(-1))
    }

    pub fn status(self) -> u16 {
        self.get().status
    }
}

/// Reads an answer as curl -i or a socket shows it; interim answers are passed over.
pub fn parse(text: &str, exit: i32) -> Answer {
    let mut rest = text;
    loop {
        let (head, body) = rest.split_once("\r\n\r\n").unwrap_or((rest, ""));
        let mut lines = head.split("\r\n");
        let mut words = lines.next().unwrap_or("").split_whitespace();
        let version = words.next().unwrap_or("").to_owned();
        let status: u16 = words.next().and_then(|status| status.parse().ok()).unwrap_or(0);
        let fields = lines
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.to_owned(), value.trim().to_owned()))
            .collect();
        if (100..200).contains(&status) && status != 101 {
            rest = body;
            continue;
        }
        return Answer { status, version, fields, body: body.to_owned(), exit };
    }
}

/// A TLS stream that speaks no HTTP of its own. Reads time out after two seconds.
pub fn raw_tls(
    addr: SocketAddr,
    sni: &str,
    ca: &Path,
    alpn: &[&[u8]],
) -> StreamOwned<ClientConnection, TcpStream> {
    tls_over(raw(addr), sni, ca, alpn)
}

/// A TCP stream. Reads time out after two seconds.
pub fn raw(addr: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(addr).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

/// TLS over a stream on which something may have been said already.
pub fn tls_over(
    stream: TcpStream,
    sni: &str,
    ca: &Path,
    alpn: &[&[u8]],
) -> StreamOwned<ClientConnection, TcpStream> {
    let connection = ClientConnection::new(tls_config(ca, alpn), sni.to_owned().try_into().unwrap()).unwrap();
    StreamOwned::new(connection, stream)
}

/// What a TLS client trusts and speaks.
pub fn tls_config(ca: &Path, alpn: &[&[u8]]) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(rustls::pki_types::CertificateDer::from_pem_file(ca).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
    Arc::new(config)
}

/// Sends one request over a connection that stays, and reads its answer: the head, and as much body as Content-Length says.
pub fn ask(stream: &mut (impl Read + Write), head: &str) -> super::client::Answer {
    ask_unless_closed(stream, head).expect("the connection is closed and no byte of an answer came")
}

/// As [`ask`]; nothing where the other side has closed the connection before the first byte of an answer (RFC 9112, 9.5: between two requests it may, at any time).
pub fn ask_unless_closed(stream: &mut (impl Read + Write), head: &str) -> Option<super::client::Answer> {
    let mut got = Vec::new();
    let mut buffer = [0; 8192];
    let mut sent = stream.write_all(head.as_bytes()).and_then(|()| stream.flush());
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        let text = String::from_utf8_lossy(&got);
        if let Some(end) = text.find("\r\n\r\n") {
            let answer = parse(&text, 0);
            let length: usize = answer.field("content-length").map_or(0, |length| length.parse().unwrap());
            if got.len() >= end + 4 + length {
                return Some(answer);
            }
        }
        let closed = |kind| matches!(kind, ErrorKind::ConnectionReset | ErrorKind::BrokenPipe);
        match std::mem::replace(&mut sent, Ok(())).and_then(|()| stream.read(&mut buffer)) {
            Ok(read) if read > 0 => got.extend_from_slice(&buffer[..read]),
            Ok(_) if got.is_empty() => return None,
            Err(error) if got.is_empty() && closed(error.kind()) => return None,
            // One read has timed out. That the answer is late is no finding; that none comes is.
            Err(error) if is_timeout(&error) && Instant::now() < deadline => {}
            other => panic!("{other:?} after {:?}", String::from_utf8_lossy(&got)),
        }
    }
}

fn is_timeout(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
}

/// Sends bytes and reads until the other side closes or is silent for two seconds.
pub fn exchange(stream: &mut (impl Read + Write), bytes: &[u8]) -> String {
    let _ = stream.write_all(bytes);
    let _ = stream.flush();
    let mut got = Vec::new();
    let mut buffer = [0; 8192];
    while let Ok(read) = stream.read(&mut buffer) {
        if read == 0 {
            break;
        }
        got.extend_from_slice(&buffer[..read]);
    }
    String::from_utf8_lossy(&got).into_owned()
}
