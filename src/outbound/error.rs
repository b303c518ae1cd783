//! Why a request got no answer.

use std::{io, time::Duration};

/// Why a request got no answer.
#[derive(Debug, thiserror::Error)]
pub enum OutboundError {
    /// The URL is not of the form `https://host[:port]/…`.
    #[error("`{0}` is not an https URL")]
    Url(String),
    /// The roots of the system cannot be read, or a root that was given is no certificate.
    #[error("the certificates to trust cannot be read: {0}")]
    Trust(#[source] io::Error),
    /// No root is there, so nothing could be verified.
    #[error("no certificate to trust: the system has none; install its CA certificates, or name a file")]
    NoTrust,
    /// The library refuses the configuration.
    #[error("TLS cannot be set up: {0}")]
    Setup(#[source] rustls::Error),
    /// The host has no address.
    #[error("`{host}` has no address: {source}")]
    Resolve {
        /// The host.
        host: String,
        /// What the resolver said.
        #[source]
        source: io::Error,
    },
    /// What may only be asked of this machine would be asked of another.
    #[error("`{0}` has no loopback address, and what is asked in clear text must not leave this machine")]
    NotLoopback(String),
    /// Nobody takes the connection at any of the addresses.
    #[error("cannot connect to {address}: {source}")]
    Connect {
        /// The last address that was tried.
        address: String,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The handshake failed: most often the certificate is not to be trusted.
    #[error("TLS with `{host}` failed: {source}")]
    Tls {
        /// The host.
        host: String,
        /// What the library said.
        #[source]
        source: io::Error,
    },
    /// Who was asked says nothing.
    #[error("{address} does not answer within {} s", limit.as_secs())]
    Silent {
        /// The host and port, or the path of a socket.
        address: String,
        /// How long was waited.
        limit: Duration,
    },
    /// A step took too long.
    #[error("{step} took longer than {} s", limit.as_secs())]
    Timeout {
        /// The step.
        step: &'static str,
        /// Its deadline.
        limit: Duration,
    },
    /// The exchange broke off, or is no HTTP.
    #[error("the exchange broke off: {0}")]
    Http(#[source] hyper::Error),
    /// The answer is larger than what is taken.
    #[error("the answer has more than {0} bytes")]
    TooLarge(usize),
}
