//! The stream that HTTP is spoken on: decrypted, watched, with the head kept as it was received.

mod alarm;
mod digest;
mod farewell;
mod frames;
mod inner;
mod watch;
mod wire;

use std::{
    fmt,
    future::poll_fn,
    io::{self, IoSlice},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use pingora::protocols::{Peek, Shutdown};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::Instant,
};

pub use self::frames::{Http2Error, Http2Refusal};
use self::{alarm::Alarm, digest::Digests, farewell::Farewell, watch::Watch};
pub(super) use self::{frames::Frames, inner::Inner, wire::Wire};
use super::{EarlyCause, Witness};
use crate::model::{ClientIp, Connection, Cut, Phase};

/// One connection's stream.
///
/// It feeds [`Connection::received`], holds reads and writes to their deadlines, and answers in place of the library where the
/// library refuses before a request has begun: what it would say reaches no hook, no log and no metric (`pingora.md`, item 8).
pub struct GateStream {
    inner: Inner,
    connection: Arc<Connection>,
    witness: Arc<dyn Witness>,
    /// Who can be banned; nothing where it is a proxy of ours.
    bannable: Option<ClientIp>,
    watch: Watch,
    alarm: Alarm,
    linger: Linger,
    stall: Option<Stall>,
    farewell: Option<Farewell>,
    frames: Frames,
    digests: Digests,
}

/// Bytes that the library has written and not flushed, while it waits for more of the answer.
#[derive(Debug, Default)]
struct Linger {
    by: Option<Instant>,
    alarm: Alarm,
}

/// How long the beginning of an answer waits for the rest, so that both leave in one write. The library flushes an answer with
/// Content-Length only at its end; a server that pauses in the middle must not keep from the client what is there.
const LINGER: Duration = Duration::from_millis(5);

/// A write that the other side does not take.
#[derive(Debug)]
struct Stall {
    by: Instant,
    sent: u64,
}

impl GateStream {
    /// Begins at the end of the handshake.
    pub(super) fn new(inner: Inner, connection: Arc<Connection>, witness: Arc<dyn Witness>, bannable: Option<ClientIp>) -> Self {
        let watch = Watch::new(connection.deadlines(), Instant::now());
        let digests = Digests::new(&connection, inner.wire().raw_fd());
        Self {
            inner,
            connection,
            witness,
            bannable,
            watch,
            alarm: Alarm::default(),
            linger: Linger::default(),
            stall: None,
            farewell: None,
            frames: Frames::default(),
            digests,
        }
    }

    /// Returns the connection.
    pub fn connection(&self) -> &Arc<Connection> {
        &self.connection
    }

    /// Answers in place of the library; whatever it writes from now on is swallowed.
    fn refuse(&mut self, cause: EarlyCause) {
        let head = self.connection.take_head();
        let answer = self.witness.early_refusal(&self.connection, &head, cause);
        self.farewell = Some(Farewell::with_answer(answer, Instant::now()));
    }

    fn note(&self, cut: Cut) {
        if self.connection.cut().is_none() {
            self.connection.note_cut(cut);
            self.witness.cut(&self.connection, cut);
        }
    }

    fn poll_farewell(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match &mut self.farewell {
            Some(farewell) => farewell.poll(&mut self.inner, &mut self.alarm, cx),
            None => Poll::Ready(()),
        }
    }

    /// Ends the reading of a connection whose deadline has passed.
    fn poll_cut(&mut self, cut: Cut, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match cut {
            Cut::HeadTimeout => {
                self.connection.note_cut(cut);
                self.refuse(EarlyCause::HeadTimeout);
            }
            Cut::NoRequest | Cut::Idle | Cut::Banned => {
                self.note(cut);
                self.farewell = Some(Farewell::silent(false, Instant::now()));
            }
            Cut::TunnelIdle => {
                self.note(cut);
                self.farewell = Some(Farewell::silent(false, Instant::now()));
                ready!(self.poll_farewell(cx));
                return Poll::Ready(Err(timed_out(cut)));
            }
            // The answer can still be written: the gateway says 408.
            Cut::BodyTooSlow | Cut::WriteStall => {
                self.note(cut);
                return Poll::Ready(Err(timed_out(cut)));
            }
        }
        self.poll_farewell(cx).map(Ok)
    }

    /// Judges what was read; the bytes are in `buf` behind `before`.
    fn poll_judge(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>, before: usize) -> Poll<io::Result<()>> {
        let bytes = buf.filled().get(before..).unwrap_or_default();
        if bytes.is_empty() {
            return Poll::Ready(Ok(()));
        }
        if self.bannable.is_some_and(|client| self.witness.is_banned(client)) {
            buf.set_filled(before);
            return self.poll_cut(Cut::Banned, cx);
        }
        let was = self.connection.phase();
        let is = self.connection.received(bytes);
        // Chunks that came with their head are refused with it, as a request; later ones end the reading of it.
        if was == Phase::Request && self.connection.chunks_are_wrong() {
            buf.set_filled(before);
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, "malformed chunks")));
        }
        let late = self.watch.read(was, is, bytes.len(), Instant::now);
        if late.is_none() && is != Phase::HeadTooLarge {
            return Poll::Ready(Ok(()));
        }
        // The library never sees these bytes: for it the client has gone.
        buf.set_filled(before);
        match late {
            Some(cut) => self.poll_cut(cut, cx),
            None => {
                self.refuse(EarlyCause::HeadTooLarge);
                self.poll_farewell(cx).map(Ok)
            }
        }
    }

    /// Sends what has been kept back for long enough.
    fn let_go(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        if !self.inner.wire().holds_back() {
            self.linger.by = None;
            return Ok(());
        }
        let by = *self.linger.by.get_or_insert_with(|| Instant::now() + LINGER);
        if self.linger.alarm.poll_due(by, cx).is_pending() {
            return Ok(());
        }
        match Pin::new(&mut self.inner).poll_flush(cx) {
            Poll::Ready(outcome) => outcome,
            // The socket wakes us when it takes more.
            Poll::Pending => Ok(()),
        }
    }

    /// What stands between a write of the library and the socket; `Break` is the answer instead of writing.
    fn poll_before_write(&mut self, cx: &mut Context<'_>, bufs: &[IoSlice<'_>]) -> Poll<Option<io::Result<usize>>> {
        if self.farewell.is_none() && self.connection.phase().is_before_request() {
            self.refuse(EarlyCause::Library(status_of(bufs)));
        }
        let Some(farewell) = &self.farewell else { return Poll::Ready(None) };
        if !farewell.swallows() {
            return Poll::Ready(Some(Err(io::ErrorKind::BrokenPipe.into())));
        }
        ready!(self.poll_farewell(cx));
        Poll::Ready(Some(Ok(bufs.iter().map(|piece| piece.len()).sum())))
    }

    /// Tells what the HTTP/2 library refuses by itself.
    fn follow(&mut self, bufs: &[IoSlice<'_>], written: &Poll<io::Result<usize>>) {
        if let Poll::Ready(Ok(sent)) = written
            && self.connection.phase() == Phase::Multiplexed
        {
            self.frames.sent(bufs, *sent, |refusal| self.witness.http2_refused(&self.connection, refusal));
        }
    }

    /// Holds a write to `write_stall`: some progress of the socket within that time, else the connection ends.
    fn poll_progress<T>(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.stall = None;
            self.watch.written();
            return written;
        }
        let sent = self.inner.wire().sent();
        let by = match &self.stall {
            Some(stall) if stall.sent == sent => stall.by,
            Some(_) | None => {
                let by = Instant::now() + self.connection.deadlines().write_stall;
                self.stall = Some(Stall { by, sent });
                by
            }
        };
        ready!(self.alarm.poll_due(by, cx));
        self.note(Cut::WriteStall);
        Poll::Ready(Err(timed_out(Cut::WriteStall)))
    }
}

impl AsyncRead for GateStream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.farewell.is_some() {
            return this.poll_farewell(cx).map(Ok);
        }
        if this.connection.phase() == Phase::HeadRead {
            // The head has ended and the library still wants more of it: what came were empty lines, which it passes over.
            // Whoever may send those may hold the connection for ever, for no deadline is running.
            this.refuse(EarlyCause::Library(400));
            return this.poll_farewell(cx).map(Ok);
        }
        let before = buf.filled().len();
        match Pin::new(&mut this.inner).poll_read(cx, buf) {
            Poll::Ready(Ok(())) => this.poll_judge(cx, buf, before),
            Poll::Ready(Err(error)) => {
                // TLS may have an alert to say about it; whether it leaves changes nothing.
                let _ = Pin::new(&mut this.inner).poll_flush(cx);
                Poll::Ready(Err(error))
            }
            Poll::Pending => {
                this.let_go(cx)?;
                if this.connection.phase() == Phase::Idle {
                    this.inner.wire_mut().slim();
                }
                let Some((by, cut)) = this.watch.wait(&this.connection, Instant::now) else { return Poll::Pending };
                ready!(this.alarm.poll_due(by, cx));
                this.poll_cut(cut, cx)
            }
        }
    }
}

impl AsyncWrite for GateStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        if let Some(answer) = ready!(this.poll_before_write(cx, &[IoSlice::new(buf)])) {
            return Poll::Ready(answer);
        }
        let written = Pin::new(&mut this.inner).poll_write(cx, buf);
        this.follow(&[IoSlice::new(buf)], &written);
        this.poll_progress(cx, written)
    }

    fn poll_write_vectored(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bufs: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        if let Some(answer) = ready!(this.poll_before_write(cx, bufs)) {
            return Poll::Ready(answer);
        }
        let written = Pin::new(&mut this.inner).poll_write_vectored(cx, bufs);
        this.follow(bufs, &written);
        this.poll_progress(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.farewell.is_some() {
            return this.poll_farewell(cx).map(Ok);
        }
        let flushed = Pin::new(&mut this.inner).poll_flush(cx);
        this.poll_progress(cx, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.farewell.is_some() {
            return this.poll_farewell(cx).map(Ok);
        }
        let shut = Pin::new(&mut this.inner).poll_shutdown(cx);
        this.poll_progress(cx, shut)
    }
}

#[async_trait::async_trait]
impl Shutdown for GateStream {
    /// Closes in order: what waits is written, TLS is closed, and the other side has a moment to read it all.
    async fn shutdown(&mut self) {
        if self.farewell.is_none() {
            self.farewell = Some(Farewell::silent(true, Instant::now()));
        }
        poll_fn(|cx| self.poll_farewell(cx)).await;
    }
}

#[async_trait::async_trait]
impl Peek for GateStream {}

impl fmt::Debug for GateStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GateStream").field("connection", &self.connection.facts().id).finish_non_exhaustive()
    }
}

fn timed_out(cut: Cut) -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, cut.code())
}

/// Reads the status of an answer: `HTTP/1.1 400 …`. An answer that has none counts as 400.
fn status_of(bufs: &[IoSlice<'_>]) -> u16 {
    let digits = bufs.first().and_then(|piece| piece.get(9..12)).and_then(|digits| std::str::from_utf8(digits).ok());
    digits.and_then(|digits| digits.parse().ok()).unwrap_or(400)
}
