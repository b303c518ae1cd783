//! The store that nodes share.

use std::{num::NonZeroU32, path::PathBuf, time::Duration};

use crate::model::Secret;

/// Where Redis is, and how long it may take to answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Redis {
    /// Its address.
    pub place: RedisPlace,
    /// Our user; `None`: the default user.
    pub user: Option<Box<str>>,
    /// The password.
    pub password: Option<Secret<String>>,
    /// The database.
    pub database: u16,
    /// How long a command may take.
    pub timeout: Duration,
    /// How many nodes of octroi share it; `None`: unknown.
    pub replicas: Option<NonZeroU32>,
}

/// The address of Redis.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RedisPlace {
    /// TCP.
    Tcp {
        /// A name or an address.
        host: Box<str>,
        /// The port.
        port: u16,
        /// How the connection is protected.
        guard: RedisGuard,
    },
    /// A Unix socket.
    Unix(PathBuf),
}

/// How the connection to Redis is protected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RedisGuard {
    /// TLS. The certificate must match the host.
    Tls {
        /// The trusted CAs, in DER; `None`: the system's.
        ca: Option<Vec<Vec<u8>>>,
    },
    /// It stays on this machine: only loopback addresses are connected to.
    Loopback,
    /// Not at all: the operator chose clear text.
    Plaintext,
}
