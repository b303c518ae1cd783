//! A bound socket, and the loop that accepts.

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

use super::{Connections, EdgeRefusal, Handler, Rules, TlsState, Witness, admit::Admission, tls::InForce};
use crate::model::{CertificateJudge, Clock, ListenerName};
use crate::policy::Listener;
use crate::state::{Challenges, Descriptors};

/// How many connections the kernel holds for us until we accept them; the system's own bound (`somaxconn`) still counts.
const BACKLOG: i32 = 4096;
/// How long to wait after the system could not give us another connection, at first and at most.
const PAUSE: (Duration, Duration) = (Duration::from_millis(10), Duration::from_millis(500));

/// A listener that is bound and does not accept yet.
#[derive(Debug)]
pub struct Bound {
    name: ListenerName,
    socket: StdListener,
    local: SocketAddr,
    connections: Connections,
    descriptors: Descriptors,
}

/// Binds a listener's address. The kernel takes connections from now on; [`Bound::run`] serves them.
pub fn bind(listener: &Arc<Listener>, beside: Beside) -> io::Result<Bound> {
    Bound::from_socket(listener, listen(listener.address, beside)?)
}

/// What else the process listens on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Beside {
    /// Another address of IPv4 with the same port: `[::]` leaves IPv4 to it.
    Ipv4,
    /// Nothing of the kind: `[::]` takes IPv4 clients, too.
    Nothing,
}

/// Listens on an address.
pub fn listen(address: SocketAddr, beside: Beside) -> io::Result<StdListener> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let socket = rustix::net::socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK, None)?;
    sockopt::set_socket_reuseaddr(&socket, true)?;
    if address.is_ipv6() {
        // Whatever the system's `bindv6only` says.
        sockopt::set_ipv6_v6only(&socket, beside == Beside::Ipv4)?;
    }
    rustix::net::bind(&socket, &address)?;
    rustix::net::listen(&socket, BACKLOG)?;
    Ok(socket.into())
}

impl Bound {
    /// Takes over a socket that listens already: the service manager's, or a predecessor's.
    pub fn from_socket(listener: &Arc<Listener>, socket: StdListener) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        let local = socket.local_addr()?;
        Ok(Self { name: listener.name.clone(), socket, local, connections: Connections::default(), descriptors: Descriptors::new(None) })
    }

    /// Shares the process's budget of descriptors; without one, only the listener's own cap holds.
    #[must_use]
    pub fn within(self, descriptors: &Descriptors) -> Self {
        Self { descriptors: descriptors.clone(), ..self }
    }

    /// Returns the listener's name.
    pub fn name(&self) -> &ListenerName {
        &self.name
    }

    /// Returns the address it is bound to, with the port that the system chose where the policy says 0.
    pub fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// Returns the count of its open connections, for gauges and for the drain.
    pub fn connections(&self) -> Connections {
        self.connections.clone()
    }

    /// Returns another handle of the same socket, for a hand-over to a successor.
    pub fn socket(&self) -> io::Result<StdListener> {
        self.socket.try_clone()
    }

    /// Accepts until `shutdown` turns true. Each connection lives in a task of its own and may outlive this future.
    ///
    /// Errors of the system (no descriptors left) are waited out; they never end the listener. Fails only if the socket cannot be
    /// registered with the runtime.
    #[expect(clippy::too_many_arguments, reason = "one place calls it, with what a door needs")]
    pub async fn run(
        self,
        handler: Arc<dyn Handler>,
        witness: Arc<dyn Witness>,
        tls: Arc<ArcSwap<TlsState>>,
        rules: Arc<ArcSwap<Rules>>,
        clock: Arc<dyn Clock>,
        challenges: Arc<Challenges>,
        mut shutdown: watch::Receiver<bool>,
    ) -> io::Result<()> {
        let listener = TcpListener::from_std(self.socket)?;
        // No other listener of this process has the same descriptor, so no two connections have the same number.
        let mut id = u64::try_from(listener.as_raw_fd()).unwrap_or(0) << 40;
        let judge: Arc<dyn CertificateJudge> = Arc::new(InForce(Arc::clone(&tls)));
        let (name, connections, descriptors) = (self.name, self.connections, self.descriptors);
        let door =
            Door { name, connections, descriptors, handler, witness, tls, judge, rules, clock, challenges, shutdown: shutdown.clone() };
        let mut pause = Pause::default();
        loop {
            let accepted = tokio::select! {
                biased;
                // An error says that nobody can ever turn it: that is a shutdown too.
                _ = shutdown.wait_for(|&down| down) => return Ok(()),
                accepted = listener.accept() => accepted,
            };
            match accepted {
                Ok((tcp, peer)) => {
                    pause.over(&door.name);
                    id += 1;
                    door.accept(id, tcp, peer);
                }
                Err(error) if is_of_one_connection(&error) => {}
                Err(error) => tokio::select! {
                    biased;
                    _ = shutdown.wait_for(|&down| down) => return Ok(()),
                    () = sleep(pause.next(&door.name, &error)) => {}
                },
            }
        }
    }
}

/// What every connection of a listener needs.
struct Door {
    name: ListenerName,
    connections: Connections,
    descriptors: Descriptors,
    handler: Arc<dyn Handler>,
    witness: Arc<dyn Witness>,
    tls: Arc<ArcSwap<TlsState>>,
    judge: Arc<dyn CertificateJudge>,
    rules: Arc<ArcSwap<Rules>>,
    clock: Arc<dyn Clock>,
    challenges: Arc<Challenges>,
    shutdown: watch::Receiver<bool>,
}

impl Door {
    fn accept(&self, id: u64, tcp: TcpStream, peer: SocketAddr) {
        // A dual-stack socket shows IPv4 peers in IPv6 clothes, and link-local ones with a zone; both are folded here, once.
        let peer = SocketAddr::new(peer.ip().to_canonical(), peer.port());
        let rules = self.rules.load_full();
        let Some(open) = self.connections.take(rules.listener.max_connections, &self.name, &self.witness) else {
            self.witness.refused(&self.name, peer, EdgeRefusal::CapListener, "");
            return;
        };
        let Some(spent) = self.descriptors.client() else {
            self.witness.refused(&self.name, peer, EdgeRefusal::CapProcess, "");
            return;
        };
        let admission = Admission {
            id,
            accepted: self.clock.now(),
            tick: self.clock.tick(),
            peer,
            rules,
            tls: self.tls.load_full(),
            judge: Arc::clone(&self.judge),
            connections: self.connections.clone(),
            witness: Arc::clone(&self.witness),
            challenges: Arc::clone(&self.challenges),
            shutdown: self.shutdown.clone(),
        };
        let handler = Arc::clone(&self.handler);
        let shutdown = self.shutdown.clone();
        tokio::spawn(async move {
            // Counted until the handler is done, also if it panics.
            let _open = (open, spent);
            // Boxed: what the handshake needs is given back before the connection's long life begins.
            if let Some((stream, connection, _client)) = Box::pin(admission.admit(tcp)).await {
                handler.serve(Box::new(stream), connection, shutdown).await;
            }
        });
    }
}

/// Says whether the error belongs to the connection that was to be accepted, and not to the listener: `accept(2)`.
fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::Interrupted)
}

/// Waits longer each time, and says so once.
#[derive(Debug, Default)]
struct Pause(Option<Duration>);

impl Pause {
    fn next(&mut self, name: &ListenerName, error: &io::Error) -> Duration {
        let pause = match self.0 {
            None => {
                tracing::error!(listener = %name, %error, "no connection can be accepted; trying again until one can");
                PAUSE.0
            }
            Some(last) => (last * 2).min(PAUSE.1),
        };
        self.0 = Some(pause);
        pause
    }

    fn over(&mut self, name: &ListenerName) {
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
        let mut pause = Pause::default();

        let pauses: Vec<u128> = (0..9).map(|_| pause.next(&name, &error).as_millis()).collect();
        pause.over(&name);

        assert!(!is_of_one_connection(&error));
        assert_eq!(pauses, [10, 20, 40, 80, 160, 320, 500, 500, 500]);
        assert_eq!(pause.next(&name, &error), PAUSE.0);
    }
}
