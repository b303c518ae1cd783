//! The admin listener and who may use it.

use std::{net::SocketAddr, path::PathBuf};

use crate::model::{Role, Secret, UnixTime};

/// The admin listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admin {
    /// The address to bind.
    pub address: SocketAddr,
    /// The certificate and key files; required beyond loopback.
    pub tls: Option<(PathBuf, PathBuf)>,
    /// The named operators.
    pub principals: Vec<AdminPrincipal>,
    /// The Host names that it answers.
    pub hosts: Vec<String>,
}

/// One named operator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdminPrincipal {
    /// The name in logs.
    pub name: String,
    /// The Bearer token, at least 32 bytes.
    pub token: Secret<Vec<u8>>,
    /// The roles.
    pub roles: Vec<Role>,
    /// When the entry expires.
    pub expires: Option<UnixTime>,
}
