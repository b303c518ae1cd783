//! What still comes of a request that has its answer, and how long it is waited for.
//!
//! A close with unread octets sends a reset, and a reset destroys an answer that the client has not read yet (RFC 9112, section 9.6).
//! There are clients that read only when they have sent all, and proxies that call such an end a bad gateway. So the rest is read first
//! and thrown away; it is never a request. Our side ends behind that: a client of TLS 1.2 that is told of the end must drop what it has to
//! send and close (RFC 5246, section 7.2.1), and some tell that as an error in place of the answer.

use std::{
    mem::MaybeUninit,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncWrite, ReadBuf},
    time::Instant,
};

use super::{GateStream, farewell::Farewell};
use crate::model::{Discard, Phase};

/// How long a client may pause. The rate has regard to all that came before, so it alone would allow a client that has read its answer and
/// sends no more to hold the connection for hours. A line that loses a segment three times in a row is silent for seven seconds.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// How long a client may go on behind what its body may have. Those that look at what comes while they send have stopped long before; for
/// those that do not, a file that is somewhat too large is not lost. nginx waits as long (`lingering_time`). The octets are not counted: a
/// connection costs us its place, and whoever wants to send us octets finds other ways.
const LONGEST_BEHIND: Duration = Duration::from_secs(30);
/// How much is read at once.
const PIECE: usize = 4096;

/// Watches what is thrown away.
#[derive(Debug)]
pub(super) struct Discarding {
    left: u64,
    pause_by: Instant,
    behind_by: Option<Instant>,
}

impl Discarding {
    fn new(bounds: Discard, now: Instant) -> Self {
        let behind_by = (bounds.octets == 0).then(|| now + LONGEST_BEHIND);
        Self { left: bounds.octets, pause_by: now + bounds.first, behind_by }
    }

    /// Tells that octets came. Those that frame a body count too: there may be more of them than of the body.
    fn came(&mut self, octets: usize, now: Instant) {
        self.left = self.left.saturating_sub(u64::try_from(octets).unwrap_or(u64::MAX));
        self.pause_by = now + LONGEST_PAUSE;
        if self.left == 0 {
            self.behind_by.get_or_insert(now + LONGEST_BEHIND);
        }
    }

    /// Answers until when more is waited for.
    fn by(&self) -> Instant {
        self.behind_by.map_or(self.pause_by, |by| by.min(self.pause_by))
    }
}

impl GateStream {
    /// Closes behind the last answer of HTTP/1, once nothing is waited for any more of the request that it answers.
    pub(super) fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.farewell.is_none() {
            ready!(self.poll_discard(cx));
            // A deadline or a ban has its own end.
            self.farewell.get_or_insert_with(|| Farewell::silent(true, Instant::now()));
        }
        self.poll_farewell(cx)
    }

    /// Throws away what comes, as far as the gateway has allowed it: to the end of the request, of the client, or of our patience.
    fn poll_discard(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(bounds) = self.connection.discard() else { return Poll::Ready(()) };
        let mut discarding = self.discarding.take().unwrap_or_else(|| Box::new(Discarding::new(bounds, Instant::now())));
        let outcome = self.poll_rest(&mut discarding, cx);
        self.discarding = Some(discarding);
        outcome
    }

    fn poll_rest(&mut self, discarding: &mut Discarding, cx: &mut Context<'_>) -> Poll<()> {
        while self.connection.phase() == Phase::Request && !self.connection.is_whole() {
            // The answer leaves as the client takes it. One that takes nothing before it has sent all is not waited for with that.
            if matches!(Pin::new(&mut self.inner).poll_flush(cx), Poll::Ready(Err(_))) {
                break;
            }
            let mut space = [const { MaybeUninit::uninit() }; PIECE];
            let mut piece = ReadBuf::uninit(&mut space);
            let read = self.poll_read_single(cx, &mut piece);
            if self.farewell.is_some() {
                return read.map(drop);
            }
            match read {
                Poll::Ready(Ok(())) if !piece.filled().is_empty() => {
                    let now = Instant::now();
                    discarding.came(piece.filled().len(), now);
                    if now >= discarding.by() {
                        break;
                    }
                }
                Poll::Ready(_) => break,
                Poll::Pending => {
                    ready!(self.alarm.poll_due(discarding.by(), cx));
                    break;
                }
            }
        }
        Poll::Ready(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_pause_is_borne_for_ten_seconds_however_much_came_before() {
        let start = Instant::now();
        let mut discarding = Discarding::new(Discard { octets: 1000, first: SECOND }, start);

        assert_eq!(discarding.by(), start + SECOND);
        discarding.came(999, start + SECOND);
        assert_eq!(discarding.by(), start + 11 * SECOND);
    }

    #[test]
    fn what_comes_behind_the_bound_has_half_a_minute_in_all() {
        let start = Instant::now();
        let mut discarding = Discarding::new(Discard { octets: 1000, first: SECOND }, start);

        discarding.came(1000, start);
        assert_eq!(discarding.by(), start + 10 * SECOND);
        for second in 1..=40 {
            discarding.came(1 << 30, start + second * SECOND);
            assert_eq!(discarding.by(), start + (second + 10).min(30) * SECOND, "{second}");
        }
    }

    #[test]
    fn a_body_that_is_over_its_bound_already_is_behind_it_at_once() {
        let start = Instant::now();
        let mut discarding = Discarding::new(Discard { octets: 0, first: 10 * SECOND }, start);

        assert_eq!(discarding.by(), start + 10 * SECOND);
        discarding.came(1, start + 9 * SECOND);
        discarding.came(1, start + 18 * SECOND);
        discarding.came(1, start + 27 * SECOND);
        assert_eq!(discarding.by(), start + 30 * SECOND);
    }
}
