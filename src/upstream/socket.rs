//! The socket of a connection to a server: TCP or Unix, plain or TLS.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd},
    pin::Pin,
    task::{Context, Poll, Waker},
    time::Duration,
};

use rustix::net::{RecvFlags, recv, sockopt};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpStream, UnixStream},
};

use crate::{
    outbound::{self, ServerTls, TlsStream},
    policy::ServerAddress,
};

/// TCP keep-alive: after how long without traffic, how often, and how many probes; and how long sent data may
/// stay unacknowledged.
const ASK_AFTER: Duration = Duration::from_secs(30);
const ASK_AGAIN: Duration = Duration::from_secs(10);
const ASK_TIMES: u32 = 3;
const GIVE_UP_MILLIS: u32 = 60_000;

/// How much [`read_now`] reads at once.
const LOOK_BYTES: usize = 2048;

/// A socket, unless it was taken out.
#[derive(Debug)]
pub(crate) enum Socket {
    /// In clear text.
    Plain(Plain),
    /// Boxed: rustls keeps more than a kilobyte of state in place.
    Tls(Box<TlsStream<Plain>>),
    /// It was taken out, and is used elsewhere.
    Gone,
}

impl Socket {
    /// Connects. The caller sets the deadline.
    pub(crate) async fn open(address: &ServerAddress) -> io::Result<Self> {
        let stream = match address {
            ServerAddress::Tcp(address) => Stream::Tcp(outbound::connect_tcp(*address).await?),
            ServerAddress::Unix(path) => Stream::Unix(outbound::connect_unix(path).await?),
        };
        Ok(Self::Plain(Plain { stream, eager: false }))
    }

    /// Speaks TLS from here on. The caller sets the deadline.
    pub(crate) async fn secure(self, tls: &ServerTls) -> io::Result<Self> {
        match self {
            Self::Plain(plain) => Ok(Self::Tls(Box::new(tls.connect(plain).await?))),
            Self::Tls(_) | Self::Gone => Ok(self),
        }
    }

    /// Says whether the server chose HTTP/2 (ALPN). In clear text nothing is negotiated: the server is
    /// configured to speak it (RFC 9113, section 3.3).
    pub(crate) fn chose_http2(&self) -> bool {
        match self {
            Self::Plain(_) | Self::Gone => true,
            Self::Tls(tls) => tls.get_ref().1.alpn_protocol() == Some(b"h2"),
        }
    }

    /// Enables TCP keep-alive, and a limit for unacknowledged data.
    pub(crate) fn keep_alive(&self) -> io::Result<()> {
        let Self::Plain(Plain { stream: Stream::Tcp(tcp), .. }) = self else { return Ok(()) };
        sockopt::set_socket_keepalive(tcp, true)?;
        sockopt::set_tcp_keepidle(tcp, ASK_AFTER)?;
        sockopt::set_tcp_keepintvl(tcp, ASK_AGAIN)?;
        sockopt::set_tcp_keepcnt(tcp, ASK_TIMES)?;
        sockopt::set_tcp_user_timeout(tcp, GIVE_UP_MILLIS)?;
        Ok(())
    }

    /// Has the system acknowledge at once what was received. Where that fails, it acknowledges in its own
    /// time.
    pub(crate) fn acknowledge(&self) {
        let stream = match self {
            Self::Plain(plain) => &plain.stream,
            Self::Tls(tls) => &tls.get_ref().0.stream,
            Self::Gone => return,
        };
        if let Stream::Tcp(tcp) = stream {
            sockopt::set_tcp_quickack(tcp, true).ok();
        }
    }

    /// Peeks at the octets that the server has sent; in clear text they stay in the socket. `None` means
    /// none, 0 octets mean the end. The system itself is asked: tokio's readiness may be out of date.
    pub(crate) fn glimpse(&mut self, glimpse: &mut [u8]) -> io::Result<Option<usize>> {
        match self {
            Self::Plain(plain) => loop {
                match recv(&plain.stream, &mut *glimpse, RecvFlags::PEEK | RecvFlags::DONTWAIT) {
                    Err(rustix::io::Errno::INTR) => {}
                    Err(rustix::io::Errno::WOULDBLOCK) => return Ok(None),
                    Err(error) => return Err(error.into()),
                    Ok((seen, _)) => return Ok(Some(seen)),
                }
            },
            Self::Gone => Ok(Some(0)),
            // TLS has records of its own, such as tickets after the handshake: only application data counts.
            Self::Tls(tls) => {
                tls.get_mut().0.eager = true;
                let mut buf = ReadBuf::new(glimpse);
                let polled = Pin::new(&mut *tls).poll_read(&mut Context::from_waker(Waker::noop()), &mut buf);
                let filled = buf.filled().len();
                tls.get_mut().0.eager = false;
                match polled {
                    Poll::Pending => Ok(None),
                    Poll::Ready(read) => read.map(|()| Some(filled)),
                }
            }
        }
    }

    /// Sets whether the system is asked where tokio knows of nothing to read.
    pub(crate) fn eager(&mut self, eager: bool) {
        match self {
            Self::Plain(plain) => plain.eager = eager,
            Self::Tls(tls) => tls.get_mut().0.eager = eager,
            Self::Gone => {}
        }
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut *self {
            Self::Plain(plain) => Pin::new(plain).poll_read(cx, buf),
            Self::Tls(tls) => Pin::new(tls).poll_read(cx, buf),
            Self::Gone => Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match &mut *self {
            Self::Plain(plain) => Pin::new(plain).poll_write(cx, buf),
            Self::Tls(tls) => Pin::new(tls).poll_write(cx, buf),
            Self::Gone => Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut *self {
            Self::Plain(plain) => Pin::new(plain).poll_flush(cx),
            Self::Tls(tls) => Pin::new(tls).poll_flush(cx),
            Self::Gone => Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut *self {
            Self::Plain(plain) => Pin::new(plain).poll_shutdown(cx),
            Self::Tls(tls) => Pin::new(tls).poll_shutdown(cx),
            Self::Gone => Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
        }
    }
}

/// A socket in clear text.
#[derive(Debug)]
pub(crate) struct Plain {
    stream: Stream,
    /// Whether the system is asked where tokio knows of nothing to read.
    eager: bool,
}

#[derive(Debug)]
enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(tcp) => tcp.as_fd(),
            Self::Unix(unix) => unix.as_fd(),
        }
    }
}

/// Reads what has arrived by now, whatever tokio's readiness says.
fn read_now(stream: &Stream, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
    // The buffer must be cleared first, so no more of it is used than octets are likely to be there.
    let room = buf.remaining().min(LOOK_BYTES);
    loop {
        match recv(stream, buf.initialize_unfilled_to(room), RecvFlags::DONTWAIT) {
            Err(rustix::io::Errno::INTR) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => return Poll::Pending,
            Err(error) => return Poll::Ready(Err(error.into())),
            Ok((read, _)) => {
                buf.advance(read);
                return Poll::Ready(Ok(()));
            }
        }
    }
}

impl AsyncRead for Plain {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let polled = match &mut self.stream {
            Stream::Tcp(tcp) => Pin::new(tcp).poll_read(cx, buf),
            Stream::Unix(unix) => Pin::new(unix).poll_read(cx, buf),
        };
        match polled {
            Poll::Pending if self.eager => read_now(&self.stream, buf),
            Poll::Pending | Poll::Ready(_) => polled,
        }
    }
}

impl AsyncWrite for Plain {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match &mut self.stream {
            Stream::Tcp(tcp) => Pin::new(tcp).poll_write(cx, buf),
            Stream::Unix(unix) => Pin::new(unix).poll_write(cx, buf),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Stream::Tcp(tcp) => Pin::new(tcp).poll_flush(cx),
            Stream::Unix(unix) => Pin::new(unix).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Stream::Tcp(tcp) => Pin::new(tcp).poll_shutdown(cx),
            Stream::Unix(unix) => Pin::new(unix).poll_shutdown(cx),
        }
    }
}
