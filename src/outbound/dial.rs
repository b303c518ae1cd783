//! From a host name to a verified TLS stream.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use tokio::{
    net::{TcpStream, lookup_host},
    time::timeout,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::{Deadlines, OutboundError, socket::connect_tcp};

/// How many addresses of a host are tried: a name that has more of them changes nothing.
const MOST_ADDRESSES: usize = 8;

/// Resolves, connects and shakes hands. The certificate must be for `host`, which may be an address.
pub(super) async fn dial(
    host: &str,
    port: u16,
    tls: Arc<ClientConfig>,
    deadlines: &Deadlines,
) -> Result<TlsStream<TcpStream>, OutboundError> {
    let name = ServerName::try_from(host.to_owned()).map_err(|_| OutboundError::Url(host.to_owned()))?;
    let tcp = dial_plain(host, port, Reach::Anywhere, deadlines).await?;
    let handshake = timeout(deadlines.handshake, TlsConnector::from(tls).connect(name, tcp));
    let late = OutboundError::Timeout { step: "the TLS handshake", limit: deadlines.handshake };
    handshake.await.map_err(|_| late)?.map_err(|source| OutboundError::Tls { host: host.to_owned(), source })
}

/// Which addresses may be connected to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reach {
    /// Those of this machine.
    Loopback,
    /// All.
    Anywhere,
}

/// Resolves and connects.
pub(super) async fn dial_plain(
    host: &str,
    port: u16,
    reach: Reach,
    deadlines: &Deadlines,
) -> Result<TcpStream, OutboundError> {
    let mut addresses = resolve(host, port, deadlines.resolve).await?;
    if reach == Reach::Loopback {
        addresses.retain(|address| address.ip().to_canonical().is_loopback());
        if addresses.is_empty() {
            return Err(OutboundError::NotLoopback(host.to_owned()));
        }
    }
    connect(&addresses, host, deadlines.connect).await
}

async fn resolve(host: &str, port: u16, limit: Duration) -> Result<Vec<SocketAddr>, OutboundError> {
    let failed = |source| OutboundError::Resolve { host: host.to_owned(), source };
    let found = timeout(limit, lookup_host((host, port)));
    let found = found
        .await
        .map_err(|_| OutboundError::Timeout { step: "finding the address", limit })?
        .map_err(failed)?;
    let addresses: Vec<SocketAddr> = found.take(MOST_ADDRESSES).collect();
    if addresses.is_empty() { Err(failed(io::ErrorKind::NotFound.into())) } else { Ok(addresses) }
}

/// Tries the addresses in the resolver's order (RFC 6724), each with its share of the time.
async fn connect(addresses: &[SocketAddr], host: &str, limit: Duration) -> Result<TcpStream, OutboundError> {
    let share = limit / u32::try_from(addresses.len()).unwrap_or(u32::MAX).max(1);
    let mut last = OutboundError::Timeout { step: "connecting", limit };
    for address in addresses {
        match timeout(share, connect_tcp(*address)).await {
            Ok(Ok(tcp)) => return Ok(tcp),
            Ok(Err(source)) => {
                let shown = if address.ip().to_string() == host {
                    address.to_string()
                } else {
                    format!("{host} ({address})")
                };
                last = OutboundError::Connect { address: shown, source };
            }
            Err(_) => last = OutboundError::Timeout { step: "connecting", limit },
        }
    }
    Err(last)
}
