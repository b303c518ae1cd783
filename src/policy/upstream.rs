//! Upstreams.

use std::{net::SocketAddr, num::NonZeroU32, path::PathBuf, time::Duration};

use crate::model::{Origin, UpstreamName};

/// One upstream: servers that are interchangeable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upstream {
    /// Its name.
    pub name: UpstreamName,
    /// Where it is in the configuration.
    pub origin: Origin,
    /// The servers, at least one.
    pub servers: Box<[Server]>,
    /// How servers are chosen.
    pub balance: Balance,
    /// The protocol towards its servers.
    pub protocol: Protocol,
    /// TLS towards it; `None`: clear text.
    pub tls: Option<UpstreamTls>,
    /// Deadlines.
    pub timeouts: UpstreamTimeouts,
    /// How often a request that is safe to repeat is retried: 0 or 1.
    pub retries: u8,
    /// Whether connections are partitioned by tenant.
    pub isolate: bool,
    /// Whether its servers read every body or close the connection, so that an unread body is never parsed as
    /// a request.
    pub reads_bodies: bool,
    /// The audience of the identity assertion, where one is signed.
    pub audience: Box<str>,
}

/// One server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// Its address.
    pub address: ServerAddress,
    /// Its relative weight.
    pub weight: NonZeroU32,
}

/// A server's address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ServerAddress {
    /// TCP.
    Tcp(SocketAddr),
    /// A Unix socket.
    Unix(PathBuf),
}

/// How servers are chosen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Balance {
    /// Each in turn, by weight.
    #[default]
    RoundRobin,
}

/// The protocol towards the servers of an upstream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1.1.
    #[default]
    Http1,
    /// HTTP/2, which gRPC needs.
    Http2,
}

/// TLS towards an upstream. It is always verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpstreamTls {
    /// The name that the certificate must match.
    pub sni: String,
    /// The trusted CAs, in DER; `None`: the system's.
    pub ca: Option<Vec<Vec<u8>>>,
}

/// Deadlines towards an upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UpstreamTimeouts {
    /// How long connecting may take, TLS included.
    pub connect: Duration,
    /// How long the first byte of the answer may take.
    pub first_byte: Duration,
    /// How long the answer may pause.
    pub between_bytes: Duration,
}
