//! A small upstream: HTTP/1.1 on a thread per connection. It answers by path and remembers every request.

use std::{
    collections::HashMap,
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

/// One request as it arrived.
#[derive(Clone, Debug)]
pub struct Got {
    pub connection: usize,
    pub method: String,
    pub target: String,
    pub fields: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Got {
    /// Returns the value of a field that stands exactly once.
    pub fn field(&self, name: &str) -> Option<&str> {
        let mut values = self.fields.iter().filter(|(field, _)| field.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str());
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
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        let got: Arc<Mutex<Vec<Got>>> = Arc::default();
        let connections = AtomicUsize::new(0);
        let remembered = Arc::clone(&got);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let number = connections.fetch_add(1, Ordering::Relaxed);
                let got = Arc::clone(&remembered);
                std::thread::spawn(move || serve(stream, number, &got));
            }
        });
        Self { addr, got }
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

fn serve(stream: TcpStream, connection: usize, remembered: &Mutex<Vec<Got>>) {
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut writer = stream;
    while let Some(got) = read_request(&mut reader, connection) {
        remembered.lock().unwrap().push(got.clone());
        if !answer(&got, &mut reader, &mut writer) {
            return;
        }
    }
}

fn read_request(reader: &mut BufReader<TcpStream>, connection: usize) -> Option<Got> {
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
    let field = |name: &str| fields.iter().find(|(field, _)| field.eq_ignore_ascii_case(name)).map(|(_, value)| value.clone());
    let mut body = Vec::new();
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
    Some(Got { connection, method, target, fields, body })
}

/// Answers by path; says whether the connection goes on.
fn answer(got: &Got, reader: &mut BufReader<TcpStream>, writer: &mut TcpStream) -> bool {
    let (path, query) = got.target.split_once('?').unwrap_or((&got.target, ""));
    let query: HashMap<String, String> = query
        .split('&')
        .filter_map(|pair| pair.split_once('='))
        .map(|(name, value)| (name.to_owned(), percent_encoding::percent_decode_str(value).decode_utf8_lossy().into_owned()))
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
        std::thread::sleep(Duration::from_millis(millis.parse().unwrap()));
    }
    match path {
        "/close" => return false,
        "/garbage" => {
            let _ = writer.write_all(b"this is not HTTP\r\n\r\n");
            return false;
        }
        "/switch" => {
            let _ = writer.write_all(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n");
            return false;
        }
        "/ws" if got.has("upgrade") => return echo_tunnel(got, reader, writer),
        "/events" => {
            let _ = writer.write_all(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n");
            for event in ["data: 1\n\n", "data: 2\n\n"] {
                let _ = writer.write_all(format!("{:x}\r\n{event}\r\n", event.len()).as_bytes());
                std::thread::sleep(Duration::from_millis(300));
            }
            let _ = writer.write_all(b"0\r\n\r\n");
            return true;
        }
        _ => {}
    }
    let body = if got.method == "HEAD" { String::new() } else { format!("upstream saw {} {}\n", got.method, got.target) };
    let mut head = format!("HTTP/1.1 {status}\r\nServer: secret/1.0\r\nContent-Length: {}\r\n", body.len());
    for (name, value) in fields {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str("\r\n");
    writer.write_all(head.as_bytes()).and_then(|()| writer.write_all(body.as_bytes())).is_ok()
}

/// Answers a WebSocket upgrade and sends back every byte.
fn echo_tunnel(got: &Got, reader: &mut BufReader<TcpStream>, writer: &mut TcpStream) -> bool {
    let key = got.field("sec-websocket-key").unwrap_or("");
    let mut context = aws_lc_rs::digest::Context::new(&aws_lc_rs::digest::SHA1_FOR_LEGACY_USE_ONLY);
    context.update(key.as_bytes());
    context.update(b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    let accept = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, context.finish());
    let head =
        format!("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {accept}\r\n\r\n");
    let _ = writer.write_all(head.as_bytes());
    let mut buffer = [0; 4096];
    while let Ok(read) = reader.read(&mut buffer) {
        if read == 0 || writer.write_all(&buffer[..read]).is_err() {
            break;
        }
    }
    false
}
