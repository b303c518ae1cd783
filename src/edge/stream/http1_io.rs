//! Reads HTTP/1: one request at a time, however many have arrived.

use std::{
    io,
    mem::MaybeUninit,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, ReadBuf},
    time::Instant,
};

use super::{GateStream, graceful_close::GracefulClose};
use crate::{
    edge::EarlyCause,
    model::{CutReason, Phase, Received},
};

/// How long a client that has half-closed waits for a response without a length. A client that has
/// disconnected looks the same.
const HALF_CLOSED: Duration = Duration::from_secs(5);
/// How much is read ahead at once.
const PIECE: usize = 4096;

impl GateStream {
    /// Reads for the library, and nothing beyond the end of the current request.
    pub(super) fn poll_read_http1(
        &mut self,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            match self.connection.phase() {
                // The library sees the end of the client. The gateway has announced the close; this makes
                // sure of it.
                Phase::Over => {
                    self.graceful_close = Some(GracefulClose::without_answer(true, Instant::now()));
                    return self.poll_graceful_close(cx).map(Ok);
                }
                // The head has ended and the library still wants more of it: it finds no request in these
                // bytes. A client could hold the connection for ever, for no deadline is running.
                Phase::HeadRead => {
                    self.refuse(EarlyCause::Library(400));
                    return self.poll_graceful_close(cx).map(Ok);
                }
                Phase::Idle
                | Phase::Head
                | Phase::HeadTooLarge
                | Phase::Request
                | Phase::Tunnel
                | Phase::Multiplexed => {}
            }
            if self.connection.is_whole() {
                return self.poll_read_ahead(cx);
            }
            let before = buf.filled().len();
            if self.read_ahead.is_empty() {
                match Pin::new(&mut self.inner).poll_read(cx, buf) {
                    Poll::Ready(Ok(())) => {}
                    Poll::Ready(Err(error)) => return self.poll_broken(cx, error),
                    Poll::Pending => return self.poll_wait(cx),
                }
                if buf.filled().len() == before {
                    return Poll::Ready(Ok(()));
                }
            } else {
                self.read_ahead.copy_to(buf);
            }
            if ready!(self.poll_judge(cx, buf, before))? {
                return Poll::Ready(Ok(()));
            }
        }
    }

    /// Judges what was read, which is in `buf` after `before`, and removes from `buf` what the library may
    /// not read yet. Returns whether there is something to read, or the end; otherwise the bytes were empty
    /// lines, and more may follow.
    fn poll_judge(
        &mut self,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
        before: usize,
    ) -> Poll<io::Result<bool>> {
        if self.is_banned() {
            buf.set_filled(before);
            return self.poll_cut(CutReason::Banned, cx).map_ok(|()| true);
        }
        let bytes = buf.filled_mut().get_mut(before..).unwrap_or_default();
        let was = self.connection.phase();
        let Received { phase, skipped, taken } = self.connection.received(bytes);
        let end = skipped + taken;
        if self.read_ahead.is_empty() {
            self.read_ahead.keep(bytes.get(end..).unwrap_or_default());
        } else {
            self.read_ahead.take(end);
        }
        if skipped > 0 && end <= bytes.len() {
            bytes.copy_within(skipped..end, 0);
        }
        buf.set_filled(before + taken);
        // Malformed chunks that arrive with their head are refused with it, as a request; later ones end the
        // reading of the body.
        if was == Phase::Request && self.connection.chunks_are_wrong() {
            buf.set_filled(before);
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, "malformed chunks")));
        }
        if taken == 0 {
            return Poll::Ready(Ok(false));
        }
        let late = self.read_deadlines.read(was, phase, taken, Instant::now);
        if late.is_none() && phase != Phase::HeadTooLarge {
            return Poll::Ready(Ok(true));
        }
        // The library never sees these bytes: it sees the end of the client.
        buf.set_filled(before);
        match late {
            Some(cut) => self.poll_cut(cut, cx).map_ok(|()| true),
            None => {
                self.refuse(EarlyCause::HeadTooLarge);
                self.poll_graceful_close(cx).map(|()| Ok(true))
            }
        }
    }

    /// The current request is complete. Later octets are read ahead, up to the size of one head. The library
    /// learns that the client has ended as soon as no response can be in progress.
    fn poll_read_ahead(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.read_ahead.ended.is_none()
            && self.read_ahead.len() < self.connection.deadlines().header_bytes
        {
            let mut space = [const { MaybeUninit::uninit() }; PIECE];
            let mut piece = ReadBuf::uninit(&mut space);
            match Pin::new(&mut self.inner).poll_read(cx, &mut piece) {
                Poll::Pending => break,
                Poll::Ready(Err(error)) => return self.poll_broken(cx, error),
                Poll::Ready(Ok(())) if piece.filled().is_empty() => {
                    self.read_ahead.ended = Some(Instant::now())
                }
                Poll::Ready(Ok(())) if self.is_banned() => return self.poll_cut(CutReason::Banned, cx),
                Poll::Ready(Ok(())) => {
                    self.connection.received(piece.filled());
                    self.read_ahead.keep(piece.filled());
                }
            }
        }
        if let Some(ended) = self.read_ahead.ended.filter(|_| !self.connection.is_answered_to_a_length())
            && self.read_ahead.deadline_timer.poll_due(ended + HALF_CLOSED, cx).is_ready()
        {
            return Poll::Ready(Ok(()));
        }
        self.poll_wait(cx)
    }

    /// Waits for the client until the deadline that applies.
    fn poll_wait(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.flush_delay.flush_due(&mut self.inner, cx)?;
        if self.connection.phase() == Phase::Idle {
            self.inner.socket_mut().release_buffer();
        }
        let Some((by, cut)) = self.read_deadlines.wait(&self.connection, Instant::now) else {
            return Poll::Pending;
        };
        ready!(self.deadline_timer.poll_due(by, cx));
        self.poll_cut(cut, cx)
    }
}
