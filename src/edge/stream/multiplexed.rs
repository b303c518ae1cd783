//! HTTP/2 on a stream: what is due while its client is silent, its end, and frames of our own.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio::{
    io::{AsyncWrite, ReadBuf},
    time::Instant,
};

use super::{GateStream, farewell::Farewell, http2::Due, streams::End};
use crate::{
    edge::{Http2Error, Http2Refusal},
    model::Cut,
};

impl GateStream {
    /// Waits for the client of an HTTP/2 connection, and does what is due meanwhile.
    pub(super) fn poll_http2(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        loop {
            // What we have to say ourselves leaves as soon as it can; until then the socket wakes us.
            if self.poll_own(cx)?.is_ready() && self.inner.wire().holds_back() {
                let _ = Pin::new(&mut self.inner).poll_flush(cx)?;
            }
            let Some(http2) = &mut self.http2 else { return Poll::Pending };
            let Some((by, due)) = http2.wait(self.connection.body_min_rate(), Instant::now) else { return Poll::Pending };
            ready!(self.alarm.poll_due(by, cx));
            let Due::Stream(id, end) = due else { return self.poll_end(due, cx) };
            if end == End::BodyTooSlow {
                self.witness.cut(&self.connection, Cut::BodyTooSlow);
                self.connection.note_slow_body();
                http2.told(id, Instant::now());
                continue;
            }
            if !http2.end(id, end) {
                return self.poll_end(due, cx);
            }
            if http2.deliver(buf) {
                return Poll::Ready(Ok(()));
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
        let turned = http2.sent(bufs, *sent, Instant::now, |refusal| self.witness.http2_refused(&self.connection, refusal));
        if self.connection.certificate_is_refused() {
            http2.leave();
        }
        // No read comes before it: what is due next has to be waited for from here.
        let due = turned.then(|| http2.wait(self.connection.body_min_rate(), Instant::now)).flatten();
        if http2.over().is_some() || http2.has_left() || due.is_some_and(|(by, _)| self.alarm.poll_due(by, cx).is_ready()) {
            cx.waker().wake_by_ref();
        }
    }
}
