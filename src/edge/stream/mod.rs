//! The stream that HTTP is spoken on: decrypted, with deadlines, and with the head kept as it was received.

mod block_deadlines;
mod buffered_socket;
mod client_frames;
mod deadline_timer;
mod digest;
mod discard;
mod discard_limits;
mod due;
mod flood;
mod flush_delay;
mod frame_action;
mod frame_check;
mod frame_filter;
mod graceful_close;
mod head;
mod header_block;
mod held_data;
mod http1_io;
mod http2;
mod http2_io;
mod inner;
mod open_streams;
mod own_frames;
mod past_streams;
mod pending_resets;
mod pingora_traits;
mod read_ahead;
mod read_deadlines;
mod reset_pacing;
mod send_window;
mod stream_deadlines;
mod stream_states;
mod verbatim;
mod write_rate;

use std::{
    fmt,
    future::poll_fn,
    io::{self, IoSlice},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use pingora::protocols::{Peek, Shutdown};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::Instant,
};

pub(super) use self::{
    buffered_socket::BufferedSocket, frame_filter::FrameFilter, inner::Inner, own_frames::refusal,
};
use self::{
    deadline_timer::DeadlineTimer, digest::Digests, discard_limits::Discarding, flush_delay::FlushDelay,
    graceful_close::GracefulClose, http2::Http2, pending_resets::PendingResets, read_ahead::ReadAhead,
    read_deadlines::ReadDeadlines, write_rate::WriteRate,
};
use super::{EarlyCause, Hooks, Http2Refusal};
use crate::model::{ClientIp, Connection, CutReason, Http2Error, Phase, ResetObserver};

/// One connection's stream.
///
/// It feeds [`Connection::received`], applies the deadlines of reads and writes, and answers in place of the
/// library where the library refuses before a request has begun: what the library would send reaches no hook,
/// no log and no metric.
pub struct GateStream {
    inner: Inner,
    connection: Arc<Connection>,
    hooks: Arc<Hooks>,
    /// The client that can be banned; `None` where it is one of our own proxies.
    bannable: Option<ClientIp>,
    read_deadlines: ReadDeadlines,
    read_ahead: ReadAhead,
    deadline_timer: DeadlineTimer,
    flush_delay: FlushDelay,
    write_rate: WriteRate,
    graceful_close: Option<GracefulClose>,
    /// The rest of the last request, while it is discarded.
    discarding: Option<Box<Discarding>>,
    /// Present where HTTP/2 is spoken.
    http2: Option<Box<Http2>>,
    pending_resets: PendingResets,
    digests: Digests,
}

impl GateStream {
    /// Begins at the end of the handshake. The deadline of the first head runs from `now`.
    pub(super) fn new(
        inner: Inner,
        connection: Arc<Connection>,
        hooks: Arc<Hooks>,
        bannable: Option<ClientIp>,
        now: Instant,
    ) -> Self {
        let deadlines = connection.deadlines();
        let read_deadlines = ReadDeadlines::new(deadlines, now);
        let http2 = (connection.phase() == Phase::Multiplexed)
            .then(|| Box::new(Http2::new(&deadlines, connection.stream_key(), now)));
        if http2.is_some() {
            connection.report_at_end(Box::new(ResetReporter(Arc::clone(&hooks))));
        }
        let digests = Digests::new(&connection, inner.socket().raw_fd());
        Self {
            inner,
            connection,
            hooks,
            bannable,
            read_deadlines,
            read_ahead: ReadAhead::default(),
            deadline_timer: DeadlineTimer::default(),
            flush_delay: FlushDelay::default(),
            write_rate: WriteRate::new(deadlines.write_stall, deadlines.write_min_rate),
            graceful_close: None,
            discarding: None,
            http2,
            pending_resets: PendingResets::default(),
            digests,
        }
    }

    /// Returns the connection.
    pub fn connection(&self) -> &Arc<Connection> {
        &self.connection
    }

    /// Answers in place of the library. Whatever the library writes from now on is discarded.
    fn refuse(&mut self, cause: EarlyCause) {
        let head = self.connection.take_head();
        let answer = self.hooks.early_reply.reply(&self.connection, &head, cause);
        self.graceful_close = Some(GracefulClose::with_answer(answer, Instant::now()));
    }

    fn note(&self, cut: CutReason) {
        if self.connection.cut().is_none() {
            self.connection.note_cut(cut);
            self.hooks.record_cut(&self.connection, cut);
        }
    }

    fn poll_graceful_close(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match &mut self.graceful_close {
            Some(graceful_close) => graceful_close.poll(&mut self.inner, &mut self.deadline_timer, cx),
            None => Poll::Ready(()),
        }
    }

    /// Ends the reading of a connection whose deadline has passed.
    fn poll_cut(&mut self, cut: CutReason, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match cut {
            CutReason::HeadTimeout => {
                self.connection.note_cut(cut);
                self.refuse(EarlyCause::HeadTimeout);
            }
            CutReason::NoRequest | CutReason::Idle | CutReason::Banned => {
                self.note(cut);
                self.graceful_close = Some(GracefulClose::without_answer(false, Instant::now()));
            }
            CutReason::TunnelIdle => {
                self.note(cut);
                self.graceful_close = Some(GracefulClose::without_answer(false, Instant::now()));
                ready!(self.poll_graceful_close(cx));
                return Poll::Ready(Err(timed_out(cut)));
            }
            // The response can still be written: the gateway sends 408.
            CutReason::BodyTooSlow | CutReason::WriteStall | CutReason::WriteTooSlow => {
                self.note(cut);
                return Poll::Ready(Err(timed_out(cut)));
            }
        }
        self.poll_graceful_close(cx).map(Ok)
    }

    fn is_banned(&self) -> bool {
        self.bannable.is_some_and(|client| self.hooks.admission.is_banned(client))
    }

    /// Ends a connection that cannot be read any more. The TLS alert is sent, and the peer has a moment to
    /// read it: a close with unread bytes sends a reset, which would destroy the alert (RFC 8446, section
    /// 6.2).
    fn poll_broken(&mut self, cx: &mut Context<'_>, error: io::Error) -> Poll<io::Result<()>> {
        if !is_of_tls(&error) {
            return Poll::Ready(Err(error));
        }
        self.graceful_close = Some(GracefulClose::without_answer(true, Instant::now()));
        self.poll_graceful_close(cx).map(Ok)
    }

    /// Decides whether a write of the library reaches the socket. Returns the result of the write where it
    /// does not.
    fn poll_before_write(
        &mut self,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<Option<io::Result<usize>>> {
        if self.graceful_close.is_none() && self.connection.phase().is_before_request() {
            self.refuse(EarlyCause::Library(status_of(bufs)));
        }
        let Some(graceful_close) = &self.graceful_close else { return Poll::Ready(None) };
        if !graceful_close.discards_writes() {
            return Poll::Ready(Some(Err(io::ErrorKind::BrokenPipe.into())));
        }
        ready!(self.poll_graceful_close(cx));
        Poll::Ready(Some(Ok(bufs.iter().map(|piece| piece.len()).sum())))
    }

    /// Holds a write to `write_stall` and `write_min_rate`; otherwise the connection ends.
    fn poll_progress<T>(
        &mut self,
        cx: &mut Context<'_>,
        written: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.write_rate.wrote(Instant::now);
            self.read_deadlines.written();
            return written;
        }
        loop {
            let by = self.write_rate.wait(Instant::now, || self.inner.socket().acked());
            ready!(self.deadline_timer.poll_due(by, cx));
            if let Some(cut) = self.write_rate.judge(Instant::now(), self.inner.socket().acked()) {
                self.note(cut);
                // A reset frees what the kernel still buffers for this client, and tells the client.
                self.inner.socket().reset_on_close();
                return Poll::Ready(Err(timed_out(cut)));
            }
        }
    }
}

/// Reports the resets that are still unreported when the connection ends.
struct ResetReporter(Arc<Hooks>);

impl ResetObserver for ResetReporter {
    fn report_reset(&self, connection: &Connection, stream: u32, error: Http2Error) {
        self.0.early_reply.http2_ended(connection, Http2Refusal::Stream(stream, error));
    }
}

impl AsyncRead for GateStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.graceful_close.is_some() {
            return this.poll_graceful_close(cx).map(Ok);
        }
        if this.http2.is_none() {
            return this.poll_read_http1(cx, buf);
        }
        let read = this.poll_read_http2(cx, buf);
        if let Some(http2) = this.http2.as_mut().filter(|_| read.is_pending()) {
            http2.note_empty_read();
        }
        read
    }
}

impl AsyncWrite for GateStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        if let Some(answer) = ready!(this.poll_before_write(cx, &[IoSlice::new(buf)])) {
            return Poll::Ready(answer);
        }
        if this.poll_own_frames(cx)?.is_pending() {
            return this.poll_progress(cx, Poll::Pending);
        }
        let written = Pin::new(&mut this.inner).poll_write(cx, buf);
        this.follow(&[IoSlice::new(buf)], &written, cx);
        this.poll_progress(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        if let Some(answer) = ready!(this.poll_before_write(cx, bufs)) {
            return Poll::Ready(answer);
        }
        if this.poll_own_frames(cx)?.is_pending() {
            return this.poll_progress(cx, Poll::Pending);
        }
        let written = Pin::new(&mut this.inner).poll_write_vectored(cx, bufs);
        this.follow(bufs, &written, cx);
        this.poll_progress(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.graceful_close.is_some() {
            return this.poll_graceful_close(cx).map(Ok);
        }
        if this.poll_own_frames(cx)?.is_pending() {
            return this.poll_progress(cx, Poll::Pending);
        }
        let flushed = Pin::new(&mut this.inner).poll_flush(cx);
        // No read follows the last response of an HTTP/2 connection, so the connection becomes idle here.
        if flushed.is_ready() && this.http2.as_ref().is_some_and(|http2| http2.is_idle()) {
            this.inner.socket_mut().release_buffer();
        }
        this.poll_progress(cx, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.graceful_close.is_some() {
            return this.poll_graceful_close(cx).map(Ok);
        }
        if this.http2.is_none() {
            // The library closes after a response to a request that it has not read to the end.
            return this.poll_close(cx).map(Ok);
        }
        let shut = Pin::new(&mut this.inner).poll_shutdown(cx);
        this.poll_progress(cx, shut)
    }
}

#[async_trait::async_trait]
impl Shutdown for GateStream {
    /// Closes in order: flushes, closes TLS, and gives the peer a moment to read everything.
    async fn shutdown(&mut self) {
        poll_fn(|cx| self.poll_close(cx)).await;
    }
}

#[async_trait::async_trait]
impl Peek for GateStream {}

impl fmt::Debug for GateStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GateStream").field("connection", &self.connection.facts().id).finish_non_exhaustive()
    }
}

fn timed_out(cut: CutReason) -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, cut.code())
}

/// Reads the status of a response: `HTTP/1.1 400 …`. A response without one counts as 400.
fn status_of(bufs: &[IoSlice<'_>]) -> u16 {
    let digits =
        bufs.first().and_then(|piece| piece.get(9..12)).and_then(|digits| std::str::from_utf8(digits).ok());
    digits.and_then(|digits| digits.parse().ok()).unwrap_or(400)
}

/// Says whether TLS failed, and not the connection below it.
fn is_of_tls(error: &io::Error) -> bool {
    error.get_ref().is_some_and(|inner| inner.is::<rustls::Error>())
}
