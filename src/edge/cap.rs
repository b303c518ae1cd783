//! Counts open connections: of a listener, and of each client. Guards count down when they are dropped.

use std::{
    collections::{HashMap, hash_map::Entry},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{sync::Notify, time::timeout};

use super::Hooks;
use crate::model::{ClientPrefix, ClientSite, ConnectionChange, ListenerName, SITE_TIMES};

/// The open connections of one listener. Clones share the count.
#[derive(Clone, Debug, Default)]
pub struct Connections(Arc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    open: AtomicUsize,
    none: Notify,
    clients: Clients,
}

impl Connections {
    /// Returns how many connections are open now.
    pub fn open(&self) -> usize {
        self.0.open.load(Ordering::Acquire)
    }

    /// Waits until no connection is open, for at most `within`. Returns how many are left.
    pub async fn drained(&self, within: Duration) -> usize {
        let none = async {
            loop {
                let woken = self.0.none.notified();
                if self.open() == 0 {
                    return;
                }
                woken.await;
            }
        };
        // The count is the result in either case.
        let _ = timeout(within, none).await;
        self.open()
    }

    /// Counts one more connection, unless that exceeds the cap.
    pub(super) fn take(&self, cap: usize, listener: &ListenerName, hooks: &Arc<Hooks>) -> Option<OpenGuard> {
        let more = |open: usize| (open < cap).then_some(open + 1);
        self.0.open.fetch_update(Ordering::AcqRel, Ordering::Acquire, more).ok()?;
        hooks.record(listener, ConnectionChange::Opened);
        Some(OpenGuard { connections: self.clone(), listener: listener.clone(), hooks: Arc::clone(hooks) })
    }

    /// Counts one more connection of a client, unless that exceeds the cap, or [`SITE_TIMES`] the cap for all
    /// clients of its IPv6 /48.
    pub(super) fn take_client(&self, client: ClientPrefix, cap: usize) -> Option<ClientGuard> {
        let site = client.site().map(ClientSite::number);
        if site.is_some_and(|site| {
            !self
                .0
                .clients
                .take(site, usize::try_from(SITE_TIMES).map_or(cap, |times| cap.saturating_mul(times)))
        }) {
            return None;
        }
        // The /48 is counted from here on: where the client is at its cap, dropping the guard gives that
        // count back.
        let mut guard = ClientGuard { connections: self.clone(), client: None, site };
        if self.0.clients.take(client.0, cap) {
            guard.client = Some(client.0);
            return Some(guard);
        }
        None
    }
}

/// One open connection.
pub(super) struct OpenGuard {
    connections: Connections,
    listener: ListenerName,
    hooks: Arc<Hooks>,
}

impl Drop for OpenGuard {
    fn drop(&mut self) {
        self.hooks.record(&self.listener, ConnectionChange::Closed);
        if self.connections.0.open.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.connections.0.none.notify_waiters();
        }
    }
}

/// One connection of a client.
pub(super) struct ClientGuard {
    connections: Connections,
    client: Option<u128>,
    site: Option<u128>,
}

impl Drop for ClientGuard {
    fn drop(&mut self) {
        self.client
            .into_iter()
            .chain(self.site)
            .for_each(|number| self.connections.0.clients.give_back(number));
    }
}

const SHARDS: usize = 16;

/// Counts by the number of a client or a /48. An entry exists as long as a connection of its client is open,
/// so the cap of the listener bounds the table.
#[derive(Debug, Default)]
struct Clients {
    shards: [Mutex<HashMap<u128, usize, ahash::RandomState>>; SHARDS],
    // Seeded, so that no client can choose whose shard it shares.
    seed: ahash::RandomState,
}

impl Clients {
    fn shard(&self, client: u128) -> Option<&Mutex<HashMap<u128, usize, ahash::RandomState>>> {
        let index = self.seed.hash_one(client) % 16;
        self.shards.get(usize::try_from(index).unwrap_or(0))
    }

    fn take(&self, client: u128, cap: usize) -> bool {
        let Some(shard) = self.shard(client) else { return false };
        let mut counts = shard.lock().unwrap_or_else(PoisonError::into_inner);
        match counts.entry(client) {
            Entry::Occupied(mut entry) if *entry.get() < cap => {
                *entry.get_mut() += 1;
                true
            }
            Entry::Vacant(entry) if cap > 0 => {
                entry.insert(1);
                true
            }
            Entry::Occupied(_) | Entry::Vacant(_) => false,
        }
    }

    fn give_back(&self, client: u128) {
        let Some(shard) = self.shard(client) else { return };
        let mut counts = shard.lock().unwrap_or_else(PoisonError::into_inner);
        if let Entry::Occupied(mut entry) = counts.entry(client) {
            *entry.get_mut() -= 1;
            if *entry.get() == 0 {
                entry.remove();
            }
        }
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().unwrap().len()).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_has_its_cap_and_leaves_nothing_behind() {
        let connections = Connections::default();
        let (a, b) = (ClientPrefix(1), ClientPrefix(2));

        let first = connections.take_client(a, 2);
        let second = connections.take_client(a, 2);

        assert!(first.is_some() && second.is_some());
        assert!(connections.take_client(a, 2).is_none());
        assert!(connections.take_client(b, 2).is_some());
        drop(first);
        assert!(connections.take_client(a, 2).is_some());
        drop(second);
        assert_eq!(connections.0.clients.len(), 0);
    }

    #[test]
    fn a_48_has_eight_times_the_cap_of_a_client() {
        let connections = Connections::default();
        let client = |number: u128| ClientPrefix(0x2001_0db8_0007 << 80 | number << 64);
        let other = ClientPrefix(0x2001_0db8_0008 << 80);

        let held: Vec<_> = (0..16).map(|number| connections.take_client(client(number), 2)).collect();
        assert!(held.iter().all(Option::is_some));
        assert!(
            connections.take_client(client(16), 2).is_none() && connections.take_client(other, 2).is_some()
        );
        drop(held);
        // A client at its own cap takes nothing of its /48's.
        let two = [connections.take_client(client(1), 2), connections.take_client(client(1), 2)];
        assert!((0..99).all(|_| connections.take_client(client(1), 2).is_none()));
        assert!(
            (0..14)
                .map(|number| connections.take_client(client(2 + number), 2))
                .collect::<Vec<_>>()
                .iter()
                .all(Option::is_some)
        );
        drop(two);
        assert_eq!(connections.0.clients.len(), 0);
    }

    #[test]
    fn a_refused_client_is_not_kept() {
        let connections = Connections::default();

        assert!(connections.take_client(ClientPrefix(1), 0).is_none());
        assert_eq!(connections.0.clients.len(), 0);
    }
}
