//! How long a connection may wait for bytes: pure rules, no timer.

use std::time::Duration;

use tokio::time::Instant;

use crate::model::{Connection, CutReason, HeadDeadlines, Phase};

/// How long a body may be slow before its rate counts.
pub(super) const BODY_GRACE: Duration = Duration::from_secs(10);

/// Watches the waits of one connection.
///
/// It is told of reads, and asked when a read must wait. For a request whose head arrives at once it costs no
/// more than a comparison.
#[derive(Debug)]
pub(super) struct ReadDeadlines {
    deadlines: HeadDeadlines,
    /// When the first head must be complete: `header_timeout` after the end of the handshake.
    first_by: Instant,
    /// Whether nothing was read yet.
    silent: bool,
    idle_by: Option<Instant>,
    head_by: Option<Instant>,
    body: Body,
    tunnel_by: Option<Instant>,
}

/// How long we have waited for the body of one request, and how much has arrived.
#[derive(Debug, Default)]
struct Body {
    request: u32,
    bytes: u64,
    waited: Duration,
    since: Option<Instant>,
}

impl ReadDeadlines {
    /// Begins at the end of the handshake.
    pub(super) fn new(deadlines: HeadDeadlines, now: Instant) -> Self {
        let first_by = now + deadlines.header_timeout;
        Self {
            deadlines,
            first_by,
            silent: true,
            idle_by: None,
            head_by: None,
            body: Body::default(),
            tunnel_by: None,
        }
    }

    /// Notes bytes that arrived. Returns a cut if they are too late for the head that they belong to.
    ///
    /// A sender that never makes us wait is judged here: a deadline that is checked only while waiting would
    /// not apply to it.
    pub(super) fn read(
        &mut self,
        before: Phase,
        after: Phase,
        bytes: usize,
        now: impl Fn() -> Instant,
    ) -> Option<CutReason> {
        let first = std::mem::take(&mut self.silent);
        self.idle_by = None;
        self.tunnel_by = None;
        if self.body.since.is_some() || (before == Phase::Request && self.body.request != 0) {
            if let Some(since) = self.body.since.take() {
                self.body.waited += now().saturating_duration_since(since);
            }
            self.body.bytes = self.body.bytes.saturating_add(u64::try_from(bytes).unwrap_or(u64::MAX));
        }
        match (before, after) {
            (Phase::Idle, Phase::Head) => {
                self.head_by =
                    Some(if first { self.first_by } else { now() + self.deadlines.header_timeout });
                None
            }
            (Phase::Head, Phase::Head | Phase::HeadRead) => {
                let late = self.head_by.is_some_and(|by| now() >= by);
                if after == Phase::HeadRead {
                    self.head_by = None;
                }
                late.then_some(CutReason::HeadTimeout)
            }
            (_, _) => None,
        }
    }

    /// Notes that bytes were written.
    pub(super) fn written(&mut self) {
        self.tunnel_by = None;
    }

    /// Returns until when a read may wait, and the cut if it waits longer.
    pub(super) fn wait(
        &mut self,
        connection: &Connection,
        now: impl Fn() -> Instant,
    ) -> Option<(Instant, CutReason)> {
        match connection.phase() {
            Phase::Idle if connection.requests() == 0 => Some((self.first_by, CutReason::NoRequest)),
            Phase::Idle => Some((
                *self.idle_by.get_or_insert_with(|| now() + self.deadlines.idle_timeout),
                CutReason::Idle,
            )),
            Phase::Head => Some((self.head_by.unwrap_or(self.first_by), CutReason::HeadTimeout)),
            Phase::HeadRead | Phase::HeadTooLarge | Phase::Over => None,
            Phase::Request => self.body(connection, now),
            Phase::Tunnel => {
                let idle = connection.tunnel_idle()?;
                Some((*self.tunnel_by.get_or_insert_with(|| now() + idle), CutReason::TunnelIdle))
            }
            // The deadlines of its frames apply.
            Phase::Multiplexed => None,
        }
    }

    /// A body must keep its rate on average, over the time that we waited for it. Time in which we did not
    /// read, because the upstream was slow, does not count against the client.
    fn body(&mut self, connection: &Connection, now: impl Fn() -> Instant) -> Option<(Instant, CutReason)> {
        let rate = connection.body_min_rate();
        if rate == 0 {
            self.body = Body::default();
            return None;
        }
        if self.body.request != connection.requests() {
            self.body = Body { request: connection.requests(), ..Body::default() };
        }
        let since = *self.body.since.get_or_insert_with(now);
        let allowed = Duration::from_secs(self.body.bytes / rate).max(BODY_GRACE);
        Some((since + allowed.saturating_sub(self.body.waited), CutReason::BodyTooSlow))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Facts, Http2Limits, Transport, UnixTime};

    const SECOND: Duration = Duration::from_secs(1);

    fn connection() -> Connection {
        let facts = Facts {
            id: 1,
            listener: "public".parse().unwrap(),
            local: "127.0.0.1:8443".parse().unwrap(),
            peer: "192.0.2.1:5".parse().unwrap(),
            source: "192.0.2.1:5".parse().unwrap(),
            transport: Transport::Plain,
            accepted: UnixTime::from_secs(1),
        };
        Connection::new(facts, deadlines())
    }

    fn deadlines() -> HeadDeadlines {
        HeadDeadlines {
            header_timeout: 10 * SECOND,
            idle_timeout: 60 * SECOND,
            header_bytes: 1024,
            header_count: 100,
            write_stall: 30 * SECOND,
            write_min_rate: 0,
            many_clients: false,
            http2: Http2Limits::SMALL,
        }
    }

    fn feed(
        read_deadlines: &mut ReadDeadlines,
        connection: &Connection,
        bytes: &[u8],
        now: Instant,
    ) -> Option<CutReason> {
        let before = connection.phase();
        let after = connection.received(bytes).phase;
        read_deadlines.read(before, after, bytes.len(), || now)
    }

    #[test]
    fn the_first_head_is_due_from_the_handshake_on() {
        let (connection, start) = (connection(), Instant::now());
        let mut read_deadlines = ReadDeadlines::new(deadlines(), start);

        assert_eq!(
            read_deadlines.wait(&connection, || start),
            Some((start + 10 * SECOND, CutReason::NoRequest))
        );
        assert_eq!(feed(&mut read_deadlines, &connection, b"GET", start + 9 * SECOND), None);
        assert_eq!(
            read_deadlines.wait(&connection, || start + 9 * SECOND),
            Some((start + 10 * SECOND, CutReason::HeadTimeout))
        );
        assert_eq!(
            feed(&mut read_deadlines, &connection, b" ", start + 10 * SECOND),
            Some(CutReason::HeadTimeout)
        );
    }

    #[test]
    fn a_later_head_is_due_from_its_first_byte_on() {
        let (connection, start) = (connection(), Instant::now());
        let mut read_deadlines = ReadDeadlines::new(deadlines(), start);
        feed(&mut read_deadlines, &connection, b"GET / HTTP/1.1\r\n\r\n", start);
        connection.request_begins();
        connection.request_ends();

        assert_eq!(
            read_deadlines.wait(&connection, || start + SECOND),
            Some((start + 61 * SECOND, CutReason::Idle))
        );
        assert_eq!(
            read_deadlines.wait(&connection, || start + 2 * SECOND),
            Some((start + 61 * SECOND, CutReason::Idle))
        );
        assert_eq!(feed(&mut read_deadlines, &connection, b"GET", start + 50 * SECOND), None);
        assert_eq!(
            read_deadlines.wait(&connection, || start + 50 * SECOND),
            Some((start + 60 * SECOND, CutReason::HeadTimeout))
        );
        assert_eq!(feed(&mut read_deadlines, &connection, b" / HTTP/1.1\r\n\r\n", start + 59 * SECOND), None);
    }

    #[test]
    fn a_body_is_judged_by_the_time_we_waited_for_it() {
        let (connection, start) = (connection(), Instant::now());
        let mut read_deadlines = ReadDeadlines::new(deadlines(), start);
        feed(&mut read_deadlines, &connection, b"POST / HTTP/1.1\r\n\r\n", start);
        connection.request_begins();
        connection.body_begins(100);

        assert_eq!(
            read_deadlines.wait(&connection, || start),
            Some((start + 10 * SECOND, CutReason::BodyTooSlow))
        );
        feed(&mut read_deadlines, &connection, &[0; 3000], start + 4 * SECOND);
        // 3000 bytes pay for 30 seconds, of which 4 are gone; the 16 seconds until we asked again were ours.
        assert_eq!(
            read_deadlines.wait(&connection, || start + 20 * SECOND),
            Some((start + 46 * SECOND, CutReason::BodyTooSlow))
        );
        connection.body_ends(100);
        assert_eq!(read_deadlines.wait(&connection, || start + 21 * SECOND), None);
    }

    #[test]
    fn a_tunnel_is_idle_only_if_both_directions_are() {
        let (connection, start) = (connection(), Instant::now());
        let mut read_deadlines = ReadDeadlines::new(deadlines(), start);
        feed(&mut read_deadlines, &connection, b"GET / HTTP/1.1\r\n\r\n", start);
        connection.request_begins();
        connection.becomes_tunnel(5 * SECOND);

        assert_eq!(
            read_deadlines.wait(&connection, || start),
            Some((start + 5 * SECOND, CutReason::TunnelIdle))
        );
        read_deadlines.written();
        assert_eq!(
            read_deadlines.wait(&connection, || start + 4 * SECOND),
            Some((start + 9 * SECOND, CutReason::TunnelIdle))
        );
        feed(&mut read_deadlines, &connection, b"frame", start + 8 * SECOND);
        assert_eq!(
            read_deadlines.wait(&connection, || start + 8 * SECOND),
            Some((start + 13 * SECOND, CutReason::TunnelIdle))
        );
    }
}
