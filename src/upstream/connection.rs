//! One connection to a server of an upstream.

use std::{
    future::poll_fn,
    io,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};

use super::{budget::BudgetGuard, socket::Socket, unread_bodies::is_another_answer};
use crate::{model::TenantName, outbound::ServerTls, policy::ServerAddress, store::Descriptor};

/// How much is read at once.
const READ_BYTES: usize = 16 * 1024;

/// How much is read of octets that a server sends unasked.
const GLIMPSE: usize = 12;

/// A connection, with the octets that were read and not used yet.
#[derive(Debug)]
pub(crate) struct Connection {
    socket: Socket,
    unread: BytesMut,
    /// Whether TLS may still hold octets to send.
    unflushed: bool,
    /// Whether the body of a request went over it.
    carried: bool,
    /// Whether the last answer had no body by its status or its request.
    bodiless: bool,
    /// The only tenant that it serves, where tenants are kept apart.
    partition: Option<TenantName>,
    descriptor: Option<Descriptor>,
    /// The budget share of the exchange that uses it, while one does.
    share: Option<BudgetGuard>,
}

/// The state of an idle connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rest {
    /// Unchanged.
    Quiet,
    /// Closed, or broken.
    Ended,
    /// Its server sent something unasked.
    Spoken {
        /// Whether that answers a request which nobody made. A 408 does not count (RFC 9110, section 15.5.9):
        /// some servers send it before they close.
        answer: bool,
    },
}

/// What happened first: a read or a write.
#[derive(Debug)]
pub(crate) enum IoEvent {
    /// This many octets were read; 0 is the end.
    Read(io::Result<usize>),
    /// This many octets were written.
    Wrote(io::Result<usize>),
}

impl Connection {
    /// Connects. The caller sets the deadline.
    pub(crate) async fn open(address: &ServerAddress, partition: Option<TenantName>) -> io::Result<Self> {
        Ok(Self { partition, ..Self::over(Socket::open(address).await?) })
    }

    /// Wraps a socket.
    fn over(socket: Socket) -> Self {
        Self {
            socket,
            unread: BytesMut::new(),
            unflushed: false,
            carried: false,
            bodiless: false,
            partition: None,
            descriptor: None,
            share: None,
        }
    }

    /// Performs the TLS handshake. The caller sets the deadline.
    pub(crate) async fn secure(self, tls: &ServerTls) -> io::Result<Self> {
        Ok(Self { socket: self.socket.secure(tls).await?, ..self })
    }

    /// Says whether the server chose HTTP/2.
    pub(crate) fn chose_http2(&self) -> bool {
        self.socket.chose_http2()
    }

    /// Enables TCP keep-alive and a limit for unacknowledged data: many exchanges depend on the connection,
    /// and some of them are silent.
    pub(crate) fn keep_alive(&self) -> io::Result<()> {
        self.socket.keep_alive()
    }

    /// Returns the stream itself. Nothing may have been read yet.
    pub(crate) fn into_stream(self) -> impl AsyncRead + AsyncWrite + Send + Unpin + 'static {
        Counted { socket: self.socket, _descriptor: self.descriptor }
    }

    /// Takes the connection out of an exchange that continues without it.
    pub(crate) fn leave(&mut self) -> Self {
        std::mem::replace(self, Self::over(Socket::Gone))
    }

    /// Says whether the connection was taken out.
    pub(crate) const fn has_left(&self) -> bool {
        matches!(self.socket, Socket::Gone)
    }

    /// Holds its share of the budget of descriptors for as long as it is open.
    pub(crate) fn counted(mut self, descriptor: Descriptor) -> Self {
        self.descriptor = Some(descriptor);
        self
    }

    /// Holds the budget share of its exchange, until it is idle.
    pub(crate) fn belongs(&mut self, share: BudgetGuard) {
        self.share = Some(share);
    }

    /// Returns the only tenant that it serves, where they are kept apart.
    pub(crate) fn partition(&self) -> Option<&TenantName> {
        self.partition.as_ref()
    }

    /// Notes that the body of a request went over it.
    pub(crate) fn carries(&mut self) {
        self.carried = true;
    }

    /// Says whether the body of a request went over it.
    pub(crate) fn has_carried(&self) -> bool {
        self.carried
    }

    /// Notes an answer, and whether it was one without a body.
    pub(crate) fn answered(&mut self, without_body: bool) {
        self.bodiless = without_body;
    }

    /// Says whether the last answer had no body by its status or its request.
    pub(crate) fn was_bodiless(&self) -> bool {
        self.bodiless
    }

    /// Has the system acknowledge at once what was received. It might delay that until the next request, and
    /// the server's system might delay the rest of its data until then (RFC 1122, section 4.2.3.2).
    pub(crate) fn acknowledge(&self) {
        self.socket.acknowledge();
    }

    /// Says whether everything that was written has been passed to the system.
    pub(crate) fn is_flushed(&self) -> bool {
        !self.unflushed
    }

    /// Returns the state of the idle connection.
    pub(crate) fn rest(&mut self) -> Rest {
        if !self.unread.is_empty() {
            return self.spoken(&self.unread);
        }
        let mut glimpse = [0; GLIMPSE];
        match self.socket.glimpse(&mut glimpse) {
            Ok(None) => Rest::Quiet,
            Ok(Some(0)) | Err(_) => Rest::Ended,
            Ok(Some(seen)) => self.spoken(glimpse.get(..seen).unwrap_or_default()),
        }
    }

    fn spoken(&self, said: &[u8]) -> Rest {
        let timeout = said.starts_with(b"HTTP/1.1 408") || said.starts_with(b"HTTP/1.0 408");
        Rest::Spoken { answer: !timeout && is_another_answer(said, self.bodiless) }
    }

    /// Writes all of it.
    pub(crate) async fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.socket.write_all(bytes).await?;
        self.socket.flush().await
    }

    /// Writes some of `out`, or appends to the unread octets: whichever can be done first. Cancel-safe.
    pub(crate) async fn next_event(&mut self, out: &[u8]) -> IoEvent {
        poll_fn(|cx| self.poll_event(cx, out, false)).await
    }

    /// The same, polled. With `look` it reads before it writes, and asks the system itself whether octets are
    /// there: nothing is sent after an answer that has arrived already.
    pub(crate) fn poll_event(&mut self, cx: &mut Context<'_>, out: &[u8], look: bool) -> Poll<IoEvent> {
        if look {
            self.unread.reserve(READ_BYTES);
            self.socket.eager(true);
            let read = std::pin::pin!(self.socket.read_buf(&mut self.unread)).poll(cx);
            self.socket.eager(false);
            if let Poll::Ready(read) = read {
                return Poll::Ready(IoEvent::Read(read));
            }
        }
        if !out.is_empty()
            && let Poll::Ready(written) = Pin::new(&mut self.socket).poll_write(cx, out)
        {
            self.unflushed = true;
            // A write of 0 octets means that the socket is closed.
            return Poll::Ready(IoEvent::Wrote(written.and_then(|bytes| match bytes {
                0 => Err(io::ErrorKind::WriteZero.into()),
                bytes => Ok(bytes),
            })));
        }
        if self.unflushed
            && let Poll::Ready(flushed) = Pin::new(&mut self.socket).poll_flush(cx)
        {
            self.unflushed = false;
            if let Err(error) = flushed {
                return Poll::Ready(IoEvent::Wrote(Err(error)));
            }
        }
        self.unread.reserve(READ_BYTES);
        let read = std::pin::pin!(self.socket.read_buf(&mut self.unread));
        read.poll(cx).map(IoEvent::Read)
    }

    /// Writes some of it. Cancel-safe.
    pub(crate) async fn write_some(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.unflushed = true;
        self.socket.write(bytes).await
    }

    /// Returns what was read and not yet used.
    pub(crate) fn unread(&self) -> &[u8] {
        &self.unread
    }

    /// Returns what was read and not yet used, mutably.
    pub(crate) fn unread_mut(&mut self) -> &mut BytesMut {
        &mut self.unread
    }

    /// Frees the buffer before the connection becomes idle: there may be thousands.
    pub(crate) fn slim(&mut self) {
        self.unread = BytesMut::new();
        self.share = None;
    }
}

/// The stream of a shared connection, with its share of the budget.
struct Counted {
    socket: Socket,
    _descriptor: Option<Descriptor>,
}

impl AsyncRead for Counted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
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

#[cfg(test)]
mod tests {
    use tokio::{io::AsyncWriteExt, net::TcpListener};

    use super::*;

    /// What lies there is read before the last of a request leaves, whatever tokio was told: else it would
    /// look like an answer to all of it.
    #[tokio::test]
    async fn what_the_server_has_said_is_seen_before_more_is_said() {
        for (look, said, reads) in
            [(true, &b"HTTP/1.1 4"[..], true), (false, b"HTTP/1.1 4", false), (true, b"", false)]
        {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = ServerAddress::Tcp(listener.local_addr().unwrap());
            let mut connection = Connection::open(&address, None).await.unwrap();
            let mut server = listener.accept().await.unwrap().0;
            // No wait in between: tokio has not heard of it.
            server.write_all(said).await.unwrap();

            let event = poll_fn(|cx| connection.poll_event(cx, b"last", look)).await;

            let read = matches!(&event, IoEvent::Read(Ok(read)) if *read == said.len());
            assert!(
                if reads { read } else { matches!(event, IoEvent::Wrote(Ok(4))) },
                "{look} {said:?} {event:?}"
            );
        }
    }
}
