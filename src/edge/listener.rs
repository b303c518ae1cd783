//! A bound socket, and the loop that accepts connections.

use std::{
    io,
    net::{SocketAddr, TcpListener as StdListener},
    os::fd::AsRawFd,
    sync::Arc,
    time::Duration,
};

use arc_swap::ArcSwap;
use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
    time::sleep,
};

use super::{
    Connections, EdgeRefusal, Handler, Hooks, Rules, TlsState, admit::Admission, tls::CurrentVerifier,
};
use crate::model::{CertificateVerifier, Clock, ConnectionChange, ListenerName};
use crate::policy::Listener;
use crate::store::{Challenges, Descriptors};

/// How many connections the kernel queues until we accept them. The system's own limit (`somaxconn`) still
/// applies.
const BACKLOG: i32 = 4096;
/// How long to wait after the system could not accept a connection, at first and at most.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(10), Duration::from_millis(500));

/// A listener that is bound and does not accept connections yet.
#[derive(Debug)]
pub struct BoundListener {
    name: ListenerName,
    socket: StdListener,
    local: SocketAddr,
    connections: Connections,
}

/// What all listeners of the process share.
pub struct ListenerDeps {
    /// Serves the connections that were admitted.
    pub handler: Arc<dyn Handler>,
    /// Decides who may connect, and takes what happens to connections.
    pub hooks: Arc<Hooks>,
    /// The certificates in force.
    pub tls: Arc<ArcSwap<TlsState>>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// What CAs that validate our hosts may ask for.
    pub challenges: Arc<Challenges>,
    /// The budget of connections of all listeners together.
    pub descriptors: Descriptors,
}

/// Binds a listener's address. The kernel queues connections from now on; [`BoundListener::run`] serves them.
pub fn bind(listener: &Arc<Listener>, ipv6_mode: Ipv6Mode) -> io::Result<BoundListener> {
    BoundListener::from_socket(listener, listen(listener.address, ipv6_mode)?)
}

/// Whether `[::]` accepts IPv4 clients too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ipv6Mode {
    /// IPv6 only: the process listens on the same port of an IPv4 address too.
    V6Only,
    /// IPv4 clients too.
    DualStack,
}

/// Listens on an address.
pub fn listen(address: SocketAddr, ipv6_mode: Ipv6Mode) -> io::Result<StdListener> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let socket = rustix::net::socket_with(
        family,
        SocketType::STREAM,
        SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
        None,
    )?;
    sockopt::set_socket_reuseaddr(&socket, true)?;
    if address.is_ipv6() {
        // Independent of the system's `bindv6only`.
        sockopt::set_ipv6_v6only(&socket, ipv6_mode == Ipv6Mode::V6Only)?;
    }
    rustix::net::bind(&socket, &address)?;
    rustix::net::listen(&socket, BACKLOG)?;
    Ok(socket.into())
}

impl BoundListener {
    /// Takes over a socket that is listening already: the service manager's, or a predecessor's.
    pub fn from_socket(listener: &Arc<Listener>, socket: StdListener) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        let local = socket.local_addr()?;
        Ok(Self { name: listener.name.clone(), socket, local, connections: Connections::default() })
    }

    /// Returns the listener's name.
    pub fn name(&self) -> &ListenerName {
        &self.name
    }

    /// Returns the address that it is bound to, with the port that the system chose where the policy says 0.
    pub fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// Returns the counter of its open connections, for gauges and for the drain.
    pub fn connections(&self) -> Connections {
        self.connections.clone()
    }

    /// Returns another handle to the same socket, for a hand-over to a successor.
    pub fn socket(&self) -> io::Result<StdListener> {
        self.socket.try_clone()
    }

    /// Accepts connections until `shutdown` turns true. Each connection runs in its own task, which may
    /// outlive this future.
    ///
    /// Errors of the system (no descriptors left) delay the listener; they never end it. Fails only if the
    /// socket cannot be registered with the runtime.
    pub async fn run(
        self,
        deps: Arc<ListenerDeps>,
        rules: Arc<ArcSwap<Rules>>,
        mut shutdown: watch::Receiver<bool>,
    ) -> io::Result<()> {
        let listener = TcpListener::from_std(self.socket)?;
        // No other listener of this process has the same descriptor, so connection numbers are unique.
        let mut id = u64::try_from(listener.as_raw_fd()).unwrap_or(0) << 40;
        let verifier: Arc<dyn CertificateVerifier> = Arc::new(CurrentVerifier(Arc::clone(&deps.tls)));
        let acceptor = Acceptor {
            name: self.name,
            connections: self.connections,
            deps,
            verifier,
            rules,
            shutdown: shutdown.clone(),
        };
        let mut backoff = AcceptBackoff::default();
        loop {
            let accepted = tokio::select! {
                biased;
                // An error means that the sender is gone: that is a shutdown too.
                _ = shutdown.wait_for(|&down| down) => return Ok(()),
                accepted = listener.accept() => accepted,
            };
            match accepted {
                Ok((tcp, peer)) => {
                    backoff.recovered(&acceptor.name);
                    id += 1;
                    acceptor.accept(id, tcp, peer);
                }
                Err(error) if is_of_one_connection(&error) => {}
                Err(error) => tokio::select! {
                    biased;
                    _ = shutdown.wait_for(|&down| down) => return Ok(()),
                    () = sleep(backoff.next(&acceptor.name, &error)) => {}
                },
            }
        }
    }
}

/// What every connection of a listener needs.
struct Acceptor {
    name: ListenerName,
    connections: Connections,
    deps: Arc<ListenerDeps>,
    verifier: Arc<dyn CertificateVerifier>,
    rules: Arc<ArcSwap<Rules>>,
    shutdown: watch::Receiver<bool>,
}

impl Acceptor {
    fn refuse(&self, peer: SocketAddr, refusal: EdgeRefusal) {
        self.deps
            .hooks
            .record(&self.name, ConnectionChange::Refused { peer, refusal, detail: "", ban: None });
    }

    fn accept(&self, id: u64, tcp: TcpStream, peer: SocketAddr) {
        // A dual-stack socket reports IPv4 peers as IPv4-mapped addresses, and link-local ones with a zone.
        // Both are normalised here, once.
        let peer = SocketAddr::new(peer.ip().to_canonical(), peer.port());
        let rules = self.rules.load_full();
        let Some(open) = self.connections.take(rules.listener.max_connections, &self.name, &self.deps.hooks)
        else {
            self.refuse(peer, EdgeRefusal::CapListener);
            return;
        };
        let Some(spent) = self.deps.descriptors.client() else {
            self.refuse(peer, EdgeRefusal::CapProcess);
            return;
        };
        let admission = Admission {
            id,
            accepted: self.deps.clock.now(),
            tick: self.deps.clock.tick(),
            peer,
            rules,
            tls: self.deps.tls.load_full(),
            judge: Arc::clone(&self.verifier),
            connections: self.connections.clone(),
            hooks: Arc::clone(&self.deps.hooks),
            challenges: Arc::clone(&self.deps.challenges),
            shutdown: self.shutdown.clone(),
        };
        let handler = Arc::clone(&self.deps.handler);
        let shutdown = self.shutdown.clone();
        tokio::spawn(async move {
            // Counted until the handler has finished, even if it panics.
            let _open = (open, spent);
            // Boxed: the memory of the handshake is freed before the long life of the connection begins.
            if let Some((stream, connection, _client)) = Box::pin(admission.admit(tcp)).await {
                handler.serve(Box::new(stream), connection, shutdown).await;
            }
        });
    }
}

/// Says whether an error concerns only the connection that was about to be accepted, not the listener:
/// `accept(2)`.
fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::Interrupted
    )
}

/// Waits longer each time, and logs the failure once.
#[derive(Debug, Default)]
struct AcceptBackoff(Option<Duration>);

impl AcceptBackoff {
    fn next(&mut self, name: &ListenerName, error: &io::Error) -> Duration {
        let backoff = match self.0 {
            None => {
                tracing::error!(listener = %name, %error, "no connection can be accepted; trying again until one can");
                BACKOFF.0
            }
            Some(last) => (last * 2).min(BACKOFF.1),
        };
        self.0 = Some(backoff);
        backoff
    }

    fn recovered(&mut self, name: &ListenerName) {
        if self.0.take().is_some() {
            tracing::info!(listener = %name, "connections are accepted again");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_of_the_system_are_waited_out_ever_longer_up_to_a_bound() {
        let name = "public".parse().unwrap();
        let error = io::Error::from_raw_os_error(24);
        let mut backoff = AcceptBackoff::default();

        let backoffs: Vec<u128> = (0..9).map(|_| backoff.next(&name, &error).as_millis()).collect();
        backoff.recovered(&name);

        assert!(!is_of_one_connection(&error));
        assert_eq!(backoffs, [10, 20, 40, 80, 160, 320, 500, 500, 500]);
        assert_eq!(backoff.next(&name, &error), BACKOFF.0);
    }
}
