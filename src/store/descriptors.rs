//! The file descriptors of the process: one budget for the connections of both sides, so that neither side
//! can exhaust the other's.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

/// The budget of connections. Clones share it.
///
/// The rest of the limit of open files is for logs, state, metrics, admin API and control socket. Within the
/// budget, clients and upstream servers each leave a part to the other: a process that accepts clients and
/// reaches no server is as useless as one that reaches servers and accepts no client.
#[derive(Clone, Debug)]
pub struct Descriptors(Arc<Counts>);

#[derive(Debug)]
struct Counts {
    most: usize,
    taken: AtomicUsize,
    clients: Side,
    servers: Side,
}

#[derive(Debug)]
struct Side {
    most: usize,
    taken: AtomicUsize,
}

/// The side of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Of {
    Client,
    Server,
}

/// One connection's part of the budget. Dropping it gives it back.
#[derive(Debug)]
pub struct Descriptor {
    counts: Arc<Counts>,
    of: Of,
}

/// The fewest files that are kept for other uses; otherwise a tenth of them.
const LEAST_KEPT: usize = 64;

impl Descriptors {
    /// Makes the budget of a process that may open so many files; `None` is no limit.
    ///
    /// A tenth of them, at least 64, is kept for other uses. Clients take four fifths at most; servers leave
    /// a fifth.
    pub fn new(files: Option<u64>) -> Self {
        let files = files.map_or(usize::MAX, |files| usize::try_from(files).unwrap_or(usize::MAX));
        let most = files - (files / 10).max(LEAST_KEPT).min(files / 2);
        let side = |most: usize| Side { most, taken: AtomicUsize::new(0) };
        let clients = (files / 5 * 4).min(most - most / 10);
        let servers = most - (files / 5).min(most / 2);
        Self(Arc::new(Counts {
            most,
            taken: AtomicUsize::new(0),
            clients: side(clients),
            servers: side(servers),
        }))
    }

    /// Returns the limit of client connections.
    pub fn most_clients(&self) -> usize {
        self.0.clients.most
    }

    /// Returns the limit of connections to servers.
    pub fn most_servers(&self) -> usize {
        self.0.servers.most
    }

    /// Returns how many connections there are now: of clients, and to servers.
    pub fn taken(&self) -> (usize, usize) {
        (self.0.clients.taken.load(Ordering::Relaxed), self.0.servers.taken.load(Ordering::Relaxed))
    }

    /// Takes a client connection's part, unless that exceeds a limit.
    pub fn client(&self) -> Option<Descriptor> {
        self.take(Of::Client)
    }

    /// Takes the part of a connection to a server, unless that exceeds a limit.
    pub fn server(&self) -> Option<Descriptor> {
        self.take(Of::Server)
    }

    fn take(&self, of: Of) -> Option<Descriptor> {
        let counts = &self.0;
        let side = counts.side(of);
        one_more(&side.taken, side.most)?;
        if one_more(&counts.taken, counts.most).is_none() {
            side.taken.fetch_sub(1, Ordering::AcqRel);
            return None;
        }
        Some(Descriptor { counts: Arc::clone(counts), of })
    }
}

fn one_more(taken: &AtomicUsize, most: usize) -> Option<usize> {
    taken.fetch_update(Ordering::AcqRel, Ordering::Acquire, |taken| (taken < most).then_some(taken + 1)).ok()
}

impl Counts {
    const fn side(&self, of: Of) -> &Side {
        match of {
            Of::Client => &self.clients,
            Of::Server => &self.servers,
        }
    }
}

impl Drop for Descriptor {
    fn drop(&mut self) {
        self.counts.side(self.of).taken.fetch_sub(1, Ordering::AcqRel);
        self.counts.taken.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(take: impl FnMut() -> Option<Descriptor>) -> Vec<Descriptor> {
        std::iter::from_fn(take).collect()
    }

    #[test]
    fn each_side_leaves_something_to_the_other_and_both_to_the_rest() {
        for files in [256_usize, 1024, 2048, 65_536] {
            let descriptors = Descriptors::new(u64::try_from(files).ok());

            let clients = all(|| descriptors.client());
            let servers = all(|| descriptors.server());
            assert_eq!(
                (clients.len(), descriptors.taken()),
                (descriptors.most_clients(), (clients.len(), servers.len()))
            );
            assert!(
                servers.len() >= files / 16 && clients.len() >= files / 3,
                "{files}: {} {}",
                clients.len(),
                servers.len()
            );
            assert!(files - clients.len() - servers.len() >= LEAST_KEPT, "{files}");

            drop((clients, servers));
            assert_eq!(descriptors.taken(), (0, 0));
            let servers = all(|| descriptors.server());
            let clients = all(|| descriptors.client());
            assert!(clients.len() >= files / 5, "{files}: {} {}", clients.len(), servers.len());
        }
        assert_eq!(Descriptors::new(Some(1024)).most_clients(), 816);
    }

    #[test]
    fn what_is_given_up_can_be_taken_again() {
        let descriptors = Descriptors::new(Some(256));
        let mut held = all(|| descriptors.client());

        assert!(descriptors.client().is_none());
        held.pop();
        assert!(descriptors.client().is_some());
        assert!(Descriptors::new(None).server().is_some());
    }
}
