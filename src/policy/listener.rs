//! The doors.

use std::net::SocketAddr;

use super::{DenyList, IpSet};
use crate::model::{ClientIp, ListenerName, Origin, Range};

/// One listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// Its name in logs and metrics.
    pub name: ListenerName,
    /// Where it was written.
    pub origin: Origin,
    /// The address to bind.
    pub address: SocketAddr,
    /// The port that clients see in Host, where it is not the address's.
    pub public_port: Option<u16>,
    /// What it serves.
    pub kind: ListenerKind,
    /// How many connections it holds at once.
    pub max_connections: usize,
    /// How many of them one client (an IPv4 address or an IPv6 /64) may hold.
    pub max_connections_per_client: usize,
    /// How many TLS handshakes it begins per second, all clients together; absent: no bound.
    pub max_handshakes_per_second: Option<std::num::NonZeroU32>,
    /// Whether a PROXY header is required, and from whom.
    pub proxy_protocol: Option<ProxyProtocol>,
    /// Who is dropped before any handshake.
    pub deny: DenyList,
    /// Peers whose forwarding header is believed here, instead of the server's list.
    pub trusted_proxies: Option<IpSet>,
    /// Whether they end TLS in front of this listener and say so.
    pub tls_in_front: bool,
}

/// What a listener serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListenerKind {
    /// The tenants, over TLS.
    Tls,
    /// The tenants in clear text: the operator wrote `plaintext: true`.
    Plaintext,
    /// Redirects to HTTPS on this port, nothing else.
    Redirect {
        /// The port that the redirect names; 443 is left out of the URL.
        port: u16,
    },
}

/// PROXY protocol, required.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProxyProtocol {
    /// Who must send the header. Everybody else is closed.
    pub trusted: IpSet,
}

impl Listener {
    /// Says whether an address is one of our own proxies here; `of_server` are those of listeners that name none.
    pub fn is_own_proxy(&self, of_server: &IpSet, address: ClientIp) -> bool {
        let sends_header = self.proxy_protocol.as_ref().is_some_and(|proxy| proxy.trusted.contains(address));
        sends_header || self.trusted_proxies.as_ref().unwrap_or(of_server).contains(address)
    }

    /// Says whether all addresses of a range are such proxies here.
    pub fn are_own_proxies(&self, of_server: &IpSet, range: Range) -> bool {
        let send_header = self.proxy_protocol.as_ref().is_some_and(|proxy| proxy.trusted.covers(range));
        send_header || self.trusted_proxies.as_ref().unwrap_or(of_server).covers(range)
    }

    /// Says whether a port in Host is this listener's: the one clients see, its own, or 443.
    pub fn answers_port(&self, port: u16) -> bool {
        self.public_port == Some(port) || self.address.port() == port || port == 443
    }
}
