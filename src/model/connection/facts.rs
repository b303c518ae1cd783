//! What is known of a connection once it is open.

use std::net::SocketAddr;

use crate::model::{ClientIp, Host, ListenerName, UnixTime};

/// The application protocol that TLS agreed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Alpn {
    /// HTTP/1.1, or none was offered.
    Http1,
    /// HTTP/2.
    Http2,
}

impl Alpn {
    /// Returns the protocol's identification: RFC 7301, section 6.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Http1 => "http/1.1",
            Self::Http2 => "h2",
        }
    }
}

/// What a TLS handshake settled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFacts {
    /// The host that the client named, in canonical form.
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
    /// The JA4 fingerprint of the client, where it is asked for.
    pub ja4: Option<Box<str>>,
}

/// How a connection is carried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Transport {
    /// Plain TCP, where the operator said so.
    Plain,
    /// TLS.
    Tls(TlsFacts),
}

/// What is known of a connection once it is open. It does not change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// A number that no other connection of this process has.
    pub id: u64,
    /// The listener that took it.
    pub listener: ListenerName,
    /// The listener's own address.
    pub local: SocketAddr,
    /// Who connected: the socket's other end.
    pub peer: SocketAddr,
    /// Who connected according to the PROXY header, otherwise the peer.
    pub source: SocketAddr,
    /// How it is carried.
    pub transport: Transport,
    /// When it was taken.
    pub accepted: UnixTime,
}

impl Facts {
    /// Returns the address that trusted forwarding headers may refine.
    pub fn source_ip(&self) -> ClientIp {
        ClientIp::from(self.source.ip())
    }

    /// Returns what TLS settled.
    pub fn tls(&self) -> Option<&TlsFacts> {
        match &self.transport {
            Transport::Plain => None,
            Transport::Tls(tls) => Some(tls),
        }
    }
}
