//! Reads and writes HTTP/2: deadlines while the client is silent, the end of the connection, and frames of
//! our own.

use std::{
    io::{self, IoSlice},
    mem::MaybeUninit,
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::Instant,
};

use super::{GateStream, due::Due, graceful_close::GracefulClose, is_of_tls, stream_deadlines::End};
use crate::{
    edge::{Http2Error, Http2Refusal},
    model::CutReason,
};

/// How much is read at once while something waits.
const PIECE: usize = 4096;

impl GateStream {
    /// Reads for the library, with the numbers of the streams in their heads.
    pub(super) fn poll_read_http2(
        &mut self,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            let Some(http2) = &mut self.http2 else { return Poll::Ready(Ok(())) };
            if let Some(abuse) = http2.exceeded() {
                return self.poll_end(Due::Abuse(abuse), cx);
            }
            if http2.is_drained() {
                return self.poll_end(Due::Drained, cx);
            }
            self.connection.take_pieces(|stream, pieces| http2.note_taken(stream, pieces));
            let some = http2.deliver(buf, Instant::now);
            self.report_refusals();
            if some {
                return Poll::Ready(Ok(()));
            }
            let Some(http2) = &mut self.http2 else { return Poll::Ready(Ok(())) };
            if http2.pauses() {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            if let Some(error) = http2.connection_error() {
                return self.poll_end(Due::ConnectionError(error), cx);
            }
            if http2.is_backlogged() && self.poll_own_frames(cx)?.is_pending() {
                return self.poll_http2(cx, buf);
            }
            let Some(http2) = &mut self.http2 else { return Poll::Ready(Ok(())) };
            let direct = http2.has_none_waiting();
            let before = buf.filled().len();
            let mut space = [const { MaybeUninit::uninit() }; PIECE];
            // What waits is the beginning of a frame header, until the rest arrives.
            let mut piece = ReadBuf::uninit(&mut space);
            let read = if direct {
                Pin::new(&mut self.inner).poll_read(cx, buf)
            } else {
                Pin::new(&mut self.inner).poll_read(cx, &mut piece)
            };
            match read {
                Poll::Ready(Ok(())) => {}
                // rustls reports an error only once.
                Poll::Ready(Err(error)) if !is_of_tls(&error) && http2.client_has_gone() => continue,
                Poll::Ready(Err(error)) => return self.poll_broken(cx, error),
                Poll::Pending => {
                    self.flush_delay.flush_due(&mut self.inner, cx)?;
                    return self.poll_http2(cx, buf);
                }
            }
            let bytes = if direct {
                buf.filled_mut().get_mut(before..).unwrap_or_default()
            } else {
                piece.filled_mut()
            };
            if bytes.is_empty() {
                if http2.client_has_gone() {
                    continue;
                }
                return Poll::Ready(Ok(()));
            }
            let due = http2.received(bytes, Instant::now);
            let given = http2.pass_on(bytes, Instant::now);
            // The library never sees bytes after which the connection ends: it sees the end of the client.
            buf.set_filled(before);
            self.report_refusals();
            if self.is_banned() {
                return self.poll_cut(CutReason::Banned, cx);
            }
            if let Some(due) = due {
                return self.poll_end(due, cx);
            }
            if given > 0 {
                buf.set_filled(before + given);
                return Poll::Ready(Ok(()));
            }
        }
    }

    /// Waits for the client of an HTTP/2 connection, and handles what is due meanwhile.
    pub(super) fn poll_http2(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.connection.wake_for_interim(cx.waker());
        loop {
            if let Some(http2) = &mut self.http2
                && http2.holds()
                && self.connection.wakes_for_pieces(cx.waker())
            {
                // A frame was read before the waker was registered.
                self.connection.take_pieces(|stream, pieces| http2.note_taken(stream, pieces));
                if http2.deliver(buf, Instant::now) {
                    self.report_refusals();
                    return Poll::Ready(Ok(()));
                }
                continue;
            }
            if let Some(http2) = &mut self.http2 {
                std::iter::from_fn(|| self.connection.take_interim())
                    .for_each(|(stream, frame)| http2.queue_interim(stream, frame));
            }
            // Frames of our own leave as soon as possible; until then the socket wakes us.
            if self.poll_own_frames(cx)?.is_ready() && self.inner.socket().has_buffered() {
                let _ = Pin::new(&mut self.inner).poll_flush(cx)?;
            }
            self.report_resets();
            let Some(http2) = &mut self.http2 else { return Poll::Pending };
            let wait = http2.wait(self.connection.body_min_rate(), Instant::now);
            if let Some(by) = self.pending_resets.due().filter(|by| wait.is_none_or(|(other, _)| *by < other))
            {
                ready!(self.deadline_timer.poll_due(by, cx));
                continue;
            }
            let Some((by, due)) = wait else { return Poll::Pending };
            ready!(self.deadline_timer.poll_due(by, cx));
            let Due::Stream(id, end) = due else { return self.poll_end(due, cx) };
            if end == End::BodyTooSlow {
                self.hooks.record_cut(&self.connection, CutReason::BodyTooSlow);
                self.connection.note_slow_body();
                http2.note_gateway_notified(id, Instant::now());
                continue;
            }
            if end == End::Unread {
                if !http2.is_unread(id, self.connection.has_pending_answers(), Instant::now()) {
                    continue;
                }
                if id == 0 {
                    return self.poll_end(Due::Cut(CutReason::WriteTooSlow), cx);
                }
                self.hooks.record_cut(&self.connection, CutReason::WriteTooSlow);
                self.connection.note_unread();
            }
            if !http2.end(id, end) {
                return self.poll_end(due, cx);
            }
            if http2.deliver(buf, Instant::now) {
                self.report_refusals();
                return Poll::Ready(Ok(()));
            }
        }
    }

    /// Reports streams that we have reset in place of the library, as [`GateStream::follow`] does for those
    /// that the library resets.
    fn report_refusals(&mut self) {
        let Self { http2: Some(http2), pending_resets, connection, hooks, .. } = self else { return };
        for refusal in http2.take_refusals() {
            if let Http2Refusal::Stream(stream, error) = refusal {
                hooks.admission.stream_reset(connection, error);
                if connection.note_reset(stream, error) {
                    pending_resets.note(stream, Instant::now());
                }
            }
        }
    }

    /// Reports streams that were reset and whose request has not begun for so long that it never will.
    fn report_resets(&mut self) {
        if self.pending_resets.due().is_none() {
            return;
        }
        let now = Instant::now();
        while let Some(stream) = self.pending_resets.take(now) {
            if let Some(error) = self.connection.report_reset(stream) {
                self.hooks.early_reply.http2_ended(&self.connection, Http2Refusal::Stream(stream, error));
            }
        }
    }

    /// Ends an HTTP/2 connection, with GOAWAY where it can still be sent.
    pub(super) fn poll_end(&mut self, due: Due, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match due {
            Due::Cut(CutReason::HeadTimeout) => {
                self.connection.note_cut(CutReason::HeadTimeout);
                if self.http2.as_ref().is_some_and(|http2| http2.is_dripping()) {
                    self.connection.note_dripped();
                }
                self.hooks.early_reply.http2_ended(&self.connection, Http2Refusal::HeadTimeout);
            }
            Due::Cut(cut) => self.note(cut),
            Due::Abuse(abuse) => {
                self.hooks.early_reply.http2_ended(&self.connection, Http2Refusal::Abuse(abuse))
            }
            Due::NoPreface => self
                .hooks
                .early_reply
                .http2_ended(&self.connection, Http2Refusal::Connection(Http2Error::Protocol)),
            Due::ConnectionError(error) => {
                self.hooks.early_reply.http2_ended(&self.connection, Http2Refusal::Connection(error))
            }
            // Reported already: as a cut, or as the refusal of a request.
            Due::Stream(..) | Due::Drained => {}
        }
        let goaway = self.http2.as_ref().map(|http2| http2.goaway(due)).unwrap_or_default();
        self.graceful_close = Some(GracefulClose::with_answer(goaway, Instant::now()));
        self.poll_graceful_close(cx).map(Ok)
    }

    /// Writes frames of our own between those of the library.
    pub(super) fn poll_own_frames(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Some(http2) = &mut self.http2 else { return Poll::Ready(Ok(())) };
        while !http2.own_frames().is_empty() {
            let written = ready!(Pin::new(&mut self.inner).poll_write(cx, http2.own_frames()))?;
            http2.own_frames_sent(written);
        }
        Poll::Ready(Ok(()))
    }

    /// Follows what was written on an HTTP/2 connection.
    pub(super) fn follow(
        &mut self,
        bufs: &[IoSlice<'_>],
        written: &Poll<io::Result<usize>>,
        cx: &mut Context<'_>,
    ) {
        let (Some(http2), Poll::Ready(Ok(sent))) = (&mut self.http2, written) else { return };
        let Self { pending_resets, connection, hooks, .. } = self;
        let turned = http2.sent(bufs, *sent, Instant::now, |refusal| match refusal {
            // A request that has begun, or begins yet, is reported with its reset.
            Http2Refusal::Stream(stream, error) => {
                hooks.admission.stream_reset(connection, error);
                if connection.note_reset(stream, error) {
                    pending_resets.note(stream, Instant::now());
                }
            }
            Http2Refusal::Authority(stream) => {
                connection.note_reported(stream);
                hooks.early_reply.http2_ended(connection, refusal);
            }
            Http2Refusal::Connection(_)
            | Http2Refusal::Fields
            | Http2Refusal::HeadTimeout
            | Http2Refusal::Abuse(_) => {
                hooks.early_reply.http2_ended(connection, refusal);
            }
        });
        if self.connection.certificate_is_refused() || self.connection.has_unread_head() {
            http2.start_drain();
        }
        // No read precedes it, so the next deadline must be armed here.
        let due = turned.then(|| {
            let wait = http2.wait(self.connection.body_min_rate(), Instant::now);
            wait.map(|(by, _)| by).into_iter().chain(self.pending_resets.due()).min()
        });
        if http2.exceeded().is_some()
            || http2.is_drained()
            || due.flatten().is_some_and(|by| self.deadline_timer.poll_due(by, cx).is_ready())
        {
            cx.waker().wake_by_ref();
        }
    }
}
