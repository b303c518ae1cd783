//! The store that nodes share.

use std::{num::NonZeroU32, path::PathBuf, time::Duration};

use crate::model::Secret;

/// Where Redis is, and how long an answer of it may take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Redis {
    /// Where it is.
    pub place: RedisPlace,
    /// Who we are there; absent: its default user.
    pub user: Option<Box<str>>,
    /// The password.
    pub password: Option<Secret<String>>,
    /// The database.
    pub database: u16,
    /// How long one command may take.
    pub timeout: Duration,
    /// How many nodes of octroi share it; absent: nobody counts on a number.
    pub replicas: Option<NonZeroU32>,
}

/// Where Redis is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RedisPlace {
    /// TCP.
    Tcp {
        /// A name or an address.
        host: Box<str>,
        /// The port.
        port: u16,
        /// How what is said is kept from others.
        guard: RedisGuard,
    },
    /// A Unix socket.
    Unix(PathBuf),
}

/// How what is said to Redis is kept from others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RedisGuard {
    /// TLS. The certificate must be for the host.
    Tls {
        /// The CA bundle, DER certificates; absent: the system's.
        ca: Option<Vec<Vec<u8>>>,
    },
    /// It does not leave this machine: an address that is not loopback is not connected to.
    Loopback,
    /// Not at all: the operator says that clear text is meant.
    Plaintext,
}
