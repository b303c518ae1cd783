//! The idle connections to one server, between two exchanges.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{sync::oneshot, time::timeout};

use super::{
    connection::{Connection, IoEvent, Rest},
    unread_bodies::Bodies,
};
use crate::model::{TenantName, Tick};

/// The most idle connections to one server.
const MOST: usize = 512;
/// How long a connection may be idle: shorter than the keep-alive of common servers (nginx: 75 s). A shorter
/// one (Node: 5 s) is noticed by the look at the connection before its next use, or covered by the retry.
const LONGEST: Duration = Duration::from_secs(60);

/// How long a connection settles before it is used again, if its last answer had no body because of its
/// status or its request (204, 205, 304, HEAD).
///
/// A faulty app may send a body with such an answer, in a second write. If that arrives after the next
/// request was sent, it would be read as its answer; if it arrives before, it is noticed. The server's kernel
/// may hold that write back until the first one is acknowledged (RFC 896), so we acknowledge at once
/// ([`Connection::acknowledge`]). This time is what the server itself may take.
const SETTLES: Duration = Duration::from_millis(20);

/// The most connections that wait for the server to close them, and how long they wait.
///
/// The side that closes first keeps the pair of ports for a minute (TIME-WAIT; RFC 9293, section 3.6). If
/// that were this machine, its ports would limit the bodies that go to one server to some 470 a second. Once
/// the server has closed, we close at once: some servers wait for that, and serve nobody meanwhile
/// (gunicorn). A server that reads on, though it was told to close, is noticed here.
const MOST_CLOSING: usize = 128;
const CLOSES_WITHIN: Duration = Duration::from_secs(1);

/// The idle connections of one server.
#[derive(Debug, Default)]
pub(crate) struct Idle(Mutex<Resting>);

#[derive(Debug, Default)]
struct Resting {
    /// Connections that may be used, the latest last.
    ready: VecDeque<(Connection, Tick)>,
    /// Connections that settle, the latest last.
    settling: VecDeque<(Connection, Tick)>,
    /// Connections that the server is to close, the latest last. They are not used again. Dropping one closes
    /// it from this side.
    closing: VecDeque<oneshot::Sender<()>>,
}

impl Resting {
    /// Makes connections ready that have settled by now.
    fn settle(&mut self, now: Tick) {
        while let Some(settled) = self.settling.pop_front_if(|(_, since)| now.since(*since) >= SETTLES) {
            self.ready.push_back(settled);
        }
    }

    /// Returns how many connections may be used again.
    fn len(&self) -> usize {
        self.ready.len() + self.settling.len()
    }
}

impl Idle {
    /// Takes the connection that was used last: it is the most likely to be open still, and the others can
    /// then expire. `partition` is the only tenant that it serves, where tenants are kept apart.
    pub(crate) fn take(
        &self,
        now: Tick,
        partition: Option<&TenantName>,
        bodies: &Bodies,
    ) -> Option<Connection> {
        let mut resting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        resting.settle(now);
        loop {
            let at = resting.ready.iter().rposition(|(connection, _)| connection.partition() == partition)?;
            let (mut connection, since) = resting.ready.remove(at)?;
            if now.since(since) < LONGEST && rests(&mut connection, bodies) {
                return Some(connection);
            }
        }
    }

    /// Keeps an idle connection. The oldest one makes room. Where all of them settle, the new one is closed:
    /// otherwise none would ever be ready.
    pub(crate) fn put(&self, mut connection: Connection, now: Tick, bodies: &Bodies) {
        connection.slim();
        let settles = connection.was_bodiless();
        if settles {
            connection.acknowledge();
        }
        let mut resting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if resting.len() >= MOST {
            resting.settle(now);
            let Some((mut oldest, _)) = resting.ready.pop_front() else { return };
            rests(&mut oldest, bodies);
        }
        let queue = if settles { &mut resting.settling } else { &mut resting.ready };
        queue.push_back((connection, now));
    }

    /// Waits for the server to close a connection that it was told to close. Where too many wait, it is
    /// closed from this side.
    pub(crate) fn await_close(&self, mut connection: Connection, bodies: &Arc<Bodies>) {
        connection.slim();
        let mut resting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        resting.closing.retain(|waits| !waits.is_closed());
        if resting.closing.len() >= MOST_CLOSING {
            return;
        }
        let (waits, makes_room) = oneshot::channel();
        resting.closing.push_back(waits);
        drop(resting);
        let bodies = Arc::clone(bodies);
        tokio::spawn(async move {
            tokio::select! {
                biased;
                _ = makes_room => {}
                _ = timeout(CLOSES_WITHIN, closed(&mut connection, &bodies)) => {}
            }
        });
    }

    /// Closes the connection that is idle longest. Says whether there was one.
    pub(crate) fn close_oldest(&self) -> bool {
        let mut resting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Resting { ready, settling, closing } = &mut *resting;
        closing.retain(|waits| !waits.is_closed());
        let is_closing = closing.pop_front().is_some();
        let oldest = if is_closing { None } else { ready.pop_front().or_else(|| settling.pop_front()) };
        drop(resting);
        is_closing || oldest.is_some()
    }

    /// Closes connections that were idle for too long, and those that their server has closed.
    pub(crate) fn sweep(&self, now: Tick, bodies: &Bodies) {
        let mut resting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Resting { ready, settling, .. } = &mut *resting;
        for queue in [ready, settling] {
            queue.retain_mut(|(connection, since)| rests(connection, bodies) && now.since(*since) < LONGEST);
        }
    }
}

/// Says whether a connection may be used again. Octets that arrived meanwhile may be the answer to the body
/// of a request.
fn rests(connection: &mut Connection, bodies: &Bodies) -> bool {
    let carried = connection.has_carried();
    match connection.rest() {
        // The rest of a body that the server did not read may be read there as the next request.
        Rest::Quiet => !(carried && bodies.are_unread()),
        Rest::Ended => false,
        Rest::Spoken { answer } => {
            if carried && answer {
                bodies.found_unread();
            }
            false
        }
    }
}

/// Waits until the server has closed a connection that it was told to close, or sends something instead.
async fn closed(connection: &mut Connection, bodies: &Bodies) {
    let carried = connection.has_carried();
    loop {
        match connection.rest() {
            Rest::Quiet => {}
            Rest::Ended => return,
            Rest::Spoken { answer } => {
                if carried && answer {
                    bodies.found_unread();
                }
                return;
            }
        }
        match connection.next_event(&[]).await {
            IoEvent::Read(Ok(1..)) | IoEvent::Wrote(Ok(_)) => {}
            IoEvent::Read(Ok(0) | Err(_)) | IoEvent::Wrote(Err(_)) => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;
    use crate::policy::ServerAddress;

    #[tokio::test]
    async fn what_is_dead_spoken_on_or_old_is_not_taken() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = ServerAddress::Tcp(listener.local_addr().unwrap());
        let (idle, now, bodies) =
            (Idle::default(), Tick::default(), Bodies::new("app".parse().unwrap(), true));
        let mut servers = Vec::new();
        for _ in 0..4 {
            idle.put(Connection::open(&address, None).await.unwrap(), now, &bodies);
            servers.push(listener.accept().await.unwrap().0);
        }

        // The last is closed, the one before it said something of its own.
        drop(servers.pop());
        tokio::io::AsyncWriteExt::write_all(&mut servers[2], b"HTTP/1.1 408 Request Timeout\r\n\r\n")
            .await
            .unwrap();

        let taken = idle.take(now, None, &bodies);
        assert!(taken.is_some());
        assert_eq!(idle.0.lock().unwrap().len(), 1);
        assert!(idle.take(now.plus(LONGEST), None, &bodies).is_none());
        assert_eq!(idle.0.lock().unwrap().len(), 0);
    }

    /// What a server says at rest is the answer to a body that it did not read, where one went over the
    /// connection before.
    #[tokio::test]
    async fn what_is_said_behind_a_body_is_noticed_at_rest() {
        for (said, carried, unread) in [
            (&b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"[..], true, true),
            (b"<html>", true, true),
            (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", false, false),
            (b"HTTP/1.1 408 Request Timeout\r\n\r\n", true, false),
            // A line end that belongs to nothing.
            (b"\r\n", true, false),
            (b"", true, false),
        ] {
            for swept in [false, true] {
                let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
                let address = ServerAddress::Tcp(listener.local_addr().unwrap());
                let (idle, now, bodies) =
                    (Idle::default(), Tick::default(), Bodies::new("app".parse().unwrap(), true));
                let mut connection = Connection::open(&address, None).await.unwrap();
                let mut server = listener.accept().await.unwrap().0;
                if carried {
                    connection.carries();
                }
                idle.put(connection, now, &bodies);

                // No wait: on this machine what is written is there, whether or not tokio has heard of it.
                tokio::io::AsyncWriteExt::write_all(&mut server, said).await.unwrap();
                if swept {
                    idle.sweep(now, &bodies);
                }
                let taken = idle.take(now, None, &bodies);

                assert_eq!(
                    (taken.is_some(), bodies.are_unread()),
                    (said.is_empty(), unread),
                    "{said:?} {carried} {swept}"
                );
            }
        }
    }

    #[tokio::test]
    async fn a_sweep_closes_what_its_server_closed() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = ServerAddress::Tcp(listener.local_addr().unwrap());
        let (idle, now, bodies) =
            (Idle::default(), Tick::default(), Bodies::new("app".parse().unwrap(), true));
        for _ in 0..3 {
            idle.put(Connection::open(&address, None).await.unwrap(), now, &bodies);
        }
        let first = listener.accept().await.unwrap().0;
        drop(listener.accept().await.unwrap().0);
        drop(listener.accept().await.unwrap().0);

        idle.sweep(now, &bodies);

        assert_eq!(idle.0.lock().unwrap().len(), 1);
        drop(first);
    }

    /// Behind an answer without a body, octets may come that belong to nothing: the connection is used when
    /// it has been quiet for a while.
    #[tokio::test]
    async fn a_connection_settles_behind_an_answer_without_a_body() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = ServerAddress::Tcp(listener.local_addr().unwrap());
        let (idle, now, bodies) =
            (Idle::default(), Tick::default().plus(LONGEST), Bodies::new("app".parse().unwrap(), true));
        let open = async |bodiless| {
            let mut connection = Connection::open(&address, None).await.unwrap();
            connection.answered(bodiless);
            (connection, listener.accept().await.unwrap().0)
        };
        let just_before = now.plus(SETTLES.saturating_sub(Duration::from_nanos(1)));

        let (settling, _first) = open(true).await;
        idle.put(settling, now, &bodies);
        assert!(idle.take(just_before, None, &bodies).is_none());
        assert!(idle.take(now.plus(SETTLES), None, &bodies).is_some());
        // Others serve meanwhile.
        let (settling, _server) = open(true).await;
        let (other, _other) = open(false).await;
        idle.put(other, now, &bodies);
        idle.put(settling, now, &bodies);
        assert!(idle.take(now, None, &bodies).is_some_and(|connection| !connection.was_bodiless()));
        assert!(idle.take(just_before, None, &bodies).is_none());
        assert!(idle.close_oldest() && !idle.close_oldest());
        // What was said meanwhile belongs to nothing.
        let (settling, mut server) = open(true).await;
        idle.put(settling, now, &bodies);
        tokio::io::AsyncWriteExt::write_all(&mut server, b"{}").await.unwrap();
        assert!(idle.take(now.plus(SETTLES), None, &bodies).is_none());
        assert_eq!((idle.0.lock().unwrap().len(), bodies.are_unread()), (0, false));
    }

    /// Where as many settle as may rest, those that have been there longest go on settling: they will be
    /// ready.
    #[tokio::test]
    async fn so_many_may_settle_and_the_first_are_kept() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = ServerAddress::Tcp(listener.local_addr().unwrap());
        let (idle, now, bodies) =
            (Idle::default(), Tick::default(), Bodies::new("app".parse().unwrap(), true));
        let mut servers = Vec::new();
        for at in std::iter::repeat_n(now, MOST + 1).chain([now.plus(SETTLES)]) {
            let mut connection = Connection::open(&address, None).await.unwrap();
            connection.answered(true);
            servers.push(listener.accept().await.unwrap().0);
            idle.put(connection, at, &bodies);
        }

        assert_eq!(idle.0.lock().unwrap().len(), MOST);
        // One came when all settled, and the first had settled when the last came.
        for closed in [MOST, 0] {
            assert_eq!(tokio::io::AsyncReadExt::read(&mut servers[closed], &mut [0]).await.unwrap(), 0);
        }
    }

    /// Waits until something is so, for two seconds at the most.
    async fn until(what: &str, is: impl Fn() -> bool) {
        let waits = async {
            while !is() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        assert!(timeout(CLOSES_WITHIN * 2, waits).await.is_ok(), "{what}");
    }

    /// A server that was told to close is waited for, and followed at once. What it says instead is an answer
    /// to a body that it did not read.
    #[tokio::test]
    async fn a_server_that_was_told_to_close_is_waited_for() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = ServerAddress::Tcp(listener.local_addr().unwrap());
        let (idle, now, bodies) =
            (Idle::default(), Tick::default(), Arc::new(Bodies::new("app".parse().unwrap(), false)));
        let open =
            async || (Connection::open(&address, None).await.unwrap(), listener.accept().await.unwrap().0);
        let closing = || idle.0.lock().unwrap().closing.iter().filter(|waits| !waits.is_closed()).count();
        let is_closed = async |server: &mut tokio::net::TcpStream| {
            matches!(
                timeout(CLOSES_WITHIN / 2, tokio::io::AsyncReadExt::read(server, &mut [0])).await,
                Ok(Ok(0))
            )
        };

        // One is closed by its server, one by time, and none of them is used.
        let (first, mut server) = open().await;
        idle.await_close(first, &bodies);
        assert!(!is_closed(&mut server).await && idle.take(now, None, &bodies).is_none());
        tokio::io::AsyncWriteExt::shutdown(&mut server).await.unwrap();
        assert!(is_closed(&mut server).await, "it is followed at once");
        until("nothing is left of it", || closing() == 0).await;
        let (second, mut server) = open().await;
        let began = tokio::time::Instant::now();
        idle.await_close(second, &bodies);
        assert_eq!(
            (
                tokio::io::AsyncReadExt::read(&mut server, &mut [0]).await.unwrap(),
                began.elapsed() >= CLOSES_WITHIN
            ),
            (0, true)
        );
        // So many wait, and make room for others first.
        let mut servers = Vec::new();
        for _ in 0..=MOST_CLOSING {
            let (mut one, server) = open().await;
            // The third had no body: what comes behind its answer is no answer to one.
            if servers.len() != 2 {
                one.carries();
            }
            idle.await_close(one, &bodies);
            servers.push(server);
        }
        assert_eq!(closing(), MOST_CLOSING);
        let (other, _other) = open().await;
        idle.put(other, now, &bodies);
        assert!(idle.close_oldest() && is_closed(&mut servers[0]).await);
        assert_eq!((closing(), idle.0.lock().unwrap().len()), (MOST_CLOSING - 1, 1));
        tokio::io::AsyncWriteExt::write_all(&mut servers[2], b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
        until("it has spoken", || closing() == MOST_CLOSING - 2).await;
        assert!(!bodies.are_unread());
        // This one reads on.
        tokio::io::AsyncWriteExt::write_all(&mut servers[1], b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
        until("it is found out", || bodies.are_unread()).await;
    }
}
