//! The stream that HTTP is spoken on: decrypted, watched, with the head kept as it was received.

mod ahead;
mod alarm;
mod digest;
mod discard;
mod farewell;
mod field;
mod flood;
mod given;
mod head;
mod hpack;
mod http2;
mod inner;
mod linger;
mod multiplexed;
mod own;
mod pace;
mod single;
mod streams;
mod untold;
mod watch;
mod wire;

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

use self::{
    ahead::Ahead, alarm::Alarm, digest::Digests, discard::Discarding, farewell::Farewell, http2::Http2, linger::Linger, pace::Pace,
    untold::Untold, watch::Watch,
};
pub(super) use self::{
    given::{Given, all_of},
    inner::Inner,
    own::refusal,
    wire::Wire,
};
use super::{EarlyCause, Http2Refusal, Witness};
use crate::model::{ClientIp, Connection, Cut, Http2Error, Phase, TellsOfResets};

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
    ahead: Ahead,
    alarm: Alarm,
    linger: Linger,
    pace: Pace,
    farewell: Option<Farewell>,
    /// What is left of the last request, while it is thrown away.
    discarding: Option<Box<Discarding>>,
    /// Where HTTP/2 is spoken.
    http2: Option<Box<Http2>>,
    untold: Untold,
    digests: Digests,
}

impl GateStream {
    /// The first head is awaited since the end of the handshake.
    pub(super) fn new(
        inner: Inner,
        connection: Arc<Connection>,
        witness: Arc<dyn Witness>,
        bannable: Option<ClientIp>,
        now: Instant,
    ) -> Self {
        let deadlines = connection.deadlines();
        let watch = Watch::new(deadlines, now);
        let http2 = (connection.phase() == Phase::Multiplexed).then(|| Box::new(Http2::new(&deadlines, connection.stream_key(), now)));
        if http2.is_some() {
            connection.tell_at_end(Box::new(Teller(Arc::clone(&witness))));
        }
        let digests = Digests::new(&connection, inner.wire().raw_fd());
        Self {
            inner,
            connection,
            witness,
            bannable,
            watch,
            ahead: Ahead::default(),
            alarm: Alarm::default(),
            linger: Linger::default(),
            pace: Pace::new(deadlines.write_stall, deadlines.write_min_rate),
            farewell: None,
            discarding: None,
            http2,
            untold: Untold::default(),
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
            Cut::BodyTooSlow | Cut::WriteStall | Cut::WriteTooSlow => {
                self.note(cut);
                return Poll::Ready(Err(timed_out(cut)));
            }
        }
        self.poll_farewell(cx).map(Ok)
    }

    fn is_banned(&self) -> bool {
        self.bannable.is_some_and(|client| self.witness.is_banned(client))
    }

    /// Ends a connection that cannot be read any more. What TLS says about it leaves, and the other side has a moment to read it: a
    /// close with unread bytes sends a reset, which would destroy the alert (RFC 8446, section 6.2).
    fn poll_broken(&mut self, cx: &mut Context<'_>, error: io::Error) -> Poll<io::Result<()>> {
        if error.get_ref().is_none_or(|inner| !inner.is::<rustls::Error>()) {
            return Poll::Ready(Err(error));
        }
        self.farewell = Some(Farewell::silent(true, Instant::now()));
        self.poll_farewell(cx).map(Ok)
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

    /// Holds a write to `write_stall` and `write_min_rate`, else the connection ends.
    fn poll_progress<T>(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.pace.wrote(Instant::now);
            self.watch.written();
            return written;
        }
        loop {
            let by = self.pace.wait(Instant::now, || self.inner.wire().acked());
            ready!(self.alarm.poll_due(by, cx));
            if let Some(cut) = self.pace.judge(Instant::now(), self.inner.wire().acked()) {
                self.note(cut);
                // What the system still keeps for this client is given back at once, and the client is told.
                self.inner.wire().abort_at_close();
                return Poll::Ready(Err(timed_out(cut)));
            }
        }
    }
}

/// Tells of what nobody else tells of any more, once the connection has ended.
struct Teller(Arc<dyn Witness>);

impl TellsOfResets for Teller {
    fn tell_of_reset(&self, connection: &Connection, stream: u32, error: Http2Error) {
        self.0.http2_refused(connection, Http2Refusal::Stream(stream, error));
    }
}

impl AsyncRead for GateStream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.farewell.is_some() {
            return this.poll_farewell(cx).map(Ok);
        }
        if this.http2.is_some() { this.poll_read_multiplexed(cx, buf) } else { this.poll_read_single(cx, buf) }
    }
}

impl AsyncWrite for GateStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        if let Some(answer) = ready!(this.poll_before_write(cx, &[IoSlice::new(buf)])) {
            return Poll::Ready(answer);
        }
        if this.poll_own(cx)?.is_pending() {
            return this.poll_progress(cx, Poll::Pending);
        }
        let written = Pin::new(&mut this.inner).poll_write(cx, buf);
        this.follow(&[IoSlice::new(buf)], &written, cx);
        this.poll_progress(cx, written)
    }

    fn poll_write_vectored(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bufs: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        if let Some(answer) = ready!(this.poll_before_write(cx, bufs)) {
            return Poll::Ready(answer);
        }
        if this.poll_own(cx)?.is_pending() {
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
        if this.farewell.is_some() {
            return this.poll_farewell(cx).map(Ok);
        }
        if this.poll_own(cx)?.is_pending() {
            return this.poll_progress(cx, Poll::Pending);
        }
        let flushed = Pin::new(&mut this.inner).poll_flush(cx);
        // No read comes behind the last answer of an HTTP/2 connection, so it is here that it comes to rest.
        if flushed.is_ready() && this.http2.as_ref().is_some_and(|http2| http2.rests()) {
            this.inner.wire_mut().slim();
        }
        this.poll_progress(cx, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.farewell.is_some() {
            return this.poll_farewell(cx).map(Ok);
        }
        if this.http2.is_none() {
            // The library closes behind an answer whose request it has not read to the end.
            return this.poll_close(cx).map(Ok);
        }
        let shut = Pin::new(&mut this.inner).poll_shutdown(cx);
        this.poll_progress(cx, shut)
    }
}

#[async_trait::async_trait]
impl Shutdown for GateStream {
    /// Closes in order: what waits is written, TLS is closed, and the other side has a moment to read it all.
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

fn timed_out(cut: Cut) -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, cut.code())
}

/// Reads the status of an answer: `HTTP/1.1 400 …`. An answer that has none counts as 400.
fn status_of(bufs: &[IoSlice<'_>]) -> u16 {
    let digits = bufs.first().and_then(|piece| piece.get(9..12)).and_then(|digits| std::str::from_utf8(digits).ok());
    digits.and_then(|digits| digits.parse().ok()).unwrap_or(400)
}
