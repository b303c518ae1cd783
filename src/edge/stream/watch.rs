//! How long a connection may wait for bytes: pure rules, no timer.

use std::time::Duration;

use tokio::time::Instant;

use crate::model::{Connection, Cut, HeadDeadlines, Phase};

/// A body may be slow for so long before its rate counts.
pub(super) const BODY_GRACE: Duration = Duration::from_secs(10);

/// Watches the waits of one connection.
///
/// It is told of reads, and asked when a read has to wait. Nothing here costs more than a comparison for a request whose head
/// comes in one piece.
#[derive(Debug)]
pub(super) struct Watch {
    deadlines: HeadDeadlines,
    /// When the first head must be whole: `header_timeout` from the end of the handshake.
    first_by: Instant,
    /// Whether anything was read yet.
    silent: bool,
    idle_by: Option<Instant>,
    head_by: Option<Instant>,
    body: Body,
    tunnel_by: Option<Instant>,
}

/// How long we have waited for the body of one request, and for what.
#[derive(Debug, Default)]
struct Body {
    request: u32,
    bytes: u64,
    waited: Duration,
    since: Option<Instant>,
}

impl Watch {
    /// Begins at the end of the handshake.
    pub(super) fn new(deadlines: HeadDeadlines, now: Instant) -> Self {
        let first_by = now + deadlines.header_timeout;
        Self { deadlines, first_by, silent: true, idle_by: None, head_by: None, body: Body::default(), tunnel_by: None }
    }

    /// Tells that bytes came. Says whether they came too late for the head that they belong to.
    ///
    /// A sender that never makes us wait is judged here: a deadline that is looked at only while waiting would not hold it.
    pub(super) fn read(&mut self, before: Phase, after: Phase, bytes: usize, now: impl Fn() -> Instant) -> Option<Cut> {
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
                self.head_by = Some(if first { self.first_by } else { now() + self.deadlines.header_timeout });
                None
            }
            (Phase::Head, Phase::Head | Phase::HeadRead) => {
                let late = self.head_by.is_some_and(|by| now() >= by);
                if after == Phase::HeadRead {
                    self.head_by = None;
                }
                late.then_some(Cut::HeadTimeout)
            }
            (_, _) => None,
        }
    }

    /// Tells that bytes were written.
    pub(super) fn written(&mut self) {
        self.tunnel_by = None;
    }

    /// Answers until when a read may wait, and what it is if it waits longer.
    pub(super) fn wait(&mut self, connection: &Connection, now: impl Fn() -> Instant) -> Option<(Instant, Cut)> {
        match connection.phase() {
            Phase::Idle if connection.requests() == 0 => Some((self.first_by, Cut::NoRequest)),
            Phase::Idle => Some((*self.idle_by.get_or_insert_with(|| now() + self.deadlines.idle_timeout), Cut::Idle)),
            Phase::Head => Some((self.head_by.unwrap_or(self.first_by), Cut::HeadTimeout)),
            Phase::HeadRead | Phase::HeadTooLarge | Phase::Over => None,
            Phase::Request => self.body(connection, now),
            Phase::Tunnel => {
                let idle = connection.tunnel_idle()?;
                Some((*self.tunnel_by.get_or_insert_with(|| now() + idle), Cut::TunnelIdle))
            }
            // Watched by its frames.
            Phase::Multiplexed => None,
        }
    }

    /// A body must keep its rate on average, over the time that we waited for it: time in which we did not read, because the
    /// upstream was slow, is not the client's.
    fn body(&mut self, connection: &Connection, now: impl Fn() -> Instant) -> Option<(Instant, Cut)> {
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
        Some((since + allowed.saturating_sub(self.body.waited), Cut::BodyTooSlow))
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
            http2: Http2Limits::SMALL,
        }
    }

    fn feed(watch: &mut Watch, connection: &Connection, bytes: &[u8], now: Instant) -> Option<Cut> {
        let before = connection.phase();
        let after = connection.received(bytes).phase;
        watch.read(before, after, bytes.len(), || now)
    }

    #[test]
    fn the_first_head_is_due_from_the_handshake_on() {
        let (connection, start) = (connection(), Instant::now());
        let mut watch = Watch::new(deadlines(), start);

        assert_eq!(watch.wait(&connection, || start), Some((start + 10 * SECOND, Cut::NoRequest)));
        assert_eq!(feed(&mut watch, &connection, b"GET", start + 9 * SECOND), None);
        assert_eq!(watch.wait(&connection, || start + 9 * SECOND), Some((start + 10 * SECOND, Cut::HeadTimeout)));
        assert_eq!(feed(&mut watch, &connection, b" ", start + 10 * SECOND), Some(Cut::HeadTimeout));
    }

    #[test]
    fn a_later_head_is_due_from_its_first_byte_on() {
        let (connection, start) = (connection(), Instant::now());
        let mut watch = Watch::new(deadlines(), start);
        feed(&mut watch, &connection, b"GET / HTTP/1.1\r\n\r\n", start);
        connection.request_begins();
        connection.request_ends();

        assert_eq!(watch.wait(&connection, || start + SECOND), Some((start + 61 * SECOND, Cut::Idle)));
        assert_eq!(watch.wait(&connection, || start + 2 * SECOND), Some((start + 61 * SECOND, Cut::Idle)));
        assert_eq!(feed(&mut watch, &connection, b"GET", start + 50 * SECOND), None);
        assert_eq!(watch.wait(&connection, || start + 50 * SECOND), Some((start + 60 * SECOND, Cut::HeadTimeout)));
        assert_eq!(feed(&mut watch, &connection, b" / HTTP/1.1\r\n\r\n", start + 59 * SECOND), None);
    }

    #[test]
    fn a_body_is_judged_by_the_time_we_waited_for_it() {
        let (connection, start) = (connection(), Instant::now());
        let mut watch = Watch::new(deadlines(), start);
        feed(&mut watch, &connection, b"POST / HTTP/1.1\r\n\r\n", start);
        connection.request_begins();
        connection.body_begins(100);

        assert_eq!(watch.wait(&connection, || start), Some((start + 10 * SECOND, Cut::BodyTooSlow)));
        feed(&mut watch, &connection, &[0; 3000], start + 4 * SECOND);
        // 3000 bytes pay for 30 seconds, of which 4 are gone; the 16 seconds until we asked again were ours.
        assert_eq!(watch.wait(&connection, || start + 20 * SECOND), Some((start + 46 * SECOND, Cut::BodyTooSlow)));
        connection.body_ends(100);
        assert_eq!(watch.wait(&connection, || start + 21 * SECOND), None);
    }

    #[test]
    fn a_tunnel_is_idle_only_if_both_directions_are() {
        let (connection, start) = (connection(), Instant::now());
        let mut watch = Watch::new(deadlines(), start);
        feed(&mut watch, &connection, b"GET / HTTP/1.1\r\n\r\n", start);
        connection.request_begins();
        connection.becomes_tunnel(5 * SECOND);

        assert_eq!(watch.wait(&connection, || start), Some((start + 5 * SECOND, Cut::TunnelIdle)));
        watch.written();
        assert_eq!(watch.wait(&connection, || start + 4 * SECOND), Some((start + 9 * SECOND, Cut::TunnelIdle)));
        feed(&mut watch, &connection, b"frame", start + 8 * SECOND);
        assert_eq!(watch.wait(&connection, || start + 8 * SECOND), Some((start + 13 * SECOND, Cut::TunnelIdle)));
    }
}
