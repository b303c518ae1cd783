//! Where requests go.

use std::{net::SocketAddr, num::NonZeroU32, path::PathBuf, time::Duration};

use crate::model::{Origin, UpstreamName};

/// One upstream: servers that answer alike.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upstream {
    /// Its name.
    pub name: UpstreamName,
    /// Where it was written.
    pub origin: Origin,
    /// The servers, at least one.
    pub servers: Box<[Server]>,
    /// Who gets the next request.
    pub balance: Balance,
    /// What is spoken with its servers.
    pub protocol: Protocol,
    /// TLS towards it; absent: plain.
    pub tls: Option<UpstreamTls>,
    /// Deadlines.
    pub timeouts: UpstreamTimeouts,
    /// How often a request that is safe to repeat is tried again: 0 or 1.
    pub retries: u8,
    /// Whether connections are kept apart by tenant.
    pub isolate: bool,
    /// Whether its servers read every body or close, so that none is left to be read as a request.
    pub reads_bodies: bool,
    /// Whom the signed statement of who asks is for, where one is signed.
    pub audience: Box<str>,
}

/// One server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// Its address.
    pub address: ServerAddress,
    /// Its share.
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

/// Who gets the next request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Balance {
    /// Each in turn, by weight.
    #[default]
    RoundRobin,
}

/// What is spoken with the servers of an upstream.
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
    /// The name that the certificate must have.
    pub sni: String,
    /// The CA bundle, DER certificates; absent: the system's.
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
