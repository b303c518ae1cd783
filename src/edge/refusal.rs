//! Why a connection ends before a request begins.

use crate::model::Abuse;

pub use crate::model::Http2Error;

/// Why a connection was refused before HTTP was spoken on it. None of it is held against anybody: a page has its visitor's browser send
/// STUN or clear text to a TLS port (`turn:HOST:443?transport=tcp`, `http://HOST:443/`) as often as it likes.
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
    /// More than `max_handshakes_per_second`, or more than one client's share of them.
    HandshakeRate,
    /// The PROXY header is required and absent, malformed or late; or one came where none is expected.
    ProxyProtocol,
    /// The PROXY header is required and the peer is not trusted to send one.
    ProxyUntrusted,
    /// The handshake was not done within `handshake_timeout`.
    TlsTimeout,
    /// The handshake failed: its messages are malformed or out of order, or the bytes are no TLS.
    TlsProtocol,
    /// The client offers no version, suite, group or signature that is spoken here.
    TlsIncompatible,
    /// The client offers application protocols (ALPN), and none that is spoken here.
    TlsAlpn,
    /// The client went away, or refused our certificate, during the handshake.
    TlsAborted,
    /// The client named no host, and no tenant allows that.
    NoSni,
    /// No certificate is for the host that the client named, or the name is no host name.
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

    /// Returns the code that logs and metrics say.
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
}

/// Why a request was refused before anybody began it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EarlyCause {
    /// The head was not whole within `header_timeout`.
    HeadTimeout,
    /// The head exceeded `header_bytes` without an end.
    HeadTooLarge,
    /// The HTTP library refused by itself, with this status.
    Library(u16),
}

/// What was ended on an HTTP/2 connection before a request began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Http2Refusal {
    /// The library reset one stream, by its number, with this code.
    Stream(u32, Http2Error),
    /// The library answered one stream with 400: its authority is missing, malformed, or not that of Host.
    Authority(u32),
    /// The library ended the connection with this code.
    Connection(Http2Error),
    /// The library ended the connection with PROTOCOL_ERROR where fields had just come: a page can set values that it does not take.
    Fields,
    /// We ended the connection: a block of fields was not whole within `header_timeout`.
    HeadTimeout,
    /// We ended the connection: the client went beyond its bounds.
    Abuse(Abuse),
}
