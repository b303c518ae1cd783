//! The admin listener's own HTTP: one request, the same however its bytes come, bounded, and its body is what the head says.

use std::{
    io,
    path::Path,
    pin::Pin,
    task::{Context, Poll},
};

use octroi::admin::{fuzz::exchange, wire::RevokeBody};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::input::{Input, pieces};

/// Judges one input: three sizes of pieces, then what is received.
pub fn run(data: &[u8]) {
    let mut input = Input(data);
    let sizes: [u8; 3] = input.array();
    let received = input.0;
    let whole = read(vec![received]);
    assert_eq!(read(pieces(received, &sizes)), whole);
    if let Ok((method, path, body)) = whole {
        assert!(!method.is_empty() && path.starts_with('/') && !path.contains('?'));
        assert!(body.len() <= 64 * 1024);
        assert!(body.is_empty() || received.windows(body.len()).any(|part| part == body));
        if let Ok(wish) = serde_json::from_slice::<RevokeBody>(&body) {
            let again = serde_json::to_vec(&wish).expect("it is JSON");
            assert_eq!(serde_json::from_slice::<RevokeBody>(&again).expect("it is JSON"), wish);
        }
    }
}

fn read(pieces: Vec<&[u8]>) -> Result<(String, String, Vec<u8>), String> {
    thread_local! {
        static RUNTIME: tokio::runtime::Runtime =
            tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    }
    let mut pieces = Pieces { pieces, at: 0 };
    RUNTIME.with(|runtime| runtime.block_on(exchange(&mut pieces)))
}

/// A stream that hands out one piece after the other, then ends; what is written to it is dropped.
struct Pieces<'a> {
    pieces: Vec<&'a [u8]>,
    at: usize,
}

impl AsyncRead for Pieces<'_> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let at = self.at;
        if let Some(piece) = self.pieces.get_mut(at) {
            let (taken, rest) = piece.split_at(piece.len().min(buf.remaining()));
            buf.put_slice(taken);
            *piece = rest;
            if rest.is_empty() {
                self.at += 1;
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Pieces<'_> {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// Makes the seeds.
pub fn seeds(_root: &Path) -> Vec<Vec<u8>> {
    let mut seeds: Vec<Vec<u8>> = [
        "GET /v1/status?x=1 HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer a\r\n\r\n",
        "POST /v1/sessions/revoke HTTP/1.1\r\nHost: localhost\r\nContent-Length: 34\r\n\r\n{\"tenant\":\"acme\",\"user\":\"u_812\"}  surplus",
        "POST /v1/reload HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n{}",
        "POST / HTTP/1.1\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\n{}",
        "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\nContent-Length: 65537\r\n\r\n",
        "GET http://evil.test/ HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\n",
    ]
    .map(|text| [&[7, 1, 3][..], text.as_bytes()].concat())
    .into();
    seeds.push([&[1, 1, 1][..], b"GET / HTTP/1.1\r\n", "a: b\r\n".repeat(65).as_bytes(), b"\r\n"].concat());
    seeds
}
