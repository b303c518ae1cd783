//! Why a connection ends before a request begins.

use crate::model::Abuse;

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

/// The codes that say that the client broke the protocol (RFC 9113, section 7). The others are ours, or no errors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Http2Error {
    /// PROTOCOL_ERROR.
    Protocol,
    /// FLOW_CONTROL_ERROR.
    FlowControl,
    /// STREAM_CLOSED.
    StreamClosed,
    /// FRAME_SIZE_ERROR.
    FrameSize,
    /// COMPRESSION_ERROR.
    Compression,
    /// ENHANCE_YOUR_CALM.
    Calm,
}

impl Http2Error {
    /// Reads a code; those that are ours, or no errors, are none.
    pub(super) fn of(code: u32) -> Option<Self> {
        match code {
            1 => Some(Self::Protocol),
            3 => Some(Self::FlowControl),
            5 => Some(Self::StreamClosed),
            6 => Some(Self::FrameSize),
            9 => Some(Self::Compression),
            11 => Some(Self::Calm),
            _ => None,
        }
    }

    /// Says whether no page and no correct client can be made to break one stream so. Values with control characters are
    /// PROTOCOL_ERROR, and what was under way when a stream was reset is STREAM_CLOSED.
    pub const fn is_offence_of_a_stream(self) -> bool {
        matches!(self, Self::FlowControl | Self::FrameSize | Self::Compression)
    }

    /// The same of a whole connection. The library is calm with streams that are cancelled at once.
    pub const fn is_offence_of_a_connection(self) -> bool {
        matches!(self, Self::Protocol | Self::FlowControl | Self::FrameSize | Self::Compression)
    }

    /// Returns the name of the standard.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Protocol => "PROTOCOL_ERROR",
            Self::FlowControl => "FLOW_CONTROL_ERROR",
            Self::StreamClosed => "STREAM_CLOSED",
            Self::FrameSize => "FRAME_SIZE_ERROR",
            Self::Compression => "COMPRESSION_ERROR",
            Self::Calm => "ENHANCE_YOUR_CALM",
        }
    }
}
