//! Sockets that listen already and are taken over: from the service manager, or from a predecessor.

use std::{
    io,
    net::{SocketAddr, TcpListener},
};

use listenfd::ListenFd;
use rustix::net::sockopt;

/// A socket that listens already.
#[derive(Debug)]
pub(crate) struct InheritedSocket {
    /// Whose it was: the name of a listener, `metrics` or `admin`; what the service manager calls it
    /// otherwise.
    pub(crate) name: String,
    /// The address as the predecessor's configuration had it; the service manager's sockets have only their
    /// own.
    pub(crate) configured: Option<SocketAddr>,
    pub(crate) socket: TcpListener,
}

/// What is there to be taken over.
#[derive(Debug, Default)]
pub(crate) struct InheritedSockets(Vec<InheritedSocket>);

impl InheritedSockets {
    pub(crate) fn new(sockets: Vec<InheritedSocket>) -> Self {
        Self(sockets)
    }

    /// Takes what the service manager passed (`sd_listen_fds(3)`), and nothing unless `LISTEN_PID` says that
    /// it is for us.
    ///
    /// It changes the environment, so that no child takes them for its own, and is to be called before there
    /// are threads.
    pub(crate) fn from_service_manager(variable: impl Fn(&str) -> Option<String>) -> io::Result<Self> {
        if variable("LISTEN_PID").and_then(|pid| pid.parse().ok()) != Some(std::process::id()) {
            return Ok(Self::default());
        }
        let names = variable("LISTEN_FDNAMES").unwrap_or_default();
        let names: Vec<&str> = names.split(':').collect();
        let mut passed = ListenFd::from_env();
        let mut sockets = Vec::with_capacity(passed.len());
        for index in 0..passed.len() {
            let name = names.get(index).copied().unwrap_or_default();
            let unusable = |why: String| {
                io::Error::new(io::ErrorKind::InvalidInput, format!("socket {index} (`{name}`): {why}"))
            };
            let socket = passed.take_tcp_listener(index).map_err(|error| unusable(error.to_string()))?;
            let Some(socket) = socket else { continue };
            if !sockopt::socket_acceptconn(&socket)? {
                return Err(unusable(
                    "it does not listen; a socket unit needs ListenStream and Accept=no".to_owned(),
                ));
            }
            sockets.push(InheritedSocket { name: name.to_owned(), configured: None, socket });
        }
        Ok(Self(sockets))
    }

    /// Takes the socket of a listener: the one of its name, where the configuration has not moved it;
    /// otherwise the one of its address.
    pub(crate) fn take(&mut self, name: &str, address: SocketAddr) -> Option<TcpListener> {
        let place = self
            .0
            .iter()
            .position(|socket| socket.name == name && socket.configured.is_none_or(|had| had == address));
        let place = place.or_else(|| {
            let same = |socket: &InheritedSocket| {
                socket.configured.or(socket.socket.local_addr().ok()) == Some(address)
            };
            // A port of 0 is as many ports as there are listeners.
            self.0.iter().position(|socket| address.port() != 0 && same(socket))
        })?;
        Some(self.0.swap_remove(place).socket)
    }

    /// Returns what nobody took.
    pub(crate) fn left(&self) -> impl Iterator<Item = &InheritedSocket> {
        self.0.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listen() -> (TcpListener, SocketAddr) {
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        (socket, address)
    }

    fn inherited(sockets: Vec<(&str, Option<SocketAddr>, TcpListener)>) -> InheritedSockets {
        let sockets = sockets.into_iter().map(|(name, configured, socket)| InheritedSocket {
            name: name.to_owned(),
            configured,
            socket,
        });
        InheritedSockets::new(sockets.collect())
    }

    #[test]
    fn a_service_manager_s_socket_is_taken_by_name_or_address() {
        let ((named, named_at), (other, other_at)) = (listen(), listen());
        let mut inherited = inherited(vec![("public", None, named), ("unknown", None, other)]);

        assert!(inherited.take("third", "127.0.0.1:1".parse().unwrap()).is_none());
        let by_name = inherited.take("public", "0.0.0.0:443".parse().unwrap()).unwrap();
        let by_address = inherited.take("metrics", other_at).unwrap();

        assert_eq!((by_name.local_addr().unwrap(), by_address.local_addr().unwrap()), (named_at, other_at));
        assert_eq!(inherited.left().count(), 0);
    }

    #[test]
    fn a_predecessor_s_socket_is_taken_where_the_address_is_the_same() {
        let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
        let ((a, a_at), (b, b_at)) = (listen(), listen());
        let mut inherited = inherited(vec![("a", Some(any), a), ("b", Some(b_at), b)]);

        assert!(inherited.take("c", any).is_none(), "a port of 0 says nothing");
        assert!(inherited.take("b", "127.0.0.1:1".parse().unwrap()).is_none(), "it moved");
        assert_eq!(inherited.take("a", any).unwrap().local_addr().unwrap(), a_at);
        assert_eq!(inherited.take("renamed", b_at).unwrap().local_addr().unwrap(), b_at);
    }

    #[test]
    fn what_is_for_another_process_is_left_alone() {
        for pid in [None, Some("1".to_owned()), Some("x".to_owned())] {
            let inherited = InheritedSockets::from_service_manager(|name| match name {
                "LISTEN_PID" => pid.clone(),
                _ => Some("2".to_owned()),
            });

            assert_eq!(inherited.unwrap().left().count(), 0);
        }
    }
}
