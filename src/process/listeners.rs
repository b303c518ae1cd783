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

use super::inherited::InheritedSockets;
use crate::{
    edge::{self, BoundListener, Connections, Ipv6Mode, ListenerDeps, Rules},
    model::ListenerName,
    policy::{IpSet, Listener, Policy},
    store::Descriptors,
};

/// The open listeners.
pub(crate) struct Listeners {
    deps: Arc<ListenerDeps>,
    open: Mutex<BTreeMap<ListenerName, ListenerHandle>>,
    /// Connections of listeners that were taken out and still live.
    closed: Mutex<Vec<Connections>>,
    /// Addresses of the listeners that no tenant is served on: metrics, admin.
    admin_addresses: Mutex<Vec<(String, String)>>,
}

struct ListenerHandle {
    listener: Arc<Listener>,
    local: SocketAddr,
    /// Another handle of the socket, for a hand-over; none once the listener is closed: the kernel takes
    /// connections while there is one.
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
    #[error(
        "listener `{name}` has the address of `{other}`, which is open; only a restart can give a listener another name"
    )]
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
pub(crate) struct Added(Vec<(Arc<Listener>, BoundListener)>);

/// Binds what a policy has, at the start; takes over what listens already.
pub(crate) fn bind_all(policy: &Policy, inherited: &mut InheritedSockets) -> Result<Added, BindError> {
    let mut added = Added::default();
    for listener in &policy.listeners {
        let bound = match inherited.take(listener.name.as_str(), listener.address) {
            Some(socket) => BoundListener::from_socket(listener, socket),
            None => edge::bind(listener, ipv6_mode(policy, listener.address)),
        };
        added.0.push((Arc::clone(listener), bound.map_err(|source| refused(listener, source))?));
    }
    Ok(added)
}

/// Says whether one of the other addresses that the policy has is IPv4 with the same port. Without one,
/// `[::]` takes IPv4 clients.
pub(crate) fn ipv6_mode(policy: &Policy, address: SocketAddr) -> Ipv6Mode {
    let others = policy.listeners.iter().map(|listener| listener.address);
    let mut others = others.chain(policy.metrics).chain(policy.admin.as_ref().map(|admin| admin.address));
    let is_beside =
        others.any(|other| other.is_ipv4() && other.port() == address.port() && address.port() != 0);
    if is_beside { Ipv6Mode::V6Only } else { Ipv6Mode::DualStack }
}

fn refused(listener: &Listener, source: io::Error) -> BindError {
    BindError::Refused { name: listener.name.clone(), address: listener.address, source }
}

impl Listeners {
    pub(crate) fn new(deps: ListenerDeps) -> Self {
        Self {
            deps: Arc::new(deps),
            open: Mutex::default(),
            closed: Mutex::default(),
            admin_addresses: Mutex::default(),
        }
    }

    /// Binds what a policy has and is not open yet, so that everything that can fail has failed before
    /// anything changes.
    pub(crate) fn bind_new(&self, policy: &Policy) -> Result<Added, BindError> {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let mut added = Added::default();
        for listener in &policy.listeners {
            if open.get(&listener.name).is_some_and(|handle| same_socket(&handle.listener, listener)) {
                continue;
            }
            // The kernel would only say that the address is in use.
            let taken = |handle: &ListenerHandle| {
                handle.listener.address == listener.address && listener.address.port() != 0
            };
            if let Some((other, _)) =
                open.iter().find(|(name, handle)| **name != listener.name && taken(handle))
            {
                return Err(BindError::Renamed { name: listener.name.clone(), other: other.clone() });
            }
            let bound = edge::bind(listener, ipv6_mode(policy, listener.address)).map_err(|source| {
                let port = listener.address.port();
                let is_dual = |handle: &ListenerHandle| {
                    handle.listener.address == SocketAddr::from((Ipv6Addr::UNSPECIFIED, port))
                };
                match open.iter().find(|(_, handle)| is_dual(handle)) {
                    Some((other, _))
                        if listener.address.is_ipv4() && source.kind() == io::ErrorKind::AddrInUse =>
                    {
                        BindError::DualStack { name: listener.name.clone(), other: other.clone(), port }
                    }
                    Some(_) | None => refused(listener, source),
                }
            })?;
            added.0.push((Arc::clone(listener), bound));
        }
        Ok(added)
    }

    /// Opens what was bound, closes what the policy has no more, and gives the others their new rules.
    /// Connections stay.
    pub(crate) fn settle(&self, policy: &Policy, added: Added) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let gone: Vec<ListenerName> = open
            .iter()
            .filter(|(name, handle)| {
                !policy
                    .listeners
                    .iter()
                    .any(|listener| listener.name == **name && same_socket(&handle.listener, listener))
            })
            .map(|(name, _)| name.clone())
            .collect();
        for name in gone {
            if let Some(handle) = open.remove(&name) {
                tracing::info!(listener = %name, address = %handle.local, "no longer listening");
                handle.stop.send_replace(true);
                self.closed.lock().unwrap_or_else(PoisonError::into_inner).push(handle.connections);
            }
        }
        for listener in &policy.listeners {
            if let Some(handle) = open.get_mut(&listener.name) {
                handle.rules.store(Arc::new(Rules::new(listener, policy)));
                handle.listener = Arc::clone(listener);
            }
        }
        for (listener, bound) in added.0 {
            tracing::info!(listener = %listener.name, address = %bound.local_addr(), "listening");
            open.insert(listener.name.clone(), self.open_listener(policy, listener, bound));
        }
    }

    /// Returns the budget of connections of all listeners together.
    pub(crate) fn descriptors(&self) -> &Descriptors {
        &self.deps.descriptors
    }

    /// Gives the listeners what their files of denied ranges hold now. Nothing else changes.
    pub(crate) fn deny(&self, read: &dyn Fn(&Path) -> Option<Arc<IpSet>>) {
        for handle in self.open.lock().unwrap_or_else(PoisonError::into_inner).values() {
            let rules = handle.rules.load().with_deny_files(read);
            handle.rules.store(Arc::new(rules));
        }
    }

    /// Returns how many ranges each listener drops.
    pub(crate) fn denied_ranges(&self) -> Vec<(ListenerName, usize)> {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.iter().map(|(name, handle)| (name.clone(), handle.rules.load().denied_ranges())).collect()
    }

    fn open_listener(
        &self,
        policy: &Policy,
        listener: Arc<Listener>,
        bound: BoundListener,
    ) -> ListenerHandle {
        let (stop, shutdown) = watch::channel(false);
        let rules = Arc::new(ArcSwap::from_pointee(Rules::new(&listener, policy)));
        let (local, connections) = (bound.local_addr(), bound.connections());
        let name = listener.name.clone();
        let socket = bound
            .socket()
            .inspect_err(|error| tracing::error!(listener = %name, %error, "no hand-over is possible"))
            .ok();
        let serving = bound.run(Arc::clone(&self.deps), Arc::clone(&rules), shutdown);
        tokio::spawn(async move {
            if let Err(error) = serving.await {
                tracing::error!(listener = %name, %error, "the listener ended");
            }
        });
        ListenerHandle { listener, local, socket, connections, rules, stop }
    }

    /// Stops taking connections.
    pub(crate) fn stop(&self) {
        for handle in self.open.lock().unwrap_or_else(PoisonError::into_inner).values_mut() {
            handle.socket = None;
            handle.stop.send_replace(true);
        }
    }

    /// Returns the sockets of the open listeners, for a successor: name, address as configured, another
    /// handle.
    pub(crate) fn sockets(&self) -> io::Result<Vec<(ListenerName, SocketAddr, TcpListener)>> {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let copy = |(name, handle): (&ListenerName, &ListenerHandle)| {
            let socket = handle
                .socket
                .as_ref()
                .ok_or_else(|| io::Error::other(format!("listener `{name}` has no handle")))?;
            Ok((name.clone(), handle.listener.address, socket.try_clone()?))
        };
        open.iter().map(copy).collect()
    }

    /// Waits until no connection is open, no longer than `within`; returns how many are left.
    pub(crate) async fn drained(&self, within: Duration) -> usize {
        let open: Vec<Connections> = {
            let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
            let closed = self.closed.lock().unwrap_or_else(PoisonError::into_inner);
            open.values().map(|handle| handle.connections.clone()).chain(closed.iter().cloned()).collect()
        };
        let left =
            futures_util::future::join_all(open.iter().map(|connections| connections.drained(within))).await;
        left.into_iter().sum()
    }

    /// Returns how many connections are open.
    pub(crate) fn open(&self) -> u64 {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let mut closed = self.closed.lock().unwrap_or_else(PoisonError::into_inner);
        closed.retain(|connections| connections.open() > 0);
        let count: usize = open
            .values()
            .map(|handle| handle.connections.open())
            .chain(closed.iter().map(Connections::open))
            .sum();
        u64::try_from(count).unwrap_or(u64::MAX)
    }

    /// Says whether any listener takes connections.
    pub(crate) fn are_open(&self) -> bool {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).values().any(|handle| !*handle.stop.borrow())
    }

    /// Notes the address of a listener that no tenant is served on.
    pub(crate) fn note_admin(&self, name: &str, address: String) {
        self.admin_addresses.lock().unwrap_or_else(PoisonError::into_inner).push((name.to_owned(), address));
    }

    /// Returns every address that is listened on.
    pub(crate) fn addresses(&self) -> Vec<(String, String)> {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let others = self.admin_addresses.lock().unwrap_or_else(PoisonError::into_inner);
        open.iter()
            .map(|(name, handle)| (name.to_string(), handle.local.to_string()))
            .chain(others.iter().cloned())
            .collect()
    }
}

/// Says whether a listener can go on with the socket it has. Whether it speaks TLS is asked anew for every
/// connection.
fn same_socket(before: &Listener, after: &Listener) -> bool {
    before.address == after.address
}
