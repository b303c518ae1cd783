//! A socket to an address that is known already. Nothing else in octroi connects to other machines.

use std::{io, net::SocketAddr, path::Path};

use tokio::net::{TcpStream, UnixStream};

/// Connects to an address. The caller sets the deadline.
pub async fn connect_tcp(address: SocketAddr) -> io::Result<TcpStream> {
    let tcp = TcpStream::connect(address).await?;
    // A request leaves in one write; Nagle's algorithm would only delay it.
    tcp.set_nodelay(true)?;
    Ok(tcp)
}

/// Connects to a Unix socket. The caller sets the deadline.
pub async fn connect_unix(path: &Path) -> io::Result<UnixStream> {
    UnixStream::connect(path).await
}
