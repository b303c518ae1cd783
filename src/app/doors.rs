//! The listeners that are open, and how a new policy changes them.

use std::{
    collections::BTreeMap,
    io,
    net::{Ipv6Addr, SocketAddr, TcpListener},
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use arc_swap::ArcSwap;
use tokio::sync::watch;

use super::inherited::Estate;
use crate::{
    edge::{self, Beside, Bound, Connections, Handler, Rules, TlsState, Witness},
    model::{Clock, ListenerName},
    policy::{IpSet, Listener, Policy},
    state::{Challenges, Descriptors},
};

/// What every door needs to open.
pub(super) struct Hinges {
    pub(super) handler: Arc<dyn Handler>,
    pub(super) witness: Arc<dyn Witness>,
    pub(super) tls: Arc<ArcSwap<TlsState>>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) challenges: Arc<Challenges>,
    /// Of connections of all doors together.
    pub(super) descriptors: Descriptors,
}

/// The open listeners.
pub(super) struct Doors {
    hinges: Hinges,
    open: Mutex<BTreeMap<ListenerName, Door>>,
    /// Connections of doors that were taken out and still live.
    closed: Mutex<Vec<Connections>>,
    /// Addresses that are not tenants' doors: metrics, admin.
    others: Mutex<Vec<(String, String)>>,
}

struct Door {
    listener: Arc<Listener>,
    local: SocketAddr,
    /// Another handle of the socket, for a hand-over; nothing once the door is shut, for the kernel takes connections as long as one is.
    socket: Option<TcpListener>,
    connections: Connections,
    rules: Arc<ArcSwap<Rules>>,
    stop: watch::Sender<bool>,
}

/// A listener could not be bound.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// The system refused.
    #[error("listener `{name}`: cannot listen on {address}: {source}")]
    Refused {
        /// The listener.
        name: ListenerName,
        /// Its address.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// The address is that of another listener which is open.
    #[error("listener `{name}` has the address of `{other}`, which is open; only a restart can give a listener another name")]
    Renamed {
        /// The listener.
        name: ListenerName,
        /// Who has the address.
        other: ListenerName,
    },
    /// The address is IPv4's, and another listener which is open takes IPv4 clients on that port already.
    #[error(
        "listener `{name}`: `{other}` is open and takes IPv4 clients on port {port} too; only a restart can give them to two listeners"
    )]
    DualStack {
        /// The listener.
        name: ListenerName,
        /// Who takes them.
        other: ListenerName,
        /// The port.
        port: u16,
    },
}

/// Listeners that a new policy adds: bound, not yet accepting. Dropping them closes them again.
#[derive(Debug, Default)]
pub(super) struct Added(Vec<(Arc<Listener>, Bound)>);

/// Binds what a policy has, at the start; takes over what listens already.
pub(super) fn bind_all(policy: &Policy, estate: &mut Estate) -> Result<Added, BindError> {
    let mut added = Added::default();
    for listener in &policy.listeners {
        let bound = match estate.take(listener.name.as_str(), listener.address) {
            Some(socket) => Bound::from_socket(listener, socket),
            None => edge::bind(listener, beside(policy, listener.address)),
        };
        added.0.push((Arc::clone(listener), bound.map_err(|source| refused(listener, source))?));
    }
    Ok(added)
}

/// Says whether one of the other addresses that the policy has is IPv4 with the same port. Without one, `[::]` takes IPv4 clients.
pub(super) fn beside(policy: &Policy, address: SocketAddr) -> Beside {
    let others = policy.listeners.iter().map(|listener| listener.address);
    let mut others = others.chain(policy.metrics).chain(policy.admin.as_ref().map(|admin| admin.address));
    let is_beside = others.any(|other| other.is_ipv4() && other.port() == address.port() && address.port() != 0);
    if is_beside { Beside::Ipv4 } else { Beside::Nothing }
}

fn refused(listener: &Listener, source: io::Error) -> BindError {
    BindError::Refused { name: listener.name.clone(), address: listener.address, source }
}

impl Doors {
    pub(super) fn new(hinges: Hinges) -> Self {
        Self { hinges, open: Mutex::default(), closed: Mutex::default(), others: Mutex::default() }
    }

    /// Binds what a policy has and is not open yet, so that everything that can fail has failed before anything changes.
    pub(super) fn bind_new(&self, policy: &Policy) -> Result<Added, BindError> {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let mut added = Added::default();
        for listener in &policy.listeners {
            if open.get(&listener.name).is_some_and(|door| same_socket(&door.listener, listener)) {
                continue;
            }
            // The kernel would only say that the address is in use.
            let taken = |door: &Door| door.listener.address == listener.address && listener.address.port() != 0;
            if let Some((other, _)) = open.iter().find(|(name, door)| **name != listener.name && taken(door)) {
                return Err(BindError::Renamed { name: listener.name.clone(), other: other.clone() });
            }
            let bound = edge::bind(listener, beside(policy, listener.address)).map_err(|source| {
                let port = listener.address.port();
                let is_dual = |door: &Door| door.listener.address == SocketAddr::from((Ipv6Addr::UNSPECIFIED, port));
                match open.iter().find(|(_, door)| is_dual(door)) {
                    Some((other, _)) if listener.address.is_ipv4() && source.kind() == io::ErrorKind::AddrInUse => {
                        BindError::DualStack { name: listener.name.clone(), other: other.clone(), port }
                    }
                    Some(_) | None => refused(listener, source),
                }
            })?;
            added.0.push((Arc::clone(listener), bound));
        }
        Ok(added)
    }

    /// Opens what was bound, closes what the policy has no more, and gives the others their new rules. Connections stay.
    pub(super) fn settle(&self, policy: &Policy, added: Added) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let gone: Vec<ListenerName> = open
            .iter()
            .filter(|(name, door)| {
                !policy.listeners.iter().any(|listener| listener.name == **name && same_socket(&door.listener, listener))
            })
            .map(|(name, _)| name.clone())
            .collect();
        for name in gone {
            if let Some(door) = open.remove(&name) {
                tracing::info!(listener = %name, address = %door.local, "no longer listening");
                door.stop.send_replace(true);
                self.closed.lock().unwrap_or_else(PoisonError::into_inner).push(door.connections);
            }
        }
        for listener in &policy.listeners {
            if let Some(door) = open.get_mut(&listener.name) {
                door.rules.store(Arc::new(Rules::new(listener, policy)));
                door.listener = Arc::clone(listener);
            }
        }
        for (listener, bound) in added.0 {
            tracing::info!(listener = %listener.name, address = %bound.local_addr(), "listening");
            open.insert(listener.name.clone(), self.open_door(policy, listener, bound));
        }
    }

    /// Returns the budget of connections of all doors together.
    pub(super) fn descriptors(&self) -> &Descriptors {
        &self.hinges.descriptors
    }

    /// Gives the listeners what their files of denied ranges hold now. Nothing else changes.
    pub(super) fn deny(&self, read: &dyn Fn(&Path) -> Option<Arc<IpSet>>) {
        for door in self.open.lock().unwrap_or_else(PoisonError::into_inner).values() {
            let rules = door.rules.load().with_deny_files(read);
            door.rules.store(Arc::new(rules));
        }
    }

    /// Returns how many ranges each listener drops.
    pub(super) fn denied_ranges(&self) -> Vec<(ListenerName, usize)> {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.iter().map(|(name, door)| (name.clone(), door.rules.load().denied_ranges())).collect()
    }

    fn open_door(&self, policy: &Policy, listener: Arc<Listener>, bound: Bound) -> Door {
        let (stop, shutdown) = watch::channel(false);
        let rules = Arc::new(ArcSwap::from_pointee(Rules::new(&listener, policy)));
        let (local, connections) = (bound.local_addr(), bound.connections());
        let name = listener.name.clone();
        let socket = bound.socket().inspect_err(|error| tracing::error!(listener = %name, %error, "no hand-over is possible")).ok();
        let Hinges { handler, witness, tls, clock, challenges, descriptors } = &self.hinges;
        let serving = bound.within(descriptors).run(
            Arc::clone(handler),
            Arc::clone(witness),
            Arc::clone(tls),
            Arc::clone(&rules),
            Arc::clone(clock),
            Arc::clone(challenges),
            shutdown,
        );
        tokio::spawn(async move {
            if let Err(error) = serving.await {
                tracing::error!(listener = %name, %error, "the listener ended");
            }
        });
        Door { listener, local, socket, connections, rules, stop }
    }

    /// Stops taking connections.
    pub(super) fn stop(&self) {
        for door in self.open.lock().unwrap_or_else(PoisonError::into_inner).values_mut() {
            door.socket = None;
            door.stop.send_replace(true);
        }
    }

    /// Returns the sockets of the open doors, for a successor: name, address as configured, another handle.
    pub(super) fn sockets(&self) -> io::Result<Vec<(ListenerName, SocketAddr, TcpListener)>> {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let copy = |(name, door): (&ListenerName, &Door)| {
            let socket = door.socket.as_ref().ok_or_else(|| io::Error::other(format!("listener `{name}` has no handle")))?;
            Ok((name.clone(), door.listener.address, socket.try_clone()?))
        };
        open.iter().map(copy).collect()
    }

    /// Waits until no connection is open, no longer than `within`; returns how many are left.
    pub(super) async fn drained(&self, within: Duration) -> usize {
        let open: Vec<Connections> = {
            let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
            let closed = self.closed.lock().unwrap_or_else(PoisonError::into_inner);
            open.values().map(|door| door.connections.clone()).chain(closed.iter().cloned()).collect()
        };
        let left = futures_util::future::join_all(open.iter().map(|connections| connections.drained(within))).await;
        left.into_iter().sum()
    }

    /// Returns how many connections are open.
    pub(super) fn open(&self) -> u64 {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let mut closed = self.closed.lock().unwrap_or_else(PoisonError::into_inner);
        closed.retain(|connections| connections.open() > 0);
        let count: usize = open.values().map(|door| door.connections.open()).chain(closed.iter().map(Connections::open)).sum();
        u64::try_from(count).unwrap_or(u64::MAX)
    }

    /// Says whether any listener takes connections.
    pub(super) fn are_open(&self) -> bool {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).values().any(|door| !*door.stop.borrow())
    }

    /// Tells of an address that is no tenant's door.
    pub(super) fn note_other(&self, name: &str, address: String) {
        self.others.lock().unwrap_or_else(PoisonError::into_inner).push((name.to_owned(), address));
    }

    /// Returns every address that is listened on.
    pub(super) fn addresses(&self) -> Vec<(String, String)> {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let others = self.others.lock().unwrap_or_else(PoisonError::into_inner);
        open.iter().map(|(name, door)| (name.to_string(), door.local.to_string())).chain(others.iter().cloned()).collect()
    }
}

/// Says whether a listener can go on with the socket it has. Whether it speaks TLS is asked anew for every connection.
fn same_socket(before: &Listener, after: &Listener) -> bool {
    before.address == after.address
}
