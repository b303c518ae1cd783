//! TLS towards servers whose address is known already: those of upstreams.

use std::{io, sync::Arc};

use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;

pub use tokio_rustls::client::TlsStream;

use super::{OutboundError, Trust};

/// Whom to trust, and the name that the certificate must have.
#[derive(Clone)]
pub struct ServerTls {
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
}

impl ServerTls {
    /// Trusts these CAs for this name, and offers this protocol and no other (ALPN, RFC 7301). May read the
    /// system's CAs: it blocks.
    pub fn new(trust: &Trust, name: &str, alpn: &[u8]) -> Result<Self, OutboundError> {
        let name = ServerName::try_from(name.to_owned()).map_err(|_| OutboundError::Url(name.to_owned()))?;
        Ok(Self { config: trust.client_config(&[alpn])?, name })
    }

    /// Shakes hands over a stream that is open. The caller sets the deadline.
    pub async fn connect<S: AsyncRead + AsyncWrite + Unpin>(&self, stream: S) -> io::Result<TlsStream<S>> {
        TlsConnector::from(Arc::clone(&self.config)).connect(self.name.clone(), stream).await
    }
}

impl std::fmt::Debug for ServerTls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ServerTls").field("name", &self.name).finish_non_exhaustive()
    }
}
