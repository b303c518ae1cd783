//! Connections that rest between two exchanges.

use std::{
    collections::VecDeque,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use super::connection::Connection;
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
    pub(super) fn take(&self, now: Tick, apart: Option<&TenantName>) -> Option<Connection> {
        let mut resting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let at = resting.iter().rposition(|(connection, _)| connection.apart() == apart)?;
            let (mut connection, since) = resting.remove(at)?;
            if now.since(since) < LONGEST && connection.rests() {
                return Some(connection);
            }
        }
    }

    /// Lets a connection rest; the oldest make room.
    pub(super) fn put(&self, mut connection: Connection, now: Tick) {
        connection.slim();
        let mut resting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if resting.len() >= MOST {
            resting.pop_front();
        }
        resting.push_back((connection, now));
    }

    /// Closes what has rested for too long, and what its server has closed.
    pub(in crate::gateway) fn sweep(&self, now: Tick) {
        let mut resting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        resting.retain_mut(|(connection, since)| now.since(*since) < LONGEST && connection.rests());
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
        let (idle, now) = (Idle::default(), Tick::default());
        let mut servers = Vec::new();
        for _ in 0..4 {
            idle.put(Connection::open(&address, None).await.unwrap(), now);
            servers.push(listener.accept().await.unwrap().0);
        }

        // The last is closed, the one before it said something of its own.
        drop(servers.pop());
        tokio::io::AsyncWriteExt::write_all(&mut servers[2], b"HTTP/1.1 408 Request Timeout\r\n\r\n").await.unwrap();
        tokio::time::sleep(Duration::from_millis(50)).await;

        let taken = idle.take(now, None);
        assert!(taken.is_some());
        assert_eq!(idle.0.lock().unwrap().len(), 1);
        assert!(idle.take(now.plus(LONGEST), None).is_none());
        assert_eq!(idle.0.lock().unwrap().len(), 0);
    }

    #[tokio::test]
    async fn a_sweep_closes_what_its_server_closed() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = ServerAddress::Tcp(listener.local_addr().unwrap());
        let (idle, now) = (Idle::default(), Tick::default());
        for _ in 0..3 {
            idle.put(Connection::open(&address, None).await.unwrap(), now);
        }
        let first = listener.accept().await.unwrap().0;
        drop(listener.accept().await.unwrap().0);
        drop(listener.accept().await.unwrap().0);
        tokio::time::sleep(Duration::from_millis(50)).await;

        idle.sweep(now);

        assert_eq!(idle.0.lock().unwrap().len(), 1);
        drop(first);
    }
}
