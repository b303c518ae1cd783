//! The facts about a stream that the HTTP library asks for.

use std::{net::SocketAddr, os::fd::RawFd, sync::Arc};

use pingora::{
    http::ResponseHeader,
    protocols::{
        SocketDigest, l4::socket::SocketAddr as LibraryAddr, raw_connect::ProxyDigest, tls::SslDigest,
    },
};

use crate::model::{Connection, TlsFacts};

/// Created once per connection; the library clones the `Arc`s for each request.
pub(super) struct Digests {
    pub(super) fd: RawFd,
    pub(super) tls: Option<Arc<SslDigest>>,
    pub(super) proxy: Option<Arc<ProxyDigest>>,
    pub(super) socket: Arc<SocketDigest>,
}

impl Digests {
    pub(super) fn new(connection: &Arc<Connection>, fd: RawFd) -> Self {
        let facts = connection.facts();
        let socket = SocketDigest::from_raw_fd(fd);
        let inet = |addr: SocketAddr| Some(LibraryAddr::Inet(addr));
        // Both cells are empty, so setting them succeeds. Otherwise the library would ask the kernel for the
        // addresses.
        let _ = socket.peer_addr.set(inet(facts.source));
        let _ = socket.local_addr.set(inet(facts.local));
        let tls = facts.tls().map(|tls| Arc::new(ssl_digest(tls)));
        // The only place where a stream can carry something of ours to a request of HTTP/2.
        let proxy = ResponseHeader::build(200, Some(0)).ok().map(|response| {
            Arc::new(ProxyDigest::new(Box::new(response), Some(Box::new(Arc::clone(connection)))))
        });
        Self { fd, tls, proxy, socket: Arc::new(socket) }
    }
}

fn ssl_digest(tls: &TlsFacts) -> SslDigest {
    SslDigest::new(tls.cipher, tls.version, None, None, Vec::new())
}
