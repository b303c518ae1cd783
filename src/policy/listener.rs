//! Listeners.

use std::net::SocketAddr;

use super::{DenyList, IpSet};
use crate::model::{ClientIp, ListenerName, Origin, Range};

/// One listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// Its name in logs and metrics.
    pub name: ListenerName,
    /// Where it is in the configuration.
    pub origin: Origin,
    /// The address to bind.
    pub address: SocketAddr,
    /// The port that clients see in Host, if it is not the address's.
    pub public_port: Option<u16>,
    /// What it serves.
    pub kind: ListenerKind,
    /// How many connections it holds at once.
    pub max_connections: usize,
    /// How many of them one client (an IPv4 address or an IPv6 /64) may hold.
    pub max_connections_per_client: usize,
    /// How many TLS handshakes it begins per second, for all clients together; `None`: no bound.
    pub max_handshakes_per_second: Option<std::num::NonZeroU32>,
    /// Whether a PROXY header is required, and from which peers.
    pub proxy_protocol: Option<ProxyProtocol>,
    /// The addresses that it refuses before any handshake.
    pub deny: DenyList,
    /// Peers whose forwarding header is trusted here, instead of the server's list.
    pub trusted_proxies: Option<IpSet>,
    /// Whether these peers terminate TLS and report the scheme.
    pub tls_in_front: bool,
}

/// What a listener serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListenerKind {
    /// Tenants, over TLS.
    Tls,
    /// Tenants in clear text: the operator wrote `plaintext: true`.
    Plaintext,
    /// Redirects to HTTPS on this port, nothing else.
    Redirect {
        /// The port in the redirect; 443 is left out of the URL.
        port: u16,
    },
}

/// The PROXY protocol; the header is required.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProxyProtocol {
    /// The peers that must send the header. Other peers are disconnected.
    pub trusted: IpSet,
}

impl Listener {
    /// Says whether an address is one of our own proxies here; `of_server` is the list for listeners without
    /// one of their own.
    ///
    /// `is_peer` says that no PROXY header names another address. A peer that must send this header is our
    /// own where it speaks for itself (`LOCAL`, `UNKNOWN`). The address in its header is a client's, in
    /// whatever network it is: people trust all of `10.0.0.0/8` for one balancer.
    pub fn is_own_proxy(&self, of_server: &IpSet, address: ClientIp, is_peer: bool) -> bool {
        let sends_header =
            || self.proxy_protocol.as_ref().is_some_and(|proxy| proxy.trusted.contains(address));
        self.is_trusted_proxy(of_server, address) || (is_peer && sends_header())
    }

    /// Says whether forwarding headers of a peer are trusted here: its connections carry the requests of many
    /// clients.
    pub fn is_trusted_proxy(&self, of_server: &IpSet, address: ClientIp) -> bool {
        self.trusted_proxies.as_ref().unwrap_or(of_server).contains(address)
    }

    /// Says whether all addresses of a range are our own proxies here, whether as peers or in a header.
    pub fn are_own_proxies(&self, of_server: &IpSet, range: Range) -> bool {
        self.trusted_proxies.as_ref().unwrap_or(of_server).covers(range)
    }

    /// Says whether a port in Host is this listener's: the public one, its own, or 443.
    pub fn answers_port(&self, port: u16) -> bool {
        self.public_port == Some(port) || self.address.port() == port || port == 443
    }
}
