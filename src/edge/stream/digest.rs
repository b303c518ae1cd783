//! What the HTTP library asks a stream about itself.

use std::{net::SocketAddr, os::fd::RawFd, sync::Arc};

use pingora::{
    http::ResponseHeader,
    protocols::{
        ALPN, GetProxyDigest, GetSocketDigest, GetTimingDigest, SocketDigest, Ssl, TimingDigest, UniqueID, UniqueIDType,
        l4::socket::SocketAddr as LibraryAddr, raw_connect::ProxyDigest, tls::SslDigest,
    },
};

use super::GateStream;
use crate::model::{Connection, TlsFacts};

/// Made once per connection; the library clones the `Arc`s for each request.
pub(super) struct Digests {
    fd: RawFd,
    tls: Option<Arc<SslDigest>>,
    proxy: Option<Arc<ProxyDigest>>,
    socket: Arc<SocketDigest>,
}

impl Digests {
    pub(super) fn new(connection: &Arc<Connection>, fd: RawFd) -> Self {
        let facts = connection.facts();
        let socket = SocketDigest::from_raw_fd(fd);
        let inet = |addr: SocketAddr| Some(LibraryAddr::Inet(addr));
        // Both cells are new, so both are set; otherwise the library would ask the kernel for them.
        let _ = socket.peer_addr.set(inet(facts.source));
        let _ = socket.local_addr.set(inet(facts.local));
        let tls = facts.tls().map(|tls| Arc::new(ssl_digest(tls)));
        // The one place where a stream can carry something of ours that a request of HTTP/2 sees too (`pingora.md`, item 5).
        let proxy = ResponseHeader::build(200, Some(0))
            .ok()
            .map(|response| Arc::new(ProxyDigest::new(Box::new(response), Some(Box::new(Arc::clone(connection))))));
        Self { fd, tls, proxy, socket: Arc::new(socket) }
    }
}

fn ssl_digest(tls: &TlsFacts) -> SslDigest {
    SslDigest::new(tls.cipher, tls.version, None, None, Vec::new())
}

impl UniqueID for GateStream {
    fn id(&self) -> UniqueIDType {
        self.digests.fd
    }
}

impl Ssl for GateStream {
    fn get_ssl_digest(&self) -> Option<Arc<SslDigest>> {
        self.digests.tls.clone()
    }

    fn selected_alpn_proto(&self) -> Option<ALPN> {
        // Also where a client in clear text speaks it with prior knowledge.
        if self.http2.is_some() {
            return Some(ALPN::H2);
        }
        self.connection.facts().tls().map(|_| ALPN::H1)
    }
}

impl GetTimingDigest for GateStream {
    /// Empty: `Facts` say when the connection was taken, and a list would be an allocation per request.
    fn get_timing_digest(&self) -> Vec<Option<TimingDigest>> {
        Vec::new()
    }
}

impl GetProxyDigest for GateStream {
    fn get_proxy_digest(&self) -> Option<Arc<ProxyDigest>> {
        self.digests.proxy.clone()
    }
}

impl GetSocketDigest for GateStream {
    fn get_socket_digest(&self) -> Option<Arc<SocketDigest>> {
        Some(Arc::clone(&self.digests.socket))
    }
}
