//! What happens to connections at the listeners.

use std::{net::SocketAddr, time::Duration};

use crate::model::{Ban, CutReason, Host, ListenerName, TlsFacts};

/// Something happened to a connection of a listener.
#[derive(Clone, Copy, Debug)]
pub struct ConnectionChanged<'a> {
    /// The listener.
    pub listener: &'a ListenerName,
    /// What happened.
    pub change: ConnectionChange<'a>,
}

/// What happened to a connection.
#[derive(Clone, Copy, Debug)]
pub enum ConnectionChange<'a> {
    /// It was accepted and counts as open.
    Opened,
    /// A connection that counted as open was closed.
    Closed,
    /// It was refused: by the cap of the listener before it counts as open, otherwise after.
    Refused {
        /// The peer's address, or the client's if the PROXY header has been read.
        peer: SocketAddr,
        /// Why.
        refusal: EdgeRefusal,
        /// The detail for the operator. It may contain bytes from the client.
        detail: &'a str,
        /// The ban, if the client is banned.
        ban: Option<&'a Ban>,
    },
    /// Its TLS handshake succeeded.
    Secured {
        /// The negotiated parameters.
        tls: &'a TlsFacts,
        /// How long it took.
        took: Duration,
    },
    /// A TLS-ALPN-01 challenge was answered. The connection ends with that and carries no request.
    HostProven {
        /// The peer's address.
        peer: SocketAddr,
        /// The host.
        host: &'a Host,
    },
    /// A deadline ended the connection, the reading of it, or one request body on it. A head that is too
    /// slow is a refused request instead.
    Cut(CutReason),
}

/// Why a connection was refused before HTTP was spoken on it. No refusal counts towards a ban: any web page
/// can make its visitor's browser send STUN or clear text to a TLS port (`turn:HOST:443?transport=tcp`,
/// `http://HOST:443/`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EdgeRefusal {
    /// The listener holds `max_connections`.
    CapListener,
    /// All listeners together hold four fifths of the open files that the process may have.
    CapProcess,
    /// The address is in the listener's `deny` ranges or files.
    Denied,
    /// The client is banned for a while.
    Banned,
    /// The client holds `max_connections_per_client`.
    CapClient,
    /// More than `max_handshakes_per_second`, or more than the share of one client.
    HandshakeRate,
    /// The PROXY header is required and absent, malformed or late; or one arrived where none is expected.
    ProxyProtocol,
    /// The PROXY header is required and the peer is not trusted to send one.
    ProxyUntrusted,
    /// The handshake was not complete within `handshake_timeout`.
    TlsTimeout,
    /// The handshake failed: its messages are malformed or out of order, or the bytes are not TLS.
    TlsProtocol,
    /// The client offers no version, suite, group or signature algorithm that we support.
    TlsIncompatible,
    /// The client offers application protocols (ALPN), but none that we support.
    TlsAlpn,
    /// The client disconnected, or rejected our certificate, during the handshake.
    TlsAborted,
    /// The client sent no SNI, and no tenant allows that.
    NoSni,
    /// No certificate covers the host in the SNI, or the name is not a valid host name.
    UnknownSni,
    /// No tenant of the host accepts the certificate that the client presented.
    ClientCertificate,
    /// HTTP in clear text on a TLS listener.
    PlainHttp,
}

impl EdgeRefusal {
    /// Every refusal.
    pub const ALL: &'static [Self] = &[
        Self::CapListener,
        Self::CapProcess,
        Self::Denied,
        Self::Banned,
        Self::CapClient,
        Self::HandshakeRate,
        Self::ProxyProtocol,
        Self::ProxyUntrusted,
        Self::TlsTimeout,
        Self::TlsProtocol,
        Self::TlsIncompatible,
        Self::TlsAlpn,
        Self::TlsAborted,
        Self::NoSni,
        Self::UnknownSni,
        Self::ClientCertificate,
        Self::PlainHttp,
    ];

    /// Returns the code for logs and metrics.
    pub const fn code(self) -> &'static str {
        match self {
            Self::CapListener => "cap_listener",
            Self::CapProcess => "cap_process",
            Self::Denied => "denied",
            Self::Banned => "banned",
            Self::CapClient => "cap_client",
            Self::HandshakeRate => "handshake_rate",
            Self::ProxyProtocol => "proxy_protocol",
            Self::ProxyUntrusted => "proxy_untrusted",
            Self::TlsTimeout => "tls_timeout",
            Self::TlsProtocol => "tls_protocol",
            Self::TlsIncompatible => "tls_incompatible",
            Self::TlsAlpn => "tls_alpn",
            Self::TlsAborted => "tls_aborted",
            Self::NoSni => "no_sni",
            Self::UnknownSni => "unknown_sni",
            Self::ClientCertificate => "client_certificate",
            Self::PlainHttp => "plain_http",
        }
    }

    /// Returns whether a TLS handshake failed; otherwise none was begun.
    pub const fn is_of_handshake(self) -> bool {
        match self {
            Self::TlsTimeout
            | Self::TlsProtocol
            | Self::TlsIncompatible
            | Self::TlsAlpn
            | Self::TlsAborted
            | Self::NoSni
            | Self::UnknownSni
            | Self::ClientCertificate
            | Self::PlainHttp => true,
            Self::CapListener
            | Self::CapProcess
            | Self::Denied
            | Self::Banned
            | Self::CapClient
            | Self::HandshakeRate
            | Self::ProxyProtocol
            | Self::ProxyUntrusted => false,
        }
    }
}
