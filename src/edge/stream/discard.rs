//! Discards the rest of a request that has been answered.
//!
//! A close with unread octets sends a reset, and a reset destroys a response that the client has not read yet
//! (RFC 9112, section 9.6). Some clients read only when they have sent everything, and some proxies report
//! such an end as a bad gateway. So the rest is read first and discarded; it is never a request. Only then do
//! we close our side: a client of TLS 1.2 that is told of the end must drop what it has to send and close
//! (RFC 5246, section 7.2.1), and some report that as an error in place of the response.

use std::{
    mem::MaybeUninit,
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio::{
    io::{AsyncWrite, ReadBuf},
    time::Instant,
};

use super::{GateStream, discard_limits::Discarding, graceful_close::GracefulClose};
use crate::model::Phase;

/// How much is read at once.
const PIECE: usize = 4096;

impl GateStream {
    /// Closes after the last response of HTTP/1, once nothing of its request is awaited any more.
    pub(super) fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.graceful_close.is_none() {
            ready!(self.poll_discard(cx));
            // A deadline or a ban may have begun to close it already.
            self.graceful_close.get_or_insert_with(|| GracefulClose::without_answer(true, Instant::now()));
        }
        self.poll_graceful_close(cx)
    }

    /// Discards what arrives, as far as the gateway allows: to the end of the request, of the client, or of
    /// the time for it.
    fn poll_discard(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(bounds) = self.connection.discard() else { return Poll::Ready(()) };
        let mut discarding =
            self.discarding.take().unwrap_or_else(|| Box::new(Discarding::new(bounds, Instant::now())));
        let outcome = self.poll_rest(&mut discarding, cx);
        self.discarding = Some(discarding);
        outcome
    }

    fn poll_rest(&mut self, discarding: &mut Discarding, cx: &mut Context<'_>) -> Poll<()> {
        while self.connection.phase() == Phase::Request && !self.connection.is_whole() {
            // The response is flushed as the client accepts it. A client that accepts nothing before it has
            // sent everything does not delay the reading.
            if matches!(Pin::new(&mut self.inner).poll_flush(cx), Poll::Ready(Err(_))) {
                break;
            }
            let mut space = [const { MaybeUninit::uninit() }; PIECE];
            let mut piece = ReadBuf::uninit(&mut space);
            let read = self.poll_read_http1(cx, &mut piece);
            if self.graceful_close.is_some() {
                return read.map(drop);
            }
            match read {
                Poll::Ready(Ok(())) if !piece.filled().is_empty() => {
                    let now = Instant::now();
                    discarding.received(piece.filled().len(), now);
                    if now >= discarding.by() {
                        break;
                    }
                }
                Poll::Ready(_) => break,
                Poll::Pending => {
                    ready!(self.deadline_timer.poll_due(discarding.by(), cx));
                    break;
                }
            }
        }
        Poll::Ready(())
    }
}
