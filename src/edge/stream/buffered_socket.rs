//! A TCP socket with a small write buffer, so that a response leaves in one write.

use std::{
    io::{self, IoSlice},
    net::SocketAddr,
    os::fd::{AsRawFd, RawFd},
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use pingora::protocols::l4::ext::get_tcp_info;
use rustix::net::sockopt;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf},
    net::TcpStream,
};

use crate::wire::client_hello::MAX_HELLO_BYTES;

/// Writes are buffered up to this size until they are flushed; a TLS record and its neighbours fit.
const BUFFER_BYTES: usize = 16 * 1024;
/// A larger buffer is freed once it is empty, so that an idle connection costs little.
const KEPT_BYTES: usize = 4 * 1024;
/// How many slices one system call takes.
const PIECES: usize = 16;

/// A socket below TLS (or below HTTP, where there is no TLS).
///
/// The library writes head and body separately. Without a buffer each would be a TLS record, a system call
/// and a packet of its own, which costs 5 to 10 µs a request (`docs/performance.md`).
#[derive(Debug)]
pub(crate) struct BufferedSocket {
    tcp: TcpStream,
    /// Bytes that followed a PROXY header.
    prefix: Vec<u8>,
    prefix_at: usize,
    out: Vec<u8>,
    out_at: usize,
    sent: u64,
    first: First,
    /// What was read so far, while the beginning of the connection is kept.
    kept: Option<Vec<u8>>,
}

/// What is known about the first bytes of the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum First {
    /// They may be anything.
    Any,
    /// They must begin a TLS handshake record; none has arrived yet.
    TlsAwaited,
    /// They are not TLS. Holds the first five.
    NotTls([u8; 5]),
}

impl BufferedSocket {
    /// Wraps a socket from which `prefix` was read already.
    pub(crate) fn new(tcp: TcpStream, prefix: Vec<u8>) -> Self {
        Self { tcp, prefix, prefix_at: 0, out: Vec::new(), out_at: 0, sent: 0, first: First::Any, kept: None }
    }

    /// Makes the first read fail, without an alert, if it is not a TLS handshake record.
    pub(crate) fn expect_tls(mut self) -> Self {
        self.first = First::TlsAwaited;
        self
    }

    /// Keeps what is read, up to [`MAX_HELLO_BYTES`], until it is taken.
    pub(crate) fn keep_hello(mut self) -> Self {
        self.kept = Some(Vec::with_capacity(KEPT_BYTES));
        self
    }

    /// Returns what was kept, and stops keeping.
    pub(crate) fn take_hello(&mut self) -> Option<Vec<u8>> {
        self.kept.take()
    }

    /// Reads until it is certain whether the connection begins like this. What was read can be read again.
    pub(crate) async fn begins_with(&mut self, beginning: &[u8]) -> io::Result<bool> {
        loop {
            let known = self.prefix.get(self.prefix_at..).unwrap_or_default();
            let compared = known.len().min(beginning.len());
            if known.get(..compared) != beginning.get(..compared) {
                return Ok(false);
            }
            if compared == beginning.len() {
                return Ok(true);
            }
            self.prefix.reserve(KEPT_BYTES);
            if self.tcp.read_buf(&mut self.prefix).await? == 0 {
                return Ok(false);
            }
        }
    }

    /// Returns the first bytes, if TLS was expected and they are something else.
    pub(crate) fn not_tls(&self) -> Option<[u8; 5]> {
        match self.first {
            First::NotTls(bytes) => Some(bytes),
            First::Any | First::TlsAwaited => None,
        }
    }

    /// Returns how many bytes the peer has acknowledged; data in the kernel's buffer does not count. Where
    /// the system does not report it, returns how many bytes the socket has accepted.
    pub(crate) fn acked(&self) -> u64 {
        get_tcp_info(self.raw_fd()).map_or(self.sent, |info| info.tcpi_bytes_acked)
    }

    /// Makes the close discard unacknowledged data and send a reset. Otherwise the kernel would keep the data
    /// for a client that does not read.
    pub(crate) fn reset_on_close(&self) {
        // If this fails the close is an ordinary one, and the kernel gives up later.
        let _ = sockopt::set_socket_linger(&self.tcp, Some(Duration::ZERO));
    }

    /// Returns the file descriptor.
    pub(crate) fn raw_fd(&self) -> RawFd {
        self.tcp.as_raw_fd()
    }

    /// Returns our own address.
    pub(crate) fn local_addr(&self) -> io::Result<SocketAddr> {
        self.tcp.local_addr()
    }

    /// Frees the buffer if it is empty: a connection that waits for a request keeps none.
    pub(super) fn release_buffer(&mut self) {
        if self.out.is_empty() {
            self.out = Vec::new();
        }
    }

    /// Says whether anything is buffered.
    pub(super) fn has_buffered(&self) -> bool {
        !self.waiting().is_empty()
    }

    fn waiting(&self) -> &[u8] {
        self.out.get(self.out_at..).unwrap_or_default()
    }

    /// Notes bytes that the socket accepted, which come from the buffer first. Returns how many did not.
    fn took(&mut self, bytes: usize) -> usize {
        self.sent = self.sent.saturating_add(u64::try_from(bytes).unwrap_or(0));
        let buffered = self.waiting().len().min(bytes);
        self.out_at += buffered;
        if self.out_at == self.out.len() {
            self.out_at = 0;
            if self.out.capacity() > KEPT_BYTES {
                self.out = Vec::new();
            } else {
                self.out.clear();
            }
        }
        bytes - buffered
    }

    fn poll_drain(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.waiting().is_empty() {
            let waiting = self.out.get(self.out_at..).unwrap_or_default();
            let taken = ready!(Pin::new(&mut self.tcp).poll_write(cx, waiting))?;
            if taken == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.took(taken);
        }
        Poll::Ready(Ok(()))
    }

    fn judge_first(&mut self, bytes: &[u8]) -> io::Result<()> {
        // RFC 8446, section 5.1: the first record is a handshake (22).
        self.first = match bytes.first() {
            None => return Ok(()),
            Some(22) => First::Any,
            Some(_) => {
                let mut head = [0; 5];
                head.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
                First::NotTls(head)
            }
        };
        match self.first {
            First::NotTls(_) => Err(io::Error::new(io::ErrorKind::InvalidData, "not a TLS handshake")),
            First::Any | First::TlsAwaited => Ok(()),
        }
    }
}

impl AsyncRead for BufferedSocket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let before = buf.filled().len();
        if this.prefix_at < this.prefix.len() {
            let rest = this.prefix.get(this.prefix_at..).unwrap_or_default();
            let some = rest.get(..buf.remaining()).unwrap_or(rest);
            buf.put_slice(some);
            this.prefix_at += some.len();
            if this.prefix_at == this.prefix.len() {
                this.prefix = Vec::new();
                this.prefix_at = 0;
            }
        } else {
            ready!(Pin::new(&mut this.tcp).poll_read(cx, buf))?;
        }
        if this.first == First::TlsAwaited {
            this.judge_first(buf.filled().get(before..).unwrap_or_default())?;
        }
        if let Some(kept) = this.kept.as_mut().filter(|kept| kept.len() <= MAX_HELLO_BYTES) {
            kept.extend_from_slice(buf.filled().get(before..).unwrap_or_default());
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for BufferedSocket {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(buf)])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        let new: usize = bufs.iter().map(|piece| piece.len()).sum();
        if new == 0 {
            return Poll::Ready(Ok(0));
        }
        loop {
            if this.waiting().len() + new <= BUFFER_BYTES {
                for piece in bufs {
                    this.out.extend_from_slice(piece);
                }
                return Poll::Ready(Ok(new));
            }
            // Too much to buffer: the buffer and the new data are written together, without a copy.
            let waiting = this.out.get(this.out_at..).unwrap_or_default();
            let mut pieces = [IoSlice::new(&[]); PIECES];
            let all = std::iter::once(waiting)
                .chain(bufs.iter().map(|piece| &**piece))
                .filter(|piece| !piece.is_empty());
            let count = pieces.iter_mut().zip(all).map(|(place, piece)| *place = IoSlice::new(piece)).count();
            let taken = ready!(
                Pin::new(&mut this.tcp).poll_write_vectored(cx, pieces.get(..count).unwrap_or_default())
            )?;
            if taken == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            let new_taken = this.took(taken);
            if new_taken > 0 {
                return Poll::Ready(Ok(new_taken));
            }
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_drain(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_drain(cx))?;
        Pin::new(&mut self.tcp).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::{io::AsyncWriteExt, net::TcpListener};

    use super::*;

    async fn pair(prefix: &[u8]) -> (BufferedSocket, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let other = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        (BufferedSocket::new(listener.accept().await.unwrap().0, prefix.to_vec()), other)
    }

    #[tokio::test]
    async fn every_byte_arrives_once_and_in_order_whatever_the_sizes() {
        let (mut socket, mut other) = pair(b"").await;
        let sizes = [1, 16, 4000, 16_383, 16_384, 16_385, 3, 70_000, 1, 300_000, 12_000, 5_000, 2];
        let pieces: Vec<Vec<u8>> = (0_u8..)
            .zip(sizes)
            .map(|(n, size)| (0..=250).map(|b: u8| b ^ n).cycle().take(size).collect())
            .collect();
        let expected = pieces.concat();
        let reader = tokio::spawn(async move {
            let mut all = Vec::new();
            other.read_to_end(&mut all).await.unwrap();
            all
        });

        for (index, piece) in pieces.iter().enumerate() {
            let (mut front, mut back) = piece.split_at(piece.len() / 3);
            while !front.is_empty() || !back.is_empty() {
                let written =
                    socket.write_vectored(&[IoSlice::new(front), IoSlice::new(back)]).await.unwrap();
                back = &back[written.saturating_sub(front.len())..];
                front = &front[written.min(front.len())..];
            }
            if index % 4 == 3 {
                socket.flush().await.unwrap();
            }
        }
        socket.shutdown().await.unwrap();

        assert_eq!(socket.sent, u64::try_from(expected.len()).unwrap());
        assert!(reader.await.unwrap() == expected);
        assert!(socket.out.capacity() <= KEPT_BYTES, "an idle connection keeps little");
    }

    #[tokio::test]
    async fn an_empty_buffer_is_given_back_and_one_with_something_in_it_is_kept() {
        let (mut socket, mut other) = pair(b"").await;
        socket.write_all(b"answer").await.unwrap();

        socket.release_buffer();
        assert!(socket.has_buffered());
        socket.flush().await.unwrap();
        assert!(socket.out.capacity() > 0, "the next answer over the connection needs it");
        socket.release_buffer();

        assert_eq!(socket.out.capacity(), 0);
        let mut answer = [0; 6];
        other.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"answer");
    }

    #[tokio::test]
    async fn what_came_behind_a_proxy_header_is_read_first() {
        let (mut socket, mut other) = pair(b"abc").await;
        other.write_all(b"def").await.unwrap();
        drop(other);

        let mut small = [0; 2];
        socket.read_exact(&mut small).await.unwrap();
        let mut rest = Vec::new();
        socket.read_to_end(&mut rest).await.unwrap();

        assert_eq!((&small[..], &rest[..]), (&b"ab"[..], &b"cdef"[..]));
    }

    #[tokio::test]
    async fn a_beginning_is_known_with_its_first_other_octet_and_is_read_again() {
        for (said, begins) in [(&b"PRI * more"[..], true), (b"PRO", false), (b"G", false), (b"PR", false)] {
            let (mut socket, mut other) = pair(said.get(..1).unwrap()).await;
            other.write_all(&said[1..]).await.unwrap();
            drop(other);

            assert_eq!(socket.begins_with(b"PRI *").await.unwrap(), begins);
            let mut all = Vec::new();
            socket.read_to_end(&mut all).await.unwrap();
            assert_eq!(all, said);
        }
    }

    #[tokio::test]
    async fn what_is_no_handshake_is_kept_for_a_look() {
        let (socket, _other) = pair(b"GET / HTTP/1.1").await;
        let mut socket = socket.expect_tls();

        let error = socket.read(&mut [0; 64]).await.unwrap_err();

        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        assert_eq!(socket.not_tls(), Some(*b"GET /"));
    }
}
