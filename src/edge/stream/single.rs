//! Reading where HTTP/1 is spoken: one request at a time, however many have come.

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

use super::{GateStream, farewell::Farewell};
use crate::{
    edge::EarlyCause,
    model::{Cut, Phase, Received},
};

/// How long a client that has ended its side waits for an answer whose end it is not told. One that has gone looks the same.
const HALF_CLOSED: Duration = Duration::from_secs(5);
/// How much is read at once of what comes before its turn.
const PIECE: usize = 4096;

impl GateStream {
    /// Reads for the library: nothing that lies behind the end of the request in hand.
    pub(super) fn poll_read_single(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        loop {
            match self.connection.phase() {
                // For the library the client has gone. The gateway has said that it closes; this only makes sure of it.
                Phase::Over => {
                    self.farewell = Some(Farewell::silent(true, Instant::now()));
                    return self.poll_farewell(cx).map(Ok);
                }
                // The head has ended and the library still wants more of it: it reads no request in these bytes. Whoever may send
                // those may hold the connection for ever, for no deadline is running.
                Phase::HeadRead => {
                    self.refuse(EarlyCause::Library(400));
                    return self.poll_farewell(cx).map(Ok);
                }
                Phase::Idle | Phase::Head | Phase::HeadTooLarge | Phase::Request | Phase::Tunnel | Phase::Multiplexed => {}
            }
            if self.connection.is_whole() {
                return self.poll_before_turn(cx);
            }
            let before = buf.filled().len();
            if self.ahead.is_empty() {
                match Pin::new(&mut self.inner).poll_read(cx, buf) {
                    Poll::Ready(Ok(())) => {}
                    Poll::Ready(Err(error)) => return self.poll_broken(cx, error),
                    Poll::Pending => return self.poll_wait(cx),
                }
                if buf.filled().len() == before {
                    return Poll::Ready(Ok(()));
                }
            } else {
                self.ahead.show(buf);
            }
            if ready!(self.poll_judge(cx, buf, before))? {
                return Poll::Ready(Ok(()));
            }
        }
    }

    /// Judges what was read; the bytes are in `buf` behind `before`, and what is not the library's to read yet leaves it again. Says
    /// whether there is something to read, or nothing any more; otherwise they were empty lines, and more may come.
    fn poll_judge(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>, before: usize) -> Poll<io::Result<bool>> {
        if self.is_banned() {
            buf.set_filled(before);
            return self.poll_cut(Cut::Banned, cx).map_ok(|()| true);
        }
        let bytes = buf.filled_mut().get_mut(before..).unwrap_or_default();
        let was = self.connection.phase();
        let Received { phase, skipped, taken } = self.connection.received(bytes);
        let end = skipped + taken;
        if self.ahead.is_empty() {
            self.ahead.keep(bytes.get(end..).unwrap_or_default());
        } else {
            self.ahead.take(end);
        }
        if skipped > 0 && end <= bytes.len() {
            bytes.copy_within(skipped..end, 0);
        }
        buf.set_filled(before + taken);
        // Chunks that came with their head are refused with it, as a request; later ones end the reading of it.
        if was == Phase::Request && self.connection.chunks_are_wrong() {
            buf.set_filled(before);
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, "malformed chunks")));
        }
        if taken == 0 {
            return Poll::Ready(Ok(false));
        }
        let late = self.watch.read(was, phase, taken, Instant::now);
        if late.is_none() && phase != Phase::HeadTooLarge {
            return Poll::Ready(Ok(true));
        }
        // The library never sees these bytes: for it the client has gone.
        buf.set_filled(before);
        match late {
            Some(cut) => self.poll_cut(cut, cx).map_ok(|()| true),
            None => {
                self.refuse(EarlyCause::HeadTooLarge);
                self.poll_farewell(cx).map(|()| Ok(true))
            }
        }
    }

    /// The request in hand is whole: what comes now waits for its turn, up to one head; then nothing more is read. The end of the
    /// client is told as soon as no answer can be on its way to it.
    fn poll_before_turn(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.ahead.ended.is_none() && self.ahead.len() < self.connection.deadlines().header_bytes {
            let mut space = [const { MaybeUninit::uninit() }; PIECE];
            let mut piece = ReadBuf::uninit(&mut space);
            match Pin::new(&mut self.inner).poll_read(cx, &mut piece) {
                Poll::Pending => break,
                Poll::Ready(Err(error)) => return self.poll_broken(cx, error),
                Poll::Ready(Ok(())) if piece.filled().is_empty() => self.ahead.ended = Some(Instant::now()),
                Poll::Ready(Ok(())) if self.is_banned() => return self.poll_cut(Cut::Banned, cx),
                Poll::Ready(Ok(())) => {
                    self.connection.received(piece.filled());
                    self.ahead.keep(piece.filled());
                }
            }
        }
        if let Some(ended) = self.ahead.ended.filter(|_| !self.connection.is_answered_to_a_length())
            && self.ahead.alarm.poll_due(ended + HALF_CLOSED, cx).is_ready()
        {
            return Poll::Ready(Ok(()));
        }
        self.poll_wait(cx)
    }

    /// There is nothing to read: waits as long as it may last.
    fn poll_wait(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.linger.let_go(&mut self.inner, cx)?;
        if self.connection.phase() == Phase::Idle {
            self.inner.wire_mut().slim();
        }
        let Some((by, cut)) = self.watch.wait(&self.connection, Instant::now) else { return Poll::Pending };
        ready!(self.alarm.poll_due(by, cx));
        self.poll_cut(cut, cx)
    }
}
