//! What a handshake negotiated, in the terms of the access log.

use rustls::{CipherSuite, HandshakeKind, NamedGroup, ProtocolVersion, ServerConnection};

use crate::model::{Alpn, Host, TlsFacts};

/// Reads the facts of a complete handshake.
pub(in crate::edge) fn facts(
    connection: &ServerConnection,
    sni: Option<Host>,
    ja4: Option<Box<str>>,
) -> TlsFacts {
    let alpn = if connection.alpn_protocol() == Some(b"h2") { Alpn::Http2 } else { Alpn::Http1 };
    TlsFacts {
        sni,
        version: if connection.protocol_version() == Some(ProtocolVersion::TLSv1_3) {
            "TLSv1.3"
        } else {
            "TLSv1.2"
        },
        cipher: connection.negotiated_cipher_suite().map_or("", |suite| cipher(suite.suite())),
        group: connection.negotiated_key_exchange_group().map_or("", |group| name(group.name())),
        alpn,
        resumed: connection.handshake_kind() == Some(HandshakeKind::Resumed),
        ja4,
    }
}

/// Returns IANA's name of a suite. rustls has other names for those of TLS 1.3.
fn cipher(suite: CipherSuite) -> &'static str {
    if suite == CipherSuite::TLS13_AES_256_GCM_SHA384 {
        "TLS_AES_256_GCM_SHA384"
    } else if suite == CipherSuite::TLS13_AES_128_GCM_SHA256 {
        "TLS_AES_128_GCM_SHA256"
    } else if suite == CipherSuite::TLS13_CHACHA20_POLY1305_SHA256 {
        "TLS_CHACHA20_POLY1305_SHA256"
    } else {
        suite.as_str().unwrap_or("")
    }
}

fn name(group: NamedGroup) -> &'static str {
    group.as_str().unwrap_or("")
}
