//! One connection to a server of an upstream.

use std::{
    future::poll_fn,
    io,
    os::fd::{AsFd, BorrowedFd},
    pin::Pin,
    task::{Context, Poll, Waker},
    time::Duration,
};

use bytes::BytesMut;
use rustix::net::{RecvFlags, recv, sockopt};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf},
    net::{TcpStream, UnixStream},
};

use super::unread::is_another_answer;
use crate::{
    gateway::share::Share,
    model::TenantName,
    outbound::{ServerTls, TlsStream},
    policy::ServerAddress,
    state::Descriptor,
};

/// How much is read at once.
const READ_BYTES: usize = 16 * 1024;

/// When the system asks a silent server whether it is there, how often, and how long one that is there may take nothing.
const ASK_AFTER: Duration = Duration::from_secs(30);
const ASK_AGAIN: Duration = Duration::from_secs(10);
const ASK_TIMES: u32 = 3;
const GIVE_UP_MILLIS: u32 = 60_000;

/// How much is looked at of what a server says without being asked.
const GLIMPSE: usize = 12;

/// A connection and what was read of it and not yet used.
#[derive(Debug)]
pub(super) struct Connection {
    socket: Socket,
    unread: BytesMut,
    /// Whether TLS may still have something to send.
    unflushed: bool,
    /// Whether the body of a request went over it.
    carried: bool,
    /// Whether the last answer had no body by its status or its request.
    bodiless: bool,
    /// The only tenant that it serves, where they are kept apart.
    apart: Option<TenantName>,
    descriptor: Option<Descriptor>,
    /// Whose exchange goes over it, as long as one does.
    share: Option<Share>,
}

/// How a connection is between two exchanges.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rest {
    /// As it was left.
    Quiet,
    /// Closed, or broken.
    Ended,
    /// Its server said something without being asked.
    Spoken {
        /// Whether that answers a request which nobody made: none that says that nothing came in time (RFC 9110, section 15.5.9), as
        /// some servers do before they close.
        answer: bool,
    },
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
    pub(super) async fn open(address: &ServerAddress, apart: Option<TenantName>) -> io::Result<Self> {
        let plain = match address {
            ServerAddress::Tcp(address) => {
                let tcp = TcpStream::connect(address).await?;
                // A request leaves in one write; there is nothing to wait for.
                tcp.set_nodelay(true)?;
                Stream::Tcp(tcp)
            }
            ServerAddress::Unix(path) => Stream::Unix(UnixStream::connect(path).await?),
        };
        let plain = Plain { stream: plain, eager: false };
        Ok(Self {
            socket: Socket::Plain(plain),
            unread: BytesMut::new(),
            unflushed: false,
            carried: false,
            bodiless: false,
            apart,
            descriptor: None,
            share: None,
        })
    }

    /// Speaks TLS from here on. The caller sets the deadline.
    pub(super) async fn secure(self, tls: &ServerTls) -> io::Result<Self> {
        let Socket::Plain(plain) = self.socket else { return Ok(self) };
        let tls = Box::new(tls.connect(plain).await?);
        Ok(Self { socket: Socket::Tls(tls), ..self })
    }

    /// Says whether the server chose HTTP/2 (ALPN). In clear text nothing is chosen: who is asked is known to speak it (RFC 9113,
    /// section 3.3).
    pub(super) fn chose_http2(&self) -> bool {
        match &self.socket {
            Socket::Plain(_) | Socket::Gone => true,
            Socket::Tls(tls) => tls.get_ref().1.alpn_protocol() == Some(b"h2"),
        }
    }

    /// Has the system ask whether the other side is still there, and give up one that takes nothing: many exchanges hang on it, and
    /// some of them are silent.
    pub(super) fn keep_alive(&self) -> io::Result<()> {
        let Socket::Plain(Plain { stream: Stream::Tcp(tcp), .. }) = &self.socket else { return Ok(()) };
        sockopt::set_socket_keepalive(tcp, true)?;
        sockopt::set_tcp_keepidle(tcp, ASK_AFTER)?;
        sockopt::set_tcp_keepintvl(tcp, ASK_AGAIN)?;
        sockopt::set_tcp_keepcnt(tcp, ASK_TIMES)?;
        sockopt::set_tcp_user_timeout(tcp, GIVE_UP_MILLIS)?;
        Ok(())
    }

    /// Returns the stream itself, of which nothing was read yet.
    pub(super) fn into_stream(self) -> impl AsyncRead + AsyncWrite + Send + Unpin + 'static {
        Counted { socket: self.socket, _descriptor: self.descriptor }
    }

    /// Takes it out of an exchange that goes on without it.
    pub(super) fn leave(&mut self) -> Self {
        let gone = Self {
            socket: Socket::Gone,
            unread: BytesMut::new(),
            unflushed: false,
            carried: false,
            bodiless: false,
            apart: None,
            descriptor: None,
            share: None,
        };
        std::mem::replace(self, gone)
    }

    /// Says whether it was taken out.
    pub(super) const fn has_left(&self) -> bool {
        matches!(self.socket, Socket::Gone)
    }

    /// Keeps what it takes from the budget of descriptors for as long as it is open.
    pub(super) fn counted(mut self, descriptor: Descriptor) -> Self {
        self.descriptor = Some(descriptor);
        self
    }

    /// Keeps whose exchange goes over it, until it rests.
    pub(super) fn belongs(&mut self, share: Share) {
        self.share = Some(share);
    }

    /// Returns the only tenant that it serves, where they are kept apart.
    pub(super) fn apart(&self) -> Option<&TenantName> {
        self.apart.as_ref()
    }

    /// Notes that the body of a request went over it.
    pub(super) fn carries(&mut self) {
        self.carried = true;
    }

    /// Says whether the body of a request went over it.
    pub(super) fn has_carried(&self) -> bool {
        self.carried
    }

    /// Notes an answer, and whether it was one without a body.
    pub(super) fn answered(&mut self, without_body: bool) {
        self.bodiless = without_body;
    }

    /// Says whether all that was written has left for the system.
    pub(super) fn is_flushed(&self) -> bool {
        !self.unflushed
    }

    /// Says how the connection is at rest. The system itself is asked: what tokio was told of the socket may be older than what came.
    pub(super) fn rest(&mut self) -> Rest {
        if !self.unread.is_empty() {
            return self.spoken(&self.unread);
        }
        let mut glimpse = [0; GLIMPSE];
        let seen = match &mut self.socket {
            Socket::Plain(plain) => loop {
                match recv(&plain.stream, &mut glimpse, RecvFlags::PEEK | RecvFlags::DONTWAIT) {
                    Err(rustix::io::Errno::INTR) => {}
                    Err(rustix::io::Errno::WOULDBLOCK) => return Rest::Quiet,
                    Ok((seen, _)) => break Ok(seen),
                    Err(error) => break Err(error.into()),
                }
            },
            Socket::Gone => return Rest::Ended,
            // TLS has something to say of its own, such as tickets behind the handshake: only what it has for us counts.
            Socket::Tls(tls) => {
                tls.get_mut().0.eager = true;
                let mut buf = ReadBuf::new(&mut glimpse);
                let polled = Pin::new(&mut *tls).poll_read(&mut Context::from_waker(Waker::noop()), &mut buf);
                let filled = buf.filled().len();
                tls.get_mut().0.eager = false;
                match polled {
                    Poll::Pending => return Rest::Quiet,
                    Poll::Ready(read) => read.map(|()| filled),
                }
            }
        };
        match seen {
            Ok(0) | Err(_) => Rest::Ended,
            Ok(seen) => self.spoken(glimpse.get(..seen).unwrap_or_default()),
        }
    }

    fn spoken(&self, said: &[u8]) -> Rest {
        let timeout = said.starts_with(b"HTTP/1.1 408") || said.starts_with(b"HTTP/1.0 408");
        Rest::Spoken { answer: !timeout && is_another_answer(said, self.bodiless) }
    }

    /// Writes all of it.
    pub(super) async fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.socket.write_all(bytes).await?;
        self.socket.flush().await
    }

    /// Writes some of `out`, or reads what there is behind what is unread: whichever can be done first. May be dropped at any time
    /// without loss.
    ///
    /// With `look` it reads before it writes, and asks the system itself whether there is something: nothing is said behind words of
    /// the server that lie there already.
    pub(super) async fn turn(&mut self, out: &[u8], look: bool) -> Turn {
        poll_fn(|cx| {
            if look {
                self.unread.reserve(READ_BYTES);
                self.socket.eager(true);
                let read = std::pin::pin!(self.socket.read_buf(&mut self.unread)).poll(cx);
                self.socket.eager(false);
                if let Poll::Ready(read) = read {
                    return Poll::Ready(Turn::Read(read));
                }
            }
            if !out.is_empty()
                && let Poll::Ready(written) = Pin::new(&mut self.socket).poll_write(cx, out)
            {
                self.unflushed = true;
                // A socket that takes nothing of something is closed.
                return Poll::Ready(Turn::Wrote(written.and_then(|bytes| match bytes {
                    0 => Err(io::ErrorKind::WriteZero.into()),
                    bytes => Ok(bytes),
                })));
            }
            if self.unflushed
                && let Poll::Ready(flushed) = Pin::new(&mut self.socket).poll_flush(cx)
            {
                self.unflushed = false;
                if let Err(error) = flushed {
                    return Poll::Ready(Turn::Wrote(Err(error)));
                }
            }
            self.unread.reserve(READ_BYTES);
            let read = std::pin::pin!(self.socket.read_buf(&mut self.unread));
            read.poll(cx).map(Turn::Read)
        })
        .await
    }

    /// Writes some of it. May be dropped at any time without loss.
    pub(super) async fn write_some(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.unflushed = true;
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
        self.share = None;
    }
}

#[derive(Debug)]
enum Socket {
    Plain(Plain),
    /// Boxed: rustls keeps more than a kilobyte of state in place.
    Tls(Box<TlsStream<Plain>>),
    /// It goes on elsewhere.
    Gone,
}

impl Socket {
    /// Says whether the system is asked where tokio knows of nothing to read.
    fn eager(&mut self, eager: bool) {
        match self {
            Self::Plain(plain) => plain.eager = eager,
            Self::Tls(tls) => tls.get_mut().0.eager = eager,
            Self::Gone => {}
        }
    }
}

impl AsyncRead for Socket {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
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

/// A stream that others speak on, with what it takes of the budget.
struct Counted {
    socket: Socket,
    _descriptor: Option<Descriptor>,
}

impl AsyncRead for Counted {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_read(cx, buf)
    }
}

impl AsyncWrite for Counted {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}

/// The socket itself.
#[derive(Debug)]
struct Plain {
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

/// Reads what has come by now, whatever tokio was told.
fn read_now(stream: &Stream, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
    // What is unfilled has to be cleared first: not more than is likely to be there.
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

/// How much [`read_now`] reads at once.
const LOOK_BYTES: usize = 2048;

impl AsyncRead for Plain {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
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

#[cfg(test)]
mod tests {
    use tokio::{io::AsyncWriteExt, net::TcpListener};

    use super::*;

    /// What lies there is read before the last of a request leaves, whatever tokio was told: else it would look like an answer to all of it.
    #[tokio::test]
    async fn what_the_server_has_said_is_seen_before_more_is_said() {
        for (look, said, reads) in [(true, &b"HTTP/1.1 4"[..], true), (false, b"HTTP/1.1 4", false), (true, b"", false)] {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = ServerAddress::Tcp(listener.local_addr().unwrap());
            let mut connection = Connection::open(&address, None).await.unwrap();
            let mut server = listener.accept().await.unwrap().0;
            // No wait in between: tokio has not heard of it.
            server.write_all(said).await.unwrap();

            let turn = connection.turn(b"last", look).await;

            let read = matches!(&turn, Turn::Read(Ok(read)) if *read == said.len());
            assert!(if reads { read } else { matches!(turn, Turn::Wrote(Ok(4))) }, "{look} {said:?} {turn:?}");
        }
    }
}
