//! Connections that rest between two exchanges.

use std::{
    collections::VecDeque,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use super::{
    connection::{Connection, Rest},
    unread::Bodies,
};
use crate::model::{TenantName, Tick};

/// How many connections to one server rest at the most.
const MOST: usize = 512;
/// How long a connection rests: shorter than the keep-alive of common servers (nginx 75 s, Node 5 s is met by the look at it before
/// its next use, and by the retry).
const LONGEST: Duration = Duration::from_secs(60);

/// The resting connections of one server, the latest last.
#[derive(Debug, Default)]
pub(in crate::gateway) struct Idle(Mutex<VecDeque<(Connection, Tick)>>);

impl Idle {
    /// Takes the connection that rested last: it is the likeliest to live, and the others may then grow old. `apart` is the only tenant
    /// that it serves, where they are kept apart.
    pub(super) fn take(&self, now: Tick, apart: Option<&TenantName>, bodies: &Bodies) -> Option<Connection> {
        let mut resting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let at = resting.iter().rposition(|(connection, _)| connection.apart() == apart)?;
            let (mut connection, since) = resting.remove(at)?;
            if now.since(since) < LONGEST && rests(&mut connection, bodies) {
                return Some(connection);
            }
        }
    }

    /// Lets a connection rest; the oldest make room.
    pub(super) fn put(&self, mut connection: Connection, now: Tick, bodies: &Bodies) {
        connection.slim();
        let mut resting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if resting.len() >= MOST
            && let Some((mut oldest, _)) = resting.pop_front()
        {
            rests(&mut oldest, bodies);
        }
        resting.push_back((connection, now));
    }

    /// Closes the one that rests longest. Says whether there was one.
    pub(in crate::gateway) fn close_oldest(&self) -> bool {
        let oldest = self.0.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
        oldest.is_some()
    }

    /// Closes what has rested for too long, and what its server has closed.
    pub(in crate::gateway) fn sweep(&self, now: Tick, bodies: &Bodies) {
        let mut resting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        resting.retain_mut(|(connection, since)| rests(connection, bodies) && now.since(*since) < LONGEST);
    }
}

/// Says whether a connection may be used again. What its server has said meanwhile may be the answer to the body of a request.
fn rests(connection: &mut Connection, bodies: &Bodies) -> bool {
    let carried = connection.has_carried();
    match connection.rest() {
        // What was in a body that nobody read waits there to be read as a request.
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

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;
    use crate::policy::ServerAddress;

    #[tokio::test]
    async fn what_is_dead_spoken_on_or_old_is_not_taken() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = ServerAddress::Tcp(listener.local_addr().unwrap());
        let (idle, now, bodies) = (Idle::default(), Tick::default(), Bodies::new("app".parse().unwrap(), true));
        let mut servers = Vec::new();
        for _ in 0..4 {
            idle.put(Connection::open(&address, None).await.unwrap(), now, &bodies);
            servers.push(listener.accept().await.unwrap().0);
        }

        // The last is closed, the one before it said something of its own.
        drop(servers.pop());
        tokio::io::AsyncWriteExt::write_all(&mut servers[2], b"HTTP/1.1 408 Request Timeout\r\n\r\n").await.unwrap();

        let taken = idle.take(now, None, &bodies);
        assert!(taken.is_some());
        assert_eq!(idle.0.lock().unwrap().len(), 1);
        assert!(idle.take(now.plus(LONGEST), None, &bodies).is_none());
        assert_eq!(idle.0.lock().unwrap().len(), 0);
    }

    /// What a server says at rest is the answer to a body that it did not read, where one went over the connection before.
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
                let (idle, now, bodies) = (Idle::default(), Tick::default(), Bodies::new("app".parse().unwrap(), true));
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

                assert_eq!((taken.is_some(), bodies.are_unread()), (said.is_empty(), unread), "{said:?} {carried} {swept}");
            }
        }
    }

    #[tokio::test]
    async fn a_sweep_closes_what_its_server_closed() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = ServerAddress::Tcp(listener.local_addr().unwrap());
        let (idle, now, bodies) = (Idle::default(), Tick::default(), Bodies::new("app".parse().unwrap(), true));
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
}
