//! The traits by which the HTTP library asks a stream about itself.

use std::sync::Arc;

use pingora::protocols::{
    ALPN, GetProxyDigest, GetSocketDigest, GetTimingDigest, SocketDigest, Ssl, TimingDigest, UniqueID,
    UniqueIDType, raw_connect::ProxyDigest, tls::SslDigest,
};

use super::GateStream;

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
        // Also where a client in clear text uses prior knowledge.
        if self.http2.is_some() {
            return Some(ALPN::H2);
        }
        self.connection.facts().tls().map(|_| ALPN::H1)
    }
}

impl GetTimingDigest for GateStream {
    /// Empty: `Facts` contain the time of the connection, and a list would be an allocation per request.
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
