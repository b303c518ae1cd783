//! The doors.

use std::{net::SocketAddr, num::NonZeroU32};

use crate::{
    config::{collection::NonEmpty, parse::FilePath, reader::Spanned, shape::wire},
    model::{ListenerName, Range},
};

wire! {
    /// A listener. It has exactly one of `tls`, `redirect_to_https` and `plaintext: true`.
    ListenerWire "listener" {
        /// Its name in logs and metrics.
        name: Spanned<ListenerName>,
        /// The address to bind: `127.0.0.1:8443`. Port 0 lets the system choose.
        address: Spanned<SocketAddr>,
        /// The port that clients see in Host, if it is neither the port of `address` nor 443.
        public_port: Option<Spanned<u16>>,
        /// Serves the tenants over TLS: `{}`.
        tls: Option<ListenerTls>,
        /// Serves the tenants in clear text: `true` confirms that this is intended.
        plaintext: Option<Spanned<bool>>,
        /// Serves redirects to HTTPS on this port and nothing else.
        redirect_to_https: Option<Spanned<u16>>,
        /// How many connections may be open at once. Default: 10000.
        max_connections: Option<Spanned<usize>>,
        /// How many of them one client (an IPv4 address or an IPv6 /64) may hold. An IPv6 /48 may hold eight
        /// times as many. Default: 256.
        max_connections_per_client: Option<Spanned<usize>>,
        /// How many TLS handshakes may begin per second, all clients together. Default: no bound.
        max_handshakes_per_second: Option<Spanned<NonZeroU32>>,
        /// Requires a PROXY header, version 1 or 2. Default: none is read.
        proxy_protocol: Option<ProxyWire>,
        /// Ranges whose connections are closed before the TLS handshake.
        deny: Vec<Spanned<Range>>,
        /// Files with such ranges, one per line; `#` begins a comment. A changed file is read again.
        deny_files: Vec<Spanned<FilePath>>,
        /// Peers whose forwarding header is trusted here, instead of the server's list.
        trusted_proxies: Option<Vec<Spanned<Range>>>,
        /// Whether these proxies terminate TLS in front of this listener, which is `plaintext: true`. Their
        /// `X-Forwarded-Proto` (`proto` of `Forwarded`, if that is `client_ip_header`) then says whether the
        /// client used TLS; without the field, it did not. Default: false.
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
