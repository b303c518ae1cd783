//! The doors.

use std::{net::SocketAddr, num::NonZeroU32};

use crate::{
    config::{collection::NonEmpty, parse::FilePath, reader::Spanned, shape::wire},
    model::{ListenerName, Range},
};

wire! {
    /// A door. It has exactly one of `tls`, `redirect_to_https` and `plaintext: true`.
    ListenerWire "listener" {
        /// Its name in logs and metrics.
        name: Spanned<ListenerName>,
        /// The address to bind: `127.0.0.1:8443`. Port 0 lets the system choose.
        address: Spanned<SocketAddr>,
        /// The port that clients see in Host, where it is neither the address's nor 443.
        public_port: Option<Spanned<u16>>,
        /// Serves the tenants over TLS: `{}`.
        tls: Option<ListenerTls>,
        /// Serves the tenants in clear text: `true` says that this is meant.
        plaintext: Option<Spanned<bool>>,
        /// Serves redirects to HTTPS on this port and nothing else.
        redirect_to_https: Option<Spanned<u16>>,
        /// How many connections it holds at once. Default: 10000.
        max_connections: Option<Spanned<usize>>,
        /// How many of them one client (an IPv4 address or an IPv6 /64) may hold; all those of an IPv6 /48
        /// together hold eight times as many. Default: 256.
        max_connections_per_client: Option<Spanned<usize>>,
        /// How many TLS handshakes it begins per second, all clients together. Default: no bound.
        max_handshakes_per_second: Option<Spanned<NonZeroU32>>,
        /// Requires a PROXY header, version 1 or 2. Default: none is read.
        proxy_protocol: Option<ProxyWire>,
        /// Ranges that are dropped before any handshake.
        deny: Vec<Spanned<Range>>,
        /// Files of such ranges, one a line; `#` begins a comment. They are read again when they change.
        deny_files: Vec<Spanned<FilePath>>,
        /// Peers whose forwarding header is believed here, instead of the server's list.
        trusted_proxies: Option<Vec<Spanned<Range>>>,
        /// Says that these proxies terminate TLS in front of this listener, which is `plaintext: true`:
        /// `X-Forwarded-Proto` of them (`proto` of `Forwarded`, where that is `client_ip_header`) tells
        /// whether the client came over TLS; absent, it did not. Default: false.
        tls_in_front: Option<Spanned<bool>>,
    }

    /// TLS at a listener; certificates and versions stand under `tls` at the top.
    ListenerTls "listener_tls" {
    }

    /// PROXY protocol, required.
    ProxyWire "proxy_protocol" {
        /// Peers that must send the header; connections of all others are closed.
        trusted: NonEmpty<Spanned<Range>>,
    }
}
