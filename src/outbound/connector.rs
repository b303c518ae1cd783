//! A stream to one target, for a protocol that somebody else speaks over it.

use std::{path::PathBuf, sync::Arc};

use rustls::ClientConfig;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::timeout,
};

use super::{
    Deadlines, OutboundError, Trust,
    dial::{Reach, dial, dial_plain},
    socket::connect_unix,
};

/// Where a stream is connected to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// TLS over TCP. The certificate must be for the host.
    Tls {
        /// A name or an address.
        host: String,
        /// The port.
        port: u16,
        /// Whom to believe.
        trust: Trust,
    },
    /// Clear text over TCP.
    Plain {
        /// A name or an address.
        host: String,
        /// The port.
        port: u16,
        /// Whether an address that is not of this machine may be connected to.
        allow_remote: bool,
    },
    /// A Unix socket.
    Unix(PathBuf),
}

/// Bytes in both directions.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// Connects to one target, again and again.
#[derive(Clone)]
pub struct Connector {
    target: Target,
    /// There is one where the target wants TLS.
    tls: Option<Arc<ClientConfig>>,
    deadlines: Deadlines,
}

impl Connector {
    /// Goes to a target, and waits no longer than this. May read the system's CAs: it blocks.
    pub fn new(target: Target, deadlines: Deadlines) -> Result<Self, OutboundError> {
        let tls = match &target {
            Target::Tls { trust, .. } => Some(trust.client_config(&[])?),
            Target::Plain { .. } | Target::Unix(_) => None,
        };
        Ok(Self { target, tls, deadlines })
    }

    /// Connects. The name is looked up each time.
    pub async fn connect(&self) -> Result<Box<dyn Stream>, OutboundError> {
        let limit = self.deadlines.total;
        timeout(limit, self.dial()).await.map_err(|_| self.timeout_error())?
    }

    /// The error of a target that does not answer in time.
    pub fn timeout_error(&self) -> OutboundError {
        let address = match &self.target {
            Target::Tls { host, port, .. } | Target::Plain { host, port, .. } => format!("{host}:{port}"),
            Target::Unix(path) => path.display().to_string(),
        };
        OutboundError::Silent { address, limit: self.deadlines.total }
    }

    async fn dial(&self) -> Result<Box<dyn Stream>, OutboundError> {
        Ok(match (&self.target, &self.tls) {
            (Target::Tls { host, port, .. }, Some(tls)) => {
                Box::new(dial(host, *port, Arc::clone(tls), &self.deadlines).await?)
            }
            // `new` makes one for each of those.
            (Target::Tls { host, .. }, None) => return Err(OutboundError::Url(host.clone())),
            (Target::Plain { host, port, allow_remote }, _) => {
                let reach = if *allow_remote { Reach::Anywhere } else { Reach::Loopback };
                Box::new(dial_plain(host, *port, reach, &self.deadlines).await?)
            }
            (Target::Unix(path), _) => {
                let failed = |source| OutboundError::Connect { address: path.display().to_string(), source };
                Box::new(connect_unix(path).await.map_err(failed)?)
            }
        })
    }
}

impl std::fmt::Debug for Connector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connector")
            .field("target", &self.target)
            .field("deadlines", &self.deadlines)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::{net::Ipv4Addr, time::Duration};

    use tokio::net::TcpListener;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const DEADLINES: Deadlines =
        Deadlines { resolve: SECOND, connect: SECOND, handshake: SECOND, total: SECOND };

    async fn connect(target: Target) -> Result<(), OutboundError> {
        Connector::new(target, DEADLINES).unwrap().connect().await.map(drop)
    }

    #[tokio::test]
    async fn clear_text_stays_on_this_machine_unless_it_may_leave() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let plain = |host: &str, allow_remote| Target::Plain { host: host.to_owned(), port, allow_remote };

        assert!(connect(plain("127.0.0.1", false)).await.is_ok());
        assert!(matches!(connect(plain("192.0.2.1", false)).await, Err(OutboundError::NotLoopback(_))));
    }

    #[tokio::test]
    async fn a_socket_that_is_not_there_is_named() {
        let error = connect(Target::Unix("/nowhere/redis.sock".into())).await.unwrap_err();

        assert!(error.to_string().starts_with("cannot connect to /nowhere/redis.sock: "), "{error}");
    }
}
