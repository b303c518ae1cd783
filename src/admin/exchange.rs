//! One HTTP/1 exchange over any stream: a bounded head, a bounded body, one answer, then the connection
//! closes.

use std::{future::Future, time::Duration};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    time::timeout,
};

/// The deadline for the head, then for the body, then for reading the answer.
const DEADLINE: Duration = Duration::from_secs(10);

/// The largest head.
const HEAD_BYTES: usize = 16 * 1024;

/// The most fields.
const FIELDS: usize = 64;

/// The largest body.
pub(super) const BODY_BYTES: usize = 64 * 1024;

/// How long, and how much, is still read after the answer: closing at once would send a reset, and a client
/// that is still sending would lose the answer.
const LINGER: Duration = Duration::from_secs(5);
const LINGER_BYTES: u64 = 1024 * 1024;

/// The `Cache-Control` of an answer that must not be stored.
pub(super) const NO_STORE: &str = "no-store";

/// A request's head.
#[derive(Debug)]
pub(super) struct Head {
    /// The method.
    pub(super) method: String,
    /// The path, without the query.
    pub(super) path: String,
    fields: Vec<(String, Vec<u8>)>,
    /// The part of the body that arrived with the head.
    rest: Vec<u8>,
}

/// An answer.
#[derive(Debug)]
pub(super) struct Answer {
    /// The status.
    pub(super) status: u16,
    /// The content type.
    pub(super) content_type: &'static str,
    /// Its `Cache-Control`.
    pub(super) cache: &'static str,
    /// Further fields.
    pub(super) fields: Vec<(&'static str, &'static str)>,
    /// The body; may be empty.
    pub(super) body: Vec<u8>,
}

/// Why a request cannot be answered as asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// The peer closed, or sent nothing in time: no one waits for an answer.
    Gone,
    /// Too slow.
    Timeout,
    /// Not an HTTP/1 request with a path.
    Malformed,
    /// The head is too large.
    HeadTooLarge,
    /// The body is too large.
    BodyTooLarge,
    /// The body has no length.
    LengthRequired,
}

impl Head {
    /// Reads a head. A connection that sends nothing counts as gone, not as slow.
    pub(super) async fn read<S: AsyncRead + Unpin>(stream: &mut S) -> Result<Self, Fault> {
        let mut bytes = Vec::with_capacity(1024);
        match timeout(DEADLINE, read_through_head(stream, &mut bytes)).await {
            Ok(end) => Self::parse(&bytes, end?),
            Err(_) if bytes.is_empty() => Err(Fault::Gone),
            Err(_) => Err(Fault::Timeout),
        }
    }

    fn parse(bytes: &[u8], end: usize) -> Result<Self, Fault> {
        let (head, rest) = bytes.split_at_checked(end).ok_or(Fault::Malformed)?;
        let mut fields = [httparse::EMPTY_HEADER; FIELDS];
        let mut request = httparse::Request::new(&mut fields);
        match request.parse(head) {
            Ok(httparse::Status::Complete(_)) => {}
            Err(httparse::Error::TooManyHeaders) => return Err(Fault::HeadTooLarge),
            Ok(httparse::Status::Partial) | Err(_) => return Err(Fault::Malformed),
        }
        let (method, target) = request.method.zip(request.path).ok_or(Fault::Malformed)?;
        let path = target.split('?').next().filter(|path| path.starts_with('/')).ok_or(Fault::Malformed)?;
        let fields = request
            .headers
            .iter()
            .map(|field| (field.name.to_ascii_lowercase(), field.value.to_vec()))
            .collect();
        Ok(Self { method: method.to_owned(), path: path.to_owned(), fields, rest: rest.to_vec() })
    }

    /// Returns every line of a field; `name` is in lower case.
    pub(super) fn lines<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        self.fields.iter().filter(move |(other, _)| other == name).map(|(_, value)| value.as_slice())
    }

    /// Returns a field that occurs exactly once, as text.
    pub(super) fn only<'a>(&'a self, name: &'a str) -> Option<&'a str> {
        let mut lines = self.lines(name);
        let line = lines.next().filter(|_| lines.next().is_none())?;
        std::str::from_utf8(line).ok()
    }

    /// Reads the body. It requires a Content-Length; no caller streams to the admin API.
    pub(super) async fn read_body<S: AsyncRead + AsyncWrite + Unpin>(
        &mut self,
        stream: &mut S,
    ) -> Result<Vec<u8>, Fault> {
        let length = self.body_length()?;
        let mut body = std::mem::take(&mut self.rest);
        body.truncate(length);
        let reading = async {
            if body.len() < length
                && self.lines("expect").any(|line| line.eq_ignore_ascii_case(b"100-continue"))
            {
                stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await.map_err(|_| Fault::Gone)?;
                stream.flush().await.map_err(|_| Fault::Gone)?;
            }
            let mut rest = vec![0; length - body.len()];
            stream.read_exact(&mut rest).await.map_err(|_| Fault::Gone)?;
            body.extend_from_slice(&rest);
            Ok(body)
        };
        within(DEADLINE, reading).await
    }

    fn body_length(&self) -> Result<usize, Fault> {
        if self.lines("transfer-encoding").next().is_some() {
            return Err(Fault::LengthRequired);
        }
        if self.lines("content-length").next().is_none() {
            return Ok(0);
        }
        let digits = self
            .only("content-length")
            .filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()) && !text.is_empty());
        let digits = digits.ok_or(Fault::Malformed)?;
        digits.parse().ok().filter(|&length| length <= BODY_BYTES).ok_or(Fault::BodyTooLarge)
    }
}

impl Answer {
    /// Answers with plain text.
    pub(super) fn text(status: u16, text: &'static str) -> Self {
        Self {
            status,
            content_type: "text/plain; charset=utf-8",
            cache: NO_STORE,
            fields: Vec::new(),
            body: text.as_bytes().to_vec(),
        }
    }

    /// Adds a field.
    pub(super) fn with(mut self, name: &'static str, value: &'static str) -> Self {
        self.fields.push((name, value));
        self
    }

    /// Writes the answer and closes the connection. An answer to HEAD has no body, only its length.
    pub(super) async fn write<S: AsyncRead + AsyncWrite + Unpin>(self, stream: &mut S, to_head: bool) {
        let mut bytes = self.head().into_bytes();
        if !to_head {
            bytes.extend_from_slice(&self.body);
        }
        let writing = async {
            stream.write_all(&bytes).await?;
            stream.flush().await?;
            stream.shutdown().await
        };
        if let Ok(Ok(())) = timeout(DEADLINE, writing).await {
            let mut sink = tokio::io::sink();
            // The connection closes whether or not this succeeds.
            let _ = timeout(LINGER, tokio::io::copy(&mut stream.take(LINGER_BYTES), &mut sink)).await;
        }
    }

    fn head(&self) -> String {
        let reason = http::StatusCode::from_u16(self.status)
            .ok()
            .and_then(|status| status.canonical_reason())
            .unwrap_or("Status");
        let mut head = format!("HTTP/1.1 {} {reason}\r\n", self.status);
        let length = self.body.len().to_string();
        let ours = [
            ("Content-Type", self.content_type),
            ("Content-Length", &length),
            ("Cache-Control", self.cache),
            ("X-Content-Type-Options", "nosniff"),
            ("Connection", "close"),
        ];
        for (name, value) in ours.iter().chain(&self.fields) {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str("\r\n");
        head
    }
}

/// Reads until the empty line. Returns where the head ends.
async fn read_through_head<S: AsyncRead + Unpin>(
    stream: &mut S,
    bytes: &mut Vec<u8>,
) -> Result<usize, Fault> {
    loop {
        let looked_at = bytes.len().saturating_sub(3);
        let room = u64::try_from(HEAD_BYTES.saturating_sub(bytes.len())).unwrap_or(0);
        match stream.take(room).read_buf(bytes).await {
            Ok(0) if bytes.len() >= HEAD_BYTES => return Err(Fault::HeadTooLarge),
            Ok(0) | Err(_) => return Err(Fault::Gone),
            Ok(_) => {}
        }
        let fresh = bytes.get(looked_at..).unwrap_or_default();
        if let Some(end) = memchr::memmem::find(fresh, b"\r\n\r\n") {
            return Ok(looked_at + end + 4);
        }
    }
}

async fn within<T>(deadline: Duration, work: impl Future<Output = Result<T, Fault>>) -> Result<T, Fault> {
    timeout(deadline, work).await.unwrap_or(Err(Fault::Timeout))
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn head(bytes: &[u8]) -> Result<Head, Fault> {
        Head::read(&mut &*bytes).await
    }

    #[tokio::test]
    async fn a_head_is_read_with_what_follows_it() {
        let head =
            head(b"POST /v1/reload?x=1 HTTP/1.1\r\nHost: a\r\nX-A: 1\r\nx-a: 2\r\n\r\n{}").await.unwrap();

        assert_eq!(
            (head.method.as_str(), head.path.as_str(), head.rest.as_slice()),
            ("POST", "/v1/reload", &b"{}"[..])
        );
        assert_eq!((head.only("host"), head.only("x-a"), head.lines("x-a").count()), (Some("a"), None, 2));
    }

    #[tokio::test]
    async fn what_is_no_request_is_named() {
        assert_eq!(head(b"").await.unwrap_err(), Fault::Gone);
        assert_eq!(head(b"GET / HTTP/1.1\r\n").await.unwrap_err(), Fault::Gone);
        assert_eq!(head(b"\x16\x03\x01\r\n\r\n").await.unwrap_err(), Fault::Malformed);
        assert_eq!(head(b"GET http://evil.test/ HTTP/1.1\r\n\r\n").await.unwrap_err(), Fault::Malformed);
        assert_eq!(head(&[b'a'; HEAD_BYTES + 1]).await.unwrap_err(), Fault::HeadTooLarge);
        let many = format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(FIELDS + 1));
        assert_eq!(head(many.as_bytes()).await.unwrap_err(), Fault::HeadTooLarge);
    }

    #[tokio::test]
    async fn a_body_has_a_length_and_a_bound() {
        async fn body(fields: &str, sent: &str) -> Result<Vec<u8>, Fault> {
            let mut head = head(format!("POST / HTTP/1.1\r\n{fields}\r\n").as_bytes()).await?;
            let (mut ours, mut theirs) = tokio::io::duplex(BODY_BYTES * 2);
            theirs.write_all(sent.as_bytes()).await.unwrap();
            drop(theirs);
            head.read_body(&mut ours).await
        }

        assert_eq!(body("", "").await, Ok(Vec::new()));
        assert_eq!(body("Content-Length: 2\r\n", "{}surplus").await, Ok(b"{}".to_vec()));
        assert_eq!(body("Content-Length: 3\r\n", "{}").await, Err(Fault::Gone));
        assert_eq!(
            body(&format!("Content-Length: {BODY_BYTES}\r\n"), &"a".repeat(BODY_BYTES))
                .await
                .map(|body| body.len()),
            Ok(BODY_BYTES)
        );
        assert_eq!(
            body(&format!("Content-Length: {}\r\n", BODY_BYTES + 1), "").await,
            Err(Fault::BodyTooLarge)
        );
        assert_eq!(body("Content-Length: 2\r\nContent-Length: 2\r\n", "{}").await, Err(Fault::Malformed));
        assert_eq!(body("Content-Length: +2\r\n", "{}").await, Err(Fault::Malformed));
        assert_eq!(body("Transfer-Encoding: chunked\r\n", "0\r\n\r\n").await, Err(Fault::LengthRequired));
    }

    #[tokio::test(start_paused = true)]
    async fn a_dripping_head_ends_at_its_deadline() {
        let (mut ours, mut theirs) = tokio::io::duplex(64);
        let drip = tokio::spawn(async move {
            while theirs.write_all(b"G").await.is_ok() {
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        });

        let began = tokio::time::Instant::now();
        let outcome = Head::read(&mut ours).await;

        assert_eq!(outcome.unwrap_err(), Fault::Timeout);
        assert_eq!(began.elapsed(), DEADLINE);
        drop(ours);
        drip.await.unwrap();
    }
}
