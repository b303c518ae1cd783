//! One connection to a server of an upstream.

use std::{
    future::poll_fn,
    io,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::BytesMut;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf},
    net::{TcpStream, UnixStream},
};

use crate::policy::ServerAddress;

/// How much is read at once.
const READ_BYTES: usize = 16 * 1024;

/// A connection and what was read of it and not yet used.
#[derive(Debug)]
pub(super) struct Connection {
    socket: Socket,
    unread: BytesMut,
}

/// What could be done first.
#[derive(Debug)]
pub(super) enum Turn {
    /// So many octets were read; 0 is the end.
    Read(io::Result<usize>),
    /// So many octets were taken.
    Wrote(io::Result<usize>),
}

impl Connection {
    /// Connects. The caller sets the deadline.
    pub(super) async fn open(address: &ServerAddress) -> io::Result<Self> {
        let socket = match address {
            ServerAddress::Tcp(address) => {
                let tcp = TcpStream::connect(address).await?;
                // A request leaves in one write; there is nothing to wait for.
                tcp.set_nodelay(true)?;
                Socket::Tcp(tcp)
            }
            ServerAddress::Unix(path) => Socket::Unix(UnixStream::connect(path).await?),
        };
        Ok(Self { socket, unread: BytesMut::new() })
    }

    /// Says whether the connection is as it was left: neither closed nor spoken on by the server. Costs no system call.
    pub(super) fn rests(&self) -> bool {
        let mut one = [0];
        let read = match &self.socket {
            Socket::Tcp(tcp) => tcp.try_read(&mut one),
            Socket::Unix(unix) => unix.try_read(&mut one),
        };
        self.unread.is_empty() && read.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
    }

    /// Writes all of it.
    pub(super) async fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.socket.write_all(bytes).await
    }

    /// Writes some of `out`, or reads what there is behind what is unread: whichever can be done first. May be dropped at any time
    /// without loss.
    pub(super) async fn turn(&mut self, out: &[u8]) -> Turn {
        poll_fn(|cx| {
            if !out.is_empty()
                && let Poll::Ready(written) = Pin::new(&mut self.socket).poll_write(cx, out)
            {
                // A socket that takes nothing of something is closed.
                return Poll::Ready(Turn::Wrote(written.and_then(|bytes| match bytes {
                    0 => Err(io::ErrorKind::WriteZero.into()),
                    bytes => Ok(bytes),
                })));
            }
            self.unread.reserve(READ_BYTES);
            let read = std::pin::pin!(self.socket.read_buf(&mut self.unread));
            read.poll(cx).map(Turn::Read)
        })
        .await
    }

    /// Writes some of it. May be dropped at any time without loss.
    pub(super) async fn write_some(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.socket.write(bytes).await
    }

    /// Returns what was read and not yet used.
    pub(super) fn unread(&self) -> &[u8] {
        &self.unread
    }

    /// Returns what was read and not yet used, to use it.
    pub(super) fn unread_mut(&mut self) -> &mut BytesMut {
        &mut self.unread
    }

    /// Gives the buffer back before a rest: thousands of connections may rest.
    pub(super) fn slim(&mut self) {
        self.unread = BytesMut::new();
    }
}

#[derive(Debug)]
enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl AsyncRead for Socket {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match &mut *self {
            Self::Tcp(tcp) => Pin::new(tcp).poll_read(cx, buf),
            Self::Unix(unix) => Pin::new(unix).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match &mut *self {
            Self::Tcp(tcp) => Pin::new(tcp).poll_write(cx, buf),
            Self::Unix(unix) => Pin::new(unix).poll_write(cx, buf),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut *self {
            Self::Tcp(tcp) => Pin::new(tcp).poll_flush(cx),
            Self::Unix(unix) => Pin::new(unix).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut *self {
            Self::Tcp(tcp) => Pin::new(tcp).poll_shutdown(cx),
            Self::Unix(unix) => Pin::new(unix).poll_shutdown(cx),
        }
    }
}
