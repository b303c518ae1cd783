//! HTTP/2 on a stream: what is due while its client is silent, its end, and frames of our own.

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

use super::{GateStream, farewell::Farewell, http2::Due, streams::End};
use crate::{
    edge::{Http2Error, Http2Refusal},
    model::Cut,
};

/// How much is read at once where something waits in front of it.
const PIECE: usize = 4096;

impl GateStream {
    /// Reads for the library, with the numbers of the streams behind their heads.
    pub(super) fn poll_read_multiplexed(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        loop {
            let Some(http2) = &mut self.http2 else { return Poll::Ready(Ok(())) };
            if let Some(abuse) = http2.over() {
                return self.poll_end(Due::Abuse(abuse), cx);
            }
            if http2.has_left() {
                return self.poll_end(Due::Leave, cx);
            }
            if http2.deliver(buf) {
                return Poll::Ready(Ok(()));
            }
            if let Some(error) = http2.lost() {
                return self.poll_end(Due::Lost(error), cx);
            }
            let direct = http2.has_none_waiting();
            let before = buf.filled().len();
            let mut space = [const { MaybeUninit::uninit() }; PIECE];
            // What waits in front is the beginning of a frame's head, and waits for the rest of it.
            let mut piece = ReadBuf::uninit(&mut space);
            let read =
                if direct { Pin::new(&mut self.inner).poll_read(cx, buf) } else { Pin::new(&mut self.inner).poll_read(cx, &mut piece) };
            match read {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(error)) => return self.poll_broken(cx, error),
                Poll::Pending => {
                    self.linger.let_go(&mut self.inner, cx)?;
                    return self.poll_http2(cx, buf);
                }
            }
            let bytes = if direct { buf.filled_mut().get_mut(before..).unwrap_or_default() } else { piece.filled_mut() };
            if bytes.is_empty() {
                return Poll::Ready(Ok(()));
            }
            let due = http2.came(bytes, Instant::now);
            let given = http2.pass_on(bytes);
            // The library never sees bytes after which the connection ends: for it the client has gone.
            buf.set_filled(before);
            if self.is_banned() {
                return self.poll_cut(Cut::Banned, cx);
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

    /// Waits for the client of an HTTP/2 connection, and does what is due meanwhile.
    pub(super) fn poll_http2(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.connection.wake_to_say(cx.waker());
        loop {
            if let Some(http2) = &mut self.http2 {
                std::iter::from_fn(|| self.connection.take_interim()).for_each(|(stream, frame)| http2.say_interim(stream, frame));
            }
            // What we have to say ourselves leaves as soon as it can; until then the socket wakes us.
            if self.poll_own(cx)?.is_ready() && self.inner.wire().holds_back() {
                let _ = Pin::new(&mut self.inner).poll_flush(cx)?;
            }
            self.tell_of_resets();
            let Some(http2) = &mut self.http2 else { return Poll::Pending };
            let wait = http2.wait(self.connection.body_min_rate(), Instant::now);
            if let Some(by) = self.untold.due().filter(|by| wait.is_none_or(|(other, _)| *by < other)) {
                ready!(self.alarm.poll_due(by, cx));
                continue;
            }
            let Some((by, due)) = wait else { return Poll::Pending };
            ready!(self.alarm.poll_due(by, cx));
            let Due::Stream(id, end) = due else { return self.poll_end(due, cx) };
            if end == End::BodyTooSlow {
                self.witness.cut(&self.connection, Cut::BodyTooSlow);
                self.connection.note_slow_body();
                http2.told(id, Instant::now());
                continue;
            }
            if end == End::Unread {
                if !http2.is_unread(id, self.connection.answers_wait(), Instant::now()) {
                    continue;
                }
                if id == 0 {
                    return self.poll_end(Due::Cut(Cut::WriteTooSlow), cx);
                }
                self.witness.cut(&self.connection, Cut::WriteTooSlow);
                self.connection.note_unread();
            }
            if !http2.end(id, end) {
                return self.poll_end(due, cx);
            }
            if http2.deliver(buf) {
                return Poll::Ready(Ok(()));
            }
        }
    }

    /// Tells of streams that were reset and on which nobody has begun a request for so long that nobody will.
    fn tell_of_resets(&mut self) {
        if self.untold.due().is_none() {
            return;
        }
        let now = Instant::now();
        while let Some(stream) = self.untold.take(now) {
            if let Some(error) = self.connection.tell_of_reset(stream) {
                self.witness.http2_refused(&self.connection, Http2Refusal::Stream(stream, error));
            }
        }
    }

    /// Ends an HTTP/2 connection, with GOAWAY where it can still be said.
    pub(super) fn poll_end(&mut self, due: Due, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match due {
            Due::Cut(Cut::HeadTimeout) => {
                self.connection.note_cut(Cut::HeadTimeout);
                if self.http2.as_ref().is_some_and(|http2| http2.drips()) {
                    self.connection.note_dripped();
                }
                self.witness.http2_refused(&self.connection, Http2Refusal::HeadTimeout);
            }
            Due::Cut(cut) => self.note(cut),
            Due::Abuse(abuse) => self.witness.http2_refused(&self.connection, Http2Refusal::Abuse(abuse)),
            Due::NoPreface => self.witness.http2_refused(&self.connection, Http2Refusal::Connection(Http2Error::Protocol)),
            Due::Lost(error) => self.witness.http2_refused(&self.connection, Http2Refusal::Connection(error)),
            // Told already: as a cut, or as the refusal of a request.
            Due::Stream(..) | Due::Leave => {}
        }
        let goaway = self.http2.as_ref().map(|http2| http2.goaway(due)).unwrap_or_default();
        self.farewell = Some(Farewell::with_answer(goaway, Instant::now()));
        self.poll_farewell(cx).map(Ok)
    }

    /// Writes frames of our own, between those of the library.
    pub(super) fn poll_own(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Some(http2) = &mut self.http2 else { return Poll::Ready(Ok(())) };
        while !http2.own().is_empty() {
            let written = ready!(Pin::new(&mut self.inner).poll_write(cx, http2.own()))?;
            http2.own_sent(written);
        }
        Poll::Ready(Ok(()))
    }

    /// Follows what was written where HTTP/2 is spoken.
    pub(super) fn follow(&mut self, bufs: &[IoSlice<'_>], written: &Poll<io::Result<usize>>, cx: &mut Context<'_>) {
        let (Some(http2), Poll::Ready(Ok(sent))) = (&mut self.http2, written) else { return };
        let Self { untold, connection, witness, .. } = self;
        let turned = http2.sent(bufs, *sent, Instant::now, |refusal| match refusal {
            // A request that was begun tells of itself, and so does one that begins yet.
            Http2Refusal::Stream(stream, error) => {
                witness.stream_reset(connection, error);
                if connection.note_reset(stream, error) {
                    untold.note(stream, Instant::now());
                }
            }
            Http2Refusal::Authority(stream) => {
                connection.note_told(stream);
                witness.http2_refused(connection, refusal);
            }
            Http2Refusal::Connection(_) | Http2Refusal::Fields | Http2Refusal::HeadTimeout | Http2Refusal::Abuse(_) => {
                witness.http2_refused(connection, refusal);
            }
        });
        if self.connection.certificate_is_refused() || self.connection.has_unread_head() {
            http2.leave();
        }
        // No read comes before it: what is due next has to be waited for from here.
        let due = turned.then(|| {
            let wait = http2.wait(self.connection.body_min_rate(), Instant::now);
            wait.map(|(by, _)| by).into_iter().chain(self.untold.due()).min()
        });
        if http2.over().is_some() || http2.has_left() || due.flatten().is_some_and(|by| self.alarm.poll_due(by, cx).is_ready()) {
            cx.waker().wake_by_ref();
        }
    }
}
