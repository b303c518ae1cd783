//! The descriptors of the process: one budget for whatever holds a connection, so that neither side can take
//! the other's.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

/// How many connections there may be. Clones count the same ones.
///
/// What is left of the limit of open files beside this budget is for logs, state, and those who come to look
/// after the process: metrics, admin API, control socket. Within it, clients leave something to servers of
/// upstreams and the other way round: a process that can shake hands and ask nobody is of as little use as
/// one that could ask and takes nobody in.
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

/// Whose connection it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Of {
    Client,
    Server,
}

/// The place of one connection; it is given up with it.
#[derive(Debug)]
pub struct Descriptor {
    counts: Arc<Counts>,
    of: Of,
}

/// What is kept for others than connections: a tenth of the files, and no fewer than these.
const LEAST_KEPT: usize = 64;

impl Descriptors {
    /// Makes the budget of a process that may open so many files; `None` is no limit.
    ///
    /// A tenth of them, at least 64, is kept for others; clients take four fifths of all at the most; servers
    /// leave a fifth of all.
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

    /// Returns how many connections of clients there may be.
    pub fn most_clients(&self) -> usize {
        self.0.clients.most
    }

    /// Returns how many connections to servers there may be.
    pub fn most_servers(&self) -> usize {
        self.0.servers.most
    }

    /// Returns how many connections there are: of clients, and to servers.
    pub fn taken(&self) -> (usize, usize) {
        (self.0.clients.taken.load(Ordering::Relaxed), self.0.servers.taken.load(Ordering::Relaxed))
    }

    /// Counts one more connection of a client, unless that is too many.
    pub fn client(&self) -> Option<Descriptor> {
        self.take(Of::Client)
    }

    /// Counts one more connection to a server, unless that is too many.
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
