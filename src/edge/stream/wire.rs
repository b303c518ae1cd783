//! A TCP socket with a small write buffer, so that one answer leaves in one write.

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

use crate::edge::tls::MAX_HELLO_BYTES;

/// What is written is kept back up to here until it is flushed; a TLS record and its neighbours fit.
const BUFFER_BYTES: usize = 16 * 1024;
/// A larger buffer is given back once it is empty: an idle connection costs little.
const KEPT_BYTES: usize = 4 * 1024;
/// How many pieces one system call takes.
const PIECES: usize = 16;

/// A socket below TLS (or below HTTP, where there is no TLS).
///
/// The library writes header and body apart. Without a buffer each would be a TLS record, a system call and a packet of its own,
/// which costs 5 to 10 µs a request (`floor.md`, item 2).
#[derive(Debug)]
pub(crate) struct Wire {
    tcp: TcpStream,
    /// Bytes that came behind a PROXY header and belong to the connection.
    lead: Vec<u8>,
    lead_at: usize,
    out: Vec<u8>,
    out_at: usize,
    sent: u64,
    first: First,
    /// What was read so far, where the beginning of the connection is to be looked at.
    kept: Option<Vec<u8>>,
}

/// What is known of the first bytes of the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum First {
    /// Whatever they are, they pass.
    Any,
    /// They must begin a TLS handshake record; none has come yet.
    TlsAwaited,
    /// They are not TLS: the first five bytes.
    NotTls([u8; 5]),
}

impl Wire {
    /// Wraps a socket; `lead` was read from it already.
    pub(crate) fn new(tcp: TcpStream, lead: Vec<u8>) -> Self {
        Self { tcp, lead, lead_at: 0, out: Vec::new(), out_at: 0, sent: 0, first: First::Any, kept: None }
    }

    /// Makes the first read fail, without an alert, if it is not a TLS handshake record.
    pub(crate) fn expect_tls(mut self) -> Self {
        self.first = First::TlsAwaited;
        self
    }

    /// Keeps what is read, up to here, until it is taken.
    pub(crate) fn keep_hello(mut self) -> Self {
        self.kept = Some(Vec::with_capacity(KEPT_BYTES));
        self
    }

    /// Returns what was kept, and keeps no more.
    pub(crate) fn take_hello(&mut self) -> Option<Vec<u8>> {
        self.kept.take()
    }

    /// Reads until it is certain whether the connection begins like this. What was read is read again.
    pub(crate) async fn begins_with(&mut self, beginning: &[u8]) -> io::Result<bool> {
        loop {
            let known = self.lead.get(self.lead_at..).unwrap_or_default();
            let compared = known.len().min(beginning.len());
            if known.get(..compared) != beginning.get(..compared) {
                return Ok(false);
            }
            if compared == beginning.len() {
                return Ok(true);
            }
            self.lead.reserve(KEPT_BYTES);
            if self.tcp.read_buf(&mut self.lead).await? == 0 {
                return Ok(false);
            }
        }
    }

    /// Returns the first bytes, if they were not TLS although TLS was expected.
    pub(crate) fn not_tls(&self) -> Option<[u8; 5]> {
        match self.first {
            First::NotTls(bytes) => Some(bytes),
            First::Any | First::TlsAwaited => None,
        }
    }

    /// Returns how many bytes the other side has acknowledged, which is more than the system's buffer having taken them. Where the
    /// system does not say it, how many the socket has taken.
    pub(crate) fn acked(&self) -> u64 {
        get_tcp_info(self.raw_fd()).map_or(self.sent, |info| info.tcpi_bytes_acked)
    }

    /// Makes the close throw away what the other side has not taken, and tell it so by a reset. Otherwise the system would go on
    /// keeping it for a client that does not read.
    pub(crate) fn abort_at_close(&self) {
        // Without it the close is an ordinary one, and the system gives up later.
        let _ = sockopt::set_socket_linger(&self.tcp, Some(Duration::ZERO));
    }

    /// Returns the socket's number.
    pub(crate) fn raw_fd(&self) -> RawFd {
        self.tcp.as_raw_fd()
    }

    /// Returns our own address.
    pub(crate) fn local_addr(&self) -> io::Result<SocketAddr> {
        self.tcp.local_addr()
    }

    /// Gives the empty buffer back: a connection that waits for a request keeps none.
    pub(super) fn slim(&mut self) {
        if self.out.is_empty() {
            self.out = Vec::new();
        }
    }

    /// Says whether something is kept back.
    pub(super) fn holds_back(&self) -> bool {
        !self.waiting().is_empty()
    }

    fn waiting(&self) -> &[u8] {
        self.out.get(self.out_at..).unwrap_or_default()
    }

    /// Counts bytes that the socket took; those of the buffer go first. Returns how many were not from the buffer.
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

impl AsyncRead for Wire {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let before = buf.filled().len();
        if this.lead_at < this.lead.len() {
            let rest = this.lead.get(this.lead_at..).unwrap_or_default();
            let some = rest.get(..buf.remaining()).unwrap_or(rest);
            buf.put_slice(some);
            this.lead_at += some.len();
            if this.lead_at == this.lead.len() {
                this.lead = Vec::new();
                this.lead_at = 0;
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

impl AsyncWrite for Wire {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(buf)])
    }

    fn poll_write_vectored(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bufs: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
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
            // Too much to keep back: what waits and what is new go together, uncopied.
            let waiting = this.out.get(this.out_at..).unwrap_or_default();
            let mut pieces = [IoSlice::new(&[]); PIECES];
            let all = std::iter::once(waiting).chain(bufs.iter().map(|piece| &**piece)).filter(|piece| !piece.is_empty());
            let count = pieces.iter_mut().zip(all).map(|(place, piece)| *place = IoSlice::new(piece)).count();
            let taken = ready!(Pin::new(&mut this.tcp).poll_write_vectored(cx, pieces.get(..count).unwrap_or_default()))?;
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

    async fn pair(lead: &[u8]) -> (Wire, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let other = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        (Wire::new(listener.accept().await.unwrap().0, lead.to_vec()), other)
    }

    #[tokio::test]
    async fn every_byte_arrives_once_and_in_order_whatever_the_sizes() {
        let (mut wire, mut other) = pair(b"").await;
        let sizes = [1, 16, 4000, 16_383, 16_384, 16_385, 3, 70_000, 1, 300_000, 12_000, 5_000, 2];
        let pieces: Vec<Vec<u8>> = (0_u8..).zip(sizes).map(|(n, size)| (0..=250).map(|b: u8| b ^ n).cycle().take(size).collect()).collect();
        let expected = pieces.concat();
        let reader = tokio::spawn(async move {
            let mut all = Vec::new();
            other.read_to_end(&mut all).await.unwrap();
            all
        });

        for (index, piece) in pieces.iter().enumerate() {
            let (mut front, mut back) = piece.split_at(piece.len() / 3);
            while !front.is_empty() || !back.is_empty() {
                let written = wire.write_vectored(&[IoSlice::new(front), IoSlice::new(back)]).await.unwrap();
                back = &back[written.saturating_sub(front.len())..];
                front = &front[written.min(front.len())..];
            }
            if index % 4 == 3 {
                wire.flush().await.unwrap();
            }
        }
        wire.shutdown().await.unwrap();

        assert_eq!(wire.sent, u64::try_from(expected.len()).unwrap());
        assert!(reader.await.unwrap() == expected);
        assert!(wire.out.capacity() <= KEPT_BYTES, "an idle connection keeps little");
    }

    #[tokio::test]
    async fn an_empty_buffer_is_given_back_and_one_with_something_in_it_is_kept() {
        let (mut wire, mut other) = pair(b"").await;
        wire.write_all(b"answer").await.unwrap();

        wire.slim();
        assert!(wire.holds_back());
        wire.flush().await.unwrap();
        assert!(wire.out.capacity() > 0, "the next answer over the connection needs it");
        wire.slim();

        assert_eq!(wire.out.capacity(), 0);
        let mut answer = [0; 6];
        other.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"answer");
    }

    #[tokio::test]
    async fn what_came_behind_a_proxy_header_is_read_first() {
        let (mut wire, mut other) = pair(b"abc").await;
        other.write_all(b"def").await.unwrap();
        drop(other);

        let mut small = [0; 2];
        wire.read_exact(&mut small).await.unwrap();
        let mut rest = Vec::new();
        wire.read_to_end(&mut rest).await.unwrap();

        assert_eq!((&small[..], &rest[..]), (&b"ab"[..], &b"cdef"[..]));
    }

    #[tokio::test]
    async fn a_beginning_is_known_with_its_first_other_octet_and_is_read_again() {
        for (said, begins) in [(&b"PRI * more"[..], true), (b"PRO", false), (b"G", false), (b"PR", false)] {
            let (mut wire, mut other) = pair(said.get(..1).unwrap()).await;
            other.write_all(&said[1..]).await.unwrap();
            drop(other);

            assert_eq!(wire.begins_with(b"PRI *").await.unwrap(), begins);
            let mut all = Vec::new();
            wire.read_to_end(&mut all).await.unwrap();
            assert_eq!(all, said);
        }
    }

    #[tokio::test]
    async fn what_is_no_handshake_is_kept_for_a_look() {
        let (wire, _other) = pair(b"GET / HTTP/1.1").await;
        let mut wire = wire.expect_tls();

        let error = wire.read(&mut [0; 64]).await.unwrap_err();

        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        assert_eq!(wire.not_tls(), Some(*b"GET /"));
    }
}
