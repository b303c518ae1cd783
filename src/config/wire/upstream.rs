//! Where requests go.

use std::{num::NonZeroU32, path::PathBuf};

use serde_json::{Value, json};

use super::Party;
use crate::{
    config::{
        collection::NonEmpty,
        parse::{FilePath, Scalar, ScalarError},
        reader::Spanned,
        shape::{wire, words},
        unit::Wait,
    },
    model::Host,
    policy::{Balance, Protocol, ServerAddress},
};

words! {
    Balance, "balance" { "round_robin" => Balance::RoundRobin, }
    Protocol, "protocol" { "http1" => Protocol::Http1, "http2" => Protocol::Http2, }
}

impl Scalar for ServerAddress {
    fn parse(text: &str) -> Result<Self, ScalarError> {
        if let Some(path) = text.strip_prefix("unix:") {
            let path = PathBuf::from(path);
            return if path.is_absolute() {
                Ok(Self::Unix(path))
            } else {
                Err(ScalarError::new("a Unix socket has an absolute path").hint("write `unix:/run/app.sock`"))
            };
        }
        let address: std::net::SocketAddr = text.parse().map_err(|_| {
            ScalarError::new(format!("not the address of a server: `{text}`"))
                .hint("write `127.0.0.1:9000`, `[::1]:9000` or `unix:/run/app.sock`; names are not looked up")
        })?;
        if address.port() == 0 || address.ip().to_canonical().is_unspecified() {
            return Err(ScalarError::new(format!("nothing can be reached at `{text}`")));
        }
        Ok(Self::Tcp(address))
    }

    fn schema() -> Value {
        json!({"type": "string"})
    }
}

wire! {
    /// An upstream: interchangeable servers.
    UpstreamWire "upstream" {
        /// The servers: at least one.
        servers: NonEmpty<ServerEntry>,
        /// How a server is chosen: `round_robin`, each in turn, by weight.
        balance: Option<Spanned<Balance>>,
        /// The protocol towards its servers: `http1`, or `http2`, which gRPC needs. Default: `http1`.
        protocol: Option<Spanned<Protocol>>,
        /// TLS towards its servers. Default: clear text, which beyond loopback needs `plaintext: true`.
        tls: Option<UpstreamTlsWire>,
        /// Whether requests may leave this machine in clear text.
        plaintext: Option<Spanned<bool>>,
        /// Deadlines towards its servers.
        timeouts: Option<TimeoutsWire>,
        /// How often a request is tried again, 0 or 1: any that no server took a connection for, and, as long
        /// as these stay under a tenth of all, those that are safe to repeat and whose resting connection had
        /// died. Default: 1.
        retries: Option<Spanned<u8>>,
        /// Whether connections are never shared between tenants. Default: false.
        isolate: Option<Spanned<bool>>,
        /// Whether every server reads every body or closes the connection, on every path and whatever it
        /// answers, and sends no body with an answer to HEAD, a 205 or a 304. Then HEAD and requests with a
        /// body (POST, PUT, PATCH, WebDAV) reuse connections. Default: false; each of these then takes a
        /// connection that is not used again.
        reads_bodies: Option<Spanned<bool>>,
        /// The audience of `Octroi-Assertion`. Default: `sessions.assertion.audience`, or the upstream's
        /// name.
        audience: Option<Spanned<Party>>,
    }

    /// A server.
    ServerEntry "server_entry" {
        /// Its address: `127.0.0.1:9000` or `unix:/run/app.sock`.
        address: Spanned<ServerAddress>,
        /// Its weight in the rotation. Default: 1.
        weight: Option<Spanned<NonZeroU32>>,
    }

    /// TLS towards an upstream. It is always verified.
    UpstreamTlsWire "upstream_tls" {
        /// The host name that its certificate must match.
        sni: Spanned<Host>,
        /// The CA bundle, PEM. Default: the system's.
        ca: Option<Spanned<FilePath>>,
    }

    /// Deadlines towards an upstream.
    TimeoutsWire "timeouts" {
        /// How long connecting may take, TLS included. Default: 3s.
        connect: Option<Spanned<Wait>>,
        /// How long the first byte of the answer may take. Default: 30s.
        first_byte: Option<Spanned<Wait>>,
        /// How long the answer may pause. Default: 30s.
        between_bytes: Option<Spanned<Wait>>,
    }
}
