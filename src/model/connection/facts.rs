//! What is known about a connection once it is open.

use std::net::SocketAddr;

use crate::model::{ClientIp, Host, ListenerName, UnixTime};

/// The application protocol that TLS agreed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Alpn {
    /// HTTP/1.1, also where no protocol was offered.
    Http1,
    /// HTTP/2.
    Http2,
}

impl Alpn {
    /// Returns the protocol's identification sequence (RFC 7301, section 6).
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Http1 => "http/1.1",
            Self::Http2 => "h2",
        }
    }
}

/// What a TLS handshake negotiated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFacts {
    /// The server name that the client sent (SNI), in canonical form.
    pub sni: Option<Host>,
    /// `TLSv1.2` or `TLSv1.3`.
    pub version: &'static str,
    /// The cipher suite, by its IANA name.
    pub cipher: &'static str,
    /// The key exchange group.
    pub group: &'static str,
    /// The application protocol.
    pub alpn: Alpn,
    /// Whether an earlier session was resumed.
    pub resumed: bool,
    /// The JA4 fingerprint of the client, where the listener computes it.
    pub ja4: Option<Box<str>>,
}

/// How a connection is transported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Transport {
    /// Plain TCP, where the operator configured that.
    Plain,
    /// TLS.
    Tls(TlsFacts),
}

/// What is known about a connection once it is open. It does not change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// A number that is unique in this process.
    pub id: u64,
    /// The listener that accepted it.
    pub listener: ListenerName,
    /// The listener's own address.
    pub local: SocketAddr,
    /// The peer: the other end of the socket.
    pub peer: SocketAddr,
    /// The source address in the PROXY header, otherwise the peer.
    pub source: SocketAddr,
    /// How it is transported.
    pub transport: Transport,
    /// When it was accepted.
    pub accepted: UnixTime,
}

impl Facts {
    /// Returns the address that trusted forwarding headers may refine.
    pub fn source_ip(&self) -> ClientIp {
        ClientIp::from(self.source.ip())
    }

    /// Says whether the source is the peer: no PROXY header names another address.
    pub fn is_peer(&self) -> bool {
        self.source == self.peer
    }

    /// Returns what TLS negotiated.
    pub fn tls(&self) -> Option<&TlsFacts> {
        match &self.transport {
            Transport::Plain => None,
            Transport::Tls(tls) => Some(tls),
        }
    }
}
