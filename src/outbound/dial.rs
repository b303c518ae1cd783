//! From a host name to a verified TLS stream.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, lookup_host},
    time::timeout,
};
use tokio_rustls::TlsConnector;

use super::{Deadlines, OutboundError};

/// How many addresses of a host are tried: a name that has more of them changes nothing.
const MOST_ADDRESSES: usize = 8;

/// A stream that was dialled.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// Resolves, connects and shakes hands, unless there is nothing to do that with. The certificate must be for `host`, which may be an address.
pub(super) async fn dial(
    host: &str,
    port: u16,
    tls: Option<Arc<ClientConfig>>,
    deadlines: &Deadlines,
) -> Result<Box<dyn Stream>, OutboundError> {
    let name = ServerName::try_from(host.to_owned()).map_err(|_| OutboundError::Url(host.to_owned()))?;
    let addresses = resolve(host, port, deadlines.resolve).await?;
    let tcp = connect(&addresses, host, deadlines.connect).await?;
    // What is asked is small, and waits for nothing.
    let _ = tcp.set_nodelay(true);
    let Some(tls) = tls else { return Ok(Box::new(tcp)) };
    let handshake = timeout(deadlines.handshake, TlsConnector::from(tls).connect(name, tcp));
    let late = OutboundError::Timeout { step: "the TLS handshake", limit: deadlines.handshake };
    let stream = handshake.await.map_err(|_| late)?.map_err(|source| OutboundError::Tls { host: host.to_owned(), source })?;
    Ok(Box::new(stream))
}

async fn resolve(host: &str, port: u16, limit: Duration) -> Result<Vec<SocketAddr>, OutboundError> {
    let failed = |source| OutboundError::Resolve { host: host.to_owned(), source };
    let found = timeout(limit, lookup_host((host, port)));
    let found = found.await.map_err(|_| OutboundError::Timeout { step: "finding the address", limit })?.map_err(failed)?;
    let addresses: Vec<SocketAddr> = found.take(MOST_ADDRESSES).collect();
    if addresses.is_empty() { Err(failed(io::ErrorKind::NotFound.into())) } else { Ok(addresses) }
}

/// Tries the addresses in the resolver's order (RFC 6724), each with its share of the time.
async fn connect(addresses: &[SocketAddr], host: &str, limit: Duration) -> Result<TcpStream, OutboundError> {
    let share = limit / u32::try_from(addresses.len()).unwrap_or(u32::MAX).max(1);
    let mut last = OutboundError::Timeout { step: "connecting", limit };
    for address in addresses {
        match timeout(share, TcpStream::connect(address)).await {
            Ok(Ok(tcp)) => return Ok(tcp),
            Ok(Err(source)) => {
                let shown = if address.ip().to_string() == host { address.to_string() } else { format!("{host} ({address})") };
                last = OutboundError::Connect { address: shown, source };
            }
            Err(_) => last = OutboundError::Timeout { step: "connecting", limit },
        }
    }
    Err(last)
}
